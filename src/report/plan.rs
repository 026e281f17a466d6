//! A plan as a table: what would run, and why.

use super::{Places, theme, words};
use crate::{
    base::{Value, plural},
    pipeline::{
        BlessedStage, Cause, ItemState, Origin, Plan, Range, Reason, StageCost, StagePlan,
        StageState, Warning,
    },
};

/// Whether a run would do anything.
#[must_use]
pub fn has_work(plan: &Plan) -> bool {
    selected(plan).any(|stage| stage.counts.run > 0 || stage.publishes > 0)
}

/// The table: a line per stage, its reasons below, and what a run would do at the end.
///
/// Notes of a stage stand below its reasons, one line each; with `verbose` with all their lines.
#[must_use]
pub fn plan(plan: &Plan, places: Places<'_>, verbose: bool) -> String {
    let column = |text: fn(&StagePlan) -> &str| {
        plan.stages.iter().map(|stage| text(stage).chars().count()).max().unwrap_or(0)
    };
    let names = column(|stage| &stage.name);
    // Where every stage is called after its kind, a second column would say nothing.
    let kinds = if plan.stages.iter().any(|stage| stage.kind != stage.name) {
        column(|stage| &stage.kind)
    } else {
        0
    };
    let mut text = String::new();
    for stage in &plan.stages {
        let name = theme::strong(format!("{:<names$}", stage.name));
        let kind = if kinds > 0 { format!("  {:<kinds$}", stage.kind) } else { String::new() };
        let word = word(stage.state);
        let state = theme::state(word, format!("{word:<7}"));
        let line = format!("{name}{kind}  {state}  {}", counts(stage));
        text += line.trim_end();
        text.push('\n');
        for reason in reasons(stage, places) {
            text += &format!("    {reason}\n");
        }
        for blessed in &stage.blessed {
            text += &format!("    {}\n", self::blessed(blessed));
        }
        if !stage.writes_over.is_empty() {
            let paths = stage.writes_over.iter().map(|path| path.display().to_string());
            let paths = paths.collect::<Vec<_>>();
            let paths = few(&paths.iter().map(String::as_str).collect::<Vec<_>>(), paths.len());
            text += &format!("    writes over {paths}: what was changed by hand there is lost\n");
        }
        for line in stage.cost.iter().filter_map(cost) {
            text += &format!("    {line}\n");
        }
        for note in &stage.notes {
            text += &format!("    {}\n", theme::faint(&note.text));
            for line in note.details.iter().filter(|_| verbose) {
                text += &format!("      {}\n", theme::faint(line));
            }
        }
        for warning in &stage.warnings {
            text += &self::warning(warning, "    ");
        }
    }
    text + "\n" + &closing(plan, places) + "\n" + &total(plan)
}

fn selected(plan: &Plan) -> impl Iterator<Item = &StagePlan> {
    plan.stages.iter().filter(|stage| stage.selected)
}

/// The state's word, as in `plan --json`.
pub(super) fn word(state: StageState) -> &'static str {
    match state {
        StageState::Fresh => "fresh",
        StageState::Partial => "partial",
        StageState::Stale => "stale",
        StageState::New => "new",
    }
}

/// `reuse 11 · run 1 · kept 1 (edited by hand)`.
fn counts(stage: &StagePlan) -> String {
    let counts = stage.counts;
    let said = [
        (counts.reuse, format!("reuse {}", counts.reuse)),
        (counts.run, theme::busy(format!("run {}{}", at_most(stage), counts.run))),
        (counts.kept, format!("kept {} ({})", counts.kept, kept_why(stage))),
        (counts.failed, theme::bad(format!("failed {} (left out)", counts.failed))),
        (stage.publishes, theme::busy(format!("writes {}", plural(stage.publishes, "file")))),
    ];
    let said = said.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text);
    let mut said = said.collect::<Vec<_>>();
    if said.is_empty() {
        said.push("no items".to_owned());
    }
    if !stage.selected {
        said.push(theme::faint("not selected"));
    }
    said.join(" · ")
}

/// `blessed: the new file is the old one, renamed (10 items, 2026-11-25T14:03:00Z)`.
pub(super) fn blessed(blessed: &BlessedStage) -> String {
    let BlessedStage { reason, at, items, .. } = blessed;
    theme::busy(format!("blessed: {reason} ({}, {at})", plural(*items, "item")))
}

/// Items that wait for what others make may come out as ones that are there, or as each other.
fn at_most(stage: &StagePlan) -> &'static str {
    if stage.counts.run > 1 && stage.pending > 0 { "at most " } else { "" }
}

/// The stage's own words for it, where its kept items agree.
fn kept_why(stage: &StagePlan) -> &str {
    let mut given = stage.decisions.iter().filter_map(|decision| decision.spec.given.as_ref());
    let first = given.next().map_or("given by hand", |given| given.why);
    let word = if given.all(|given| given.why == first) { first } else { "given by hand" };
    word.trim_end_matches(", kept")
}

/// One line per reason: root causes first, then what merely follows.
fn reasons(stage: &StagePlan, places: Places<'_>) -> Vec<String> {
    if !stage.selected {
        return Vec::new();
    }
    // The state's word says it already.
    let said = |reason: &&Reason| stage.state != StageState::New || reason.origin != Cause::New;
    let reasons: Vec<Reason> = stage.reasons.iter().filter(said).cloned().collect();
    reason_lines(&reasons, stage.counts.run, stage.more_reasons, places)
}

/// The same of any reasons of so many items.
pub(super) fn reason_lines(
    reasons: &[Reason],
    items: usize,
    more: usize,
    places: Places<'_>,
) -> Vec<String> {
    let of = |causes: &'static [Cause]| {
        reasons.iter().filter(move |reason| causes.contains(&reason.origin))
    };
    let own = reasons.iter().filter_map(|reason| root(items, reason, places));
    let mut lines = own.collect::<Vec<_>>();
    lines.extend(upstream(of(&[Cause::Upstream])));
    let mut followed = Vec::new();
    for reason in of(&[Cause::Follows]) {
        if let Some(Origin::Upstream { stage, .. }) = &reason.at
            && !followed.contains(stage)
        {
            followed.push(stage.clone());
        }
    }
    if !followed.is_empty() {
        lines.push(theme::faint(format!("follows {}", followed.join(", "))));
    }
    if more > 0 {
        lines.push(theme::faint(format!("and {}", plural(more, "more reason"))));
    }
    lines
}

/// What needed stages made anew, added or dropped, a line for each of these. A stage that reads all
/// items of another has a reason for each of them.
fn upstream<'a>(reasons: impl Iterator<Item = &'a Reason>) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for reason in reasons {
        let Some(Origin::Upstream { stage, .. }) = &reason.at else { continue };
        let start = match (&reason.old, &reason.new) {
            (Some(_), None) => format!("- from {stage}: "),
            (None, Some(_)) => format!("+ from {stage}: "),
            _ => format!("~ from {stage}: "),
        };
        match lines.iter_mut().find(|(known, _)| *known == start) {
            Some((_, parts)) => parts.push(&reason.part),
            None => lines.push((start, vec![&reason.part])),
        }
    }
    lines.into_iter().map(|(start, parts)| start + &few(&parts, parts.len())).collect()
}

/// `None` of what comes from other stages.
fn root(items: usize, reason: &Reason, places: Places<'_>) -> Option<String> {
    let at = reason.at.as_ref().map(|origin| places.of(origin)).unwrap_or_default();
    let changed = change(&reason.part, reason.old.as_ref(), reason.new.as_ref());
    let (text, names_items) = match reason.origin {
        Cause::New => (format!("+ {}", examples(reason)), true),
        Cause::Lost => (format!("gone from the store: {}", examples(reason)), true),
        Cause::Forced => ("--force".to_owned(), false),
        Cause::Manifest if stated(reason, places) => (format!("{at} {changed}"), false),
        Cause::Manifest => (format!("{changed} (default)"), false),
        Cause::File if reason.items == 1 => (format!("~ {at}"), true),
        Cause::File => (format!("~ {} ({})", examples(reason), reason.part), true),
        Cause::Model => (format!("~ {at} is another file ({})", reason.part), false),
        Cause::Code => (format!("{at}: {changed}{}", code_reason(reason)), false),
        Cause::Upstream | Cause::Follows => return None,
    };
    let all = names_items || reason.items == items;
    let count = if all { String::new() } else { format!(" · {}", plural(reason.items, "item")) };
    Some(text + &count)
}

/// `learning_rate 5e-5 → 1e-4`.
pub(super) fn change(part: &str, old: Option<&Value>, new: Option<&Value>) -> String {
    let said = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), words::value);
    match (old, new) {
        // The items differ among themselves, so there is no one value.
        (None, None) => part.to_owned(),
        _ => format!("{part} {} → {}", said(old), said(new)),
    }
}

/// Whether the manifest or the command line states the value.
fn stated(reason: &Reason, places: Places<'_>) -> bool {
    match &reason.at {
        Some(Origin::Manifest { path, span }) => span.is_some() || places.was_set(path),
        _ => false,
    }
}

fn code_reason(reason: &Reason) -> String {
    match &reason.at {
        Some(Origin::Code(why)) if !why.is_empty() => format!(" ({why})"),
        _ => String::new(),
    }
}

fn examples(reason: &Reason) -> String {
    let ids = reason.examples.iter().map(String::as_str).collect::<Vec<_>>();
    few(&ids, reason.items)
}

/// `writes 12.3 MiB · 1.2 GiB of memory · takes 2 min 05 s to 3 min 10 s (by 2 earlier runs)`
fn cost(cost: &StageCost) -> Option<String> {
    let mut said = Vec::new();
    if cost.bytes > 0 {
        let most = if cost.at_most { "at most " } else { "" };
        said.push(format!("writes {most}{}", words::bytes(cost.bytes)));
        // A tenth more is not worth a word.
        if cost.peak_bytes > cost.bytes + cost.bytes / 10 {
            said.push(format!("{} of disk meanwhile", words::bytes(cost.peak_bytes)));
        }
    }
    let memory = |bytes: Option<u64>| bytes.filter(|&bytes| bytes > 0);
    match (memory(cost.host_memory), memory(cost.device_memory)) {
        (Some(host), Some(device)) => said.push(format!(
            "{} of device memory, {} of the host's",
            words::bytes(device),
            words::bytes(host)
        )),
        (Some(host), None) => said.push(format!("{} of memory", words::bytes(host))),
        (None, Some(device)) => said.push(format!("{} of device memory", words::bytes(device))),
        (None, None) => {}
    }
    said.push(match cost.time {
        Some(time) => {
            let by = plural(time.runs, "earlier run");
            format!("takes {} (by {by} on this device)", range(time))
        }
        None => "time unknown until the first batch".to_owned(),
    });
    // Of a stage of texts there is nothing to say before it ran.
    let silent = cost.bytes == 0 && cost.time.is_none() && said.len() == 1;
    (!silent).then(|| theme::faint(said.join(" · ")))
}

/// `2 min 05 s to 3 min 10 s`; once, where both are told alike.
pub(super) fn range(time: Range) -> String {
    if time.high < 1.0 {
        return "less than a second".to_owned();
    }
    let (low, high) = (words::seconds(time.low), words::seconds(time.high));
    if low == high { format!("about {low}") } else { format!("{low} to {high}") }
}

/// What all of it costs: bytes beside what is free, and time.
fn total(plan: &Plan) -> String {
    let Some(total) = plan.total.as_ref().filter(|_| plan.has_long_work()) else {
        return String::new();
    };
    let mut said = Vec::new();
    let most = if total.at_most { "at most " } else { "" };
    let free = total
        .disk_free
        .map_or_else(String::new, |free| format!(" of {} that are free", words::bytes(free)));
    let meanwhile = match total.peak_bytes > total.bytes + total.bytes / 10 {
        true => format!(" (and {} meanwhile)", words::bytes(total.peak_bytes)),
        false => String::new(),
    };
    said.push(format!("writes {most}{}{meanwhile}{free}", words::bytes(total.bytes)));
    let unknown = || total.time_unknown.join(", ");
    match (total.time, total.time_unknown.is_empty()) {
        (Some(time), true) => said.push(format!("takes {}", range(time))),
        (Some(time), false) => {
            said.push(format!("takes {}, and what {} takes", range(time), unknown()));
        }
        (None, _) => said.push("time unknown until the first batch of each stage".to_owned()),
    }
    format!("{}\n", theme::faint(said.join(" · ")))
}

/// What a user should know, and below it what to do.
pub(super) fn warning(warning: &Warning, indent: &str) -> String {
    let names = warning.examples.iter().map(String::as_str).collect::<Vec<_>>();
    let names = few(&names, warning.items);
    let names = if names.is_empty() { names } else { format!(": {names}") };
    let line = theme::busy(format!("! {}{names}", warning.message));
    let help = warning.help.iter().map(|help| theme::faint(format!("  {help}")));
    let lines = std::iter::once(line).chain(help);
    lines.map(|line| format!("{indent}{line}\n")).collect()
}

/// `a.jpg, b.jpg and 10 more`.
fn few(names: &[&str], total: usize) -> String {
    /// More would make a line that nobody reads.
    const SHOWN: usize = 3;
    let shown = &names[..names.len().min(SHOWN)];
    match total.saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What `fluxpipe run` would do.
fn closing(plan: &Plan, places: Places<'_>) -> String {
    let runs = selected(plan).filter(|stage| stage.counts.run > 0);
    let runs = runs.map(|stage| format!("{} {}{}", stage.name, at_most(stage), stage.counts.run));
    let runs = runs.collect::<Vec<_>>();
    let files = selected(plan).map(|stage| stage.publishes).sum::<usize>();
    let manifest = places.manifest.path.display();
    let run = match &places.manifest.in_place_of {
        // That command would look for its files from another folder, and write to another output.
        Some(own) => format!("in the place of {}, {manifest}", own.display()),
        None => format!("`fluxpipe run {manifest}`"),
    };
    if let Some((stage, needed)) = blocked(plan) {
        return theme::bad(format!(
            "cannot run: {stage} reads what {needed} has still to make; select {needed} too"
        ));
    }
    match (runs.is_empty(), files) {
        (true, 0) => theme::good("nothing to do: everything is up to date"),
        (true, _) => format!("{run} would write {}", plural(files, "file")),
        (false, _) => {
            let total = selected(plan).map(|stage| stage.counts.run).sum::<usize>();
            let most = if selected(plan).any(|stage| !at_most(stage).is_empty()) {
                "at most "
            } else {
                ""
            };
            format!("{run} would run {most}{}: {}", plural(total, "item"), runs.join(", "))
        }
    }
}

/// A selected stage, and one outside the selection that it has to wait for.
fn blocked(plan: &Plan) -> Option<(&str, &str)> {
    let out = plan.stages.iter().filter(|stage| !stage.selected).map(|stage| &stage.name);
    let out = out.collect::<Vec<_>>();
    selected(plan).find_map(|stage| {
        let waits = stage.decisions.iter().find_map(|decision| match &decision.state {
            ItemState::Run { follows, .. } => follows.iter().find(|of| out.contains(&&of.stage)),
            _ => None,
        })?;
        Some((stage.name.as_str(), waits.stage.as_str()))
    })
}
