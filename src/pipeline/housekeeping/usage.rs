//! What takes the room in a store.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

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
    pub store: PathBuf,
    /// Outputs, by stage and sort; those that the manifest needs first.
    pub outputs: Vec<UsedBy>,
    /// Objects that no record names, such as what a killed process left.
    pub unnamed: UsedBy,
    /// States of trainings.
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
    /// Bytes of outputs that the manifest needs.
    pub needed_bytes: u64,
}

/// Who takes room, and how much. An object that several items share counts for the first.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct UsedBy {
    /// Name of the stage; `null` where the manifest does not need it.
    pub stage: Option<String>,
    /// Kind of the stage; empty where it is not known.
    pub kind: String,
    /// What is made: `latent`, `text`.
    pub sort: String,
    /// How many items, states or files.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them the manifest needs.
    pub needed: usize,
}

/// Counts what takes the room.
///
/// # Errors
/// A log cannot be read.
pub fn usage(store: &Store, roots: &Roots) -> Result<Usage, StoreError> {
    let survey = Survey::of(store)?;
    let mut rows: BTreeMap<(bool, String, String, String), UsedBy> = BTreeMap::new();
    let (mut named, mut needed_bytes) = (HashSet::new(), 0);
    // Those that are needed first, so that what is shared counts as needed.
    let (needed, others): (Vec<_>, Vec<_>) =
        survey.entries.iter().partition(|entry| roots.need_key(&entry.key));
    let needed = needed.into_iter().map(|entry| (entry, true));
    for (entry, needed) in needed.chain(others.into_iter().map(|entry| (entry, false))) {
        let sort = survey.sort(entry);
        let stage = roots.stages.get(&entry.key).cloned();
        let place = (!needed, stage.clone().unwrap_or_default(), sort.kind, sort.recipe);
        let (_, _, kind, sort) = place.clone();
        let row = rows.entry(place);
        let row = row.or_insert_with(|| UsedBy { stage, kind, sort, ..UsedBy::default() });
        let objects = entry.objects().filter(|blob| named.insert(blob.digest));
        let bytes = objects.map(|blob| blob.size).sum::<u64>();
        row.count += 1;
        row.bytes += bytes;
        row.needed += usize::from(needed);
        needed_bytes += if needed { bytes } else { 0 };
    }
    let folder = |name: &str| files(&store.root().join(name));
    let mut unnamed = folder("objects");
    unnamed.retain(|(path, _)| store.object_digest(path).is_none_or(|name| !named.contains(&name)));
    let mut states = count(&folder("states"));
    let names = store.state_names();
    states.count = names.len();
    states.needed = names.iter().filter(|name| roots.states.contains(name)).count();
    let all = files(store.root());
    let mut records = all.clone();
    records.retain(|(path, _)| {
        let top = path.strip_prefix(store.root()).ok().and_then(|path| path.iter().next());
        top.is_some_and(|top| COUNTED.iter().all(|name| Path::new(name) != Path::new(top)))
    });
    Ok(Usage {
        version: 1,
        manifest: String::new(),
        store: store.root().to_owned(),
        outputs: rows.into_values().collect(),
        unnamed: count(&unnamed),
        states,
        scratch: count(&folder("scratch")),
        derived: count(&folder("derived")),
        damaged: count(&folder("damaged")),
        records: count(&records),
        bytes: all.iter().map(|(_, bytes)| bytes).sum(),
        needed_bytes,
    })
}

/// Folders of a store that are counted by themselves.
const COUNTED: [&str; 5] = ["objects", "states", "scratch", "derived", "damaged"];

fn count(files: &[(PathBuf, u64)]) -> UsedBy {
    let bytes = files.iter().map(|(_, bytes)| bytes).sum();
    UsedBy { count: files.len(), bytes, ..UsedBy::default() }
}
