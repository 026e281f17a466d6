//! Records: for each item key, what it was made of and what came of it.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    path::Path,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{StoreError, log};
use crate::{
    base::Digest,
    pipeline::{ItemFailure, KeyPart, Output},
};

/// What came of an item, with its key in expanded form. `key` and the outcome stand first, where
/// [`Records`] looks for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The item key.
    pub key: Digest,
    /// What it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ItemFailure>,
    /// Id of the item for which it was made first.
    pub id: String,
    /// What it was made of, besides the recipe.
    pub parts: Vec<KeyPart>,
    /// Time that it took.
    pub seconds: f64,
    /// Id of the run.
    pub run: String,
}

/// What came of an item.
#[derive(Debug)]
pub enum Outcome {
    /// It was made.
    Output(Output),
    /// It cannot be made.
    Failure(ItemFailure),
}

/// What came of the keys in `wanted`, by the log at `path`. It is read piece by piece: a log of 100 000
/// records takes 100 MB, of which a plan needs a small part.
///
/// # Errors
/// The log is there and cannot be read.
pub fn outcomes(
    path: &Path,
    wanted: &HashSet<Digest>,
) -> Result<HashMap<Digest, Outcome>, StoreError> {
    let mut outcomes = HashMap::with_capacity(wanted.len());
    if wanted.is_empty() {
        return Ok(outcomes);
    }
    log::pieces(path, |bytes, bodies| {
        let found = bodies.into_par_iter().filter_map(|place| {
            let body = &bytes[place];
            let key = key_of(body).filter(|key| wanted.contains(key))?;
            Some((key, outcome(body)?))
        });
        for (key, outcome) in found.collect::<Vec<_>>() {
            // A later failure (of a forced run) does not take away what is stored.
            if !(matches!(outcome, Outcome::Failure(_)) && outcomes.contains_key(&key)) {
                outcomes.insert(key, outcome);
            }
        }
    })?;
    Ok(outcomes)
}

fn outcome(body: &[u8]) -> Option<Outcome> {
    #[derive(Deserialize)]
    struct Short {
        output: Option<Output>,
        failure: Option<ItemFailure>,
    }
    let short: Short = serde_json::from_slice(body).ok()?;
    short.output.map(Outcome::Output).or(short.failure.map(Outcome::Failure))
}

/// The records of one recipe, for explanations: the log's bytes and where in it each key stands. Lines
/// are parsed only when they are asked for, so that 100 000 of them are looked through in a moment.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    places: HashMap<Digest, Range<usize>>,
}

const KEY: &[u8] = br#"{"key":""#;
const FAILURE: &[u8] = br#"","failure""#;

impl Records {
    /// Reads the log at `path`; empty where there is none.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        let bytes = log::read(path)?;
        let found = log::bodies(&bytes).into_par_iter().filter_map(|place| {
            let body = &bytes[place.clone()];
            Some((key_of(body)?, is_failure(body), place))
        });
        let found: Vec<_> = found.collect();
        let mut places = HashMap::with_capacity(found.len());
        for (key, failure, place) in found {
            // A later failure (of a forced run) does not take away what is stored.
            if !(failure && places.contains_key(&key)) {
                places.insert(key, place);
            }
        }
        Ok(Self { bytes, places })
    }

    /// The whole record of this key.
    #[must_use]
    pub fn record(&self, key: &Digest) -> Option<Record> {
        serde_json::from_slice(self.body(key)?).ok()
    }

    /// All records.
    pub fn all(&self) -> impl Iterator<Item = Record> {
        self.places
            .values()
            .filter_map(|place| serde_json::from_slice(&self.bytes[place.clone()]).ok())
    }

    fn body(&self, key: &Digest) -> Option<&[u8]> {
        self.places.get(key).map(|place| &self.bytes[place.clone()])
    }
}

fn key_of(body: &[u8]) -> Option<Digest> {
    let hex = body.strip_prefix(KEY)?.get(..64)?;
    std::str::from_utf8(hex).ok()?.parse().ok()
}

fn is_failure(body: &[u8]) -> bool {
    body.get(KEY.len() + 64..).is_some_and(|rest| rest.starts_with(FAILURE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: u8, failure: bool) -> Record {
        let fault =
            ItemFailure { code: "fluxpipe::test::no".into(), message: "no".into(), help: None };
        Record {
            key: Digest::of(&[key]),
            output: (!failure).then(|| Output { blobs: Vec::new() }),
            failure: failure.then_some(fault),
            id: format!("{key}"),
            parts: Vec::new(),
            seconds: 0.5,
            run: "run".into(),
        }
    }

    #[test]
    fn a_failure_is_remembered_but_never_hides_an_output() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut lines = Vec::new();
        for (key, failure) in [(1, false), (1, true), (2, true), (3, true), (3, false)] {
            log::write_line(&mut lines, &record(key, failure)).unwrap();
        }
        fs_err::write(&path, lines).unwrap();
        let records = Records::load(&path).unwrap();
        let keys = [1, 2, 3, 4].map(|key: u8| Digest::of(&[key]));
        let found = outcomes(&path, &keys.into()).unwrap();
        assert!(matches!(found[&keys[0]], Outcome::Output(_)));
        assert!(matches!(found[&keys[1]], Outcome::Failure(_)));
        assert!(matches!(found[&keys[2]], Outcome::Output(_)));
        assert_eq!(found.len(), 3);
        assert_eq!(outcomes(&path, &[keys[2]].into()).unwrap().len(), 1, "only what is wanted");
        assert_eq!(records.record(&Digest::of(&[3])).unwrap().id, "3");
    }
}
