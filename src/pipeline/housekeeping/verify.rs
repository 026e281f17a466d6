//! Whether all that a store holds is what it was when it was stored.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::survey::{Entry, Roots, Survey, files, record_logs};
use crate::{
    base::{Digest, clock::Stopwatch, disk, plural},
    pipeline::{Store, StoreError},
};

/// What `cache verify --json` prints.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Verified {
    /// Version of this layout.
    pub version: u32,
    /// The manifest, as the command line names it; filled in by the caller.
    pub manifest: String,
    /// Objects that were compared with their digests.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Time that it took.
    pub seconds: f64,
    /// What is not what it was.
    pub damaged: Vec<Finding>,
    /// Outputs that a record names and whose object is not there.
    pub missing: Vec<Finding>,
    /// Objects that no record names, such as what a killed process left.
    pub unnamed: Vec<Finding>,
    /// Whether what is damaged was moved away.
    pub repaired: bool,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Finding {
    /// The file, or the folder of a state.
    pub path: PathBuf,
    /// What it is: `object`, `log`, `recipe`, `manifest`, `heads`, `derived`, `state`.
    pub what: &'static str,
    /// Its bytes.
    pub bytes: u64,
    /// Name of the stage that it belongs to; `null` where the manifest does not need it.
    pub stage: Option<String>,
    /// Kind of the stage that made it.
    pub kind: Option<String>,
    /// The item that made it.
    pub item: Option<String>,
    /// What would make it again, or what its loss costs.
    pub loss: String,
    /// Where it was moved.
    pub moved: Option<PathBuf>,
}

impl Finding {
    fn new(what: &'static str, path: PathBuf, loss: impl Into<String>) -> Self {
        let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
        let (stage, kind, item, moved) = (None, None, None, None);
        Self { path, what, bytes, stage, kind, item, loss: loss.into(), moved }
    }
}

/// Compares all files of the store with their digests and sums, on all cores. `states` are folders of
/// states that were found damaged by who knows their form. With `repair` what is damaged is moved to
/// `damaged/`, for which the caller holds the store alone.
///
/// # Errors
/// The store cannot be read, or with `repair` not be written.
pub fn verify(
    store: &Store,
    roots: &Roots,
    states: Vec<PathBuf>,
    repair: bool,
) -> Result<Verified, StoreError> {
    let watch = Stopwatch::start();
    let survey = Survey::of(store)?;
    let mut makers: HashMap<Digest, Vec<&Entry>> = HashMap::new();
    for entry in &survey.entries {
        for blob in entry.objects() {
            makers.entry(blob.digest).or_default().push(entry);
        }
    }
    let makers = Makers { makers, survey: &survey, roots };
    let found = files(&store.root().join("objects"));
    let mut verified = Verified {
        version: 1,
        objects: found.len(),
        bytes: found.iter().map(|(_, bytes)| bytes).sum(),
        repaired: repair,
        ..Verified::default()
    };
    let is_whole = |path: &Path, named: Option<Digest>| {
        named.is_some_and(|named| Digest::of_file(path).is_ok_and(|found| found == named))
    };
    let looked = found.par_iter().map(|(path, _)| {
        let named = store.object_digest(path);
        (path, named, is_whole(path, named))
    });
    let looked: Vec<_> = looked.collect();
    for (path, named, whole) in looked {
        let finding = makers.finding(path.clone(), named);
        match (whole, finding.item.is_some()) {
            (false, _) => verified.damaged.push(finding),
            (true, false) => verified.unnamed.push(finding),
            (true, true) => {}
        }
    }
    let missing = makers.makers.keys().map(|digest| (store.object(digest), *digest));
    let mut missing: Vec<_> = missing.filter(|(path, _)| !path.is_file()).collect();
    missing.sort();
    let missing = missing.into_iter().map(|(path, digest)| makers.finding(path, Some(digest)));
    verified.missing = missing.collect();
    verified.damaged.extend(others(store)?);
    let starts_over = "its training starts over if it is to go on";
    let states = states.into_iter().map(|path| Finding::new("state", path, starts_over));
    verified.damaged.extend(states);
    if repair {
        for damaged in &mut verified.damaged {
            damaged.moved = repaired(store, damaged)?;
        }
    }
    verified.seconds = watch.seconds();
    Ok(verified)
}

/// Who made which object.
struct Makers<'a> {
    makers: HashMap<Digest, Vec<&'a Entry>>,
    survey: &'a Survey,
    roots: &'a Roots,
}

impl Makers<'_> {
    /// What there is to say of an object; it has an item where a record names it.
    fn finding(&self, path: PathBuf, digest: Option<Digest>) -> Finding {
        let makers = digest.and_then(|digest| self.makers.get(&digest));
        let makers = makers.map_or(&[][..], Vec::as_slice);
        let needed = makers.iter().find(|entry| self.roots.need_key(&entry.key));
        let Some(maker) = needed.or(makers.first()) else {
            return Finding::new("object", path, "nothing: no record names it");
        };
        let stage = self.roots.stages.get(&maker.key).cloned();
        let loss = match &stage {
            Some(stage) => {
                let when = if path.exists() {
                    "after --repair, or when a run reads it"
                } else {
                    "with the next run"
                };
                format!("{stage} makes {} again {when}", maker.id)
            }
            None => "nothing: this manifest does not need it".to_owned(),
        };
        let kind = Some(self.survey.sort(maker).kind);
        Finding { stage, kind, item: Some(maker.id.clone()), ..Finding::new("object", path, loss) }
    }
}

/// What is damaged besides objects and states.
fn others(store: &Store) -> Result<Vec<Finding>, StoreError> {
    let root = store.root();
    let mut found = Vec::new();
    let mut logs: Vec<_> = record_logs(store).into_iter().map(|(_, path)| path).collect();
    logs.extend(["files.log", "rates.log", "blessed.log"].map(|name| root.join(name)));
    for folder in ["facts", "keys"] {
        logs.extend(files(&root.join(folder)).into_iter().map(|(path, _)| path));
    }
    logs.push(root.join("ledger").join("sidecars.log"));
    for path in logs {
        match store.broken_lines(&path)? {
            0 => {}
            broken => {
                let loss = format!(
                    "{} passed over; what stood there is made or looked up again",
                    plural(broken, "line")
                );
                found.push(Finding::new("log", path, loss));
            }
        }
    }
    for (path, _) in files(&root.join("recipes")) {
        let name = path.file_name().and_then(|name| name.to_str());
        let key = name.and_then(|name| name.strip_suffix(".json")?.parse().ok());
        if key.is_some_and(|key| store.recipe(&key).is_none()) {
            found.push(Finding::new("recipe", path, "explanations; the next run writes it again"));
        }
    }
    for (path, _) in files(&root.join("manifests")) {
        let name = path.file_name().and_then(|name| name.to_str());
        let digest = name.and_then(|name| name.strip_suffix(".toml")?.parse().ok());
        if digest.is_some_and(|digest| store.past_manifest(&digest).is_none()) {
            found.push(Finding::new("manifest", path, "what an earlier run was asked, for `log`"));
        }
    }
    for (path, _) in files(&root.join("heads")) {
        let bytes = disk::read(&path).unwrap_or_default();
        if serde_json::from_slice::<serde_json::Value>(&bytes).is_err() {
            found.push(Finding::new("heads", path, "explanations; the next run writes it again"));
        }
    }
    for (path, _) in files(&root.join("derived")) {
        if !store.is_sealed(&path) {
            found.push(Finding::new("derived", path, "it is made again by whoever needs it"));
        }
    }
    Ok(found)
}

/// Moves what is damaged away. Of a log, whose lines count one by one, the whole lines stay.
fn repaired(store: &Store, damaged: &Finding) -> Result<Option<PathBuf>, StoreError> {
    let moved = store.move_away(&damaged.path);
    if let ("log", Some(moved)) = (damaged.what, &moved) {
        store.keep_lines(moved, &damaged.path, |_| true)?;
    }
    Ok(moved)
}
