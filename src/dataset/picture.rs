//! A decoded picture.

use std::path::Path;

use image::DynamicImage;

use super::{DatasetError, Encoded};

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Colours, `[height, width, 3]`, red first. Grey, palette, CMYK and 16-bit files are converted.
    pub rgb: Vec<u8>,
    /// Opacity, `[height, width]`, for files that have it.
    pub alpha: Option<Vec<u8>>,
}

impl Picture {
    /// Decodes the file at `path` and turns it upright, as its EXIF orientation says.
    ///
    /// # Errors
    /// As [`Encoded::read`] and [`Encoded::decode`].
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        Encoded::read(path)?.decode(true)
    }

    pub(super) fn from_image(image: DynamicImage) -> Self {
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
