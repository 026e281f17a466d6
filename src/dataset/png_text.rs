//! Texts in the chunks of a PNG file, where programs that draw pictures say how: reading and adding them.
//!
//! A text is Latin-1 (`tEXt`) or UTF-8 (`iTXt`). Compressed ones are passed over. Format: PNG (Portable
//! Network Graphics) Specification, third edition, 5 and 11.3.3.

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
/// Signature and the first chunk, which is always `IHDR` with 13 bytes.
const HEADER: usize = SIGNATURE.len() + 12 + 13;

/// The uncompressed texts of a PNG file, as `(keyword, text)` in their order; of a file that is damaged or
/// no PNG, those before that shows.
#[must_use]
pub fn texts(png: &[u8]) -> Vec<(String, String)> {
    let Some(mut rest) = png.strip_prefix(&SIGNATURE) else { return Vec::new() };
    let mut found = Vec::new();
    while let Some((kind, data, after)) = chunk(rest) {
        found.extend(match kind {
            b"tEXt" => latin(data),
            b"iTXt" => unicode(data),
            _ => None,
        });
        rest = after;
    }
    found
}

/// The first chunk: its type, its data, and what comes after it.
fn chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (data, rest) = rest.split_at_checked(length)?;
    Some((kind, data, rest.get(4..)?))
}

fn latin(data: &[u8]) -> Option<(String, String)> {
    let (keyword, text) = cut(data)?;
    Some((from_latin(keyword), from_latin(text)))
}

fn unicode(data: &[u8]) -> Option<(String, String)> {
    let (keyword, rest) = cut(data)?;
    let (&[is_compressed, _method], rest) = rest.split_first_chunk::<2>()?;
    let (_language, rest) = cut(rest)?;
    let (_translated, text) = cut(rest)?;
    (is_compressed == 0).then(|| (from_latin(keyword), String::from_utf8_lossy(text).into_owned()))
}

/// What stands before and after the first zero byte.
fn cut(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let zero = data.iter().position(|&byte| byte == 0)?;
    Some((&data[..zero], &data[zero + 1..]))
}

fn from_latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Adds texts to a PNG file, after its header. `keyword` is of 1 to 79 Latin-1 letters. What is no PNG is
/// given back as it is.
#[must_use]
pub fn with_texts(png: &[u8], texts: &[(&str, &str)]) -> Vec<u8> {
    if !png.starts_with(&SIGNATURE) || png.len() < HEADER {
        return png.to_vec();
    }
    let mut out = png[..HEADER].to_vec();
    for (keyword, text) in texts {
        let latin = text.chars().map(|letter| u8::try_from(letter).ok().filter(|&byte| byte != 0));
        match latin.collect::<Option<Vec<_>>>() {
            Some(text) => push(&mut out, b"tEXt", &[keyword.as_bytes(), &[0], &text].concat()),
            None => {
                // Neither compressed nor of a language or a translated keyword.
                let data = [keyword.as_bytes(), &[0; 5], text.as_bytes()].concat();
                push(&mut out, b"iTXt", &data);
            }
        }
    }
    out.extend(&png[HEADER..]);
    out
}

fn push(out: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    out.extend((data.len() as u32).to_be_bytes());
    out.extend(kind);
    out.extend(data);
    out.extend(crc(kind.iter().chain(data)).to_be_bytes());
}

/// The sum that ends a chunk: CRC-32 with the polynomial of IEEE 802.3, over type and data.
fn crc<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    let mut sum = u32::MAX;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};

    use super::*;

    fn picture() -> Vec<u8> {
        let mut png = Cursor::new(Vec::new());
        RgbImage::new(3, 2).write_to(&mut png, ImageFormat::Png).unwrap();
        png.into_inner()
    }

    #[test]
    fn texts_are_read_back_and_the_picture_is_whole() {
        let written = [("parameters", "a café\nSteps: 4"), ("fluxpipe", "{\"prompt\":\"кот 猫\"}")];
        let png = with_texts(&picture(), &written);
        let read = texts(&png);
        let read = read.iter().map(|(keyword, text)| (keyword.as_str(), text.as_str()));
        assert_eq!(read.collect::<Vec<_>>(), written);
        // The decoder checks the sums of the chunks.
        assert_eq!(image::load_from_memory(&png).unwrap().into_rgb8(), RgbImage::new(3, 2));
        let latin = png.windows(4).filter(|&window| window == b"tEXt").count();
        assert_eq!(latin, 1, "one is Latin-1, the other is not");
    }

    #[test]
    fn damaged_files_give_what_comes_before() {
        let png = with_texts(&picture(), &[("a", "b"), ("c", "d")]);
        assert_eq!(texts(b"no PNG"), []);
        for end in 0..png.len() {
            assert!(texts(&png[..end]).len() <= 2);
        }
        let end = HEADER + 12 + 3 + 5;
        assert_eq!(texts(&png[..end]), [("a".to_owned(), "b".to_owned())]);
        assert_eq!(with_texts(b"no PNG", &[("a", "b")]), b"no PNG");
    }

    #[test]
    fn compressed_texts_are_passed_over() {
        let mut png = picture()[..HEADER].to_vec();
        push(&mut png, b"iTXt", b"key\0\x01\0\0\0zlib");
        push(&mut png, b"iTXt", b"key\0\0\0en\0word\0text");
        assert_eq!(texts(&png), [("key".to_owned(), "text".to_owned())]);
    }

    #[test]
    fn the_sum_is_that_of_the_standard() {
        // The check value of CRC-32.
        assert_eq!(crc(b"123456789".iter()), 0xcbf4_3926);
        assert_eq!(crc(b"IEND".iter()), 0xae42_6082);
    }
}
