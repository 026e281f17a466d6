//! Files that are either whole or not there, whatever kills the process: the one place through which
//! the store and the published files are written.
//!
//! A file is written under another name, flushed to the disk, and renamed. Logs only grow, by one
//! write per batch of lines; who reads them checks each line.

use std::{
    collections::BTreeSet,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use fs_err::{self as fs, File, OpenOptions};

/// A change that is about to be made to the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file is written under its temporary name.
    Write,
    /// A part of a large file is written under its temporary name.
    Fill,
    /// A finished file gets its name.
    Rename,
    /// Lines are added to a log.
    Append,
    /// A finished file gets a second name.
    Link,
}

type Watcher = Box<dyn Fn(Change, &Path) -> io::Result<()> + Send + Sync>;
static WATCHER: OnceLock<Watcher> = OnceLock::new();

/// Calls `watcher` before every change from now on, for tests of crashes and full disks: it may
/// return an error, or end the process. Only the first call in a process counts.
#[doc(hidden)]
pub fn watch(watcher: impl Fn(Change, &Path) -> io::Result<()> + Send + Sync + 'static) {
    let _ = WATCHER.set(Box::new(watcher));
}

fn announce(change: Change, path: &Path) -> io::Result<()> {
    WATCHER.get().map_or(Ok(()), |watcher| watcher(change, path))
}

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
    let temporary = Temporary::beside(path);
    stage(&temporary.0, bytes)?;
    announce(Change::Rename, path)?;
    fs::rename(&temporary.0, path)
}

/// Writes `bytes` to `path`, flushed to the disk, for a later [`place`].
///
/// # Errors
/// The file cannot be written; nothing of it stays.
pub fn stage(path: &Path, bytes: &[u8]) -> io::Result<()> {
    announce(Change::Write, path)?;
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().inspect_err(|_| drop(fs::remove_file(path)))
}

/// Replaces `path` by what `fill` writes, for files that are too large to be held in memory: as
/// [`write()`], also in what a kill leaves.
///
/// # Errors
/// The folder cannot be written, or whatever `fill` returns.
pub fn create(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    announce(Change::Write, path)?;
    let temporary = Temporary::beside(path);
    let write = || {
        let mut filling = Filling { file: File::create(&temporary.0)?, path };
        fill(&mut filling)?;
        filling.file.sync_all()
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary.0)))?;
    place(&temporary.0, path)
}

/// A large file in the making.
struct Filling<'a> {
    file: File,
    path: &'a Path,
}

impl Write for Filling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        announce(Change::Fill, self.path)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Renames the finished file `from` (flushed by its writer) to `to`, in the same file system.
///
/// # Errors
/// The folder of `to` cannot be written.
pub fn place(from: &Path, to: &Path) -> io::Result<()> {
    announce(Change::Rename, to)?;
    fs::rename(from, to)?;
    flush_folder_of(to)
}

/// Replaces `to` by a second name for the file `from`, or by a copy where links cannot be made.
///
/// # Errors
/// `from` cannot be read, or the folder of `to` not written.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    announce(Change::Link, to)?;
    let temporary = Temporary::beside(to);
    if let Err(error) = fs::remove_file(&temporary.0)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    if fs::hard_link(from, &temporary.0).is_err() {
        return copy(from, to);
    }
    place(&temporary.0, to)
}

/// Replaces `to` by a copy of the file `from`, which its owner may write.
///
/// # Errors
/// `from` cannot be read, or the folder of `to` not written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    announce(Change::Write, to)?;
    let temporary = Temporary::beside(to);
    let copy = || {
        // In this way, where the file system can, the copy shares its blocks with the original.
        let mut file = File::create(&temporary.0)?;
        io::copy(&mut File::open(from)?, &mut file)?;
        file.sync_all()
    };
    copy().inspect_err(|_| drop(fs::remove_file(&temporary.0)))?;
    place(&temporary.0, to)
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
    announce(Change::Append, path)?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    file.file().lock()?;
    let mut bytes = Vec::with_capacity(lines.len() + 1);
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            bytes.push(b'\n');
        }
    }
    bytes.extend(lines);
    file.write_all(&bytes)?;
    if flush { file.sync_data() } else { Ok(()) }
}

/// Flushes the names in the folder of `path` to the disk.
///
/// # Errors
/// The folder cannot be read.
pub fn flush_folder_of(path: &Path) -> io::Result<()> {
    // Other systems have no handle on a folder that could be flushed.
    if cfg!(unix)
        && let Some(folder) = path.parent()
    {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// A hidden name beside a path, which no other writer of this process has while it is held. Without
/// another writer it is always the same one, so that what a killed process left is taken up.
struct Temporary(PathBuf);

static TAKEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl Temporary {
    fn beside(path: &Path) -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = 0;
        loop {
            let mut name = std::ffi::OsString::from(".");
            name.push(path.file_name().unwrap_or_default());
            name.push(".fluxpipe-new");
            if number > 0 {
                name.push(number.to_string());
            }
            let path = path.with_file_name(name);
            if taken.insert(path.clone()) {
                return Self(path);
            }
            number += 1;
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
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
}
