//! Whether the directory of a TIFF file can be true: its decoder makes room for as many values as an entry
//! states, 256 MB of it, before it finds that the file has none.

/// Whether an entry of the first directory states more values than the file has bytes for. Other files than
/// TIFF have none.
pub(super) fn states_too_much(bytes: &[u8]) -> bool {
    directory(bytes).is_some_and(|directory| {
        directory.entries(bytes).any(|(kind, count)| {
            let size = count.checked_mul(size_of(kind));
            size.is_none_or(|size| size > bytes.len() as u64)
        })
    })
}

/// Bytes of one value of a type; a type that is unknown is left to the decoder.
fn size_of(kind: u64) -> u64 {
    match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 0,
    }
}

/// Where the entries of a directory are.
struct Directory {
    first: usize,
    count: usize,
    low_first: bool,
    /// Entries of 20 bytes with counts of 8, for files beyond 4 GB; else of 12 with counts of 4.
    big: bool,
}

fn directory(bytes: &[u8]) -> Option<Directory> {
    let (low_first, big) = match bytes.get(..4)? {
        b"II*\0" => (true, false),
        b"MM\0*" => (false, false),
        b"II+\0" => (true, true),
        b"MM\0+" => (false, true),
        _ => return None,
    };
    let number = |at, size| number(bytes, at, size, low_first);
    let at = usize::try_from(if big { number(8, 8)? } else { number(4, 4)? }).ok()?;
    let size = if big { 8 } else { 2 };
    let count = usize::try_from(number(at, size)?).ok()?;
    // An entry that is cut off says nothing.
    Some(Directory { first: at.checked_add(size)?, count: count.min(bytes.len()), low_first, big })
}

impl Directory {
    /// Type and number of values of each entry.
    fn entries(self, bytes: &[u8]) -> impl Iterator<Item = (u64, u64)> {
        let (step, size) = if self.big { (20, 8) } else { (12, 4) };
        (0..self.count).map_while(move |index| {
            let at = self.first.checked_add(step * index)?;
            let kind = number(bytes, at.checked_add(2)?, 2, self.low_first)?;
            Some((kind, number(bytes, at.checked_add(4)?, size, self.low_first)?))
        })
    }
}

fn number(bytes: &[u8], at: usize, size: usize, low_first: bool) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
    Some(match low_first {
        true => bytes.iter().rev().fold(0, add),
        false => bytes.iter().fold(0, add),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of one entry: offsets of strips, of type LONG.
    fn file(low_first: bool, count: u32) -> Vec<u8> {
        let (mark, numbers): (&[u8], [Vec<u8>; 5]) = match low_first {
            true => (
                b"II*\0",
                [
                    8_u32.to_le_bytes().into(),
                    1_u16.to_le_bytes().into(),
                    273_u16.to_le_bytes().into(),
                    4_u16.to_le_bytes().into(),
                    count.to_le_bytes().into(),
                ],
            ),
            false => (
                b"MM\0*",
                [
                    8_u32.to_be_bytes().into(),
                    1_u16.to_be_bytes().into(),
                    273_u16.to_be_bytes().into(),
                    4_u16.to_be_bytes().into(),
                    count.to_be_bytes().into(),
                ],
            ),
        };
        [mark, &numbers.concat(), &[0; 8]].concat()
    }

    #[test]
    fn more_values_than_bytes_are_seen() {
        for low_first in [true, false] {
            assert!(!states_too_much(&file(low_first, 6)));
            assert!(states_too_much(&file(low_first, 7)));
            assert!(states_too_much(&file(low_first, u32::MAX)));
            // An entry that is cut off states nothing.
            assert!((0..18).all(|end| !states_too_much(&file(low_first, 7)[..end])));
        }
        assert!(!states_too_much(b"\x89PNG"));
    }
}
