//! Lists of what came, went or changed, for a reader: the first few, and how many there are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Difference, Origin};

/// More than that nobody reads.
const LISTED: usize = 12;

/// Whether something is new, gone or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sign {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It is there and is not what it was.
    Changed,
}

/// One thing that came, went or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Changed {
    /// How.
    pub sign: Sign,
    /// What: the id of a sample or item.
    pub item: String,
    /// What of it: `latent`, `text`; empty where it is the whole.
    pub parts: Vec<String>,
    /// Whether what it will be is not made yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

/// What came, went or changed within a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FileList {
    /// What the set is of: `samples`, `items`.
    pub of: String,
    /// The stage that makes what is in it; empty for the stage itself.
    pub stage: String,
    /// How many are new.
    pub added: usize,
    /// How many are gone.
    pub removed: usize,
    /// How many are not what they were.
    pub changed: usize,
    /// The first of them.
    pub first: Vec<Changed>,
    /// How many more there are.
    pub more: usize,
}

/// Gathers a list; parts of one thing are told together.
#[derive(Default)]
pub(super) struct Gathered(BTreeMap<(Sign, String), Changed>);

impl Gathered {
    /// Adds one thing, or a part of it.
    pub fn add(&mut self, sign: Sign, item: &str, part: &str, pending: bool) {
        let known = self.0.entry((sign, item.to_owned())).or_insert_with(|| Changed {
            sign,
            item: item.to_owned(),
            parts: Vec::new(),
            pending: false,
        });
        known.pending |= pending;
        if !part.is_empty() {
            known.parts.push(part.to_owned());
        }
    }

    /// The list, cut to what a reader reads; `None` where it is empty.
    pub fn finish(self, of: &str, stage: &str) -> Option<FileList> {
        let count = |sign| self.0.keys().filter(|(known, _)| *known == sign).count();
        let [added, removed, changed] = [Sign::Added, Sign::Removed, Sign::Changed].map(count);
        let more = self.0.len().saturating_sub(LISTED);
        let first: Vec<_> = self.0.into_values().take(LISTED).collect();
        let (of, stage) = (of.to_owned(), stage.to_owned());
        (!first.is_empty()).then_some(FileList { of, stage, added, removed, changed, first, more })
    }

    /// The list of the differences within one part.
    pub fn of(within: &[Difference]) -> Option<FileList> {
        let stage = within.iter().find_map(|difference| match &difference.origin {
            Origin::Upstream { stage, .. } => Some(stage.as_str()),
            _ => None,
        });
        let mut list = Self::default();
        for difference in within {
            let item = match &difference.origin {
                Origin::Upstream { item, .. } => item.clone(),
                Origin::File(path) => path.display().to_string(),
                _ => continue,
            };
            let sign = match (&difference.old, &difference.new) {
                (None, _) => Sign::Added,
                (Some(_), None) if !difference.pending => Sign::Removed,
                _ => Sign::Changed,
            };
            let part = if sign == Sign::Changed { difference.part.as_str() } else { "" };
            list.add(sign, &item, part, difference.pending);
        }
        list.finish("samples", stage.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_counted_and_the_first_are_named() {
        let mut list = Gathered::default();
        for number in (0..1300).rev() {
            list.add(Sign::Added, &format!("{number:04}.jpg"), "", false);
        }
        list.add(Sign::Changed, "a.jpg", "latent", false);
        list.add(Sign::Changed, "a.jpg", "text", true);
        list.add(Sign::Removed, "b.jpg", "", false);
        let list = list.finish("samples", "cache").unwrap();
        assert_eq!((list.added, list.removed, list.changed, list.more), (1300, 1, 1, 1290));
        assert_eq!(list.first.len(), LISTED);
        assert_eq!(list.first[0].item, "0000.jpg");
        assert_eq!(Gathered::default().finish("samples", ""), None);
    }
}
