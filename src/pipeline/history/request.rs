//! With which manifest a run was asked: its text is kept once, by its digest (`manifests/DIGEST.toml`), so
//! that two runs can be compared by what was written then.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::{Digest, atomic, disk},
    pipeline::{Request, Store, StoreError},
};

/// The manifest of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    /// Where it lay, as the command line named it.
    pub manifest: PathBuf,
    /// Digest of its text.
    #[schemars(with = "String")]
    pub digest: Digest,
    /// What the command line set instead, as `PATH=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
}

impl Store {
    /// Keeps the text that asks for a run.
    pub(in crate::pipeline) fn keep_request(
        &self,
        asked: &Request,
    ) -> Result<Requested, StoreError> {
        let digest = Digest::of(asked.text.as_bytes());
        let path = self.manifest_file(&digest);
        let kept = || {
            if path.exists() {
                return Ok(());
            }
            if let Some(folder) = path.parent() {
                disk::create_folder(folder)?;
            }
            atomic::write(&path, asked.text.as_bytes())
        };
        kept().map_err(|error| StoreError::write(&path, error))?;
        let (manifest, set) = (asked.path.clone(), asked.set.clone());
        Ok(Requested { manifest, digest, set })
    }

    /// The text of the manifest of an earlier run; `None` where it is not kept, or not what it was.
    #[must_use]
    pub fn past_manifest(&self, digest: &Digest) -> Option<String> {
        let text = disk::read_to_string(&self.manifest_file(digest)).ok()?;
        (Digest::of(text.as_bytes()) == *digest).then_some(text)
    }

    fn manifest_file(&self, digest: &Digest) -> PathBuf {
        self.root().join("manifests").join(format!("{digest}.toml"))
    }
}
