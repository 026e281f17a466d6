//! What a run did, once it is over.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use super::{theme, words};
use crate::{
    base::plural,
    pipeline::{Event, Frequency, ItemFailure, StageSummary, Stopped, Summary, Tally, Warning},
};

/// Step and steps of a state, by the name of its stage.
type States = BTreeMap<String, (u64, u64)>;

/// Gathers what a run did from its events, so that a run that ended early can be summed up too.
#[derive(Debug, Default)]
pub struct Gathered {
    summary: Summary,
    stopped: Option<Stopped>,
    /// What a stage counted in its outputs, by its name.
    frequencies: Vec<(String, Vec<Frequency>)>,
    /// What a stage's user should know.
    warnings: Vec<(String, Warning)>,
    /// Step and steps of the last state of a stage whose work is not done, by its name.
    states: States,
    finished: bool,
}

impl Gathered {
    /// Takes note of an event.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::ItemFailed { stage, item, failure, .. } => {
                self.summary.failures.push((stage.clone(), item.clone(), failure.clone()));
            }
            Event::Frequencies { stage, counts } => {
                self.frequencies.push((stage.clone(), counts.clone()));
            }
            Event::Warning { stage, warning } => {
                self.warnings.push((stage.clone(), warning.clone()));
            }
            Event::StateSaved { stage, done, total, .. }
            | Event::Resumed { stage, done, total, .. } => {
                self.states.insert(stage.clone(), (*done, *total));
            }
            Event::StageFinished { stage, items, .. } if items.left == 0 => {
                self.states.remove(stage);
            }
            Event::Published { path, .. } => self.summary.published.push(path.clone()),
            Event::Finished { stages, seconds, stopped, .. } => {
                self.summary.stages.clone_from(stages);
                self.summary.seconds = *seconds;
                self.stopped = *stopped;
                self.finished = true;
            }
            _ => {}
        }
    }

    /// Whether the run came to its last event; a run that could not even begin has no summary.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// A line per stage, then what was left out, then where the results lie, then what was counted.
    #[must_use]
    pub fn text(&self) -> String {
        let counted = self.frequencies.iter().map(|(stage, counts)| frequencies(stage, counts));
        let warned = self.warnings.iter().map(|(stage, warning)| {
            format!("\nIn {}:\n{}", theme::strong(stage), super::plan::warning(warning, "  "))
        });
        let states = self.states.iter().filter(|_| self.stopped.is_some());
        let states = states.map(|(stage, (done, total))| {
            format!("{}: run again to go on from step {done} of {total}\n", theme::strong(stage))
        });
        summary(&self.summary, self.stopped, &self.states)
            + &states.collect::<String>()
            + &warned.collect::<String>()
            + &counted.collect::<String>()
    }
}

/// A table: how often, and what.
fn frequencies(stage: &str, counts: &[Frequency]) -> String {
    let width = counts.iter().map(|count| count.items.to_string().len()).max().unwrap_or(0);
    let line = |count: &Frequency| format!("  {:>width$}  {}\n", count.items, count.name);
    format!("\nFrequencies in {}:\n", theme::strong(stage))
        + &counts.iter().map(line).collect::<String>()
}

fn summary(summary: &Summary, stopped: Option<Stopped>, states: &States) -> String {
    let took = words::seconds(summary.seconds);
    let idle = stopped.is_none()
        && summary.published.is_empty()
        && summary.stages.iter().all(|stage| stage.items.run == 0 && stage.error.is_none());
    let mut text = if idle {
        // Whoever left pictures out before is told the counts again.
        let counts = match summary.failures.is_empty() {
            true => String::new(),
            false => stages(&summary.stages, states) + "\n",
        };
        let word = theme::good(format!("Everything is up to date: nothing to do ({took})"));
        format!("{counts}{word}\n")
    } else {
        let word = match stopped {
            None => theme::good("Done in"),
            Some(Stopped::Failed) => theme::bad("Failed after"),
            Some(Stopped::Cancelled) => theme::busy("Stopped after"),
        };
        let estimated = estimated(&summary.stages);
        stages(&summary.stages, states) + &format!("\n{word} {took}\n{estimated}")
    };
    text += &left_out(summary);
    text += &written(&summary.published);
    text
}

/// Seconds below which nobody asks how good an estimate was.
const SHORT: f64 = 1.0;

/// How far the estimate was off, of the stages of which earlier runs told how long they take.
fn estimated(stages: &[StageSummary]) -> String {
    let known = stages.iter().filter(|stage| stage.error.is_none() && stage.items.left == 0);
    let known = known.filter_map(|stage| Some((stage.seconds, stage.estimate?)));
    let sum = known.reduce(|(took, all), (seconds, range)| (took + seconds, all.and(range)));
    let Some((took, range)) = sum else { return String::new() };
    if took < SHORT && range.high < SHORT {
        return String::new();
    }
    let off = match took {
        less if less < range.low => format!("{} less than that", words::seconds(range.low - less)),
        more if more > range.high => {
            format!("{} more than that", words::seconds(more - range.high))
        }
        _ => "within that".to_owned(),
    };
    let told = super::plan::range(range);
    format!("Expected {told} for what was known: took {}, {off}\n", words::seconds(took))
}

fn stages(stages: &[StageSummary], states: &States) -> String {
    let width = stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
    let line = |stage: &StageSummary| {
        let name = theme::strong(format!("{:<width$}", stage.name));
        let ended = match (&stage.error, states.get(&stage.name)) {
            (Some(_), _) => Some("the stage failed".to_owned()),
            (None, Some((done, _))) => Some(format!("stopped at step {done}")),
            (None, None) => None,
        };
        format!("{name}  {}\n", tally_of(&stage.items, ended, stage.seconds))
    };
    stages.iter().map(line).collect()
}

/// `made 11 · kept 1 (edited by hand) · reused 1 · failed 0 · 8.2 s`. The four counts are always
/// there, so that a reader, or a script, finds each of them in every line.
pub(super) fn tally(items: &Tally, seconds: f64) -> String {
    tally_of(items, None, seconds)
}

/// `ended` says why items are left, where more is known than that they were not reached.
fn tally_of(items: &Tally, ended: Option<String>, seconds: f64) -> String {
    if items.total == 0 {
        return "no items".to_owned();
    }
    let count = |number: usize, text: String, shown: fn(String) -> String| {
        if number > 0 { shown(text) } else { theme::faint(text) }
    };
    let aside = |number: usize, aside: &'static str| if number > 0 { aside } else { "" };
    let (kept, failed) =
        (aside(items.kept, " (edited by hand)"), aside(items.failed, " (left out)"));
    let mut said = vec![
        count(items.run, format!("made {}", items.run), theme::good),
        count(items.kept, format!("kept {}{kept}", items.kept), |text| text),
        count(items.reused, format!("reused {}", items.reused), |text| text),
        count(items.failed, format!("failed {}{failed}", items.failed), theme::bad),
    ];
    if items.left > 0 {
        let only = items.left == 1 && ended.is_some();
        let left = (!only).then(|| format!("not reached {}", items.left));
        said.extend(ended.into_iter().chain(left).map(theme::busy));
    }
    if items.run > 0 || seconds >= 1.0 {
        said.push(theme::faint(words::seconds(seconds)));
    }
    said.join(" · ")
}

/// What was left out, once for all stages that left it out for the same reason.
fn left_out(summary: &Summary) -> String {
    let mut items: Vec<LeftOut<'_>> = Vec::new();
    let mut known = HashMap::new();
    for (stage, item, failure) in &summary.failures {
        let index = *known.entry((item, &failure.message)).or_insert(items.len());
        match items.get_mut(index) {
            Some(known) => known.stages.push(stage),
            None => items.push(LeftOut { item, failure, stages: vec![stage] }),
        }
    }
    if items.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{} left out:\n", plural(items.len(), "item"));
    for (index, left) in items.iter().enumerate() {
        let LeftOut { item, failure, stages } = left;
        text += &format!("  {item} ({}): {}\n", theme::bad(stages.join(", ")), failure.message);
        // A hundred pictures that are cut off need the advice once.
        let next = items.get(index + 1).and_then(|next| next.failure.help.as_ref());
        if let Some(help) = failure.help.as_ref().filter(|help| next != Some(help)) {
            text += &format!("    help: {help}\n");
        }
    }
    text
}

/// An item that could not be made.
struct LeftOut<'a> {
    item: &'a str,
    failure: &'a ItemFailure,
    stages: Vec<&'a str>,
}

/// Files beside the store, many of a kind in one line.
fn written(published: &[PathBuf]) -> String {
    if published.is_empty() {
        return String::new();
    }
    let mut groups = BTreeMap::<(String, String), Vec<&Path>>::new();
    for path in published {
        let folder = path.parent().map(near).unwrap_or_default();
        let extension = path.extension().map(|e| e.to_string_lossy().into_owned());
        groups.entry((folder, extension.unwrap_or_default())).or_default().push(path);
    }
    /// Up to here each file has its own line.
    const SINGLY: usize = 3;
    let mut text = "\nWritten:\n".to_owned();
    for ((folder, extension), files) in groups {
        if files.len() <= SINGLY {
            files.iter().for_each(|file| text += &format!("  {}\n", near(file)));
        } else {
            text += &format!("  {folder}/*.{extension} ({})\n", plural(files.len(), "file"));
        }
    }
    text
}

/// A path as the shell in this folder can use it.
fn near(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let inside = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    match inside {
        Some(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Some(inside) => inside.display().to_string(),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Range;

    #[test]
    fn an_estimate_is_compared_with_what_a_stage_took() {
        let told = |seconds: f64, low: f64, high: f64| {
            let (name, kind) = ("cache".to_owned(), "cache".to_owned());
            let (items, estimate) = (Tally::default(), Some(Range { low, high, runs: 1 }));
            let stage =
                StageSummary { name, kind, items, published: 0, seconds, estimate, error: None };
            estimated(&[stage])
        };
        let expected = "Expected 20 s to 40 s for what was known: took";
        assert_eq!(told(30.0, 20.0, 40.0), format!("{expected} 30 s, within that\n"));
        assert_eq!(told(55.0, 20.0, 40.0), format!("{expected} 55 s, 15 s more than that\n"));
        assert_eq!(told(5.0, 20.0, 40.0), format!("{expected} 5.0 s, 15 s less than that\n"));
        assert_eq!(told(0.02, 0.0, 0.1), "");
    }

    #[test]
    fn a_training_that_is_not_done_says_why() {
        let told = |error: Option<ItemFailure>, states: &States| {
            let items = Tally { total: 1, left: 1, ..Tally::default() };
            let stage = StageSummary {
                name: "finetune".to_owned(),
                kind: "finetune".to_owned(),
                items,
                published: 0,
                seconds: 0.0,
                estimate: None,
                error,
            };
            anstream::adapter::strip_str(&stages(&[stage], states)).to_string()
        };
        let failure =
            ItemFailure { code: String::new(), message: "no room".to_owned(), help: None };
        let states = States::from([("finetune".to_owned(), (140, 252))]);
        let counts = "finetune  made 0 · kept 0 · reused 0 · failed 0";
        assert_eq!(told(None, &States::new()), format!("{counts} · not reached 1\n"));
        assert_eq!(told(None, &states), format!("{counts} · stopped at step 140\n"));
        assert_eq!(told(Some(failure), &states), format!("{counts} · the stage failed\n"));
    }
}
