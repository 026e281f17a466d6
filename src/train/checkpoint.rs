//! How checkpoints are written, and what their headers say.
//!
//! Nothing in the file changes from run to run: equal weights and metadata give equal bytes. So there is no
//! `modelspec.date`.

use std::collections::BTreeMap;

use crate::{
    base::{Digest, Value},
    weights::Dtype,
};

/// How checkpoints are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Type of their weights: f32 or bf16.
    pub dtype: Dtype,
    /// Texts of their headers, besides those of [`modelspec`] and the step.
    pub texts: BTreeMap<String, String>,
}

impl Form {
    /// Names what decides the bytes of a checkpoint besides its weights.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let texts = self.texts.iter().map(|(name, text)| (name.clone(), Value::Text(text.clone())));
        let dtype = Value::Text(self.dtype.name().to_owned());
        Value::List(vec![dtype, Value::Map(texts.collect())]).digest()
    }
}

/// What tools that read model metadata expect of every checkpoint of this transformer.
#[must_use]
pub fn modelspec(takes_guidance: bool) -> BTreeMap<String, String> {
    let (architecture, title) = match takes_guidance {
        true => ("flux-1-dev", "FLUX.1-dev, fine-tuned"),
        false => ("flux-1-schnell", "FLUX.1-schnell, fine-tuned"),
    };
    // A title is required. The file's name would not do: it is no part of a model.
    let pairs = [
        ("modelspec.title", title),
        ("modelspec.sai_model_spec", "1.0.1"),
        ("modelspec.architecture", architecture),
        ("modelspec.implementation", "https://github.com/black-forest-labs/flux"),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
