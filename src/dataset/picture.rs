//! Decoding pictures.

use std::{
    io::{BufRead, Cursor, Seek},
    path::Path,
};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, metadata::Orientation};

use super::{DatasetError, jpeg};

/// Pictures with more pixels than this are refused, so that a damaged header or a decompression
/// bomb cannot take all memory.
pub const PIXEL_LIMIT: usize = 200_000_000;

/// A decoded picture, upright: the EXIF orientation is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Colours, `[height, width, 3]`, red first. Grey, palette and 16-bit files are converted.
    pub rgb: Vec<u8>,
    /// Opacity, `[height, width]`, for files that have it.
    pub alpha: Option<Vec<u8>>,
}

impl Picture {
    /// Decodes the file at `path`. What it is, its bytes say, not its extension. Of an animation
    /// the first picture is taken.
    ///
    /// # Errors
    /// The file cannot be read, is no picture, or has more than [`PIXEL_LIMIT`] pixels.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let bytes = std::fs::read(path)
            .map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
        Self::decode(&bytes, path)
    }

    /// Decodes `bytes`; `path` is only named in errors.
    ///
    /// # Errors
    /// As [`Picture::open`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, DatasetError> {
        let (decoder, orientation) = decoder(Cursor::new(bytes), path)?;
        if jpeg::is_cut_off(bytes) {
            let reason = "the file is cut off before the end of the picture".to_owned();
            return Err(DatasetError::NotAPicture { path: path.to_owned(), reason });
        }
        let mut image =
            DynamicImage::from_decoder(decoder).map_err(|error| broken(path, &error))?;
        image.apply_orientation(orientation);
        Ok(Self::from_image(image))
    }

    fn from_image(image: DynamicImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        if !image.color().has_alpha() {
            return Self { width, height, rgb: image.into_rgb8().into_raw(), alpha: None };
        }
        let rgba = image.into_rgba8();
        let rgb = rgba.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        let alpha = rgba.pixels().map(|pixel| pixel[3]).collect();
        Self { width, height, rgb, alpha: Some(alpha) }
    }

    /// The picture as it looks on white paper. What the file stores under transparent pixels is
    /// arbitrary (often black), so every network is shown this.
    #[must_use]
    pub fn over_white(mut self) -> Self {
        if let Some(alpha) = self.alpha.take() {
            for (pixel, alpha) in self.rgb.as_chunks_mut::<3>().0.iter_mut().zip(alpha) {
                let alpha = u32::from(alpha);
                // Rounds to the nearest; the sum is at most 255 * 255.
                let blend = |c: u8| (u32::from(c) * alpha + 255 * (255 - alpha) + 127) / 255;
                *pixel = pixel.map(|channel| blend(channel) as u8);
            }
        }
        self
    }
}

/// Width and height of the picture at `path` as it will be decoded (upright), read from its header.
///
/// # Errors
/// As [`Picture::open`], except that damage behind the header is not seen.
pub fn dimensions(path: &Path) -> Result<(usize, usize), DatasetError> {
    let file = std::fs::File::open(path)
        .map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let (decoder, orientation) = decoder(std::io::BufReader::new(file), path)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    Ok(if swaps_sides(orientation) { (height, width) } else { (width, height) })
}

/// Opens a decoder, with the header read and judged.
fn decoder<'a>(
    source: impl BufRead + Seek + 'a,
    path: &Path,
) -> Result<(impl ImageDecoder + 'a, Orientation), DatasetError> {
    let mut reader = ImageReader::new(source)
        .with_guessed_format()
        .map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let mut limits = Limits::no_limits();
    // Enough for four channels of 16 bits.
    limits.max_alloc = Some(8 * PIXEL_LIMIT as u64);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| broken(path, &error))?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    if width == 0 || height == 0 {
        let reason = format!("it is {width} × {height} pixels large");
        return Err(DatasetError::NotAPicture { path: path.to_owned(), reason });
    }
    if width.saturating_mul(height) > PIXEL_LIMIT {
        return Err(DatasetError::TooLarge { path: path.to_owned(), width, height });
    }
    // A damaged EXIF block does not make the pixels unreadable.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((decoder, orientation))
}

fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

fn broken(path: &Path, error: &image::ImageError) -> DatasetError {
    DatasetError::NotAPicture {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, ImageFormat, codecs::jpeg::JpegEncoder};

    use super::*;

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decoded(image: &DynamicImage) -> Picture {
        Picture::decode(&encoded(image, ImageFormat::Png), Path::new("test.png")).unwrap()
    }

    #[test]
    fn grey_and_16_bit_become_8_bit_colour() {
        let grey = image::GrayImage::from_raw(2, 1, vec![0, 200]).unwrap();
        assert_eq!(decoded(&grey.into()).rgb, [0, 0, 0, 200, 200, 200]);
        let deep =
            image::ImageBuffer::<image::Rgb<u16>, _>::from_raw(1, 1, vec![0, 0x8080, 0xffff]);
        let picture = decoded(&deep.unwrap().into());
        assert_eq!((picture.rgb, picture.alpha), (vec![0, 128, 255], None));
    }

    #[test]
    fn transparency_is_kept_and_shows_white() {
        let image = image::RgbaImage::from_raw(3, 1, vec![9, 9, 9, 0, 9, 9, 9, 255, 0, 0, 0, 51]);
        let picture = decoded(&image.unwrap().into());
        assert_eq!(picture.alpha.as_deref(), Some(&[0, 255, 51][..]));
        let flat = picture.over_white();
        assert_eq!(flat.rgb, [255, 255, 255, 9, 9, 9, 204, 204, 204]);
        assert_eq!(flat.alpha, None);
    }

    /// A JPEG of 16 × 8 pixels, dark left and bright right, that says it is to be turned by
    /// `orientation`.
    fn turned(orientation: u8) -> Vec<u8> {
        let pixels: Vec<u8> = (0..128).map(|i| if i % 16 < 8 { 20 } else { 230 }).collect();
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(&pixels, 16, 8, ExtendedColorType::L8).unwrap();
        bytes
    }

    #[test]
    fn pictures_stand_upright() {
        // EXIF 6: the camera's left edge is the picture's top.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turned.jpg");
        fs_err::write(&path, turned(6)).unwrap();
        let picture = Picture::open(&path).unwrap();
        assert_eq!((picture.width, picture.height), (8, 16));
        assert_eq!(dimensions(&path).unwrap(), (8, 16));
        assert!(picture.rgb[0] < 60 && picture.rgb[3 * (8 * 16 - 1)] > 190);
        assert_eq!(Picture::decode(&turned(1), &path).unwrap().width, 16);
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        let whole = turned(1);
        let png = encoded(&DynamicImage::new_rgb8(40, 40), ImageFormat::Png);
        let (half_png, half_jpeg) = (&png[..png.len() / 2], &whole[..whole.len() * 2 / 3]);
        for bytes in [&b""[..], b"not a picture", &png[..20], half_png, &whole[..9], half_jpeg] {
            let error = Picture::decode(bytes, Path::new("x.png")).unwrap_err();
            assert!(matches!(error, DatasetError::NotAPicture { .. }), "{error}");
        }
    }

    #[test]
    fn huge_pictures_are_refused_before_they_are_decoded() {
        // A BMP header alone, which promises 30 000 × 20 000 pixels.
        let mut bytes = encoded(&DynamicImage::new_rgb8(1, 1), ImageFormat::Bmp);
        bytes[18..22].copy_from_slice(&30_000_u32.to_le_bytes());
        bytes[22..26].copy_from_slice(&20_000_u32.to_le_bytes());
        let error = Picture::decode(&bytes, Path::new("x.bmp")).unwrap_err();
        assert!(matches!(error, DatasetError::TooLarge { width: 30_000, height: 20_000, .. }));
    }
}
