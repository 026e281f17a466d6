//! Outputs of stages as one file, to be carried to another machine.
//!
//! A tar file of what the store has under the same names: first `fluxpipe-outputs.json`, which says what it is, then
//! recipes, objects and records. It is written and read in one pass. Records come last, so that one that is read
//! has its objects before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufWriter, Read, Write},
    path::Path,
};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::survey::{Entry, Roots, Survey};
use crate::{
    base::{Digest, atomic, disk},
    pipeline::{
        Store, StoreError,
        store::{Record, StoredRecipe, bodies, write_line},
    },
};

/// The first file of a bundle.
const HEAD: &str = "fluxpipe-outputs.json";
/// Bytes that a recipe, the head or the records of a recipe may have; more is no bundle of ours.
const MOST: u64 = 1 << 30;

/// What a bundle holds, as its first file says and `cache export --json` prints.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Bundle {
    /// Version of this layout.
    pub version: u32,
    /// Version of fluxpipe that wrote it.
    pub program: String,
    /// Names of the stages whose outputs it holds.
    pub stages: Vec<String>,
    /// Number of items.
    pub items: usize,
    /// Number of files.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What came of a bundle, as `cache import --json` prints.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Imported {
    /// What its first file says.
    pub bundle: Bundle,
    /// Items that the store has now and had not before.
    pub new: usize,
    /// Items that the store had.
    pub known: usize,
}

/// Writes what the stages of these names made to the file `path`. `roots` says which items are theirs.
///
/// # Errors
/// The store cannot be read, an output is damaged, or the file cannot be written.
pub fn export(
    store: &Store,
    roots: &Roots,
    stages: &[String],
    path: &Path,
) -> Result<Bundle, StoreError> {
    let survey = Survey::of(store)?;
    let is_asked =
        |entry: &&Entry| roots.stages.get(&entry.key).is_some_and(|name| stages.contains(name));
    let entries: Vec<_> = survey.entries.iter().filter(is_asked).collect();
    let blobs = entries.iter().flat_map(|entry| entry.objects());
    let objects: BTreeMap<Digest, u64> = blobs.map(|blob| (blob.digest, blob.size)).collect();
    let mut recipes: BTreeMap<Digest, Vec<&Entry>> = BTreeMap::new();
    entries.iter().for_each(|entry| recipes.entry(entry.recipe).or_default().push(entry));
    let bundle = Bundle {
        version: 1,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        stages: stages.to_vec(),
        items: entries.len(),
        objects: objects.len(),
        bytes: objects.values().sum(),
    };
    // Nothing is written where something is damaged.
    let gone = objects.keys().map(|digest| store.object(digest)).find(|path| !path.is_file());
    if let Some(path) = gone {
        return Err(StoreError::Gone { path });
    }
    objects.par_iter().try_for_each(|(digest, _)| store.whole_object(digest))?;
    let write = |out: &mut dyn Write| {
        let mut tar = tar::Builder::new(BufWriter::new(out));
        add(&mut tar, HEAD, &serde_json::to_vec_pretty(&bundle)?)?;
        for recipe in recipes.keys() {
            if let Some(stored) = store.recipe(recipe) {
                add(&mut tar, &format!("recipes/{recipe}.json"), &serde_json::to_vec(&stored)?)?;
            }
        }
        for (digest, size) in &objects {
            let mut header = header(*size);
            let name = format!("objects/{digest}");
            tar.append_data(&mut header, name, disk::open(&store.object(digest))?)?;
        }
        for (recipe, entries) in &recipes {
            let records = store.records(recipe).map_err(io::Error::other)?;
            let mut lines = Vec::new();
            for record in entries.iter().filter_map(|entry| records.record(&entry.key)) {
                write_line(&mut lines, &record)?;
            }
            add(&mut tar, &format!("records/{recipe}.log"), &lines)?;
        }
        tar.into_inner()?.flush()
    };
    atomic::create(path, write).map_err(|error| StoreError::write(path, error))?;
    Ok(bundle)
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

fn add<W: Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), name, bytes)
}

/// Adds what a bundle holds to the store. Each object is compared with its name, each record with its sum, and
/// a record counts only where its objects are there; what is whole in a bundle that is not is kept. The caller
/// takes part in the store.
///
/// # Errors
/// The file cannot be read or is no bundle, or the store cannot be written.
pub fn import(store: &Store, path: &Path) -> Result<Imported, StoreError> {
    let unreadable = |error| StoreError::read(path, error);
    let broken = |what: String| StoreError::Bundle { path: path.to_owned(), what };
    let mut tar = tar::Archive::new(disk::open(path).map_err(unreadable)?);
    let mut imported = Imported::default();
    let mut stored = BTreeSet::new();
    // Long names and the like, for which a reader would have to make room, are not in our bundles.
    let entries = tar.entries().map_err(unreadable)?.raw(true);
    for (number, entry) in entries.enumerate() {
        let mut entry =
            entry.map_err(|_| broken("it is cut off, or no file of `cache export`".to_owned()))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = Kind::of(&name).filter(|_| entry.header().entry_type().is_file());
        let Some(kind) = kind.filter(|kind| (number == 0) == matches!(kind, Kind::Head)) else {
            return Err(broken(match number {
                0 => format!("it does not begin with {HEAD}"),
                _ => format!("it holds `{}`", name.escape_default()),
            }));
        };
        if let Kind::Object(digest) = kind {
            let size = entry.size();
            if !store.put_stream(&digest, size, &mut entry)? {
                return Err(broken(format!("{name} is damaged or cut off")));
            }
            stored.insert(digest);
            continue;
        }
        let bytes = read(&mut entry).map_err(|error| broken(format!("{name}: {error}")))?;
        match kind {
            Kind::Head => {
                imported.bundle =
                    serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
                if imported.bundle.version != 1 {
                    return Err(StoreError::Version { path: path.to_owned() });
                }
            }
            Kind::Recipe(key) => {
                let recipe: StoredRecipe =
                    serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
                if recipe.key() != Some(key) {
                    return Err(broken(format!("{name} is another recipe")));
                }
                store.put_recipe(&key, &recipe)?;
            }
            Kind::Records(recipe) => {
                let (new, known) = records(store, &recipe, &bytes)?;
                imported.new += new;
                imported.known += known;
            }
            Kind::Object(_) => {}
        }
    }
    if imported.bundle.version == 0 {
        return Err(broken("it is empty".to_owned()));
    }
    let found = imported.new + imported.known;
    if found < imported.bundle.items || stored.len() < imported.bundle.objects {
        let items = imported.bundle.items;
        return Err(broken(format!("it holds {found} of its {items} items; those were taken")));
    }
    Ok(imported)
}

/// Adds those of the records whose outputs are there; how many are new, and how many were known.
fn records(store: &Store, recipe: &Digest, bytes: &[u8]) -> Result<(usize, usize), StoreError> {
    let records = bodies(bytes).filter_map(|body| serde_json::from_slice::<Record>(body).ok());
    let held = |record: &Record| record.output.as_ref().is_some_and(|one| store.holds(one));
    let mut records: Vec<Record> = records.filter(held).collect();
    let keys = records.iter().map(|record| record.key).collect();
    let known = store.own_outcomes(recipe, &keys)?;
    let all = records.len();
    records.retain(|record| !known.contains_key(&record.key));
    if !records.is_empty() {
        store.append_records(recipe, &records, true)?;
    }
    Ok((records.len(), all - records.len()))
}

fn read(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if entry.take(MOST + 1).read_to_end(&mut bytes)? as u64 > MOST {
        return Err(io::Error::other("it is too large"));
    }
    Ok(bytes)
}

/// What a file in a bundle is.
enum Kind {
    Head,
    Recipe(Digest),
    Object(Digest),
    Records(Digest),
}

impl Kind {
    /// By its name; `None` of what is in no bundle.
    fn of(name: &str) -> Option<Self> {
        if name == HEAD {
            return Some(Self::Head);
        }
        let (folder, file) = name.split_once('/')?;
        let digest = |ending: &str| file.strip_suffix(ending)?.parse().ok();
        match folder {
            "recipes" => digest(".json").map(Self::Recipe),
            "objects" => digest("").map(Self::Object),
            "records" => digest(".log").map(Self::Records),
            _ => None,
        }
    }
}
