//! Facts about contents, remembered by their digests: numbers that cost a look into a file, such as the
//! size of a picture, and that never change for the same bytes.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{StoreError, log};
use crate::base::{Digest, atomic, disk};

#[derive(Serialize, Deserialize)]
struct Line {
    digest: Digest,
    numbers: Vec<u64>,
}

/// The remembered facts; each sort has a log of its own, which is read when it is first asked for.
#[derive(Debug)]
pub struct Facts {
    folder: PathBuf,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    numbers: HashMap<Digest, Vec<u64>>,
    unsaved: Vec<u8>,
}

impl Facts {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, known: Mutex::new(HashMap::new()) }
    }

    /// The fact of the sort `sort` about the content `digest`: as remembered, or as `find` finds it,
    /// several at a time on several threads.
    ///
    /// # Errors
    /// The log cannot be read, or whatever `find` returns.
    pub fn get<E: From<StoreError>>(
        &self,
        sort: &str,
        digest: &Digest,
        find: impl FnOnce() -> Result<Vec<u64>, E>,
    ) -> Result<Vec<u64>, E> {
        if let Some(numbers) = self.of(sort)?.get(sort).and_then(|known| known.numbers.get(digest))
        {
            return Ok(numbers.clone());
        }
        let numbers = find()?;
        if let Some(known) = self.of(sort)?.get_mut(sort) {
            let line = Line { digest: *digest, numbers: numbers.clone() };
            // Numbers are always JSON, so nothing can be wrong with the line.
            let _ = log::write_line(&mut known.unsaved, &line);
            known.numbers.insert(*digest, numbers.clone());
        }
        Ok(numbers)
    }

    /// Appends what was found to the logs.
    ///
    /// # Errors
    /// One cannot be written.
    pub fn save(&self) -> Result<(), StoreError> {
        for (sort, known) in self.lock().iter_mut() {
            let lines = std::mem::take(&mut known.unsaved);
            if lines.is_empty() {
                continue;
            }
            let path = self.path(sort);
            disk::create_folder(&self.folder)
                .and_then(|()| atomic::append(&path, &lines, false))
                .map_err(|error| StoreError::write(&path, error))?;
        }
        Ok(())
    }

    fn path(&self, sort: &str) -> PathBuf {
        self.folder.join(format!("{sort}.log"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        // A panic elsewhere cannot leave the map half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All facts, those of this sort among them.
    fn of(&self, sort: &str) -> Result<MutexGuard<'_, HashMap<String, Known>>, StoreError> {
        if !self.lock().contains_key(sort) {
            // Read without the lock: several threads read the log together, and one of them could meanwhile
            // take up work that waits for the lock that it holds itself.
            let mut numbers = HashMap::new();
            let read = |line: &[u8]| serde_json::from_slice::<Line>(line).ok();
            log::each(
                &self.path(sort),
                |_| true,
                read,
                |line| {
                    numbers.insert(line.digest, line.numbers);
                },
            )?;
            let known = Known { numbers, unsaved: Vec::new() };
            self.lock().entry(sort.to_owned()).or_insert(known);
        }
        Ok(self.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_found_once_for_each_content_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts");
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let never = || -> Result<Vec<u64>, StoreError> { panic!("it is known") };
        let facts = Facts::new(path.clone());
        assert_eq!(facts.get("size", &one, || Ok::<_, StoreError>(vec![4, 3])).unwrap(), [4, 3]);
        assert_eq!(facts.get("size", &one, never).unwrap(), [4, 3]);
        assert_eq!(facts.get("size", &other, || Ok::<_, StoreError>(vec![1])).unwrap(), [1]);
        assert_eq!(facts.get("age", &one, || Ok::<_, StoreError>(vec![7])).unwrap(), [7]);
        facts.save().unwrap();
        let facts = Facts::new(path);
        assert_eq!(facts.get("size", &one, never).unwrap(), [4, 3]);
        assert_eq!(facts.get("age", &one, never).unwrap(), [7]);
    }
}
