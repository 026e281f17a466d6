//! Random bits for each element of an array, cheap enough for every weight of every step.
//!
//! [`Stream`] gives its bits in turn, a few hundred megabytes a second. Here the bits of an element are a
//! function of a key and of the element's place alone: a few integer operations, the same on every
//! device, in any order and in vector instructions. `docs/adr/0015-bits-for-rounding.md` says why this
//! function, and what was tested.

use super::Stream;

/// The random bits of the elements of one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementBits {
    key: [u32; 2],
}

impl ElementBits {
    /// The bits with this name. The key is drawn from the [`Stream`] of the same name.
    #[must_use]
    pub fn new(seed: u64, purpose: &str, counters: &[u64]) -> Self {
        let bits = Stream::new(seed, purpose, None, counters).bits();
        Self { key: [bits as u32, (bits >> 32) as u32] }
    }

    /// What the function needs besides the place, for devices that compute it themselves.
    #[must_use]
    pub fn key(self) -> [u32; 2] {
        self.key
    }

    /// 32 bits for the element at `index`. Over all 2^32 places each number comes exactly once.
    #[must_use]
    #[inline(always)]
    pub fn at(self, index: u32) -> u32 {
        mixed(mixed(index ^ self.key[0]).wrapping_add(self.key[1]))
    }
}

/// Turns each input bit into changes of about half of the output bits. A bijection; shifts and factors
/// are those that a search for the least bias found (`hash-prospector`, public domain).
#[inline(always)]
fn mixed(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x21f0_aaad);
    let x = (x ^ (x >> 15)).wrapping_mul(0x735a_2d97);
    x ^ (x >> 15)
}

#[cfg(test)]
mod tests;
