//! What became of each flag of an imported script, for people.

use super::theme;
use crate::{
    base::plural,
    migrate::{Finding, Imported, Verdict, wrapped},
};

/// Columns of the listing: it reads the same in a terminal of 80 and of 120.
const WIDTH: usize = 79;
/// Where the second column begins.
const SECOND: usize = 30;

/// The listing, by what became of the flags.
#[must_use]
pub fn imported(imported: &Imported) -> String {
    let files = imported.read.join(", ");
    let mut text =
        format!("{} {} from {files}\n", theme::good("wrote"), theme::strong(&imported.manifest));
    for verdict in Verdict::ALL {
        let of: Vec<&Finding> =
            imported.findings.iter().filter(|finding| finding.verdict == verdict).collect();
        if of.is_empty() {
            continue;
        }
        text += &format!("\n{}\n", heading(verdict));
        let mut from = "";
        for group in groups(&of) {
            if group[0].from != from {
                from = &group[0].from;
                text += &theme::faint(format!("  {}\n", plain(from)));
            }
            text += &one(&group);
        }
    }
    text + &summary(imported)
}

fn heading(verdict: Verdict) -> String {
    match verdict {
        Verdict::TakenOver => theme::good("Taken over as"),
        Verdict::WrittenOut => {
            theme::fresh("Not said there, and another default here: written out")
        }
        Verdict::AlwaysSo => theme::strong("Always so here"),
        Verdict::NoEffect => theme::strong("Had no effect in the original, because"),
        Verdict::NotSupported => theme::bad("Not supported, because"),
        Verdict::Unknown => theme::bad("Not known"),
        Verdict::ReadAsMeant => theme::busy("To look at"),
    }
}

/// Flags that stand together: without lines of their own, and with the same reason.
fn groups<'a>(findings: &[&'a Finding]) -> Vec<Vec<&'a Finding>> {
    let mut groups: Vec<Vec<&Finding>> = Vec::new();
    for finding in findings {
        let same = |group: &&mut Vec<&Finding>| {
            let first = group[0];
            finding.manifest.is_empty()
                && first.manifest.is_empty()
                && (&first.from, &first.because, &first.instead)
                    == (&finding.from, &finding.because, &finding.instead)
                && finding.verdict != Verdict::ReadAsMeant
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    // A group stands where its program does.
    groups.sort_by_key(|group| findings.iter().position(|finding| finding.from == group[0].from));
    groups
}

/// Names on the left, what became of them on the right.
fn one(group: &[&Finding]) -> String {
    let names: Vec<String> = group.iter().map(|finding| name(finding)).collect();
    let first = group[0];
    let mut right: Vec<(String, bool)> = Vec::new();
    let mut put = |text: &str, faint| {
        right.extend(wrapped(&plain(text), WIDTH - SECOND).into_iter().map(|line| (line, faint)));
    };
    let several = first.manifest.len() > 2;
    for line in first.manifest.iter().take(if several { 1 } else { 2 }) {
        put(line, false);
    }
    if several {
        put(&format!("and {} more like it", first.manifest.len() - 1), true);
    }
    let told = !first.manifest.is_empty();
    if let Some(because) = &first.because {
        put(because, told);
    }
    if let Some(instead) = &first.instead {
        put(&format!("→ {instead}"), false);
    }
    let left = wrapped(&plain(&names.join(", ")), SECOND - 5);
    let mut text = String::new();
    // A long list of names has lines of its own.
    let apart = left.len() > right.len().max(2);
    if apart {
        for line in wrapped(&plain(&names.join(", ")), WIDTH - 4) {
            text += &format!("    {}\n", theme::strong(line));
        }
    }
    let left = if apart { Vec::new() } else { left };
    for index in 0..left.len().max(right.len()) {
        let name = left.get(index).map_or("", String::as_str);
        let gap = " ".repeat((SECOND - 4).saturating_sub(name.chars().count()).max(1));
        let (words, faint) =
            right.get(index).map_or(("", false), |(words, faint)| (words.as_str(), *faint));
        let words = if faint { theme::faint(words) } else { words.to_owned() };
        let line = if words.is_empty() {
            format!("    {}", theme::strong(name))
        } else {
            format!("    {}{gap}{words}", theme::strong(name))
        };
        text += &format!("{line}\n");
    }
    text
}

/// The flag with its value, or the line of a script that was broken.
fn name(finding: &Finding) -> String {
    let value = finding.value.as_ref().map(|value| {
        let short: String = value.chars().take(SHOWN).collect();
        let more = if value.chars().count() > SHOWN { "…" } else { "" };
        format!(" {short}{more}")
    });
    let value = value.unwrap_or_default();
    match (finding.verdict, finding.line) {
        (Verdict::ReadAsMeant, Some(line)) => match finding.flag.as_str() {
            "line" => format!("line {line}"),
            word => format!("line {line}: {word}"),
        },
        _ => format!("{}{value}", finding.flag),
    }
}

/// Letters of a value that are shown.
const SHOWN: usize = 60;

/// A script is somebody else's text: nothing in it reaches the terminal but letters.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn summary(imported: &Imported) -> String {
    let count =
        |verdict| imported.findings.iter().filter(|finding| finding.verdict == verdict).count();
    let words = [
        (Verdict::TakenOver, "taken over"),
        (Verdict::WrittenOut, "written out"),
        (Verdict::AlwaysSo, "always so"),
        (Verdict::NoEffect, "without effect"),
        (Verdict::NotSupported, "not supported"),
        (Verdict::Unknown, "not known"),
        (Verdict::ReadAsMeant, "to look at"),
    ];
    let counts = words.map(|(verdict, words)| (count(verdict), words));
    let said: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    let total = plural(imported.findings.len(), "finding");
    let next = format!("Next: fluxpipe check {}", imported.manifest);
    format!("\n{total}: {}\n{next}\n", said.join(" · "))
}
