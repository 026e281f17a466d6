//! Published files: what a stage shows to people beside the store.
//!
//! A file in the output folder is rewritten when it differs. A sidecar is shared with its human and is
//! written only where none is, where it is as fluxpipe left it, or where the manifest says so.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use super::{
    Finished, Frequency, Node, Owner, Publication, Published, RunError, Seen, Store, StoreError,
    Upstream, Warning, Whose, Words, decide::Decided, ledger::Entry, store::same_file,
};
use crate::base::{Digest, atomic, disk};

/// From this size on a blob is linked rather than copied: a checkpoint of 24 GB is not there twice.
/// A linked file is read-only, like the object that it is.
const LINK_FROM: u64 = 1 << 20;

/// Sidecars noted in the ledger at a time, and flushed together.
const BATCH: usize = 256;

/// A file that is not as it should be.
pub struct Due {
    /// What it should be.
    publication: Publication,
    /// What is there instead, if something is.
    instead: Option<Digest>,
}

/// The files of a stage that are not as they should be.
pub fn due(node: &Node, decided: &Decided, store: &Store) -> Result<Vec<Publication>, RunError> {
    Ok(look(node, decided, store)?.into_iter().map(|due| due.publication).collect())
}

/// The same with what is there instead. A file that items share, such as the sidecar of a picture that is
/// in two datasets, is the first item's.
pub fn look(node: &Node, decided: &Decided, store: &Store) -> Result<Vec<Due>, RunError> {
    let all = node.stage.publications(&finished(decided), store);
    let mut all = all.map_err(|error| RunError::stage(&node.name, error))?;
    let mut seen = HashSet::new();
    all.retain(|publication| {
        let path = &publication.path;
        seen.insert(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
    });
    let due = all.into_par_iter().filter_map(|publication| is_due(publication, store).transpose());
    Ok(due.collect::<Result<_, _>>()?)
}

/// The files of fluxpipe itself among `due` that are there already.
pub fn written_over(due: &[Publication]) -> Vec<PathBuf> {
    let ours = due.iter().filter(|publication| publication.owner == Owner::Fluxpipe);
    ours.filter(|publication| publication.path.exists())
        .map(|publication| publication.path.clone())
        .collect()
}

/// What a stage counts in its outputs, the most frequent first.
pub fn frequencies(
    node: &Node,
    decided: &Decided,
    store: &Store,
) -> Result<Vec<Frequency>, RunError> {
    let all = node.stage.frequencies(&finished(decided), store);
    let mut all = all.map_err(|error| RunError::stage(&node.name, error))?;
    all.sort_by(|one, other| other.items.cmp(&one.items).then_with(|| one.name.cmp(&other.name)));
    Ok(all)
}

/// What the stage's user should know.
pub fn warnings(
    node: &Node,
    decided: &Decided,
    upstream: &Upstream<'_>,
) -> Result<Vec<Warning>, RunError> {
    let items = decided.decisions.iter();
    let items = items.map(|decision| Seen { spec: &decision.spec, output: decision.output() });
    let warnings = node.stage.warnings(&items.collect::<Vec<_>>(), upstream);
    warnings.map_err(|error| RunError::NotPlanned { stage: node.name.clone(), error: error.into() })
}

fn finished(decided: &Decided) -> Vec<Finished<'_>> {
    let finished = decided.decisions.iter();
    let finished = finished
        .filter_map(|decision| Some(Finished { spec: &decision.spec, output: decision.output()? }));
    finished.collect()
}

/// Writes the files, and calls `written` for each. A sidecar that somebody wrote or changed since it was
/// looked at stays as it is: its words are the next run's.
pub fn write(due: &[Due], store: &Store, written: &mut dyn FnMut(&Path)) -> Result<(), StoreError> {
    for batch in due.chunks(BATCH) {
        let notes: Vec<_> = batch.iter().filter_map(|due| entry(&due.publication)).collect();
        store.ledger().note(&notes, true)?;
        let placed = batch.par_iter().map(|due| Ok(place(due, store)?.then_some(&due.publication)));
        let placed = placed.collect::<Result<Vec<_>, StoreError>>()?;
        let placed: Vec<_> = placed.into_iter().flatten().collect();
        let folders: BTreeSet<_> =
            placed.iter().map(|publication| publication.path.parent()).collect();
        for path in folders.into_iter().flatten() {
            let flushed = atomic::flush_folder_of(&path.join("any"));
            flushed.map_err(|error| StoreError::write(path, error))?;
        }
        let notes = placed.iter().filter_map(|publication| entry(publication));
        let notes: Vec<_> = notes.map(|note| Entry { written: true, ..note }).collect();
        store.ledger().note(&notes, false)?;
        placed.iter().for_each(|publication| written(&publication.path));
    }
    Ok(())
}

/// Shows a finished file of the store as `to`, linked like a blob of its size; `false` where it is there
/// already. Linked, it is read-only: two names of one file.
pub fn show(from: &Path, to: &Path) -> Result<bool, StoreError> {
    if is_shown(from, to)? {
        return Ok(false);
    }
    let place = || {
        if let Some(folder) = to.parent() {
            disk::create_folder(folder)?;
        }
        if std::fs::metadata(from)?.len() < LINK_FROM {
            return atomic::copy(from, to);
        }
        disk::protect(from)?;
        atomic::link(from, to)
    };
    place().map_err(|error| StoreError::write(to, error))?;
    Ok(true)
}

/// Removes `to` where it shows `from`; a file that somebody else put there stays.
pub fn take_back(from: &Path, to: &Path) -> Result<(), StoreError> {
    if is_shown(from, to)? {
        disk::remove(to).map_err(|error| StoreError::write(to, error))?;
    }
    Ok(())
}

/// Whether `to` is the file `from`, or a copy of it.
fn is_shown(from: &Path, to: &Path) -> Result<bool, StoreError> {
    let sizes = [to, from].map(|path| match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::read(path, error)),
    });
    let [Ok(Some(shown)), Ok(Some(metadata))] = sizes else {
        return sizes.into_iter().collect::<Result<Vec<_>, _>>().map(|_| false);
    };
    if same_file(&shown, from) {
        return Ok(true);
    }
    // A large file would have been linked, or copied where links cannot be made.
    if shown.len() != metadata.len() {
        return Ok(false);
    }
    let digest = |path: &Path| Digest::of_file(path).map_err(|error| StoreError::read(path, error));
    Ok(digest(from)? == digest(to)?)
}

/// The publication with what is there instead, unless it is there or must not be.
fn is_due(publication: Publication, store: &Store) -> Result<Option<Due>, StoreError> {
    let path = &publication.path;
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(Due { publication, instead: None }));
        }
        Err(error) => return Err(StoreError::read(path, error)),
    };
    if let Published::Blob(blob) = &publication.content
        && store.is_object(&metadata, blob)?
    {
        return Ok(None);
    }
    let found = store.digest_file(path)?;
    if found == wanted(&publication) {
        return Ok(None);
    }
    let may = match &publication.owner {
        Owner::Sidecar { picture, words: Words::Keep } => {
            store.ledger().owner(path, picture, &found)? == Whose::Ours
        }
        Owner::Fluxpipe | Owner::Sidecar { .. } => true,
    };
    Ok(may.then_some(Due { publication, instead: Some(found) }))
}

fn wanted(publication: &Publication) -> Digest {
    match &publication.content {
        Published::Bytes(bytes) => Digest::of(bytes),
        Published::Blob(blob) => blob.digest,
    }
}

/// The ledger's entry for a sidecar that is about to be written.
fn entry(publication: &Publication) -> Option<Entry> {
    let Owner::Sidecar { picture, words } = &publication.owner else { return None };
    let (path, digest) = (publication.path.clone(), wanted(publication));
    let appended_to = match words {
        Words::AppendTo(words) => Some(words.clone()),
        Words::Keep | Words::Overwrite => None,
    };
    Some(Entry { path, picture: *picture, digest, written: false, appended_to })
}

/// Writes a file; `false` where somebody's sidecar is in the way.
fn place(due: &Due, store: &Store) -> Result<bool, StoreError> {
    let Due { publication, instead } = due;
    let path = &publication.path;
    if let Some(folder) = path.parent() {
        disk::create_folder(folder).map_err(|error| StoreError::write(folder, error))?;
    }
    let shared = match &publication.owner {
        Owner::Fluxpipe | Owner::Sidecar { words: Words::Overwrite, .. } => false,
        Owner::Sidecar { .. } => true,
    };
    if shared && content(path)? != *instead {
        return Ok(false);
    }
    // Where none was there, none that appears at this very moment is replaced either.
    let new = shared && instead.is_none();
    let placed = match &publication.content {
        Published::Bytes(bytes) => put(path, bytes, new),
        Published::Blob(blob) => match (&blob.text, &publication.owner) {
            (Some(text), _) => put(path, text.as_bytes(), new),
            (None, Owner::Fluxpipe) if blob.size >= LINK_FROM => {
                atomic::link(&store.path(blob)?, path).map(|()| true)
            }
            (None, _) if new => atomic::copy_new(&store.path(blob)?, path),
            (None, _) => atomic::copy(&store.path(blob)?, path).map(|()| true),
        },
    };
    placed.map_err(|error| StoreError::write(path, error))
}

fn put(path: &Path, bytes: &[u8], new: bool) -> io::Result<bool> {
    if new { atomic::write_new(path, bytes) } else { atomic::replace(path, bytes).map(|()| true) }
}

/// Digest of what is in a sidecar at this moment: what is remembered of it could be of a moment ago.
fn content(path: &Path) -> Result<Option<Digest>, StoreError> {
    match disk::read(path) {
        Ok(bytes) => Ok(Some(Digest::of(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::read(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Draft;

    #[test]
    fn a_large_file_of_ours_is_linked_and_a_sidecar_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let output = store.put(Draft::bytes("model", vec![5; LINK_FROM as usize])).unwrap();
        let object = store.path(&output.blobs[0]).unwrap();
        let publish = |name: &str, owner: Owner| {
            let content = Published::Blob(output.blobs[0].clone());
            Publication { path: folder.path().join("out").join(name), content, owner }
        };
        let sidecar = Owner::Sidecar { picture: Digest::of(b"p"), words: Words::Keep };
        let both = || [publish("model", Owner::Fluxpipe), publish("sidecar", sidecar.clone())];
        let due = |publication| is_due(publication, &store).unwrap();
        let write = |due: [Option<Due>; 2]| {
            let mut written = 0;
            let due = due.map(Option::unwrap);
            super::write(&due, &store, &mut |_| written += 1).unwrap();
            written
        };
        assert_eq!(write(both().map(due)), 2);
        assert!(both().map(due).iter().all(Option::is_none));
        let paths = both().map(|publication| publication.path);
        let linked =
            paths.each_ref().map(|path| same_file(&fs_err::metadata(path).unwrap(), &object));
        assert_eq!(linked, [cfg!(unix), false]);

        // A human's edit of the sidecar stays; a changed file of ours is written anew.
        let changed = |path: &Path, text: &str| {
            fs_err::remove_file(path).unwrap();
            fs_err::write(path, text).unwrap();
        };
        paths.iter().for_each(|path| changed(path, "changed"));
        assert_eq!(both().map(due).map(|due| due.is_some()), [true, false]);
        for words in [Words::Overwrite, Words::AppendTo("changed".to_owned())] {
            let over = Owner::Sidecar { picture: Digest::of(b"p"), words };
            assert!(due(publish("sidecar", over)).is_some());
        }
        // So does one that comes, or changes once more, after the look.
        let words = |words| Owner::Sidecar { picture: Digest::of(b"p"), words };
        let added = || publish("sidecar", words(Words::AppendTo("changed".to_owned())));
        let new = || publish("new", words(Words::Keep));
        let looked = [due(added()), due(new())];
        changed(&paths[1], "changed again");
        fs_err::write(&new().path, "a human's").unwrap();
        assert_eq!(write(looked), 0);
        assert_eq!(fs_err::read_to_string(&paths[1]).unwrap(), "changed again");
        assert_eq!(fs_err::read_to_string(&new().path).unwrap(), "a human's");
        let ours = Digest::of(&[5; LINK_FROM as usize]);
        let whose = store.ledger().owner(&paths[1], &Digest::of(b"p"), &ours).unwrap();
        let appended = Whose::Appended("changed".to_owned());
        assert_eq!(whose, appended, "what was to be written is known, with its human's words");
    }
}
