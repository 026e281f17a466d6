//! What takes the room in a store.

use std::collections::{BTreeMap, HashSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::survey::{Roots, Survey, files};
use crate::pipeline::{Store, StoreError};

/// What takes the room in a store, as `cache du --json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Usage {
    /// Version of this layout.
    pub version: u32,
    /// The manifest, as the command line names it; filled in by the caller.
    pub manifest: String,
    /// Folder of the store.
    pub store: String,
    /// Outputs, by stage and sort.
    pub outputs: Vec<UsedBy>,
    /// Objects that no record names, such as what a killed process left.
    pub unnamed: UsedBy,
    /// States of trainings; `reachable` are those that the manifest would go on from.
    pub states: UsedBy,
    /// Large files in the making.
    pub scratch: UsedBy,
    /// What can be made again from contents, such as thumbnails.
    pub derived: UsedBy,
    /// Damaged files that were moved away.
    pub damaged: UsedBy,
    /// Logs, recipes and the rest.
    pub records: UsedBy,
    /// All bytes.
    pub bytes: u64,
    /// Bytes that the manifest needs, without states.
    pub reachable_bytes: u64,
}

/// Who takes room, and how much. An object that several items share counts for the first.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct UsedBy {
    /// Name of the stage; `None` where the manifest does not need it.
    pub stage: Option<String>,
    /// Kind of the stage; empty where it is not known.
    pub kind: String,
    /// What is made: `latent`, `text`.
    pub sort: String,
    /// How many items or files.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them the manifest needs.
    pub reachable: usize,
}

/// Counts what takes the room.
///
/// # Errors
/// A log cannot be read.
pub fn usage(store: &Store, roots: &Roots) -> Result<Usage, StoreError> {
    let survey = Survey::of(store)?;
    let mut rows: BTreeMap<(bool, String, String, String), UsedBy> = BTreeMap::new();
    let (mut named, mut reachable_bytes) = (HashSet::new(), 0);
    // Those that are needed first, so that what is shared counts as needed.
    let (needed, other): (Vec<_>, Vec<_>) =
        survey.entries.iter().partition(|entry| roots.keys.contains(&entry.key));
    let needed = needed.into_iter().map(|entry| (entry, true));
    for (entry, reachable) in needed.chain(other.into_iter().map(|entry| (entry, false))) {
        let sort = survey.sort(entry);
        let stage = roots.stages.get(&entry.key).filter(|_| reachable).cloned();
        let key = (!reachable, stage.clone().unwrap_or_default(), sort.kind.clone(), sort.recipe.clone());
        let row = rows.entry(key).or_insert_with(|| UsedBy {
            stage,
            kind: sort.kind.clone(),
            sort: sort.recipe.clone(),
            ..UsedBy::default()
        });
        let objects = entry.objects().filter(|blob| named.insert(blob.digest));
        let bytes = objects.map(|blob| blob.size).sum::<u64>();
        row.count += 1;
        row.bytes += bytes;
        row.reachable += usize::from(reachable);
        reachable_bytes += if reachable { bytes } else { 0 };
    }
    let folder = |name: &str| files(&store.root().join(name));
    let count = |files: &[(std::path::PathBuf, u64)]| UsedBy {
        count: files.len(),
        bytes: files.iter().map(|(_, bytes)| bytes).sum(),
        ..UsedBy::default()
    };
    let mut unnamed = folder("objects");
    unnamed.retain(|(path, _)| store.object_digest(path).is_none_or(|digest| !named.contains(&digest)));
    let mut states = count(&folder("states"));
    states.count = store.state_names().len();
    states.reachable = store.state_names().iter().filter(|name| roots.states.contains(name)).count();
    let all = files(store.root());
    let (scratch, derived, damaged) = (folder("scratch"), folder("derived"), folder("damaged"));
    let mut records = Vec::new();
    for (path, bytes) in &all {
        let top = path.strip_prefix(store.root()).ok().and_then(|path| path.iter().next());
        let elsewhere = ["objects", "states", "scratch", "derived", "damaged"];
        if top.is_some_and(|top| elsewhere.iter().all(|name| *name != top)) {
            records.push((path.clone(), *bytes));
        }
    }
    Ok(Usage {
        version: 1,
        manifest: String::new(),
        store: store.root().display().to_string(),
        outputs: rows.into_values().collect(),
        unnamed: count(&unnamed),
        states,
        scratch: count(&scratch),
        derived: count(&derived),
        damaged: count(&damaged),
        records: count(&records),
        bytes: all.iter().map(|(_, bytes)| bytes).sum(),
        reachable_bytes,
    })
}
