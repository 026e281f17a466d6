//! Where a file comes from: which item of which stage made it, under which key, in which run, with which
//! networks, and what it was made from, back to the pictures.
//!
//! A file is known by its bytes: as a blob that an item made, as a text of one (a sidecar has an end of
//! line more), or as what a run noted that it published. A file that fluxpipe wrote and somebody changed
//! since is told as that. Reads only.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Blessed, Blob, KeyPart, Origin, Part, Requested, Store,
    nearest::{Past, digests_in},
    store::{Head, Record, StoredRecipe},
};
use crate::base::{Digest, Value, disk};

/// How a file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// It is an output, or a copy of one.
    Output,
    /// Its header names the network and the samples of a training whose output it is not, such as a
    /// checkpoint that was kept only while it trained, or that another program wrote anew.
    Header,
    /// A run published it; it shows outputs of many items.
    Published,
    /// fluxpipe wrote it, and somebody changed it since.
    Changed,
}

/// Where a file comes from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Provenance {
    /// The folder of the store that knows it.
    pub store: PathBuf,
    /// How it is known.
    pub known: Known,
    /// Name of the stage, where it can be told.
    pub stage: Option<String>,
    /// Kind of the stage; empty where it is not known.
    pub kind: String,
    /// The item that made it; `null` for a file that shows many items.
    pub item: Option<String>,
    /// How many items it shows.
    pub items: usize,
    /// Which blob of the output it is.
    pub blob: Option<String>,
    /// Key of the recipe; `null` where it is made of several.
    #[schemars(with = "Option<String>")]
    pub recipe_key: Option<Digest>,
    /// Key of the item.
    #[schemars(with = "Option<String>")]
    pub key: Option<Digest>,
    /// Whether that is the key of the item after the last run of its stage.
    pub current: Option<bool>,
    /// Where it was accepted by hand under this key, and made under another.
    pub blessed: Option<Blessed>,
    /// Id of the run that made it, or published it.
    pub run: Option<String>,
    /// The manifest of that run, where it is kept.
    pub request: Option<Requested>,
    /// What it was made of.
    pub parts: Vec<Part>,
    /// What that was made by, from the nearest to the pictures.
    pub from: Vec<Source>,
}

/// Items of one recipe from which something was made, directly or through others.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Source {
    /// Kind of the stage.
    pub kind: String,
    /// What it made: `latent`, `text`.
    pub recipe: String,
    /// Key of the recipe.
    #[schemars(with = "String")]
    pub recipe_key: Digest,
    /// How many items.
    pub items: usize,
    /// The first of them.
    pub first: Vec<String>,
    /// The networks with which they were made.
    pub models: Vec<Model>,
}

/// A file of a network's weights or tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Model {
    /// What it is to the stage: `flux`, `t5xxl`.
    pub name: String,
    /// Where it lay.
    pub path: PathBuf,
    /// Digest of its bytes.
    pub digest: String,
}

/// Items named per source.
const NAMED: usize = 3;

/// A text larger than this is no sidecar.
const SIDECAR: u64 = 1 << 16;

/// Where the file at `path` comes from, as far as the store knows; `None` where it does not. `header` has the
/// digests of key parts that its header names, where it has one.
#[must_use]
pub fn provenance(store: &Store, path: &Path, header: &[Digest]) -> Option<Provenance> {
    let size = std::fs::metadata(path).ok()?.len();
    let finder = Finder { store, past: Past::new(store), path, size };
    if let Some(named) = finder.named()
        && Digest::of_file(path).ok() != Some(named)
    {
        let damaged = finder.output(&named);
        return damaged.map(|found| Provenance { known: Known::Changed, ..found });
    }
    let digest = finder.digest();
    let found = digest.and_then(|digest| finder.output(&digest));
    let found = found.or_else(|| finder.text());
    let found = found.or_else(|| finder.published(digest));
    found.or_else(|| finder.by_header(header))
}

struct Finder<'a> {
    store: &'a Store,
    past: Past<'a>,
    path: &'a Path,
    size: u64,
}

/// A record, with its recipe and the blob that was looked for.
struct Found<'p> {
    recipe_key: Digest,
    recipe: &'p StoredRecipe,
    record: Record,
    blob: Blob,
}

/// That a run published a file.
struct Notice {
    /// Whether it is the very file, by its digest.
    same: bool,
    stage: String,
    run: String,
    digest: Option<Digest>,
}

/// A line of a run's record about a published file.
#[derive(Deserialize)]
struct Line {
    stage: String,
    path: PathBuf,
    #[serde(default)]
    digest: Option<Digest>,
}

impl Finder<'_> {
    /// The digest that the path of an object names.
    fn named(&self) -> Option<Digest> {
        let name = self.path.file_name()?.to_str()?;
        let folder = self.path.parent()?.file_name()?.to_str()?;
        format!("{folder}{name}").parse().ok()
    }

    /// The digest of the file; `None` where it is larger than a published file can be without being an
    /// output, and no output is as large: then it need not be read.
    fn digest(&self) -> Option<Digest> {
        if let Some(named) = self.named() {
            return Some(named);
        }
        let needle = format!("\"size\":{}", self.size);
        let alike = || self.records(&needle).into_iter().map(|found| found.blob);
        // A large file that was linked from the store need not be read either.
        if let Some(blob) = alike().filter(|blob| blob.size == self.size).find(|blob| {
            blob.text.is_none() && disk::is_same(self.path, &self.store.object(&blob.digest))
        }) {
            return Some(blob.digest);
        }
        /// `meta_data.json` of 500 000 pictures.
        const PUBLISHED: u64 = 1 << 28;
        let may_be = self.size <= PUBLISHED || alike().any(|blob| blob.size == self.size);
        may_be.then(|| Digest::of_file(self.path).ok()).flatten()
    }

    /// The records with an output in whose line this text stands; one per blob.
    fn records(&self, text: &str) -> Vec<Found<'_>> {
        let mut found = Vec::new();
        for (recipe_key, recipe) in self.past.recipes() {
            for record in self.past.records(recipe_key).mentioning(text) {
                for blob in record.output.iter().flat_map(|output| &output.blobs) {
                    let (record, blob) = (record.clone(), blob.clone());
                    found.push(Found { recipe_key: *recipe_key, recipe, record, blob });
                }
            }
        }
        found
    }

    /// The file as an output with this digest.
    fn output(&self, digest: &Digest) -> Option<Provenance> {
        let mut found = self.records(&digest.hex());
        found.retain(|found| found.blob.digest == *digest);
        self.best(found)
    }

    /// The file as a text of an output, with an end of line: a sidecar as fluxpipe wrote it, or a copy of
    /// one. What a person wrote is no output, even where a stage read the same words.
    fn text(&self) -> Option<Provenance> {
        if self.size > SIDECAR {
            return None;
        }
        let text = disk::read_to_string(self.path).ok()?;
        let whole = Digest::of(text.as_bytes());
        let written = self.store.ledger().written_at(self.path).unwrap_or_default();
        let notice = self.notice(Some(whole));
        // What an earlier version published has no digest in its record.
        let same = notice.as_ref().is_some_and(|notice| notice.same || notice.digest.is_none());
        let stage = notice.map(|notice| notice.stage);
        if !same && !written.iter().any(|(_, digest)| *digest == whole) {
            return None;
        }
        let text = text.strip_suffix('\n')?;
        let digest = Digest::of(text.as_bytes());
        let mut found = self.records(&digest.hex());
        found.retain(|found| found.blob.digest == digest);
        // Later stages keep the words that they read.
        if let Some(stage) = stage
            && found.iter().any(|found| stage_name(found.recipe) == stage)
        {
            found.retain(|found| stage_name(found.recipe) == stage);
        }
        self.best(found)
    }

    /// Of several items that made the same, that of the picture beside which the file was written, else
    /// one that is current, else the latest.
    fn best(&self, mut found: Vec<Found<'_>>) -> Option<Provenance> {
        let beside = self.store.ledger().written_at(self.path).unwrap_or_default();
        let beside: HashSet<Digest> = beside.into_iter().map(|(picture, _)| picture).collect();
        let reads = |part: &KeyPart| matches!(&part.value, Some(Value::Digest(digest)) if beside.contains(digest));
        found.sort_by_cached_key(|found| {
            let of_picture = found.record.parts.iter().any(reads);
            let (current, named) = (self.is_current(found) == Some(true), self.is_named(found));
            (of_picture, current, named, found.record.run.clone())
        });
        Some(self.told(found.pop()?, Known::Output))
    }

    /// Whether the file is called like the item.
    fn is_named(&self, found: &Found<'_>) -> bool {
        self.path.file_stem().is_some()
            && self.path.file_stem() == Path::new(&found.record.id).file_stem()
    }

    /// The file as a checkpoint of a training with these parts in its key, by its header.
    fn by_header(&self, header: &[Digest]) -> Option<Provenance> {
        if header.is_empty() {
            return None;
        }
        let is = |part: &KeyPart, wanted: &Digest| {
            part.value
                .as_ref()
                .is_some_and(|value| *value == Value::Digest(*wanted) || value.digest() == *wanted)
        };
        let mut found = self.records("\"output\":");
        found.retain(|found| {
            let parts = || found.recipe.parts.iter().chain(&found.record.parts);
            header.iter().all(|wanted| parts().any(|part| is(part, wanted)))
        });
        let keys: HashSet<_> = found.iter().map(|found| found.record.key).collect();
        let latest =
            found.into_iter().max_by(|one, other| one.record.run.cmp(&other.record.run))?;
        Some(Provenance {
            items: keys.len(),
            blob: None,
            current: None,
            ..self.told(latest, Known::Header)
        })
    }

    fn is_current(&self, found: &Found<'_>) -> Option<bool> {
        let (recipe, id) = (&found.recipe.recipe, &found.record.id);
        let head = self.store.heads(&stage_name(found.recipe)).get(recipe, id)?;
        Some(head == Head { recipe: found.recipe_key, item: found.record.key })
    }

    fn told(&self, found: Found<'_>, known: Known) -> Provenance {
        let current = self.is_current(&found);
        let Found { recipe_key, recipe, record, blob } = found;
        let blessings = self.store.blessings().unwrap_or_default();
        let blessed = record.output.as_ref().and_then(|output| blessings.of(&record.key, output));
        let request = self.store.past_run(&record.run).and_then(|run| run.asked);
        let shared = recipe.parts.iter().chain(&record.parts);
        let mut wanted = Wanted::default();
        record.parts.iter().for_each(|part| wanted.add(part));
        Provenance {
            store: self.store.root().to_owned(),
            known,
            stage: Some(stage_name(recipe)),
            kind: recipe.kind.clone(),
            item: Some(record.id.clone()),
            items: 1,
            blob: Some(blob.name),
            recipe_key: Some(recipe_key),
            key: Some(record.key),
            current,
            blessed,
            run: Some(record.run.clone()),
            request,
            parts: shared.map(Part::from).collect(),
            from: self.sources(&wanted),
        }
    }

    /// The file as what a run published.
    fn published(&self, digest: Option<Digest>) -> Option<Provenance> {
        let notice = self.notice(digest)?;
        if notice.same {
            return Some(self.shown(Known::Published, &notice));
        }
        // What an earlier version published has no digest in its record.
        let known = if notice.digest.is_some() { Known::Changed } else { Known::Published };
        Some(self.shown(known, &notice))
    }

    /// What the latest run says that published a file with this digest, or else one in this place.
    fn notice(&self, digest: Option<Digest>) -> Option<Notice> {
        let absolute = std::path::absolute(self.path).ok()?;
        let mut at_path = None;
        for run in self.store.run_ids() {
            let record = disk::read(&self.store.root().join("runs").join(format!("{run}.jsonl")));
            let Ok(record) = record else { continue };
            let lines = record.par_split(|&byte| byte == b'\n').filter_map(|line| {
                let line: Line = match line.starts_with(br#"{"event":"published""#) {
                    true => serde_json::from_slice(line).ok()?,
                    false => return None,
                };
                let same = line.digest.is_some() && line.digest == digest;
                // A run of the folder `.` names its files from there.
                let path = line.path.strip_prefix(".").unwrap_or(&line.path);
                let is_there = absolute.ends_with(path);
                (same || is_there).then(|| Notice {
                    same,
                    stage: line.stage,
                    run: run.clone(),
                    digest: line.digest,
                })
            });
            let mut lines = lines.collect::<Vec<_>>();
            // Of several, the last is what the run left.
            if let Some(place) = lines.iter().rposition(|notice| notice.same) {
                return Some(lines.swap_remove(place));
            }
            at_path = at_path.or(lines.pop());
        }
        at_path
    }

    /// A file of many items of a stage, as a run left them.
    fn shown(&self, known: Known, notice: &Notice) -> Provenance {
        let Notice { stage, run, .. } = notice;
        let past = self.store.past_run(run).unwrap_or_default();
        let kind = past.stages.iter().find(|past| past.name == *stage);
        let kind = kind.map(|stage| stage.kind.clone()).unwrap_or_default();
        let keys = self.store.keys_after(stage, run);
        let heads = keys.iter().flat_map(|keys| keys.iter()).map(|(.., head)| head);
        let mut items = heads.filter_map(|head| self.found(head)).collect::<Vec<_>>();
        // A sidecar shows one of them.
        if !self.store.ledger().written_at(self.path).unwrap_or_default().is_empty() {
            items.retain(|found| self.is_named(found));
            if let (Some(found), true) = (items.pop(), items.is_empty()) {
                return Provenance { run: Some(run.clone()), ..self.told(found, known) };
            }
        }
        let (count, from) = (items.len(), self.lineage(items));
        Provenance {
            store: self.store.root().to_owned(),
            known,
            stage: Some(stage.clone()),
            kind,
            item: None,
            items: count,
            blob: None,
            recipe_key: None,
            key: None,
            current: None,
            blessed: None,
            run: Some(run.clone()),
            request: past.asked,
            parts: Vec::new(),
            from,
        }
    }

    /// The record of a key, with its recipe and its first blob.
    fn found(&self, head: Head) -> Option<Found<'_>> {
        let (recipe, record) = self.past.stored(head)?;
        let blob = record.output.as_ref()?.blobs.first()?.clone();
        Some(Found { recipe_key: head.recipe, recipe, record, blob })
    }

    /// What made these, and what made what that was made of, level by level.
    fn sources(&self, wanted: &Wanted) -> Vec<Source> {
        self.lineage(self.made(wanted))
    }

    /// These as sources, and all before them.
    fn lineage<'s>(&'s self, mut made: Vec<Found<'s>>) -> Vec<Source> {
        let (mut seen, mut sources) = (HashSet::new(), Vec::new());
        while !made.is_empty() {
            let mut next = Wanted::default();
            let mut level =
                BTreeMap::<(String, String, Digest), (BTreeSet<String>, &StoredRecipe)>::new();
            for Found { recipe_key, recipe, record, .. } in made {
                if !seen.insert((recipe_key, record.key, record.id.clone())) {
                    continue;
                }
                let name = (recipe.kind.clone(), recipe.recipe.clone(), recipe_key);
                let items = level.entry(name).or_insert((BTreeSet::new(), recipe));
                items.0.insert(record.id.clone());
                record.parts.iter().for_each(|part| next.add(part));
            }
            for ((kind, recipe, recipe_key), (items, stored)) in level {
                let (count, models) = (items.len(), models(&stored.parts));
                let first = items.into_iter().take(NAMED).collect();
                sources.push(Source { kind, recipe, recipe_key, items: count, first, models });
            }
            made = self.made(&next);
        }
        sources
    }

    /// The records that made these: of several with one digest, those of the items that are named, the latest
    /// of each; else the latest of all.
    fn made(&self, wanted: &Wanted) -> Vec<Found<'_>> {
        // By digest and the name that was asked for.
        let mut made = HashMap::<(Digest, Option<String>), Found<'_>>::new();
        for (recipe_key, recipe) in self.past.recipes() {
            let stage = stage_name(recipe);
            for record in self.past.records(recipe_key).all() {
                for blob in record.output.iter().flat_map(|output| &output.blobs) {
                    let Some(items) = wanted.0.get(&(blob.digest, stage.clone())) else { continue };
                    let name = items.contains(&record.id).then(|| record.id.clone());
                    let later = |known: &Found<'_>| {
                        (&known.record.run, known.record.key) < (&record.run, record.key)
                    };
                    let place = (blob.digest, name);
                    if made.get(&place).is_none_or(later) {
                        let (record, blob) = (record.clone(), blob.clone());
                        made.insert(place, Found { recipe_key: *recipe_key, recipe, record, blob });
                    }
                }
            }
        }
        // An item that shares the output of another one has no record of its own.
        let known: HashSet<Digest> =
            made.keys().filter(|(_, name)| name.is_some()).map(|(digest, _)| *digest).collect();
        let told = made
            .into_iter()
            .filter(|((digest, name), _)| name.is_some() || !known.contains(digest));
        told.map(|(_, found)| found).collect()
    }
}

/// Digests of blobs by the stage that made them, with the ids of the items, where these are known.
#[derive(Default)]
struct Wanted(HashMap<(Digest, String), HashSet<String>>);

impl Wanted {
    fn add(&mut self, part: &KeyPart) {
        let (Some(value), Origin::Upstream { stage, item }) = (&part.value, &part.origin) else {
            return;
        };
        let mut digests = Vec::new();
        digests_in(value, &mut digests);
        for digest in digests {
            let items = self.0.entry((digest, stage.clone())).or_default();
            // A list is of many items, and its origin no name of one.
            if matches!(value, Value::Digest(_)) {
                items.insert(item.clone());
            }
        }
    }
}

impl Provenance {
    /// The networks with which it was made, not counting those of what it was made from.
    #[must_use]
    pub fn models(&self) -> Vec<Model> {
        let parts = self.parts.iter();
        parts.filter_map(|part| model(&part.name, part.value.as_ref(), &part.origin)).collect()
    }
}

fn models(parts: &[KeyPart]) -> Vec<Model> {
    let parts = parts.iter();
    parts.filter_map(|part| model(&part.name, part.value.as_ref(), &part.origin)).collect()
}

fn model(name: &str, value: Option<&Value>, origin: &Origin) -> Option<Model> {
    let Origin::Model(path) = origin else { return None };
    // What else a recipe takes from such a file, such as the order of its colours, is no file.
    let Value::Digest(digest) = value? else { return None };
    Some(Model { name: name.to_owned(), path: path.clone(), digest: digest.hex() })
}

/// Name of the stage, or step of one, that a recipe is of: by the values of the manifest in it.
fn stage_name(recipe: &StoredRecipe) -> String {
    let named = recipe.parts.iter().find_map(|part| match &part.origin {
        Origin::Manifest { path, .. } => path.strip_prefix("stages.")?.split('.').next(),
        _ => None,
    });
    match (named, recipe.kind.split_once('.')) {
        (Some(stage), Some((_, step))) => format!("{stage}.{step}"),
        (Some(stage), None) => stage.to_owned(),
        (None, _) => recipe.kind.clone(),
    }
}

/// Folders looked into above a file.
const ABOVE: usize = 6;

/// Entries looked at in one of them.
const ENTRIES: usize = 2000;

/// The stores that may know a file: those in its folder and the folders above it, and in the folders beside
/// it on the way up; the nearest first. Each is given as the folder that [`Store::open`] takes.
#[must_use]
pub fn stores_about(path: &Path) -> Vec<PathBuf> {
    let Ok(path) = std::path::absolute(path) else { return Vec::new() };
    let mut found = Vec::new();
    let is_store = |folder: &Path| folder.join("v1").join("records").is_dir();
    let mut look = |folder: PathBuf| {
        if is_store(&folder) && !found.contains(&folder) {
            found.push(folder);
        }
    };
    for above in path.ancestors().skip(1).take(ABOVE) {
        look(above.to_owned());
        look(above.join("store"));
        let entries = disk::list(above).into_iter().flatten().flatten().take(ENTRIES);
        let mut folders: Vec<_> = entries.map(|entry| entry.path().join("store")).collect();
        folders.sort();
        folders.into_iter().for_each(&mut look);
    }
    found
}
