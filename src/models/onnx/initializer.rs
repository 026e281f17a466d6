//! Tensors stored in a graph, in its own bytes or in a file beside it.

use std::{
    io::Read,
    path::{Component, Path, PathBuf},
};

use onnx_ir::TensorProto;

use super::{element::Element, error::OnnxError, host::Host, ops::Outcome, value::Value};
use crate::base::{disk, escape};

/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// The file in which a tensor lies, or `None` where its bytes are in the graph.
///
/// A graph comes from somewhere else, so it may name files of its own folder only. A symbolic link in
/// that folder is followed: the user, not the graph, put it there.
///
/// # Errors
/// The file is not inside `graph`'s folder.
pub(super) fn external_file(
    graph: &Path,
    tensor: &TensorProto,
) -> Result<Option<PathBuf>, OnnxError> {
    if tensor.data_location.value() != EXTERNAL {
        return Ok(None);
    }
    let location = entry(tensor, "location").unwrap_or_default();
    let inside = Path::new(location).components().all(|part| matches!(part, Component::Normal(_)));
    if location.is_empty() || !inside {
        return Err(OnnxError::External {
            path: graph.to_owned(),
            tensor: escape::in_line(&tensor.name).into_owned(),
            location: format!("`{}`", escape::in_line(location)),
        });
    }
    Ok(Some(graph.with_file_name("").join(location)))
}

/// The tensor as an array on the host; every float type becomes f32, every integer type i64.
///
/// # Errors
/// The bytes are not as many as the shape needs, or the element type has no place in a tagger.
pub(super) fn decode(graph: &Path, tensor: &TensorProto) -> Result<Value, OnnxError> {
    let malformed = |reason: String| OnnxError::Format {
        path: graph.to_owned(),
        reason: format!("tensor `{}`: {reason}", tensor.name),
    };
    let value = match external_file(graph, tensor)? {
        None => decode_bytes(tensor, &tensor.raw_data),
        Some(file) => {
            let read = |source| OnnxError::Read { path: file.clone(), source };
            let mut file = disk::open(&file).map_err(read)?;
            let (offset, length) = external_part(tensor, file.length()).map_err(malformed)?;
            let mut bytes = Vec::new();
            file.skip_to(offset).map_err(read)?;
            file.take(length).read_to_end(&mut bytes).map_err(read)?;
            decode_bytes(tensor, &bytes)
        }
    };
    value.map_err(malformed)
}

/// Offset and length of one tensor within a data file of `size` bytes.
fn external_part(tensor: &TensorProto, size: u64) -> Outcome<(u64, u64)> {
    let number = |name: &str| entry(tensor, name).map(str::parse::<u64>).transpose();
    let number = |name: &str| number(name).map_err(|_| format!("its {name} is not a number"));
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(size.saturating_sub(offset));
    let end = offset.saturating_add(length);
    if end > size {
        Err(format!("its data file ends before byte {end}"))
    } else {
        Ok((offset, length))
    }
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

fn decode_bytes(tensor: &TensorProto, raw: &[u8]) -> Outcome<Value> {
    let size = |&dim: &i64| usize::try_from(dim).map_err(|_| format!("negative size {dim}"));
    let shape = tensor.dims.iter().map(size).collect::<Outcome<Vec<_>>>()?;
    let element = Element::of(tensor.data_type)
        .ok_or_else(|| format!("element type {} is not supported", tensor.data_type))?;
    if raw.is_empty() {
        decode_lists(tensor, element, shape)
    } else {
        Value::decode(element, shape, raw)
    }
}

/// The elements of a tensor without raw bytes, which lie in lists by the size of their type.
fn decode_lists(tensor: &TensorProto, element: Element, shape: Vec<usize>) -> Outcome<Value> {
    let narrow = || tensor.int32_data.iter();
    // Half floats lie bit by bit in the list of 32-bit integers.
    let halves = || narrow().flat_map(|&bits| (bits as u16).to_le_bytes()).collect::<Vec<u8>>();
    let long = || tensor.uint64_data.iter().map(|&value| value as i64);
    match element {
        Element::F32 => Host::new(shape, tensor.float_data.clone()).map(Value::Reals),
        Element::F64 => {
            let data = tensor.double_data.iter().map(|&value| value as f32).collect();
            Host::new(shape, data).map(Value::Reals)
        }
        Element::F16 | Element::BF16 => Value::decode(element, shape, &halves()),
        Element::Bool => {
            Host::new(shape, narrow().map(|&bit| bit != 0).collect()).map(Value::Bools)
        }
        Element::I64 => Host::new(shape, tensor.int64_data.clone()).map(Value::Ints),
        Element::U32 | Element::U64 => Host::new(shape, long().collect()).map(Value::Ints),
        _ => Host::new(shape, narrow().map(|&value| value.into()).collect()).map(Value::Ints),
    }
}
