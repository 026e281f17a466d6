//! Whether all that a store holds is what it was when it was stored.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::survey::{Entry, Roots, Survey, files, logs};
use crate::{
    base::{Digest, clock::Stopwatch, plural},
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
    /// Files that no record names.
    pub foreign: Vec<Finding>,
    /// Whether the damaged files were moved away.
    pub repaired: bool,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// What it is: `object`, `record`, `recipe`, `log`, `state`, `derived`, `heads`, `other`.
    pub what: String,
    /// Its bytes.
    pub bytes: u64,
    /// Name of the stage whose item made it; `None` where the manifest does not need it.
    pub stage: Option<String>,
    /// Kind of that stage.
    pub kind: Option<String>,
    /// The item.
    pub item: Option<String>,
    /// What would make it again, or what its loss costs.
    pub again: String,
    /// Where it was moved.
    pub moved: Option<PathBuf>,
}

/// Compares all files of the store with their digests and sums, on all cores; with `repair` moves damaged
/// files to `damaged/`, for which the caller owns the store.
///
/// # Errors
/// The store cannot be read, or with `repair` not be written.
pub fn verify(store: &Store, roots: &Roots, repair: bool) -> Result<Verified, StoreError> {
    let watch = Stopwatch::start();
    let survey = Survey::of(store)?;
    let mut makers: HashMap<Digest, Vec<&Entry>> = HashMap::new();
    for entry in &survey.entries {
        for blob in entry.objects() {
            makers.entry(blob.digest).or_default().push(entry);
        }
    }
    let found = files(&store.root().join("objects"));
    let mut verified = Verified {
        version: 1,
        objects: found.len(),
        bytes: found.iter().map(|(_, bytes)| bytes).sum(),
        repaired: repair,
        ..Verified::default()
    };
    let looked: Vec<_> = found.par_iter().map(|(path, _)| look(store, path)).collect();
    for ((path, bytes), looked) in found.iter().zip(looked) {
        let makers = looked.digest.and_then(|digest| makers.get(&digest));
        let finding = finding(path, *bytes, &survey, roots, makers.map_or(&[], Vec::as_slice));
        match (looked.whole, makers) {
            (false, _) if looked.digest.is_some() => verified.damaged.push(finding),
            (true, Some(_)) => {}
            _ => verified.foreign.push(Finding { again: "nothing needs it".to_owned(), ..finding }),
        }
    }
    for (digest, makers) in &makers {
        let path = store.object(digest);
        if !path.is_file() {
            verified.missing.push(finding(&path, 0, &survey, roots, makers));
        }
    }
    verified.missing.sort_by(|one, other| one.path.cmp(&other.path));
    verified.damaged.extend(others(store)?);
    if repair {
        for damaged in &mut verified.damaged {
            damaged.moved = repaired(store, damaged)?;
        }
    }
    verified.seconds = watch.seconds();
    Ok(verified)
}

struct Looked {
    digest: Option<Digest>,
    whole: bool,
}

fn look(store: &Store, path: &Path) -> Looked {
    let digest = store.object_digest(path);
    let found = Digest::of_file(path).ok();
    Looked { digest, whole: digest.is_some() && found == digest }
}

fn finding(
    path: &Path,
    bytes: u64,
    survey: &Survey,
    roots: &Roots,
    makers: &[&Entry],
) -> Finding {
    let needed = makers.iter().find(|entry| roots.keys.contains(&entry.key));
    let maker = needed.or(makers.first());
    let stage = needed.and_then(|entry| roots.stages.get(&entry.key)).cloned();
    let kind = maker.map(|entry| survey.sort(entry).kind.clone());
    let again = match (&stage, maker) {
        (Some(stage), Some(entry)) => format!("the next run: `{}` of stage {stage}", entry.id),
        (None, Some(_)) => "nothing: this manifest does not need it".to_owned(),
        (_, None) => "nothing: no record names it".to_owned(),
    };
    let item = maker.map(|entry| entry.id.clone());
    Finding { path: path.to_owned(), what: "object".to_owned(), bytes, stage, kind, item, again, moved: None }
}

/// What is damaged besides objects.
fn others(store: &Store) -> Result<Vec<Finding>, StoreError> {
    let mut found = Vec::new();
    let mut add = |path: PathBuf, what: &str, again: String| {
        let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
        let what = what.to_owned();
        found.push(Finding { path, what, bytes, stage: None, kind: None, item: None, again, moved: None });
    };
    let root = store.root();
    for (_, path) in logs(store) {
        let broken = store.broken_lines(&path)?;
        if broken > 0 {
            let lines = plural(broken, "line");
            add(path, "record", format!("{lines} passed over; the next run makes those items"));
        }
    }
    let mut remembered = vec![root.join("files.log")];
    remembered.extend(files(&root.join("facts")).into_iter().map(|(path, _)| path));
    remembered.push(root.join("ledger").join("sidecars.log"));
    for path in remembered {
        let broken = store.broken_lines(&path)?;
        if broken > 0 {
            let again = format!("{} passed over", plural(broken, "line"));
            add(path, "log", again);
        }
    }
    for (path, _) in files(&root.join("recipes")) {
        let key = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")?.parse().ok());
        if key.is_some_and(|key| store.recipe(&key).is_none()) {
            add(path, "recipe", "the next run; it is for explanations only".to_owned());
        }
    }
    for (path, _) in files(&root.join("heads")) {
        let parsed = fs_err::read(&path).ok();
        let parsed = parsed.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        if parsed.is_none() {
            add(path, "heads", "the next run; it is for explanations only".to_owned());
        }
    }
    for (path, _) in files(&root.join("derived")) {
        if !store.is_sealed(&path) {
            add(path, "derived", "whoever needs it next".to_owned());
        }
    }
    for path in store.damaged_states() {
        add(path, "state", "its training starts over where it shall go on".to_owned());
    }
    Ok(found)
}

/// Moves a damaged file away. Of a log whose lines count one by one, the whole lines stay.
fn repaired(store: &Store, damaged: &Finding) -> Result<Option<PathBuf>, StoreError> {
    match &damaged.what[..] {
        "record" | "log" => store.without_broken_lines(&damaged.path).map(Some),
        _ => Ok(store.move_away(&damaged.path)),
    }
}
