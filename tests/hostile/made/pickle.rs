//! `.pth` files: pickles, alone, in an archive, or as PyTorch wrote them before 1.6.

use super::zip::{self, Entry};

pub const VALUES: [f32; 2] = [1.5, -2.0];

/// The opcodes that push a text.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The opcodes that push a tensor `[2]` of storage 0.
pub fn tensor() -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        b"K\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

/// The opcodes that push `{name: value}`.
pub fn dict(name: &str, value: &[u8]) -> Vec<u8> {
    [b"}".as_slice(), &text(name), value, b"s"].concat()
}

/// A whole pickle.
pub fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02".as_slice(), body, b"."].concat()
}

/// A whole file of PyTorch 1.6 or newer.
pub fn archive(body: &[u8]) -> Vec<u8> {
    zip::archive(&entries(body))
}

/// What is in it.
pub fn entries(body: &[u8]) -> Vec<Entry> {
    let values: Vec<u8> = VALUES.iter().flat_map(|value| value.to_le_bytes()).collect();
    vec![
        Entry::stored("x/data.pkl", pickle(body)),
        Entry::stored("x/byteorder", b"little".to_vec()),
        Entry::stored("x/data/0", values),
        Entry::stored("x/version", b"3\n".to_vec()),
    ]
}

/// A file of the format before PyTorch 1.6.
pub fn legacy(body: &[u8]) -> Vec<u8> {
    let values: Vec<u8> = VALUES.iter().flat_map(|value| value.to_le_bytes()).collect();
    [
        pickle(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"),
        pickle(b"M\xe9\x03"),
        pickle(&dict("little_endian", b"\x88")),
        pickle(body),
        pickle(&[b"](".as_slice(), &text("0"), b"e"].concat()),
        2_i64.to_le_bytes().to_vec(),
        values,
    ]
    .concat()
}
