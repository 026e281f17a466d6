//! What a run tells while it goes on. `run --json` prints these one per line, and the store keeps
//! them (but for the steps) as the record of the run.

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Frequency, StageError, StageSummary, Warning};
use crate::base::Digest;

/// Something that happened in a run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began. The first event.
    Started {
        /// Id of the run: sorts by time.
        run: String,
        /// Version of fluxpipe.
        version: String,
        /// Names of the selected stages, in the order in which they run.
        stages: Vec<String>,
        /// The manifest that it was asked with.
        #[serde(skip_serializing_if = "Option::is_none")]
        asked: Option<super::Requested>,
    },
    /// Another process runs this stage; this run goes on when it is done. At most once per stage.
    Waiting {
        /// Name of the stage.
        stage: String,
        /// The other process, where it is known.
        pid: Option<u32>,
    },
    /// A stage was decided and begins. Sent for each selected stage, also where nothing is to run.
    StageStarted {
        /// Name of the stage.
        stage: String,
        /// Its kind.
        kind: String,
        /// What is to become of its items.
        items: super::Counts,
        /// Why items run: root causes first, followers last.
        reasons: Vec<super::Reason>,
        /// How many more reasons there are than are listed.
        more_reasons: usize,
        /// What it will take, by what earlier runs took on this device.
        #[serde(skip_serializing_if = "Option::is_none")]
        estimate: Option<super::Range>,
    },
    /// Outputs were copied from the shared store, or to it.
    Shared {
        /// Name of the stage.
        stage: String,
        /// Items that were taken from it.
        taken: usize,
        /// Items that were given to it.
        given: usize,
    },
    /// What a stage tries out before the first one begins, or what came of it.
    Preflight {
        /// Name of the stage.
        stage: String,
        /// In words.
        text: String,
    },
    /// An item has its output from its human and stays as it is.
    Kept {
        /// Name of the stage.
        stage: String,
        /// Id of the item.
        item: String,
        /// Why: `edited by hand, kept`.
        why: String,
    },
    /// How far an item is.
    Step {
        /// Name of the stage.
        stage: String,
        /// Id of the item.
        item: String,
        /// Steps done.
        done: u64,
        /// Steps in all.
        total: u64,
        /// A short word on it: `loss 0.412`.
        note: String,
    },
    /// What was chosen for an item before its work begins, where it depends on the machine.
    Chosen {
        /// Name of the stage.
        stage: String,
        /// Id of the item.
        item: String,
        /// In words: `memory: 57 blocks, 35 swapped, values of 12 kept`.
        text: String,
    },
    /// An item goes on from where an earlier run left it.
    Resumed {
        /// Name of the stage.
        stage: String,
        /// Id of the item.
        item: String,
        /// Steps done.
        done: u64,
        /// Steps in all.
        total: u64,
    },
    /// All that an item needs to go on from here is on the disk.
    StateSaved {
        /// Name of the stage.
        stage: String,
        /// Id of the item.
        item: String,
        /// Steps done.
        done: u64,
        /// Steps in all.
        total: u64,
    },
    /// An item is done and stored.
    ItemFinished {
        /// Name of the stage.
        stage: String,
        /// Id of the item.
        item: String,
        /// What was made: `latent`, `text`.
        recipe: String,
        /// Time since the item before it was done.
        seconds: f64,
    },
    /// An item cannot be made and is left out.
    ItemFailed {
        /// Name of the stage.
        stage: String,
        /// Id of the item.
        item: String,
        /// Why.
        #[serde(flatten)]
        failure: ItemFailure,
        /// Whether an earlier run failed with it and this one did not try again.
        remembered: bool,
    },
    /// A file beside the store was written.
    Published {
        /// Name of the stage.
        stage: String,
        /// The file.
        path: PathBuf,
        /// Digest of what it holds; left out of a checkpoint that is shown while it is trained.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        digest: Option<Digest>,
    },
    /// Something about the outputs of a stage that is no mistake, and that its user should know.
    Warning {
        /// Name of the stage.
        stage: String,
        /// What.
        #[serde(flatten)]
        warning: Warning,
    },
    /// How often something stands in all outputs of a stage, such as a tag (`frequency_tags`); the most
    /// frequent first. Only of stages that were asked to count.
    Frequencies {
        /// Name of the stage.
        stage: String,
        /// What it is, and how often.
        counts: Vec<Frequency>,
    },
    /// A stage is done.
    StageFinished {
        /// Name of the stage.
        stage: String,
        /// What became of its items.
        items: Tally,
        /// Files written beside the store.
        published: usize,
        /// Time that the stage took, without waiting for other processes.
        seconds: f64,
    },
    /// A stage could not go on; what it committed is kept.
    StageFailed {
        /// Name of the stage.
        stage: String,
        /// Why.
        #[serde(flatten)]
        failure: ItemFailure,
    },
    /// A stage was not run since one that it needs failed.
    StageSkipped {
        /// Name of the stage.
        stage: String,
        /// The failed stage.
        because: String,
    },
    /// The run is over. The last event, whatever happened.
    Finished {
        /// Id of the run.
        run: String,
        /// The selected stages that were reached, in the order in which they ran.
        stages: Vec<StageSummary>,
        /// Files written beside the store.
        published: usize,
        /// Time that the run took.
        seconds: f64,
        /// Whether it did what it was asked, or was stopped.
        stopped: Option<Stopped>,
    },
}

/// What became of the items of a stage: `total = reused + run + failed + kept + left`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// All items.
    pub total: usize,
    /// Those whose output was there, or is shared with another item.
    pub reused: usize,
    /// Those that ran.
    pub run: usize,
    /// Those that could not be made and are left out.
    pub failed: usize,
    /// Those whose output was given by a human.
    pub kept: usize,
    /// Those that were not reached: the run was stopped, or the stage failed. 0 after a whole run.
    pub left: usize,
}

/// Why a run ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// A stage failed.
    Failed,
    /// The user asked to stop.
    Cancelled,
}

/// Why an item or a stage failed, as it is stored and printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemFailure {
    /// Stable code: `fluxpipe::dataset::not_a_picture`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl From<&StageError> for ItemFailure {
    fn from(error: &StageError) -> Self {
        let diagnostic: &dyn miette::Diagnostic = error.as_ref();
        Self::of(diagnostic)
    }
}

impl fmt::Display for ItemFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ItemFailure {}

impl miette::Diagnostic for ItemFailure {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.help.as_ref()?))
    }
}

impl ItemFailure {
    /// The failure that a diagnostic reports, with the messages of its sources.
    #[must_use]
    pub fn of(diagnostic: &dyn miette::Diagnostic) -> Self {
        let mut message = diagnostic.to_string();
        let mut source = std::error::Error::source(diagnostic);
        while let Some(error) = source {
            message = format!("{message}: {error}");
            source = error.source();
        }
        let code = diagnostic.code().map(|code| code.to_string());
        Self {
            code: code.unwrap_or_else(|| "fluxpipe::stage::failed".to_owned()),
            message,
            help: diagnostic.help().map(|help| help.to_string()),
        }
    }
}
