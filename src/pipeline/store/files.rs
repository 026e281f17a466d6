//! Digests of the user's files, remembered by path, size, modification time and inode, so that a
//! 24 GB weight file is read once and not at every start. Of sidecars their text is remembered too:
//! to look at the time of 200 000 of them is quick, to open each is not.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::Metadata,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{StoreError, log};
use crate::{
    base::{Digest, atomic, clock, disk},
    pipeline::INLINE_LIMIT,
};

/// A file changed within this time before it was read could change once more and look the same, for
/// file systems count in ticks; its digest is not remembered. 2 s is the coarsest tick in use (FAT).
const TICK: Duration = Duration::from_secs(2);

/// Of a sidecar that is longer only so much is read: no text that anybody takes is as long, and it may be
/// a film with the wrong ending.
const LONGEST: u64 = 2 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    size: u64,
    modified: i64,
    inode: u64,
}

impl Look {
    fn at(path: &Path) -> io::Result<Self> {
        // Not through fs_err: a missing sidecar is no error, and its message would be made 100 000 times.
        Self::of(&std::fs::metadata(path)?)
    }

    fn of(metadata: &Metadata) -> io::Result<Self> {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Self { size: metadata.len(), modified: clock::nanoseconds(metadata.modified()?), inode })
    }
}

#[derive(Serialize, Deserialize)]
struct Line<P, T> {
    path: P,
    digest: Digest,
    size: u64,
    modified: i64,
    inode: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<T>,
}

/// The remembered files.
#[derive(Debug)]
pub struct Files {
    log: PathBuf,
    /// Where relative paths start.
    folder: PathBuf,
    known: RwLock<Option<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// By path, which is compared letter by letter: what `Path` does beyond that takes its time.
    files: HashMap<Box<OsStr>, Seen>,
    unsaved: Vec<u8>,
}

/// A file as it was when it was read.
#[derive(Debug)]
struct Seen {
    look: Look,
    digest: Digest,
    /// Its bytes, where they were asked for and are a short text.
    text: Option<Box<str>>,
}

impl Files {
    /// The files remembered in the log at `log`.
    ///
    /// # Errors
    /// The working folder is gone.
    pub fn new(log: PathBuf) -> io::Result<Self> {
        // Asked for once: it is a call to the system, and there are many files.
        let folder = std::env::current_dir()?;
        Ok(Self { log, folder, known: RwLock::new(None) })
    }

    /// Reads what is remembered, on all cores. The first to ask would do it too, but the others that
    /// ask meanwhile would wait for it and help with nothing.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn load(&self) -> Result<(), StoreError> {
        self.known().map(drop)
    }

    /// The digest of the file's bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn digest(&self, path: &Path) -> Result<Digest, StoreError> {
        // The system finds a short path sooner than a whole one.
        let look = Look::at(path).map_err(|error| StoreError::read(path, error))?;
        let path = &*self.folder.join(path);
        if let Some(digest) = self.recall(path, &look, |seen| Some(seen.digest))? {
            return Ok(digest);
        }
        self.learn(path, look, || Digest::of_file(path), |digest| (*digest, None))
    }

    /// The bytes of a sidecar, or `None` where there is no such file; of one that is longer than [`LONGEST`] the
    /// first ones.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn sidecar(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let look = match Look::at(path) {
            Ok(look) => look,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::read(path, error)),
        };
        if look.size > LONGEST {
            let file = disk::open(path).map_err(|error| StoreError::read(path, error))?;
            let mut bytes = Vec::new();
            let read = file.take(LONGEST).read_to_end(&mut bytes);
            return read.map(|_| Some(bytes)).map_err(|error| StoreError::read(path, error));
        }
        let path = &*self.folder.join(path);
        let text = |seen: &Seen| seen.text.as_ref().map(|text| text.as_bytes().to_vec());
        if let Some(bytes) = self.recall(path, &look, text)? {
            return Ok(Some(bytes));
        }
        let short = |bytes: &Vec<u8>| {
            let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= INLINE_LIMIT);
            (Digest::of(bytes), text.map(Box::from))
        };
        self.learn(path, look, || disk::read(path), short).map(Some)
    }

    /// What is remembered of a file that still looks as it did.
    fn recall<T>(
        &self,
        path: &Path,
        look: &Look,
        what: impl FnOnce(&Seen) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let known = self.known()?;
        let seen = known.as_ref().and_then(|known| known.files.get(path.as_os_str()));
        Ok(seen.filter(|seen| seen.look == *look).and_then(what))
    }

    /// Reads a file that looks like this and remembers it, unless it may be changing.
    fn learn<T>(
        &self,
        path: &Path,
        look: Look,
        read: impl FnOnce() -> io::Result<T>,
        seen: impl FnOnce(&T) -> (Digest, Option<Box<str>>),
    ) -> Result<T, StoreError> {
        let failed = |error| StoreError::read(path, error);
        let started = clock::nanoseconds(SystemTime::now());
        let found = read().map_err(failed)?;
        let settled = started.saturating_sub(look.modified) > TICK.as_nanos() as i64;
        if settled && Look::at(path).map_err(failed)? == look {
            let (digest, text) = seen(&found);
            let seen = Seen { look, digest, text };
            self.write().get_or_insert_default().remember(path, seen);
        }
        Ok(found)
    }

    /// Remembers the digest of a file that nobody writes to any more.
    pub fn note(&self, path: &Path, digest: &Digest) {
        let path = &*self.folder.join(path);
        // Where it cannot be looked at, the digest is found again when it is asked for.
        if let (Ok(look), Ok(())) = (Look::at(path), self.load()) {
            let seen = Seen { look, digest: *digest, text: None };
            self.write().get_or_insert_default().remember(path, seen);
        }
    }

    /// Appends what was learned to the log.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<(), StoreError> {
        let lines = self.write().as_mut().map(|known| std::mem::take(&mut known.unsaved));
        let Some(lines) = lines.filter(|lines| !lines.is_empty()) else { return Ok(()) };
        if let Some(folder) = self.log.parent() {
            disk::create_folder(folder).map_err(|error| StoreError::write(folder, error))?;
        }
        // Losing a line costs a reading, so nothing waits for the disk here.
        atomic::append(&self.log, &lines, false)
            .map_err(|error| StoreError::write(&self.log, error))
    }

    /// What is known, read from the log the first time.
    fn known(&self) -> Result<RwLockReadGuard<'_, Option<Known>>, StoreError> {
        // A panic elsewhere cannot leave the map half changed.
        let read = || self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = read();
        if known.is_some() {
            return Ok(known);
        }
        drop(known);
        // Read without the lock: several threads read the log together, and one of them could meanwhile
        // take up work that waits for the lock that it holds itself.
        let loaded = Known::load(&self.log)?;
        self.write().get_or_insert(loaded);
        Ok(read())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Known>> {
        self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Known {
    fn load(log: &Path) -> Result<Self, StoreError> {
        /// What a line takes, about; room for all is made at once.
        const LINE: u64 = 256;
        let lines = std::fs::metadata(log).map_or(0, |log| log.len() / LINE);
        let mut files = HashMap::with_capacity(lines as usize);
        let read = |body: &[u8]| {
            let line: Line<String, Box<str>> = serde_json::from_slice(body).ok()?;
            let Line { path, digest, size, modified, inode, text } = line;
            let path = OsString::from(path).into_boxed_os_str();
            Some((path, Seen { look: Look { size, modified, inode }, digest, text }))
        };
        log::each(log, |_| true, read, |(path, seen)| drop(files.insert(path, seen)))?;
        Ok(Self { files, unsaved: Vec::new() })
    }

    fn remember(&mut self, path: &Path, seen: Seen) {
        let Seen { look: Look { size, modified, inode }, digest, text } = &seen;
        let (size, modified, inode) = (*size, *modified, *inode);
        let line = Line { path, digest: *digest, size, modified, inode, text: text.as_deref() };
        // A path that is not Unicode has no place in JSON; it is read again in the next process.
        let _ = log::write_line(&mut self.unsaved, &line);
        self.files.insert(path.as_os_str().into(), seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path, seconds: u64) {
        let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
        let then = SystemTime::now() - Duration::from_secs(seconds);
        file.file().set_modified(then).unwrap();
    }

    #[test]
    fn of_a_film_that_is_called_like_a_sidecar_little_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let film = fs_err::File::create(&path).unwrap();
        film.set_len(40 << 30).unwrap();
        age(&path, 60);
        let files = Files::new(folder.path().join("files.log")).unwrap();
        let read = files.sidecar(&path).unwrap().unwrap();
        assert_eq!(read.len() as u64, LONGEST);
    }

    #[test]
    fn a_settled_file_is_read_once_and_a_fresh_one_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let [path, log] = ["a", "files.log"].map(|name| folder.path().join(name));
        fs_err::write(&path, "one").unwrap();
        let files = Files::new(log.clone()).unwrap();
        assert_eq!(files.digest(&path).unwrap(), Digest::of(b"one"));
        files.save().unwrap();
        assert!(!log.exists(), "a fresh file is not remembered");

        age(&path, 60);
        files.digest(&path).unwrap();
        files.save().unwrap();
        // Same size, time and inode: the log's word is taken, which shows that the file was not read.
        let modified = fs_err::metadata(&path).unwrap().modified().unwrap();
        let file = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file.file(), b"two").unwrap();
        file.file().set_modified(modified).unwrap();
        assert_eq!(Files::new(log.clone()).unwrap().digest(&path).unwrap(), Digest::of(b"one"));

        age(&path, 30);
        assert_eq!(Files::new(log).unwrap().digest(&path).unwrap(), Digest::of(b"two"));
    }

    #[test]
    fn a_mapped_file_has_the_digest_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        // Large enough to be mapped.
        let bytes: Vec<u8> = (0..(1_u64 << 20) + 77).map(|place| place as u8).collect();
        fs_err::write(&path, &bytes).unwrap();
        let files = Files::new(folder.path().join("files.log")).unwrap();
        assert_eq!(files.digest(&path).unwrap(), Digest::of(&bytes));
    }
}
