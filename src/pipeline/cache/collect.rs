//! Clearing what nothing needs.
//!
//! What some manifest needs never goes. Of the rest goes what is older than a limit, and then what is cheapest
//! to make again, by seconds per byte, until the store is below its size. Lines of records go before the
//! objects: a kill in between leaves objects that no record names, which the next call finds.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::survey::{Entry, Roots, Survey, files, logs};
use crate::{
    base::{Digest, clock},
    pipeline::{Store, StoreError},
};

/// What is to go.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Bytes that the store may have.
    pub max_size: Option<u64>,
    /// Age from which on something goes.
    pub max_age: Option<Duration>,
    /// Also states that no manifest would go on from.
    pub states: bool,
    /// Also damaged files that were moved away.
    pub damaged: bool,
    /// Only tells.
    pub dry_run: bool,
}

/// What `cache gc --json` prints.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Collected {
    /// Version of this layout.
    pub version: u32,
    /// The manifest, as the command line names it; filled in by the caller.
    pub manifest: String,
    /// Whether nothing was removed, only told.
    pub dry_run: bool,
    /// What goes, in the order in which it was chosen.
    pub removed: Vec<Removed>,
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes of the store before.
    pub before: u64,
    /// Bytes of the store after.
    pub after: u64,
    /// Stages that wait for others: of their states nothing goes, since it is not known which they need.
    pub waiting: Vec<String>,
}

/// Something that goes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Removed {
    /// What it is: `item`, `object`, `state`, `scratch`, `damaged`.
    pub what: String,
    /// Kind of the stage that made it; empty where it is not known.
    pub kind: String,
    /// What was made: `latent`, `text`; or the file.
    pub sort: String,
    /// The item; empty where it is none.
    pub item: String,
    /// Bytes that become free.
    pub bytes: u64,
    /// When it was made; `None` where that is not known.
    pub made: Option<String>,
    /// Seconds that it took to make.
    pub seconds: Option<f64>,
}

/// Something that may go.
struct Candidate<'a> {
    entry: Option<&'a Entry>,
    told: Removed,
    made: Option<Timestamp>,
    /// Files and folders that go with it, unless something else needs them.
    paths: Vec<PathBuf>,
}

/// Clears what no root needs, as far as the limits say. The caller owns the store.
///
/// # Errors
/// The store cannot be read or written. What is left is whole.
pub fn collect(store: &Store, roots: &Roots, limits: &Limits) -> Result<Collected, StoreError> {
    let survey = Survey::of(store)?;
    let before: u64 = files(store.root()).iter().map(|(_, bytes)| bytes).sum();
    let mut holders: HashMap<Digest, usize> = HashMap::new();
    for blob in survey.entries.iter().flat_map(Entry::objects) {
        *holders.entry(blob.digest).or_default() += 1;
    }
    let mut candidates = unneeded(store, roots, &survey);
    candidates.extend(unnamed(store, &holders));
    candidates.sort_by(|one, other| cheapest(&one.told, &other.told));

    let mut collected = Collected {
        version: 1,
        dry_run: limits.dry_run,
        before,
        after: before,
        ..Collected::default()
    };
    let (mut gone, mut paths) = (HashSet::new(), Vec::new());
    for old in [true, false] {
        let mut left = Vec::new();
        for mut candidate in std::mem::take(&mut candidates) {
            let goes = match old {
                true => is_old(candidate.made, limits),
                false => limits.max_size.is_some_and(|most| collected.after > most),
            };
            if !goes {
                left.push(candidate);
                continue;
            }
            // An object goes with the last item that has it.
            for blob in candidate.entry.into_iter().flat_map(Entry::objects) {
                let holders = holders.entry(blob.digest).or_default();
                *holders = holders.saturating_sub(1);
                if *holders == 0 {
                    candidate.paths.push(store.object(&blob.digest));
                }
            }
            candidate.told.bytes = candidate.paths.iter().map(|path| size(path)).sum();
            gone.extend(candidate.entry.map(|entry| (entry.recipe, entry.key)));
            collected.take(candidate.told);
            paths.append(&mut candidate.paths);
        }
        candidates = left;
    }
    for asked in asked_for(store, roots, limits, &mut collected) {
        collected.take(asked.told);
        paths.extend(asked.paths);
    }
    if !limits.dry_run {
        forget(store, &gone)?;
        for path in paths {
            let removed = if path.is_dir() { fs_err::remove_dir_all(&path) } else { fs_err::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::write(path, error));
                }
                _ => {}
            }
        }
    }
    Ok(collected)
}

impl Collected {
    fn take(&mut self, removed: Removed) {
        self.bytes += removed.bytes;
        self.after = self.after.saturating_sub(removed.bytes);
        self.removed.push(removed);
    }
}

/// Items that no root needs.
fn unneeded<'a>(store: &Store, roots: &Roots, survey: &'a Survey) -> Vec<Candidate<'a>> {
    let entries = survey.entries.iter().filter(|entry| !roots.keys.contains(&entry.key));
    let candidates = entries.map(|entry| {
        let (sort, made) = (survey.sort(entry), clock::run_began(&entry.run));
        let told = Removed {
            what: "item".to_owned(),
            kind: sort.kind.clone(),
            sort: sort.recipe.clone(),
            item: entry.id.clone(),
            bytes: entry.bytes(),
            made: made.map(|made| made.to_string()),
            seconds: Some(entry.seconds),
        };
        // What its item was in the middle of goes with it.
        let scratch = store.root().join("scratch").join(entry.key.hex());
        Candidate { entry: Some(entry), told, made, paths: Vec::from_iter(scratch.exists().then_some(scratch)) }
    });
    candidates.collect()
}

/// Objects that no record names, and files of items that no root needs.
fn unnamed(store: &Store, holders: &HashMap<Digest, usize>) -> Vec<Candidate<'static>> {
    let objects = files(&store.root().join("objects")).into_iter().filter(|(path, _)| {
        store.object_digest(path).is_some_and(|digest| !holders.contains_key(&digest))
    });
    objects.map(|(path, bytes)| candidate("object", path, bytes)).collect()
}

fn candidate(what: &str, path: PathBuf, bytes: u64) -> Candidate<'static> {
    let made = std::fs::metadata(&path).and_then(|file| file.modified()).ok();
    let made = made.and_then(|made| Timestamp::try_from(made).ok());
    let told = Removed {
        what: what.to_owned(),
        kind: String::new(),
        sort: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        item: String::new(),
        bytes,
        made: made.map(|made| made.to_string()),
        seconds: None,
    };
    Candidate { entry: None, told, made, paths: vec![path] }
}

/// What goes only where it is asked for, or nobody can need it: states, damaged files, scratch files of items
/// that no root has.
fn asked_for(
    store: &Store,
    roots: &Roots,
    limits: &Limits,
    collected: &mut Collected,
) -> Vec<Candidate<'static>> {
    let mut asked = Vec::new();
    let folder = |what: &str, path: PathBuf| {
        let bytes = files(&path).iter().map(|(_, bytes)| bytes).sum();
        candidate(what, path, bytes)
    };
    if limits.damaged {
        let damaged = std::fs::read_dir(store.root().join("damaged")).into_iter().flatten().flatten();
        asked.extend(damaged.map(|entry| match entry.path() {
            path if path.is_dir() => folder("damaged", path),
            path => candidate("damaged", path.clone(), size(&path)),
        }));
    }
    if limits.states {
        collected.waiting.clone_from(&roots.waiting);
        let given_up = store.state_names().into_iter().filter(|name| !roots.states.contains(name));
        let given_up = given_up.filter(|_| roots.waiting.is_empty());
        asked.extend(given_up.map(|name| folder("state", store.state_folder(&name))));
    }
    asked
}

/// What is cheap to make per byte comes first; of equals the older.
fn cheapest(one: &Removed, other: &Removed) -> Ordering {
    let price = |removed: &Removed| removed.seconds.unwrap_or(0.0) / removed.bytes.max(1) as f64;
    price(one).total_cmp(&price(other)).then_with(|| one.made.cmp(&other.made))
}

/// Whether something goes for its age. Without any limit all goes.
fn is_old(made: Option<Timestamp>, limits: &Limits) -> bool {
    let Some(most) = limits.max_age else { return limits.max_size.is_none() };
    let age = made.and_then(|made| SystemTime::now().duration_since(made.into()).ok());
    age.is_some_and(|age| age > most)
}

fn size(path: &std::path::Path) -> u64 {
    if path.is_dir() {
        return files(path).iter().map(|(_, bytes)| bytes).sum();
    }
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Writes the records anew, without those that go, and removes recipes without records.
fn forget(store: &Store, gone: &HashSet<(Digest, Digest)>) -> Result<(), StoreError> {
    let recipes: HashSet<Digest> = gone.iter().map(|(recipe, _)| *recipe).collect();
    for (recipe, path) in logs(store).into_iter().filter(|(recipe, _)| recipes.contains(recipe)) {
        let left = store.forget_records(&path, |key| gone.contains(&(recipe, *key)))?;
        if left == 0 {
            let recipe = store.root().join("recipes").join(format!("{recipe}.json"));
            for path in [path, recipe] {
                if path.exists() {
                    fs_err::remove_file(&path).map_err(|error| StoreError::write(&path, error))?;
                }
            }
        }
    }
    Ok(())
}
