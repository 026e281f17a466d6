//! Named tensors on their way into a safetensors file, one at a time: checkpoints and states.
//!
//! A file is written under another name, synced and renamed, and its digest is taken on the way, so that
//! whoever finds it later can tell that it is whole.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use burn::tensor::{DType, TensorData};
use serde::{Deserialize, Serialize};

use crate::{
    base::{Digest, atomic},
    weights::{Dtype, Entry, Writer},
};

/// Takes one tensor after the other under their names.
pub type Take<'a> = dyn FnMut(&str, TensorData) -> io::Result<()> + 'a;

/// Hands all tensors of something to a [`Take`], each time in the same order.
pub type ForEach<'a> = dyn Fn(&mut Take<'_>) -> io::Result<()> + 'a;

/// Tensors with what they are.
#[derive(Clone)]
pub struct Tensors<'a> {
    /// In the order of `for_each`.
    pub entries: Vec<Entry>,
    /// Hands them on.
    pub for_each: &'a ForEach<'a>,
}

/// A file that was written whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its path in the folder of the state.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl Part {
    /// Writes `bytes` to `file` in `folder`.
    pub fn of_bytes(folder: &Path, file: String, bytes: &[u8]) -> io::Result<Self> {
        Self::write(folder, file, |writer| writer.write_all(bytes))
    }

    /// Writes `tensors` to `file` in `folder`; f32 is rounded to nearest where the entry is bf16.
    pub fn of_tensors(
        folder: &Path,
        file: String,
        tensors: &Tensors<'_>,
        metadata: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        Self::write(folder, file, |file| {
            let mut writer = Writer::new(file, &tensors.entries, metadata)?;
            let mut left = tensors.entries.iter();
            (tensors.for_each)(&mut |name, data| match left.next() {
                Some(entry) if entry.name == name => {
                    let data = stored(data, entry.dtype);
                    if !is_finite(&data) {
                        return Err(io::Error::other(NotFinite(name.to_owned())));
                    }
                    writer.tensor(data.as_bytes())
                }
                _ => Err(io::Error::other(format!("tensor `{name}` is not where its entry is"))),
            })?;
            writer.finish().map(drop)
        })
    }

    fn write(
        folder: &Path,
        file: String,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        let (mut hasher, mut size) = (blake3::Hasher::new(), 0);
        atomic::create(&folder.join(&file), |inner| {
            let mut measured = Measured { inner, hasher: &mut hasher, size: &mut size };
            fill(&mut measured)
        })?;
        Ok(Self { file, size, digest: Digest::from_hasher(&hasher) })
    }

    /// Whether the file is there in its size.
    pub fn is_there(&self, folder: &Path) -> bool {
        std::fs::metadata(folder.join(&self.file)).is_ok_and(|found| found.len() == self.size)
    }

    /// Whether the file holds the bytes that were written.
    pub fn is_whole(&self, folder: &Path) -> bool {
        self.is_there(folder)
            && Digest::of_file(&folder.join(&self.file)).is_ok_and(|found| found == self.digest)
    }
}

/// Numbers in the type of their entry. Whole numbers are what they are.
fn stored(data: TensorData, dtype: Dtype) -> TensorData {
    match dtype {
        Dtype::BF16 => data.convert_dtype(DType::BF16),
        Dtype::F32 => data.convert_dtype(DType::F32),
        _ => data,
    }
}

/// A tensor holds a number that is infinite or none: nothing shall go on from it.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` holds numbers that are not finite")]
pub struct NotFinite(pub String);

/// Whether all numbers are finite.
fn is_finite(data: &TensorData) -> bool {
    // Infinities and NaN are the numbers whose exponent has no zero bit.
    let bytes = data.as_bytes();
    match data.dtype() {
        DType::BF16 => {
            let words = bytes.as_chunks::<2>().0.iter().map(|&word| u16::from_le_bytes(word));
            !words.fold(false, |found, word| found | (word & 0x7f80 == 0x7f80))
        }
        DType::F32 => {
            let words = bytes.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word));
            !words.fold(false, |found, word| found | (word & 0x7f80_0000 == 0x7f80_0000))
        }
        _ => true,
    }
}

/// Counts and digests what is written.
struct Measured<'a> {
    inner: &'a mut dyn Write,
    hasher: &'a mut blake3::Hasher,
    size: &'a mut u64,
}

impl Write for Measured<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        *self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_are_found() {
        let data = |value: f32| TensorData::new(vec![1.0, f32::MAX, -0.0, value], [4]);
        for dtype in [Dtype::F32, Dtype::BF16] {
            for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                assert!(!is_finite(&stored(data(value), dtype)), "{value} {dtype:?}");
            }
            let small = TensorData::new(vec![1.0_f32, -3e38, 1e-45, 0.0], [4]);
            assert!(is_finite(&stored(small, dtype)), "{dtype:?}");
        }
    }

    #[test]
    fn no_file_is_made_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Entry { name: "w".to_owned(), dtype: Dtype::F32, shape: vec![2] };
        let for_each = |take: &mut Take<'_>| take("w", TensorData::new(vec![0.5, f32::NAN], [2]));
        let tensors = Tensors { entries: vec![entry], for_each: &for_each };
        let made = Part::of_tensors(folder.path(), "x".to_owned(), &tensors, &BTreeMap::new());
        let error = made.unwrap_err();
        let broken = error.get_ref().and_then(|inner| inner.downcast_ref::<NotFinite>());
        assert_eq!(broken.map(|NotFinite(name)| &name[..]), Some("w"), "{error}");
        assert!(!folder.path().join("x").exists());
    }
}
