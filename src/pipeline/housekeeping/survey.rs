//! All that a store holds records of, and what of it is needed.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    base::Digest,
    pipeline::{
        Blob, Decision, Graph, ItemState, Node, Output, RunError, Store, StoreError,
        decide::{Decided, decide},
        plan::upstream,
        store::each_line,
    },
};

/// What some manifests need: what their plans reuse or would go on from, and what their stages made last.
#[derive(Debug, Default)]
pub struct Roots {
    /// Name of the stage by item key, of the first manifest that has it.
    pub(super) stages: HashMap<Digest, String>,
    /// Names of the states that a training would go on from.
    pub(super) states: HashSet<Digest>,
    /// Stages that wait for others, so that what they need is not known yet.
    pub(super) waiting: Vec<String>,
}

impl Roots {
    /// Adds all that the stages of a manifest need.
    ///
    /// # Errors
    /// It cannot be told what a run would do.
    pub fn add(&mut self, graph: &Graph, store: &Store) -> Result<(), RunError> {
        store.ledger().refresh()?;
        store.looking(|| {
            let mut done: Vec<Option<Decided>> = Vec::new();
            for (index, node) in graph.nodes().iter().enumerate() {
                let decided = decide(node, &upstream(graph, index, &done), store, false)?;
                for decision in &decided.decisions {
                    self.need(node, decision)?;
                }
                // Of what waits, the outputs of the last run are all that is known; the report shows them too.
                for (.., head) in store.heads(&node.name).iter() {
                    self.stages.entry(head.item).or_insert_with(|| node.name.clone());
                }
                done.push(Some(decided));
            }
            Ok(())
        })
    }

    /// Whether an item of this key is needed.
    pub(super) fn need_key(&self, key: &Digest) -> bool {
        self.stages.contains_key(key)
    }

    fn need(&mut self, node: &Node, decision: &Decision) -> Result<(), RunError> {
        if let Some(key) = decision.key {
            self.stages.entry(key).or_insert_with(|| node.name.clone());
        }
        if decision.is_pending() && self.waiting.last() != Some(&node.name) {
            self.waiting.push(node.name.clone());
        }
        if !matches!(decision.state, ItemState::Kept | ItemState::Failed(_)) {
            let state = node.stage.state(&decision.spec);
            self.states.extend(state.map_err(|error| RunError::stage(&node.name, error))?);
        }
        Ok(())
    }
}

/// A record with an output.
#[derive(Debug)]
pub struct Entry {
    /// Key of its recipe.
    pub recipe: Digest,
    /// Key of the item.
    pub key: Digest,
    /// Name of the item.
    pub id: String,
    /// What it made.
    pub output: Output,
    /// How long that took.
    pub seconds: f64,
    /// In which run.
    pub run: String,
}

impl Entry {
    /// The blobs that have a file.
    pub fn objects(&self) -> impl Iterator<Item = &Blob> {
        self.output.blobs.iter().filter(|blob| blob.text.is_none())
    }

    /// Bytes of what it made.
    pub fn bytes(&self) -> u64 {
        self.output.blobs.iter().map(|blob| blob.size).sum()
    }
}

/// What a recipe makes, as far as that is known.
#[derive(Clone, Debug, Default)]
pub struct Sort {
    /// Kind of the stage.
    pub kind: String,
    /// Name of the recipe.
    pub recipe: String,
}

/// All records with an output, the last one of each key.
#[derive(Debug, Default)]
pub struct Survey {
    /// Sorted by recipe and key.
    pub entries: Vec<Entry>,
    sorts: HashMap<Digest, Sort>,
}

/// What is of interest of a record.
#[derive(Deserialize)]
struct Line {
    key: Digest,
    output: Option<Output>,
    id: String,
    seconds: f64,
    run: String,
}

impl Survey {
    /// Reads all records.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let mut survey = Self::default();
        for (recipe, path) in record_logs(store) {
            let mut last: HashMap<Digest, Entry> = HashMap::new();
            let read = |body: &[u8]| serde_json::from_slice::<Line>(body).ok();
            each_line(
                &path,
                |_| true,
                read,
                |line| {
                    let Line { key, output, id, seconds, run } = line;
                    if let Some(output) = output {
                        last.insert(key, Entry { recipe, key, id, output, seconds, run });
                    }
                },
            )?;
            survey.entries.extend(last.into_values());
            let stored = store.recipe(&recipe);
            let sort = stored.map(|stored| Sort { kind: stored.kind, recipe: stored.recipe });
            survey.sorts.insert(recipe, sort.unwrap_or_default());
        }
        survey.entries.sort_by_key(|entry| (entry.recipe, entry.key));
        Ok(survey)
    }

    /// Of what sort an entry is.
    pub fn sort(&self, entry: &Entry) -> Sort {
        self.sorts.get(&entry.recipe).cloned().unwrap_or_default()
    }
}

/// The logs of records, by recipe key.
pub fn record_logs(store: &Store) -> Vec<(Digest, PathBuf)> {
    let named = |path: PathBuf| {
        let key = path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()?;
        Some((key, path))
    };
    let all = files(&store.root().join("records")).into_iter();
    let mut logs: Vec<_> = all.filter_map(|(path, _)| named(path)).collect();
    logs.sort();
    logs
}

/// All files below a folder with their sizes, in the order of their names.
pub fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file());
    files.map(|entry| (entry.path().to_owned(), entry.metadata().map_or(0, |m| m.len()))).collect()
}
