//! From latents to pictures.

use std::path::Path;

use burn::tensor::{Device, FloatDType, Tensor};
use image::{Rgb, RgbImage};

use super::PictureError;
use crate::{
    models::{autoencoder, identity},
    pipeline::StageError,
    weights::{Checkpoint, Loader},
};

/// Pixels between two pictures that are set side by side.
const GAP: u32 = 8;

/// What decoding takes of memory for each pixel, in bytes: measured on the CPU are 2.2 kB, with
/// `fluxpipe bench cache autoencoder --decode`.
const BYTES_PER_PIXEL: u64 = 2500;

/// The decoder half of an autoencoder.
pub struct Decoder {
    network: autoencoder::Decoder,
    channels: usize,
}

impl Decoder {
    /// Loads the decoder of an autoencoder's file.
    ///
    /// # Errors
    /// The file holds another network, or not all of this one.
    pub fn load(ae: &Path, device: &Device) -> Result<Self, StageError> {
        let file = Checkpoint::open(ae)?;
        let loader = Loader::new(&file, identity::prefix(&file, "ae")?, device, FloatDType::F32);
        let first = loader.at("decoder").at("conv_in").shape("weight");
        let network = autoencoder::Decoder::load(&loader)?;
        Ok(Self { network, channels: first.map_or(0, |shape| shape[1]) })
    }

    /// The picture of one latent `[1, 16, h/8, w/8]`.
    ///
    /// # Errors
    /// The latent has other channels, or the picture numbers that are not finite.
    pub fn decode(&self, latent: Tensor<4>) -> Result<RgbImage, StageError> {
        let (found, expected) = (latent.dims()[1], self.channels);
        if found != expected {
            return Err(PictureError::Channels { found, expected }.into());
        }
        Ok(picture(self.network.decode(latent))?)
    }
}

/// Memory that decoding takes beside the transformer, in bytes; counted from the header of the file.
///
/// # Errors
/// It cannot be read.
pub fn takes(ae: &Path, pixels: usize) -> Result<u64, StageError> {
    let file = Checkpoint::open(ae)?;
    let sizes = file.names().filter_map(|name| file.info(name)).map(|info| info.elements() as u64);
    Ok(sizes.sum::<u64>() * size_of::<f32>() as u64 + pixels as u64 * BYTES_PER_PIXEL)
}

/// The picture that a decoder gives as `[1, 3, height, width]` with values about -1 to 1: each is rounded
/// to the nearest of 256.
///
/// # Errors
/// Not all values are finite, or they cannot be fetched.
pub fn picture(decoded: Tensor<4>) -> Result<RgbImage, PictureError> {
    let [_, _, height, width] = decoded.dims();
    let data = decoded.cast(FloatDType::F32).into_data();
    let values =
        data.as_slice::<f32>().map_err(|error| PictureError::Fetch(format!("{error:?}")))?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(PictureError::NotFinite);
    }
    let byte = |value: f32| ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    let plane = height * width;
    Ok(RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        Rgb([0, 1, 2].map(|channel| byte(values[channel * plane + at])))
    }))
}

/// Both pictures in one, with a white gap between them.
#[must_use]
pub fn side_by_side(before: &RgbImage, after: &RgbImage) -> RgbImage {
    let right = before.width() + GAP;
    let size = (right + after.width(), before.height().max(after.height()));
    let mut both = RgbImage::from_pixel(size.0, size.1, Rgb([255; 3]));
    image::imageops::replace(&mut both, before, 0, 0);
    image::imageops::replace(&mut both, after, i64::from(right), 0);
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    #[test]
    fn values_are_rounded_and_cut() {
        // Steps of half a byte around 0, where 127.5 would be cut to 127.
        let red = [-3.0_f32, -1.0, -1.0 + 0.9 / 127.5, 0.0, 0.6 / 127.5, 1.0, 2.0, 0.4 / 127.5];
        let values = red.iter().chain(&[0.0; 8]).chain(&[1.0; 8]).copied().collect::<Vec<_>>();
        let data = burn::tensor::TensorData::new(values, [1, 3, 2, 4]);
        let picture = picture(Tensor::from_data(data, &cpu())).unwrap();
        assert_eq!(picture.dimensions(), (4, 2));
        let red = picture.pixels().map(|pixel| pixel[0]).collect::<Vec<_>>();
        assert_eq!(red, [0, 0, 1, 128, 128, 255, 255, 128]);
        assert!(picture.pixels().all(|pixel| (pixel[1], pixel[2]) == (128, 255)));
    }

    #[test]
    fn a_value_that_is_no_number_is_no_picture() {
        let data = burn::tensor::TensorData::new(vec![f32::NAN; 3], [1, 3, 1, 1]);
        let found = picture(Tensor::from_data(data, &cpu()));
        assert!(matches!(found, Err(PictureError::NotFinite)));
    }

    #[test]
    fn two_pictures_stand_side_by_side() {
        let [black, grey] = [0, 128].map(|value| RgbImage::from_pixel(16, 32, Rgb([value; 3])));
        let both = side_by_side(&black, &grey);
        assert_eq!(both.dimensions(), (16 + GAP + 16, 32));
        let at = |x| both.get_pixel(x, 31)[0];
        assert_eq!([at(0), at(15), at(16), at(16 + GAP), at(31 + GAP)], [0, 0, 255, 128, 128]);
    }
}
