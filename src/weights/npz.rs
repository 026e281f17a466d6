//! Arrays of numpy: `.npz` files as `numpy.savez` writes them.
//!
//! A zip archive of `.npy` entries, each a short header in Python's notation and the elements. Numbers
//! of any usual type are read as f32. Does not know what the arrays mean.

use std::{collections::BTreeMap, path::Path};

use half::f16;

use super::{WeightsError, archive};
use crate::base::disk;

/// An array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its sizes; none for a single number.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Vec<f32>,
}

/// All arrays of a `.npz` file, by name.
#[derive(Clone, Debug)]
pub struct Npz(BTreeMap<String, Array>);

impl Npz {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is no such file, or holds something else than numbers.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let unreadable = |source| WeightsError::Read { path: path.to_owned(), source };
        Self::from_bytes(path, &disk::read(path).map_err(unreadable)?)
    }

    /// The same of a file that is in memory; `path` is named in errors.
    ///
    /// # Errors
    /// As [`Npz::open`], except that nothing is read.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, WeightsError> {
        let wrong = |reason| WeightsError::Format { path: path.to_owned(), format: ".npz", reason };
        arrays(bytes).map(Self).map_err(wrong)
    }

    /// These arrays, as if they had been read.
    #[cfg(test)]
    pub(crate) fn of(arrays: impl Iterator<Item = (String, Array)>) -> Self {
        Self(arrays.collect())
    }

    /// The array of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.0.get(name)
    }
}

fn arrays(file: &[u8]) -> Result<BTreeMap<String, Array>, String> {
    let read = |(name, bytes): (String, &[u8])| match array(bytes) {
        Ok(array) => Ok((name.strip_suffix(".npy").unwrap_or(&name).to_owned(), array)),
        Err(reason) => Err(format!("its {name} {reason}")),
    };
    archive::stored(file)?.into_iter().map(read).collect()
}

/// One `.npy` entry.
fn array(bytes: &[u8]) -> Result<Array, String> {
    let (header, elements) = split(bytes).ok_or("is no array of numpy")?;
    let text = |key| value(header, key).ok_or_else(|| format!("does not state its {key}"));
    let (descr, order, shape) = (text("descr")?, text("fortran_order")?, text("shape")?);
    if order.starts_with("True") {
        return Err("lies column by column".to_owned());
    }
    let sizes = shape.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let sizes = sizes.ok_or("does not state its shape")?.0.split(',').map(str::trim);
    let sizes = sizes.filter(|size| !size.is_empty()).map(str::parse::<usize>);
    let shape = sizes.collect::<Result<Vec<_>, _>>().map_err(|_| "does not state its shape")?;
    let dtype = descr.trim_start_matches('\'').split('\'').next().unwrap_or_default();
    let values = numbers(dtype, elements).ok_or_else(|| format!("is of type {dtype}"))?;
    let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
    if count != Some(values.len()) {
        return Err(format!("holds {} numbers, not those of its shape {shape:?}", values.len()));
    }
    Ok(Array { shape, values })
}

/// Header and elements.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (&[major, _], rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = if major == 1 {
        let (length, rest) = rest.split_first_chunk::<2>()?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    } else {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        (usize::try_from(u32::from_le_bytes(*length)).ok()?, rest)
    };
    let (header, elements) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, elements))
}

/// What stands behind `'key':` in the header.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let start = header.find(&format!("'{key}'"))? + key.len() + 2;
    Some(header[start..].trim_start().strip_prefix(':')?.trim_start())
}

/// The elements as f32, or `None` for another type than numbers and truths.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "read as f32")]
fn numbers(dtype: &str, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        "<f2" => each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
        "<f4" => each(bytes, f32::from_le_bytes),
        "<f8" => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        "<i4" => each(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
        "<i8" => each(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
        "|b1" => each(bytes, |[byte]: [u8; 1]| f32::from(byte)),
        _ => return None,
    })
}

fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(dtype: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(elements);
        bytes
    }

    #[test]
    fn arrays_of_every_type_are_read() {
        let read = |dtype, shape, elements: &[u8]| array(&npy(dtype, shape, elements)).unwrap();
        let floats = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
        let expected = Array { shape: vec![1, 2], values: vec![1.5, -2.0] };
        assert_eq!(read("<f4", "(1, 2)", &floats), expected);
        let expected = Array { shape: vec![2], values: vec![3.0, -1.0] };
        assert_eq!(read("<i8", "(2,)", &[3_i64, -1].map(i64::to_le_bytes).concat()), expected);
        assert_eq!(read("<f8", "(2,)", &[3_f64, -1.0].map(f64::to_le_bytes).concat()), expected);
        let half = [f16::from_f32(3.0), f16::from_f32(-1.0)].map(f16::to_le_bytes).concat();
        assert_eq!(read("<f2", "(2,)", &half), expected);
        assert_eq!(read("|b1", "()", &[1]), Array { shape: vec![], values: vec![1.0] });
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused_in_words() {
        let refused = |bytes: &[u8]| array(bytes).unwrap_err();
        assert_eq!(refused(b"hello"), "is no array of numpy");
        assert_eq!(refused(&npy("|O", "()", &[])), "is of type |O");
        assert!(refused(&npy("<f4", "(3,)", &[0; 8])).starts_with("holds 2 numbers"));
        assert!(refused(&npy("<f4", "(99999999999999999999,)", &[])).contains("shape"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        std::fs::write(&path, b"PK\x03\x04 and no directory").unwrap();
        let error = Npz::open(&path).unwrap_err().to_string();
        assert!(error.contains("is not a usable .npz file: the archive is cut off"), "{error}");
    }
}
