//! A rehearsal of a training: one step of made-up samples of the largest size, one save, and what was saved
//! read back. What would else fail at the first step, or at the first checkpoint hours later, fails here.
//!
//! It is the training itself that runs, with its own plan of memory, so that nothing is tried that does not
//! happen. Does not know where it is asked for.

use std::{collections::BTreeMap, path::Path};

use burn::tensor::Device;

use super::{
    Appearance, Form, Found, LrScheduler, Observer, Place, Role, Sample, Samples, Settings,
    StateFolder, StepMetrics, Steps, TrainError, finetune,
    memory::Plan,
    network::{Network, NetworkError},
};
use crate::{
    base::{Digest, Stream, disk},
    models::flux::FluxConfig,
    weights::Checkpoint,
};

/// Why a training would fail.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RehearsalError {
    /// The network cannot be loaded, or what was saved not be loaded again.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Network(#[from] NetworkError),
    /// The step or the save failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Training(#[from] TrainError),
}

/// What is rehearsed.
pub struct Rehearsal<'a> {
    /// The file of the model.
    pub model: &'a Checkpoint,
    /// Its sizes.
    pub config: &'a FluxConfig,
    /// Of the training.
    pub settings: &'a Settings,
    /// Height and width of the largest latents.
    pub size: (usize, usize),
    /// Tokens of the longest text.
    pub text_tokens: usize,
    /// The plan of memory.
    pub plan: Plan,
    /// Where it is computed.
    pub device: &'a Device,
    /// Whether the user asked to stop.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Rehearsal<'_> {
    /// Takes the step, saves, and loads what was saved; all of it in `folder`, which is gone afterwards.
    ///
    /// # Errors
    /// As a training; or what was saved cannot be loaded.
    pub fn run(self, folder: &Path) -> Result<(), RehearsalError> {
        let place = StateFolder::new(folder.to_owned());
        let removed = |source| TrainError::State { path: folder.to_owned(), source }.into();
        // A killed run may have left one.
        place.remove().map_err(removed)?;
        let outcome = self.inside(&place);
        let gone = place.remove().map_err(removed);
        outcome.and(gone)
    }

    fn inside(&self, folder: &StateFolder) -> Result<(), RehearsalError> {
        let path = folder.path();
        let failed = |source| TrainError::State { path: path.to_owned(), source };
        disk::create_folder(path).map_err(failed)?;
        let settings = Settings {
            max_train_epochs: 1,
            save_every_n_epochs: None,
            save_every_n_steps: None,
            save_state_every_n_steps: None,
            save_state_every_n_minutes: 0,
            keep_state: true,
            lr_scheduler: LrScheduler::Constant,
            lr_warmup_steps: Steps::Count(0),
            ..self.settings.clone()
        };
        let load = |file: &Checkpoint| {
            Network::load(file, self.plan.clone(), self.device, settings.weights, path)
        };
        let form = Form { dtype: settings.save_precision, texts: BTreeMap::new() };
        let place = Place { folder: folder.clone(), state: None, length: None, form };
        let made = MadeUp {
            config: self.config,
            size: self.size,
            text_tokens: self.text_tokens,
            count: settings.train_batch_size * settings.gradient_accumulation_steps,
        };
        finetune(load(self.model)?, &settings, &made, place, &mut Silent(self.cancelled))?;
        let damaged = |reason: String| failed(std::io::Error::other(reason));
        let state = match folder.find() {
            Found::State(state) => *state,
            Found::Damaged(reason) => return Err(damaged(reason).into()),
            Found::Nothing => return Err(damaged("nothing was saved".to_owned()).into()),
        };
        folder.verify(&state).map_err(damaged)?;
        let saved = folder.weights(&state).map_err(TrainError::from)?;
        Ok(load(&saved).map(drop)?)
    }
}

/// Random samples, as many as a step takes.
struct MadeUp<'a> {
    config: &'a FluxConfig,
    size: (usize, usize),
    text_tokens: usize,
    count: usize,
}

impl Samples for MadeUp<'_> {
    fn len(&self) -> usize {
        self.count
    }

    fn bucket(&self, _: usize) -> (usize, usize) {
        self.size
    }

    fn content(&self, index: usize) -> Digest {
        Digest::of(&index.to_le_bytes())
    }

    fn name(&self, index: usize) -> String {
        format!("made-up sample {}", index + 1)
    }

    fn repeats(&self, _: usize) -> u32 {
        1
    }

    fn role(&self, _: usize) -> Role {
        Role::Trained
    }

    fn load(&self, appearance: &Appearance) -> Result<Sample, String> {
        let Self { config, size: (height, width), text_tokens, .. } = self;
        let normals = |name: &str, count: usize| {
            Stream::new(1, name, Some(&appearance.content), &[]).normals(count)
        };
        Ok(Sample {
            latent: normals("latent", config.in_channels / 4 * height * width),
            t5: normals("t5", text_tokens * config.context_in_dim),
            t5_masked: false,
            clip: normals("clip", config.vec_in_dim),
            mask: None,
            weight: 1.0,
        })
    }
}

/// Nobody watches; the user may stop it.
struct Silent<'a>(&'a dyn Fn() -> bool);

impl Observer for Silent<'_> {
    fn step(&mut self, _: &StepMetrics) {}

    fn cancelled(&self) -> bool {
        (self.0)()
    }
}
