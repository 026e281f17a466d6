//! A picture as its file holds it: what the header says, and what decoding it will take.
//!
//! The bytes say what a file is, not its extension. Sizes are judged here, before anything is
//! decoded, so that a damaged header or a decompression bomb cannot take all memory.

use std::{
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use image::{
    DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, codecs::png::PngDecoder,
    metadata::Orientation,
};

use super::{DatasetError, Picture, format, jpeg, palette, png_text, stored, tiff, webp};
use crate::base::disk;

/// Pictures with more pixels than this are refused.
pub const PIXEL_LIMIT: usize = 200_000_000;

/// What a decoder may take beside the picture itself: a row, a colour profile, a frame of a GIF that
/// is larger than its screen.
const SPARE: u64 = 32 << 20;

/// A picture's file in memory, with its header read and judged.
#[derive(Debug)]
pub struct Encoded {
    path: PathBuf,
    bytes: Vec<u8>,
    header: Header,
    /// The colours of a file whose pixels are decoded as indices.
    palette: Option<Vec<[u8; 3]>>,
}

/// What the header of a picture says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `JPEG`, `PNG`.
    pub format: &'static str,
    /// Pixels across, as they are stored.
    pub width: usize,
    /// Pixels down, as they are stored.
    pub height: usize,
    /// Channels and bits as they are stored: `RGB, 8 bits`, `palette, 4 bits`.
    pub colours: String,
    /// EXIF orientation, 1 to 8; 1 is upright. Where there is none, or a damaged one, it is 1.
    pub orientation: u8,
    /// Bytes of one pixel as it comes from the decoder.
    depth: usize,
}

impl Header {
    /// Width and height once the orientation is applied.
    #[must_use]
    pub fn upright_size(&self) -> (usize, usize) {
        match self.orientation {
            5..=8 => (self.height, self.width),
            _ => (self.width, self.height),
        }
    }
}

impl Encoded {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is no picture, is of a format that is not decoded here, or has more
    /// than [`PIXEL_LIMIT`] pixels.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let bytes = disk::read(path)
            .map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
        Self::new(bytes, path)
    }

    /// The same for bytes in memory; `path` is only named in errors.
    ///
    /// # Errors
    /// As [`Encoded::read`], except that nothing is read.
    pub fn new(mut bytes: Vec<u8>, path: &Path) -> Result<Self, DatasetError> {
        let palette = palette::take(&mut bytes);
        let mut header = guarded(path, || header(&bytes, path))?;
        if palette.is_some() {
            header.colours = "palette, 8 bits".to_owned();
        }
        Ok(Self { path: path.to_owned(), bytes, header, palette })
    }

    /// What the header says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The texts in a PNG file, by their keywords.
    #[must_use]
    pub fn texts(&self) -> Vec<(String, String)> {
        png_text::texts(&self.bytes)
    }

    /// Bytes that the file and its decoded picture take at most while it is decoded.
    #[must_use]
    pub fn memory(&self) -> usize {
        // Once from the decoder, once as a `Picture`; the sizes were judged, so nothing overflows.
        self.bytes.len() + self.header.width * self.header.height * (self.header.depth + 4)
    }

    /// Decodes the picture; of an animation the first one. `upright` turns it as its EXIF
    /// orientation says.
    ///
    /// # Errors
    /// The file is damaged or cut off.
    pub fn decode(&self, upright: bool) -> Result<Picture, DatasetError> {
        guarded(&self.path, || {
            if jpeg::is_cut_off(&self.bytes) {
                return Err(not_a_picture(&self.path, CUT_OFF));
            }
            let image = DynamicImage::from_decoder(open(&self.bytes, &self.path)?);
            let mut image = image.map_err(|error| broken(&self.bytes, &self.path, &error))?;
            if let (true, Some(orientation)) =
                (upright, Orientation::from_exif(self.header.orientation))
            {
                image.apply_orientation(orientation);
            }
            let mut picture = Picture::from_image(image);
            if let Some(palette) = &self.palette {
                let pixels = picture.rgb.as_chunks_mut::<3>().0;
                pixels.iter_mut().for_each(|pixel| *pixel = palette[usize::from(pixel[0])]);
            }
            Ok(picture)
        })
    }
}

fn header(bytes: &[u8], path: &Path) -> Result<Header, DatasetError> {
    let mut decoder = open(bytes, path)?;
    let (width, height) = decoder.dimensions();
    let colour = decoder.color_type();
    Ok(Header {
        format: format::name(bytes),
        width: width as usize,
        height: height as usize,
        colours: stored::colours(bytes)
            .unwrap_or_else(|| format::colours(decoder.original_color_type())),
        orientation: orientation(decoder.as_mut()).to_exif(),
        depth: usize::from(colour.bytes_per_pixel()),
    })
}

/// A decoder that has read the header, and whose memory is limited by what the header says.
fn open<'a>(bytes: &'a [u8], path: &Path) -> Result<Box<dyn ImageDecoder + 'a>, DatasetError> {
    let Ok(format) = image::guess_format(bytes) else { return Err(format::unknown(bytes, path)) };
    if tiff::states_too_much(bytes) {
        return Err(not_a_picture(
            path,
            "it is damaged or cut off: its directory states more than the file holds",
        ));
    }
    if webp::states_too_much(bytes) {
        return Err(not_a_picture(path, CUT_OFF));
    }
    let source = Cursor::new(bytes);
    let decoder: Result<Box<dyn ImageDecoder>, _> = match format {
        // Of all decoders this one alone unpacks something before the size is known.
        ImageFormat::Png => {
            PngDecoder::with_limits(source, limits(SPARE)).map(|decoder| Box::new(decoder) as _)
        }
        ImageFormat::Avif => return Err(format::unknown(bytes, path)),
        _ => {
            let mut reader = ImageReader::with_format(source, format);
            reader.no_limits();
            reader.into_decoder().map(|decoder| Box::new(decoder) as _)
        }
    };
    let mut decoder = decoder.map_err(|error| broken(bytes, path, &error))?;
    let (width, height) = decoder.dimensions();
    let pixels = judge(width as usize, height as usize, path)?;
    // Twice four channels of 16 bits: a decoder may need the whole picture once more.
    let memory = SPARE + 16 * pixels as u64;
    decoder.set_limits(limits(memory)).map_err(|error| broken(bytes, path, &error))?;
    Ok(decoder)
}

/// The number of pixels, if it is one that is decoded.
fn judge(width: usize, height: usize, path: &Path) -> Result<usize, DatasetError> {
    if width == 0 || height == 0 {
        return Err(not_a_picture(path, format!("it is {width} × {height} pixels large")));
    }
    match width.checked_mul(height) {
        Some(pixels) if pixels <= PIXEL_LIMIT => Ok(pixels),
        _ => Err(DatasetError::TooLarge { path: path.to_owned(), width, height }),
    }
}

fn limits(bytes: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(bytes);
    limits
}

/// A damaged EXIF block does not make the pixels unreadable.
fn orientation(decoder: &mut dyn ImageDecoder) -> Orientation {
    match decoder.orientation() {
        Ok(orientation) if orientation != Orientation::NoTransforms => orientation,
        // Some programs write into PNG and WebP the block with the mark that it has in a JPEG.
        _ => {
            let exif = decoder.exif_metadata().ok().flatten();
            let block = exif.as_deref().and_then(|exif| exif.strip_prefix(b"Exif\0\0"));
            block.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
        }
    }
}

const CUT_OFF: &str = "the file is cut off before the end of the picture";

/// What a decoder said, in words for who has the picture.
fn broken(bytes: &[u8], path: &Path, error: &image::ImageError) -> DatasetError {
    match error {
        _ if format::is_cut_off(bytes, error) => not_a_picture(path, CUT_OFF),
        image::ImageError::Unsupported(error) => {
            let (format, kind) = (format::name(bytes), format::unsupported(error));
            let format =
                format!("{format} picture of a kind that is not decoded ({})", short(kind));
            DatasetError::Format { path: path.to_owned(), format }
        }
        image::ImageError::Limits(_) => {
            not_a_picture(path, "it unpacks to far more than the size that its header states")
        }
        error => {
            not_a_picture(path, format!("it cannot be decoded ({})", error.to_string().trim_end()))
        }
    }
}

fn not_a_picture(path: &Path, reason: impl Into<String>) -> DatasetError {
    DatasetError::NotAPicture { path: path.to_owned(), reason: short(reason.into()) }
}

/// The start of what a decoder said, which may be a whole damaged table.
fn short(mut words: String) -> String {
    const MOST: usize = 300;
    if let Some((end, _)) = words.char_indices().nth(MOST) {
        words.truncate(end);
        words.push('…');
    }
    words
}

/// Decoders read what anybody may have written. One that panics over a file has found it broken.
fn guarded<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, DatasetError>,
) -> Result<T, DatasetError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(not_a_picture(path, "its decoder could make nothing of it")))
}

#[cfg(test)]
mod tests;
