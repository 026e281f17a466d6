//! Objects: read-only files named by the digest of their bytes.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{Store, StoreError, health};
use crate::{
    base::{Digest, atomic, disk},
    pipeline::{Blob, Content, INLINE_LIMIT},
};

/// How a file of this size looks is remembered when it becomes an object, so that a checkpoint that is
/// published need not be read to see that nobody changed it.
const LARGE: u64 = 1 << 20;

/// Stores one blob; it is on the disk when this returns.
pub fn put(store: &Store, name: String, content: Content) -> Result<Blob, StoreError> {
    match content {
        Content::Bytes(bytes) => {
            let digest = Digest::of(&bytes);
            let size = bytes.len() as u64;
            let text = match inline(bytes) {
                Ok(text) => Some(text),
                Err(bytes) => {
                    put_bytes(store, &digest, &bytes)?;
                    None
                }
            };
            Ok(Blob { name, digest, size, text })
        }
        Content::File(path) => {
            // A disk may turn out to be full only here.
            disk::flush(&path).map_err(|error| StoreError::write(&path, error))?;
            let (digest, size) = measure(&path).map_err(|error| StoreError::read(&path, error))?;
            adopt(store, &digest, size, &path)?;
            Ok(Blob { name, digest, size, text: None })
        }
    }
}

/// Stores bytes under their digest, if they are not there yet.
pub fn put_bytes(store: &Store, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
    if is_there(store, digest, bytes.len() as u64) {
        return Ok(());
    }
    let temporary = temporary(store)?;
    let staged = atomic::stage(&temporary, bytes);
    staged.map_err(|error| StoreError::write(&temporary, error))?;
    adopt(store, digest, bytes.len() as u64, &temporary)
}

/// Stores what `reader` gives under its digest, if that is so; else nothing, and says so.
pub fn put_stream(
    store: &Store,
    digest: &Digest,
    size: u64,
    reader: &mut dyn io::Read,
) -> Result<bool, StoreError> {
    let temporary = temporary(store)?;
    let mut written = || {
        let mut file = disk::File::create(&temporary)?;
        let length = io::copy(&mut reader.take(size), &mut file)?;
        file.flush_to_disk()?;
        Ok(length)
    };
    let written = written().map_err(|error| StoreError::write(&temporary, error));
    let whole = written.and_then(|length| {
        let found = Digest::of_file(&temporary);
        let found = found.map_err(|error| StoreError::read(&temporary, error))?;
        Ok(length == size && found == *digest)
    });
    if !matches!(whole, Ok(true)) {
        let _ = disk::remove(&temporary);
        return whole;
    }
    adopt(store, digest, size, &temporary).map(|()| true)
}

/// The bytes, checked against their digest.
pub fn read(store: &Store, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    let bytes = disk::read(&store.object(digest));
    let bytes = bytes.map_err(|error| health::unreadable(store, digest, error))?;
    let found = Digest::of(&bytes);
    if found != *digest {
        return Err(health::damaged(store, digest, found));
    }
    Ok(bytes)
}

/// Whether a whole object of this size is there. A damaged one is moved away, so that what was made
/// again takes its place.
fn is_there(store: &Store, digest: &Digest, length: u64) -> bool {
    size(&store.object(digest)) == Some(length) && health::check(store, digest).is_ok()
}

/// Size of the object at `path`, if there is one.
pub fn size(path: &Path) -> Option<u64> {
    // Not through fs_err: a missing object is no error, and its message would be made 100 000 times.
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// Short texts stand in the record itself: captions, not small binary files, which a reader wants to map.
fn inline(bytes: Vec<u8>) -> Result<String, Vec<u8>> {
    let plain = |letter: char| !letter.is_control() || "\n\r\t".contains(letter);
    if bytes.len() > INLINE_LIMIT {
        return Err(bytes);
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.chars().all(plain) => Ok(text),
        Ok(text) => Err(text.into_bytes()),
        Err(error) => Err(error.into_bytes()),
    }
}

/// Makes a finished file an object.
fn adopt(store: &Store, digest: &Digest, length: u64, from: &Path) -> Result<(), StoreError> {
    let path = store.object(digest);
    if is_there(store, digest, length) {
        let _ = disk::remove(from);
        return Ok(());
    }
    let adopt = || {
        if let Some(folder) = path.parent()
            && !folder.is_dir()
        {
            disk::create_folder(folder)?;
            atomic::flush_folder_of(folder)?;
        }
        disk::protect(from)?;
        atomic::place(from, &path)
    };
    adopt().map_err(|error| StoreError::write(&path, error))?;
    store.health.found_whole(store.place(digest));
    if length >= LARGE {
        store.files.note(&path, digest);
    }
    Ok(())
}

/// Digest and size of a finished file.
fn measure(path: &Path) -> io::Result<(Digest, u64)> {
    Ok((Digest::of_file(path)?, std::fs::metadata(path)?.len()))
}

/// A name that no other has: not of this process, and not of one of this number on another machine.
fn temporary(store: &Store) -> Result<PathBuf, StoreError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static DRAWN: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(store.folder("tmp")?.join(format!("{}-{:x}-{count}", std::process::id(), *DRAWN)))
}

/// Removes files that were left a day ago: younger ones may belong to a live process.
pub fn clear_temporary(folder: &Path) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let Ok(entries) = disk::list(folder) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.map(|modified| SystemTime::now().duration_since(modified));
        if matches!(age, Ok(Ok(age)) if age > DAY) {
            let _ = disk::remove(&entry.path());
        }
    }
}
