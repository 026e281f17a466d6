//! Digests of the user's files, remembered by path, size, modification time and inode, so that a
//! 24 GB weight file is read once and not at every start.

use std::{
    collections::HashMap,
    fs::Metadata,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{StoreError, log};
use crate::base::{Digest, atomic, clock};

/// Above this size a file is memory-mapped and digested by all cores.
const MAP_FROM: u64 = 1 << 20;

/// A file changed within this time before it was read could change once more and look the same, for
/// file systems count in ticks; its digest is not remembered. 2 s is the coarsest tick in use (FAT).
const TICK: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    size: u64,
    modified: i64,
    inode: u64,
}

impl Look {
    fn of(metadata: &Metadata) -> std::io::Result<Self> {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Self { size: metadata.len(), modified: clock::nanoseconds(metadata.modified()?), inode })
    }
}

#[derive(Serialize, Deserialize)]
struct Line<P> {
    path: P,
    digest: Digest,
    #[serde(flatten)]
    look: Look,
}

/// The remembered digests.
#[derive(Debug)]
pub struct Files {
    log: PathBuf,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    digests: HashMap<PathBuf, (Look, Digest)>,
    unsaved: Vec<u8>,
}

impl Files {
    pub fn new(log: PathBuf) -> Self {
        Self { log, known: Mutex::new(None) }
    }

    /// The digest of the file's bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn digest(&self, path: &Path) -> Result<Digest, StoreError> {
        let failed = |error| StoreError::read(path, error);
        let path = std::path::absolute(path).map_err(failed)?;
        let look = fs_err::metadata(&path).and_then(|metadata| Look::of(&metadata));
        let look = look.map_err(failed)?;
        if let Some(digest) = self.with(|known| {
            let (seen, digest) = known.digests.get(&path)?;
            (*seen == look).then_some(*digest)
        })? {
            return Ok(digest);
        }
        let started = SystemTime::now();
        let digest = digest_bytes(&path, look.size).map_err(failed)?;
        let after = fs_err::metadata(&path).and_then(|metadata| Look::of(&metadata));
        let settled =
            clock::nanoseconds(started).saturating_sub(look.modified) > TICK.as_nanos() as i64;
        if settled && after.map_err(failed)? == look {
            self.with(|known| known.remember(path, look, digest))?;
        }
        Ok(digest)
    }

    /// Appends what was learned to the log.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<(), StoreError> {
        let lines = self.with(|known| std::mem::take(&mut known.unsaved))?;
        if lines.is_empty() {
            return Ok(());
        }
        if let Some(folder) = self.log.parent() {
            fs_err::create_dir_all(folder).map_err(|error| StoreError::write(folder, error))?;
        }
        // Losing a line costs a reading, so nothing waits for the disk here.
        atomic::append(&self.log, &lines, false)
            .map_err(|error| StoreError::write(&self.log, error))
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Known) -> T) -> Result<T, StoreError> {
        // A panic elsewhere cannot leave the map half changed.
        let mut slot = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(Known::load(&self.log)?);
        }
        Ok(use_it(slot.get_or_insert_default()))
    }
}

impl Known {
    fn load(log: &Path) -> Result<Self, StoreError> {
        let bytes = log::read(log)?;
        let lines = log::bodies(&bytes)
            .into_iter()
            .filter_map(|place| serde_json::from_slice::<Line<PathBuf>>(&bytes[place]).ok());
        let digests = lines.map(|line| (line.path, (line.look, line.digest))).collect();
        Ok(Self { digests, unsaved: Vec::new() })
    }

    fn remember(&mut self, path: PathBuf, look: Look, digest: Digest) {
        let line = Line { path: path.as_path(), digest, look: look.clone() };
        // A path that is not Unicode has no place in JSON; it is read again in the next process.
        let _ = log::write_line(&mut self.unsaved, &line);
        self.digests.insert(path, (look, digest));
    }
}

fn digest_bytes(path: &Path, size: u64) -> std::io::Result<Digest> {
    if size < MAP_FROM {
        return Ok(Digest::of(&fs_err::read(path)?));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap_rayon(path)?;
    Ok(Digest::from_hasher(&hasher))
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
    fn a_settled_file_is_read_once_and_a_fresh_one_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let [path, log] = ["a", "files.log"].map(|name| folder.path().join(name));
        fs_err::write(&path, "one").unwrap();
        let files = Files::new(log.clone());
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
        assert_eq!(Files::new(log.clone()).digest(&path).unwrap(), Digest::of(b"one"));

        age(&path, 30);
        assert_eq!(Files::new(log).digest(&path).unwrap(), Digest::of(b"two"));
    }

    #[test]
    fn a_mapped_file_has_the_digest_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        let bytes: Vec<u8> = (0..(MAP_FROM + 77)).map(|place| place as u8).collect();
        fs_err::write(&path, &bytes).unwrap();
        let files = Files::new(folder.path().join("files.log"));
        assert_eq!(files.digest(&path).unwrap(), Digest::of(&bytes));
    }
}
