//! Why an item runs, down to the line of the manifest, the file or the change of the program that
//! made it so; or what it depends on, where it does not run.

use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Severity};

use super::{Look, Places, diag, plan::change, theme, words};
use crate::{
    base::{Value, plural},
    pipeline::{
        Account, Against, Blessed, Cause, Changed, Difference, FileList, Origin, Part, Sign, Why,
    },
};

/// The accounts of a stage's items; those that say the same are told once.
#[must_use]
pub fn why(why: &Why, places: Places<'_>, look: Look) -> String {
    let teller = Teller { places, look };
    let mut text = String::new();
    if let Some(list) =
        why.files.as_ref().filter(|list| list.added + list.removed + list.changed > 1)
    {
        let of = theme::strong(&why.stage);
        text += &format!("{}\n\n", file_list(list, &of, "since the last run"));
    }
    for group in groups(&why.items.iter().collect::<Vec<_>>()) {
        let state = group.first().map_or("", |account| account.state);
        text += &format!("{}: {}\n", names(&group), state_text(state));
        text += &teller.body(&group);
        text.push('\n');
    }
    // What an item depends on is for those who ask about that item.
    let asked: &[Account] = if why.by_name || why.items.len() == 1 { &why.items } else { &[] };
    let told = asked.iter().filter(|account| account.state != "kept").take(KEYS);
    for (place, account) in told.enumerate() {
        if place > 0 {
            text.push('\n');
        }
        if asked.len() > 1 {
            text += &format!("{}\n", named(account));
        }
        text += &teller.parts(account);
    }
    if asked.len() > KEYS {
        text += "\nfor the other keys ask for one of the items by its whole name\n";
    }
    if why.items.is_empty() {
        text += &format!("{} has no items\n", why.stage);
    }
    if why.more > 0 {
        text += &format!("and {}\n", plural(why.more, "more item"));
    }
    text.trim_end().to_owned() + "\n"
}

/// Accounts that differ in nothing but the names of their items.
fn groups<'a>(accounts: &[&'a Account]) -> Vec<Vec<&'a Account>> {
    let mut groups: Vec<(String, Vec<&Account>)> = Vec::new();
    for account in accounts {
        let shape = shape(account);
        match groups.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, group)) => group.push(account),
            None => groups.push((shape, vec![account])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// All that is told of an account but the names of items.
fn shape(account: &Account) -> String {
    let Account { stage, recipe, state, cause, kept, shares, .. } = account;
    // Against which other item a new one is compared does not set it apart from other new ones.
    let differences = account.differences.iter().filter(|_| *cause != Some(Cause::New));
    let differences = differences.map(|difference| match &difference.origin {
        Origin::Upstream { stage, .. } => format!("{stage} {}", difference.new.is_some()),
        // Files of one sort are listed.
        Origin::File(_) => {
            let Difference { part, old, new, .. } = difference;
            format!("file {part} {} {}", old.is_some(), new.is_some())
        }
        origin => format!("{origin:?} {:?} {:?}", difference.old, difference.new),
    });
    let differences = differences.collect::<Vec<_>>();
    let mut because = account.because.iter().map(shape).collect::<Vec<_>>();
    because.dedup();
    let failure = account.failure.as_ref().map(|failure| &failure.message);
    let shares = shares.is_some();
    format!(
        "{stage} {recipe} {state} {cause:?} {kept:?} {shares} {failure:?} {differences:?} {because:?} {:?} {:?}",
        account.files,
        account.blessed.as_ref().map(|blessed| &blessed.reason)
    )
}

/// `label a.jpg, b.jpg and 3 more`.
fn names(group: &[&Account]) -> String {
    /// More names than that nobody reads.
    const NAMED: usize = 3;
    let stage = group.first().map_or("", |account| account.stage.as_str());
    // One item may explain several others.
    let mut names = Vec::new();
    for account in group {
        let name = named(account);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.truncate(NAMED);
    format!("{} {}{more}", theme::strong(stage), names.join(", "))
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

/// What an upstream item that explains another one did or will do.
fn became(account: &Account) -> String {
    match account.state {
        "run" => theme::busy("must run first"),
        "reuse" => "made something else".to_owned(),
        other => state_text(other),
    }
}

/// So many keys are told at once.
const KEYS: usize = 4;

/// A longer entry does not widen its column.
const COLUMN: usize = 32;

struct Teller<'a> {
    places: Places<'a>,
    look: Look,
}

impl Teller<'_> {
    /// Everything below the heading, indented.
    fn body(&self, group: &[&Account]) -> String {
        let mut text = String::new();
        for line in self.blocks(group).iter().flat_map(|block| block.lines()) {
            text += format!("  {line}").trim_end();
            text.push('\n');
        }
        text
    }

    fn blocks(&self, group: &[&Account]) -> Vec<String> {
        let Some(account) = group.first() else { return Vec::new() };
        let mut blocks = Vec::new();
        if account.state == "kept"
            && let Some(why) = &account.kept
        {
            let file = account.parts.iter().rev().find_map(|part| match &part.origin {
                origin @ Origin::File(_) => Some(format!(": {}", self.places.of(origin))),
                _ => None,
            });
            blocks.push(format!("{why}{}", file.unwrap_or_default()));
            blocks.push("nothing is made, and later stages read the file".to_owned());
        }
        if let Some(shared) = &account.shares {
            blocks.push(format!("equal to {shared}: one output serves both"));
        }
        if let Some(failure) = &account.failure {
            // What has no key was never tried.
            let tried = account.key.is_some();
            let begin = if tried { "it failed in an earlier run" } else { "it is left out" };
            blocks.push(format!("{begin}: {}", failure.message));
            blocks.extend(failure.help.iter().map(|help| format!("help: {help}")));
            if tried {
                let again = "it is tried again when what it reads changes, or with --force";
                blocks.push(again.to_owned());
            }
        }
        if let Some(blessed) = &account.blessed {
            let Blessed { reason, at, .. } = blessed;
            blocks.push(theme::busy(format!("blessed: {reason} ({at})")));
            let made = match &account.against {
                Some(against) => format!(" in {}", words::run(&against.run)),
                None => String::new(),
            };
            blocks.push(format!("it was made{made} under another key, and accepted although:"));
        }
        blocks.extend(account.cause.and_then(|cause| self.cause(cause, group)));
        blocks.extend(account.started.clone());
        blocks.extend(nearer(account));
        if group.len() == 1 || account.cause != Some(Cause::New) {
            for difference in &account.differences {
                blocks.push(self.difference(difference, group));
            }
        }
        let against = account.against.as_ref();
        blocks.extend(account.files.as_ref().map(|list| {
            file_list(list, &format!("{} of {}", list.of, list.stage), &since(account, against))
        }));
        let because = group.iter().flat_map(|account| &account.because).collect::<Vec<_>>();
        for sources in groups(&because) {
            let became = sources.first().map(|source| became(source)).unwrap_or_default();
            blocks.push(format!("{}: {became}\n{}", names(&sources), self.body(&sources)));
        }
        if account.more > 0 {
            blocks.push(format!("and {}", plural(account.more, "more item")));
        }
        blocks
    }

    fn cause(&self, cause: Cause, group: &[&Account]) -> Option<String> {
        let account = group.first()?;
        let against = match group {
            [only] => only.against.as_ref(),
            _ => None,
        };
        Some(match cause {
            Cause::Forced => "--force asks for it".to_owned(),
            Cause::Lost => "it was made before, and its output is gone from the store".to_owned(),
            Cause::New => match against {
                Some(against) if against.item == account.item => {
                    "which key it had in its last run is not known".to_owned()
                }
                Some(against) => {
                    let most_similar = &against.item;
                    let end = match account.differences.is_empty() {
                        true => " reads the same as far as is known",
                        false => ", differs in:",
                    };
                    format!("it was never made; the most similar one, {most_similar}{end}")
                }
                None => "it was never made".to_owned(),
            },
            Cause::Follows => "nothing of its own changed".to_owned(),
            Cause::Manifest | Cause::File | Cause::Model | Cause::Code | Cause::Upstream => {
                return None;
            }
        })
    }

    fn difference(&self, difference: &Difference, group: &[&Account]) -> String {
        let Some(account) = group.first() else { return String::new() };
        let Difference { part, origin, old, new, .. } = difference;
        let place = self.places.of(origin);
        let when = when(account, account.against.as_ref());
        match origin {
            Origin::Manifest { path, span } => {
                let was = format!("was {} {when}", said(old.as_ref()));
                match span {
                    Some(span) if !self.places.was_set(path) => {
                        self.excerpt(part, span.clone(), was)
                    }
                    _ => format!("{part} is {} ({place}), {was}", said(new.as_ref())),
                }
            }
            Origin::File(_) => {
                let place = self.files(difference, group);
                match (old, new) {
                    (None, _) => format!("+ {place} ({part}) was not there {when}"),
                    (_, None) => format!("- {place} ({part}) is not read any more"),
                    _ => format!("~ {place} ({part}) is not what it was {when}"),
                }
            }
            Origin::Model(_) => {
                let change = change(part, old.as_ref(), new.as_ref());
                format!("~ {place} is another file than {when}: {change}")
            }
            Origin::Code(why) => {
                let change = change(part, old.as_ref(), new.as_ref());
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                format!("fluxpipe itself: {change}{why}")
            }
            Origin::Upstream { stage, item } => match new {
                Some(_) if old.is_none() => {
                    format!("+ {} was not there {when}", of(stage, item, part))
                }
                Some(_) => format!("{} is not what it was {when}", of(stage, item, part)),
                None => format!("- {} is not read any more", of(stage, item, part)),
            },
        }
    }

    /// The files of a difference that these items have alike.
    fn files(&self, difference: &Difference, group: &[&Account]) -> String {
        /// More names than that nobody reads.
        const NAMED: usize = 3;
        let alike = |other: &&Difference| {
            other.part == difference.part && matches!(other.origin, Origin::File(_))
        };
        let all = group.iter().filter_map(|account| account.differences.iter().find(alike));
        let mut places = Vec::new();
        for place in all.map(|difference| self.places.of(&difference.origin)) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let more = match places.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        places.truncate(NAMED);
        format!("{}{more}", places.join(", "))
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
        let longest = |of: fn(&Part) -> String| {
            let lengths = account.parts.iter().map(|part| of(part).chars().count());
            lengths.filter(|length| *length <= COLUMN).max().unwrap_or(0)
        };
        let (names, values) = (longest(|part| part.name.clone()), longest(known));
        for part in &account.parts {
            let place = theme::faint(self.places.of(&part.origin));
            text += &format!("  {:<names$}  {:<values$}  {place}\n", part.name, known(part));
        }
        text
    }
}

/// `cache a.jpg (latent)`.
fn of(stage: &str, item: &str, part: &str) -> String {
    let part = if part == item { String::new() } else { format!(" ({part})") };
    format!("{stage} {item}{part}")
}

fn said(value: Option<&Value>) -> String {
    value.map_or_else(|| "not there".to_owned(), words::value)
}

fn known(part: &Part) -> String {
    part.value.as_ref().map_or_else(|| "not made yet".to_owned(), words::value)
}

/// When the key that is compared with was an item's.
fn when(account: &Account, against: Option<&Against>) -> String {
    match against {
        _ if account.blessed.is_some() => "when it was made".to_owned(),
        Some(against) if against.own => "in the last run".to_owned(),
        Some(against) if against.item == account.item => "in that run".to_owned(),
        Some(against) => format!("for {}", against.item),
        None => "in the last run".to_owned(),
    }
}

/// Since when something is as it is.
fn since(account: &Account, against: Option<&Against>) -> String {
    match against {
        _ if account.blessed.is_some() => "since it was made".to_owned(),
        Some(against) if !against.own && against.item == account.item => {
            "since that run".to_owned()
        }
        Some(against) if !against.own => format!("against {}", against.item),
        _ => "since the last run".to_owned(),
    }
}

/// Which earlier run is compared with, where it is not the last one.
fn nearer(account: &Account) -> Option<String> {
    let against = account.against.as_ref()?;
    if against.own || against.item != account.item || account.blessed.is_some() {
        return None;
    }
    let parts = plural(against.parts, "part");
    let did = if against.parts == 1 { "differs" } else { "differ" };
    let last = against.since_last.map_or_else(String::new, |last| {
        let did = if last == 1 { "does" } else { "do" };
        format!("; {last} {did} since the last run")
    });
    Some(format!("nearest stored key: that of {}: {parts} {did}{last}", words::run(&against.run)))
}

/// What came, went or changed, below a line that counts it.
pub(super) fn file_list(list: &FileList, of: &str, since: &str) -> String {
    let counts = [(list.added, "new"), (list.removed, "gone"), (list.changed, "changed")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts = counts.map(|(count, word)| format!("{} {word}", words::grouped(count as u64)));
    let mut text = format!("{of}: {} {since}", counts.collect::<Vec<_>>().join(", "));
    for Changed { sign, item, parts, pending } in &list.first {
        let sign = match sign {
            Sign::Added => "+",
            Sign::Removed => "-",
            Sign::Changed => "~",
        };
        let parts =
            if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
        let pending = if *pending { ", not made yet" } else { "" };
        text += &format!("\n  {sign} {item}{parts}{pending}");
    }
    if list.more > 0 {
        text += &format!("\n  … and {} more", words::grouped(list.more as u64));
    }
    text
}
