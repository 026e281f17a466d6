//! Whether the chunks of a WebP file can be true: its decoder makes room for as much as a chunk of EXIF data
//! states, up to 4 GB, before it finds that the file has none.

/// Whether a chunk ends beyond the end of the file. Other files than WebP have none.
pub(super) fn states_too_much(bytes: &[u8]) -> bool {
    if !(bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")) {
        return false;
    }
    let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    // The size of all chunks together; what comes behind is none.
    let end = 8 + number(4).unwrap_or(0);
    let mut at = 12;
    // The name of a chunk, its size, its data, and a byte to make that even.
    while at < end
        && let Some(size) = number(at + 4)
    {
        if at + 8 + size > bytes.len() {
            return true;
        }
        at += 8 + size + size % 2;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::states_too_much;

    #[test]
    fn a_chunk_beyond_the_end_is_seen() {
        let file =
            |size: u32| [b"RIFF\x10\0\0\0WEBPEXIF", &size.to_le_bytes()[..], b"1234"].concat();
        assert!(!states_too_much(&file(4)) && !states_too_much(&file(3)));
        assert!(states_too_much(&file(5)) && states_too_much(&file(u32::MAX)));
        assert!(!states_too_much(&[&file(4)[..], b"tail of \xff\xff\xff\xff"].concat()));
        assert!(!states_too_much(b"RIFF") && !states_too_much(b"RIFF....WAVEfmt \xff\xff\xff\xff"));
    }
}
