//! Element types of stored tensors and their decoding to f32.

use half::{bf16, f16};

/// The element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// 16-bit brain float.
    BF16,
    /// 8-bit float with 4 exponent and 3 mantissa bits, no infinities (`float8_e4m3fn`).
    F8E4M3,
    /// 8-bit float with 5 exponent and 2 mantissa bits (`float8_e5m2`).
    F8E5M2,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned byte.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl Dtype {
    /// Bytes per element.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The name that safetensors headers use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E5M2 => "F8_E5M2",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    /// Whether this is an 8-bit float, which may carry a scale in a tensor of its own.
    #[must_use]
    pub fn is_f8(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2)
    }

    /// The type with this safetensors name, if fluxpipe reads it.
    #[must_use]
    pub fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype as St;
        Some(match dtype {
            St::F64 => Self::F64,
            St::F32 => Self::F32,
            St::F16 => Self::F16,
            St::BF16 => Self::BF16,
            St::F8_E4M3 => Self::F8E4M3,
            St::F8_E5M2 => Self::F8E5M2,
            St::I64 => Self::I64,
            St::I32 => Self::I32,
            St::I16 => Self::I16,
            St::I8 => Self::I8,
            St::U64 => Self::U64,
            St::U32 => Self::U32,
            St::U16 => Self::U16,
            St::U8 => Self::U8,
            St::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// Decodes little-endian `bytes` of this type to f32. Integers beyond 2^24 and f64 are rounded.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            let (chunks, _) = bytes.as_chunks::<N>();
            chunks.iter().map(|chunk| read(*chunk)).collect()
        }
        match self {
            Self::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F8E4M3 => each(bytes, |[b]| f8_e4m3(b)),
            // e5m2 is the upper half of an f16.
            Self::F8E5M2 => each(bytes, |[b]| f16::from_bits(u16::from(b) << 8).to_f32()),
            Self::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Self::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
            Self::I8 => each(bytes, |b| i8::from_le_bytes(b).into()),
            Self::U64 => each(bytes, |b| u64::from_le_bytes(b) as f32),
            Self::U32 => each(bytes, |b| u32::from_le_bytes(b) as f32),
            Self::U16 => each(bytes, |b| u16::from_le_bytes(b).into()),
            Self::U8 | Self::Bool => each(bytes, |[b]| f32::from(b)),
        }
    }
}

/// `float8_e4m3fn`: bias 7, no infinities, only `S.1111.111` is NaN.
fn f8_e4m3(byte: u8) -> f32 {
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((byte >> 3) & 0x0f);
    let mantissa = f32::from(byte & 0x07);
    match (exponent, byte & 0x07) {
        (15, 7) => f32::NAN,
        (0, _) => sign * mantissa / 8.0 * 2.0_f32.powi(-6),
        _ => sign * (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f8_values_are_those_of_the_format() {
        assert_eq!(
            Dtype::F8E4M3.decode(&[0x00, 0x38, 0xb8, 0x7e, 0x01]),
            [0.0, 1.0, -1.0, 448.0, 2.0_f32.powi(-9)]
        );
        assert!(Dtype::F8E4M3.decode(&[0x7f])[0].is_nan());
        assert_eq!(Dtype::F8E5M2.decode(&[0x3c, 0x7b]), [1.0, 57344.0]);
    }
}
