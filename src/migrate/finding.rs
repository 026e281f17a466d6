//! What became of each flag: the listing that the command prints.

use schemars::JsonSchema;
use serde::Serialize;

/// The written manifest, and what became of every flag and key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Imported {
    /// The manifest that was written.
    pub manifest: String,
    /// The files that were read, in the order in which they were.
    pub read: Vec<String>,
    /// Every flag and key, and every default that is another one here.
    pub findings: Vec<Finding>,
}

/// One flag of a command, or key of a configuration.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Finding {
    /// Where it stands: a program (`flux_train.py`), or a file.
    pub from: String,
    /// The flag or key, as it stands there; a few words where it is no flag.
    pub flag: String,
    /// Its value, where it has one.
    pub value: Option<String>,
    /// Its line, from 1, where it is known.
    pub line: Option<usize>,
    /// What became of it.
    pub verdict: Verdict,
    /// What stands in the manifest for it, as `stages.finetune.learning_rate = 5e-5`.
    pub manifest: Vec<String>,
    /// Why, or what is to be known about it.
    pub because: Option<String>,
    /// What to do.
    pub instead: Option<String>,
}

/// What became of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The manifest says it.
    TakenOver,
    /// It is not said there, and its default there is another one than here: the manifest says it.
    WrittenOut,
    /// It had no effect in the original.
    NoEffect,
    /// What it asks for is always so here.
    AlwaysSo,
    /// There is nothing for it here.
    NotSupported,
    /// The original has no such flag.
    Unknown,
    /// Something was not read to the letter.
    ReadAsMeant,
}

impl Verdict {
    /// In the order of the listing.
    pub const ALL: [Self; 7] = [
        Self::TakenOver,
        Self::WrittenOut,
        Self::AlwaysSo,
        Self::NoEffect,
        Self::NotSupported,
        Self::Unknown,
        Self::ReadAsMeant,
    ];
}

/// A finding in the making.
pub(super) type Id = usize;

/// All findings in the making.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// A flag about which nothing is known yet.
    pub(super) fn add(
        &mut self,
        from: &str,
        flag: &str,
        value: Option<String>,
        line: Option<usize>,
    ) -> Id {
        self.0.push(Finding {
            from: from.to_owned(),
            flag: flag.to_owned(),
            value,
            line,
            verdict: Verdict::NoEffect,
            manifest: Vec::new(),
            because: None,
            instead: None,
        });
        self.0.len() - 1
    }

    /// Says what becomes of it, unless that is said already.
    pub(super) fn say(&mut self, id: Id, verdict: Verdict, because: &str, instead: &str) {
        let finding = &mut self.0[id];
        if finding.because.is_none() {
            finding.verdict = verdict;
            finding.because = Some(because.to_owned()).filter(|text| !text.is_empty());
            finding.instead = Some(instead.to_owned()).filter(|text| !text.is_empty());
        }
    }

    /// Something to know about a flag that is taken over, or what to do.
    pub(super) fn remark(&mut self, id: Id, because: &str) {
        let old = self.0[id].because.take();
        self.0[id].because =
            Some(old.map_or_else(|| because.to_owned(), |old| format!("{old}; {because}")));
    }

    /// What to do about it.
    pub(super) fn advise(&mut self, id: Id, instead: &str) {
        self.0[id].instead = Some(instead.to_owned());
    }

    pub(super) fn note(&mut self, from: &str, flag: &str, line: Option<usize>, because: &str) {
        let id = self.add(from, flag, None, line);
        self.say(id, Verdict::ReadAsMeant, because, "");
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Finding {
        &mut self.0[id]
    }

    pub(super) fn get(&self, id: Id) -> &Finding {
        &self.0[id]
    }

    /// What is in the listing, in the order of its verdicts and then of the scripts.
    pub(super) fn finished(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| finding.verdict);
        self.0
    }
}
