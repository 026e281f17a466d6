//! The text chunks of a PNG file: `tEXt`, and `iTXt` where it is not packed. What generated pictures say of
//! themselves stands there.

/// The eight bytes that a PNG file begins with.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The text under `keyword`; `None` where there is none, or where the file is damaged before it. Sums of
/// chunks are not checked.
pub fn text(png: &[u8], keyword: &str) -> Option<String> {
    let mut rest = png.strip_prefix(SIGNATURE)?;
    loop {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = rest.get(4..8)?;
        let body = rest.get(8..)?.get(..length)?;
        let found = match kind {
            b"tEXt" => latin(body, keyword),
            b"iTXt" => unpacked(body, keyword),
            b"IEND" => return None,
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        rest = rest.get(8 + length + 4..)?;
    }
}

/// `keyword 0 text`, one byte a letter; programs write UTF-8 all the same, which is taken where it is some.
fn latin(body: &[u8], keyword: &str) -> Option<String> {
    let text = body.strip_prefix(keyword.as_bytes())?.strip_prefix(&[0])?;
    let bytes = || text.iter().map(|byte| char::from(*byte)).collect();
    Some(std::str::from_utf8(text).map_or_else(|_| bytes(), ToOwned::to_owned))
}

/// `keyword 0 packed 0 language 0 translated-keyword 0 text`, in UTF-8.
fn unpacked(body: &[u8], keyword: &str) -> Option<String> {
    let rest = body.strip_prefix(keyword.as_bytes())?.strip_prefix(&[0, 0])?;
    let text = rest.get(1..)?.splitn(3, |byte| *byte == 0).nth(2)?;
    Some(std::str::from_utf8(text).ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(chunks: &[(&[u8], &[u8])]) -> Vec<u8> {
        let chunk = |(kind, body): &(&[u8], &[u8])| {
            let length = (body.len() as u32).to_be_bytes();
            [&length, *kind, body, &[0; 4]].concat()
        };
        [SIGNATURE.to_vec(), chunks.iter().flat_map(chunk).collect()].concat()
    }

    #[test]
    fn texts_are_found_by_their_keywords() {
        let file = png(&[
            (b"IHDR", &[0; 13]),
            (b"tEXt", b"fluxpipe2\0no"),
            (b"tEXt", b"parameters\0a caf\xe9"),
            (b"iTXt", "fluxpipe\0\0\0\0\0{\"prompt\":\"猫\"}".as_bytes()),
            (b"IEND", b""),
            (b"tEXt", b"late\0x"),
        ]);
        assert_eq!(text(&file, "parameters").unwrap(), "a café");
        assert_eq!(text(&file, "fluxpipe").unwrap(), "{\"prompt\":\"猫\"}");
        assert_eq!(text(&file, "late"), None);
        assert_eq!(text(&file[..60], "fluxpipe"), None, "cut off");
        assert_eq!(text(b"no png", "fluxpipe"), None);
        let long = [SIGNATURE, &[255; 4], b"tEXt", b"fluxpipe\0x"].concat();
        assert_eq!(text(&long, "fluxpipe"), None, "longer than the file");
    }
}
