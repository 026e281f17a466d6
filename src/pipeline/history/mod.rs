//! What earlier runs did, from the records that the store keeps of them. Knows no stage, and reads
//! records of other versions as far as it understands them.

mod difference;
mod keys;
mod request;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use difference::{ItemDifference, StageDifference, difference};
pub use request::Requested;

use super::{
    Cause, Counts, ItemFailure, Origin, RunError, StageSummary, Stopped, Store, Tally, Warning,
};
use crate::base::{clock, disk};

/// One run, as its record tells it.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct PastRun {
    /// Its id: sorts by time.
    pub id: String,
    /// When it began; `None` where the id says no time.
    #[serde(serialize_with = "as_text")]
    #[schemars(with = "Option<String>")]
    pub began: Option<Timestamp>,
    /// Version of the program.
    pub version: String,
    /// The manifest that it was asked with; `None` in records of versions that did not keep it.
    pub asked: Option<Requested>,
    /// What became of it.
    pub outcome: RunOutcome,
    /// The stages that it came to, in order.
    pub stages: Vec<PastStage>,
    /// Seconds that it took; `None` where it goes on still, or was killed.
    pub seconds: Option<f64>,
    /// Why it ended early; `None` also where it has no end.
    pub stopped: Option<Stopped>,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// It did what it was asked to.
    Done,
    /// There was nothing to make.
    Idle,
    /// A stage failed.
    Failed,
    /// Its user stopped it.
    Stopped,
    /// Its record has no end: it was killed, or goes on still.
    #[default]
    Open,
}

fn as_text<S: serde::Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

/// What a run did in one stage.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct PastStage {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What was decided before it began.
    pub decided: Counts,
    /// Why items were to run, root causes first.
    pub reasons: Vec<PastReason>,
    /// How many more reasons there were.
    pub more_reasons: usize,
    /// What became of its items; `None` where it did not come to its end.
    pub tally: Option<Tally>,
    /// Seconds that it took; 0 where that is not known.
    pub seconds: f64,
    /// What it chose by the machine, in words.
    pub chosen: Vec<String>,
    /// Steps that an earlier run had done, and steps in all.
    pub resumed: Option<(u64, u64)>,
    /// What its user should know.
    pub warnings: Vec<Warning>,
    /// Why it failed.
    pub error: Option<ItemFailure>,
    /// The failed stage for whose sake it was skipped.
    pub skipped: Option<String>,
}

/// Why some items ran.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PastReason {
    /// The key part that was another one; `item` for a new item and `output` for a lost one.
    pub part: String,
    /// Where it came from.
    pub origin: Cause,
    /// What it was.
    #[serde(default)]
    pub old: serde_json::Value,
    /// What it became.
    #[serde(default)]
    pub new: serde_json::Value,
    /// How many items ran for it.
    pub items: usize,
    /// Where exactly; bytes are those of the manifest of then.
    #[serde(default)]
    pub at: Option<Origin>,
    /// Ids of the first items.
    #[serde(default)]
    pub examples: Vec<String>,
}

/// A line of a record, as far as it is of interest here.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Started {
        version: String,
        #[serde(default)]
        asked: Option<Requested>,
    },
    StageStarted {
        stage: String,
        kind: String,
        items: Counts,
        #[serde(default)]
        reasons: Vec<PastReason>,
        #[serde(default)]
        more_reasons: usize,
    },
    Chosen {
        stage: String,
        text: String,
    },
    Resumed {
        stage: String,
        done: u64,
        total: u64,
    },
    Warning {
        stage: String,
        #[serde(flatten)]
        warning: Warning,
    },
    StageFinished {
        stage: String,
        items: Tally,
        seconds: f64,
    },
    StageFailed {
        stage: String,
        #[serde(flatten)]
        failure: ItemFailure,
    },
    StageSkipped {
        stage: String,
        because: String,
    },
    Finished {
        stages: Vec<StageSummary>,
        seconds: f64,
        stopped: Option<Stopped>,
    },
    #[serde(other)]
    Other,
}

/// Most lines of a record are of these sorts, and none of them is needed.
const PASSED_OVER: [&str; 4] = ["item_finished", "published", "kept", "state_saved"];

impl Store {
    /// The last runs, the latest first, at most `most` of them; and how many there are in all. A record
    /// that cannot be read is left out.
    #[must_use]
    pub fn past_runs(&self, most: usize) -> (Vec<PastRun>, usize) {
        let ids = self.run_ids();
        let runs = ids.iter().filter_map(|id| self.past_run(id));
        (runs.take(most).collect(), ids.len())
    }

    /// Ids of all runs, the latest first.
    #[must_use]
    pub fn run_ids(&self) -> Vec<String> {
        let Ok(entries) = disk::list(&self.root().join("runs")) else { return Vec::new() };
        let ids = entries.flatten().filter_map(|entry| {
            Some(entry.file_name().to_str()?.strip_suffix(".jsonl")?.to_owned())
        });
        let mut ids = ids.collect::<Vec<_>>();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids
    }

    /// The run of this id; `None` where its record cannot be read.
    #[must_use]
    pub fn past_run(&self, id: &str) -> Option<PastRun> {
        let path = self.root().join("runs").join(format!("{id}.jsonl"));
        // A record that a kill cut off within a letter is read up to there.
        let bytes = disk::read(&path).ok()?;
        Some(PastRun::read(id, &String::from_utf8_lossy(&bytes)))
    }

    /// The run that a person calls so: by its number (1 is the last one), its id or the beginning of that.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn find_run(&self, name: &str) -> Result<PastRun, RunError> {
        let ids = self.run_ids();
        // Ids begin with the year: what is shorter is a number of the list, whether there is such a run or not.
        let number = name.parse::<usize>().ok();
        let number = number.filter(|number| name.len() <= 3 || *number <= ids.len());
        let begins = |id: &&String| number.is_none() && !name.is_empty() && id.starts_with(name);
        let alike = || ids.iter().filter(begins);
        let found = match (number, alike().count()) {
            (Some(number), _) => ids.get(number.wrapping_sub(1)),
            (None, 1) => alike().next(),
            (None, _) => ids.iter().find(|id| *id == name),
        };
        found.and_then(|id| self.past_run(id)).ok_or_else(|| {
            let help = match (ids.first(), ids.last(), alike().count()) {
                (None, ..) => "nothing ran yet: `fluxpipe run` runs it".to_owned(),
                (Some(only), _, 0) if ids.len() == 1 => format!("there is 1 run, {only}"),
                (Some(last), Some(first), 0) => format!(
                    "there are {}, from {first} to {last}; `fluxpipe log` lists them",
                    crate::base::plural(ids.len(), "run"),
                ),
                (.., several) => format!("{several} runs begin so: write more of the id"),
            };
            RunError::UnknownRun { run: name.to_owned(), help }
        })
    }
}

impl PastRun {
    fn read(id: &str, record: &str) -> Self {
        let mut run = Self { id: id.to_owned(), began: clock::run_began(id), ..Self::default() };
        for line in record.lines() {
            let sort = line.strip_prefix(r#"{"event":""#).unwrap_or(line);
            if PASSED_OVER.iter().any(|passed| sort.starts_with(passed)) {
                continue;
            }
            if let Ok(line) = serde_json::from_str(line) {
                run.take(line);
            }
        }
        run.outcome = match (run.seconds, run.stopped) {
            (None, _) => RunOutcome::Open,
            (_, Some(Stopped::Failed)) => RunOutcome::Failed,
            (_, Some(Stopped::Cancelled)) => RunOutcome::Stopped,
            (_, None) if run.made() == 0 => RunOutcome::Idle,
            (_, None) => RunOutcome::Done,
        };
        run
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Started { version, asked } => (self.version, self.asked) = (version, asked),
            Line::StageStarted { stage, kind, items, reasons, more_reasons } => {
                let stage = self.stage(&stage);
                (stage.kind, stage.decided) = (kind, items);
                (stage.reasons, stage.more_reasons) = (reasons, more_reasons);
            }
            Line::Chosen { stage, text } => self.stage(&stage).chosen.push(text),
            Line::Resumed { stage, done, total } => {
                self.stage(&stage).resumed = Some((done, total));
            }
            Line::Warning { stage, warning } => self.stage(&stage).warnings.push(warning),
            Line::StageFinished { stage, items, seconds } => {
                let stage = self.stage(&stage);
                (stage.tally, stage.seconds) = (Some(items), seconds);
            }
            Line::StageFailed { stage, failure } => self.stage(&stage).error = Some(failure),
            Line::StageSkipped { stage, because } => self.stage(&stage).skipped = Some(because),
            Line::Finished { stages, seconds, stopped } => {
                (self.seconds, self.stopped) = (Some(seconds), stopped);
                for summary in stages {
                    let stage = self.stage(&summary.name);
                    (stage.kind, stage.tally) = (summary.kind, Some(summary.items));
                    (stage.seconds, stage.error) = (summary.seconds, summary.error);
                }
            }
            Line::Other => {}
        }
    }

    /// The stage of this name; a new one stands last.
    fn stage(&mut self, name: &str) -> &mut PastStage {
        let known = self.stages.iter().position(|stage| stage.name == name);
        let at = known.unwrap_or_else(|| {
            self.stages.push(PastStage { name: name.to_owned(), ..PastStage::default() });
            self.stages.len() - 1
        });
        &mut self.stages[at]
    }

    /// How many items it made.
    #[must_use]
    pub fn made(&self) -> usize {
        self.stages.iter().filter_map(|stage| stage.tally).map(|tally| tally.run).sum()
    }

    /// Whether it made something, or tried to.
    #[must_use]
    pub fn worked(&self) -> bool {
        self.stages.iter().any(|stage| stage.decided.run > 0 || stage.error.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"
{"event":"started","run":"x","version":"0.1.0","stages":["label","cache"]}
{"event":"stage_started","stage":"label","kind":"label","items":{"total":3,"reuse":1,"run":2,"kept":0,"failed":0},"reasons":[{"part":"num_beams","origin":"manifest","old":3,"new":4,"items":2,"at":{"manifest":{"path":"stages.label.num_beams","span":{"start":1,"end":2}}},"examples":["a.png"]}],"more_reasons":0}
{"event":"item_finished","stage":"label","item":"a.png","recipe":"caption","seconds":1.5}
{"event":"from_the_future","stage":"label"}
{"event":"warning","stage":"label","code":"c","message":"m","help":null,"items":1,"examples":["a.png"]}
{"event":"stage_finished","stage":"label","items":{"total":3,"reused":1,"run":2,"failed":0,"kept":0,"left":0},"published":0,"seconds":2.5}
{"event":"stage_failed","stage":"cache","code":"x::y","message":"no space"}
"#;
    const END: &str = r#"{"event":"finished","run":"x","stages":[{"name":"label","kind":"label","items":{"total":3,"reused":1,"run":2,"failed":0,"kept":0,"left":0},"published":0,"seconds":2.5,"error":null},{"name":"cache","kind":"cache","items":{"total":0,"reused":0,"run":0,"failed":0,"kept":0,"left":0},"published":0,"seconds":0.5,"error":{"code":"x::y","message":"no space"}}],"published":0,"seconds":3.25,"stopped":"failed"}"#;

    #[test]
    fn a_record_is_read_also_where_it_breaks_off() {
        let id = "20261125T030910.508808-14584";
        let killed = PastRun::read(id, RECORD);
        assert_eq!(killed.began.unwrap().to_string(), "2026-11-25T03:09:10.508808Z");
        assert_eq!((killed.seconds, killed.stages.len(), killed.worked()), (None, 2, true));
        let label = &killed.stages[0];
        assert_eq!((label.tally.unwrap().run, label.seconds), (2, 2.5));
        assert_eq!(label.warnings[0].examples, ["a.png"]);
        assert_eq!(label.reasons[0].origin, Cause::Manifest);
        assert_eq!(label.reasons[0].new, 4);

        let ended = PastRun::read("nonsense", &format!("{RECORD}{END}\nnonsense"));
        assert_eq!((ended.began, ended.stopped), (None, Some(Stopped::Failed)));
        let cache = &ended.stages[1];
        assert_eq!((cache.seconds, cache.error.as_ref().unwrap().code.as_str()), (0.5, "x::y"));
    }

    #[test]
    fn the_latest_runs_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.past_runs(2).1, 0);
        for id in
            ["20260101T000000.000000-1", "20260103T000000.000000-1", "20260102T000000.000000-1"]
        {
            fs_err::write(store.run_log(id).unwrap(), RECORD).unwrap();
        }
        let (runs, all) = store.past_runs(2);
        let ids = runs.iter().map(|run| &run.id[..8]).collect::<Vec<_>>();
        assert_eq!((ids, all), (vec!["20260103", "20260102"], 3));
    }
}
