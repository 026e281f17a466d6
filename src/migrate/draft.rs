//! The manifest in the making: its lines, and from which flags they came. What the reader of manifests refuses
//! is taken out again, so that its rules say what has no effect and what cannot be; they are not repeated here.

use std::path::Path;

use miette::Diagnostic;

use super::{
    Verdict,
    finding::{Findings, Id},
    wrap::commented,
};
use crate::manifest::{Manifest, ManifestError, Mistake};

/// The table and key that a line of the text is of.
type Place = Option<(usize, Option<usize>)>;

/// A default that is written out: whose it is, of which flag, and why.
type Assumed = (String, String, String);

/// Columns of a line before its comment, and of all of it.
const BEFORE_COMMENT: usize = 34;
const WIDTH: usize = 100;

#[derive(Default)]
pub(super) struct Draft {
    tables: Vec<Table>,
}

struct Table {
    /// Dotted path: `stages.finetune`, `dataset.0`.
    path: String,
    comment: Vec<String>,
    lines: Vec<Line>,
}

/// One key of the manifest.
pub(super) struct Line {
    key: String,
    value: String,
    comment: String,
    /// The flags that it comes from.
    ids: Vec<Id>,
    /// What stands there for the original's default: the program, the flag or words for it, and why.
    default: Option<Assumed>,
    /// What the key is where its value is refused; without one the line goes.
    fallback: Option<String>,
}

impl Line {
    /// A line that the user's flag asks for.
    pub(super) fn of(value: impl Into<String>, id: Id) -> Self {
        let value = value.into();
        Self {
            key: String::new(),
            value,
            comment: String::new(),
            ids: vec![id],
            default: None,
            fallback: None,
        }
    }

    /// A line for what the script does not say.
    pub(super) fn default(value: impl Into<String>, from: &str, flag: &str, because: &str) -> Self {
        let default = Some((from.to_owned(), flag.to_owned(), because.to_owned()));
        let value = value.into();
        Self {
            key: String::new(),
            value,
            comment: String::new(),
            ids: Vec::new(),
            default,
            fallback: None,
        }
    }

    pub(super) fn comment(self, comment: impl Into<String>) -> Self {
        let comment: String = comment.into();
        Self { comment: comment.replace(char::is_control, " "), ..self }
    }

    pub(super) fn fallback(self, value: &str) -> Self {
        Self { fallback: Some(value.to_owned()), ..self }
    }

    pub(super) fn and(mut self, id: Id) -> Self {
        self.ids.push(id);
        self
    }
}

/// Tables in the order of a manifest.
fn rank(path: &str) -> usize {
    const ORDER: [&str; 9] = [
        "project",
        "models",
        "dataset",
        "stages.label",
        "stages.tag",
        "stages.merge",
        "stages.cache",
        "stages.finetune",
        "stages.finetune.samples",
    ];
    let name = if path.starts_with("dataset.") { "dataset" } else { path };
    ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
}

impl Draft {
    /// Begins a table, where it is not there.
    pub(super) fn table(&mut self, path: &str, comment: &[&str]) {
        if self.has(path) {
            return;
        }
        let comment = comment.iter().map(|line| (*line).to_owned()).collect();
        self.tables.push(Table { path: path.to_owned(), comment, lines: Vec::new() });
        self.tables.sort_by_key(|table| rank(&table.path));
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.tables.iter().any(|table| table.path == path)
    }

    /// Takes a table out, and gives the flags that its lines came from.
    pub(super) fn drop(&mut self, path: &str) -> Vec<Id> {
        let at = self.tables.iter().position(|table| table.path == path);
        let lines = at.map(|at| self.tables.remove(at).lines).unwrap_or_default();
        lines.into_iter().flat_map(|line| line.ids).collect()
    }

    /// Sets `stages.finetune.learning_rate`, in a table that is there. A key that is set again counts anew.
    pub(super) fn set(&mut self, path: &str, line: Line) {
        let (table, key) = split(path);
        let Some(table) = self.tables.iter_mut().find(|known| known.path == table) else { return };
        let line = Line { key: key.to_owned(), ..line };
        match table.lines.iter_mut().find(|old| old.key == key) {
            Some(old) => *old = line,
            None => table.lines.push(line),
        }
    }

    /// The value at a path.
    pub(super) fn get(&self, path: &str) -> Option<&str> {
        let (table, key) = split(path);
        let table = self.tables.iter().find(|known| known.path == table)?;
        table.lines.iter().find(|line| line.key == key).map(|line| line.value.as_str())
    }

    /// One more flag that a line answers.
    pub(super) fn attach(&mut self, path: &str, id: Id) {
        let (table, key) = split(path);
        let table = self.tables.iter_mut().find(|known| known.path == table);
        if let Some(line) =
            table.and_then(|table| table.lines.iter_mut().find(|line| line.key == key))
        {
            line.ids.push(id);
        }
    }

    /// Takes out what the reader of manifests refuses, until it refuses nothing.
    pub(super) fn judge(&mut self, manifest: &Path, findings: &mut Findings) {
        // Each round takes a line out, or its value, which is done once.
        let most = 2 * self.tables.iter().map(|table| table.lines.len() + 1).sum::<usize>();
        for _ in 0..most {
            let (text, places) = self.written(findings);
            let Err(errors) = Manifest::parse(manifest, &text) else { return };
            let error =
                errors.errors.iter().find_map(|error| Some((error, place(error, &text, &places)?)));
            match error {
                Some((error, (table, Some(line)))) => self.refuse(table, line, error, findings),
                Some((error, (table, None)))
                    if self.tables[table].path == "stages.finetune.samples" =>
                {
                    let refused = self.tables.remove(table);
                    let ids = refused.lines.iter().flat_map(|line| line.ids.iter().copied());
                    ids.for_each(|id| say(id, error, findings));
                }
                _ => return,
            }
        }
    }

    fn refuse(
        &mut self,
        table: usize,
        line: usize,
        error: &ManifestError,
        findings: &mut Findings,
    ) {
        let table = &mut self.tables[table];
        let refused = &mut table.lines[line];
        let ids = std::mem::take(&mut refused.ids);
        match refused.fallback.take().filter(|value| *value != refused.value) {
            Some(value) => {
                for id in &ids {
                    say(*id, error, findings);
                    let key = &refused.key;
                    findings.advise(*id, &format!("the manifest says {key} = {value}: look at it"));
                }
                refused.value = value;
                refused.comment = "look at this".to_owned();
            }
            None => {
                ids.iter().for_each(|id| say(*id, error, findings));
                table.lines.remove(line);
            }
        }
    }

    /// Tells the findings which lines there are for them, and adds one for each default that is written out.
    pub(super) fn tell(&self, findings: &mut Findings) {
        let mut defaults: Vec<(&Assumed, Vec<String>)> = Vec::new();
        for table in &self.tables {
            for line in &table.lines {
                let said = format!("{}.{} = {}", shown(&table.path), line.key, line.value);
                for id in &line.ids {
                    let finding = findings.get_mut(*id);
                    finding.verdict = Verdict::TakenOver;
                    if !finding.manifest.contains(&said) {
                        finding.manifest.push(said.clone());
                    }
                }
                let Some(default) = &line.default else { continue };
                match defaults.iter_mut().find(|(known, _)| *known == default) {
                    Some((_, lines)) if lines.contains(&said) => {}
                    Some((_, lines)) => lines.push(said),
                    None => defaults.push((default, vec![said])),
                }
            }
        }
        for ((from, flag, because), lines) in defaults {
            let id = findings.add(from, flag, None, None);
            findings.say(id, Verdict::WrittenOut, because, "");
            findings.get_mut(id).manifest = lines;
        }
    }

    /// The text, and for each of its lines the table and key that it is of.
    pub(super) fn written(&self, findings: &Findings) -> (String, Vec<Place>) {
        let (mut text, mut places) = (String::new(), Vec::new());
        let mut put = |line: &str, place| {
            text += line;
            text.push('\n');
            places.push(place);
        };
        for (index, table) in self.tables.iter().enumerate() {
            if index > 0 {
                put("", None);
            }
            table
                .comment
                .iter()
                .flat_map(|line| commented(line, WIDTH))
                .for_each(|line| put(&line, None));
            put(&header(&table.path), Some((index, None)));
            for (number, line) in table.lines.iter().enumerate() {
                let remarks = line.ids.iter().filter_map(|id| findings.get(*id).because.as_deref());
                for remark in remarks.flat_map(|remark| commented(remark, WIDTH)) {
                    put(&remark, None);
                }
                put(&line.text(), Some((index, Some(number))));
            }
        }
        (text, places)
    }
}

impl Line {
    fn text(&self) -> String {
        let said = format!("{} = {}", self.key, self.value);
        let comment = match (&self.default, self.comment.is_empty()) {
            (_, false) => self.comment.clone(),
            (Some((_, flag, _)), true) if flag.starts_with("--") || !flag.contains(' ') => {
                "the original's default".to_owned()
            }
            (Some((.., because)), true) => because.clone(),
            (None, true) => return said,
        };
        let apart = if said.chars().count() < BEFORE_COMMENT { "" } else { "  " };
        format!("{said:<BEFORE_COMMENT$}{apart}# {comment}")
    }
}

fn split(path: &str) -> (&str, &str) {
    // Arguments of the optimizer are one key each, with a dot in it.
    match path.split_once(".optimizer_args.") {
        Some((table, _)) => (table, &path[table.len() + 1..]),
        None => path.rsplit_once('.').unwrap_or(("", path)),
    }
}

fn header(path: &str) -> String {
    if path.starts_with("dataset.") { "[[dataset]]".to_owned() } else { format!("[{path}]") }
}

/// `dataset.0` is told as the first.
fn shown(path: &str) -> String {
    match path.strip_prefix("dataset.").and_then(|index| index.parse::<usize>().ok()) {
        Some(index) => format!("dataset[{}]", index + 1),
        None => path.to_owned(),
    }
}

/// The table and line that a mistake points at.
fn place(error: &ManifestError, text: &str, places: &[Place]) -> Place {
    let before = text.as_bytes().get(..error.span()?.start)?;
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    places.get(line).copied().flatten()
}

/// What the reader says is what the listing says.
fn say(id: Id, error: &ManifestError, findings: &mut Findings) {
    // A remark on a line that is not there any more is no reason.
    findings.get_mut(id).because = None;
    match &error.mistake {
        Mistake::NoEffect { reason, .. } => findings.say(id, Verdict::NoEffect, reason, ""),
        other => {
            let help = error.help().map(|help| help.to_string()).unwrap_or_default();
            findings.say(id, Verdict::NotSupported, &other.to_string(), &help);
        }
    }
}
