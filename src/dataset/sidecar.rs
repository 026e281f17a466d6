//! Sidecars: the text files that hold a picture's caption or tags.

use std::path::{Path, PathBuf};

use super::{DatasetError, PictureFile, scan::is_picture_extension};
use crate::base::disk;

/// Bytes of the longest text that is read as a caption or tags: some hundred times what an encoder reads.
pub const TEXT_LIMIT: usize = 1 << 20;

/// Where the sidecar of a picture lies: beside it, or at the same relative path under `sidecars`. The
/// picture's extension gives way to `extension`, which may be written with or without its dot.
///
/// # Errors
/// `extension` is empty, leaves the folder, or is one that pictures have, so that writing a caption
/// could overwrite a picture.
pub fn sidecar_path(
    picture: &PictureFile,
    sidecars: Option<&Path>,
    extension: &str,
) -> Result<PathBuf, DatasetError> {
    let bare = extension.strip_prefix('.').unwrap_or(extension);
    if bare.is_empty() || bare.contains(['/', '\\']) || is_picture_extension(bare) {
        return Err(DatasetError::SidecarExtension { extension: extension.to_owned() });
    }
    let place = match sidecars {
        None => picture.path.clone(),
        Some(folder) => folder.join(&picture.relative),
    };
    Ok(place.with_extension(bare))
}

/// Reads a sidecar, or `None` if there is none.
///
/// # Errors
/// The file cannot be read, is not UTF-8, or has more than [`TEXT_LIMIT`] bytes.
pub fn read_sidecar(path: &Path) -> Result<Option<String>, DatasetError> {
    match disk::read(path) {
        Ok(bytes) => decode_text(&bytes, path).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DatasetError::Read { path: path.to_owned(), source }),
    }
}

/// The text of a sidecar: without byte order mark, lines ending in `\n`, no white space around it.
/// `path` is only named in errors.
///
/// # Errors
/// The bytes are not UTF-8, or more than [`TEXT_LIMIT`].
pub fn decode_text(bytes: &[u8], path: &Path) -> Result<String, DatasetError> {
    if bytes.len() > TEXT_LIMIT {
        return Err(DatasetError::TooLong { path: path.to_owned() });
    }
    let text = str::from_utf8(bytes).map_err(|error| DatasetError::NotText {
        path: path.to_owned(),
        at: error.valid_up_to(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.contains('\r') {
        return Ok(text.trim().to_owned());
    }
    Ok(text.replace("\r\n", "\n").replace('\r', "\n").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> PictureFile {
        PictureFile { path: "data/sub/a.b.png".into(), relative: "sub/a.b.png".to_owned() }
    }

    #[test]
    fn sidecars_lie_beside_the_picture_or_in_a_folder_of_their_own() {
        let path = |sidecars: Option<&str>, extension| {
            sidecar_path(&picture(), sidecars.map(Path::new), extension).unwrap()
        };
        assert_eq!(path(None, ".caption"), Path::new("data/sub/a.b.caption"));
        assert_eq!(path(None, "wd.txt"), Path::new("data/sub/a.b.wd.txt"));
        assert_eq!(path(Some("words"), "txt"), Path::new("words/sub/a.b.txt"));
    }

    #[test]
    fn no_sidecar_can_overwrite_a_picture_or_leave_its_folder() {
        for extension in ["", ".", ".png", "JPG", "/../x"] {
            assert!(sidecar_path(&picture(), None, extension).is_err(), "{extension}");
        }
    }

    #[test]
    fn marks_line_ends_and_margins_are_cleaned_away() {
        let text = |bytes: &[u8]| decode_text(bytes, Path::new("a.txt"));
        assert_eq!(text(b"\xef\xbb\xbf  a cat\r\non a mat\r \n").unwrap(), "a cat\non a mat");
        assert_eq!(text(b"").unwrap(), "");
        assert!(matches!(text(b"caf\xe9"), Err(DatasetError::NotText { at: 3, .. })));
    }

    #[test]
    fn a_missing_sidecar_is_none_and_a_folder_in_its_place_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_sidecar(&folder.path().join("a.txt")).unwrap(), None);
        assert!(matches!(read_sidecar(folder.path()), Err(DatasetError::Read { .. })));
    }
}
