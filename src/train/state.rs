//! What a training needs to go on exactly where it was: weights, optimizer, position, and what was
//! measured so far.
//!
//! Random numbers are no part of it: each is named by seed, purpose, sample, epoch and step (ADR 7), so
//! there is no generator that could stand somewhere.
//!
//! ```text
//! state.json                              names the files of the one valid state, with sizes and digests
//! 00000120.weights.safetensors            unless a checkpoint holds just these values
//! 00000120.optimizer.safetensors  00000120.journal
//! checkpoints/00000100-FORM.safetensors   checkpoints that later ones have not replaced
//! ```
//!
//! Files are written and synced first; replacing `state.json` then makes the new state the valid one, and
//! only after that the files of the one before go. A kill at any moment leaves one whole state or none.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Settings,
    checkpoint::Form,
    saves::Saves,
    tensors::{Part, Tensors},
};
use crate::{
    base::{Digest, atomic, disk},
    weights::{Checkpoint, WeightsError},
};

/// Version of `state.json`.
const VERSION: u32 = 1;

/// Where a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Optimizer steps taken in it.
    pub step_in_epoch: usize,
    /// Optimizer steps taken in all.
    pub steps: usize,
}

impl Position {
    /// Before the first step.
    pub const START: Self = Self { epoch: 1, step_in_epoch: 0, steps: 0 };
}

/// A checkpoint in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Optimizer steps after which it was saved.
    pub steps: usize,
    /// Whether it holds the moving average of the weights.
    pub ema: bool,
    /// Digest of what else decides its bytes: number format and texts of the header.
    pub form: Digest,
    /// The file.
    pub part: Part,
}

/// A valid state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Where the training was.
    pub position: Position,
    /// Epochs of the training, where they decide over the steps that were taken.
    pub length: Option<usize>,
    /// The checkpoints that are there.
    pub checkpoints: Vec<Kept>,
    pub(super) weights: Part,
    pub(super) optimizer: Part,
    pub(super) ema: Option<Part>,
    journal: Part,
}

/// What makes up a state; weights may be a file that is there.
pub(super) struct Parts<'a> {
    pub position: Position,
    pub length: Option<usize>,
    pub checkpoints: Vec<Kept>,
    pub weights: Weights<'a>,
    pub optimizer: &'a Tensors<'a>,
    pub ema: Option<&'a Tensors<'a>>,
    pub journal: &'a [u8],
}

/// The weights of a state.
pub(super) enum Weights<'a> {
    /// A checkpoint holds just these values.
    Checkpoint(Part),
    /// They are to be written.
    Network(&'a Tensors<'a>),
}

/// What decides whether a state can be gone on from, besides what names its folder.
#[derive(Debug)]
pub struct Training {
    /// Its checkpoints.
    pub saves: Saves,
    /// Its optimizer steps.
    pub total: usize,
    /// Its epochs, where they decide over steps before its end: by the learning rate or what is shown.
    pub length: Option<usize>,
    /// Digest of what decides the bytes of its checkpoints besides their step.
    pub form: Digest,
    /// Whether each checkpoint has one of the moving average beside it.
    pub ema: bool,
}

impl Training {
    /// Of a training whose epochs end after so many steps.
    #[must_use]
    pub fn new(
        settings: &Settings,
        epoch_ends: &[usize],
        length: Option<usize>,
        form: &Form,
    ) -> Self {
        Self {
            saves: Saves::new(settings, epoch_ends),
            total: epoch_ends.last().copied().unwrap_or_default(),
            length,
            form: form.digest(),
            ema: settings.ema_decay.is_some(),
        }
    }
}

/// What stands in a folder.
#[derive(Debug)]
pub enum Found {
    /// No state.
    Nothing,
    /// A state whose files are all there.
    State(Box<State>),
    /// A state that cannot be used: why, in words.
    Damaged(String),
}

/// The folder of a training. One process at a time uses it.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
}

impl StateFolder {
    /// The folder `path`, which need not be there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a part.
    #[must_use]
    pub fn file(&self, part: &Part) -> PathBuf {
        self.path.join(&part.file)
    }

    /// The state, as far as names and sizes tell; nothing large is read.
    #[must_use]
    pub fn find(&self) -> Found {
        let path = self.path.join("state.json");
        let bytes = match disk::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => return Found::Damaged(format!("{}: {error}", path.display())),
        };
        let mut state = match parse(&bytes) {
            Ok(state) => state,
            Err(what) => return Found::Damaged(format!("{} {what}", path.display())),
        };
        if let Some(part) = state.parts().find(|part| !part.is_there(&self.path)) {
            let path = self.file(part);
            return Found::Damaged(format!("{} is gone, or not of its size", path.display()));
        }
        // A training can go on without a checkpoint that its output does not need.
        state.checkpoints.retain(|kept| kept.part.is_there(&self.path));
        Found::State(Box::new(state))
    }

    /// Reads the files that a training goes on with and compares them with their digests; says what is
    /// wrong.
    ///
    /// # Errors
    /// A file is not what was written, in words.
    pub fn verify(&self, state: &State) -> Result<(), String> {
        match state.parts().find(|part| !part.is_whole(&self.path)) {
            Some(part) => Err(format!("{} is damaged", self.file(part).display())),
            None => Ok(()),
        }
    }

    /// The state without the checkpoints that are not what was written.
    #[must_use]
    pub fn without_damaged(&self, mut state: State) -> State {
        state.checkpoints.retain(|kept| kept.part.is_whole(&self.path));
        state
    }

    /// The weights of a state, under their checkpoint names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn weights(&self, state: &State) -> Result<Checkpoint, WeightsError> {
        Checkpoint::open_safetensors(&self.file(&state.weights))
    }

    pub(super) fn optimizer(&self, state: &State) -> Result<Checkpoint, WeightsError> {
        Checkpoint::open_safetensors(&self.file(&state.optimizer))
    }

    pub(super) fn ema(&self, state: &State) -> Result<Option<Checkpoint>, WeightsError> {
        let open = |part| Checkpoint::open_safetensors(&self.file(part));
        state.ema.as_ref().map(open).transpose()
    }

    pub(super) fn journal(&self, state: &State) -> io::Result<Vec<u8>> {
        let path = self.file(&state.journal);
        disk::read(&path).map_err(|error| disk::named(&path, error))
    }

    /// Makes these the valid state. What the one before had besides is still there: see
    /// [`StateFolder::prune`].
    pub(super) fn save(&self, parts: Parts<'_>) -> io::Result<State> {
        disk::create_folder(&self.path)?;
        let name = |what: &str| format!("{:08}.{what}", parts.position.steps);
        let tensors = |what: &str, tensors: &Tensors<'_>| {
            Part::of_tensors(&self.path, name(what), tensors, &BTreeMap::new())
        };
        let weights = match parts.weights {
            Weights::Checkpoint(part) => part,
            Weights::Network(network) => tensors("weights.safetensors", network)?,
        };
        let state = State {
            version: VERSION,
            position: parts.position,
            length: parts.length,
            checkpoints: parts.checkpoints,
            weights,
            optimizer: tensors("optimizer.safetensors", parts.optimizer)?,
            ema: parts.ema.map(|ema| tensors("ema.safetensors", ema)).transpose()?,
            journal: Part::of_bytes(&self.path, name("journal"), parts.journal)?,
        };
        atomic::write(&self.path.join("state.json"), &text(&state)?)?;
        Ok(state)
    }

    /// Removes what `state` does not name.
    pub(super) fn prune(&self, state: &State) -> io::Result<()> {
        let mut named = state.parts().map(|part| self.file(part)).collect::<BTreeSet<_>>();
        named.extend(state.checkpoints.iter().map(|kept| self.file(&kept.part)));
        named.insert(self.path.join("state.json"));
        for path in self.files(&self.path)?.into_iter().chain(self.checkpoints()?) {
            if !named.contains(&path) {
                disk::remove(&path)?;
            }
        }
        Ok(())
    }

    /// All files of checkpoints, also those that no state names.
    pub(super) fn checkpoints(&self) -> io::Result<Vec<PathBuf>> {
        self.files(&self.path.join("checkpoints"))
    }

    /// Bytes of all files.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn size(&self) -> io::Result<u64> {
        let files = self.files(&self.path)?.into_iter().chain(self.checkpoints()?);
        files.map(|path| Ok(std::fs::metadata(path)?.len())).sum()
    }

    /// Removes the folder with all that is in it.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        // What makes the state valid goes first: half a folder is no state.
        for path in [self.path.join("state.json"), self.path.clone()] {
            let removed = match path.is_dir() {
                true => disk::remove_folder(&path),
                false => disk::remove(&path),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match disk::list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        Ok(files)
    }
}

impl State {
    /// Whether a training goes on from here, or why not, in words.
    ///
    /// # Errors
    /// It does not.
    pub fn fits(&self, training: &Training) -> Result<(), String> {
        let Training { saves, total, length, form, ema } = training;
        let Position { steps, .. } = self.position;
        if self.length != *length {
            return Err("the number of epochs decides over its first step already".to_owned());
        }
        if steps > *total {
            return Err(format!("it has {total} steps now, and the state is a later one"));
        }
        // Those of this very step can be saved from the state.
        for due in saves.result().filter(|due| due.steps < steps) {
            let of = |kept: &&Kept| (kept.steps, &kept.form) == (due.steps, form);
            let there = self.checkpoints.iter().filter(of);
            if there.count() < 1 + usize::from(*ema) {
                return Err(format!(
                    "the checkpoint of step {} is gone, or was not kept",
                    due.steps
                ));
            }
        }
        Ok(())
    }

    /// The files without which it is none.
    fn parts(&self) -> impl Iterator<Item = &Part> {
        [&self.weights, &self.optimizer, &self.journal].into_iter().chain(&self.ema)
    }
}

/// What stands before and after the checksum of the line, as in the logs of the store.
const HEAD: (&str, &str) = (r#"{"sum":""#, r#"","body":"#);

/// Hex digits of the checksum.
const SUM: usize = 16;

fn sum(body: &str) -> String {
    Digest::of(body.as_bytes()).hex()[..SUM].to_owned()
}

fn text(state: &State) -> io::Result<Vec<u8>> {
    let body = serde_json::to_string(state)?;
    Ok(format!("{}{}{}{body}}}\n", HEAD.0, sum(&body), HEAD.1).into_bytes())
}

/// The state in these bytes, or what is wrong with them.
fn parse(bytes: &[u8]) -> Result<State, &'static str> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let body = whole_body(bytes).ok_or("is damaged")?;
    match serde_json::from_str::<Versioned>(body) {
        Ok(found) if found.version == VERSION => {
            serde_json::from_str(body).map_err(|_| "is damaged")
        }
        _ => Err("was written by another version of fluxpipe"),
    }
}

fn whole_body(bytes: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(bytes).ok()?.strip_prefix(HEAD.0)?.strip_suffix("}\n")?;
    let (found, rest) = line.split_at_checked(SUM)?;
    rest.strip_prefix(HEAD.1).filter(|body| sum(body) == found)
}
