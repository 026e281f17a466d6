//! What this process found out about objects: which are whole, and which turned out to be lost.
//!
//! An object is compared with its digest when its bytes are read, or when its file is handed out for the
//! first time. One that is not what it was is moved to `damaged/`, where it harms nobody and can still be
//! looked at; whoever decides next finds it missing. Knows nothing of items and stages.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Store, StoreError, object};
use crate::base::{Digest, atomic, disk};

/// Above this size a file is digested by all cores; below by the thread that asks, since the others
/// compute meanwhile.
const TOGETHER: u64 = 64 << 20;

/// A stored output that was there and is not any more.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Its digest.
    pub digest: Digest,
    /// Where it was looked for.
    pub path: PathBuf,
    /// Whether its file is there with other bytes, rather than gone.
    pub damaged: bool,
    /// Where the damaged file is now, if it could be moved.
    pub moved: Option<PathBuf>,
    /// Whether it was found so in the shared store.
    pub shared: bool,
}

/// An object, and whether it is that of the shared store.
pub type Place = (Digest, bool);

/// What is known.
#[derive(Debug, Default)]
pub struct Health(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    whole: HashSet<Place>,
    /// Damaged, and still in place: the store cannot be written.
    unusable: HashSet<Place>,
    /// Found lost, and not found whole since: several threads may come upon one of them.
    gone: HashSet<Place>,
    lost: Vec<Lost>,
}

impl Health {
    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic elsewhere cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the object was found whole by this process.
    pub fn is_whole(&self, place: &Place) -> bool {
        self.known().whole.contains(place)
    }

    /// Notes that an object is whole.
    pub fn found_whole(&self, place: Place) {
        let mut known = self.known();
        known.unusable.remove(&place);
        known.gone.remove(&place);
        known.whole.insert(place);
    }

    /// Whether nothing is known that speaks against the object.
    pub fn is_usable(&self, place: &Place) -> bool {
        !self.known().unusable.contains(place)
    }

    /// Notes that an object is lost.
    pub fn found_lost(&self, lost: Lost) {
        let mut known = self.known();
        let place = (lost.digest, lost.shared);
        known.whole.remove(&place);
        if lost.damaged && lost.moved.is_none() {
            known.unusable.insert(place);
        }
        if known.gone.insert(place) {
            known.lost.push(lost);
        }
    }

    /// What was lost since so many were known.
    pub fn lost_since(&self, known: usize) -> Vec<Lost> {
        self.known().lost.get(known..).unwrap_or_default().to_vec()
    }

    /// How many were found lost.
    pub fn lost(&self) -> usize {
        self.known().lost.len()
    }
}

/// Compares the object with its digest, unless this process has done so.
///
/// # Errors
/// It is gone or damaged.
pub fn check(store: &Store, digest: &Digest) -> Result<(), StoreError> {
    if store.health.is_whole(&store.place(digest)) {
        return Ok(());
    }
    let path = store.object(digest);
    match digest_of(&path) {
        Ok(found) if found == *digest => {
            store.health.found_whole(store.place(digest));
            Ok(())
        }
        Ok(found) => Err(damaged(store, digest, found)),
        Err(error) => Err(unreadable(store, digest, error)),
    }
}

/// The digest of a file's bytes.
pub fn digest_of(path: &Path) -> io::Result<Digest> {
    match object::size(path) {
        Some(size) if size >= TOGETHER => Digest::of_file(path),
        _ => Ok(Digest::of(&disk::map(path)?)),
    }
}

/// Notes that an object cannot be read; its error.
pub fn unreadable(store: &Store, digest: &Digest, error: io::Error) -> StoreError {
    let path = store.object(digest);
    if error.kind() == io::ErrorKind::NotFound {
        let (digest, path) = (*digest, path.clone());
        let shared = store.is_shared;
        let lost = Lost { digest, path, damaged: false, moved: None, shared };
        store.health.found_lost(lost);
    }
    StoreError::read(path, error)
}

/// Moves an object out of the way that has the digest `found` instead of its own; its error.
pub fn damaged(store: &Store, digest: &Digest, found: Digest) -> StoreError {
    let path = store.object(digest);
    let moved = move_away(store, &path, &digest.hex());
    // Another process may have seen it too, and a whole one may be in its place since.
    if let Some(moved) = &moved
        && digest_of(moved).is_ok_and(|found| found == *digest)
    {
        let _ = atomic::place(moved, &path);
    }
    let digest = *digest;
    let shared = store.is_shared;
    let lost = Lost { digest, path: path.clone(), damaged: true, moved, shared };
    store.health.found_lost(lost);
    StoreError::Damaged { path, found }
}

/// Moves a damaged file to `damaged/`, under a name that none there has; `None` where that cannot be done.
pub fn move_away(store: &Store, path: &Path, name: &str) -> Option<PathBuf> {
    let folder = store.folder("damaged").ok()?;
    let names = std::iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}-{n}")));
    let to = names.map(|name| folder.join(name)).find(|to| !to.exists())?;
    match atomic::place(path, &to) {
        Ok(()) => Some(to),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a damaged file cannot be moved away");
            None
        }
    }
}
