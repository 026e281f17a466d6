//! A second store, in a folder that several machines see: asked where the own one has no output, and given what
//! was made here. Both have the same layout. What comes from there is compared with its digest, and is from then
//! on as if it had been made here.

use std::{collections::HashSet, path::Path, sync::Arc};

use rayon::prelude::*;

use super::{Outcome, Record, Records, Store, StoreError, object};
use crate::base::Digest;

impl Store {
    /// The same store, which asks the store in the folder `path` where it has no output itself.
    ///
    /// # Errors
    /// `path` is no folder, or holds a store of another version only.
    pub fn with_shared(mut self, path: &Path) -> Result<Self, StoreError> {
        let shared =
            Self { is_shared: true, health: Arc::clone(&self.health), ..Self::open(path)? };
        self.shared = Some(Box::new(shared));
        Ok(self)
    }

    /// The shared store, if there is one.
    #[must_use]
    pub fn shared(&self) -> Option<&Self> {
        self.shared.as_deref()
    }

    /// The store whose object of this digest is read: this one, unless only the shared one has it.
    pub(super) fn home(&self, digest: &Digest) -> &Self {
        let has = |store: &Self| {
            object::size(&store.object(digest)).is_some()
                && store.health.is_usable(&store.place(digest))
        };
        match self.shared() {
            Some(shared) if !has(self) && has(shared) => shared,
            _ => self,
        }
    }

    /// Copies what the shared store has of these items of a recipe and this one has not; says how many of
    /// them it took.
    ///
    /// # Errors
    /// A store cannot be read, this one cannot be written, or what is to be taken is damaged.
    pub(in crate::pipeline) fn take_shared(
        &self,
        recipe: &Digest,
        keys: &HashSet<Digest>,
    ) -> Result<usize, StoreError> {
        let Some(shared) = self.shared() else { return Ok(0) };
        shared.hand_over(recipe, &self.without(recipe, keys)?, self)
    }

    /// Copies what this store has of these items of a recipe and the shared one has not; says how many of
    /// them it gave.
    ///
    /// # Errors
    /// A store cannot be read, the shared one cannot be written, or what is to be given is damaged.
    pub(in crate::pipeline) fn give_shared(
        &self,
        recipe: &Digest,
        keys: &HashSet<Digest>,
    ) -> Result<usize, StoreError> {
        let Some(shared) = self.shared() else { return Ok(0) };
        self.hand_over(recipe, &shared.without(recipe, keys)?, shared)
    }

    /// Those of the keys of which this store has no output itself.
    fn without(&self, recipe: &Digest, keys: &HashSet<Digest>) -> Result<Vec<Digest>, StoreError> {
        let own = self.own_outcomes(recipe, keys)?;
        let made = |key: &&Digest| matches!(own.get(*key), Some(Outcome::Output(_)));
        Ok(keys.iter().filter(|key| !made(key)).copied().collect())
    }

    fn hand_over(&self, recipe: &Digest, keys: &[Digest], to: &Self) -> Result<usize, StoreError> {
        let records = if keys.is_empty() { Records::default() } else { self.records(recipe)? };
        let copied = keys.par_iter().filter_map(|key| {
            let record = records.record(key).filter(|record| record.output.is_some())?;
            Some(self.copy_objects(&record, to).map(|()| record))
        });
        let copied = copied.collect::<Result<Vec<_>, _>>()?;
        if copied.is_empty() {
            return Ok(0);
        }
        if let Some(stored) = self.recipe(recipe) {
            to.put_recipe(recipe, &stored)?;
        }
        to.append_records(recipe, &copied, true)?;
        Ok(copied.len())
    }

    fn copy_objects(&self, record: &Record, to: &Self) -> Result<(), StoreError> {
        let blobs = record.output.iter().flat_map(|output| &output.blobs);
        for blob in blobs.filter(|blob| blob.text.is_none()) {
            // What comes from a disk that others write to is looked at again, whatever is known of it.
            let bytes = object::read(self, &blob.digest)?;
            object::put_bytes(to, &blob.digest, &bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Draft, Output};

    fn two() -> (tempfile::TempDir, Store, Store) {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| Store::open(&folder.path().join(name)).unwrap();
        let with = |store: Store| store.with_shared(&folder.path().join("shared")).unwrap();
        let stores = ["one", "two"].map(|name| with(open(name)));
        let [one, two] = stores;
        (folder, one, two)
    }

    fn made(store: &Store, recipe: &Digest, key: &Digest) -> Output {
        let output = store.put(Draft::bytes("latent", vec![5; 5000]).and("text", "a cup")).unwrap();
        let (id, run) = ("cup".to_owned(), "run".to_owned());
        let (failure, parts, seconds) = (None, Vec::new(), 1.0);
        let record =
            Record { key: *key, output: Some(output.clone()), failure, id, parts, seconds, run };
        store.append_records(recipe, &[record], true).unwrap();
        output
    }

    #[test]
    fn what_one_made_the_other_takes() {
        let (_folder, one, two) = two();
        let (recipe, key) = (Digest::of(b"recipe"), Digest::of(b"key"));
        let keys: HashSet<_> = [key].into();
        let output = made(&one, &recipe, &key);
        assert!(two.outcomes(&recipe, &keys).unwrap().is_empty());
        assert_eq!(one.give_shared(&recipe, &keys).unwrap(), 1);
        assert_eq!(one.give_shared(&recipe, &keys).unwrap(), 0, "it is there");
        // Before it is taken it can be read.
        assert_eq!(two.outcomes(&recipe, &keys).unwrap().len(), 1);
        assert!(two.own_outcomes(&recipe, &keys).unwrap().is_empty());
        let latent = output.blob("latent").unwrap();
        assert_eq!(two.read(latent).unwrap(), vec![5; 5000]);
        assert!(two.path(latent).unwrap().starts_with(two.shared().unwrap().root()));
        assert_eq!(two.take_shared(&recipe, &keys).unwrap(), 1);
        assert_eq!(two.take_shared(&recipe, &keys).unwrap(), 0);
        assert!(two.path(latent).unwrap().starts_with(two.root()));
        assert!(matches!(two.own_outcomes(&recipe, &keys).unwrap()[&key], Outcome::Output(_)));
    }

    #[test]
    fn what_is_damaged_there_is_not_taken() {
        let (_folder, one, two) = two();
        let (recipe, key) = (Digest::of(b"recipe"), Digest::of(b"key"));
        let keys: HashSet<_> = [key].into();
        let output = made(&one, &recipe, &key);
        one.give_shared(&recipe, &keys).unwrap();
        let path = two.shared().unwrap().object(&output.blob("latent").unwrap().digest);
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, vec![6; 5000]).unwrap();
        assert!(matches!(two.take_shared(&recipe, &keys), Err(StoreError::Damaged { .. })));
        let lost = two.lost(0);
        assert!(lost.len() == 1 && lost[0].shared && lost[0].damaged);
        assert!(two.outcomes(&recipe, &keys).unwrap().is_empty());
        // Who has it whole gives it again.
        assert_eq!(one.give_shared(&recipe, &keys).unwrap(), 1);
        assert_eq!(two.take_shared(&recipe, &keys).unwrap(), 1);
    }
}
