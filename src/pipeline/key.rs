//! Keys: what an output depends on, kept as a list that a person can read.

use std::{ops::Range, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Digest, Value, digest_named};

/// Where a part of a key comes from; `why` ends here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Which blob of the upstream item is the value, while there is none. In no key and in no record.
    #[serde(skip)]
    pub awaits: Option<Box<str>>,
}

impl KeyPart {
    /// A part whose value is known.
    pub fn new(name: impl Into<String>, value: impl Into<Value>, origin: Origin) -> Self {
        Self { name: name.into(), value: Some(value.into()), origin, awaits: None }
    }

    /// A part for the blob `blob` that `item` of `stage` has still to make.
    pub fn pending(name: impl Into<String>, stage: &str, item: &str, blob: &str) -> Self {
        let origin = Origin::Upstream { stage: stage.to_owned(), item: item.to_owned() };
        Self { name: name.into(), value: None, origin, awaits: Some(blob.into()) }
    }
}

/// Digests parts of different names; their order does not matter. `None` if one of them is still
/// pending.
#[must_use]
pub fn digest<'a>(seed: &[Digest], parts: impl IntoIterator<Item = &'a KeyPart>) -> Option<Digest> {
    let fields = parts.into_iter().map(|part| Some((part.name.as_str(), part.value.as_ref()?)));
    Some(digest_named(seed, fields.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Were it another one, every user's store would be made anew.
    #[test]
    fn a_key_stays_what_it_is() {
        let file = Origin::File("cat.png".into());
        let picture = KeyPart::new("picture", Digest::of(b"a picture"), file);
        let caption = Digest::of(b"a cat");
        let made = Origin::Upstream { stage: "merge".to_owned(), item: "cat.png".to_owned() };
        let known = KeyPart::new("caption", caption, made.clone());
        let key = digest(&[Digest::of(b"recipe")], [&picture, &known]).unwrap();
        assert_eq!(key.hex(), "21b98edf3dc6a1ade09ced1780fb0e151d68d77eeabca5e6f46ad49838dd3509");
        // The blob that was waited for is in no key, and an unknown value makes none.
        let mut pending = KeyPart::pending("caption", "merge", "cat.png", "text");
        assert_eq!(digest(&[Digest::of(b"recipe")], [&picture, &pending]), None);
        pending.value = Some(caption.into());
        assert_eq!(digest(&[Digest::of(b"recipe")], [&pending, &picture]), Some(key));
        assert_eq!(serde_json::to_value(&pending).unwrap(), serde_json::to_value(&known).unwrap());
    }
}
