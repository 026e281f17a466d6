//! Small pictures for people to look at; no network sees them.

use std::path::Path;

use image::codecs::jpeg::JpegEncoder;

use super::{DatasetError, Encoded, Resampling, resize};

/// The picture at `path` as a JPEG file whose longer side is at most `edge` pixels, over white where it is
/// transparent; `upright` turns it as its EXIF orientation says. A smaller picture keeps its size.
///
/// # Errors
/// It is no picture, or none that is decoded.
pub fn thumbnail(
    path: &Path,
    edge: usize,
    quality: u8,
    upright: bool,
) -> Result<Vec<u8>, DatasetError> {
    let picture = Encoded::read(path)?.decode(upright)?.over_white();
    let from = (picture.width, picture.height);
    let to = fitted(from, edge);
    let rgb = resize(&picture.rgb, from, to, Resampling::automatic(from, to));
    let image = image::RgbImage::from_raw(to.0 as u32, to.1 as u32, rgb);
    let mut bytes = Vec::new();
    let encoded =
        image.map(|image| JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(&image));
    match encoded {
        Some(Ok(())) => Ok(bytes),
        _ => {
            let reason = "it cannot be written as a small JPEG".to_owned();
            Err(DatasetError::NotAPicture { path: path.to_owned(), reason })
        }
    }
}

/// A size in the same proportions whose longer side is at most `edge`.
fn fitted((width, height): (usize, usize), edge: usize) -> (usize, usize) {
    let longer = width.max(height);
    if longer <= edge {
        return (width, height);
    }
    let scaled = |side: usize| ((side * edge + longer / 2) / longer).max(1);
    (scaled(width), scaled(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_keeps_proportions_and_never_grows() {
        assert_eq!(fitted((4000, 3000), 192), (192, 144));
        assert_eq!(fitted((64, 48), 192), (64, 48));
        assert_eq!(fitted((1, 9000), 192), (1, 192));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        // What is transparent is white on paper, whatever its colour.
        image::RgbaImage::from_pixel(400, 200, image::Rgba([0, 0, 0, 0])).save(&path).unwrap();
        let bytes = thumbnail(&path, 100, 90, true).unwrap();
        let small = image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).unwrap();
        assert_eq!((small.width(), small.height()), (100, 50));
        assert!(small.into_rgb8().pixels().all(|pixel| pixel.0.iter().all(|c| *c > 250)));
        fs_err::write(&path, "no picture").unwrap();
        assert!(thumbnail(&path, 100, 90, true).is_err());
    }
}
