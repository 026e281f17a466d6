//! The networks of the cache stage: texts out of a file as people have it, token vectors, latents.

use std::path::Path;

use burn::tensor::{Device, FloatDType, Tensor};

use super::MeasureError;
use crate::{
    base::clock::Stopwatch,
    device::{
        memory,
        rates::{self, Seconds},
    },
    models::{
        autoencoder::{Decoder, Encoder},
        clip::{ClipConfig, ClipText},
        random::{self, AutoencoderShape, ClipShape},
        t5::{T5Stream, T5Text},
    },
    pipeline::StageError,
    weights::{Checkpoint, Loader},
};

/// What the encoding of some texts took.
#[derive(Clone, Copy, Debug)]
pub struct TextsTaken {
    /// Layers of the network.
    pub layers: usize,
    /// Sets that went through all layers one after the other.
    pub sets: usize,
    /// From opening the file to the last encoding.
    pub seconds: f64,
    /// The most memory that was the program's own, in bytes, where the system tells.
    pub peak_own_memory: Option<u64>,
}

/// Encodes so many texts of so many tokens with the T5 in `file`, in sets as the stage does. Their
/// encodings are dropped set by set, as the stage drops them once they are stored.
///
/// # Errors
/// The file is not that of such a network, or cannot be read.
pub fn encode_texts(
    file: &Path,
    device: &Device,
    texts: usize,
    tokens: usize,
) -> Result<TextsTaken, StageError> {
    let texts = (0..texts).map(|index| T5Text { ids: ids(index, tokens), attend: None });
    let texts = texts.collect::<Vec<_>>();
    memory::give_back();
    let (encoded, peak_own_memory) = memory::peak(|| -> Result<_, StageError> {
        let clock = Stopwatch::start();
        let checkpoint = Checkpoint::open(file)?;
        let t5 = T5Stream::open(Loader::new(&checkpoint, "", device, FloatDType::F32))?;
        let (mut layers, mut sets) = (0, 0);
        for set in texts.chunks((t5.rows_of_set() / tokens.max(1)).max(1)) {
            let all = |_, all| {
                layers = all;
                true
            };
            t5.encode(set, all)?;
            sets += 1;
        }
        let _ = device.sync();
        Ok((layers, sets, clock.seconds()))
    });
    let (layers, sets, seconds) = encoded?;
    Ok(TextsTaken { layers, sets, seconds, peak_own_memory })
}

/// Ids of a made-up text.
fn ids(text: usize, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|place| ((text * 131 + place * 31) % 32_000) as u32).collect()
}

/// Encodes a batch of texts of 77 tokens with CLIP's text encoder.
///
/// # Errors
/// None that memory can give.
pub fn clip(
    shape: ClipShape,
    device: &Device,
    texts: usize,
    samples: usize,
) -> Result<Seconds, StageError> {
    let file = random::clip(shape, 1).map_err(MeasureError::Network)?;
    let loader = Loader::new(&file, "", device, FloatDType::F32);
    let clip = ClipText::load(&loader, ClipConfig::detect(&loader))?;
    let ids = (0..texts).map(|text| ids(text, 77)).collect::<Vec<_>>();
    Ok(rates::seconds(device, samples, || drop(clip.forward(&ids).pooled)))
}

/// Encodes a batch of square pictures, the first `bands` levels of the autoencoder in bands.
/// Gives how long it took, and the most memory that was the program's own meanwhile.
///
/// # Errors
/// None that memory can give.
pub fn encode_pictures(
    shape: AutoencoderShape,
    device: &Device,
    [batch, side, bands]: [usize; 3],
    samples: usize,
) -> Result<(Seconds, Option<u64>), StageError> {
    let file = random::autoencoder(shape, 1).map_err(MeasureError::Network)?;
    let encoder = Encoder::load(&Loader::new(&file, "", device, FloatDType::F32))?;
    drop(file);
    memory::give_back();
    let pictures: Tensor<4> = rates::normal([batch, 3, side, side], 0.5, FloatDType::F32, device);
    Ok(memory::peak(|| {
        let encode = || drop(encoder.encode_in_bands(pictures.clone(), bands));
        rates::seconds(device, samples, encode)
    }))
}

/// Decodes a batch of latents to square pictures of this side; as [`encode_pictures`].
///
/// # Errors
/// None that memory can give.
pub fn decode_latents(
    shape: AutoencoderShape,
    device: &Device,
    [batch, side]: [usize; 2],
    samples: usize,
) -> Result<(Seconds, Option<u64>), StageError> {
    let file = random::autoencoder(shape, 1).map_err(MeasureError::Network)?;
    let decoder = Decoder::load(&Loader::new(&file, "", device, FloatDType::F32))?;
    drop(file);
    memory::give_back();
    let latent: Tensor<4> =
        rates::normal([batch, 16, side / 8, side / 8], 1.0, FloatDType::F32, device);
    Ok(memory::peak(|| rates::seconds(device, samples, || drop(decoder.decode(latent.clone())))))
}
