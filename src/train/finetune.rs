//! The training loop.

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Instant,
};

use burn::tensor::{Tensor, TensorData};

use super::{
    Samples, Settings, TrainError,
    batches::{Appearance, Batch, Batches},
    blockwise::backpropagate,
    ema::Ema,
    keeper::{Averages, Keeper, Place, Source},
    network::Network,
    optimizer::Optimizer,
    prepare::{Loaded, Reader},
    rounding::Rounding,
    schedule::LrSchedule,
    state::Position,
    tensors::{ForEach, NotFinite, Tensors},
    trained::Trained,
    update::{GradientNorm, Update},
};
use crate::{base::disk, device, weights::TensorInfo};

/// How many batches are read ahead of the one that is trained.
const AHEAD: usize = 2;

/// Who watches the run.
pub trait Observer {
    /// An optimizer step was taken.
    fn step(&mut self, metrics: &StepMetrics);

    /// The mean loss of the samples that are held out, after `epoch` (counted from 1). Noise and noise
    /// levels are the same each time.
    fn validated(&mut self, _epoch: usize, _loss: f64) {}

    /// What it has gathered so far, and wants to have again in a run that goes on from here.
    fn remember(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The run goes on from `position`: takes back what it had gathered up to there.
    ///
    /// # Errors
    /// It is not what [`Observer::remember`] gave.
    fn recall(&mut self, _position: Position, _remembered: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// A checkpoint lies complete on the disk; `name` stands behind the name that the user chose:
    /// `-000003`, `-000003-ema`, nothing for the result. May be told more than once.
    ///
    /// # Errors
    /// It cannot be shown.
    fn checkpoint(&mut self, _name: &str, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// A checkpoint was replaced by later ones; its file goes after this call.
    ///
    /// # Errors
    /// It cannot be taken back.
    fn superseded(&mut self, _name: &str, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// A moment of the training, with the weights as they are then, which may be used and not changed: the
    /// start, each step, and where a run goes on. Says whether all that it wants to do is done; where it
    /// is not, the run ends here, and another goes on from this moment.
    fn moment(&mut self, _network: &mut Network, _moment: Moment) -> bool {
        true
    }

    /// A state lies complete on the disk: a killed run goes on from this position.
    fn saved(&mut self, _position: Position) {}

    /// Whether the run shall stop before the next step.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Where a training is between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Steps taken.
    pub steps: usize,
    /// The epoch that the last of them was the end of, counted from 1.
    pub epoch: Option<usize>,
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
    /// Seconds of them in which it waited for samples to be read.
    pub reading: f64,
    /// Seconds of them in which it waited for swapped blocks.
    pub swapping: f64,
    /// Additions and multiplications of the step, without what is computed a second time.
    pub operations: f64,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Optimizer steps.
    pub steps: usize,
    /// The checkpoints: what stands behind the name that the user chose, and the file, which lies in the
    /// folder of the state.
    pub checkpoints: Vec<(String, PathBuf)>,
}

/// Fine-tunes the weights of `network`, from the start or from the state of `place`, and keeps checkpoints and
/// states there. On a CPU two runs give the same bits, also where one was killed and gone on from.
///
/// # Errors
/// A setting or sample cannot be used, a loss is not finite, a checkpoint or state cannot be read or
/// written, or the observer cancelled.
pub fn finetune(
    network: Network,
    settings: &Settings,
    samples: &dyn Samples,
    place: Place,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    settings.check()?;
    let batches = Batches::new(samples, settings.train_batch_size, settings.seed);
    if batches.is_empty() {
        return Err(TrainError::NoSamples);
    }
    let accumulated = settings.gradient_accumulation_steps;
    let epoch_ends = batches.epoch_ends(settings.max_train_epochs, accumulated);
    let entries = network.entries();
    let names = entries.iter().map(|entry| entry.name.as_str());
    let trained = Trained::new(&settings.train_blocks, names)?;
    let keeper = Keeper::new(settings, place, epoch_ends);
    keeper.look_for_room(&entries, &trained)?;
    let Begun { optimizer, ema, position } =
        begin(&keeper, settings, &network, &trained, observer)?;
    let reader = Reader { samples, config: network.config.clone(), settings };
    let schedule = settings.schedule(keeper.total());
    let trainer =
        Trainer { network, settings, samples, schedule, trained, optimizer, ema, keeper, position };
    thread::scope(|scope| {
        let (sender, ahead) = sync_channel(AHEAD);
        let (batches, reader) = (&batches, &reader);
        // One thread reads, in the order of the training. It ends when nobody takes any more.
        scope.spawn(move || {
            for epoch in position.epoch..=settings.max_train_epochs {
                let done = if epoch == position.epoch { position.step_in_epoch } else { 0 };
                let left = batches.epoch(epoch).into_iter().skip(done * accumulated);
                for batch in left.chain(batches.held_out()) {
                    if sender.send(reader.read(&batch)).is_err() {
                        return;
                    }
                }
            }
        });
        trainer.run(batches, &ahead, observer)
    })
}

/// What changes from step to step besides the weights.
struct Begun {
    optimizer: Optimizer,
    ema: Option<Ema>,
    position: Position,
}

/// As at the first step, or as the state has it; the observer gets back what it had.
fn begin(
    keeper: &Keeper<'_>,
    settings: &Settings,
    network: &Network,
    trained: &Trained,
    observer: &mut dyn Observer,
) -> Result<Begun, TrainError> {
    let kind = settings.optimizer.clone();
    let Some(state) = keeper.state() else {
        let unmade = |source| unwritten(keeper, source);
        let ema = settings.ema_decay.map(|decay| averages(decay, network, trained, keeper));
        let ema = ema.transpose().map_err(unmade)?;
        return Ok(Begun { optimizer: Optimizer::new(kind), ema, position: Position::START });
    };
    let folder = keeper.folder();
    let path = folder.path().to_owned();
    let failed = |source| TrainError::State { path: path.clone(), source };
    let optimizer = Optimizer::restore(kind, &folder.optimizer(state)?, network.device())?;
    let ema = match settings.ema_decay.zip(folder.ema(state)?) {
        Some((decay, file)) => {
            let infos = file.names().filter_map(|name| file.info(name));
            let place = mapped(infos.map(TensorInfo::elements).sum(), keeper);
            Some(Ema::restore(decay, &file, place).map_err(failed)??)
        }
        None => None,
    };
    let journal = folder.journal(state).map_err(failed)?;
    observer.recall(state.position, &journal).map_err(failed)?;
    Ok(Begun { optimizer, ema, position: state.position })
}

/// Averages that begin at the weights.
fn averages(
    decay: f64,
    network: &Network,
    trained: &Trained,
    keeper: &Keeper<'_>,
) -> io::Result<Ema> {
    let entries = network.entries();
    let followed = entries.iter().filter(|entry| trained.contains(&entry.name));
    let followed = followed.map(|entry| (entry.name.as_str(), &entry.shape[..]));
    let elements = followed.clone().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    disk::create_folder(keeper.folder().path())?;
    let mut ema = Ema::new(decay, followed, mapped(elements, keeper))?;
    let host = device::cpu();
    network.for_each(&mut |name, data| {
        let values = data
            .convert::<f32>()
            .try_into_vec::<f32>()
            .map_err(|e| io::Error::other(format!("{e:?}")))?;
        let elements = values.len();
        ema.start(name, Tensor::<1>::from_data(TensorData::new(values, [elements]), &host));
        Ok(())
    })?;
    Ok(ema)
}

/// The folder of a file for averages of so many numbers, where memory has no room to spare for them.
fn mapped<'a>(elements: usize, keeper: &'a Keeper<'_>) -> Option<&'a Path> {
    Ema::in_file(elements as u64, device::memory::free()).then(|| keeper.folder().path())
}

fn unwritten(keeper: &Keeper<'_>, source: io::Error) -> TrainError {
    match source.get_ref().and_then(|inner| inner.downcast_ref::<NotFinite>()) {
        Some(NotFinite(tensor)) => TrainError::Broken { tensor: tensor.clone() },
        None => TrainError::Checkpoint { path: keeper.folder().path().to_owned(), source },
    }
}

/// The batches that were read ahead.
type Ahead = Receiver<Result<Loaded, TrainError>>;

struct Trainer<'a> {
    network: Network,
    settings: &'a Settings,
    samples: &'a dyn Samples,
    schedule: LrSchedule,
    trained: Trained,
    optimizer: Optimizer,
    ema: Option<Ema>,
    keeper: Keeper<'a>,
    position: Position,
}

/// What [`Trainer::keep`] is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// What is due at this position.
    Due,
    /// The state, since the run ends here.
    State,
}

impl Trainer<'_> {
    fn run(
        mut self,
        batches: &Batches,
        ahead: &Ahead,
        observer: &mut dyn Observer,
    ) -> Result<Summary, TrainError> {
        if self.position != Position::START {
            self.keeper.tidy(observer).map_err(|source| unwritten(&self.keeper, source))?;
            self.keep(Keep::Due, observer)?;
        }
        self.moment(observer)?;
        for epoch in self.position.epoch..=self.settings.max_train_epochs {
            self.epoch(epoch, &batches.epoch(epoch), ahead, observer)?;
            let held_out = batches.held_out();
            if !held_out.is_empty() {
                let loss = self.validate(&held_out, ahead)?;
                observer.validated(epoch, loss);
            }
        }
        Ok(Summary { steps: self.position.steps, checkpoints: self.keeper.result() })
    }

    /// The steps of an epoch that are not taken yet.
    fn epoch(
        &mut self,
        epoch: usize,
        batches: &[Batch],
        ahead: &Ahead,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        if self.position.epoch != epoch {
            self.position = Position { epoch, step_in_epoch: 0, ..self.position };
        }
        let groups = batches.chunks(self.settings.gradient_accumulation_steps);
        for group in groups.skip(self.position.step_in_epoch) {
            if observer.cancelled() {
                self.keep(Keep::State, observer)?;
                let steps = self.position.steps;
                return Err(TrainError::Cancelled { steps, total: self.keeper.total() });
            }
            let begun = Instant::now();
            let learning_rate = self.settings.rate(&self.schedule, self.position.steps);
            let waited = self.network.waited();
            let Stepped { samples, grad_norm, reading, operations } =
                self.step(epoch, group, ahead, learning_rate)?;
            observer.step(&StepMetrics {
                epoch,
                step: self.position.steps,
                total_steps: self.keeper.total(),
                loss: mean_of_means(group, &samples),
                samples,
                learning_rate,
                grad_norm,
                seconds: begun.elapsed().as_secs_f64(),
                reading,
                swapping: (self.network.waited() - waited).as_secs_f64(),
                operations,
            });
            self.keep(Keep::Due, observer)?;
            self.moment(observer)?;
        }
        Ok(())
    }

    /// Lets the observer use the network.
    fn moment(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let steps = self.position.steps;
        let moment = Moment { steps, epoch: self.keeper.ended(steps) };
        if observer.moment(&mut self.network, moment) {
            return Ok(());
        }
        self.keep(Keep::State, observer)?;
        Err(TrainError::Cancelled { steps, total: self.keeper.total() })
    }

    /// Writes checkpoints and the state.
    fn keep(&mut self, what: Keep, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let Self { network, optimizer, ema, keeper, position, .. } = self;
        if position.steps == 0 {
            return Ok(());
        }
        let weights: &ForEach<'_> = &|take| network.for_each(take);
        let optimizer_state: &ForEach<'_> = &|take| optimizer.for_each(take);
        let ema_state: &ForEach<'_> = &|take| ema.as_ref().map_or(Ok(()), |ema| ema.for_each(take));
        // The averages, and the weights that are not trained and so have none.
        let averaged: &ForEach<'_> = &|take| {
            weights(&mut |name, data| match ema.as_ref().and_then(|ema| ema.get(name)) {
                Some(values) => take(name, TensorData::new(values.to_vec(), data.shape().clone())),
                None => take(name, data),
            })
        };
        let source = Source {
            network: Tensors { entries: network.entries(), for_each: weights },
            optimizer: Tensors { entries: optimizer.entries(), for_each: optimizer_state },
            ema: ema.as_ref().map(|ema| Averages {
                state: Tensors { entries: ema.entries(), for_each: ema_state },
                network: averaged,
            }),
            takes_guidance: network.takes_guidance(),
        };
        let kept = match what {
            Keep::Due => keeper.after_step(*position, &source, observer),
            Keep::State => keeper.save_state(*position, &source, observer),
        };
        kept.map_err(|source| unwritten(&self.keeper, source))
    }

    /// The next batch that was read, on the device.
    fn next(&self, ahead: &Ahead) -> Result<super::prepare::Prepared, TrainError> {
        // The reader ends early only by a panic, which the scope of its thread carries on.
        let loaded = ahead.recv().unwrap_or(Err(TrainError::NoSamples))?;
        Ok(loaded.upload(&self.network.config, self.settings.guidance_scale, self.network.device()))
    }

    /// The mean loss of the held-out samples.
    fn validate(&mut self, batches: &[Batch], ahead: &Ahead) -> Result<f64, TrainError> {
        let (mut sum, mut count) = (0.0, 0);
        for _ in batches {
            let batch = self.next(ahead)?;
            let output = self.network.forward(&batch.input);
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

    /// One optimizer step over the micro-batches of `group`.
    fn step(
        &mut self,
        epoch: usize,
        group: &[Batch],
        ahead: &Ahead,
        learning_rate: f64,
    ) -> Result<Stepped, TrainError> {
        let step = self.position.steps + 1;
        let objective = self.settings.objective();
        let begun = Instant::now();
        let prepared = group.iter().map(|_| self.next(ahead)).collect::<Result<Vec<_>, _>>()?;
        let reading = begun.elapsed().as_secs_f64();
        let sigmas = prepared.iter().flat_map(|batch| batch.sigmas.clone()).collect::<Vec<_>>();
        let appearances = group.iter().flat_map(|batch| batch.appearances.iter().copied());
        let seen = appearances.zip(sigmas).collect::<Vec<_>>();
        let names = self.samples;
        let at_step = |error| failed_at(step, epoch, error, &seen, names);
        let operations = prepared.iter().map(|batch| batch.operations(&self.network.config)).sum();
        let batches = prepared.into_iter().map(|batch| batch.with_loss(objective));
        let batches = batches.collect::<Vec<_>>();
        let (mut scale, mut grad_norm) = (1.0, None);
        if self.settings.max_grad_norm > 0.0 {
            let mut norm = GradientNorm::new(&self.trained);
            backpropagate(&mut self.network, &batches, &mut norm).map_err(at_step)?;
            scale = norm.clip(self.settings.max_grad_norm);
            grad_norm = Some(norm.norm());
            if let Some(value) = grad_norm.filter(|norm| !norm.is_finite()) {
                let what = "norm of all gradients";
                return Err(at_step(TrainError::NotFinite { what, value, sample: None }));
            }
        }
        let rounding = Rounding {
            seed: self.settings.seed,
            step: self.position.steps as u64,
            stored: self.settings.weights,
        };
        let Self { network, optimizer, trained, ema, .. } = self;
        let ema = ema.as_mut();
        let mut update = Update { optimizer, learning_rate, scale, rounding, trained, ema };
        let pass = backpropagate(network, &batches, &mut update).map_err(at_step)?;
        self.position.steps = step;
        self.position.step_in_epoch += 1;
        let samples = seen.iter().zip(pass.losses.concat());
        let samples = samples
            .map(|(&(appearance, sigma), loss)| SampleLoss { appearance, sigma, loss })
            .collect();
        Ok(Stepped { samples, grad_norm, reading, operations })
    }
}

/// What a step found.
struct Stepped {
    samples: Vec<SampleLoss>,
    grad_norm: Option<f64>,
    reading: f64,
    operations: f64,
}

/// Says of an error of a step which samples it comes from.
fn failed_at(
    step: usize,
    epoch: usize,
    error: TrainError,
    seen: &[(Appearance, f32)],
    samples: &dyn Samples,
) -> TrainError {
    let TrainError::NotFinite { what, value, sample } = error else {
        return TrainError::Step { step, epoch, source: Box::new(error) };
    };
    let guilty = sample.and_then(|at| seen.get(at..=at)).unwrap_or(seen);
    let samples = guilty.iter().map(|(seen, sigma)| (samples.name(seen.index), *sigma)).collect();
    TrainError::Diverged { step, epoch, what, value, samples }
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
pub(super) mod tests;
