//! What was blessed: a log that only grows (`blessed.log`), so that an output that was accepted and not made
//! is told as that for ever.

use std::{collections::HashMap, path::PathBuf};

use jiff::Timestamp;
use rayon::iter::ParallelIterator;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::{Digest, atomic, disk},
    pipeline::{
        Decision, ItemState, Output, Store, StoreError,
        store::{Head, bodies, read_log, write_line},
    },
};

/// What one `bless` accepted in one stage, for one recipe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Name of the stage.
    pub stage: String,
    /// When.
    pub at: String,
    /// Why, in the user's words.
    pub reason: String,
    /// The items.
    pub items: Vec<Item>,
}

/// An item that was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// The key under which its output was accepted.
    pub key: Digest,
    /// The recipe key and the item key under which it was made.
    pub from: (Digest, Digest),
    /// Digest of the output.
    pub output: Digest,
}

/// That an output was accepted under a key under which it was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Blessed {
    /// Why, in the user's words.
    pub reason: String,
    /// When.
    pub at: String,
    /// The item key under which it was made.
    #[schemars(with = "String")]
    pub from: Digest,
    /// Its recipe key.
    #[schemars(with = "String")]
    pub from_recipe: Digest,
}

/// What was accepted at one time in one stage, for a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BlessedStage {
    /// Name of the stage.
    pub stage: String,
    /// Why, in the user's words.
    pub reason: String,
    /// When.
    pub at: String,
    /// How many items.
    pub items: usize,
}

impl Blessed {
    /// The keys under which the output was made.
    pub(in crate::pipeline) fn from(&self) -> Head {
        Head { recipe: self.from_recipe, item: self.from }
    }
}

/// Everything that was blessed, by key.
#[derive(Debug, Default)]
pub struct Blessings {
    lines: Vec<Line>,
    /// By key: the line, and the place in it; the last one counts.
    places: HashMap<Digest, (usize, usize)>,
}

impl Blessings {
    /// Whether an output that is there under this key was accepted and not made.
    #[must_use]
    pub fn of(&self, key: &Digest, output: &Output) -> Option<Blessed> {
        let (line, item) = self.find(key, output)?;
        let ((from_recipe, from), line) = (item.from, line.clone());
        Some(Blessed { reason: line.reason, at: line.at, from, from_recipe })
    }

    fn find(&self, key: &Digest, output: &Output) -> Option<(&Line, &Item)> {
        let (line, item) = self.places.get(key)?;
        let line = &self.lines[*line];
        let item = &line.items[*item];
        // Made after all, by force, it is what it was made.
        (item.output == output.digest()).then_some((line, item))
    }

    /// Of the items that a stage reuses, how many were accepted, by time and reason.
    #[must_use]
    pub fn among(&self, stage: &str, decisions: &[Decision]) -> Vec<BlessedStage> {
        let mut found = Vec::<BlessedStage>::new();
        if self.places.is_empty() {
            return found;
        }
        for decision in decisions {
            let (Some(key), ItemState::Reuse(output)) = (&decision.key, &decision.state) else {
                continue;
            };
            let Some((Line { reason, at, .. }, _)) = self.find(key, output) else { continue };
            match found.iter_mut().find(|known| (&known.at, &known.reason) == (at, reason)) {
                Some(known) => known.items += 1,
                None => found.push(BlessedStage {
                    stage: stage.to_owned(),
                    reason: reason.clone(),
                    at: at.clone(),
                    items: 1,
                }),
            }
        }
        found
    }

    /// All that was ever blessed, in order of time.
    #[must_use]
    pub fn all(&self) -> Vec<BlessedStage> {
        let mut all = Vec::<BlessedStage>::new();
        for Line { stage, reason, at, items } in &self.lines {
            let same = |known: &&mut BlessedStage| {
                (&known.stage, &known.at, &known.reason) == (stage, at, reason)
            };
            match all.iter_mut().find(same) {
                Some(known) => known.items += items.len(),
                None => all.push(BlessedStage {
                    stage: stage.clone(),
                    reason: reason.clone(),
                    at: at.clone(),
                    items: items.len(),
                }),
            }
        }
        all
    }
}

impl Store {
    /// What was blessed.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn blessings(&self) -> Result<Blessings, StoreError> {
        let bytes = read_log(&self.blessed_log())?;
        let lines = bodies(&bytes).filter_map(|body| serde_json::from_slice::<Line>(body).ok());
        let lines = lines.collect::<Vec<_>>();
        let mut places = HashMap::new();
        for (line, items) in lines.iter().map(|line| &line.items).enumerate() {
            places.extend(items.iter().enumerate().map(|(item, found)| (found.key, (line, item))));
        }
        Ok(Blessings { lines, places })
    }

    /// Notes that items are accepted; they are on the disk when this returns.
    pub(super) fn note_blessed(&self, line: &Line) -> Result<(), StoreError> {
        let path = self.blessed_log();
        let mut bytes = Vec::new();
        let written = write_line(&mut bytes, line).and_then(|()| {
            disk::create_folder(self.root())?;
            atomic::append(&path, &bytes, true)
        });
        written.map_err(|error| StoreError::write(&path, error))
    }

    fn blessed_log(&self) -> PathBuf {
        self.root().join("blessed.log")
    }
}

/// A time as it is noted and told to programs.
pub fn noted(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
