//! Writing the transformer as one safetensors file under the published names.
//!
//! Tensor by tensor, so no second copy is ever in memory, and with nothing in the file that changes
//! from run to run: equal weights and metadata give equal bytes.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{FloatDType, Tensor},
};

use super::TrainError;
use crate::{
    models::flux::{Flux, checkpoint_name},
    weights::{Dtype, Entry, Writer},
};

/// Writes `flux` to `path` as `dtype` (f32 or bf16; f32 weights are rounded to nearest), with the
/// `modelspec` metadata and `provenance` in the header, and syncs it to disk.
///
/// # Errors
/// The file cannot be written.
pub fn save(
    flux: &Flux,
    path: &Path,
    dtype: Dtype,
    provenance: &BTreeMap<String, String>,
) -> Result<(), TrainError> {
    let failed = |source| TrainError::Checkpoint { path: path.to_owned(), source };
    let mut metadata = modelspec(flux);
    metadata.extend(provenance.clone());
    let mut entries = Entries { path: Vec::new(), dtype, entries: Vec::new() };
    flux.visit(&mut entries);
    let file = File::create(path).map_err(failed)?;
    let writer = Writer::new(file, &entries.entries, &metadata).map_err(failed)?;
    let mut tensors = Tensors { writer, dtype, failure: None };
    flux.visit(&mut tensors);
    if let Some(failure) = tensors.failure {
        return Err(failed(failure));
    }
    tensors.writer.finish().and_then(|file| file.sync_all()).map_err(failed)
}

/// What tools that read model metadata expect.
fn modelspec(flux: &Flux) -> BTreeMap<String, String> {
    let architecture = if flux.takes_guidance() { "flux-1-dev" } else { "flux-1-schnell" };
    let pairs = [
        ("modelspec.sai_model_spec", "1.0.1"),
        ("modelspec.architecture", architecture),
        ("modelspec.implementation", "https://github.com/black-forest-labs/flux"),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
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

struct Tensors {
    writer: Writer<File>,
    dtype: Dtype,
    failure: Option<io::Error>,
}

impl ModuleVisitor for Tensors {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if self.failure.is_some() {
            return;
        }
        let dtype = if self.dtype == Dtype::BF16 { FloatDType::BF16 } else { FloatDType::F32 };
        let written = match parameter.val().cast(dtype).try_into_data() {
            Ok(data) => self.writer.tensor(data.as_bytes()),
            Err(error) => Err(io::Error::other(format!("a tensor cannot be read back: {error}"))),
        };
        self.failure = written.err();
    }
}
