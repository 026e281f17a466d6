//! Telling a whole JPEG file from one that was cut off.
//!
//! The decoder fills what is missing with grey and says nothing, and a half-grey picture would be
//! labelled and trained on like any other.

/// Whether `bytes` begin like a JPEG file but have no end marker behind the beginning of the picture.
/// Within the picture's data the marker cannot occur by chance, since every `FF` there is followed by
/// a zero.
pub(super) fn is_cut_off(bytes: &[u8]) -> bool {
    let Some(mut segments) = bytes.strip_prefix(b"\xff\xd8") else { return false };
    // Thumbnails have markers of their own, so the segments before the picture are stepped over.
    loop {
        match segments {
            [0xff, 0xff, ..] => segments = &segments[1..],
            [0xff, 0xda, data @ ..] => return !data.windows(2).any(|pair| pair == b"\xff\xd9"),
            [0xff, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                match segments.get(2 + length..) {
                    Some(rest) => segments = rest,
                    None => return true,
                }
            }
            // Nothing the decoder would take for a picture, or the end came too early.
            _ => return segments.first().is_none_or(|&first| first == 0xff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG whose first segment is a thumbnail with an end marker of its own.
    const WHOLE: &[u8] =
        b"\xff\xd8\xff\xe1\x00\x06\xff\xd8\xff\xd9\xff\xff\xda\x00\x02ab\xff\x00cd\xff\xd9tail";

    #[test]
    fn a_file_is_whole_once_its_end_marker_is_there() {
        for length in 2..WHOLE.len() {
            assert_eq!(is_cut_off(&WHOLE[..length]), length < WHOLE.len() - 4, "{length}");
        }
    }

    #[test]
    fn other_files_are_left_to_their_decoders() {
        assert!(!is_cut_off(b""));
        assert!(!is_cut_off(b"\x89PNG"));
        assert!(!is_cut_off(b"\xff\xd8no marker"));
    }
}
