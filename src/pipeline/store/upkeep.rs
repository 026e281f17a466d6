//! What is asked of a store as a whole, by [`housekeeping`](crate::pipeline::housekeeping): who works in it,
//! what the names of its files say, logs written anew.

use std::path::{Path, PathBuf};

use super::{Store, StoreError, health, log, object, unsealed};
use crate::base::{Digest, Lock, atomic, disk};

impl Store {
    /// Takes part in the store with others, as a run does; `Err` with the process that has it alone.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn take_part(&self) -> Result<Result<Lock, Option<u32>>, StoreError> {
        self.whole(Lock::try_share)
    }

    /// Takes the store alone, so that no run makes or needs what is removed; `Err` with a process that
    /// takes part in it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn take_alone(&self) -> Result<Result<Lock, Option<u32>>, StoreError> {
        self.whole(Lock::try_take)
    }

    fn whole(
        &self,
        take: impl Fn(&Path) -> std::io::Result<Option<Lock>>,
    ) -> Result<Result<Lock, Option<u32>>, StoreError> {
        // No stage's lock is called so: those have an ending.
        let path = self.folder("locks")?.join("store");
        match take(&path) {
            Ok(Some(lock)) => Ok(Ok(lock)),
            Ok(None) => Ok(Err(Lock::holder(&path))),
            Err(error) => Err(StoreError::write(path, error)),
        }
    }

    /// The digest that the path of an object names; `None` where no object has such a path.
    pub(in crate::pipeline) fn object_digest(&self, path: &Path) -> Option<Digest> {
        let inside = path.strip_prefix(self.root().join("objects")).ok()?;
        let digest = inside.iter().map(|name| name.to_str()).collect::<Option<String>>()?;
        let digest = digest.parse().ok()?;
        (self.object(&digest) == path).then_some(digest)
    }

    /// Compares an object with its digest, unless this process has done so.
    ///
    /// # Errors
    /// It is gone or damaged.
    pub(in crate::pipeline) fn whole_object(&self, digest: &Digest) -> Result<(), StoreError> {
        health::check(self, digest)
    }

    /// Stores what `reader` gives as the object of this digest; says whether it is that.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub(in crate::pipeline) fn put_stream(
        &self,
        digest: &Digest,
        size: u64,
        reader: &mut dyn std::io::Read,
    ) -> Result<bool, StoreError> {
        object::put_stream(self, digest, size, reader)
    }

    /// Names of all states of trainings.
    pub fn state_names(&self) -> Vec<Digest> {
        let entries = disk::list(&self.root.join("states")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// How many lines of a log are passed over.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(in crate::pipeline) fn broken_lines(&self, path: &Path) -> Result<usize, StoreError> {
        log::broken(path)
    }

    /// Writes the log `to` anew, of the whole lines of `from` whose bodies are to be kept; says how many
    /// those are.
    ///
    /// # Errors
    /// `from` cannot be read, or `to` not written.
    pub(in crate::pipeline) fn keep_lines(
        &self,
        from: &Path,
        to: &Path,
        keep: impl Fn(&[u8]) -> bool + Sync,
    ) -> Result<usize, StoreError> {
        let (bytes, count) = log::kept(from, keep)?;
        atomic::write(to, &bytes).map_err(|error| StoreError::write(to, error))?;
        Ok(count)
    }

    /// Writes a log of records anew, without those of the keys that `goes` says; says how many are left.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub(in crate::pipeline) fn forget_records(
        &self,
        path: &Path,
        goes: impl Fn(&Digest) -> bool + Sync,
    ) -> Result<usize, StoreError> {
        let stays = |body: &[u8]| super::record::key_of(body).is_none_or(|key| !goes(&key));
        self.keep_lines(path, path, stays)
    }

    /// Whether a derived file is what was written.
    pub(in crate::pipeline) fn is_sealed(&self, path: &Path) -> bool {
        disk::read(path).ok().and_then(unsealed).is_some()
    }

    /// Moves something damaged out of the way; `None` where that cannot be done.
    pub(in crate::pipeline) fn move_away(&self, path: &Path) -> Option<PathBuf> {
        // An object is called by its whole digest there, and other files by where they were.
        let name = self.object_digest(path).map(|digest| digest.hex());
        let inside = path.strip_prefix(&self.root).unwrap_or(path);
        let name = name.unwrap_or_else(|| inside.to_string_lossy().replace(['/', '\\'], "-"));
        health::move_away(self, path, &name)
    }
}
