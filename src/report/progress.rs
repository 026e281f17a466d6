//! A run as it goes on: bars on a terminal, plain lines elsewhere. All of it goes to stderr.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::{Arc, LazyLock, OnceLock},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::{Look, screen, summary, theme, words};
use crate::{
    base::plural,
    pipeline::{Counts, Event, ItemFailure},
};

/// All bars of the program: there is one screen.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes a line to stderr without tearing the bars.
pub fn above_bars(text: &str) {
    BARS.suspend(|| screen::stderr(text));
}

/// Puts a bar below the others.
pub(super) fn add(bar: ProgressBar) -> ProgressBar {
    BARS.add(bar)
}

/// Between two plain lines about one stage, so that a log of a long run can still be read.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How often a bar's spinner turns while nothing else happens.
const TICK: Duration = Duration::from_millis(120);

/// Shows events as they come.
pub struct Progress {
    terminal: bool,
    names: usize,
    stages: BTreeMap<String, Shown>,
    /// What was said to be left out: a broken picture is broken for every stage.
    left_out: BTreeSet<(String, String)>,
}

/// What is on the screen for one stage.
struct Shown {
    bar: Option<ProgressBar>,
    pace: Pace,
    /// Items to run.
    run: usize,
    /// Items that are done, or left out.
    done: usize,
    /// What an item is: `picture`.
    noun: &'static str,
    /// When the first item was done. Loading a network before it tells no rate.
    first: Option<Instant>,
    last_line: Instant,
}

impl Progress {
    /// For a stream that looks like this.
    #[must_use]
    pub fn new(look: Look) -> Self {
        let (stages, left_out) = (BTreeMap::new(), BTreeSet::new());
        Self { terminal: look.terminal, names: 0, stages, left_out }
    }

    /// Shows one event. Steps come often, and most of them cost nothing here.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Started { stages, .. } => {
                self.names = stages.iter().map(|name| name.chars().count()).max().unwrap_or(0);
            }
            Event::Waiting { stage, pid } => {
                let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
                above_bars(&format!("{stage}: waiting for another run of this project{who}"));
            }
            Event::StageStarted { stage, kind, items, .. } => self.begin(stage, kind, items),
            Event::Shared { stage, taken, given } => {
                let said = [(taken, "taken from"), (given, "given to")];
                let said = said.into_iter().filter(|(count, _)| **count > 0);
                for (count, how) in said {
                    let items = plural(*count, "item");
                    above_bars(&format!("{stage}: {items} {how} the shared store"));
                }
            }
            Event::Chosen { stage, text, .. } => above_bars(&format!("{stage}: {text}")),
            Event::Preflight { stage, text } => above_bars(&format!("{stage}: {text}")),
            Event::Resumed { stage, done, total, .. } => {
                above_bars(&format!("{stage}: goes on from step {done} of {total}"));
            }
            Event::Kept { .. }
            | Event::Published { .. }
            | Event::StateSaved { .. }
            | Event::Warning { .. }
            | Event::Frequencies { .. } => {}
            Event::Step { stage, done, total, note, .. } => self.step(stage, *done, *total, note),
            Event::ItemFinished { stage, .. } => self.item(stage),
            Event::ItemFailed { stage, item, failure, remembered } => {
                self.failed(stage, item, failure, *remembered);
            }
            Event::StageFinished { stage, items, seconds, .. } => {
                let tally = summary::tally(items, *seconds);
                if items.run > 0 && !self.terminal {
                    above_bars(&format!("{stage}: {tally}"));
                }
                self.end(stage, &tally);
            }
            Event::StageFailed { stage, .. } => self.end(stage, "failed"),
            Event::StageSkipped { stage, because } => {
                above_bars(&format!("{stage}: skipped, since {because} failed"));
            }
            Event::Finished { .. } => self.clear(),
        }
    }

    fn begin(&mut self, stage: &str, kind: &str, items: &Counts) {
        // A stage that has nothing to do says nothing.
        if items.run == 0 {
            return;
        }
        let noun = noun(kind);
        let pace = Pace::default();
        let bar = self.terminal.then(|| self.bar(stage, items.run, noun, &pace));
        if bar.is_none() {
            above_bars(&format!("{stage}: {} of {} to run", items.run, items.total));
        }
        let (first, last_line) = (None, Instant::now());
        let shown = Shown { bar, pace, run: items.run, done: 0, noun, first, last_line };
        self.stages.insert(stage.to_owned(), shown);
    }

    fn bar(&self, stage: &str, items: usize, noun: &'static str, pace: &Pace) -> ProgressBar {
        let bar = BARS.add(ProgressBar::new(items as u64));
        bar.set_style(running(noun, pace));
        bar.set_prefix(format!("{stage:<width$}", width = self.names));
        bar.enable_steady_tick(TICK);
        bar
    }

    fn item(&mut self, stage: &str) {
        let Some(shown) = self.stages.get_mut(stage) else { return };
        shown.done += 1;
        let (done, run) = (shown.done, shown.run);
        let first = *shown.first.get_or_insert_with(Instant::now);
        match &shown.bar {
            // The bar of a stage of one item shows that item's steps.
            Some(bar) if run > 1 => {
                shown.pace.begin(done as u64);
                bar.set_position(done as u64);
            }
            Some(_) => {}
            None if done < run => {
                let pace = pace(done, run, first.elapsed(), shown.noun);
                shown.line(|| format!("{stage}: {done} of {run}{pace}"));
            }
            None => {}
        }
    }

    fn step(&mut self, stage: &str, done: u64, total: u64, note: &str) {
        let Some(shown) = self.stages.get_mut(stage) else { return };
        match &shown.bar {
            Some(bar) if shown.run == 1 => {
                shown.pace.begin(done);
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(note.to_owned());
            }
            Some(bar) => bar.set_message(format!("step {done} of {total} {note}")),
            None => {
                let note = if note.is_empty() { String::new() } else { format!(", {note}") };
                shown.line(|| format!("{stage}: step {done} of {total}{note}"));
            }
        }
    }

    fn failed(&mut self, stage: &str, item: &str, failure: &ItemFailure, remembered: bool) {
        if remembered {
            return;
        }
        if self.left_out.insert((item.to_owned(), failure.message.clone())) {
            above_bars(&format!("{} {item} left out: {}", theme::bad(stage), failure.message));
        }
        self.item(stage);
    }

    fn end(&mut self, stage: &str, word: &str) {
        let Some(bar) = self.stages.get(stage).and_then(|shown| shown.bar.as_ref()) else { return };
        // It stays, as a line, while later stages run.
        bar.set_style(ended());
        bar.finish_with_message(anstream::adapter::strip_str(word).to_string());
    }

    fn clear(&mut self) {
        for bar in self.stages.values().filter_map(|shown| shown.bar.as_ref()) {
            bar.finish_and_clear();
        }
        self.stages.clear();
    }
}

/// How fast a bar goes. The bar's own estimate counts what an earlier run did as done in this one.
#[derive(Clone, Debug, Default)]
struct Pace(Arc<OnceLock<(u64, Instant)>>);

impl Pace {
    /// The clock starts at the first call, when so many are done.
    fn begin(&self, done: u64) {
        let _ = self.0.get_or_init(|| (done, Instant::now()));
    }

    /// `None` before there is one.
    fn per_second(&self, done: u64, now: Instant) -> Option<f64> {
        let (from, begun) = self.0.get()?;
        let seconds = now.saturating_duration_since(*begun).as_secs_f64();
        (done > *from && seconds > 0.0).then(|| (done - from) as f64 / seconds)
    }
}

impl Drop for Progress {
    /// An error may end a run before its last event; no half bar is left behind.
    fn drop(&mut self) {
        self.clear();
    }
}

impl Shown {
    fn line(&mut self, text: impl FnOnce() -> String) {
        if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            above_bars(&text());
        }
    }
}

/// `, 3.2 pictures/s, 40 s left`; empty where that cannot be said yet. The first item is where the
/// clock starts.
fn pace(done: usize, run: usize, since_first: Duration, noun: &str) -> String {
    let seconds = since_first.as_secs_f64();
    if done < 2 || seconds <= 0.0 {
        return String::new();
    }
    let per_second = (done - 1) as f64 / seconds;
    let left = (run - done) as f64 / per_second;
    format!(", {}, {} left", rate(per_second, noun), words::seconds(left))
}

/// What an item of a stage of this kind is.
fn noun(kind: &str) -> &'static str {
    match kind {
        "label" | "tag" | "tag.probabilities" | "sample" | "sample.before" => "picture",
        "prompts" => "text",
        "finetune" => "step",
        _ => "item",
    }
}

fn running(noun: &'static str, pace: &Pace) -> ProgressStyle {
    let (of_rate, of_left) = (pace.clone(), pace.clone());
    let rate = move |state: &ProgressState, out: &mut dyn Write| {
        if let Some(per_second) = of_rate.per_second(state.pos(), Instant::now()) {
            let _ = out.write_str(&rate(per_second, noun));
        }
    };
    let left = move |state: &ProgressState, out: &mut dyn Write| {
        let Some(per_second) = of_left.per_second(state.pos(), Instant::now()) else { return };
        let left = state.len().unwrap_or_default().saturating_sub(state.pos());
        let _ = write!(out, "{} left", words::seconds(left as f64 / per_second));
    };
    styled("{spinner} {prefix} {bar:24} {pos}/{len} {rate} {left} {wide_msg}")
        .with_key("rate", rate)
        .with_key("left", left)
        .progress_chars("█▉▊▋▌▍▎▏ ")
}

fn ended() -> ProgressStyle {
    styled("  {prefix} {wide_msg}")
}

fn styled(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Slow work is easier to read the other way round.
fn rate(per_second: f64, noun: &str) -> String {
    match per_second {
        none if none <= 0.0 || !none.is_finite() => String::new(),
        slow if slow < 0.5 => format!("{} per {noun}", words::seconds(1.0 / slow)),
        fast => format!("{fast:.1} {noun}s/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_of_the_tagger_count_pictures() {
        let nouns = ["label", "tag", "tag.probabilities", "cache", "finetune"].map(noun);
        assert_eq!(nouns, ["picture", "picture", "picture", "item", "step"]);
    }

    #[test]
    fn the_pace_of_a_bar_counts_what_this_run_did() {
        let pace = Pace::default();
        assert_eq!(pace.per_second(3, Instant::now()), None);
        pace.begin(140);
        pace.begin(141);
        let (_, begun) = *pace.0.get().unwrap();
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(pace.per_second(140, after(4)), None);
        assert_eq!(pace.per_second(142, after(4)), Some(0.5));
    }

    #[test]
    fn a_pace_is_told_once_there_is_one() {
        let told = |done, seconds| pace(done, 101, Duration::from_secs(seconds), "picture");
        assert_eq!(told(1, 0), "");
        assert_eq!(told(41, 20), ", 2.0 pictures/s, 30 s left");
        assert_eq!(told(2, 150), ", 2 min 30 s per picture, 4 h 07 min left");
    }
}
