//! Which format a file has, by its first bytes, and in which words that is told.

use std::{error::Error, io, path::Path};

use image::{
    ExtendedColorType, ImageFormat,
    error::{UnsupportedError, UnsupportedErrorKind},
};

use super::{DatasetError, jpeg};

/// Formats that people call pictures and that are not decoded here: where their mark stands, the
/// mark, the name.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"<svg", "SVG"),
    (0, b"%PDF", "PDF"),
];

/// The format's usual name, also of formats that are not decoded.
pub(super) fn name(bytes: &[u8]) -> &'static str {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => "PNG",
        Ok(ImageFormat::Jpeg) => "JPEG",
        Ok(ImageFormat::WebP) => "WebP",
        Ok(ImageFormat::Bmp) => "BMP",
        Ok(ImageFormat::Gif) => "GIF",
        Ok(ImageFormat::Tiff) => "TIFF",
        _ => other(bytes).unwrap_or("unknown"),
    }
}

/// `RGB, 8 bits`: what a file stores, as far as its decoder tells.
pub(super) fn colours(colour: ExtendedColorType) -> String {
    use ExtendedColorType as C;
    let name = match colour {
        C::L1 | C::L2 | C::L4 | C::L8 | C::L16 => "grey",
        C::La1 | C::La2 | C::La4 | C::La8 | C::La16 => "grey with transparency",
        C::Cmyk8 | C::Cmyk16 => "CMYK",
        C::Rgba1 | C::Rgba2 | C::Rgba4 | C::Rgba8 | C::Rgba16 | C::Rgba32F => {
            "RGB with transparency"
        }
        _ => "RGB",
    };
    let bits = colour.bits_per_pixel() / u16::from(colour.channel_count().max(1));
    format!("{name}, {bits} {}", if bits == 1 { "bit" } else { "bits" })
}

/// The error for bytes that no decoder takes.
pub(super) fn unknown(bytes: &[u8], path: &Path) -> DatasetError {
    let path = path.to_owned();
    match other(bytes) {
        Some("PDF") => {
            DatasetError::Format { path, format: "PDF document, not a picture".to_owned() }
        }
        Some(format) => {
            let format = format!("picture in the format {format}, which is not decoded");
            DatasetError::Format { path, format }
        }
        None if bytes.is_empty() => {
            DatasetError::NotAPicture { path, reason: "the file is empty".to_owned() }
        }
        None => {
            let reason = "its first bytes are those of no picture format".to_owned();
            DatasetError::NotAPicture { path, reason }
        }
    }
}

/// What decoders say of a file that ends too early, where they do not say it by the kind of error.
fn says_cut_off(message: &str) -> bool {
    ["unexpected end of file", "failed to fill whole buffer", "not have enough data"]
        .iter()
        .any(|end| message.contains(end))
}

/// What of a picture is not decoded, in the shortest words.
pub(super) fn unsupported(error: &UnsupportedError) -> String {
    match error.kind() {
        UnsupportedErrorKind::GenericFeature(feature) => feature,
        UnsupportedErrorKind::Color(colour) => {
            format!("pixels of {} bits", colour.bits_per_pixel())
        }
        _ => error.to_string(),
    }
}

/// Whether a file ends too early, by what its decoder said of it or by what it says itself.
pub(super) fn is_cut_off(bytes: &[u8], error: &image::ImageError) -> bool {
    // A WebP file states its length at byte 4, without the eight bytes up to there.
    let stated = bytes.strip_prefix(b"RIFF").and_then(|rest| rest.first_chunk());
    let stated = stated.map_or(0, |&size| 8 + u64::from(u32::from_le_bytes(size)));
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    let mut causes = std::iter::from_fn(|| {
        let cause = source?;
        source = cause.source();
        Some(cause)
    });
    jpeg::is_cut_off(bytes)
        || stated > bytes.len() as u64
        || causes.any(|cause| {
            let read = cause.downcast_ref::<io::Error>().map(io::Error::kind);
            read == Some(io::ErrorKind::UnexpectedEof)
                || says_cut_off(&cause.to_string().to_lowercase())
        })
}

fn other(bytes: &[u8]) -> Option<&'static str> {
    let known = OTHERS
        .iter()
        .find(|(at, mark, _)| bytes.get(*at..).is_some_and(|bytes| bytes.starts_with(mark)));
    known.map(|(_, _, name)| *name)
}
