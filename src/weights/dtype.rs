//! Element types of stored tensors and their decoding to f32.

use std::sync::LazyLock;

use half::{
    bf16, f16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt},
};

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
        let mut values = vec![0.0; bytes.len() / self.size()];
        self.decode_into(bytes, &mut values);
        values
    }

    /// The same into `values`, as many as both have.
    pub fn decode_into(self, bytes: &[u8], values: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], values: &mut [f32], read: impl Fn([u8; N]) -> f32) {
            for (value, chunk) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *value = read(*chunk);
            }
        }
        match self {
            Self::F64 => each(bytes, values, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => each(bytes, values, f32::from_le_bytes),
            Self::F16 => f16_into(bytes, values),
            Self::BF16 => each(bytes, values, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F8E4M3 => each(bytes, values, |[b]| F8_E4M3[usize::from(b)]),
            Self::F8E5M2 => each(bytes, values, |[b]| F8_E5M2[usize::from(b)]),
            Self::I64 => each(bytes, values, |b| i64::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, values, |b| i32::from_le_bytes(b) as f32),
            Self::I16 => each(bytes, values, |b| i16::from_le_bytes(b).into()),
            Self::I8 => each(bytes, values, |b| i8::from_le_bytes(b).into()),
            Self::U64 => each(bytes, values, |b| u64::from_le_bytes(b) as f32),
            Self::U32 => each(bytes, values, |b| u32::from_le_bytes(b) as f32),
            Self::U16 => each(bytes, values, |b| u16::from_le_bytes(b).into()),
            Self::U8 | Self::Bool => each(bytes, values, |[b]| f32::from(b)),
        }
    }
}

impl Dtype {
    /// The values as little-endian bytes of this type, each rounded to the nearest; `None` for integers,
    /// which no weights are stored as.
    #[must_use]
    pub fn encode(self, values: &[f32]) -> Option<Vec<u8>> {
        fn each<const N: usize>(values: &[f32], write: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
            values.iter().flat_map(|&value| write(value)).collect()
        }
        match self {
            Self::F64 => Some(each(values, |x| f64::from(x).to_le_bytes())),
            Self::F32 => Some(each(values, f32::to_le_bytes)),
            Self::F16 => Some(each(values, |x| f16::from_f32(x).to_le_bytes())),
            Self::BF16 => Some(each(values, |x| bf16::from_f32(x).to_le_bytes())),
            Self::F8E4M3 => Some(each(values, |x| [nearest(&F8_E4M3, x, 0x7e)])),
            Self::F8E5M2 => Some(each(values, |x| [nearest(&F8_E5M2, x, 0x7b)])),
            _ => None,
        }
    }
}

/// The byte of an 8-bit float that is nearest to `x`, the even one of two; beyond the largest, that one.
/// Without the sign, the values of the bytes from 0 to `largest` rise.
fn nearest(values: &[f32; 256], x: f32, largest: u8) -> u8 {
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    if x.is_nan() {
        return sign | 0x7f;
    }
    let rising = &values[..=usize::from(largest)];
    let above = rising.partition_point(|&value| value < x.abs()).min(usize::from(largest));
    let below = above.saturating_sub(1);
    let [low, high] = [x.abs() - rising[below], rising[above] - x.abs()];
    let chosen =
        if low < high || (low.total_cmp(&high).is_eq() && below % 2 == 0) { below } else { above };
    sign | chosen as u8
}

/// The processor converts a slice of halves many at once, where it lies on whole elements.
fn f16_into(bytes: &[u8], values: &mut [f32]) {
    let count = values.len().min(bytes.len() / 2);
    match bytemuck::try_cast_slice::<u8, u16>(&bytes[..2 * count]) {
        Ok(bits) if cfg!(target_endian = "little") => {
            bits.reinterpret_cast::<f16>().convert_to_f32_slice(&mut values[..count]);
        }
        _ => {
            for (value, chunk) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f16::from_le_bytes(*chunk).to_f32();
            }
        }
    }
}

/// The values of all bytes.
static F8_E4M3: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| f8_e4m3(byte as u8)));
/// The values of all bytes: e5m2 is the upper half of an f16.
static F8_E5M2: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| f16::from_bits((byte as u16) << 8).to_f32()));

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

    #[test]
    fn what_is_encoded_is_the_nearest_value_of_the_format() {
        let every = (0..=255).filter(|byte| byte & 0x7f != 0x7f).collect::<Vec<u8>>();
        let values = Dtype::F8E4M3.decode(&every);
        assert_eq!(Dtype::F8E4M3.encode(&values).unwrap(), every);
        // Between 1 and 1.125 the even one is 1; beyond the largest there is none.
        let between = [1.0625, 1.07, -1.19, 1e9, f32::NAN];
        assert_eq!(Dtype::F8E4M3.encode(&between).unwrap(), [0x38, 0x39, 0xba, 0x7e, 0x7f]);
        let finite = (0..=0x7b).collect::<Vec<u8>>();
        let values = Dtype::F8E5M2.decode(&finite);
        assert_eq!(Dtype::F8E5M2.encode(&values).unwrap(), finite);
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16] {
            let bytes = dtype.encode(&[-1.5, 0.25]).unwrap();
            assert_eq!(dtype.decode(&bytes), [-1.5, 0.25]);
        }
        assert_eq!(Dtype::I8.encode(&[1.0]), None);
    }

    #[test]
    fn halves_are_decoded_wherever_they_lie() {
        let values: Vec<f32> = (-40..40).map(|i| i as f32 / 8.0).collect();
        let mut bytes = vec![0];
        bytes.extend(values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()));
        // One of the two places is not on a whole element.
        assert_eq!(Dtype::F16.decode(&bytes[1..]), values);
        let moved = bytes[1..].to_vec();
        assert_eq!(Dtype::F16.decode(&moved), values);
        let mut some = [0.0; 3];
        Dtype::F16.decode_into(&bytes[1..], &mut some);
        assert_eq!(some, values[..3]);
    }
}
