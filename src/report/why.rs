//! Why an item runs, down to the line of the manifest, the file or the change of the program that
//! made it so; or what it depends on, where it does not run.

use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Severity};

use super::{Look, Places, diag, plan::change, theme};
use crate::{
    base::{Value, plural},
    pipeline::{Account, Against, Cause, Difference, KeyPart, Origin, Why},
};

/// The accounts of a stage's items; equal ones are told once.
#[must_use]
pub fn why(why: &Why, places: Places<'_>, look: Look) -> String {
    let teller = Teller { places, look };
    let mut told: Vec<(Vec<&Account>, String)> = Vec::new();
    for account in &why.items {
        let body = teller.body(account);
        let same = told.iter_mut().find(|(with, text)| {
            *text == body && with.first().is_some_and(|first| first.state == account.state)
        });
        match same {
            Some((accounts, _)) => accounts.push(account),
            None => told.push((vec![account], body)),
        }
    }
    let mut text = String::new();
    for (accounts, body) in &told {
        text += &format!("{}\n{body}\n", heading(why, accounts));
    }
    // What an item depends on is for those who ask about that item alone.
    if let [only] = why.items.as_slice() {
        text += &teller.parts(only);
    }
    if why.items.is_empty() {
        text += &format!("{} has no items\n", why.stage);
    }
    if why.more > 0 {
        text += &format!("and {}\n", plural(why.more, "more item"));
    }
    text.trim_end().to_owned() + "\n"
}

/// `label would run 3 items: a.jpg, b.jpg, c.jpg`.
fn heading(why: &Why, accounts: &[&Account]) -> String {
    /// More names than that nobody reads.
    const NAMED: usize = 3;
    let names = accounts.iter().take(NAMED).map(|account| named(account)).collect::<Vec<_>>();
    let more = accounts.len().saturating_sub(NAMED);
    let names = match more {
        0 => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    };
    let state = accounts.first().map_or("", |account| account.state);
    format!("{} {names}: {}", theme::strong(&why.stage), state_text(state))
}

/// `a.jpg (latent)`; the recipe is left out where it says no more than the stage.
fn named(account: &Account) -> String {
    if account.recipe.is_empty() || account.recipe == account.stage {
        return account.item.clone();
    }
    format!("{} ({})", account.item, account.recipe)
}

fn state_text(state: &str) -> String {
    match state {
        "run" => theme::busy("would run"),
        "reuse" => theme::good("up to date"),
        "kept" => theme::good("kept"),
        "failed" => theme::bad("left out"),
        other => other.to_owned(),
    }
}

struct Teller<'a> {
    places: Places<'a>,
    look: Look,
}

impl Teller<'_> {
    /// Everything below the heading, indented.
    fn body(&self, account: &Account) -> String {
        let mut text = String::new();
        for block in self.blocks(account) {
            for line in block.lines() {
                text += format!("  {line}").trim_end();
                text.push('\n');
            }
        }
        text
    }

    fn blocks(&self, account: &Account) -> Vec<String> {
        let mut blocks = Vec::new();
        if account.state == "kept"
            && let Some(why) = &account.kept
        {
            blocks.push(format!("{why}: nothing is made, and later stages read it"));
        }
        if let Some(shared) = &account.shares {
            blocks.push(format!("equal to {shared}: one output serves both"));
        }
        if let Some(failure) = &account.failure {
            blocks.push(format!("it failed in an earlier run: {}", failure.message));
            blocks.extend(failure.help.iter().map(|help| format!("help: {help}")));
            blocks.push("it is tried again when what it reads changes, or with --force".to_owned());
        }
        blocks.extend(account.cause.and_then(|cause| self.cause(cause, account)));
        for difference in &account.differences {
            blocks.push(self.difference(difference, account.against.as_ref()));
        }
        for source in &account.because {
            let name = format!(
                "{} {}: {}",
                theme::strong(&source.stage),
                named(source),
                self.became(source)
            );
            blocks.push(format!("{name}\n{}", self.body(source)));
        }
        if account.more > 0 {
            blocks.push(format!("and {}", plural(account.more, "more item")));
        }
        blocks
    }

    /// What an upstream item that explains another one did or will do.
    fn became(&self, account: &Account) -> String {
        match account.state {
            "run" => theme::busy("must run first"),
            "reuse" => "made something else".to_owned(),
            other => state_text(other),
        }
    }

    fn cause(&self, cause: Cause, account: &Account) -> Option<String> {
        Some(match cause {
            Cause::Forced => "--force asks for it".to_owned(),
            Cause::Lost => "it was made before, and its output is gone from the store".to_owned(),
            Cause::New => match &account.against {
                Some(against) => {
                    format!(
                        "it was never made; the most similar one, {}, differs in:",
                        against.item
                    )
                }
                None => "it was never made".to_owned(),
            },
            Cause::Follows => "nothing of its own changed".to_owned(),
            Cause::Manifest | Cause::File | Cause::Model | Cause::Code | Cause::Upstream => {
                return None;
            }
        })
    }

    fn difference(&self, difference: &Difference, against: Option<&Against>) -> String {
        let Difference { part, origin, old, new } = difference;
        let place = self.places.of(origin);
        match origin {
            Origin::Manifest { path, span } => {
                let was = format!("was {} {}", said(old.as_ref()), when(against));
                match span {
                    Some(span) if !self.places.was_set(path) => {
                        self.excerpt(part, span.clone(), was)
                    }
                    _ => format!("{part} is {} ({place}), {was}", said(new.as_ref())),
                }
            }
            Origin::File(_) => match (old, new) {
                (None, _) => format!("+ {place} ({part}) was not there {}", when(against)),
                (_, None) => format!("- {place} ({part}) is not read any more"),
                _ => format!("~ {place} ({part}) is not what it was {}", when(against)),
            },
            Origin::Model(_) => {
                format!(
                    "~ {place} is another file than {}: {}",
                    when(against),
                    change(part, old.as_ref(), new.as_ref())
                )
            }
            Origin::Code(why) => {
                format!("fluxpipe itself: {}: {why}", change(part, old.as_ref(), new.as_ref()))
            }
            Origin::Upstream { stage, item } => match new {
                Some(_) => format!("{stage} made another {part} for {item}"),
                None => format!("{part} of {item} from {stage} is not read any more"),
            },
        }
    }

    /// The line of the manifest with a few words under its value.
    fn excerpt(&self, part: &str, span: std::ops::Range<usize>, label: String) -> String {
        let manifest = self.places.manifest;
        let name = manifest.path.display().to_string();
        let diagnostic = MietteDiagnostic::new(format!("`{part}` changed"))
            .with_severity(Severity::Advice)
            .with_label(LabeledSpan::new_primary_with_span(Some(label), span));
        let report = miette::Report::new(diagnostic)
            .with_source_code(NamedSource::new(name, std::sync::Arc::clone(&manifest.text)));
        diag::diagnostic(report.as_ref(), self.look)
    }

    /// All that an item depends on.
    fn parts(&self, account: &Account) -> String {
        let key = account.key.map_or_else(|| "not known yet".to_owned(), |key| key.short());
        let mut text = format!("{} {key}, made of:\n", theme::strong("key"));
        let width = account.parts.iter().map(|part| part.name.chars().count()).max().unwrap_or(0);
        for part in &account.parts {
            let value = known(part);
            text += &format!(
                "  {:<width$}  {value}  {}\n",
                part.name,
                theme::faint(self.places.of(&part.origin))
            );
        }
        text
    }
}

fn said(value: Option<&Value>) -> String {
    value.map_or_else(|| "not there".to_owned(), ToString::to_string)
}

fn known(part: &KeyPart) -> String {
    part.value.as_ref().map_or_else(|| "not made yet".to_owned(), ToString::to_string)
}

fn when(against: Option<&Against>) -> String {
    match against {
        Some(against) if !against.own => format!("for {}", against.item),
        _ => "in the last run".to_owned(),
    }
}
