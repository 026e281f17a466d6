//! Cache records: a few named tensors as one small safetensors blob.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use half::bf16;
use miette::Diagnostic;

use crate::{
    pipeline::StageError,
    weights::{Dtype, Entry, Writer, file_size},
};

/// A tensor could not be fetched from the device or written into a record.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("a record cannot be made: {0}")]
#[diagnostic(
    code(fluxpipe::cache::record),
    help("run again; if it fails once more, the device may be out of memory: try `--device cpu`")
)]
struct RecordError(String);

/// The tensor's elements as f32, row-major.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, StageError> {
    let data = tensor.cast(burn::tensor::FloatDType::F32).into_data();
    Ok(data.as_slice::<f32>().map_err(|error| RecordError(format!("{error:?}")))?.to_vec())
}

/// Bytes of what [`write`] makes of tensors of these shapes.
pub fn size(tensors: &[(&str, &[usize])], notes: &BTreeMap<String, String>, f32: bool) -> u64 {
    let entries = tensors.iter().map(|(name, shape)| entry(name, shape, f32));
    file_size(&entries.collect::<Vec<_>>(), notes)
}

fn entry(name: &str, shape: &[usize], f32: bool) -> Entry {
    let dtype = if f32 { Dtype::F32 } else { Dtype::BF16 };
    Entry { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

/// Writes the tensors as f32, or else rounded to the nearest bf16, with `notes` in the header.
pub fn write(
    tensors: &[(&str, &[usize], &[f32])],
    notes: &BTreeMap<String, String>,
    f32: bool,
) -> Result<Vec<u8>, StageError> {
    let entries = tensors.iter().map(|(name, shape, _)| entry(name, shape, f32));
    let entries = entries.collect::<Vec<_>>();
    let failed = |error: std::io::Error| RecordError(error.to_string());
    let mut writer = Writer::new(Vec::new(), &entries, notes).map_err(failed)?;
    for (_, _, values) in tensors {
        let bytes = if f32 {
            bytemuck::cast_slice(values).to_vec()
        } else {
            values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect()
        };
        writer.tensor(&bytes).map_err(failed)?;
    }
    Ok(writer.finish().map_err(failed)?)
}
