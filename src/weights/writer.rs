//! Writes a safetensors file tensor by tensor, so that no second copy of a model is ever in memory.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
};

use super::Dtype;

/// The place of one tensor in the file to be written.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Checkpoint name.
    pub name: String,
    /// Element type of the bytes that will be given.
    pub dtype: Dtype,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// Bytes of the file that [`Writer`] makes of these.
#[must_use]
pub fn file_size(entries: &[Entry], metadata: &BTreeMap<String, String>) -> u64 {
    // Names, numbers and texts are always JSON.
    let header = header(entries, metadata).map_or(0, |text| text.len());
    (8 + header + entries.iter().map(Entry::bytes).sum::<usize>()) as u64
}

/// The header's text, filled up so that the data is aligned.
fn header(entries: &[Entry], metadata: &BTreeMap<String, String>) -> io::Result<Vec<u8>> {
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    }
    let mut offset = 0;
    for entry in entries {
        let end = offset + entry.bytes();
        let described = serde_json::json!({
            "dtype": entry.dtype.name(), "shape": entry.shape, "data_offsets": [offset, end],
        });
        header.insert(entry.name.clone(), described);
        offset = end;
    }
    let mut text = serde_json::to_vec(&header)?;
    // The format wants the data aligned to 8 bytes; spaces after the JSON are allowed.
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok(text)
}

/// A safetensors file in the making: the header is written first, then each tensor in order.
pub struct Writer<W: Write> {
    file: BufWriter<W>,
    expected: std::vec::IntoIter<usize>,
}

impl<W: Write> Writer<W> {
    /// Writes the header for `entries`, in this order, with `metadata` as free texts.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(
        file: W,
        entries: &[Entry],
        metadata: &BTreeMap<String, String>,
    ) -> io::Result<Self> {
        let text = header(entries, metadata)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(&text)?;
        let sizes = entries.iter().map(Entry::bytes).collect::<Vec<_>>();
        Ok(Self { file, expected: sizes.into_iter() })
    }

    /// Writes the next tensor's bytes, little-endian.
    ///
    /// # Errors
    /// The file cannot be written, or the bytes are not as many as the header says.
    pub fn tensor(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.expected.next() != Some(bytes.len()) {
            return Err(io::Error::other("a tensor's bytes do not fit its header entry"));
        }
        self.file.write_all(bytes)
    }

    /// Flushes everything and gives the file (or the vector) back. A file is not synced to disk yet.
    ///
    /// # Errors
    /// The file cannot be written, or a tensor is still missing.
    pub fn finish(mut self) -> io::Result<W> {
        if self.expected.next().is_some() {
            return Err(io::Error::other("a tensor of the header was not written"));
        }
        self.file.flush()?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::weights::Checkpoint;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let entry = |name: &str, shape: &[usize]| Entry {
            name: name.to_owned(),
            dtype: Dtype::F32,
            shape: shape.to_vec(),
        };
        let entries = [entry("b", &[2]), entry("a", &[1, 1])];
        let metadata = BTreeMap::from([("modelspec.title".to_owned(), "x".to_owned())]);
        let mut writer = Writer::new(File::create(&path).unwrap(), &entries, &metadata).unwrap();
        writer.tensor(bytemuck::cast_slice(&[1.0_f32, 2.0])).unwrap();
        assert!(writer.tensor(&[0]).is_err());
        let mut writer = Writer::new(File::create(&path).unwrap(), &entries, &metadata).unwrap();
        writer.tensor(bytemuck::cast_slice(&[1.0_f32, 2.0])).unwrap();
        writer.tensor(bytemuck::cast_slice(&[3.0_f32])).unwrap();
        writer.finish().unwrap();
        let back = Checkpoint::open(&path).unwrap();
        assert_eq!(back.f32("b").unwrap(), [1.0, 2.0]);
        assert_eq!(back.f32("a").unwrap(), [3.0]);
        assert_eq!(back.metadata()["modelspec.title"], "x");
    }
}
