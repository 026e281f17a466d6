//! Which version of the store's layout there is, so that one of another version of fluxpipe is named and
//! not taken for an empty one.

use std::path::Path;

use super::StoreError;
use crate::base::disk;

/// The folder of the layout that this program reads and writes.
pub const LAYOUT: &str = "v1";

/// Looks into the folder of a store: with a layout of ours, or none, all is well.
///
/// # Errors
/// There are only layouts of other versions.
pub fn check(store: &Path) -> Result<(), StoreError> {
    if store.join(LAYOUT).is_dir() {
        return Ok(());
    }
    // What cannot be listed is told when it is to be read or written.
    let entries = disk::list(store).into_iter().flatten().flatten();
    let mut others: Vec<_> = entries
        .filter(|entry| entry.path().is_dir() && is_layout(&entry.file_name()))
        .map(|entry| entry.path())
        .collect();
    others.sort();
    others.pop().map_or(Ok(()), |path| Err(StoreError::Version { path }))
}

fn is_layout(name: &std::ffi::OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_prefix('v'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_of_another_version_alone_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let there = |name: &str| std::fs::create_dir_all(folder.path().join(name)).unwrap();
        let checked = || check(folder.path()).map_err(|error| error.to_string());
        check(&folder.path().join("none")).unwrap();
        checked().unwrap();
        there("notes");
        there("videos");
        checked().unwrap();
        for other in ["v0", "v2"] {
            there(other);
            assert!(checked().unwrap_err().contains(other), "{:?}", checked());
        }
        there(LAYOUT);
        checked().unwrap();
    }
}
