//! From appearances to what goes through the transformer: samples are read and checked, their noise is
//! drawn, and a batch of them is put together on the device.

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};

use super::{
    Sample, Samples, Settings, TrainError,
    batches::{Appearance, Batch},
    blockwise::Loss,
    flow::{Objective, noisy_input},
};
use crate::{
    base::Stream,
    models::flux::{FluxConfig, FluxInput, pack, position_ids},
};

/// So often a noise level is drawn anew that does not fall into the range.
pub(super) const DRAWS: usize = 1_000_000;

/// Reads batches. Needs no device, so it can work ahead of the training.
pub(super) struct Reader<'a> {
    pub samples: &'a dyn Samples,
    pub config: FluxConfig,
    pub settings: &'a Settings,
}

/// A micro-batch in main memory.
pub(super) struct Loaded {
    size: (usize, usize),
    samples: Vec<Sample>,
    noise: Vec<f32>,
    /// Further noise of the input alone, and how much of it; empty where there is none.
    perturbation: Vec<f32>,
    ip_noise_gamma: f64,
    sigmas: Vec<f32>,
}

/// A micro-batch on the device.
pub(super) struct Prepared {
    pub input: FluxInput,
    pub noisy: Tensor<3>,
    pub target: Tensor<3>,
    pub sigmas: Vec<f32>,
    /// How much each number of the output counts, where they do not all count alike.
    pub weights: Option<Tensor<3>>,
}

impl Prepared {
    /// Additions and multiplications of a step over it.
    pub fn operations(&self, config: &FluxConfig) -> f64 {
        let [size, tokens, _] = self.noisy.dims();
        config.operations(size, tokens, self.input.txt.dims()[1])
    }

    pub fn with_loss(self, objective: Objective) -> (FluxInput, Box<Loss<'static>>) {
        let Self { input, noisy, target, sigmas, weights } = self;
        let loss = move |output| {
            objective.loss_and_gradient(output, &noisy, &target, &sigmas, weights.as_ref())
        };
        (input, Box::new(loss))
    }
}

impl Reader<'_> {
    /// Reads a batch's samples and draws their noise.
    pub fn read(&self, batch: &Batch) -> Result<Loaded, TrainError> {
        let read = batch.appearances.iter().map(|appearance| self.load(appearance, batch.size));
        let samples = read.collect::<Result<Vec<_>, _>>()?;
        let longest = samples.iter().map(|sample| sample.t5.len()).max().unwrap_or_default();
        let odd = |sample: &Sample| sample.t5.len() != longest && !sample.t5_masked;
        if let Some(odd) = samples.iter().position(odd) {
            let index = batch.appearances[odd].index;
            let reason = "its text has another number of tokens than its batch".to_owned();
            return Err(TrainError::Sample { index, reason });
        }
        let sigmas = batch.appearances.iter().map(|seen| self.sigma(seen, batch.size));
        let sigmas = sigmas.collect::<Result<_, _>>()?;
        let normals = |purpose| {
            let all = batch.appearances.iter().map(|seen| self.normals(purpose, seen, batch.size));
            all.collect::<Vec<_>>().concat()
        };
        let ip_noise_gamma = self.settings.ip_noise_gamma;
        let perturbed = ip_noise_gamma > 0.0 && !batch.is_held_out();
        let perturbation = if perturbed { normals("ip_noise") } else { Vec::new() };
        let noise = normals("noise");
        Ok(Loaded { size: batch.size, samples, noise, perturbation, ip_noise_gamma, sigmas })
    }

    /// Reads a sample and checks that it fits the transformer.
    fn load(&self, appearance: &Appearance, (h, w): (usize, usize)) -> Result<Sample, TrainError> {
        let index = appearance.index;
        let sample = self.samples.load(appearance);
        let sample = sample.map_err(|reason| TrainError::Load { index, reason })?;
        let config = &self.config;
        let misfit = |what: &str, found: usize, expected: &str| {
            let reason = format!("its {what} has {found} numbers, expected {expected}");
            Err(TrainError::Sample { index, reason })
        };
        let latent = config.in_channels / 4 * h * w;
        if h % 2 != 0 || w % 2 != 0 {
            let reason = format!("a latent of {h}x{w} cannot be cut into 2x2 patches");
            return Err(TrainError::Sample { index, reason });
        }
        if sample.latent.len() != latent {
            return misfit("latent", sample.latent.len(), &latent.to_string());
        }
        if let Some(mask) = sample.mask.as_ref().filter(|mask| mask.len() != h * w) {
            return misfit("mask", mask.len(), &(h * w).to_string());
        }
        if sample.t5.is_empty() || sample.t5.len() % config.context_in_dim != 0 {
            let expected = format!("a multiple of {}", config.context_in_dim);
            return misfit("text", sample.t5.len(), &expected);
        }
        if sample.clip.len() != config.vec_in_dim {
            return misfit("pooled text", sample.clip.len(), &config.vec_in_dim.to_string());
        }
        Ok(sample)
    }

    /// The stream of one appearance's draws of one sort, named by what it is. Those of a held-out sample
    /// are the same after each epoch, so that its losses can be compared.
    fn stream(&self, purpose: &str, appearance: &Appearance) -> Stream {
        let counters = [appearance.epoch as u64, appearance.repeat];
        Stream::new(self.settings.seed, purpose, Some(&appearance.content), &counters)
    }

    /// Normal numbers in the shape of a latent.
    fn normals(&self, purpose: &str, appearance: &Appearance, (h, w): (usize, usize)) -> Vec<f32> {
        let count = self.config.in_channels / 4 * h * w;
        self.stream(purpose, appearance).normals(count)
    }

    /// The noise level of one appearance. What is drawn outside of the range is drawn anew, so that the
    /// levels inside keep their proportions.
    fn sigma(&self, appearance: &Appearance, (h, w): (usize, usize)) -> Result<f32, TrainError> {
        let mut stream = self.stream("sigma", appearance);
        let drawn = self.settings.noise_level(&mut stream, (h / 2) * (w / 2), DRAWS);
        drawn.ok_or_else(|| self.settings.no_noise_level())
    }
}

impl Loaded {
    /// Puts the batch together on the device and mixes latents and noise.
    pub fn upload(self, config: &FluxConfig, guidance: f32, device: &Device) -> Prepared {
        let (h, w) = self.size;
        let (size, channels) = (self.samples.len(), config.in_channels / 4);
        let latents = join(&self.samples, |sample| &sample.latent);
        let latents = pack(upload(latents, [size, channels, h, w], device));
        let noise = pack(upload(self.noise, [size, channels, h, w], device));
        let perturbation = (!self.perturbation.is_empty()).then(|| {
            let xi = pack(upload(self.perturbation, [size, channels, h, w], device));
            (xi, self.ip_noise_gamma)
        });
        let noisy = noisy_input(latents.clone(), noise.clone(), perturbation, &self.sigmas);
        let clip = join(&self.samples, |sample| &sample.clip);
        let t5 = self.samples.iter().map(|sample| sample.t5.as_slice()).collect::<Vec<_>>();
        let (txt, mask) = texts(&t5, config.context_in_dim, device);
        let input = FluxInput {
            img: noisy.clone(),
            ids: position_ids(txt.dims()[1], h, w),
            txt,
            y: upload(clip, [size, config.vec_in_dim], device),
            timesteps: self.sigmas.clone(),
            guidance: vec![guidance; size],
            txt_attention_mask: mask,
        };
        let weights = weights(&self.samples, channels, (h, w), device);
        Prepared { input, noisy, target: noise - latents, sigmas: self.sigmas, weights }
    }
}

/// T5's hidden states of several texts, each with rows of zeros up to the longest, and which rows are real
/// if not all are.
pub(super) fn texts(
    texts: &[&[f32]],
    context: usize,
    device: &Device,
) -> (Tensor<3>, Option<Tensor<2, Bool>>) {
    let size = texts.len();
    let rows = texts.iter().map(|text| text.len() / context).max().unwrap_or_default();
    let mut values = Vec::with_capacity(size * rows * context);
    let mut real = Vec::with_capacity(size * rows);
    for text in texts {
        values.extend(*text);
        values.resize(values.len() + rows * context - text.len(), 0.0);
        real.extend((0..rows).map(|row| row * context < text.len()));
    }
    let mask = real
        .contains(&false)
        .then(|| Tensor::<2, Bool>::from_data(TensorData::new(real, [size, rows]), device));
    (upload(values, [size, rows, context], device), mask)
}

/// Weights of the samples and of the cells of their latents, packed as the latents are. A masked loss is
/// not divided by the share that counts: a picture counts by the area that it shows.
fn weights(
    samples: &[Sample],
    channels: usize,
    (h, w): (usize, usize),
    device: &Device,
) -> Option<Tensor<3>> {
    if samples.iter().all(|sample| sample.mask.is_none() && sample.weight == 1.0) {
        return None;
    }
    let cells = samples.iter().flat_map(|sample| {
        let cell = |at: usize| sample.mask.as_ref().map_or(1.0, |mask| mask[at]) * sample.weight;
        (0..h * w).map(cell)
    });
    let cells = upload(cells.collect(), [samples.len(), 1, h, w], device);
    Some(pack(cells.repeat_dim(1, channels)))
}

fn join(samples: &[Sample], field: impl Fn(&Sample) -> &Vec<f32>) -> Vec<f32> {
    samples.iter().flat_map(|sample| field(sample).iter().copied()).collect()
}

fn upload<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}
