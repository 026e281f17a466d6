//! Records: for each item key, what it was made of and what came of it.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    path::Path,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

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

/// What came of the keys in `wanted`, by the log at `path`; not of those whose output is not `held` any
/// more. The log is read piece by piece: of 100 000 records it takes 100 MB, of which a plan needs a
/// small part.
///
/// # Errors
/// The log is there and cannot be read, or holds records of another form.
pub fn outcomes(
    path: &Path,
    wanted: &HashSet<Digest>,
    held: impl Fn(&Output) -> bool + Sync,
) -> Result<HashMap<Digest, Outcome>, StoreError> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let mut outcomes = HashMap::with_capacity(wanted.len());
    let mut gone = HashSet::new();
    let is_wanted = |body: &[u8]| key_of(body).is_none_or(|key| wanted.contains(&key));
    let read = |body: &[u8]| {
        let (Some(key), Some(outcome)) = (key_of(body), outcome(body)) else { return Some(None) };
        let lost = matches!(&outcome, Outcome::Output(output) if !held(output));
        Some(Some((key, outcome, lost)))
    };
    // A whole line that says something else than is known here: whatever it means, it is no missing output.
    let mut unknown = false;
    log::each(path, is_wanted, read, |found| {
        let Some((key, outcome, lost)) = found else {
            unknown = true;
            return;
        };
        // A later failure (of a forced run) does not take away what is stored.
        if !(matches!(outcome, Outcome::Failure(_)) && outcomes.contains_key(&key)) {
            if lost {
                gone.insert(key);
            } else {
                gone.remove(&key);
            }
            outcomes.insert(key, outcome);
        }
    })?;
    if unknown {
        return Err(StoreError::Version { path: path.to_owned() });
    }
    gone.iter().for_each(|key| drop(outcomes.remove(key)));
    Ok(outcomes)
}

/// What a record says after its key. The rest, which is most of it, is not parsed.
fn outcome(body: &[u8]) -> Option<Outcome> {
    let rest = body.get(KEY.len() + 64..)?;
    if let Some(output) = rest.strip_prefix(OUTPUT) {
        let mut output: Output = first(output)?;
        // Room for more blobs than there are is a third of what a plan of 100 000 items would hold.
        output.blobs.shrink_to_fit();
        return Some(Outcome::Output(output));
    }
    first(rest.strip_prefix(FAILURE)?).map(Outcome::Failure)
}

/// The value that stands first in `json`, whatever follows.
fn first<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::Deserializer::from_slice(json).into_iter().next()?.ok()
}

/// The records of one recipe, for explanations: the log's bytes and where in it each key stands. Lines
/// are parsed only when they are asked for, so that 100 000 of them are looked through in a moment.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    places: HashMap<Digest, Range<usize>>,
}

const KEY: &[u8] = br#"{"key":""#;
const OUTPUT: &[u8] = br#"","output":"#;
const FAILURE: &[u8] = br#"","failure":"#;

impl Records {
    /// Reads the log at `path`; empty where there is none.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn load(path: &Path) -> Result<Self, StoreError> {
        let bytes = log::read(path)?;
        let found = log::bodies(&bytes).filter_map(|body| {
            let start = body.as_ptr().addr() - bytes.as_ptr().addr();
            let place = start..start + body.len();
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

    /// The keys by the ids of their records, found without parsing the rest.
    pub fn by_id(&self) -> HashMap<String, Vec<Digest>> {
        /// Only the record itself has a field of this name, and in texts its quotes are masked.
        const ID: &str = ",\"id\":";
        let found = self.places.par_iter().filter_map(|(key, place)| {
            let body = std::str::from_utf8(&self.bytes[place.clone()]).ok()?;
            let id = first::<String>(&body.as_bytes()[body.find(ID)? + ID.len()..])?;
            Some((id, *key))
        });
        let mut by_id = HashMap::<String, Vec<Digest>>::with_capacity(self.places.len());
        for (id, key) in found.collect::<Vec<_>>() {
            by_id.entry(id).or_default().push(key);
        }
        by_id
    }

    /// The records in whose line this text stands, found without parsing the others. In a line texts stand
    /// as JSON writes them.
    pub fn mentioning(&self, text: &str) -> impl Iterator<Item = Record> {
        let bodies = self.places.values().map(|place| &self.bytes[place.clone()]);
        let found = bodies
            .filter(move |body| std::str::from_utf8(body).is_ok_and(|body| body.contains(text)));
        found.filter_map(|body| serde_json::from_slice(body).ok())
    }

    fn body(&self, key: &Digest) -> Option<&[u8]> {
        self.places.get(key).map(|place| &self.bytes[place.clone()])
    }
}

/// The key of a record.
pub fn key_of(body: &[u8]) -> Option<Digest> {
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
        let found = outcomes(&path, &keys.into(), |_| true).unwrap();
        assert!(matches!(found[&keys[0]], Outcome::Output(_)));
        assert!(matches!(found[&keys[1]], Outcome::Failure(_)));
        assert!(matches!(found[&keys[2]], Outcome::Output(_)));
        assert_eq!(found.len(), 3);
        assert_eq!(outcomes(&path, &[keys[2]].into(), |_| true).unwrap().len(), 1);
        // A lost output is made again, also where its item failed before or after.
        let left = outcomes(&path, &keys.into(), |_| false).unwrap();
        assert_eq!(left.into_keys().collect::<Vec<_>>(), [keys[1]]);
        assert_eq!(records.record(&Digest::of(&[3])).unwrap().id, "3");
        let by_id = records.by_id();
        assert_eq!((by_id.len(), &by_id["2"][..]), (3, &[Digest::of(&[2])][..]));
    }
}
