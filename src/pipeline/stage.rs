//! What the engine knows of a stage: its recipes, its items, its work. It knows no concrete stage.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, Blob, Cost, Draft, ItemFailure, KeyPart, Origin, Output, Preflight, Store};
use crate::base::Digest;

/// A stage of the pipeline. One value per `[stages.NAME]` of the manifest.
///
/// `recipes` and `items` are asked by `plan`, `why` and `run` alike and must be cheap: they read
/// headers and small files, decode no picture and open no device.
pub trait Stage: Send + Sync {
    /// The kind: `label`, `tag`, `merge`, `cache`, `finetune`.
    fn kind(&self) -> &'static str;

    /// What is the same for every item: algorithm version, parameters, model files. A stage that
    /// makes outputs of several sorts (latents and text records) has a recipe for each, so that a
    /// change of one leaves the other alone.
    ///
    /// # Errors
    /// A model file is missing or cannot be read.
    fn recipes(&self) -> Result<Vec<Recipe>, StageError>;

    /// The items, given what the needed stages made or will make.
    ///
    /// # Errors
    /// The dataset cannot be read.
    fn items(&self, upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError>;

    /// What differs within a part of a key that holds many things, such as the samples of a training; empty
    /// where the part itself says all. `why` tells these in its place. Asked too where the part is pending:
    /// then of what it was to what is known of it.
    fn within(
        &self,
        difference: &super::Difference,
        upstream: &Upstream<'_>,
    ) -> Vec<super::Difference> {
        let _ = (difference, upstream);
        Vec::new()
    }

    /// What a plan tells of the stage beside what would run: sizes, counts, what a person may want to
    /// change first. Asked for a plan only; it may look into files that `items` does not read.
    ///
    /// # Errors
    /// A file or the store cannot be read.
    fn notes(
        &self,
        decisions: &[super::Decision],
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Vec<Note>, StageError> {
        let _ = (decisions, upstream, store);
        Ok(Vec::new())
    }

    /// What of the disk and of memory the items that are to run will take, from shapes and headers alone:
    /// asked for a plan, and before a run. Outputs of some bytes need not be counted.
    ///
    /// # Errors
    /// A file or the store cannot be read, or it cannot fit into memory.
    fn cost(
        &self,
        decisions: &[super::Decision],
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Cost, StageError> {
        let _ = (decisions, upstream, store);
        Ok(Cost::default())
    }

    /// Names what decides how long an item takes besides the algorithm and the network, such as the size of
    /// its picture. Times are estimated from earlier items of the same class.
    fn class(&self, item: &ItemSpec) -> String {
        let _ = item;
        String::new()
    }

    /// How much work of which class the items are that are to run: each is one of its class, unless the
    /// stage tells of its work with [`Work::took`].
    ///
    /// # Errors
    /// A file or the store cannot be read.
    fn amounts(
        &self,
        decisions: &[super::Decision],
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Vec<Amount>, StageError> {
        let _ = (upstream, store);
        Ok(super::one_each(self, decisions))
    }

    /// Tries out, before the first stage begins, what would else fail after hours: asked of each stage with
    /// items to run. Must not change what anything makes.
    ///
    /// # Errors
    /// The work would fail.
    fn preflight(
        &self,
        decisions: &[super::Decision],
        upstream: &Upstream<'_>,
        store: &Store,
        look: &mut dyn Preflight,
    ) -> Result<(), StageError> {
        let _ = (decisions, upstream, store, look);
        Ok(())
    }

    /// Does the work for `work.items`, committing each item as it is done. One bad item is handed to
    /// [`Work::fail`] and does not end the stage.
    ///
    /// # Errors
    /// The stage as a whole cannot go on.
    fn run(&self, work: &mut dyn Work) -> Result<(), StageError>;

    /// From where an item that is to run goes on, in words, where an earlier run did a part of it or why it
    /// cannot; `None` where there is nothing to tell. Asked by `why`; a plan has it in its notes.
    ///
    /// # Errors
    /// The store cannot be read.
    fn started(
        &self,
        item: &ItemSpec,
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Option<String>, StageError> {
        let _ = (item, upstream, store);
        Ok(None)
    }

    /// Whether its outputs are copied to a shared store, and taken from there: what is large, or looked at by
    /// people, stays where it was made.
    fn is_shared(&self) -> bool {
        true
    }

    /// Names the folder of what `item` would go on from, here or after it is done, when more is asked of it
    /// ([`Store::state_folder`]); `None` where it starts anew each time, or where that is not known yet.
    ///
    /// # Errors
    /// A model file is missing or cannot be read.
    fn state(&self, item: &ItemSpec) -> Result<Option<Digest>, StageError> {
        let _ = item;
        Ok(None)
    }

    /// Files beside the store that show the outputs to people: sidecars, `meta_data.json`,
    /// checkpoints. Must depend on nothing but the items, the outputs and the manifest; called with every finished item of
    /// the stage, after each run and also when nothing ran.
    ///
    /// # Errors
    /// An output cannot be read.
    fn publications(
        &self,
        finished: &[Finished<'_>],
        store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        let _ = (finished, store);
        Ok(Vec::new())
    }

    /// What its user should know before or after a run. Called by `plan` and at the end of the stage in
    /// a run; must be as cheap as [`Stage::items`].
    ///
    /// # Errors
    /// A file or an output cannot be read.
    fn warnings(
        &self,
        items: &[Seen<'_>],
        upstream: &Upstream<'_>,
    ) -> Result<Vec<Warning>, StageError> {
        let _ = (items, upstream);
        Ok(Vec::new())
    }

    /// How often something stands in the outputs, for a table at the end of a run; empty where nobody
    /// asked for one. Called like [`Stage::publications`], for a run only.
    ///
    /// # Errors
    /// An output cannot be read.
    fn frequencies(
        &self,
        finished: &[Finished<'_>],
        store: &Store,
    ) -> Result<Vec<Frequency>, StageError> {
        let _ = (finished, store);
        Ok(Vec::new())
    }
}

/// What a plan tells of a stage.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Note {
    /// What it is about: `buckets`.
    pub name: &'static str,
    /// One line for people.
    pub text: String,
    /// More lines for people who ask for more.
    pub details: Vec<String>,
    /// The same for programs; its layout depends on `name`.
    pub data: serde_json::Value,
}

/// Something about a stage that is no mistake, and that its user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// Stable code: `fluxpipe::merge::empty_text`.
    pub code: String,
    /// What it is, with the number of items; their names stand beside it.
    pub message: String,
    /// The likely cause, and what to do.
    pub help: Option<String>,
    /// How many items, or entries of a file, it is about.
    pub items: usize,
    /// Names of the first of them.
    pub examples: Vec<String>,
}

/// An item with its output, if it is known.
pub struct Seen<'a> {
    /// The item.
    pub spec: &'a ItemSpec,
    /// What it made; `None` where it has still to run, or failed.
    pub output: Option<&'a Output>,
}

/// How often something stands in the outputs of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Frequency {
    /// What it is: a tag.
    pub name: String,
    /// Number of items in whose outputs it stands.
    pub items: usize,
}

/// The part of a key that all items of one sort share.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What it makes: `caption`, `latent`, `text`.
    pub name: &'static str,
    /// Its parts.
    pub parts: Vec<KeyPart>,
}

/// One unit of work.
#[derive(Debug)]
pub struct ItemSpec {
    /// What a person calls it: nearly always the picture's path within its dataset. Not in the key.
    pub id: String,
    /// Index into [`Stage::recipes`].
    pub recipe: usize,
    /// What exactly this item reads.
    pub parts: Vec<KeyPart>,
    /// More parts of its key, which it has in common with other items and which are held once for
    /// all of them: settings of its dataset.
    pub shared: Option<Arc<[KeyPart]>>,
    /// Set where the output is given rather than made, such as a caption written by hand: nothing
    /// runs, and downstream reads it.
    pub given: Option<Given>,
    /// Set where something that belongs to the item cannot be used, such as a sidecar that is no text:
    /// nothing runs, and the item is left out like one that failed.
    pub unusable: Option<ItemFailure>,
}

impl ItemSpec {
    /// An item that reads these and is made by a recipe.
    pub fn new(id: impl Into<String>, recipe: usize, parts: Vec<KeyPart>) -> Self {
        Self { id: id.into(), recipe, parts, shared: None, given: None, unusable: None }
    }

    /// The same item with parts that it has in common with others.
    #[must_use]
    pub fn sharing(self, shared: &Arc<[KeyPart]>) -> Self {
        Self { shared: Some(shared.clone()), ..self }
    }

    /// The same item with its output given.
    #[must_use]
    pub fn given(self, given: Given) -> Self {
        Self { given: Some(given), ..self }
    }

    /// An item that is left out, and why.
    pub fn unusable(id: impl Into<String>, recipe: usize, failure: ItemFailure) -> Self {
        Self { unusable: Some(failure), ..Self::new(id, recipe, Vec::new()) }
    }

    /// All parts of the key, besides the recipe: its own first.
    pub fn key_parts(&self) -> impl Iterator<Item = &KeyPart> + Clone {
        self.parts.iter().chain(self.shared.iter().flat_map(|shared| shared.iter()))
    }
}

/// An output that needs no work. The last part of its item that comes from a file names the file
/// that holds it, and `why` ends there.
#[derive(Debug)]
pub struct Given {
    /// The output's blobs; short texts, kept in memory.
    pub output: Output,
    /// Why, for the report: `edited by hand, kept`.
    pub why: &'static str,
}

/// What the needed stages made, in the order of the stage's `needs`.
#[derive(Default)]
pub struct Upstream<'a> {
    pub(super) stages: Vec<UpstreamStage<'a>>,
}

/// One needed stage.
#[derive(Clone, Copy)]
pub(super) struct UpstreamStage<'a> {
    pub name: &'a str,
    pub kind: &'a str,
    pub recipes: &'a [&'static str],
    pub decisions: &'a [super::Decision],
}

impl<'a> Upstream<'a> {
    /// All items that have an output or will have one, stage by stage, each in its stage's order.
    pub fn items(&self) -> impl Iterator<Item = UpstreamItem<'a>> {
        self.stages.iter().flat_map(|stage| stage.items())
    }

    /// The items of the stages of this kind.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = UpstreamItem<'a>> {
        self.stages.iter().filter(move |stage| stage.kind == kind).flat_map(|stage| stage.items())
    }

    /// Name and kind of each needed stage.
    pub fn stages(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.stages.iter().map(|stage| (stage.name, stage.kind))
    }
}

impl<'a> UpstreamStage<'a> {
    fn items(self) -> impl Iterator<Item = UpstreamItem<'a>> {
        let left_out = |state: &super::ItemState| matches!(state, super::ItemState::Failed(_));
        self.decisions.iter().filter(move |decision| !left_out(&decision.state)).map(
            move |decision| UpstreamItem {
                stage: self.name,
                kind: self.kind,
                id: &decision.spec.id,
                recipe: self.recipes.get(decision.spec.recipe).copied().unwrap_or_default(),
                output: decision.output(),
                given: decision.spec.given.is_some(),
            },
        )
    }
}

/// An upstream item as a later stage sees it.
#[derive(Clone, Copy)]
pub struct UpstreamItem<'a> {
    /// Name of the stage.
    pub stage: &'a str,
    /// Kind of the stage.
    pub kind: &'a str,
    /// The item's id.
    pub id: &'a str,
    /// Which recipe of its stage made it: `latent`, `text`.
    pub recipe: &'a str,
    /// What it made, or `None` while it has still to run.
    pub output: Option<&'a Output>,
    /// Whether its output is its human's, rather than made.
    pub given: bool,
}

impl UpstreamItem<'_> {
    /// A key part for the blob `blob` of this item: its digest, or pending.
    #[must_use]
    pub fn part(&self, name: &str, blob: &str) -> KeyPart {
        match self.output.and_then(|output| output.blob(blob)) {
            None => KeyPart::pending(name, self.stage, self.id, blob),
            Some(blob) => {
                let (stage, item) = (self.stage.to_owned(), self.id.to_owned());
                KeyPart::new(name, blob.digest, Origin::Upstream { stage, item })
            }
        }
    }
}

/// A file to be shown to people outside the store.
#[derive(Debug)]
pub struct Publication {
    /// Where it goes.
    pub path: PathBuf,
    /// What it holds.
    pub content: Published,
    /// Who may overwrite it.
    pub owner: Owner,
}

/// The content of a published file.
#[derive(Debug)]
pub enum Published {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A blob of the store: linked where the file system can, else copied.
    Blob(Blob),
}

/// Who owns a published file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// fluxpipe: it lies in the output folder and is rewritten when it differs.
    Fluxpipe,
    /// Shared with its human: a sidecar of the picture with this digest.
    Sidecar {
        /// Digest of the picture's bytes.
        picture: Digest,
        /// What becomes of a file that a human wrote (see [`super::Ledger`]).
        words: Words,
    },
}

/// What becomes of words that a human wrote into a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// They stay: the file is written only where none is, or where it is as fluxpipe last wrote it.
    Keep,
    /// The new content holds them, and more: these words.
    AppendTo(String),
    /// They are written over.
    Overwrite,
}

/// An item that is done, with what it made.
pub struct Finished<'a> {
    /// The item.
    pub spec: &'a ItemSpec,
    /// What it made.
    pub output: &'a Output,
}

/// What a stage sees while it runs; the only way to write outputs.
pub trait Work {
    /// The items to do, in order. Index into this list in the calls below.
    fn items(&self) -> &[&ItemSpec];

    /// Outputs of the needed stages; all are known now.
    fn upstream(&self) -> &Upstream<'_>;

    /// The store, for reading what upstream made.
    fn store(&self) -> &Store;

    /// A folder for large files in the making (same file system as the store), kept for this item from run to run:
    /// what a killed run left is there again.
    ///
    /// # Errors
    /// It cannot be made.
    fn scratch(&self, item: usize) -> Result<PathBuf, StageError>;

    /// Stores what the item made; safe against a kill from the moment it returns.
    ///
    /// # Errors
    /// The store cannot be written.
    fn commit(&mut self, item: usize, draft: Draft) -> Result<(), StageError>;

    /// Reports that this item cannot be made and is left out.
    ///
    /// # Errors
    /// The manifest says that one bad item ends the stage.
    fn fail(&mut self, item: usize, error: StageError) -> Result<(), StageError>;

    /// Tells how far a long item is, for the progress display: `done` of `total` steps and a short word such as
    /// `loss 0.412`.
    fn step(&mut self, item: usize, done: u64, total: u64, note: &str);

    /// Whether the user asked for the item to run although its output is there (`--force`): what an earlier
    /// run did of it does not count.
    fn forced(&self, item: usize) -> bool;

    /// Tells what was chosen for the item before its work begins, where it depends on the machine.
    fn chosen(&mut self, item: usize, text: &str);

    /// Tells that the item goes on from where an earlier run left it: `done` of `total` steps.
    fn resumed(&mut self, item: usize, done: u64, total: u64);

    /// Tells that all that the item needs to go on after `done` of `total` steps is on the disk.
    fn saved(&mut self, item: usize, done: u64, total: u64);

    /// Tells that what the items of the same recipe as this one share is loaded. What it took until now is
    /// no item's own time.
    fn ready(&mut self, item: usize);

    /// Tells that so many units of a class of work for this item took so many seconds.
    fn took(&mut self, item: usize, class: &str, units: u64, seconds: f64);

    /// Tells of something that the user should know.
    fn warn(&mut self, warning: Warning);

    /// Shows the finished file `from`, which lies in the store, to people as `to` before its item is done.
    /// What [`Stage::publications`] says of the same place later counts.
    ///
    /// # Errors
    /// It cannot be written.
    fn show(&mut self, from: &Path, to: &Path) -> Result<(), StageError>;

    /// Takes back what was shown, if `to` still is the file `from`.
    ///
    /// # Errors
    /// A file cannot be read, or not be removed.
    fn take_back(&mut self, from: &Path, to: &Path) -> Result<(), StageError>;

    /// Whether the user asked to stop; a stage returns soon after, with what is committed kept.
    fn cancelled(&self) -> bool;
}

/// Why a stage, or one item of it, cannot go on: any diagnostic with a code and a help line.
pub type StageError = miette::Report;
