//! Writes checkpoints and states when they are due, and removes those that later ones replace.
//!
//! The order is what makes a kill harmless: the files of a checkpoint, then a state that names them, then
//! the checkpoint is shown to people, and last what is replaced goes.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Settings, TrainError,
    checkpoint::{Form, modelspec},
    disk::Need,
    finetune::Observer,
    saves::Due,
    state::{Kept, Parts, Position, State, StateFolder, Training, Weights},
    tensors::{ForEach, Part, Tensors},
    trained::Trained,
};
use crate::{
    base::disk,
    weights::{Dtype, Entry},
};

/// Where a training keeps its state and its checkpoints, and from where it goes on.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder.
    pub folder: StateFolder,
    /// The state that it goes on from. Its network must hold the weights of this state.
    pub state: Option<State>,
    /// Its epochs, where they decide over steps before its end ([`Training::length`]).
    pub length: Option<usize>,
    /// How its checkpoints are written.
    pub form: Form,
}

/// What a checkpoint or a state is written from.
pub(super) struct Source<'a> {
    /// In the type in which they are stored.
    pub network: Tensors<'a>,
    pub optimizer: Tensors<'a>,
    pub ema: Option<Averages<'a>>,
    pub takes_guidance: bool,
}

/// Averages of the weights.
pub(super) struct Averages<'a> {
    pub state: Tensors<'a>,
    /// The network with the averages in place of the weights.
    pub network: &'a ForEach<'a>,
}

pub(super) struct Keeper<'a> {
    settings: &'a Settings,
    folder: StateFolder,
    form: Form,
    training: Training,
    epoch_ends: Vec<usize>,
    checkpoints: Vec<Kept>,
    /// The state that is valid now.
    state: Option<State>,
    since: Instant,
}

impl<'a> Keeper<'a> {
    pub fn new(settings: &'a Settings, place: Place, epoch_ends: Vec<usize>) -> Self {
        let training = Training::new(settings, &epoch_ends, place.length, &place.form);
        let Place { folder, state, form, .. } = place;
        let of_form = |kept: &Kept| kept.form == training.form;
        let checkpoints = state.iter().flat_map(|state| state.checkpoints.clone());
        let checkpoints = checkpoints.filter(of_form).collect();
        let since = Instant::now();
        Self { settings, folder, form, training, epoch_ends, checkpoints, state, since }
    }

    /// Asks whether the disk has room for what will be written.
    pub fn look_for_room(&self, entries: &[Entry], trained: &Trained) -> Result<(), TrainError> {
        let need = Need::of(self.settings, &self.training.saves, &self.form, entries, trained);
        // What the state has there is part of it, or goes.
        let there = self.state.as_ref().map_or(0, |_| self.folder.size().unwrap_or_default());
        need.check(&self.folder, there)
    }

    /// Steps of the whole training.
    pub fn total(&self) -> usize {
        self.training.total
    }

    /// The epoch that ended with this step, counted from 1.
    pub fn ended(&self, steps: usize) -> Option<usize> {
        let ended = self.epoch_ends.iter().rposition(|&end| end == steps && steps > 0);
        ended.map(|index| index + 1)
    }

    pub fn folder(&self) -> &StateFolder {
        &self.folder
    }

    /// The state that is valid now.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Brings the folder, and what people see of it, in line with the state: a kill may have come between.
    pub fn tidy(&self, observer: &mut dyn Observer) -> io::Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        for (name, kept) in self.named(state.position.steps) {
            observer.checkpoint(&name, &self.folder.file(&kept.part))?;
        }
        for path in self.folder.checkpoints()? {
            if !self.checkpoints.iter().any(|kept| self.folder.file(&kept.part) == path) {
                for name in self.names_of(&path) {
                    observer.superseded(&name, &path)?;
                }
            }
        }
        self.folder.prune(state)
    }

    /// Writes what is due at this position.
    pub fn after_step(
        &mut self,
        position: Position,
        source: &Source<'_>,
        observer: &mut dyn Observer,
    ) -> io::Result<()> {
        let saved = self.save_checkpoints(position, source)?;
        let last = position.steps == self.training.total;
        let minutes = u64::from(self.settings.save_state_every_n_minutes) * 60;
        let every = self.settings.save_state_every_n_steps;
        let due = every.is_some_and(|every| position.steps.is_multiple_of(every))
            || (minutes > 0 && self.since.elapsed() >= Duration::from_secs(minutes));
        if (saved || due || last) && (!last || self.settings.keep_state) {
            self.save_state(position, source, observer)?;
        }
        Ok(())
    }

    /// Makes this position the one to go on from, unless it is.
    pub fn save_state(
        &mut self,
        position: Position,
        source: &Source<'_>,
        observer: &mut dyn Observer,
    ) -> io::Result<()> {
        let alive = self.training.saves.alive(position.steps).map(|due| due.steps);
        let alive = alive.collect::<Vec<_>>();
        self.checkpoints.retain(|kept| alive.contains(&kept.steps));
        let is_there =
            |state: &State| state.position == position && state.checkpoints == self.checkpoints;
        if !self.state.as_ref().is_some_and(is_there) {
            let here = |kept: &&Kept| kept.steps == position.steps && !kept.ema;
            let state = self.folder.save(Parts {
                position,
                length: self.training.length,
                checkpoints: self.checkpoints.clone(),
                weights: match self.checkpoints.iter().find(here) {
                    Some(kept) if self.is_exact(source) => Weights::Checkpoint(kept.part.clone()),
                    _ => Weights::Network(&source.network),
                },
                optimizer: &source.optimizer,
                ema: source.ema.as_ref().map(|ema| &ema.state),
                journal: &observer.remember(),
            })?;
            self.state = Some(state);
        }
        self.since = Instant::now();
        self.tidy(observer)?;
        observer.saved(position);
        Ok(())
    }

    /// The checkpoints of the finished training: what stands behind the chosen name, and the file.
    pub fn result(&self) -> Vec<(String, PathBuf)> {
        let named = self.named(usize::MAX);
        named.map(|(name, kept)| (name, self.folder.file(&kept.part))).collect()
    }

    /// Whether a checkpoint holds the very values of the weights.
    fn is_exact(&self, source: &Source<'_>) -> bool {
        let exact = |entry: &Entry| entry.dtype == Dtype::BF16 || entry.dtype == self.form.dtype;
        source.network.entries.iter().all(exact)
    }

    /// Writes the checkpoints of this position that are not there; whether there was one.
    fn save_checkpoints(&mut self, position: Position, source: &Source<'_>) -> io::Result<bool> {
        let Position { steps, .. } = position;
        if !self.training.saves.alive(steps).any(|due| due.steps == steps) {
            return Ok(false);
        }
        let mut saved = false;
        let averaged = source.ema.as_ref().map(|ema| (true, ema.network));
        for (ema, for_each) in [(false, source.network.for_each)].into_iter().chain(averaged) {
            let there = |kept: &Kept| (kept.steps, kept.ema) == (steps, ema);
            if self.checkpoints.iter().any(there) {
                continue;
            }
            let part = self.save_checkpoint(steps, ema, source, for_each)?;
            self.checkpoints.push(Kept { steps, ema, form: self.training.form, part });
            saved = true;
        }
        Ok(saved)
    }

    fn save_checkpoint(
        &self,
        steps: usize,
        ema: bool,
        source: &Source<'_>,
        for_each: &ForEach<'_>,
    ) -> io::Result<Part> {
        disk::create_folder(&self.folder.path().join("checkpoints"))?;
        let averaged = if ema { "-ema" } else { "" };
        let form = self.training.form.short();
        let file = format!("checkpoints/{steps:08}-{form}{averaged}.safetensors");
        let mut texts = modelspec(source.takes_guidance);
        texts.extend(self.form.texts.clone());
        let epochs = self.epoch_ends.iter().filter(|&&end| end <= steps).count();
        texts.insert("fluxpipe.steps".to_owned(), steps.to_string());
        texts.insert("fluxpipe.epochs".to_owned(), epochs.to_string());
        if let (true, Some(decay)) = (ema, self.settings.ema_decay) {
            texts.insert("fluxpipe.ema_decay".to_owned(), decay.to_string());
        }
        let entries = source.network.entries.iter().cloned();
        let entries = entries.map(|entry| Entry { dtype: self.form.dtype, ..entry }).collect();
        let tensors = Tensors { entries, for_each };
        Part::of_tensors(self.folder.path(), file, &tensors, &texts)
    }

    /// The checkpoints that are there after so many steps, by what stands behind the chosen name. A file
    /// may have two.
    fn named(&self, steps: usize) -> impl Iterator<Item = (String, &Kept)> {
        self.training.saves.alive(steps).flat_map(|due| {
            let of = self.checkpoints.iter().filter(|kept| kept.steps == due.steps);
            of.map(|kept| (name(due, kept.ema), kept))
        })
    }

    /// What a file of a checkpoint is called for people.
    fn names_of(&self, path: &Path) -> Vec<String> {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let steps = stem.split('-').next().and_then(|steps| steps.parse::<usize>().ok());
        let due = steps.into_iter().flat_map(|steps| self.training.saves.at(steps));
        due.map(|due| name(due, stem.ends_with("-ema"))).collect()
    }
}

fn name(due: &Due, ema: bool) -> String {
    format!("{}{}", due.suffix, if ema { "-ema" } else { "" })
}
