//! What all stages of a plan will cost together, and whether the disk has room for it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Range, StageCost};
use crate::{base::bytes, pipeline::StagePlan};

/// What a run will cost.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Total {
    /// Bytes that will be written and stay.
    pub bytes: u64,
    /// Whether that is an upper bound.
    pub at_most: bool,
    /// Bytes that must be free, for the worst moment.
    pub peak_bytes: u64,
    /// Bytes that can still be written where the store lies; `null` where the system does not tell.
    pub disk_free: Option<u64>,
    /// Seconds that the stages take of which that is known; `null` where none is.
    pub time: Option<Range>,
    /// Names of the stages whose time is not known yet.
    pub time_unknown: Vec<String>,
}

impl Total {
    pub(super) fn of(stages: &[StagePlan], disk_free: Option<u64>) -> Self {
        let mut total = Self {
            bytes: 0,
            at_most: false,
            peak_bytes: 0,
            disk_free,
            time: None,
            time_unknown: Vec::new(),
        };
        for (stage, cost) in counted(stages) {
            total.peak_bytes = total.peak_bytes.max(total.bytes + cost.peak_bytes);
            total.bytes += cost.bytes;
            total.at_most |= cost.at_most;
            match cost.time {
                Some(time) => total.time = Some(total.time.map_or(time, |all| all.and(time))),
                None => total.time_unknown.push(stage.name.clone()),
            }
        }
        total
    }

    /// Whether the disk has room, as far as it can be told.
    ///
    /// # Errors
    /// It has not. Where `bytes` is an upper bound that is so too: whoever fills a disk loses hours.
    pub fn fits(&self, stages: &[StagePlan]) -> Result<(), NoRoom> {
        let Some(free) = self.disk_free.filter(|&free| free < self.peak_bytes) else {
            return Ok(());
        };
        // Less of one stage, at its worst moment, is so much less of all.
        let over = self.peak_bytes - free;
        let smaller = counted(stages).flat_map(|(stage, cost)| {
            cost.smaller.iter().map(move |smaller| (stage, cost, smaller))
        });
        let mut smaller = smaller.map(|(stage, cost, smaller)| {
            let saved = cost.peak_bytes.saturating_sub(smaller.peak_bytes);
            (saved >= over, stage, smaller)
        });
        let fitting = smaller.find(|(fits, ..)| *fits);
        let largest = counted(stages).max_by_key(|(_, cost)| cost.peak_bytes);
        let stage = fitting.as_ref().map(|(_, stage, _)| *stage);
        let stage = stage.or(largest.map(|(stage, _)| stage));
        let setting = fitting.map(|(.., smaller)| smaller.setting.clone());
        let stage = stage.map(|stage| stage.name.clone()).unwrap_or_default();
        let most = largest.map(|(stage, cost)| {
            format!("{} of that is for {}", bytes(cost.peak_bytes), stage.name)
        });
        let help = match &setting {
            Some(setting) => format!(
                "`{setting}` in [stages.{stage}] fits; else free {}, or name an `output` on another disk",
                bytes(over)
            ),
            None => format!("free {}, or name an `output` on another disk", bytes(over)),
        };
        let at_most = self.at_most;
        Err(NoRoom {
            needed: self.peak_bytes,
            free,
            at_most,
            most: most.unwrap_or_default(),
            stage,
            setting,
            help,
        })
    }
}

fn counted(stages: &[StagePlan]) -> impl Iterator<Item = (&StagePlan, &StageCost)> {
    stages.iter().filter_map(|stage| Some((stage, stage.cost.as_ref()?)))
}

/// A run would fill the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error(
    "the disk has no room: a run needs {}{}, and {} are free; {most}",
    if *at_most { "up to " } else { "" },
    bytes(*needed),
    bytes(*free)
)]
#[diagnostic(code(fluxpipe::plan::disk), help("{help}"))]
pub struct NoRoom {
    /// What must be free.
    pub needed: u64,
    /// What is.
    pub free: u64,
    /// Whether it may turn out to be less.
    pub at_most: bool,
    /// What takes the most of it, in words.
    pub most: String,
    /// The stage that takes the most, or that could take less.
    pub stage: String,
    /// A setting of that stage with which it fits, if there is one.
    pub setting: Option<String>,
    /// What to do.
    pub help: String,
}
