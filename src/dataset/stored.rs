//! How a file stores its colours, where the decoder tells only what it makes of them: palettes of
//! PNG, BMP and GIF, and the inks of a JPEG.

/// `palette, 4 bits` or `CMYK, 8 bits`; `None` where the decoder's word is the file's.
pub(super) fn colours(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        [b'B', b'M', ..] => bmp(bytes),
        [b'G', b'I', b'F', ..] => gif(bytes),
        [0xff, 0xd8, segments @ ..] => jpeg(segments),
        _ => None,
    }
}

fn palette(bits: u16) -> String {
    format!("palette, {bits} {}", if bits == 1 { "bit" } else { "bits" })
}

/// The first block, `IHDR`, has the depth at byte 24 of the file and the kind of colours behind it.
fn png(bytes: &[u8]) -> Option<String> {
    const INDEXED: u8 = 3;
    match bytes.get(24..26)? {
        [bits, INDEXED] => Some(palette(u16::from(*bits))),
        // The decoder widens grey of few bits.
        [bits @ (1 | 2 | 4), 0] => {
            Some(format!("grey, {bits} {}", if *bits == 1 { "bit" } else { "bits" }))
        }
        _ => None,
    }
}

/// The size of the second header at byte 14 tells where the bits of a pixel stand. Up to 8 are indices.
fn bmp(bytes: &[u8]) -> Option<String> {
    const OLDEST: u32 = 12;
    let size = u32::from_le_bytes(*bytes.get(14..)?.first_chunk()?);
    let at = if size == OLDEST { 24 } else { 28 };
    let bits = u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
    matches!(bits, 1..=8).then(|| palette(bits))
}

/// The lowest three bits of byte 10 are the size of the common palette, if bit 7 says there is one.
fn gif(bytes: &[u8]) -> Option<String> {
    let flags = *bytes.get(10)?;
    let bits = if flags & 0x80 == 0 { 8 } else { (flags & 7) + 1 };
    Some(palette(u16::from(bits)))
}

/// The start of a frame (`SOF0` to `SOF15`) tells bits and planes; four planes are inks.
fn jpeg(mut segments: &[u8]) -> Option<String> {
    loop {
        match segments {
            [0xff, 0xff, ..] => segments = &segments[1..],
            // Three marks among those of frames are of tables.
            [0xff, mark @ 0xc0..=0xcf, _, _, bits, _, _, _, _, planes, ..]
                if !matches!(mark, 0xc4 | 0xc8 | 0xcc) =>
            {
                return (*planes == 4).then(|| format!("CMYK, {bits} bits"));
            }
            [0xff, 0xda, ..] => return None,
            [0xff, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                segments = segments.get(2 + length..)?;
            }
            _ => return None,
        }
    }
}
