//! Clearing what nothing needs.
//!
//! What some manifest needs never goes. Of the rest goes what is older than a limit, and then what is cheapest
//! to make again, by seconds per byte, until the store is below its size. Lines of records go before the
//! objects: a kill in between leaves objects that no record names, which the next call finds.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::survey::{Entry, Roots, Survey, files, record_logs};
use crate::{
    base::{Digest, clock, disk},
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
    /// Stages that wait for others: as it is not known which states and scratch files they need, all of these stay.
    pub waiting: Vec<String>,
}

/// Something that goes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Removed {
    /// What it is: `item`, `object`, `state`, `scratch`, `damaged`.
    pub what: &'static str,
    /// Kind of the stage that made it; empty where it is not known.
    pub kind: String,
    /// What was made: `latent`, `text`; of what is no item the name of its file.
    pub sort: String,
    /// The item; empty where it is none.
    pub item: String,
    /// Bytes that become free.
    pub bytes: u64,
    /// When it was made; `null` where that is not known.
    pub made: Option<String>,
    /// Seconds that it took to make.
    pub seconds: Option<f64>,
}

/// Something that may go.
struct Candidate<'a> {
    entry: Option<&'a Entry>,
    told: Removed,
    made: Option<Timestamp>,
    /// Files and folders that go with it.
    paths: Vec<PathBuf>,
}

/// Clears what no root needs, as far as the limits say. The caller holds the store alone, unless nothing is
/// removed.
///
/// # Errors
/// The store cannot be read or written. What is left is whole.
pub fn collect(store: &Store, roots: &Roots, limits: &Limits) -> Result<Collected, StoreError> {
    let survey = Survey::of(store)?;
    let before: u64 = files(store.root()).iter().map(|(_, bytes)| bytes).sum();
    let (version, dry_run, after) = (1, limits.dry_run, before);
    let mut collected = Collected { version, dry_run, before, after, ..Collected::default() };
    let mut holders: HashMap<Digest, usize> = HashMap::new();
    for blob in survey.entries.iter().flat_map(Entry::objects) {
        *holders.entry(blob.digest).or_default() += 1;
    }
    let mut candidates = items(roots, &survey);
    candidates.extend(unnamed(store, &holders));
    candidates.sort_by(|one, other| cheapest(&one.told, &other.told));

    let (mut gone, mut paths) = (HashSet::new(), Vec::new());
    for by_age in [true, false] {
        let mut left = Vec::new();
        for mut candidate in std::mem::take(&mut candidates) {
            let goes = match by_age {
                true => is_old(candidate.made, limits),
                false => limits.max_size.is_some_and(|most| collected.after > most),
            };
            if !goes {
                left.push(candidate);
                continue;
            }
            if let Some(entry) = candidate.entry {
                candidate.paths.extend(freed(store, entry, &mut holders));
                candidate.told.bytes = candidate.paths.iter().map(|path| size(path)).sum();
                gone.insert((entry.recipe, entry.key));
            }
            paths.append(&mut candidate.paths);
            collected.take(candidate.told);
        }
        candidates = left;
    }
    for mut asked in asked_for(store, roots, limits, &mut collected) {
        paths.append(&mut asked.paths);
        collected.take(asked.told);
    }
    if !limits.dry_run {
        forget(store, &gone)?;
        paths.iter().try_for_each(|path| remove(path))?;
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
fn items<'a>(roots: &Roots, survey: &'a Survey) -> Vec<Candidate<'a>> {
    let entries = survey.entries.iter().filter(|entry| !roots.need_key(&entry.key));
    let candidates = entries.map(|entry| {
        let (sort, made) = (survey.sort(entry), clock::run_began(&entry.run));
        let told = Removed {
            what: "item",
            kind: sort.kind,
            sort: sort.recipe,
            item: entry.id.clone(),
            bytes: entry.bytes(),
            made: made.map(|made| made.to_string()),
            seconds: Some(entry.seconds),
        };
        Candidate { entry: Some(entry), told, made, paths: Vec::new() }
    });
    candidates.collect()
}

/// Objects that go with an item, since no other has them.
fn freed(store: &Store, entry: &Entry, holders: &mut HashMap<Digest, usize>) -> Vec<PathBuf> {
    let last = |digest: &Digest| {
        let holders = holders.entry(*digest).or_default();
        *holders = holders.saturating_sub(1);
        *holders == 0
    };
    let digests: Vec<_> = entry.objects().map(|blob| blob.digest).filter(last).collect();
    digests.iter().map(|digest| store.object(digest)).collect()
}

/// Objects that no record names.
fn unnamed(store: &Store, holders: &HashMap<Digest, usize>) -> Vec<Candidate<'static>> {
    let objects = files(&store.root().join("objects")).into_iter();
    let objects = objects.filter(|(path, _)| {
        store.object_digest(path).is_some_and(|digest| !holders.contains_key(&digest))
    });
    objects.map(|(path, _)| file("object", path)).collect()
}

/// A file or folder that may go.
fn file(what: &'static str, path: PathBuf) -> Candidate<'static> {
    let made = std::fs::metadata(&path).and_then(|file| file.modified()).ok();
    let made = made.and_then(|made| Timestamp::try_from(made).ok());
    let told = Removed {
        what,
        kind: String::new(),
        sort: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        item: String::new(),
        bytes: size(&path),
        made: made.map(|made| made.to_string()),
        seconds: None,
    };
    Candidate { entry: None, told, made, paths: vec![path] }
}

/// What goes only where it is asked for, or nobody can need it: states, damaged files, scratch files.
fn asked_for(
    store: &Store,
    roots: &Roots,
    limits: &Limits,
    collected: &mut Collected,
) -> Vec<Candidate<'static>> {
    let mut asked = Vec::new();
    let inside = |folder: &str| {
        let entries = disk::list(&store.root().join(folder)).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    if limits.damaged {
        asked.extend(inside("damaged").into_iter().map(|path| file("damaged", path)));
    }
    if !roots.waiting.is_empty() {
        collected.waiting.clone_from(&roots.waiting);
        return asked;
    }
    let key = |path: &Path| path.file_name()?.to_str()?.parse::<Digest>().ok();
    let scratch = inside("scratch").into_iter();
    let scratch = scratch.filter(|path| key(path).is_some_and(|key| !roots.need_key(&key)));
    asked.extend(scratch.map(|path| file("scratch", path)));
    if limits.states {
        let names = store.state_names().into_iter().filter(|name| !roots.states.contains(name));
        asked.extend(names.map(|name| file("state", store.state_folder(&name))));
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

/// Bytes of a file, or of all files in a folder.
fn size(path: &Path) -> u64 {
    files(path).iter().map(|(_, bytes)| bytes).sum()
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() { disk::remove_folder(path) } else { disk::remove(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::write(path, error))
        }
        _ => Ok(()),
    }
}

/// Writes the records anew, without those that go, and removes recipes without records.
fn forget(store: &Store, gone: &HashSet<(Digest, Digest)>) -> Result<(), StoreError> {
    let recipes: HashSet<Digest> = gone.iter().map(|(recipe, _)| *recipe).collect();
    let logs = record_logs(store).into_iter().filter(|(recipe, _)| recipes.contains(recipe));
    for (recipe, path) in logs {
        if store.forget_records(&path, |key| gone.contains(&(recipe, *key)))? == 0 {
            remove(&path)?;
            remove(&store.root().join("recipes").join(format!("{recipe}.json")))?;
        }
    }
    Ok(())
}
