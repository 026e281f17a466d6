//! The training loop.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};

use super::{
    Settings, TrainError,
    batches::{Appearance, Batch, Batches},
    blockwise::{Loss, backpropagate},
    checkpoint,
    flow::{Objective, noisy_input},
    optimizer::Optimizer,
    rounding::Rounding,
    schedule::LrSchedule,
    update::{GradientNorm, Update},
};
use crate::{
    base::{Digest, Stream},
    models::flux::{Flux, FluxInput, pack, position_ids},
};

/// The cached samples to train on.
pub trait Samples {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height and width of the latent; samples of one size share batches.
    fn bucket(&self, index: usize) -> (usize, usize);

    /// What the sample is, whatever it is called: names its random numbers and its place in the order.
    fn content(&self, index: usize) -> Digest;

    /// How often it appears in an epoch.
    fn repeats(&self, index: usize) -> u32;

    /// Reads it.
    ///
    /// # Errors
    /// In words, what went wrong.
    fn load(&self, index: usize) -> Result<Sample, String>;
}

/// One sample, encoded.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `[channels, h, w]`
    pub latent: Vec<f32>,
    /// T5's hidden states `[L, context]`.
    pub t5: Vec<f32>,
    /// How many of the `L` tokens are real.
    pub t5_tokens: usize,
    /// CLIP's pooled vector.
    pub clip: Vec<f32>,
}

/// Who watches the run, and says where its checkpoints go.
pub trait Observer {
    /// An optimizer step was taken.
    fn step(&mut self, metrics: &StepMetrics);

    /// Where the checkpoint after `epoch` (counted from 1) goes. `None` writes none.
    ///
    /// # Errors
    /// There is no place for it.
    fn checkpoint(&mut self, epoch: usize) -> Result<Option<CheckpointPlace>, std::io::Error>;

    /// The checkpoint after `epoch` lies complete on disk.
    fn saved(&mut self, _epoch: usize) {}

    /// Whether the run shall stop before the next step.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Where a checkpoint goes.
#[derive(Clone, Debug)]
pub struct CheckpointPlace {
    /// The file to write.
    pub path: PathBuf,
    /// What to note in its header besides the `modelspec` entries.
    pub provenance: BTreeMap<String, String>,
}

/// What is known of an optimizer step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepMetrics {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Step, counted from 1 over the whole run.
    pub step: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// Mean loss of the step's samples, before its update.
    pub loss: f64,
    /// Learning rate used.
    pub learning_rate: f64,
    /// Norm of all gradients, where it was measured.
    pub grad_norm: Option<f64>,
    /// Seconds that the step took.
    pub seconds: f64,
}

/// What a finished run did.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Optimizer steps.
    pub steps: usize,
    /// Mean loss of the last epoch.
    pub last_epoch_loss: f64,
}

/// Fine-tunes all weights of `flux` and writes checkpoints where `observer` says: after every
/// `save_every_n_epochs` epochs, and always after the last. On a CPU two runs give the same bits.
///
/// # Errors
/// A setting or sample cannot be used, a loss is not finite, a checkpoint cannot be written, or the
/// observer cancelled.
pub fn finetune(
    flux: Flux,
    settings: &Settings,
    samples: &dyn Samples,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    settings.check()?;
    let batches = Batches::new(samples, settings.train_batch_size, settings.seed);
    if batches.is_empty() {
        return Err(TrainError::NoSamples);
    }
    let per_epoch = batches.len().div_ceil(settings.gradient_accumulation_steps);
    let total_steps = per_epoch * settings.max_train_epochs;
    let schedule = LrSchedule {
        scheduler: settings.lr_scheduler,
        warmup_steps: settings.lr_warmup_steps,
        total_steps,
    };
    let optimizer = Optimizer::new(settings.optimizer.clone());
    let mut trainer = Trainer { flux, settings, samples, optimizer, steps: 0 };
    let mut last_epoch_loss = 0.0;
    for epoch in 1..=settings.max_train_epochs {
        let batches = batches.epoch(epoch);
        let mut losses = Vec::with_capacity(per_epoch);
        for group in batches.chunks(settings.gradient_accumulation_steps) {
            if observer.cancelled() {
                return Err(TrainError::Cancelled { steps: trainer.steps });
            }
            let begun = Instant::now();
            let learning_rate = schedule.learning_rate(settings.learning_rate, trainer.steps);
            let (loss, grad_norm) = trainer.step(epoch, group, learning_rate)?;
            losses.push(loss);
            observer.step(&StepMetrics {
                epoch,
                step: trainer.steps,
                total_steps,
                loss,
                learning_rate,
                grad_norm,
                seconds: begun.elapsed().as_secs_f64(),
            });
        }
        last_epoch_loss = losses.iter().sum::<f64>() / losses.len() as f64;
        let due = settings.save_every_n_epochs.is_some_and(|n| epoch % n == 0);
        if due || epoch == settings.max_train_epochs {
            trainer.save(epoch, observer)?;
        }
    }
    Ok(Summary { steps: trainer.steps, last_epoch_loss })
}

struct Trainer<'a> {
    flux: Flux,
    settings: &'a Settings,
    samples: &'a dyn Samples,
    optimizer: Optimizer,
    steps: usize,
}

/// A micro-batch on the device.
struct Prepared {
    input: FluxInput,
    noisy: Tensor<3>,
    target: Tensor<3>,
    sigmas: Vec<f32>,
}

impl Prepared {
    fn with_loss(self, objective: Objective) -> (FluxInput, Box<Loss<'static>>) {
        let Self { input, noisy, target, sigmas } = self;
        let loss = move |output| objective.loss_and_gradient(output, &noisy, &target, &sigmas);
        (input, Box::new(loss))
    }
}

impl Trainer<'_> {
    /// One optimizer step over the micro-batches of `group`: its loss, and the gradients' norm where it
    /// was measured.
    fn step(
        &mut self,
        epoch: usize,
        group: &[Batch],
        learning_rate: f64,
    ) -> Result<(f64, Option<f64>), TrainError> {
        let step = self.steps + 1;
        let at_step = |source| TrainError::Step { step, epoch, source: Box::new(source) };
        let prepared = group.iter().map(|batch| self.prepare(epoch, batch));
        let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        let objective = Objective {
            timestep_sampling: self.settings.timestep_sampling,
            model_prediction_type: self.settings.model_prediction_type,
            loss_type: self.settings.loss_type,
        };
        let batches = prepared.into_iter().map(|batch| batch.with_loss(objective));
        let batches = batches.collect::<Vec<_>>();
        let (mut scale, mut grad_norm) = (1.0, None);
        if self.settings.max_grad_norm > 0.0 {
            let mut norm = GradientNorm::default();
            backpropagate(&mut self.flux, &batches, &mut norm).map_err(at_step)?;
            scale = norm.clip(self.settings.max_grad_norm);
            grad_norm = Some(norm.norm());
        }
        let rounding = Rounding { seed: self.settings.seed, step: self.steps as u64 };
        let optimizer = &mut self.optimizer;
        let mut update = Update { optimizer, learning_rate, scale, rounding };
        let pass = backpropagate(&mut self.flux, &batches, &mut update).map_err(at_step)?;
        self.steps = step;
        Ok((pass.losses.iter().sum::<f64>() / pass.losses.len() as f64, grad_norm))
    }

    /// Loads a batch's samples, draws their noise and mixes them with it.
    fn prepare(&self, epoch: usize, batch: &Batch) -> Result<Prepared, TrainError> {
        let config = &self.flux.config;
        let (h, w) = batch.size;
        let channels = config.in_channels / 4;
        let loaded = batch.appearances.iter().map(|appearance| self.load(appearance, batch.size));
        let loaded = loaded.collect::<Result<Vec<_>, _>>()?;
        let text = loaded[0].t5.len() / config.context_in_dim;
        if let Some(odd) = loaded.iter().position(|sample| sample.t5.len() != loaded[0].t5.len()) {
            let index = batch.appearances[odd].index;
            let reason = "its text has another number of tokens than its batch".to_owned();
            return Err(TrainError::Sample { index, reason });
        }
        let device = self.flux.device();
        let size = loaded.len();
        let latents = join(&loaded, |sample| &sample.latent);
        let latents = upload(latents, [size, channels, h, w], &device);
        let drawn =
            batch.appearances.iter().map(|appearance| self.draw(epoch, appearance, batch.size));
        let (noise, sigmas): (Vec<_>, Vec<_>) = drawn.unzip();
        let noise = upload(noise.concat(), [size, channels, h, w], &device);
        let (latents, noise) = (pack(latents), pack(noise));
        let noisy = noisy_input(latents.clone(), noise.clone(), None, &sigmas);
        let t5 = join(&loaded, |sample| &sample.t5);
        let clip = join(&loaded, |sample| &sample.clip);
        let mask = self.settings.apply_t5_attn_mask.then(|| {
            let real = loaded.iter().flat_map(|s| (0..text).map(move |token| token < s.t5_tokens));
            let data = TensorData::new(real.collect::<Vec<_>>(), [size, text]);
            Tensor::<2, Bool>::from_data(data, &device)
        });
        let input = FluxInput {
            img: noisy.clone(),
            txt: upload(t5, [size, text, config.context_in_dim], &device),
            y: upload(clip, [size, config.vec_in_dim], &device),
            timesteps: sigmas.clone(),
            guidance: vec![self.settings.guidance_scale; size],
            ids: position_ids(text, h, w),
            txt_attention_mask: mask,
        };
        Ok(Prepared { input, noisy, target: noise - latents, sigmas })
    }

    /// Loads a sample and checks that it fits the transformer.
    fn load(&self, appearance: &Appearance, (h, w): (usize, usize)) -> Result<Sample, TrainError> {
        let index = appearance.index;
        let sample = self.samples.load(index);
        let sample = sample.map_err(|reason| TrainError::Load { index, reason })?;
        let config = &self.flux.config;
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
        if sample.t5.is_empty() || sample.t5.len() % config.context_in_dim != 0 {
            let expected = format!("a multiple of {}", config.context_in_dim);
            return misfit("text", sample.t5.len(), &expected);
        }
        if sample.clip.len() != config.vec_in_dim {
            return misfit("pooled text", sample.clip.len(), &config.vec_in_dim.to_string());
        }
        Ok(sample)
    }

    /// The noise and the noise level of one appearance, named by what it is.
    fn draw(
        &self,
        epoch: usize,
        appearance: &Appearance,
        (h, w): (usize, usize),
    ) -> (Vec<f32>, f32) {
        let Settings { seed, timestep_sampling, .. } = self.settings;
        let content = Some(&appearance.content);
        let counters = [epoch as u64, appearance.repeat];
        let count = self.flux.config.in_channels / 4 * h * w;
        let noise = Stream::new(*seed, "noise", content, &counters).normals(count);
        let mut stream = Stream::new(*seed, "sigma", content, &counters);
        let draw = timestep_sampling.draw(&mut stream);
        (noise, timestep_sampling.sigma(draw, (h / 2) * (w / 2)))
    }

    fn save(&self, epoch: usize, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let failed = |source| TrainError::Checkpoint {
            path: format!("the checkpoint of epoch {epoch}").into(),
            source,
        };
        if let Some(CheckpointPlace { path, provenance }) =
            observer.checkpoint(epoch).map_err(failed)?
        {
            checkpoint::save(&self.flux, &path, self.settings.save_precision, &provenance)?;
            observer.saved(epoch);
        }
        Ok(())
    }
}

fn join(samples: &[Sample], field: impl Fn(&Sample) -> &Vec<f32>) -> Vec<f32> {
    samples.iter().flat_map(|sample| field(sample).iter().copied()).collect()
}

fn upload<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

#[cfg(test)]
mod tests;
