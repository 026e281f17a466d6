//! The transformer as one safetensors file under the published names.
//!
//! Tensor by tensor, so no second copy is ever in memory, and with nothing in the file that changes
//! from run to run: equal weights and metadata give equal bytes. So there is no `modelspec.date`.

use std::{collections::BTreeMap, io};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{FloatDType, Tensor},
};

use super::tensors::Take;
use crate::{
    base::{Digest, Value},
    models::flux::{Flux, checkpoint_name},
    weights::{Dtype, Entry},
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

/// Hands on all weights of `flux` under their checkpoint names.
pub(super) fn for_each(flux: &Flux, take: &mut Take<'_>) -> io::Result<()> {
    let mut tensors = Tensors { path: Vec::new(), take, outcome: Ok(()) };
    flux.visit(&mut tensors);
    tensors.outcome
}

/// The tensors that [`for_each`] hands on, in its order and types.
pub(super) fn entries(flux: &Flux) -> Vec<Entry> {
    let dtype = if flux.dtype() == FloatDType::BF16 { Dtype::BF16 } else { Dtype::F32 };
    let mut entries = Entries { path: Vec::new(), dtype, entries: Vec::new() };
    flux.visit(&mut entries);
    entries.entries
}

struct Entries {
    path: Vec<String>,
    dtype: Dtype,
    entries: Vec<Entry>,
}

impl ModuleVisitor for Entries {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        self.entries.push(Entry {
            name: checkpoint_name(&self.path),
            dtype: self.dtype,
            shape: parameter.dims().to_vec(),
        });
    }
}

struct Tensors<'a, 'b> {
    path: Vec<String>,
    take: &'a mut Take<'b>,
    outcome: io::Result<()>,
}

impl ModuleVisitor for Tensors<'_, '_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if self.outcome.is_ok() {
            let data = parameter.val().try_into_data();
            let data =
                data.map_err(|e| io::Error::other(format!("a tensor cannot be read back: {e}")));
            self.outcome = data.and_then(|data| (self.take)(&checkpoint_name(&self.path), data));
        }
    }
}
