//! The store: a folder of outputs by their digests, and of records that say which key made which
//! output.
//!
//! ```text
//! v1/objects/ab/cdef…       the bytes of an output, read-only, named by their digest
//! v1/records/RECIPE.log     per recipe key: item key, its parts, its output or its failure
//! v1/recipes/RECIPE.json    the recipe key in expanded form
//! v1/heads/STAGE.json       the key of each item in the stage's last run, for `why`
//! v1/keys/STAGE.log         what each run changed in them, for `log diff`
//! v1/manifests/DIGEST.toml  the manifests of runs
//! v1/files.log              remembered digests of the user's files, and the texts of sidecars
//! v1/facts/SORT.log         remembered facts about contents, such as the sizes of pictures
//! v1/derived/SORT/DIGEST what can be made again from contents, such as thumbnails
//! v1/ledger/sidecars.log    what was written beside pictures
//! v1/rates.log              how long work took, for estimates
//! v1/runs/RUN.jsonl         what each run did
//! v1/scratch/ITEM/          large files in the making
//! v1/damaged/               what was found not to be what it was, moved out of the way
//! v1/states/LINE/           from where a long item goes on
//! v1/locks/ v1/tmp/         locks are held by live processes only; tmp is empty between runs
//! ```
//!
//! Files are the truth: there is no index to rebuild. Reading takes no lock. An output is whole
//! before its record is written, so a kill at any moment loses what was not committed and nothing else.

mod error;
mod facts;
mod files;
mod heads;
mod health;
mod log;
mod object;
mod record;
mod shared;
#[cfg(test)]
mod tests;
mod upkeep;
mod version;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use error::StoreError;
pub(super) use heads::{Head, Heads};
pub use health::Lost;
pub(super) use log::{bodies, each as each_line, read as read_log, write_line};
pub(super) use record::{Outcome, Record, Records};

use super::{Blob, KeyPart, Ledger, Output, digest};
use crate::base::{Digest, Lock, atomic, disk};

/// The store of a project.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    files: files::Files,
    facts: facts::Facts,
    ledger: Ledger,
    health: Arc<health::Health>,
    /// Asked where this one has no output.
    shared: Option<Box<Store>>,
    /// Whether this is one that others ask.
    is_shared: bool,
}

/// A recipe key in expanded form.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredRecipe {
    /// Kind of the stage.
    pub kind: String,
    /// Name of the recipe.
    pub recipe: String,
    /// Its parts.
    pub parts: Vec<KeyPart>,
}

impl StoredRecipe {
    /// Its key; `None` where a part has no value.
    pub fn key(&self) -> Option<Digest> {
        recipe_key(&self.kind, &self.recipe, &self.parts)
    }
}

/// Key of a recipe: the kind of its stage, its name and its parts. `None` where a part has no value.
pub(super) fn recipe_key(kind: &str, recipe: &str, parts: &[KeyPart]) -> Option<Digest> {
    digest(&[kind, recipe].map(|text| Digest::of(text.as_bytes())), parts)
}

impl Store {
    /// Opens the store in the folder `path`. Nothing is made before something is stored.
    ///
    /// # Errors
    /// `path` is there and is not a folder, or holds a store of another version only.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(|error| StoreError::read(path, error))?;
        if path.exists() && !path.is_dir() {
            return Err(StoreError::read(path, std::io::ErrorKind::NotADirectory.into()));
        }
        version::check(&path)?;
        let root = path.join(version::LAYOUT);
        let files = files::Files::new(root.join("files.log"));
        let files = files.map_err(|error| StoreError::read(&path, error))?;
        let ledger = Ledger::new(root.join("ledger").join("sidecars.log"));
        let facts = facts::Facts::new(root.join("facts"));
        let (health, shared, is_shared) = (Arc::default(), None, false);
        Ok(Self { root, files, facts, ledger, health, shared, is_shared })
    }

    /// The folder of this version of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bytes of a blob, checked against its digest.
    ///
    /// # Errors
    /// They are gone or damaged.
    pub fn read(&self, blob: &Blob) -> Result<Vec<u8>, StoreError> {
        if let Some(text) = &blob.text {
            return Ok(text.clone().into_bytes());
        }
        object::read(self.home(&blob.digest), &blob.digest)
    }

    /// The file of a blob, for a memory map, compared with its digest the first time that this process
    /// asks. A short text that is kept in its record is written to a file first.
    ///
    /// # Errors
    /// It is gone or damaged, or the file cannot be written.
    pub fn path(&self, blob: &Blob) -> Result<PathBuf, StoreError> {
        if let Some(text) = &blob.text {
            object::put_bytes(self, &blob.digest, text.as_bytes())?;
            return Ok(self.object(&blob.digest));
        }
        let home = self.home(&blob.digest);
        health::check(home, &blob.digest)?;
        Ok(home.object(&blob.digest))
    }

    /// Whether an open file is the object of a blob under another name, such as a checkpoint in the output
    /// folder. Who changes the one changes the other, so the object is compared with its digest where it
    /// does not look as it did; that costs nothing where it does.
    ///
    /// # Errors
    /// It is the same file, and it is damaged.
    pub(super) fn is_object(
        &self,
        metadata: &std::fs::Metadata,
        blob: &Blob,
    ) -> Result<bool, StoreError> {
        let path = self.object(&blob.digest);
        if blob.text.is_some() || !same_file(metadata, &path) {
            return Ok(false);
        }
        match self.files.digest(&path)? {
            found if found == blob.digest => Ok(true),
            found => Err(health::damaged(self, &blob.digest, found)),
        }
    }

    /// Stored outputs that this process found lost, but for the first `known` ones.
    pub(super) fn lost(&self, known: usize) -> Vec<Lost> {
        self.health.lost_since(known)
    }

    /// Looks again as long as a look comes upon stored outputs that turn out to be lost: the next one finds
    /// them missing.
    pub(super) fn looking<T, E>(&self, mut look: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let mut lost = HashSet::new();
        loop {
            let known = self.health.lost();
            let looked = look();
            let found = self.lost(known).into_iter();
            // What was lost before is not there now either, and another look would end as this one did.
            if looked.is_ok() || found.filter(|one| lost.insert(one.digest)).count() == 0 {
                return looked;
            }
        }
    }

    /// Compares the objects of `outputs` with their digests, on all cores; what is wrong is noted.
    pub(super) fn check<'a>(&self, outputs: impl IntoIterator<Item = &'a Output>) {
        let blobs = outputs.into_iter().flat_map(|output| &output.blobs);
        let blobs: Vec<_> = blobs.filter(|blob| blob.text.is_none()).collect();
        blobs
            .par_iter()
            .for_each(|blob| drop(health::check(self.home(&blob.digest), &blob.digest)));
    }

    fn place(&self, digest: &Digest) -> health::Place {
        (*digest, self.is_shared)
    }

    /// Reads what is remembered of the user's files, before many of them are asked for at once.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load_digests(&self) -> Result<(), StoreError> {
        self.files.load()
    }

    /// The digest of a file of the user's; remembered by path, size, time and inode.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn digest_file(&self, path: &Path) -> Result<Digest, StoreError> {
        self.files.digest(path)
    }

    /// The bytes of a sidecar of the user's, or `None` if there is none; a short text is remembered as
    /// a digest is. Of a file of more than 2 MiB the first ones, since it is no text.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_sidecar(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        self.files.sidecar(path)
    }

    /// Keeps what [`Store::digest_file`] and [`Store::read_sidecar`] learned for the next process.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn save_digests(&self) -> Result<(), StoreError> {
        self.files.save()
    }

    /// Numbers of the sort `sort` about the content `digest`: as remembered, or as `find` finds them.
    ///
    /// # Errors
    /// What is remembered cannot be read, or whatever `find` returns.
    pub fn fact<E: From<StoreError>>(
        &self,
        sort: &str,
        digest: &Digest,
        find: impl FnOnce() -> Result<Vec<u64>, E>,
    ) -> Result<Vec<u64>, E> {
        self.facts.get(sort, digest, find)
    }

    /// Keeps what [`Store::fact`] found for the next process.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn save_facts(&self) -> Result<(), StoreError> {
        self.facts.save()
    }

    /// Bytes of the sort `sort` that follow from the content `digest`: as kept, or as `make` makes them.
    /// They are no output: nothing reads them but what would else make them anew, so that what cannot be
    /// kept costs time and nothing else. `None` where `make` makes none.
    pub fn derived(
        &self,
        sort: &str,
        digest: &Digest,
        make: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let folder = self.root.join("derived").join(sort);
        let path = folder.join(digest.hex());
        if let Some(bytes) = disk::read(&path).ok().and_then(unsealed) {
            return Some(bytes);
        }
        let bytes = make()?;
        let sealed = [&bytes[..], Digest::of(&bytes).as_bytes()].concat();
        let _ = disk::create_folder(&folder).and_then(|()| atomic::replace(&path, &sealed));
        Some(bytes)
    }

    /// Who wrote the sidecars.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether all blobs of `output` are there in their size.
    #[must_use]
    pub fn holds(&self, output: &Output) -> bool {
        output.blobs.iter().all(|blob| {
            blob.text.is_some()
                || object::size(&self.object(&blob.digest)) == Some(blob.size)
                    && self.health.is_usable(&self.place(&blob.digest))
        })
    }

    /// Where the object of this digest is or would be.
    pub(super) fn object(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        // Room for all of it at once: a plan asks for hundreds of thousands.
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + hex.len() + 16);
        path.extend([&self.root, Path::new("objects"), Path::new(&hex[..2]), Path::new(&hex[2..])]);
        path
    }

    /// Stores a draft's blobs; they are on the disk when this returns.
    pub(super) fn put(&self, draft: super::Draft) -> Result<Output, StoreError> {
        let blobs = draft.blobs.into_iter().map(|(name, content)| object::put(self, name, content));
        let mut blobs = blobs.collect::<Result<Vec<_>, _>>()?;
        blobs.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Output { blobs })
    }

    /// What came of these item keys of a recipe, as far as it is known, here or in the shared store; not of
    /// those of whose output a file is gone.
    pub(super) fn outcomes(
        &self,
        recipe: &Digest,
        keys: &HashSet<Digest>,
    ) -> Result<HashMap<Digest, Outcome>, StoreError> {
        let mut found = self.own_outcomes(recipe, keys)?;
        if let Some(shared) = self.shared() {
            let missing: HashSet<_> =
                keys.iter().filter(|key| !found.contains_key(*key)).copied().collect();
            let theirs = shared.own_outcomes(recipe, &missing)?.into_iter();
            // What could not be made there may be made here.
            found.extend(theirs.filter(|(_, outcome)| matches!(outcome, Outcome::Output(_))));
        }
        Ok(found)
    }

    /// The same of this store alone.
    pub(super) fn own_outcomes(
        &self,
        recipe: &Digest,
        keys: &HashSet<Digest>,
    ) -> Result<HashMap<Digest, Outcome>, StoreError> {
        record::outcomes(&self.record_log(recipe), keys, |output| self.holds(output))
    }

    /// The records of a recipe.
    pub(super) fn records(&self, recipe: &Digest) -> Result<Records, StoreError> {
        Records::load(&self.record_log(recipe))
    }

    /// Adds records of a recipe in one write; `flush` also waits until the log is on the disk.
    pub(super) fn append_records(
        &self,
        recipe: &Digest,
        records: &[Record],
        flush: bool,
    ) -> Result<(), StoreError> {
        self.folder("records")?;
        let path = self.record_log(recipe);
        let mut lines = Vec::new();
        let written = records.iter().try_for_each(|record| write_line(&mut lines, record));
        let written = written.and_then(|()| atomic::append(&path, &lines, flush));
        written.map_err(|error| StoreError::write(path, error))
    }

    /// Waits until the records of a recipe are on the disk.
    pub(super) fn flush_records(&self, recipe: &Digest) -> Result<(), StoreError> {
        let path = self.record_log(recipe);
        let flush = || {
            disk::flush(&path)?;
            atomic::flush_folder_of(&path)
        };
        flush().map_err(|error| StoreError::write(&path, error))
    }

    fn record_log(&self, recipe: &Digest) -> PathBuf {
        self.root.join("records").join(format!("{recipe}.log"))
    }

    /// The stored recipe of this key; `None` where there is none that can be read.
    pub(super) fn recipe(&self, key: &Digest) -> Option<StoredRecipe> {
        let path = self.root.join("recipes").join(format!("{key}.json"));
        let recipe: StoredRecipe = serde_json::from_slice(&disk::read(&path).ok()?).ok()?;
        // Its name says what stands in it, but for the origins, which are for people.
        (recipe.key() == Some(*key)).then_some(recipe)
    }

    /// Keys of all stored recipes.
    pub(super) fn recipe_keys(&self) -> Vec<Digest> {
        let Ok(entries) = disk::list(&self.root.join("recipes")) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut keys: Vec<Digest> =
            names.filter_map(|name| name.to_str()?.strip_suffix(".json")?.parse().ok()).collect();
        keys.sort();
        keys
    }

    /// Stores a recipe if it is not there yet, or damaged.
    pub(super) fn put_recipe(&self, key: &Digest, recipe: &StoredRecipe) -> Result<(), StoreError> {
        match self.recipe(key) {
            Some(_) => Ok(()),
            None => write_json(&self.folder("recipes")?.join(format!("{key}.json")), recipe),
        }
    }

    /// The keys of the items of a stage's last run.
    pub(super) fn heads(&self, stage: &str) -> Heads {
        Heads::load(&self.root.join("heads").join(format!("{}.json", file_name(stage))))
    }

    /// What the items of these ids made when their stage last ran; `None` where it never made them, or
    /// where it cannot be told any more.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn last_outputs<'a>(
        &self,
        stage: &str,
        recipe: &str,
        ids: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Option<Output>>, StoreError> {
        let heads = self.heads(stage);
        let heads: Vec<_> = ids.map(|id| heads.get(recipe, id)).collect();
        let mut wanted: HashMap<Digest, HashSet<Digest>> = HashMap::new();
        for head in heads.iter().flatten() {
            wanted.entry(head.recipe).or_default().insert(head.item);
        }
        let mut outcomes = HashMap::new();
        for (recipe, keys) in wanted {
            outcomes.insert(recipe, self.outcomes(&recipe, &keys)?);
        }
        let output = |head: heads::Head| match outcomes.get(&head.recipe)?.get(&head.item)? {
            Outcome::Output(output) => Some(output.clone()),
            Outcome::Failure(_) => None,
        };
        Ok(heads.into_iter().map(|head| head.and_then(output)).collect())
    }

    /// Keeps the keys of the items of a stage's run.
    pub(super) fn put_heads(&self, stage: &str, heads: &Heads) -> Result<(), StoreError> {
        write_json(&self.folder("heads")?.join(format!("{}.json", file_name(stage))), heads)
    }

    /// The log of how long work took.
    pub(super) fn rates_log(&self) -> PathBuf {
        self.root.join("rates.log")
    }

    /// The log of a run.
    pub(super) fn run_log(&self, run: &str) -> Result<PathBuf, StoreError> {
        Ok(self.folder("runs")?.join(format!("{run}.jsonl")))
    }

    /// The folder for an item's large files in the making.
    pub(super) fn scratch(&self, item: &Digest) -> Result<PathBuf, StoreError> {
        self.folder(&format!("scratch/{item}"))
    }

    /// The folder for what a long item needs to go on, of itself after a kill or of a longer one later;
    /// `line` names all of which one can go on from the other. It need not be there.
    #[must_use]
    pub fn state_folder(&self, line: &Digest) -> PathBuf {
        self.root.join("states").join(line.hex())
    }

    /// Clears an item's folder of large files in the making.
    pub(super) fn clear_scratch(&self, item: &Digest) {
        // What cannot be removed costs space and nothing else.
        let _ = disk::remove_folder(&self.root.join("scratch").join(item.hex()));
    }

    /// Removes what killed processes left in `tmp`.
    pub(super) fn clear_temporary(&self) {
        object::clear_temporary(&self.root.join("tmp"));
    }

    /// Takes the run lock of a stage, or tells the process that holds it.
    pub(super) fn try_lock(&self, stage: &str) -> Result<Result<Lock, Option<u32>>, StoreError> {
        let path = self.folder("locks")?.join(format!("{}.lock", file_name(stage)));
        match Lock::try_take(&path) {
            Ok(Some(lock)) => Ok(Ok(lock)),
            Ok(None) => Ok(Err(Lock::holder(&path))),
            Err(error) => Err(StoreError::write(path, error)),
        }
    }

    /// A folder inside the store, made if need be.
    fn folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.root.join(name);
        disk::create_folder(&path).map_err(|error| StoreError::write(&path, error))?;
        Ok(path)
    }
}

/// What stands before its digest at the end of a file; `None` where that is of something else.
fn unsealed(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (body, seal) = bytes.split_last_chunk::<32>()?;
    let (length, whole) = (body.len(), Digest::of(body).as_bytes() == seal);
    bytes.truncate(length);
    whole.then_some(bytes)
}

/// Whether a file and an object of the store are two names of one file.
pub(super) fn same_file(metadata: &std::fs::Metadata, object: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let object = std::fs::metadata(object);
        object.is_ok_and(|object| (object.dev(), object.ino()) == (metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = (metadata, object);
        false
    }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(std::io::Error::from);
    let written = bytes.and_then(|bytes| atomic::write(path, &bytes));
    written.map_err(|error| StoreError::write(path, error))
}

/// A stage's name as a file name: itself where it is plain, else its digest.
pub(super) fn file_name(stage: &str) -> String {
    let plain = |letter: u8| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"-_.".contains(&letter)
    };
    let named = !stage.is_empty() && !stage.starts_with('.');
    if named && stage.len() < 64 && stage.bytes().all(plain) {
        stage.to_owned()
    } else {
        format!("+{}", Digest::of(stage.as_bytes()).hex())
    }
}
