//! The decoder of the autoencoder beside a transformer that is trained: there while pictures are drawn, where
//! there is room for it.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use image::RgbImage;

use crate::stages::pictures::{self, takes};
use crate::{device, models::autoencoder::REDUCTION, pipeline::StageError};

/// Decodes latents.
pub struct Decoder {
    ae: PathBuf,
    loaded: Option<(Device, pictures::Decoder)>,
}

impl Decoder {
    /// With the autoencoder in this file, which is read when the first latent comes.
    pub fn new(ae: &Path) -> Self {
        Self { ae: ae.to_owned(), loaded: None }
    }

    /// Gives back what it takes, and what drawing took.
    pub fn rest(&mut self, device: &Device) {
        self.loaded = None;
        device.memory_cleanup();
        device::memory::give_back();
    }

    /// The picture of a latent `[1, 16, h/8, w/8]`, decoded on `device` where there is room and else on the
    /// CPU, which takes seconds and not memory that the training counts on.
    pub fn decode(&mut self, latent: Tensor<4>, device: &Device) -> Result<RgbImage, StageError> {
        let [_, _, h, w] = latent.dims();
        let (device, decoder) = match self.loaded.take() {
            Some(there) => self.loaded.insert(there),
            None => {
                let device = with_room(device, takes(&self.ae, h * w * REDUCTION * REDUCTION)?);
                let decoder = pictures::Decoder::load(&self.ae, &device)?;
                self.loaded.insert((device, decoder))
            }
        };
        decoder.decode(latent.to_device(device))
    }
}

/// The device, if it can give so many bytes, and else the CPU.
fn with_room(device: &Device, bytes: u64) -> Device {
    // What a step took lies with the allocator until it is asked for, not with the driver.
    device.memory_cleanup();
    match device::memory::free_on(device) {
        Some(free) if free < bytes => device::cpu(),
        _ => device.clone(),
    }
}
