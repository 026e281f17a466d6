//! Command lines as Python's argparse reads them: `--flag value`, `--flag=value`, shortened flags, several values.

use std::collections::BTreeMap;

use super::{
    Verdict,
    finding::{Findings, Id},
    flags::{Flag, Program, Takes},
    shell::Word,
};
use crate::base::did_you_mean;

/// A flag with what stands behind it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) flag: Flag,
    pub(super) values: Vec<String>,
    /// What is said of it in the listing.
    pub(super) id: Id,
}

impl Given {
    /// The value, or all of them with blanks between.
    pub(super) fn text(&self) -> String {
        self.values.join(" ")
    }
}

/// What a command was given, by the names of flags.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings(BTreeMap<&'static str, Given>);

impl Settings {
    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(Given::text)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Given> {
        self.0.values()
    }

    /// The later of two counts.
    pub(super) fn insert(&mut self, given: Given, findings: &mut Findings, because: &str) {
        if let Some(old) = self.0.insert(given.flag.name, given) {
            findings.say(old.id, Verdict::NoEffect, because, "");
        }
    }

    /// What another command says counts where this one says nothing.
    pub(super) fn fill(&mut self, others: Self, findings: &mut Findings, because: &str) {
        for (name, given) in others.0 {
            match self.0.get(name) {
                None => {
                    self.0.insert(name, given);
                }
                Some(_) => findings.say(given.id, Verdict::NoEffect, because, ""),
            }
        }
    }
}

/// Reads what stands behind the name of a program, or in the file `from`, whose lines are not known: 0.
pub(super) fn parse(
    program: Program,
    from: &str,
    words: &[Word],
    findings: &mut Findings,
) -> Settings {
    let flags = program.flags();
    let line = |word: &Word| Some(word.line).filter(|line| *line > 0);
    let mut settings = Settings::default();
    let mut places = program.places.iter();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Some(name) = flag_name(&word.text) else {
            match places.next() {
                Some(place) => {
                    let id = findings.add(from, place, Some(word.text.clone()), line(word));
                    let flag = flags.iter().find(|flag| flag.name == *place).copied();
                    if let Some(flag) = flag {
                        let given = Given { flag, values: vec![word.text.clone()], id };
                        settings.insert(given, findings, "");
                    }
                }
                None => {
                    let id = findings.add(from, &word.text, None, line(word));
                    findings.say(
                        id,
                        Verdict::Unknown,
                        "no flag stands before it",
                        "look at the quotes and blanks around it",
                    );
                }
            }
            continue;
        };
        let (name, joined) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let flag = named(&flags, name);
        let most = match (flag.map(|flag| flag.takes), &joined) {
            (_, Some(_)) | (Some(Takes::Switch), _) => 0,
            (Some(Takes::Words) | None, _) => usize::MAX,
            (Some(_), _) => 1,
        };
        let mut values: Vec<String> = joined.into_iter().collect();
        while values.len() < most
            && let Some(value) = words.next_if(|next| flag_name(&next.text).is_none())
        {
            values.push(value.text.clone());
        }
        let value = Some(values.join(" ")).filter(|value| !value.is_empty());
        let id = findings.add(from, &format!("--{name}"), value, line(word));
        match flag {
            Some(flag)
                if flag.takes != Takes::Switch
                    && flag.takes != Takes::Words
                    && values.is_empty() =>
            {
                findings.say(
                    id,
                    Verdict::NotSupported,
                    "its value is missing",
                    "write it behind the flag",
                );
            }
            Some(flag) => {
                let given = Given { flag, values, id };
                settings.insert(given, findings, "it stands twice, and the last one counts");
            }
            None => unknown(id, name, &flags, program, findings),
        }
    }
    settings
}

/// The name of a flag, if the word is one: `-1` and `-0.5` are numbers.
fn flag_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    name.starts_with(|letter: char| letter.is_ascii_alphabetic()).then_some(name)
}

/// The flag of this name, or the only one that begins so, as argparse has it.
fn named(flags: &[Flag], name: &str) -> Option<Flag> {
    let exact = flags.iter().find(|flag| flag.name == name);
    let mut begun = flags.iter().filter(|flag| flag.name.starts_with(name));
    match (exact, begun.next(), begun.next()) {
        (Some(flag), ..) | (None, Some(flag), None) => Some(*flag),
        _ => None,
    }
}

fn unknown(id: Id, name: &str, flags: &[Flag], program: Program, findings: &mut Findings) {
    let names = flags.iter().map(|flag| flag.name).filter(|name| !program.places.contains(name));
    let instead = match did_you_mean(name, names) {
        Some(near) => format!("did you mean --{near}? It is left out until you write it so"),
        None => "it is left out".to_owned(),
    };
    findings.say(id, Verdict::Unknown, &format!("{} has no such flag", program.file), &instead);
}
