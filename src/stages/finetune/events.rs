//! Event files of TensorBoard: scalars over steps, in TFRecord frames. Knows nothing of trainings.
//!
//! A frame is the length of its bytes, their masked CRC-32C, the bytes and their masked CRC-32C; the bytes
//! are a protocol buffer `Event` (fields 1 `wall_time`, 2 `step`, 3 `file_version`, 5 `summary`).

use std::{
    io::{self, Write},
    path::Path,
};

use crate::base::{clock, disk};

/// An event file that is being written.
pub struct Events {
    file: disk::File,
}

impl Events {
    /// Begins a file of its own in `folder`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(folder: &Path) -> io::Result<Self> {
        disk::create_folder(folder)?;
        let seconds = clock::now().as_second();
        let name = format!("events.out.tfevents.{seconds}.fluxpipe.{}", std::process::id());
        let mut events = Self { file: disk::File::create(&folder.join(name))? };
        events.write(&event(0, &field(3, b"brain.Event:2")))?;
        Ok(events)
    }

    /// Adds numbers of one step, each with its tag.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> io::Result<()> {
        let values = scalars.iter().flat_map(|&(tag, value)| {
            // Field 2 is `simple_value`, a float.
            let mut bytes = field(1, tag.as_bytes());
            bytes.push((2 << 3) | 5);
            bytes.extend((value as f32).to_le_bytes());
            field(1, &bytes)
        });
        let summary = field(5, &values.collect::<Vec<_>>());
        self.write(&event(step, &summary))
    }

    fn write(&mut self, event: &[u8]) -> io::Result<()> {
        self.file.write_all(&frame(event))
    }
}

/// An event of now: time, step, and what it holds.
fn event(step: u64, content: &[u8]) -> Vec<u8> {
    let wall_time = clock::now().as_millisecond() as f64 / 1000.0;
    let mut bytes = vec![(1 << 3) | 1];
    bytes.extend(wall_time.to_le_bytes());
    bytes.push(2 << 3);
    bytes.extend(varint(step));
    bytes.extend(content);
    bytes
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let sum = |bytes: &[u8]| masked(crc32c(bytes)).to_le_bytes();
    [&length[..], &sum(&length), bytes, &sum(bytes)].concat()
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![(number << 3) | 2];
    field.extend(varint(bytes.len() as u64));
    field.extend(bytes);
    field
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// TFRecord's mask, so that a sum over bytes that hold sums is no sum itself.
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: events are small.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_known_ones() {
        // The check value of CRC-32C, and 32 zeros from RFC 3720.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_number_of_many_bytes_is_written_low_bits_first() {
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(varint(127), [0x7f]);
    }
}
