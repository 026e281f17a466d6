//! The store as a whole, for people: what takes room, what is damaged, what goes.

use std::{collections::BTreeMap, fmt::Write};

use super::theme;
use crate::{
    base::{bytes, plural},
    pipeline::housekeeping::{
        Bundle, Collected, Finding, Imported, Removed, Usage, UsedBy, Verified,
    },
};

/// Lines of a list that are shown.
const MOST: usize = 20;

/// What takes room: a line each.
#[must_use]
pub fn used(usage: &Usage) -> String {
    let mut rows: Vec<(String, String, &UsedBy)> = Vec::new();
    for row in &usage.outputs {
        let what = match &row.stage {
            Some(stage) => sort(stage, &row.sort),
            None => format!("{}, of no stage now", sort(&row.kind, &row.sort)),
        };
        rows.push((what, plural(row.count, "item"), row));
    }
    let rest = [
        ("states of trainings", "state", &usage.states),
        ("large files in the making", "file", &usage.scratch),
        ("objects that no record names", "file", &usage.unnamed),
        ("thumbnails and the like", "file", &usage.derived),
        ("damaged files", "file", &usage.damaged),
        ("records and logs", "file", &usage.records),
    ];
    for (what, noun, row) in rest.into_iter().filter(|(.., row)| row.count > 0) {
        rows.push((what.to_owned(), plural(row.count, noun), row));
    }
    let width = rows.iter().map(|(what, ..)| what.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (what, count, row) in &rows {
        let line = format!("{:>10}  {what:<width$}  {count}", bytes(row.bytes));
        let needed = row.stage.is_some() || row.kind.is_empty();
        text += &if needed { line } else { theme::faint(line) };
        text.push('\n');
    }
    let unneeded = usage.outputs.iter().filter(|row| row.stage.is_none()).count() > 0;
    let _ = write!(text, "\n{} in {}", theme::strong(bytes(usage.bytes)), usage.store.display());
    if unneeded {
        text += "; `fluxpipe cache gc --dry-run` lists what nothing needs now";
    }
    text + "\n"
}

/// `cache, latent`; the stage alone where that says it.
fn sort(stage: &str, sort: &str) -> String {
    match (stage, sort) {
        ("", "") => "of a recipe that is lost".to_owned(),
        (stage, sort) if stage == sort || sort.is_empty() => stage.to_owned(),
        (stage, sort) => format!("{stage}, {sort}"),
    }
}

/// What is damaged, and what that costs.
#[must_use]
pub fn verified(verified: &Verified) -> String {
    let mut text = String::new();
    let damaged = plural(verified.damaged.len(), "damaged file");
    text += &list(&damaged, &verified.damaged, theme::bad);
    let missing = plural(verified.missing.len(), "stored output");
    text += &list(&format!("{missing} gone"), &verified.missing, theme::bad);
    let unnamed = plural(verified.unnamed.len(), "object");
    let unnamed = format!("{unnamed} that no record names; `fluxpipe cache gc` removes them");
    text += &list(&unnamed, &verified.unnamed, theme::faint);
    let (objects, seconds) = (plural(verified.objects, "object"), verified.seconds);
    let compared = format!("{objects}, {}, compared in {seconds:.1} s", bytes(verified.bytes));
    let result = match (verified.damaged.len() + verified.missing.len(), verified.repaired) {
        (0, _) => theme::good("all are what they were"),
        (_, true) => "what is damaged was moved away, and the next run makes it again".to_owned(),
        (_, false) => "--repair moves what is damaged out of the way".to_owned(),
    };
    text + &format!("{compared}: {result}\n")
}

fn list(title: &str, findings: &[Finding], colour: fn(String) -> String) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let mut text = colour(format!("{title}:")) + "\n";
    for finding in findings.iter().take(MOST) {
        let _ = writeln!(text, "  {}  {}", finding.what, finding.path.display());
        let _ = writeln!(text, "    {}", theme::faint(&finding.loss));
        if let Some(moved) = &finding.moved {
            let _ = writeln!(text, "    {}", theme::faint(format!("moved to {}", moved.display())));
        }
    }
    text + &more(findings.len())
}

fn more(count: usize) -> String {
    match count.checked_sub(MOST) {
        Some(more @ 1..) => format!("  and {more} more; --json lists all\n"),
        _ => String::new(),
    }
}

/// What goes, or would go.
#[must_use]
pub fn collected(collected: &Collected) -> String {
    let mut text = String::new();
    let mut sorts: BTreeMap<(&str, String), Vec<&Removed>> = BTreeMap::new();
    for removed in &collected.removed {
        let sort = match removed.what {
            "item" => sort(&removed.kind, &removed.sort),
            _ => String::new(),
        };
        sorts.entry((removed.what, sort)).or_default().push(removed);
    }
    for ((what, sort), all) in &sorts {
        let title = match *what {
            "item" => format!("{sort}: {}", plural(all.len(), "item")),
            "object" => plural(all.len(), "object") + " that no record names",
            "state" => plural(all.len(), "state") + " of trainings",
            "scratch" => plural(all.len(), "folder") + " of files in the making",
            _ => plural(all.len(), "damaged file"),
        };
        let size = bytes(all.iter().map(|removed| removed.bytes).sum());
        let seconds: f64 = all.iter().filter_map(|removed| removed.seconds).sum();
        let cost =
            if *what == "item" { format!(", {seconds:.1} s to make") } else { String::new() };
        let _ = writeln!(text, "{size:>10}  {}{}", title, theme::faint(cost));
        let shown = if collected.dry_run { all.as_slice() } else { &[] };
        for removed in shown.iter().take(MOST) {
            let name = if removed.item.is_empty() { &removed.sort } else { &removed.item };
            let made = removed.made.as_ref().map_or("", |made| made.get(..10).unwrap_or(made));
            let line = format!("{:>10}    {name}  {made}", bytes(removed.bytes));
            let _ = writeln!(text, "{}", theme::faint(line.trim_end()));
        }
        text += &more(shown.len());
    }
    if !collected.waiting.is_empty() {
        let stages = collected.waiting.join(", ");
        let _ = writeln!(
            text,
            "states and files in the making stay: what {stages} will need is not known yet"
        );
    }
    let (freed, after) = (bytes(collected.bytes), bytes(collected.after));
    text + &match (collected.removed.is_empty(), collected.dry_run) {
        (true, _) => format!("nothing to remove; the store has {after}\n"),
        (false, true) => format!("{freed} would be removed, {after} would be left\n"),
        (false, false) => format!("removed {freed}; the store has {after}\n"),
    }
}

/// What was written to a bundle.
#[must_use]
pub fn exported(bundle: &Bundle) -> String {
    let (items, files) = (plural(bundle.items, "item"), plural(bundle.objects, "file"));
    let stages = bundle.stages.join(", ");
    format!("wrote {items} of {stages}: {files}, {}\n", bytes(bundle.bytes))
}

/// What came of a bundle.
#[must_use]
pub fn bundle_imported(imported: &Imported) -> String {
    let Imported { bundle, new, known } = imported;
    let stages = bundle.stages.join(", ");
    format!("added {} of {stages}; {known} were there already\n", plural(*new, "item"))
}
