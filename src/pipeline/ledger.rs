//! The ledger: what fluxpipe wrote beside pictures, so that a file which a human wrote or edited is
//! known as such and left alone.
//!
//! A sidecar is ours if its bytes are what fluxpipe last wrote at its path, or last wrote for its
//! picture wherever that was then (a picture renamed together with its sidecars), or, where nothing is known of its
//! path, what it last wrote under its name in a folder of the same name (a project that was moved or copied). What is about to be
//! written is noted before it is, so that a kill in between makes nobody's file a human's. Where words
//! of a human went into what is written, they are noted with it: they are theirs for ever, and what
//! was added to them is not.

use std::{
    cell::OnceCell,
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    store::{bodies, read_log, write_line},
};
use crate::base::{Digest, atomic, disk};

/// Whose file it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// fluxpipe wrote it as it is.
    Ours,
    /// fluxpipe wrote it as it is, and added to these words of a human.
    Appended(String),
    /// A human wrote or changed it.
    Human,
}

/// What fluxpipe wrote beside pictures.
#[derive(Debug)]
pub struct Ledger {
    log: PathBuf,
    entries: Mutex<Option<Entries>>,
}

/// A sidecar that is written or about to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Where.
    pub path: PathBuf,
    /// Digest of the picture's bytes.
    pub picture: Digest,
    /// Digest of the sidecar's bytes.
    pub digest: Digest,
    /// Whether it is there, or only about to be.
    pub written: bool,
    /// Words of a human that fluxpipe added to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appended_to: Option<String>,
}

/// What was last written, and what may have been after it.
#[derive(Clone, Debug, Default)]
struct Last {
    written: Option<Sidecar>,
    intended: Option<Sidecar>,
}

/// What was written: its digest, and the words of a human in it.
#[derive(Clone, Debug)]
struct Sidecar {
    digest: Digest,
    appended_to: Option<String>,
}

#[derive(Debug, Default)]
struct Entries {
    /// Bytes of the log that are taken in.
    read: usize,
    paths: HashMap<PathBuf, Last>,
    /// By picture and sort of sidecar (its extension).
    pictures: HashMap<(Digest, String), Last>,
    /// Paths by what a project that moves takes along of them: the names of file and folder. Made when it is
    /// asked for.
    called: OnceCell<HashMap<PathBuf, Vec<PathBuf>>>,
}

impl Entries {
    /// Where a sidecar with these names of file and folder was written.
    fn called(&self, path: &Path) -> &[PathBuf] {
        let called = self.called.get_or_init(|| {
            let mut called: HashMap<_, Vec<_>> = HashMap::new();
            for path in self.paths.keys() {
                called.entry(names(path)).or_default().push(path.clone());
            }
            called
        });
        called.get(&names(path)).map_or(&[], Vec::as_slice)
    }
}

impl Ledger {
    pub(super) fn new(log: PathBuf) -> Self {
        Self { log, entries: Mutex::new(None) }
    }

    /// Whose the file at `path` is, whose bytes have the digest `bytes`, beside the picture with the
    /// digest `picture`.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn owner(
        &self,
        path: &Path,
        picture: &Digest,
        bytes: &Digest,
    ) -> Result<Whose, StoreError> {
        let mut slot = self.entries();
        if slot.is_none() {
            self.take_in(&mut slot)?;
        }
        let entries = slot.get_or_insert_default();
        // Before anything was written every file is a human's; then paths need not be completed either,
        // for which the system is asked.
        if entries.paths.is_empty() {
            return Ok(Whose::Human);
        }
        let path = absolute(path)?;
        let at_path = entries.paths.get(&path);
        let moved = if at_path.is_none() { entries.called(&path) } else { &[] };
        let moved = moved.iter().filter_map(|before| entries.paths.get(before));
        let of_picture = entries.pictures.get(&(*picture, extension(&path)));
        let ours =
            at_path.into_iter().chain(of_picture).chain(moved).find_map(|last| last.find(bytes));
        Ok(match ours {
            Some(Sidecar { appended_to: Some(words), .. }) => Whose::Appended(words.clone()),
            Some(_) => Whose::Ours,
            None => Whose::Human,
        })
    }

    /// The pictures beside which fluxpipe wrote, or was about to write, a file at `path`, with the digest of
    /// that file; the latest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn written_at(&self, path: &Path) -> Result<Vec<(Digest, Digest)>, StoreError> {
        let path = absolute(path)?;
        let bytes = read_log(&self.log)?;
        let noted = bodies(&bytes).filter_map(|body| serde_json::from_slice::<Entry>(body).ok());
        let noted = noted.filter(|entry| entry.path == path);
        let mut found: Vec<_> = noted.map(|entry| (entry.picture, entry.digest)).collect();
        found.reverse();
        Ok(found)
    }

    /// Takes in what other processes wrote since.
    pub(super) fn refresh(&self) -> Result<(), StoreError> {
        self.take_in(&mut self.entries())
    }

    /// Notes entries; `flush` also waits until they are on the disk.
    pub(super) fn note(&self, entries: &[Entry], flush: bool) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for entry in entries {
            let entry = Entry { path: absolute(&entry.path)?, ..entry.clone() };
            write_line(&mut lines, &entry)
                .map_err(|error| StoreError::write(&entry.path, error))?;
        }
        if let Some(folder) = self.log.parent() {
            disk::create_folder(folder).map_err(|error| StoreError::write(folder, error))?;
        }
        atomic::append(&self.log, &lines, flush)
            .map_err(|error| StoreError::write(&self.log, error))?;
        self.refresh()
    }

    fn entries(&self) -> MutexGuard<'_, Option<Entries>> {
        // A panic elsewhere leaves at most entries that are taken in twice, which changes nothing.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, slot: &mut Option<Entries>) -> Result<(), StoreError> {
        let bytes = read_log(&self.log)?;
        let entries = slot.get_or_insert_default();
        // A log that became shorter is another log.
        if bytes.len() < entries.read {
            *entries = Entries::default();
        }
        let fresh = &bytes[entries.read..];
        let noted = bodies(fresh).filter_map(|body| serde_json::from_slice::<Entry>(body).ok());
        for entry in noted.collect::<Vec<_>>() {
            let of_picture = (entry.picture, extension(&entry.path));
            entries.pictures.entry(of_picture).or_default().take_in(&entry);
            entries.paths.entry(entry.path.clone()).or_default().take_in(&entry);
            entries.called.take();
        }
        // A line that is not whole yet is looked at again next time.
        entries.read += fresh.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        Ok(())
    }
}

impl Last {
    fn take_in(&mut self, entry: &Entry) {
        let sidecar = Sidecar { digest: entry.digest, appended_to: entry.appended_to.clone() };
        if entry.written {
            *self = Self { written: Some(sidecar), intended: None };
        } else {
            self.intended = Some(sidecar);
        }
    }

    fn find(&self, bytes: &Digest) -> Option<&Sidecar> {
        let both = self.intended.iter().chain(&self.written);
        both.into_iter().find(|sidecar| sidecar.digest == *bytes)
    }
}

fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(path).map_err(|error| StoreError::read(path, error))
}

/// The names of a file and of the folder that it is in.
fn names(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    Path::new(folder).join(path.file_name().unwrap_or_default())
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn entry(path: &str, picture: &str, text: &str, written: bool) -> Entry {
        let (path, picture, digest) = (path.into(), digest(picture), digest(text));
        Entry { path, picture, digest, written, appended_to: None }
    }

    fn owner(ledger: &Ledger, path: &str, picture: &str, text: &str) -> Whose {
        ledger.owner(Path::new(path), &digest(picture), &digest(text)).unwrap()
    }

    #[test]
    fn ours_by_path_or_by_picture_and_by_bytes_always() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("log"));
        assert_eq!(owner(&ledger, "/p/a.caption", "A", "a cat"), Whose::Human, "there before us");
        ledger.note(&[entry("/p/a.caption", "A", "a cat", true)], true).unwrap();
        assert_eq!(owner(&ledger, "/p/a.caption", "A", "a cat"), Whose::Ours);
        assert_eq!(owner(&ledger, "/p/a.caption", "A", "my cat"), Whose::Human, "edited");
        assert_eq!(owner(&ledger, "/p/a.caption", "B", "a cat"), Whose::Ours, "picture replaced");
        assert_eq!(owner(&ledger, "/q/b.caption", "A", "a cat"), Whose::Ours, "renamed with it");
        assert_eq!(owner(&ledger, "/q/b.txt", "A", "a cat"), Whose::Human, "another sort of file");
        assert_eq!(owner(&ledger, "/q/b.caption", "B", "a cat"), Whose::Human, "another picture's");

        ledger.note(&[entry("/p/a.caption", "A", "a dog", true)], true).unwrap();
        assert_eq!(owner(&ledger, "/p/a.caption", "A", "a dog"), Whose::Ours);
        assert_eq!(owner(&ledger, "/p/a.caption", "A", "a cat"), Whose::Human, "put back by hand");
    }

    #[test]
    fn a_project_that_was_moved_keeps_its_sidecars() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("log"));
        ledger.note(&[entry("/p/words/a.caption", "A", "a cat", true)], true).unwrap();
        ledger.note(&[entry("/p/more/a.caption", "M", "a cow", true)], true).unwrap();
        // Also where the picture was replaced after the move.
        assert_eq!(owner(&ledger, "/q/words/a.caption", "B", "a cat"), Whose::Ours);
        assert_eq!(owner(&ledger, "/q/words/a.caption", "B", "my cat"), Whose::Human, "edited");
        assert_eq!(owner(&ledger, "/q/words/b.caption", "B", "a cat"), Whose::Human, "copied");
        assert_eq!(owner(&ledger, "/q/words/a.caption", "B", "a cow"), Whose::Human, "of another");
        ledger.note(&[entry("/q/words/a.caption", "B", "a dog", true)], true).unwrap();
        assert_eq!(owner(&ledger, "/q/words/a.caption", "B", "a cat"), Whose::Human, "put back");
    }

    #[test]
    fn words_that_were_added_to_are_remembered_until_the_file_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let ledger = Ledger::new(log.clone());
        let appended = Entry {
            appended_to: Some("hat".to_owned()),
            ..entry("/p/a.txt", "A", "hat, sky", true)
        };
        ledger.note(&[appended], true).unwrap();
        for ledger in [&ledger, &Ledger::new(log)] {
            let words = Whose::Appended("hat".to_owned());
            assert_eq!(owner(ledger, "/p/a.txt", "A", "hat, sky"), words);
            assert_eq!(owner(ledger, "/q/b.txt", "A", "hat, sky"), words, "renamed");
            assert_eq!(owner(ledger, "/p/a.txt", "A", "hat"), Whose::Human, "put back by hand");
        }
        ledger.note(&[entry("/p/a.txt", "A", "sky", true)], true).unwrap();
        assert_eq!(owner(&ledger, "/p/a.txt", "A", "sky"), Whose::Ours, "written over");
    }

    #[test]
    fn a_kill_between_note_and_write_leaves_both_versions_ours() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let ledger = Ledger::new(log.clone());
        ledger.note(&[entry("/p/a.txt", "A", "old", true)], true).unwrap();
        ledger.note(&[entry("/p/a.txt", "A", "new", false)], true).unwrap();
        let later = Ledger::new(log);
        assert_eq!(owner(&later, "/p/a.txt", "A", "old"), Whose::Ours);
        assert_eq!(owner(&later, "/p/a.txt", "A", "new"), Whose::Ours);
        later.note(&[entry("/p/a.txt", "A", "new", true)], true).unwrap();
        ledger.refresh().unwrap();
        assert_eq!(
            owner(&ledger, "/p/a.txt", "A", "old"),
            Whose::Human,
            "another process wrote it"
        );
    }
}
