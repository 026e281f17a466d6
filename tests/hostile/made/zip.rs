//! Zip archives of stored entries, and taking them apart.

use super::crc;

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
    /// 0: stored; 8: deflated.
    pub method: u16,
}

impl Entry {
    pub fn stored(name: &str, data: Vec<u8>) -> Self {
        Self { name: name.into(), data, method: 0 }
    }
}

/// An archive with the sums that belong to its entries.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for Entry { name, data, method } in entries {
        let size = (data.len() as u32).to_le_bytes();
        let mut common = vec![0, 0];
        common.extend(method.to_le_bytes());
        common.extend([0; 4]);
        common.extend(crc(data).to_le_bytes());
        common.extend([size, size].concat());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        directory.extend(b"PK\x01\x02\x14\x00\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((file.len() as u32).to_le_bytes());
        directory.extend(name);
        file.extend(b"PK\x03\x04\x14\x00");
        file.extend([&common, &name[..], data].concat());
    }
    let start = file.len() as u32;
    file.extend(&directory);
    file.extend(end(entries.len() as u16, directory.len() as u32, start));
    file
}

/// The record that ends an archive.
pub fn end(entries: u16, size: u32, start: u32) -> Vec<u8> {
    let count = entries.to_le_bytes();
    [b"PK\x05\x06\0\0\0\0", &count[..], &count, &size.to_le_bytes(), &start.to_le_bytes(), &[0; 2]]
        .concat()
}

/// The entries of an archive that [`archive`] made; `None` of any other file.
pub fn entries(file: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut rest = file;
    while let Some(header) = rest.strip_prefix(b"PK\x03\x04\x14\x00") {
        let u16_at = |at: usize| Some(u16::from_le_bytes(*header.get(at..)?.first_chunk()?));
        let size = u32::from_le_bytes(*header.get(12..)?.first_chunk()?) as usize;
        let (method, name) = (u16_at(2)?, usize::from(u16_at(20)?));
        let behind = header.get(24..)?;
        let (name, behind) = behind.split_at_checked(name)?;
        let (data, behind) = behind.split_at_checked(size)?;
        entries.push(Entry { name: name.to_vec(), data: data.to_vec(), method });
        rest = behind;
    }
    (archive(&entries) == file).then_some(entries)
}

/// An array of numpy as an entry holds it.
pub fn npy(dtype: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    header(
        &format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n"),
        elements,
    )
}

/// The same with any header.
pub fn header(header: &str, elements: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), elements].concat()
}
