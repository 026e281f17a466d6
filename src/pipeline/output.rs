//! Outputs: what an item made, as named blobs stored by their digests.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Value};

/// Outputs up to this size are kept in the record itself, so that 100 000 captions are not 100 000 files.
pub const INLINE_LIMIT: usize = 4096;

/// One named piece of an output, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Name within the output: `caption`, `record.safetensors`.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
    /// The bytes themselves, where they are a short text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What an item made: its blobs, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The blobs.
    pub blobs: Vec<Blob>,
}

impl Output {
    /// The digest that downstream keys use: names and digests of the blobs.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let blobs = self.blobs.iter().map(|blob| {
            Value::List(vec![Value::Text(blob.name.clone()), Value::Digest(blob.digest)])
        });
        Value::List(blobs.collect()).digest()
    }

    /// The blob of this name.
    #[must_use]
    pub fn blob(&self, name: &str) -> Option<&Blob> {
        self.blobs.iter().find(|blob| blob.name == name)
    }
}

/// An output that a stage hands in to be stored.
#[derive(Debug, Default)]
pub struct Draft {
    /// Name and content of each blob.
    pub blobs: Vec<(String, Content)>,
}

/// The content of a blob to be stored.
#[derive(Debug)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A finished file in the store's own temp folder (from [`Work::scratch`](super::Work::scratch)); it is moved, not copied.
    File(PathBuf),
}

impl Draft {
    /// A draft of one blob.
    #[must_use]
    pub fn bytes(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::default().and(name, bytes)
    }

    /// Adds a blob of bytes.
    #[must_use]
    pub fn and(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.blobs.push((name.to_owned(), Content::Bytes(bytes.into())));
        self
    }

    /// Adds a finished file.
    #[must_use]
    pub fn and_file(mut self, name: &str, path: PathBuf) -> Self {
        self.blobs.push((name.to_owned(), Content::File(path)));
        self
    }
}
