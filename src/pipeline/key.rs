//! Keys: what an output depends on, kept as a list that a person can read.

use std::{ops::Range, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Value, digest_named};

/// Where a part of a key comes from; `why` ends here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A value of the manifest, by its path (`stages.label.num_beams`) and, where the manifest
    /// states it, its place in the text (bytes).
    Manifest {
        /// Dotted path.
        path: String,
        /// `None` where the default is used.
        span: Option<Range<usize>>,
    },
    /// A file of the user's: a picture, a sidecar.
    File(PathBuf),
    /// A network's weights or a vocabulary.
    Model(PathBuf),
    /// The program itself: the algorithm version of a stage kind and the reason of its last change.
    Code(String),
    /// What another stage made.
    Upstream {
        /// Name of that stage.
        stage: String,
        /// Its item.
        item: String,
    },
}

/// One thing that an output depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyPart {
    /// What it is: `num_beams`, `picture`, `caption`.
    pub name: String,
    /// Its value, or `None` while the upstream item that makes it has still to run.
    pub value: Option<Value>,
    /// Where it comes from.
    pub origin: Origin,
}

impl KeyPart {
    /// A part whose value is known.
    pub fn new(name: impl Into<String>, value: impl Into<Value>, origin: Origin) -> Self {
        Self { name: name.into(), value: Some(value.into()), origin }
    }

    /// A part that `item` of `stage` has still to make.
    pub fn pending(name: impl Into<String>, stage: &str, item: &str) -> Self {
        let origin = Origin::Upstream { stage: stage.to_owned(), item: item.to_owned() };
        Self { name: name.into(), value: None, origin }
    }
}

/// Digests parts of different names; their order does not matter. `None` if one of them is still
/// pending.
#[must_use]
pub fn digest<'a>(seed: &[Digest], parts: impl IntoIterator<Item = &'a KeyPart>) -> Option<Digest> {
    let fields = parts.into_iter().map(|part| Some((part.name.as_str(), part.value.as_ref()?)));
    Some(digest_named(seed, fields.collect::<Option<_>>()?))
}
