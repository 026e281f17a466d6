//! Content digests: BLAKE3, printed as lower-case hex.

use std::{
    fmt,
    hash::{Hash, Hasher},
    io,
    path::Path,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::disk;

/// Above this size a file is memory-mapped and digested by all cores.
const MAP_FROM: u64 = 1 << 20;

/// The BLAKE3 digest of some bytes. Two equal digests mean equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digests `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Wraps a finished BLAKE3 state, for callers that stream.
    #[must_use]
    pub fn from_hasher(hasher: &blake3::Hasher) -> Self {
        Self(*hasher.finalize().as_bytes())
    }

    /// Digests the file `path`, through a map of it and on all cores where it is large.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        if std::fs::metadata(path)?.len() < MAP_FROM {
            return Ok(Self::of(&disk::read(path)?));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_rayon(&disk::map(path)?);
        Ok(Self::from_hasher(&hasher))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// All 64 hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// The first 12 hex digits: enough for a person to tell two digests apart.
    #[must_use]
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Any eight bytes of a digest tell it apart from others as well as a hash could.
        let (eight, _) = self.0.split_at(8);
        state.write(eight);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

/// The text is not 64 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest of 64 hex digits")]
pub struct NotADigest(String);

/// Values of hex digits; `0xff` for other letters. Records name hundreds of thousands of digests.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit] as usize] = digit as u8;
        values[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes().as_chunks::<2>().0;
        let mut bytes = [0; 32];
        let mut wrong = u8::from(text.len() != 64);
        for (byte, [high, low]) in bytes.iter_mut().zip(digits) {
            let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
            wrong |= (high | low) & 0xf0;
            *byte = high << 4 | low & 0x0f;
        }
        if wrong == 0 { Ok(Self(bytes)) } else { Err(NotADigest(text.to_owned())) }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_rejects_other_text() {
        let digest = Digest::of(b"flux");
        assert_eq!(digest.hex().parse::<Digest>().unwrap(), digest);
        assert!("zz".repeat(32).parse::<Digest>().is_err());
        assert_eq!(digest.hex().to_uppercase().parse::<Digest>().unwrap(), digest);
        assert!("00".parse::<Digest>().is_err());
        assert!("00".repeat(33).parse::<Digest>().is_err());
        for place in 0..64 {
            let mut hex = digest.hex();
            hex.replace_range(place..=place, "g");
            assert!(hex.parse::<Digest>().is_err(), "{hex}");
        }
    }
}
