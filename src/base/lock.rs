//! Locks that the operating system holds for a live process, and lets go when it ends in any way. A
//! lock file that lies about means nothing: only a held handle does.

use std::{
    fs::TryLockError,
    io::{self, Write},
    path::Path,
};

use super::disk;

/// A lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: disk::File,
}

impl Lock {
    /// Takes the lock on the file `path`, made if need be; `None` while somebody else holds it.
    ///
    /// # Errors
    /// The file cannot be opened, or the file system knows no locks.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        Self::take(path, std::fs::File::try_lock)
    }

    /// Takes the lock together with all others who share it; `None` while somebody holds it alone.
    ///
    /// # Errors
    /// As [`Lock::try_take`].
    pub fn try_share(path: &Path) -> io::Result<Option<Self>> {
        Self::take(path, std::fs::File::try_lock_shared)
    }

    fn take(
        path: &Path,
        lock: impl Fn(&std::fs::File) -> Result<(), TryLockError>,
    ) -> io::Result<Option<Self>> {
        let mut file = disk::File::keep(path)?;
        match lock(file.handle()) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Only to tell those who wait whom they wait for.
        file.clear()?;
        write!(file, "{}", std::process::id())?;
        Ok(Some(Self { _file: file }))
    }

    /// The process that took the lock last, as it wrote it down.
    #[must_use]
    pub fn holder(path: &Path) -> Option<u32> {
        disk::read_to_string(path).ok()?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn one_at_a_time_and_a_left_file_means_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, "4000000").unwrap();
        let held = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert_eq!(Lock::holder(&path), Some(std::process::id()));
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn who_shares_keeps_out_only_who_wants_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let shared = [0, 1].map(|_| Lock::try_share(&path).unwrap().unwrap());
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(shared);
        let alone = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_share(&path).unwrap().is_none());
        drop(alone);
    }
}
