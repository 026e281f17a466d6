//! Pictures from noise: Euler's method along the velocity that the transformer tells.
//!
//! A picture begins as [`noise`], at time 1, and goes in so many steps to time 0; the times are those of
//! [`inference_times`](super::flow::inference_times). dev takes a guidance as an input. Where there is a
//! negative text and a `cfg` other than 1, the velocity is `negative + (positive − negative)·cfg`, both from
//! one pass. Works on latents: does not know texts, autoencoders or files.

mod error;
mod noise;
mod plan;
#[cfg(test)]
mod tests;

use burn::tensor::{DType, FloatDType, Tensor, TensorData};

pub use self::{error::SamplingError, noise::noise, plan::plan};
use super::{flow::inference_times, network::Network, prepare::texts};
use crate::models::{
    autoencoder::REDUCTION,
    flux::{FluxConfig, FluxInput, pack, position_ids, unpack},
};

/// Pixels of a picture per token, in each direction.
pub const PIXELS: usize = 2 * REDUCTION;

/// How a picture is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawing {
    /// In pixels, a multiple of 16.
    pub width: usize,
    /// In pixels, a multiple of 16.
    pub height: usize,
    /// How often the transformer is asked.
    pub steps: usize,
    /// What dev is told; schnell has no input for it.
    pub guidance: f64,
    /// Factor on what the text changes against the negative text; 1 leaves that away.
    pub cfg: f64,
    /// Names the noise; see [`noise`].
    pub seed: u64,
}

impl Drawing {
    /// As the model is usually drawn with: dev in 20 steps with a guidance of 3.5, schnell in 4 steps.
    #[must_use]
    pub fn usual(takes_guidance: bool) -> Self {
        let steps = if takes_guidance { 20 } else { 4 };
        Self { width: 1024, height: 1024, steps, guidance: 3.5, cfg: 1.0, seed: 0 }
    }

    /// Tokens of the picture.
    #[must_use]
    pub fn tokens(&self) -> usize {
        (self.width / PIXELS) * (self.height / PIXELS)
    }

    /// Height and width of the latent.
    #[must_use]
    pub fn latent(&self) -> (usize, usize) {
        (self.height / REDUCTION, self.width / REDUCTION)
    }

    /// # Errors
    /// It has no steps, or a size that is no multiple of 16.
    pub fn check(&self) -> Result<(), SamplingError> {
        let &Self { width, height, .. } = self;
        let fits = |pixels: usize| pixels > 0 && pixels.is_multiple_of(PIXELS);
        if !fits(width) || !fits(height) {
            return Err(SamplingError::Size { width, height });
        }
        if self.steps == 0 { Err(SamplingError::Steps) } else { Ok(()) }
    }
}

/// An encoded text, as a text record of the cache has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditioning {
    /// T5's hidden states `[L, context]`.
    pub t5: Vec<f32>,
    /// Whether the `L` rows are the real tokens alone, so that padding beside a longer text is masked.
    pub t5_masked: bool,
    /// CLIP's pooled vector.
    pub clip: Vec<f32>,
}

/// One picture of several that are drawn together.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// How.
    pub drawing: &'a Drawing,
    /// What.
    pub text: &'a Conditioning,
    /// What not; of effect where `cfg` is not 1.
    pub negative: Option<&'a Conditioning>,
}

impl<'a> Wanted<'a> {
    /// The texts that the transformer is asked about.
    fn texts(&self) -> impl Iterator<Item = &'a Conditioning> {
        let negative = self.negative.filter(|_| self.drawing.cfg != 1.0);
        std::iter::once(self.text).chain(negative)
    }
}

/// Draws one picture: the latent `[1, 16, h/8, w/8]` that the decoder takes. `step` is told after each step
/// which of how many it was, and says whether to go on; where not, there is no latent.
///
/// # Errors
/// The size or a text does not fit, or the network gives numbers that are not finite.
pub fn denoise(
    network: &mut Network,
    drawing: &Drawing,
    text: &Conditioning,
    negative: Option<&Conditioning>,
    step: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<Tensor<4>>, SamplingError> {
    let latents = denoise_together(network, &[Wanted { drawing, text, negative }], step)?;
    Ok(latents.and_then(|mut latents| latents.pop()))
}

/// [`denoise`] for several pictures in one pass each step. Size and steps are those of the first.
///
/// # Errors
/// As [`denoise`]; also where texts of different lengths are not masked.
pub fn denoise_together(
    network: &mut Network,
    pictures: &[Wanted<'_>],
    step: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<Vec<Tensor<4>>>, SamplingError> {
    let Some(first) = pictures.first().map(|picture| picture.drawing) else {
        return Ok(Some(Vec::new()));
    };
    first.check()?;
    let (h, w) = first.latent();
    let channels = network.config.in_channels / 4;
    let start = |picture: &Wanted<'_>| {
        let noise = noise(picture.drawing.seed, channels * h * w);
        let noise = TensorData::new(noise, [1, channels, h, w]);
        Tensor::from_data(noise, (network.device(), DType::F32))
    };
    let noise = pictures.iter().map(start).collect();
    denoise_from(network, pictures, noise, step)
}

/// [`denoise_together`] from noise that is given, `[1, 16, h/8, w/8]` for each picture; seeds are not
/// looked at.
///
/// # Errors
/// As [`denoise_together`].
pub fn denoise_from(
    network: &mut Network,
    pictures: &[Wanted<'_>],
    noise: Vec<Tensor<4>>,
    step: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Option<Vec<Tensor<4>>>, SamplingError> {
    let Some(first) = pictures.first().map(|picture| picture.drawing) else {
        return Ok(Some(Vec::new()));
    };
    first.check()?;
    let (h, w) = first.latent();
    let mut latents = noise.into_iter().map(pack).collect::<Vec<_>>();
    let mut input = input(network, pictures)?;
    let times = inference_times(first.steps, first.tokens(), network.takes_guidance());
    for (index, pair) in times.windows(2).enumerate() {
        let of_rows = pictures.iter().zip(&latents);
        let of_rows = of_rows.flat_map(|(picture, latent)| picture.texts().map(|_| latent.clone()));
        input.img = Tensor::cat(of_rows.collect(), 0);
        input.timesteps.fill(pair[0]);
        let velocity = network.forward(&input).cast(FloatDType::F32);
        // The difference in f64, as the reference has it.
        let span = f64::from(pair[1]) - f64::from(pair[0]);
        let mut row = 0;
        for (picture, latent) in pictures.iter().zip(&mut latents) {
            let texts = picture.texts().count();
            let of_picture = velocity.clone().narrow(0, row, texts);
            *latent = latent.clone() + guided(of_picture, picture.drawing.cfg) * span;
            row += texts;
        }
        if !are_finite(&latents) {
            return Err(SamplingError::NotFinite { step: index + 1, steps: first.steps });
        }
        if !step(index + 1, first.steps) {
            return Ok(None);
        }
    }
    Ok(Some(latents.into_iter().map(|latent| unpack(latent, h, w)).collect()))
}

/// The velocity of one picture, from that of its text and, where there is one, of its negative text.
fn guided(velocity: Tensor<3>, cfg: f64) -> Tensor<3> {
    if velocity.dims()[0] == 1 {
        return velocity;
    }
    let (text, negative) = (velocity.clone().narrow(0, 0, 1), velocity.narrow(0, 1, 1));
    negative.clone() + (text - negative) * cfg
}

fn are_finite(latents: &[Tensor<3>]) -> bool {
    // A sum is finite only where all numbers are; latents are far from the largest f32.
    latents.iter().all(|latent| latent.clone().sum().into_data().iter::<f32>().all(f32::is_finite))
}

/// What goes through the transformer in each step, but for latents and times: a row per text.
fn input(network: &Network, pictures: &[Wanted<'_>]) -> Result<FluxInput, SamplingError> {
    let (config, device) = (&network.config, network.device());
    let all = pictures.iter().flat_map(Wanted::texts).collect::<Vec<_>>();
    fit(config, &all)?;
    let guidance = pictures.iter().flat_map(|picture| {
        let guidance = picture.drawing.guidance as f32;
        picture.texts().map(move |_| guidance)
    });
    let rows = all.iter().map(|text| text.t5.as_slice()).collect::<Vec<_>>();
    let (txt, txt_attention_mask) = texts(&rows, config.context_in_dim, device);
    let clip = all.iter().flat_map(|text| text.clip.iter().copied()).collect::<Vec<_>>();
    let clip = TensorData::new(clip, [all.len(), config.vec_in_dim]);
    let (h, w) = pictures[0].drawing.latent();
    Ok(FluxInput {
        img: Tensor::empty([1, 1, 1], device),
        ids: position_ids(txt.dims()[1], h, w),
        txt,
        y: Tensor::from_data(clip, (device, DType::F32)),
        timesteps: vec![0.0; all.len()],
        guidance: guidance.collect(),
        txt_attention_mask,
    })
}

/// Whether the texts are of the sizes that the transformer takes, and can go through it together.
fn fit(config: &FluxConfig, texts: &[&Conditioning]) -> Result<(), SamplingError> {
    let longest = texts.iter().map(|text| text.t5.len()).max().unwrap_or_default();
    let misfit = |reason| Err(SamplingError::Text { reason });
    for text in texts {
        let (t5, clip) = (text.t5.len(), text.clip.len());
        if t5 == 0 || !t5.is_multiple_of(config.context_in_dim) {
            let width = config.context_in_dim;
            return misfit(format!("T5 gave {t5} numbers, expected a multiple of {width}"));
        }
        if clip != config.vec_in_dim {
            return misfit(format!("CLIP gave {clip} numbers, expected {}", config.vec_in_dim));
        }
        if t5 != longest && !text.t5_masked {
            return misfit(
                "texts of different lengths, not masked, cannot be drawn together".into(),
            );
        }
    }
    Ok(())
}
