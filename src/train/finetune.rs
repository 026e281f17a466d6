//! The training loop.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Instant,
};

use super::{
    Samples, Settings, TrainError,
    batches::{Appearance, Batch, Batches},
    blockwise::backpropagate,
    checkpoint,
    optimizer::Optimizer,
    prepare::{Loaded, Reader},
    rounding::Rounding,
    schedule::LrSchedule,
    trained::Trained,
    update::{GradientNorm, Update},
};
use crate::models::flux::Flux;

/// How many batches are read ahead of the one that is trained.
const AHEAD: usize = 2;

/// Who watches the run, and says where its checkpoints go.
pub trait Observer {
    /// An optimizer step was taken.
    fn step(&mut self, metrics: &StepMetrics);

    /// The mean loss of the samples that are held out, after `epoch` (counted from 1). Noise and noise
    /// levels are the same each time.
    fn validated(&mut self, _epoch: usize, _loss: f64) {}

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
    /// Mean loss of the step's micro-batches, before its update.
    pub loss: f64,
    /// The loss of each sample.
    pub samples: Vec<SampleLoss>,
    /// Learning rate used.
    pub learning_rate: f64,
    /// Norm of all gradients, where it was measured.
    pub grad_norm: Option<f64>,
    /// Seconds that the step took.
    pub seconds: f64,
}

/// The loss of one appearance of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleLoss {
    /// What appeared.
    pub appearance: Appearance,
    /// Its noise level.
    pub sigma: f32,
    /// Its loss, times its weight.
    pub loss: f64,
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
    let reader = Reader { samples, config: flux.config.clone(), settings };
    let total_steps =
        batches.steps(settings.max_train_epochs, settings.gradient_accumulation_steps);
    let schedule = settings.schedule(total_steps);
    let optimizer = Optimizer::new(settings.optimizer.clone());
    let trainer = Trainer { flux, settings, schedule, optimizer, steps: 0 };
    thread::scope(|scope| {
        let (sender, ahead) = sync_channel(AHEAD);
        let (batches, reader) = (&batches, &reader);
        // One thread reads, in the order of the training. It ends when nobody takes any more.
        scope.spawn(move || {
            for epoch in 1..=settings.max_train_epochs {
                for batch in batches.epoch(epoch).into_iter().chain(batches.held_out()) {
                    if sender.send(reader.read(&batch)).is_err() {
                        return;
                    }
                }
            }
        });
        trainer.run(batches, &ahead, observer)
    })
}

/// The batches that were read ahead.
type Ahead = Receiver<Result<Loaded, TrainError>>;

struct Trainer<'a> {
    flux: Flux,
    settings: &'a Settings,
    schedule: LrSchedule,
    optimizer: Optimizer,
    steps: usize,
}

impl Trainer<'_> {
    fn run(
        mut self,
        batches: &Batches,
        ahead: &Ahead,
        observer: &mut dyn Observer,
    ) -> Result<Summary, TrainError> {
        let settings = self.settings;
        let mut last_epoch_loss = 0.0;
        for epoch in 1..=settings.max_train_epochs {
            let batches = (batches.epoch(epoch), batches.held_out());
            let mut losses = Vec::new();
            for group in batches.0.chunks(settings.gradient_accumulation_steps) {
                if observer.cancelled() {
                    return Err(TrainError::Cancelled { steps: self.steps });
                }
                let begun = Instant::now();
                let learning_rate = self.schedule.learning_rate(settings.learning_rate, self.steps);
                let (samples, grad_norm) = self.step(epoch, group, ahead, learning_rate)?;
                let loss = mean_of_means(group, &samples);
                losses.push(loss);
                observer.step(&StepMetrics {
                    epoch,
                    step: self.steps,
                    total_steps: self.schedule.total_steps,
                    loss,
                    samples,
                    learning_rate,
                    grad_norm,
                    seconds: begun.elapsed().as_secs_f64(),
                });
            }
            last_epoch_loss = losses.iter().sum::<f64>() / losses.len() as f64;
            if !batches.1.is_empty() {
                let loss = self.validate(&batches.1, ahead)?;
                observer.validated(epoch, loss);
            }
            let due = settings.save_every_n_epochs.is_some_and(|n| epoch % n == 0);
            if due || epoch == settings.max_train_epochs {
                self.save(epoch, observer)?;
            }
        }
        Ok(Summary { steps: self.steps, last_epoch_loss })
    }

    /// The next batch that was read, on the device.
    fn next(&self, ahead: &Ahead) -> Result<super::prepare::Prepared, TrainError> {
        // The reader ends early only by a panic, which the scope of its thread carries on.
        let loaded = ahead.recv().unwrap_or(Err(TrainError::NoSamples))?;
        Ok(loaded.upload(&self.flux.config, self.settings.guidance_scale, &self.flux.device()))
    }

    /// The mean loss of the held-out samples.
    fn validate(&self, batches: &[Batch], ahead: &Ahead) -> Result<f64, TrainError> {
        let (mut sum, mut count) = (0.0, 0);
        for _ in batches {
            let batch = self.next(ahead)?;
            let output = self.flux.forward(&batch.input);
            let losses = self.settings.objective().per_sample(
                output,
                &batch.noisy,
                &batch.target,
                &batch.sigmas,
                batch.weights.as_ref(),
            );
            count += losses.dims()[0];
            sum += f64::from(losses.sum().into_scalar::<f32>());
        }
        Ok(sum / count as f64)
    }

    /// One optimizer step over the micro-batches of `group`: the loss of each sample, and the gradients'
    /// norm where it was measured.
    fn step(
        &mut self,
        epoch: usize,
        group: &[Batch],
        ahead: &Ahead,
        learning_rate: f64,
    ) -> Result<(Vec<SampleLoss>, Option<f64>), TrainError> {
        let step = self.steps + 1;
        let at_step = |source| TrainError::Step { step, epoch, source: Box::new(source) };
        let objective = self.settings.objective();
        let prepared = group.iter().map(|_| self.next(ahead)).collect::<Result<Vec<_>, _>>()?;
        let sigmas = prepared.iter().flat_map(|batch| batch.sigmas.clone()).collect::<Vec<_>>();
        let batches = prepared.into_iter().map(|batch| batch.with_loss(objective));
        let batches = batches.collect::<Vec<_>>();
        let trained = Trained::all();
        let (mut scale, mut grad_norm) = (1.0, None);
        if self.settings.max_grad_norm > 0.0 {
            let mut norm = GradientNorm::new(&trained);
            backpropagate(&mut self.flux, &batches, &mut norm).map_err(at_step)?;
            scale = norm.clip(self.settings.max_grad_norm);
            grad_norm = Some(norm.norm());
        }
        let rounding = Rounding {
            seed: self.settings.seed,
            step: self.steps as u64,
            stored: self.settings.weights,
        };
        let optimizer = &mut self.optimizer;
        let mut update =
            Update { optimizer, learning_rate, scale, rounding, trained: &trained, ema: None };
        let pass = backpropagate(&mut self.flux, &batches, &mut update).map_err(at_step)?;
        self.steps = step;
        let appearances = group.iter().flat_map(|batch| &batch.appearances);
        let samples = appearances.zip(sigmas).zip(pass.losses.concat());
        let samples = samples
            .map(|((&appearance, sigma), loss)| SampleLoss { appearance, sigma, loss })
            .collect();
        Ok((samples, grad_norm))
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

/// The mean of the mean losses of the micro-batches, which is what a step goes down.
fn mean_of_means(group: &[Batch], samples: &[SampleLoss]) -> f64 {
    let mut rest = samples;
    let mut sum = 0.0;
    for batch in group {
        let (own, others) = rest.split_at(batch.appearances.len());
        sum += own.iter().map(|sample| sample.loss).sum::<f64>() / own.len() as f64;
        rest = others;
    }
    sum / group.len() as f64
}

#[cfg(test)]
mod tests;
