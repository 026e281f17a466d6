//! Finding the pictures of a folder.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

use super::DatasetError;
use crate::base::disk::{self, Call};

/// Extensions of pictures, in lower case; files may write them in any case.
pub(super) const EXTENSIONS: [&str; 10] =
    ["png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif", "tif", "tiff", "avif"];

/// A picture on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its path within the dataset's folder, with `/` between the parts on every system.
    pub relative: String,
}

/// Lists the pictures of `folder`, and of the folders below it if `recursive`, sorted by path (part
/// by part, by code point). Links to files are followed, links to folders are not; names that begin
/// with a dot are passed over, since they are the system's and not the user's.
///
/// # Errors
/// The folder cannot be read or holds no picture; a name is not UTF-8, or has a line end or another character
/// that is none to see; pictures differ only in their
/// extension and would share a sidecar (all such groups at once).
pub fn scan(folder: &Path, recursive: bool) -> Result<Vec<PictureFile>, DatasetError> {
    disk::announce(Call::List, folder)
        .map_err(|source| DatasetError::Read { path: folder.to_owned(), source })?;
    let depth = if recursive { usize::MAX } else { 1 };
    let walk = WalkDir::new(folder).min_depth(1).max_depth(depth);
    let mut pictures = Vec::new();
    for entry in walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry)) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            DatasetError::Read { path, source: error.into() }
        })?;
        if is_picture(entry.path()) && is_file(&entry) {
            let relative = relative(folder, entry.path())?;
            pictures.push(PictureFile { path: entry.into_path(), relative });
        }
    }
    if pictures.is_empty() {
        return Err(DatasetError::Empty { folder: folder.to_owned() });
    }
    pictures.sort_by(|a, b| part_by_part(&a.relative).cmp(part_by_part(&b.relative)));
    refuse_shared_sidecars(pictures.iter().map(|picture| (picture.path.as_path(), &picture.path)))?;
    Ok(pictures)
}

/// What sorts a relative path part by part: no name holds a byte below the one that separates them here.
fn part_by_part(relative: &str) -> impl Iterator<Item = u8> {
    relative.bytes().map(|byte| if byte == b'/' { 0 } else { byte })
}

/// Whether `extension` (without dot) is one that pictures have.
pub(super) fn is_picture_extension(extension: &str) -> bool {
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Whether the extension of `path` is one that pictures have, in any case.
#[must_use]
pub fn is_picture(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(is_picture_extension)
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn is_file(entry: &DirEntry) -> bool {
    entry.file_type().is_file() || (entry.path_is_symlink() && entry.path().is_file())
}

fn relative(folder: &Path, path: &Path) -> Result<String, DatasetError> {
    let parts = path.strip_prefix(folder).unwrap_or(path).iter().map(|part| part.to_str());
    let parts: Option<Vec<_>> = parts.collect();
    let name = parts.ok_or_else(|| DatasetError::FileName { path: path.to_owned() })?.join("/");
    match name.contains(char::is_control) {
        true => Err(DatasetError::ControlName { path: path.to_owned() }),
        false => Ok(name),
    }
}

/// Refuses different pictures that would share a sidecar. Each comes with the place of its sidecars,
/// whose extension does not count. One picture may be there several times, as in two datasets.
///
/// # Errors
/// There are such pictures; all groups are named at once.
pub fn refuse_shared_sidecars<'a>(
    pictures: impl Iterator<Item = (&'a Path, impl AsRef<Path>)>,
) -> Result<(), DatasetError> {
    let pictures: Vec<_> = pictures.collect();
    let mut pictures: Vec<_> =
        pictures.iter().map(|(picture, path)| (*picture, place(path.as_ref()))).collect();
    pictures.sort_by_key(|(_, place)| *place);
    let mut groups = Vec::new();
    for sharing in pictures.chunk_by(|(_, one), (_, other)| one == other) {
        let mut group: Vec<PathBuf> = Vec::new();
        for (picture, _) in sharing {
            if !group.iter().any(|other| is_same_file(other, picture)) {
                group.push((*picture).to_owned());
            }
        }
        if group.len() > 1 {
            groups.push(group);
        }
    }
    if groups.is_empty() { Ok(()) } else { Err(DatasetError::SharedStem { groups }) }
}

/// A path without its extension. The folder is compared letter by letter: what `Path` does beyond that
/// takes its time, and the paths of one scan are written alike.
fn place(path: &Path) -> (Option<&OsStr>, Option<&OsStr>) {
    (path.parent().map(Path::as_os_str), path.file_stem())
}

/// Whether two paths lead to one file, however they are written.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    one == other || canonical(one).is_some_and(|one| canonical(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, b"").unwrap();
        }
        folder
    }

    fn names(folder: &Path, recursive: bool) -> Vec<String> {
        scan(folder, recursive).unwrap().into_iter().map(|picture| picture.relative).collect()
    }

    #[test]
    fn pictures_are_found_in_any_case_and_sorted_part_by_part() {
        let made =
            folder(&["b.JPG", "a.Png", "a.txt", "sub/x.webp", "sub.d/y.tiff", ".hidden.png", "c"]);
        assert_eq!(names(made.path(), false), ["a.Png", "b.JPG"]);
        // `sub` comes before `sub.d`, although `.` sorts before `/`.
        assert_eq!(names(made.path(), true), ["a.Png", "b.JPG", "sub/x.webp", "sub.d/y.tiff"]);
    }

    #[test]
    fn an_empty_folder_and_a_missing_one_are_errors() {
        let made = folder(&["a.txt", "sub/x.png"]);
        assert!(matches!(scan(made.path(), false), Err(DatasetError::Empty { .. })));
        let missing = made.path().join("missing");
        assert!(
            matches!(scan(&missing, false), Err(DatasetError::Read { path, .. }) if path == missing)
        );
    }

    #[test]
    fn pictures_with_one_stem_are_an_error_that_names_them_all() {
        let made = folder(&["a.png", "sub/a.png", "sub/a.jpg", "sub/A.gif"]);
        assert_eq!(names(made.path(), false), ["a.png"]);
        let message = |folder: &Path| {
            let message = scan(folder, true).unwrap_err().to_string();
            message.replace(&folder.display().to_string(), "")
        };
        assert_eq!(
            message(made.path()),
            "/sub/a.jpg and /sub/a.png differ only in their extension, so they would share one sidecar"
        );
        let more = folder(&["b.JPG", "b.jpg", "b.webp", "c.bmp", "c.tif", "d.png"]);
        assert_eq!(
            message(more.path()),
            "2 groups of pictures differ only in their extension, so each would share one sidecar:\n\
             /b.JPG and /b.jpg and /b.webp\n/c.bmp and /c.tif"
        );
        let many: Vec<_> =
            (0..24).map(|i| format!("{:02}.{}", i / 2, ["png", "gif"][i % 2])).collect();
        let many = folder(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(message(many.path()).ends_with("/09.gif and /09.png\nand 2 more"));
    }

    #[cfg(unix)]
    #[test]
    fn links_to_files_are_followed_and_links_to_folders_are_not() {
        use std::os::unix::fs::symlink;
        let (made, elsewhere) = (folder(&["a.png"]), folder(&["b.png", "deep/c.png"]));
        symlink(elsewhere.path().join("b.png"), made.path().join("link.png")).unwrap();
        symlink(elsewhere.path().join("gone.png"), made.path().join("dead.png")).unwrap();
        symlink(elsewhere.path().join("deep"), made.path().join("deep")).unwrap();
        assert_eq!(names(made.path(), true), ["a.png", "link.png"]);
    }
}
