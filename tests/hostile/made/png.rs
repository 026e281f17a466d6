//! PNG files, chunk by chunk, with right sums.

use super::crc;

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];

/// A chunk: its type and its data.
pub type Chunk = ([u8; 4], Vec<u8>);

/// A file of these chunks.
pub fn file(chunks: &[Chunk]) -> Vec<u8> {
    let mut file = SIGNATURE.to_vec();
    for (kind, data) in chunks {
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(kind);
        file.extend(data);
        file.extend(crc(&[&kind[..], data].concat()).to_be_bytes());
    }
    file
}

/// The chunks of a file, as far as they are whole; `None` of what is no PNG.
pub fn chunks(file: &[u8]) -> Option<Vec<Chunk>> {
    let mut rest = file.strip_prefix(&SIGNATURE)?;
    let mut chunks = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let Some((kind, behind)) = behind.split_first_chunk::<4>() else { break };
        let Some((data, behind)) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)
        else {
            break;
        };
        chunks.push((*kind, data.to_vec()));
        rest = behind.get(4..).unwrap_or_default();
    }
    Some(chunks)
}

/// The first chunk of a picture in RGB of 8 bits.
pub fn header(width: u32, height: u32) -> Chunk {
    (*b"IHDR", [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat())
}

/// Bytes in a zlib stream that packs nothing.
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        packed.push(u8::from(blocks.peek().is_none()));
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(block);
    }
    let (mut low, mut high) = (1_u32, 0_u32);
    for &byte in bytes {
        low = (low + u32::from(byte)) % 65521;
        high = (high + low) % 65521;
    }
    packed.extend((high << 16 | low).to_be_bytes());
    packed
}

/// `count` zeros as zlib packs them best: a block of fixed codes that repeats one byte 258 at a time.
pub fn zeros(count: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // The last block, of fixed codes; the literal 0.
    bits.push(0b1, 1);
    bits.push(0b01, 2);
    bits.code(0x30, 8);
    for _ in 0..count / 258 {
        // Length 258, distance 1.
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    // The decoder of pictures does not look at the sum.
    [&[0x78, 0x01][..], &bits.bytes, &[0; 4]].concat()
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    filled: usize,
}

impl Bits {
    /// The lowest bit first.
    fn push(&mut self, value: u32, count: usize) {
        for bit in 0..count {
            if self.filled.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (self.filled % 8);
            self.filled += 1;
        }
    }

    /// A code of Huffman, whose highest bit comes first.
    fn code(&mut self, value: u32, count: usize) {
        (0..count).rev().for_each(|bit| self.push(value >> bit & 1, 1));
    }
}
