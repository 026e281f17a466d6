//! Tensors stored in a graph, in its own bytes or in a file beside it.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use onnx_ir::TensorProto;

use super::{error::OnnxError, host::Host, ops::Outcome, value::Value};
use crate::weights::Dtype;

/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// Element types of `TensorProto.DataType`.
pub(super) mod data_type {
    pub const FLOAT: i64 = 1;
    pub const UINT8: i64 = 2;
    pub const INT8: i64 = 3;
    pub const UINT16: i64 = 4;
    pub const INT16: i64 = 5;
    pub const INT32: i64 = 6;
    pub const INT64: i64 = 7;
    pub const BOOL: i64 = 9;
    pub const FLOAT16: i64 = 10;
    pub const DOUBLE: i64 = 11;
    pub const UINT32: i64 = 12;
    pub const UINT64: i64 = 13;
    pub const BFLOAT16: i64 = 16;
}

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
            tensor: tensor.name.clone(),
            location: format!("`{location}`"),
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
            let mut file = File::open(&file).map_err(read)?;
            let size = file.metadata().map_err(read)?.len();
            let (offset, length) = external_part(tensor, size).map_err(malformed)?;
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(offset)).map_err(read)?;
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
    let narrow = || tensor.int32_data.iter();
    let ints = |data: Vec<i64>| Host::new(shape.clone(), data).map(Value::Ints);
    let floats = |data: Vec<f32>| Host::new(shape.clone(), data).map(Value::Reals);
    // Half floats without raw bytes lie bit by bit in the 32-bit list.
    let halves = || narrow().flat_map(|&bits| (bits as u16).to_le_bytes()).collect::<Vec<u8>>();
    match i64::from(tensor.data_type) {
        data_type::FLOAT if raw.is_empty() => floats(tensor.float_data.clone()),
        data_type::FLOAT => floats(Dtype::F32.decode(raw)),
        data_type::DOUBLE if raw.is_empty() => {
            floats(tensor.double_data.iter().map(|&value| value as f32).collect())
        }
        data_type::DOUBLE => floats(Dtype::F64.decode(raw)),
        data_type::FLOAT16 if raw.is_empty() => floats(Dtype::F16.decode(&halves())),
        data_type::FLOAT16 => floats(Dtype::F16.decode(raw)),
        data_type::BFLOAT16 if raw.is_empty() => floats(Dtype::BF16.decode(&halves())),
        data_type::BFLOAT16 => floats(Dtype::BF16.decode(raw)),
        data_type::BOOL if raw.is_empty() => {
            Host::new(shape, narrow().map(|&bit| bit != 0).collect()).map(Value::Bools)
        }
        data_type::BOOL => {
            Host::new(shape, raw.iter().map(|&bit| bit != 0).collect()).map(Value::Bools)
        }
        data_type::INT64 if raw.is_empty() => ints(tensor.int64_data.clone()),
        data_type::INT64 => ints(words(raw, i64::from_le_bytes)),
        data_type::UINT32 | data_type::UINT64 if raw.is_empty() => {
            ints(tensor.uint64_data.iter().map(|&value| value as i64).collect())
        }
        data_type::UINT64 => {
            ints(words(raw, u64::from_le_bytes).iter().map(|&v| v as i64).collect())
        }
        data_type::UINT32 => ints(words(raw, |word| u32::from_le_bytes(word).into())),
        data_type::INT32 if !raw.is_empty() => {
            ints(words(raw, |word| i32::from_le_bytes(word).into()))
        }
        data_type::INT16 if !raw.is_empty() => {
            ints(words(raw, |word| i16::from_le_bytes(word).into()))
        }
        data_type::UINT16 if !raw.is_empty() => {
            ints(words(raw, |word| u16::from_le_bytes(word).into()))
        }
        data_type::INT8 if !raw.is_empty() => {
            ints(words(raw, |word| i8::from_le_bytes(word).into()))
        }
        data_type::UINT8 if !raw.is_empty() => ints(words(raw, |[byte]| byte.into())),
        data_type::INT32
        | data_type::INT16
        | data_type::UINT16
        | data_type::INT8
        | data_type::UINT8 => ints(narrow().map(|&value| value.into()).collect()),
        other => Err(format!("element type {other} is not supported")),
    }
}

fn words<const N: usize, T>(raw: &[u8], word: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|&bytes| word(bytes)).collect()
}
