//! TIFF pictures whose pixels are indices into a table of colours, which the TIFF decoder refuses.
//!
//! Such a file differs from a grey one in a single number of its directory. So it is decoded as if
//! its indices were levels of grey, and the table is looked up afterwards.

/// The colours of a TIFF file with a palette of 8 bits; `bytes` become those of a grey picture of
/// the indices. `None`, with `bytes` as they were, for every other file.
pub(super) fn take(bytes: &mut [u8]) -> Option<Vec<[u8; 3]>> {
    const BITS: u16 = 258;
    const MEANING: u16 = 262;
    const TABLE: u16 = 320;
    const GREY: u16 = 1;
    const PALETTE: u16 = 3;
    let order = match bytes.get(..4)? {
        b"II*\0" => Order::LowFirst,
        b"MM\0*" => Order::HighFirst,
        _ => return None,
    };
    let directory = order.u32(bytes, 4)? as usize;
    let count = usize::from(order.u16(bytes, directory)?);
    let entries = (0..count).map(|index| directory + 2 + 12 * index);
    let of = |tag| entries.clone().find(|&entry| order.u16(bytes, entry) == Some(tag));
    let (bits, meaning, table) = (of(BITS)? + 8, of(MEANING)? + 8, of(TABLE)?);
    if order.u16(bytes, meaning)? != PALETTE || order.u16(bytes, bits)? != 8 {
        return None;
    }
    // 256 reds, then as many greens and blues, each of 16 bits.
    let (length, place) = (order.u32(bytes, table + 4)?, order.u32(bytes, table + 8)? as usize);
    if length != 3 * 256 {
        return None;
    }
    let level = |index: usize| Some((order.u16(bytes, place.checked_add(2 * index)?)? >> 8) as u8);
    let colour = |index| Some([level(index)?, level(256 + index)?, level(512 + index)?]);
    let colours = (0..256).map(colour).collect::<Option<Vec<_>>>()?;
    bytes.get_mut(meaning..meaning + 2)?.copy_from_slice(&order.bytes(GREY));
    Some(colours)
}

/// Which byte of a number comes first.
#[derive(Clone, Copy)]
enum Order {
    LowFirst,
    HighFirst,
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..)?.first_chunk().copied()?;
        Some(match self {
            Self::LowFirst => u16::from_le_bytes(bytes),
            Self::HighFirst => u16::from_be_bytes(bytes),
        })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..)?.first_chunk().copied()?;
        Some(match self {
            Self::LowFirst => u32::from_le_bytes(bytes),
            Self::HighFirst => u32::from_be_bytes(bytes),
        })
    }

    fn bytes(self, number: u16) -> [u8; 2] {
        match self {
            Self::LowFirst => number.to_le_bytes(),
            Self::HighFirst => number.to_be_bytes(),
        }
    }
}
