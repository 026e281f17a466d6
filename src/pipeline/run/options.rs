//! What is asked of a run, and what it answers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::{Decision, ItemFailure, ItemState, Range, Tally};

/// What the command line asks of a run, or of a plan.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Only these stages, if any are named.
    pub only: Vec<String>,
    /// Only this stage and those that need it.
    pub from: Option<String>,
    /// Only this stage and those that it needs.
    pub until: Option<String>,
    /// Run all items of these stages, stored or not.
    pub force: Vec<String>,
    /// After a failed stage, go on with those that do not need it.
    pub keep_going: bool,
    /// One bad item ends its stage (`on_bad_image = "fail"`).
    pub fail_fast: bool,
    /// What the device calls itself on which stages work: times are kept for each device.
    pub device: String,
    /// Whether stages with work try out first what would else fail after hours.
    pub preflight: bool,
}

/// What became of a stage.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StageSummary {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What became of its items.
    pub items: Tally,
    /// Files written beside the store.
    pub published: usize,
    /// Time that it took, without waiting for other processes.
    pub seconds: f64,
    /// What it was expected to take when it began, where earlier runs told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Range>,
    /// Why it failed, if it did.
    pub error: Option<ItemFailure>,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Id of the run.
    pub run: String,
    /// The selected stages that were reached, in order.
    pub stages: Vec<StageSummary>,
    /// Items that are left out since they cannot be made: stage, item, why.
    pub failures: Vec<(String, String, ItemFailure)>,
    /// Files written beside the store.
    pub published: Vec<PathBuf>,
    /// Time that the run took.
    pub seconds: f64,
}

impl Summary {
    /// Takes in what became of a stage. One that was decided again, since something that was made before was
    /// lost, is told once: what ran in all its turns ran.
    pub(super) fn add(&mut self, mut summary: StageSummary) -> &StageSummary {
        if let Some(before) = self.stages.iter().position(|stage| stage.name == summary.name) {
            let before = self.stages.remove(before);
            let moved = before.items.run.min(summary.items.reused);
            summary.items.run += moved;
            summary.items.reused -= moved;
            summary.published += before.published;
            summary.seconds += before.seconds;
            summary.estimate = before.estimate.or(summary.estimate);
        }
        let at = self.stages.len();
        self.stages.push(summary);
        &self.stages[at]
    }
}

impl Tally {
    /// Counts what became of the items of a stage.
    #[must_use]
    pub fn of(decisions: &[Decision]) -> Self {
        let mut tally = Self { total: decisions.len(), ..Self::default() };
        for decision in decisions {
            match decision.state {
                ItemState::Kept => tally.kept += 1,
                ItemState::Reuse(_) => tally.reused += 1,
                ItemState::Made(_) => tally.run += 1,
                ItemState::Failed(_) => tally.failed += 1,
                ItemState::Run { .. } => tally.left += 1,
            }
        }
        tally
    }
}
