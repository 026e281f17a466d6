//! How much can still be written where.

use std::path::{Path, PathBuf};

/// Tests set this to a number of bytes, to see what happens on a disk that is nearly full.
const FOR_TESTS: &str = "FLUXPIPE_TEST_DISK_FREE";

/// Bytes that can still be written below `path`, which need not exist yet. `None` where the system
/// does not tell.
#[must_use]
pub fn disk_free(path: &Path) -> Option<u64> {
    if let Some(bytes) = std::env::var_os(FOR_TESTS) {
        return bytes.to_str()?.parse().ok();
    }
    let path = existing(path)?;
    room(&path)
}

/// What the file system says that holds `path`. A list of disks would lack those in memory, on the network
/// and of containers.
#[cfg(target_os = "linux")]
fn room(path: &Path) -> Option<u64> {
    use std::{ffi::CString, mem::MaybeUninit, os::unix::ffi::OsStrExt};
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero, and where the call tells of success it has filled `found`.
    #[expect(unsafe_code, reason = "the library has no call for this")]
    let found = unsafe {
        match libc::statvfs(path.as_ptr(), found.as_mut_ptr()) {
            0 => found.assume_init(),
            _ => return None,
        }
    };
    Some(found.f_bavail * found.f_frsize)
}

#[cfg(not(target_os = "linux"))]
fn room(path: &Path) -> Option<u64> {
    let disks = sysinfo::Disks::new_with_refreshed_list();
    // Mounts may lie inside each other: the longest mount point is the one that holds the path.
    let holding = disks.iter().filter(|disk| path.starts_with(disk.mount_point()));
    holding
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        .map(sysinfo::Disk::available_space)
}

/// The nearest folder above `path` that exists, in full.
fn existing(path: &Path) -> Option<PathBuf> {
    let full = std::path::absolute(path).ok()?;
    full.ancestors().find_map(|ancestor| std::fs::canonicalize(ancestor).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn free_space_is_known_where_no_disk_is_listed() {
        // A file system in memory, which lists of disks leave out.
        let shared = Path::new("/dev/shm");
        assert!(!shared.is_dir() || disk_free(shared).is_some());
        // Nothing can be written below /proc, whatever the disk under `/` has.
        assert_eq!(disk_free(Path::new("/proc")), Some(0));
    }

    #[test]
    fn free_space_is_known_for_a_folder_that_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        assert!(disk_free(&folder.path().join("a/b")).is_some_and(|bytes| bytes > 0));
    }
}
