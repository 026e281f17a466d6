//! The runs of a project as people and programs read them: the list, one in full, and what two of them
//! made differently.

use schemars::JsonSchema;
use serde::Serialize;

use super::{theme, why::file_list, words};
use crate::{
    base::{clock, plural},
    manifest::Setting,
    pipeline::{
        BlessedStage, Cause, Difference, Origin, PastReason, PastRun, PastStage, RunOutcome,
        StageDifference,
    },
};

/// The runs of a project, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunList {
    /// Version of this layout.
    pub version: u32,
    /// The manifest, as the command line names it.
    pub manifest: String,
    /// The runs.
    pub runs: Vec<PastRun>,
    /// How many older ones are not listed.
    pub more: usize,
    /// What was accepted by hand, the latest first.
    pub blessed: Vec<BlessedStage>,
}

/// One run in full.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunTold {
    /// Version of this layout.
    pub version: u32,
    /// The run.
    pub run: PastRun,
}

/// What two runs made differently.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunDifference {
    /// Version of this layout.
    pub version: u32,
    /// Id of the earlier run.
    pub old: String,
    /// Id of the later run.
    pub new: String,
    /// What their manifests say differently; `null` where one of them is not kept.
    pub manifest: Option<ManifestDifference>,
    /// Each stage of either run, in order.
    pub stages: Vec<StageDifference>,
}

/// What the manifests of two runs say differently.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ManifestDifference {
    /// The values that differ.
    pub settings: Vec<Setting>,
    /// What the command lines set instead; `null` where they agree.
    pub set: Option<SetDifference>,
}

/// What two command lines set instead of what the manifest says, as `PATH=VALUE`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SetDifference {
    /// That of the earlier run.
    pub old: Vec<String>,
    /// That of the later run.
    pub new: Vec<String>,
}

impl RunList {
    /// The list of these runs, of `all` that there are.
    #[must_use]
    pub fn new(
        manifest: String,
        runs: Vec<PastRun>,
        all: usize,
        mut blessed: Vec<BlessedStage>,
    ) -> Self {
        let more = all.saturating_sub(runs.len());
        blessed.reverse();
        Self { version: 1, manifest, runs, more, blessed }
    }

    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        if self.runs.is_empty() {
            return format!("nothing ran yet: `fluxpipe run {}` runs it\n", self.manifest);
        }
        let rows = self.runs.iter().enumerate().map(|(place, run)| {
            let number = (place + 1).to_string();
            [number, began(run), word(run.outcome).to_owned(), took(run), did(run)]
        });
        let rows = rows.collect::<Vec<_>>();
        let width =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        let mut text = String::new();
        for (run, [number, began, outcome, took, did]) in self.runs.iter().zip(&rows) {
            let number = theme::strong(format!("{number:>0$}", widths[0]));
            let outcome = coloured(run.outcome, format!("{outcome:<0$}", widths[2]));
            let line = format!(
                "{number}  {began:<0$}  {outcome}  {took:>1$}  {did}",
                widths[1], widths[3]
            );
            text += line.trim_end();
            text.push('\n');
        }
        if self.more > 0 {
            text += &format!("and {} (-n 0 lists all)\n", plural(self.more, "older run"));
        }
        for blessed in &self.blessed {
            text +=
                &format!("{}: {}\n", theme::strong(&blessed.stage), super::plan::blessed(blessed));
        }
        let hint =
            format!("\n`fluxpipe log show {} 1` tells the last one in full\n", self.manifest);
        text + &theme::faint(hint)
    }
}

fn began(run: &PastRun) -> String {
    run.began.map_or_else(|| run.id.clone(), clock::local)
}

fn word(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Done => "done",
        RunOutcome::Idle => "nothing to do",
        RunOutcome::Failed => "failed",
        RunOutcome::Stopped => "stopped",
        RunOutcome::Open => "no end",
    }
}

fn coloured(outcome: RunOutcome, text: String) -> String {
    match outcome {
        RunOutcome::Done => theme::good(text),
        RunOutcome::Idle => theme::faint(text),
        RunOutcome::Failed => theme::bad(text),
        RunOutcome::Stopped | RunOutcome::Open => theme::busy(text),
    }
}

fn took(run: &PastRun) -> String {
    run.seconds.map_or_else(String::new, words::seconds)
}

/// `label 5 · cache 1 of 10 · reused 17`.
fn did(run: &PastRun) -> String {
    let mut said = Vec::new();
    let (mut reused, mut kept) = (0, 0);
    for stage in &run.stages {
        let name = &stage.name;
        match stage.tally {
            Some(tally) => {
                reused += tally.reused;
                kept += tally.kept;
                match (tally.run, tally.total) {
                    (0, _) => {}
                    (run, total) if run == total => said.push(format!("{name} {run}")),
                    (run, total) => said.push(format!("{name} {run} of {total}")),
                }
                if tally.failed > 0 {
                    said.push(theme::bad(format!("{name} left out {}", tally.failed)));
                }
            }
            None if stage.decided.run > 0 => {
                said.push(theme::busy(format!("{name} began {}", stage.decided.run)));
            }
            None => {}
        }
        if stage.error.is_some() {
            said.push(theme::bad(format!("{name} failed")));
        }
    }
    if reused > 0 {
        said.push(theme::faint(format!("reused {reused}")));
    }
    if kept > 0 {
        said.push(theme::faint(format!("kept {kept}")));
    }
    said.join(" · ")
}

impl RunTold {
    /// One run.
    #[must_use]
    pub fn new(run: PastRun) -> Self {
        Self { version: 1, run }
    }

    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let run = &self.run;
        let mut text = format!("{}\n", theme::strong(words::run(&run.id)));
        let mut line = |name: &str, value: String| text += &format!("  {name:<9} {value}\n");
        let took =
            run.seconds.map_or_else(String::new, |s| format!(", took {}", words::seconds(s)));
        let end = match run.outcome {
            RunOutcome::Open => "no end: it was killed, or goes on still",
            outcome => word(outcome),
        };
        line("outcome", format!("{}{took}", coloured(run.outcome, end.to_owned())));
        line("fluxpipe", run.version.clone());
        if let Some(asked) = &run.asked {
            let digest = theme::faint(format!("digest {}", asked.digest.short()));
            line("manifest", format!("{} ({digest})", asked.manifest.display()));
            for set in &asked.set {
                line("--set", set.clone());
            }
        }
        text.push('\n');
        let names = run.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
        for stage in &run.stages {
            let name = theme::strong(format!("{:<names$}", stage.name));
            text += &format!("{name}  {}\n", counts(stage));
            details(stage).iter().for_each(|detail| text += &format!("    {detail}\n"));
        }
        text
    }
}

/// `ran 1, reused 4, in 1.2 s`.
fn counts(stage: &PastStage) -> String {
    let Some(tally) = stage.tally else {
        return match &stage.skipped {
            Some(because) => format!("skipped, since {because} failed"),
            None => format!("no end; {} were to run", plural(stage.decided.run, "item")),
        };
    };
    let said = [
        (tally.run, "ran"),
        (tally.reused, "reused"),
        (tally.kept, "kept"),
        (tally.failed, "left out"),
        (tally.left, "not reached"),
    ];
    let said = said.into_iter().filter(|(count, _)| *count > 0);
    let said = said.map(|(count, word)| format!("{word} {count}")).collect::<Vec<_>>();
    let said = if said.is_empty() { "no items".to_owned() } else { said.join(" · ") };
    format!("{said}  {}", theme::faint(words::seconds(stage.seconds)))
}

fn details(stage: &PastStage) -> Vec<String> {
    let mut lines = stage.reasons.iter().map(reason).collect::<Vec<_>>();
    if stage.more_reasons > 0 {
        lines.push(format!("and {}", plural(stage.more_reasons, "more reason")));
    }
    lines.extend(stage.chosen.iter().cloned());
    lines.extend(stage.resumed.map(|(done, total)| format!("went on from step {done} of {total}")));
    lines.extend(stage.warnings.iter().map(|w| theme::busy(format!("! {}", w.message))));
    lines.extend(stage.error.iter().map(|error| theme::bad(format!("failed: {}", error.message))));
    lines
}

/// Why items ran, as the run itself knew it.
fn reason(reason: &PastReason) -> String {
    let said = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "nothing".to_owned(),
        serde_json::Value::String(text) => short(text),
        other => words::value(&other.clone().into()),
    };
    let examples = match reason.items.saturating_sub(reason.examples.len()) {
        0 => reason.examples.join(", "),
        more => format!("{} and {more} more", reason.examples.join(", ")),
    };
    let part = &reason.part;
    let changed = match (&reason.old, &reason.new) {
        (serde_json::Value::Null, serde_json::Value::Null) => part.clone(),
        (old, new) => format!("{part} {} → {}", said(old), said(new)),
    };
    let at = |origin: &Option<Origin>| match origin {
        Some(Origin::Manifest { path, .. }) => path.clone(),
        Some(Origin::File(path) | Origin::Model(path)) => path.display().to_string(),
        Some(Origin::Code(why)) => why.clone(),
        Some(Origin::Upstream { stage, .. }) => stage.clone(),
        None => String::new(),
    };
    let at = at(&reason.at);
    match reason.origin {
        Cause::New => format!("new: {examples}"),
        Cause::Lost => format!("gone from the store: {examples}"),
        Cause::Forced => format!("--force: {examples}"),
        Cause::Manifest => format!("{changed} ({at}): {examples}"),
        Cause::File => format!("~ {at} ({part}): {examples}"),
        Cause::Model => format!("~ {at} is another file ({part})"),
        Cause::Code => format!("fluxpipe itself: {changed}: {at}"),
        Cause::Upstream => format!("{at} made something else ({part}): {examples}"),
        Cause::Follows => format!("follows {at}"),
    }
}

/// Digests are told by their beginning.
fn short(text: &str) -> String {
    match text.parse::<crate::base::Digest>() {
        Ok(digest) => digest.short(),
        Err(_) => format!("{text:?}"),
    }
}

impl RunDifference {
    /// The difference of two runs.
    #[must_use]
    pub fn new(
        old: &PastRun,
        new: &PastRun,
        manifest: Option<ManifestDifference>,
        stages: Vec<StageDifference>,
    ) -> Self {
        Self { version: 1, old: old.id.clone(), new: new.id.clone(), manifest, stages }
    }

    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("- {}\n+ {}\n\n", words::run(&self.old), words::run(&self.new));
        text += &manifest(self.manifest.as_ref());
        let unknown = self.stages.iter().filter(|stage| !stage.known);
        let unknown = unknown.map(|stage| stage.stage.as_str()).collect::<Vec<_>>();
        let mut root = true;
        for stage in &self.stages {
            let Some(items) = &stage.items else { continue };
            let heading = theme::strong(&stage.stage);
            text += &format!("\n{}\n", file_list(items, &heading, "between them"));
            if let Some(first) = &stage.first {
                let which = if root { "the first item that differs" } else { "its first" };
                let recipe = if first.recipe == stage.stage {
                    String::new()
                } else {
                    format!(" ({})", first.recipe)
                };
                text += &format!("  {which}: {}{recipe}\n", first.item);
                root = false;
                first.differences.iter().for_each(|one| text += &format!("    {}\n", part(one)));
                if let Some(list) = &first.files {
                    let list = file_list(list, &list.of, "between them");
                    list.lines().for_each(|line| text += &format!("    {line}\n"));
                }
                if first.differences.is_empty() && first.files.is_none() {
                    text += "    what one of its keys was made of is not in the store any more\n";
                }
            }
        }
        if self.stages.iter().all(|stage| stage.known && stage.items.is_none()) {
            text += &format!("\n{}\n", theme::good("after both runs every item has the same key"));
        }
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            text += &theme::faint(format!(
                "\nnot compared: {unknown} (it had not run by then, or a version ran it that kept no keys)\n"
            ));
        }
        text
    }
}

fn manifest(difference: Option<&ManifestDifference>) -> String {
    let Some(difference) = difference else {
        return "the manifest of one of the runs is not kept\n".to_owned();
    };
    if difference.settings.is_empty() && difference.set.is_none() {
        return "the manifest says the same\n".to_owned();
    }
    let mut text = "the manifest:\n".to_owned();
    for Setting { path, old, new } in &difference.settings {
        text += &match (old, new) {
            (None, Some(new)) => format!("  + {path} = {new}\n"),
            (Some(old), None) => format!("  - {path} = {old}\n"),
            (old, new) => {
                let said = |value: &Option<String>| value.clone().unwrap_or_default();
                format!("  ~ {path} {} → {}\n", said(old), said(new))
            }
        };
    }
    if let Some(SetDifference { old, new }) = &difference.set {
        let said =
            |set: &[String]| if set.is_empty() { "nothing".to_owned() } else { set.join(" ") };
        text += &format!("  --set {} → {}\n", said(old), said(new));
    }
    text
}

/// A part that differs, on one line.
fn part(difference: &Difference) -> String {
    let Difference { part, origin, old, new, .. } = difference;
    let changed = super::plan::change(part, old.as_ref(), new.as_ref());
    match origin {
        Origin::Manifest { path, .. } => format!("{changed} ({path})"),
        Origin::File(path) => format!("~ {} ({part})", path.display()),
        Origin::Model(path) => format!("~ {} is another file: {changed}", path.display()),
        Origin::Code(why) if why.is_empty() => format!("fluxpipe itself: {changed}"),
        Origin::Code(why) => format!("fluxpipe itself: {changed}: {why}"),
        Origin::Upstream { stage, item } => format!("{stage} made {item} differently ({part})"),
    }
}
