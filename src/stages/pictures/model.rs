//! The transformer that drew a picture, as the picture's file names it.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{base::Digest, pipeline::StageError, weights::Checkpoint};

/// A transformer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Name of its file, without the extension.
    pub name: String,
    /// Digest of its bytes, in hex, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Model {
    /// The transformer in a file, or in a folder of shards. Reads all of it: seconds for 24 GB that are in
    /// memory, minutes for those that are not.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(path: &Path) -> Result<Self, StageError> {
        let files = Checkpoint::files(path)?;
        let digests = files.iter().map(|file| Digest::of_file(file));
        let digest = match digests.collect::<io::Result<Vec<_>>>().map_err(unread(path))?[..] {
            [one] => one,
            ref all => {
                Digest::of(&all.iter().flat_map(Digest::as_bytes).copied().collect::<Vec<_>>())
            }
        };
        Ok(Self { digest: Some(digest.hex()), ..Self::named(path) })
    }

    /// The transformer in a file that is not read.
    #[must_use]
    pub fn named(path: &Path) -> Self {
        let name = path.file_stem().or(path.file_name()).unwrap_or_default();
        Self { name: name.to_string_lossy().into_owned(), digest: None }
    }
}

fn unread(path: &Path) -> impl Fn(io::Error) -> StageError {
    move |source| super::PictureError::Read { path: path.to_owned(), source }.into()
}
