//! Which key each item of a stage had after each run, so that two runs can be compared: of each run what
//! changed, in a log per stage that only grows (`keys/STAGE.log`).
//!
//! A run notes its line while it holds the lock of the stage, also where nothing changed. Losing a log
//! costs comparisons and no work.

use std::path::PathBuf;

use rayon::iter::ParallelIterator;
use serde::{Deserialize, Serialize};

use crate::{
    base::{atomic, disk},
    pipeline::{
        Store, StoreError,
        store::{Heads, bodies, file_name, read_log, write_line},
    },
};

/// What a run changed in the keys of a stage.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// Id of the run.
    run: String,
    /// Whether `set` is all that there is: the first line of a log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
    /// Keys that are new or others.
    #[serde(default)]
    set: Heads,
    /// Recipe name and id of items that are there no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<(String, String)>,
}

impl Line {
    fn of(run: &str, before: &Heads, now: &Heads, whole: bool) -> Self {
        let (mut set, mut gone) = (Heads::default(), Vec::new());
        // Which is most runs, and quicker to find out than item by item.
        if before == now && !whole {
            return Self { run: run.to_owned(), whole, set, gone };
        }
        for (recipe, id, head) in now.iter() {
            if whole || before.get(recipe, id) != Some(head) {
                set.set(recipe, id, head);
            }
        }
        for (recipe, id, _) in before.iter().filter(|_| !whole) {
            if now.get(recipe, id).is_none() {
                gone.push((recipe.to_owned(), id.to_owned()));
            }
        }
        Self { run: run.to_owned(), whole, set, gone }
    }
}

impl Store {
    /// Notes what a run made of the keys of a stage.
    pub(in crate::pipeline) fn note_keys(
        &self,
        stage: &str,
        run: &str,
        before: &Heads,
        now: &Heads,
    ) -> Result<(), StoreError> {
        let path = self.keys_log(stage);
        let whole = before.is_empty() || !path.exists();
        let mut line = Vec::new();
        let written = write_line(&mut line, &Line::of(run, before, now, whole)).and_then(|()| {
            if let Some(folder) = path.parent() {
                disk::create_folder(folder)?;
            }
            atomic::append(&path, &line, false)
        });
        written.map_err(|error| StoreError::write(&path, error))
    }

    /// The keys of the items of a stage after a run: as it left them, or where it did not come to that stage
    /// as the run before it did; `None` where that is not known.
    pub(in crate::pipeline) fn keys_after(&self, stage: &str, run: &str) -> Option<Heads> {
        let bytes = read_log(&self.keys_log(stage)).ok()?;
        let lines = bodies(&bytes).filter_map(|body| serde_json::from_slice::<Line>(body).ok());
        let lines = lines.collect::<Vec<_>>();
        // Of runs that go on at once the lines stand in the order in which they had the stage; ids sort by
        // time.
        let own = lines.iter().rposition(|line| line.run == run);
        let last = own.or_else(|| lines.iter().rposition(|line| *line.run < *run))?;
        let first = lines[..=last].iter().rposition(|line| line.whole)?;
        let mut keys = Heads::default();
        for line in &lines[first..=last] {
            for (recipe, id, head) in line.set.iter() {
                keys.set(recipe, id, head);
            }
            for (recipe, id) in &line.gone {
                keys.remove(recipe, id);
            }
        }
        Some(keys)
    }

    fn keys_log(&self, stage: &str) -> PathBuf {
        self.root().join("keys").join(format!("{}.log", file_name(stage)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::Digest, pipeline::store::Head};

    fn heads(items: &[(&str, u8)]) -> Heads {
        let mut heads = Heads::default();
        for (id, key) in items {
            let (recipe, item) = (Digest::of(b"recipe"), Digest::of(&[*key]));
            heads.set("text", id, Head { recipe, item });
        }
        heads
    }

    #[test]
    fn the_keys_of_any_run_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let all = [
            heads(&[("a", 1), ("b", 1)]),
            heads(&[("a", 1), ("b", 2), ("c", 1)]),
            heads(&[("a", 1), ("c", 1)]),
            heads(&[("a", 1), ("c", 1)]),
            heads(&[("a", 3)]),
        ];
        // The first line of a log is whole, also where a stage ran before there were logs.
        let mut before = heads(&[("a", 0), ("x", 0)]);
        for (run, now) in all.iter().enumerate() {
            store.note_keys("cache", &run.to_string(), &before, now).unwrap();
            before = heads(&[]);
            now.iter().for_each(|(recipe, id, head)| before.set(recipe, id, head));
        }
        let told = |heads: &Heads| {
            heads.iter().map(|(_, id, head)| (id.to_owned(), head)).collect::<Vec<_>>()
        };
        for (run, now) in all.iter().enumerate() {
            let found = store.keys_after("cache", &run.to_string()).unwrap();
            assert_eq!(told(&found), told(now), "after run {run}");
        }
        assert!(store.keys_after("cache", "!").is_none(), "before all of them");
        assert_eq!(told(&store.keys_after("cache", "2 and a half").unwrap()), told(&all[2]));
        assert!(store.keys_after("label", "1").is_none());
        // A line that is cut off spoils no other.
        let log = folder.path().join("v1/keys/cache.log");
        let bytes = fs_err::read(&log).unwrap();
        fs_err::write(&log, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(told(&store.keys_after("cache", "4").unwrap()), told(&all[3]));
        assert_eq!(told(&store.keys_after("cache", "3").unwrap()), told(&all[3]));
    }
}
