//! Files made byte by byte, good ones and others.

pub mod onnx;
pub mod pickle;
pub mod png;
pub mod protobuf;
pub mod safetensors;
pub mod zip;

/// CRC-32 with the polynomial of IEEE 802.3, as zip archives and PNG files have it.
pub fn crc(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}
