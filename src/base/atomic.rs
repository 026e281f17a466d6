//! Files that are either whole or not there, whatever kills the process: how the store and the published
//! files are written, on top of [`disk`].
//!
//! A file is written under another name, flushed to the disk, and renamed. Logs only grow, by one
//! write per batch of lines; who reads them checks each line.

use std::{
    fs::TryLockError,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::disk;

/// So long somebody is waited for who writes the same file, or to the same log. Writing takes moments; a
/// process that was stopped in the midst of it shall hold up nobody.
const PATIENCE: Duration = Duration::from_secs(2);

/// Replaces `path` by `bytes`; the folder must be there. A kill leaves the old file, and at most a
/// hidden file beside it, which the next call for the same path takes up.
///
/// # Errors
/// The folder cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes)?;
    flush_folder_of(path)
}

/// As [`write()`], but leaves it to the caller to flush the folder, once for many files.
///
/// # Errors
/// The folder cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Temporary::beside(path)?.filled(|file| file.write_all(bytes))?.rename_to(path)
}

/// Makes the file `path` of `bytes` if there is none of that name; says whether it did. What somebody puts
/// there at the same moment stays.
///
/// # Errors
/// The folder cannot be written.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    Temporary::beside(path)?.filled(|file| file.write_all(bytes))?.rename_to_new(path)
}

/// Writes `bytes` to `path`, flushed to the disk, for a later [`place`]. No other process writes there.
///
/// # Errors
/// The file cannot be written; nothing of it stays.
pub fn stage(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let write = || {
        let mut file = disk::File::create(path)?;
        file.write_all(bytes)?;
        file.flush_to_disk()
    };
    write().inspect_err(|_| drop(disk::remove(path)))
}

/// Replaces `path` by what `fill` writes, for files that are too large to be held in memory: as
/// [`write()`], also in what a kill leaves.
///
/// # Errors
/// The folder cannot be written, or whatever `fill` returns.
pub fn create(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    Temporary::beside(path)?.filled(|file| fill(file))?.rename_to(path)?;
    flush_folder_of(path)
}

/// Renames the finished file `from` (flushed by its writer) to `to`, in the same file system.
///
/// # Errors
/// The folder of `to` cannot be written.
pub fn place(from: &Path, to: &Path) -> io::Result<()> {
    disk::rename(from, to)?;
    flush_folder_of(to)
}

/// Replaces `to` by a second name for the file `from`, or by a copy where links cannot be made.
///
/// # Errors
/// `from` cannot be read, or the folder of `to` not written.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    // To rename one name of a file to another of its names does nothing, and leaves both.
    if disk::is_same(from, to) {
        return Ok(());
    }
    loop {
        // Who holds the temporary file also owns this name.
        let temporary = Temporary::beside(to)?;
        let linked = temporary.path.with_added_extension("link");
        match disk::remove(&linked) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if disk::link(from, &linked).is_err() {
            drop(temporary);
            return copy(from, to);
        }
        // It goes first: once `to` is there nobody comes to take up what a kill left beside it.
        match temporary.give_up().and_then(|()| disk::rename(&linked, to)) {
            Ok(()) => return flush_folder_of(to),
            // Another process that links the same came in between and took it for left.
            Err(error) if error.kind() == io::ErrorKind::NotFound && from.exists() => {}
            Err(error) => {
                let _ = disk::remove(&linked);
                return Err(error);
            }
        }
    }
}

/// Replaces `to` by a copy of the file `from`, which its owner may write.
///
/// # Errors
/// `from` cannot be read, or the folder of `to` not written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    Temporary::beside(to)?.filled(|file| file.take_all(from))?.rename_to(to)?;
    flush_folder_of(to)
}

/// As [`write_new`], of a copy of the file `from`, which its owner may write.
///
/// # Errors
/// `from` cannot be read, or the folder of `to` not written.
pub fn copy_new(from: &Path, to: &Path) -> io::Result<bool> {
    Temporary::beside(to)?.filled(|file| file.take_all(from))?.rename_to_new(to)
}

/// Adds whole lines to the end of the log `path` in one write, under an exclusive lock for that moment.
/// A line that a killed process left unfinished is closed first, so that it spoils no other.
///
/// # Errors
/// The log cannot be written.
pub fn append(path: &Path, lines: &[u8], flush: bool) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = disk::File::append(path)?;
    // Without the lock two writers could close one line twice, which leaves an empty line. That is better
    // than to wait for a process that was stopped: all lines are still added in one write each.
    let since = Instant::now();
    while !locked(&file)? && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    let mut bytes = Vec::with_capacity(lines.len() + 1);
    if file.last_byte()?.is_some_and(|last| last != b'\n') {
        bytes.push(b'\n');
    }
    bytes.extend(lines);
    file.write_all(&bytes)?;
    if flush { file.flush_to_disk() } else { Ok(()) }
}

/// Flushes the names in the folder of `path` to the disk.
///
/// # Errors
/// The folder cannot be read.
pub fn flush_folder_of(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    disk::flush_folder(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}

/// Takes the lock of an open file, which goes when it is closed; `false` where somebody else has it.
fn locked(file: &disk::File) -> io::Result<bool> {
    match file.handle().try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A hidden file beside a path, locked by whoever writes it, so that no two writers share it, of one
/// process or of several. It has always the same name, so that the next writer takes up what a killed one
/// left; only who waited in vain for a stopped one takes another.
struct Temporary {
    file: disk::File,
    path: PathBuf,
    /// Whether it is what it shall be, or has another name by now.
    done: bool,
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Self> {
        let since = Instant::now();
        let mut number = 0;
        loop {
            let temporary = hidden(path, number);
            let mut file = disk::File::keep(&temporary)?;
            if !locked(&file)? {
                if since.elapsed() >= PATIENCE {
                    number += 1;
                }
                thread::sleep(Duration::from_millis(1));
            } else if !file.is_at(&temporary)? {
                // Its writer was done between the opening and the lock: it is a finished file.
            } else if file.has_other_names()? {
                // A killed process left it as a second name of a file that is not to be touched.
                disk::remove(&temporary)?;
            } else {
                file.clear()?;
                return Ok(Self { file, path: temporary, done: false });
            }
        }
    }

    /// Flushed to the disk with what `fill` writes.
    fn filled(mut self, fill: impl FnOnce(&mut disk::File) -> io::Result<()>) -> io::Result<Self> {
        fill(&mut self.file)?;
        self.file.flush_to_disk()?;
        Ok(self)
    }

    /// Removes it, which must not fail.
    fn give_up(mut self) -> io::Result<()> {
        self.done = true;
        disk::remove(&self.path)
    }

    fn rename_to(mut self, path: &Path) -> io::Result<()> {
        disk::rename(&self.path, path)?;
        self.done = true;
        Ok(())
    }

    /// Gives it the name `path` unless a file has it.
    fn rename_to_new(mut self, path: &Path) -> io::Result<bool> {
        self.done = disk::rename_new(&self.path, path)?;
        Ok(self.done)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be removed is taken up by the next writer.
            let _ = disk::remove(&self.path);
        }
    }
}

fn hidden(path: &Path, number: usize) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".fluxpipe-new");
    if number > 0 {
        name.push(number.to_string());
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn a_write_replaces_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(folder.path().join(".a.txt.fluxpipe-new"), "left by a killed process").unwrap();
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_writers_of_one_file_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::thread::scope(|scope| {
            for writer in 0..8_u8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write(path, &[writer; 999]).unwrap()));
            }
        });
        let found = fs::read(&path).unwrap();
        assert_eq!(found, [found[0]; 999]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_that_link_one_file_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("to");
        std::thread::scope(|scope| {
            for linker in 0..6 {
                let (from, to) = (folder.path().join(format!("from{linker}")), &to);
                fs::write(&from, [linker; 9]).unwrap();
                scope.spawn(move || (0..50).for_each(|_| link(&from, to).unwrap()));
            }
        });
        let found = fs::read(&to).unwrap();
        assert_eq!(found, [found[0]; 9]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 7);
    }

    #[test]
    fn an_append_closes_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append(&path, b"one\n", true).unwrap();
        fs::write(&path, "one\ntw").unwrap();
        append(&path, b"three\n", false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
    }

    #[test]
    fn a_link_is_the_same_file_and_a_copy_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        fs::write(&from, "x").unwrap();
        fs::write(&to, "old").unwrap();
        link(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"x");
        copy(&from, &to).unwrap();
        fs::write(&to, "mine").unwrap();
        assert_eq!(fs::read(&from).unwrap(), b"x");
    }

    #[test]
    fn what_a_stopped_writer_holds_is_waited_for_and_then_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let stopped = Temporary::beside(&path).unwrap();
        let since = Instant::now();
        write(&path, b"mine").unwrap();
        assert!(since.elapsed() >= PATIENCE);
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        stopped.filled(|file| file.write_all(b"its own")).unwrap().rename_to(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"its own");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_name_that_a_kill_left_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let [object, path] = ["object", "a"].map(|name| folder.path().join(name));
        fs::write(&object, "kept").unwrap();
        fs::hard_link(&object, hidden(&path, 0)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&object).unwrap(), b"kept");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [path, from] = ["a.txt", "from"].map(|name| folder.path().join(name));
        fs::write(&from, "copied").unwrap();
        assert!(write_new(&path, b"one").unwrap());
        assert!(!write_new(&path, b"two").unwrap());
        assert!(!copy_new(&from, &path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        fs::remove_file(&path).unwrap();
        assert!(copy_new(&from, &path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"copied");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
