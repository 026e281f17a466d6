//! What a store holds of a kind of stage, asked for explanations: which stored key is nearest to one that
//! is not stored, and which item made something. Reads logs, each once; must not know what a key is for.

use std::{
    cell::{OnceCell, RefCell},
    cmp::Reverse,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::{
    KeyPart, Recipe, Store,
    explain::differing,
    store::{Head, Record, Records, StoredRecipe},
};
use crate::base::{Digest, Value};

/// A stored key, and how far it is from the one that was asked about.
#[derive(Clone, Debug)]
pub struct Near {
    /// The key.
    pub head: Head,
    /// Id of the item for which it was made first.
    pub id: String,
    /// Id of the run that made it.
    pub run: String,
}

/// The stored keys.
pub struct Past<'a> {
    store: &'a Store,
    recipes: OnceCell<Vec<(Digest, StoredRecipe)>>,
    records: RefCell<HashMap<Digest, Rc<Records>>>,
    ids: RefCell<HashMap<Digest, Rc<Ids>>>,
    outputs: RefCell<HashMap<Digest, Rc<Vec<Record>>>>,
}

/// Keys by the ids of their records.
type Ids = HashMap<String, Vec<Digest>>;

impl<'a> Past<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self {
            store,
            recipes: OnceCell::new(),
            records: RefCell::default(),
            ids: RefCell::default(),
            outputs: RefCell::default(),
        }
    }

    /// The stored key nearest to that of the item `id` with these parts: of the keys that this item had
    /// ever (`last` is that of its last run) the one with the fewest parts that differ; where it never
    /// had any, of all keys. Of several the one of its last run, then the latest.
    pub fn nearest<'p>(
        &self,
        kind: &str,
        recipe: &Recipe,
        id: &str,
        parts: impl Iterator<Item = &'p KeyPart> + Clone,
        last: Option<Head>,
    ) -> Option<Near> {
        let mut own = Best::default();
        for (key, stored) in self.of_kind(kind, recipe.name) {
            let shared = differing(&stored.parts, recipe.parts.iter());
            let records = self.records(key);
            let of_last = last.filter(|last| last.recipe == *key);
            let of_last = of_last.and_then(|last| records.record(&last.item));
            let of_id = self.ids(key).get(id).cloned().unwrap_or_default();
            let of_id = of_id.into_iter().filter_map(|key| records.record(&key));
            for record in of_last.into_iter().chain(of_id) {
                own.offer(*key, shared, &record, parts.clone(), last);
            }
        }
        let found = own.near.or_else(|| {
            let mut any = Best::default();
            for (key, stored) in self.of_kind(kind, recipe.name) {
                let shared = differing(&stored.parts, recipe.parts.iter());
                for record in self.outputs(key).iter() {
                    any.offer(*key, shared, record, parts.clone(), None);
                }
            }
            any.near
        });
        found.map(|(_, near)| near)
    }

    /// The stored key under which an item of this kind and recipe made a blob with this digest; that of
    /// the item `id`, where it was one of several.
    pub fn maker(&self, kind: &str, recipe: &str, id: &str, digest: &Digest) -> Option<Near> {
        let mut found = Vec::new();
        for (key, _) in self.of_kind(kind, recipe) {
            for record in self.records(key).mentioning(&digest.hex()) {
                let blobs = record.output.iter().flat_map(|output| &output.blobs);
                if blobs.into_iter().any(|blob| blob.digest == *digest) {
                    let head = Head { recipe: *key, item: record.key };
                    let Record { id, run, .. } = record;
                    found.push(Near { head, id, run });
                }
            }
        }
        found.into_iter().min_by_key(|near| (near.id != id, near.head.item))
    }

    /// By the digest of a blob the item that made it, with a recipe that is wanted.
    pub fn makers(
        &self,
        wanted: impl Fn(&StoredRecipe) -> bool,
        digests: &HashSet<Digest>,
    ) -> HashMap<Digest, String> {
        let mut found = HashMap::new();
        let wanted = |(_, stored): &&(Digest, StoredRecipe)| !digests.is_empty() && wanted(stored);
        for (key, _) in self.recipes().iter().filter(wanted) {
            for record in self.records(key).all() {
                for blob in record.output.iter().flat_map(|output| &output.blobs) {
                    if digests.contains(&blob.digest) {
                        found.entry(blob.digest).or_insert_with(|| record.id.clone());
                    }
                }
            }
        }
        found
    }

    /// The key of a recipe as it is stored, and the record of an item key of it.
    pub fn stored(&self, head: Head) -> Option<(&StoredRecipe, Record)> {
        let recipe = self.recipes().iter().find(|(key, _)| *key == head.recipe)?;
        Some((&recipe.1, self.records(&head.recipe).record(&head.item)?))
    }

    /// All stored recipes, by their keys.
    pub fn recipes(&self) -> &[(Digest, StoredRecipe)] {
        self.recipes.get_or_init(|| {
            let keys = self.store.recipe_keys().into_iter();
            keys.filter_map(|key| Some((key, self.store.recipe(&key)?))).collect()
        })
    }

    /// The records of a recipe; none where they cannot be read, which whoever needs them to work says.
    pub fn records(&self, recipe: &Digest) -> Rc<Records> {
        let read = || Rc::new(self.store.records(recipe).unwrap_or_default());
        Rc::clone(self.records.borrow_mut().entry(*recipe).or_insert_with(read))
    }

    /// Which of them were made for which item.
    fn ids(&self, recipe: &Digest) -> Rc<Ids> {
        let records = self.records(recipe);
        let read = || Rc::new(records.by_id());
        Rc::clone(self.ids.borrow_mut().entry(*recipe).or_insert_with(read))
    }

    /// Those of them that made something, parsed once for many questions.
    fn outputs(&self, recipe: &Digest) -> Rc<Vec<Record>> {
        let records = self.records(recipe);
        let read = || Rc::new(records.all().filter(|record| record.output.is_some()).collect());
        Rc::clone(self.outputs.borrow_mut().entry(*recipe).or_insert_with(read))
    }

    fn of_kind<'s>(
        &'s self,
        kind: &'s str,
        recipe: &'s str,
    ) -> impl Iterator<Item = &'s (Digest, StoredRecipe)> {
        let wanted = move |stored: &StoredRecipe| stored.kind == kind && stored.recipe == recipe;
        self.recipes().iter().filter(move |(_, stored)| wanted(stored))
    }
}

/// The nearest key so far, by what sets it before others.
#[derive(Default)]
struct Best {
    near: Option<(Rank, Near)>,
}

/// Parts that differ; whether it is another than the last one; how long ago; and the item's name, so that
/// the answer is always the same.
type Rank = (usize, bool, Reverse<String>, String);

impl Best {
    fn offer<'p>(
        &mut self,
        recipe: Digest,
        shared: usize,
        record: &Record,
        parts: impl Iterator<Item = &'p KeyPart>,
        last: Option<Head>,
    ) {
        if record.output.is_none() {
            return;
        }
        let parts = shared + differing(&record.parts, parts);
        let head = Head { recipe, item: record.key };
        let rank = (parts, last != Some(head), Reverse(record.run.clone()), record.id.clone());
        if self.near.as_ref().is_none_or(|(least, _)| rank < *least) {
            let (id, run) = (record.id.clone(), record.run.clone());
            self.near = Some((rank, Near { head, id, run }));
        }
    }
}

impl Store {
    /// By the digest of a blob the item of this kind that made it, as far as the store knows; for many
    /// digests at once.
    #[must_use]
    pub fn makers(&self, kind: &str, digests: &HashSet<Digest>) -> HashMap<Digest, String> {
        Past::new(self).makers(|stored| stored.kind == kind, digests)
    }
}

/// All digests that stand in a value.
pub fn digests_in(value: &Value, found: &mut Vec<Digest>) {
    match value {
        Value::Digest(digest) => found.push(*digest),
        Value::List(values) => values.iter().for_each(|value| digests_in(value, found)),
        Value::Map(values) => values.values().for_each(|value| digests_in(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Origin, Output};

    /// Small numbers that follow from `seed`, so that keys often differ in one or two parts.
    fn numbers(seed: u64) -> impl Iterator<Item = i64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % 3) as i64
        })
    }

    fn parts(names: &[&str], values: &mut impl Iterator<Item = i64>) -> Vec<KeyPart> {
        let part = |(name, value): (&&str, i64)| {
            KeyPart::new(*name, Value::Int(value), Origin::Code(String::new()))
        };
        names.iter().zip(values).map(part).collect()
    }

    const SHARED: [&str; 4] = ["beams", "length", "algorithm", "network"];
    const OWN: [&str; 2] = ["picture", "turned"];

    /// Of everything stored, by hand: the fewest parts that differ, of this item or else of any.
    fn by_hand(stored: &[(Recipe, Record)], recipe: &Recipe, id: &str, own: &[KeyPart]) -> usize {
        let unlike = |one: &[KeyPart], other: &[KeyPart]| {
            one.iter().zip(other).filter(|(one, other)| one.value != other.value).count()
        };
        let distance = |(of, record): &(Recipe, Record)| {
            unlike(&of.parts, &recipe.parts) + unlike(&record.parts, own)
        };
        let of_id = stored.iter().filter(|(_, record)| record.id == id).map(distance).min();
        of_id.or_else(|| stored.iter().map(distance).min()).unwrap()
    }

    #[test]
    fn the_nearest_is_the_nearest_of_all_that_is_stored() {
        let names = ["a", "b", "a and b", "\"c\""];
        for seed in 1..=60 {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            let mut values = numbers(seed);
            let mut stored = Vec::new();
            for place in 0..40 {
                let recipe = Recipe { name: "text", parts: parts(&SHARED, &mut values) };
                let of = StoredRecipe {
                    kind: "label".to_owned(),
                    recipe: "text".to_owned(),
                    parts: recipe.parts.clone(),
                };
                let (key, own) = (of.key().unwrap(), parts(&OWN, &mut values));
                let record = Record {
                    key: super::super::digest(&[key], &own).unwrap(),
                    output: Some(Output { blobs: Vec::new() }),
                    failure: None,
                    // The last name has no key of its own.
                    id: names[place % 3].to_owned(),
                    parts: own,
                    seconds: 0.0,
                    run: format!("{place:02}"),
                };
                store.put_recipe(&key, &of).unwrap();
                store.append_records(&key, std::slice::from_ref(&record), false).unwrap();
                // Of one key that was made twice the last record counts.
                stored.retain(|(_, other): &(Recipe, Record)| other.key != record.key);
                stored.push((recipe, record));
            }
            let past = Past::new(&store);
            for id in names {
                let recipe = Recipe { name: "text", parts: parts(&SHARED, &mut values) };
                let own = parts(&OWN, &mut values);
                let near = past.nearest("label", &recipe, id, own.iter(), None).unwrap();
                let (of, record) = past.stored(near.head).unwrap();
                let found = differing(&of.parts, recipe.parts.iter())
                    + differing(&record.parts, own.iter());
                assert_eq!(found, by_hand(&stored, &recipe, id, &own), "seed {seed}, {id}");
                assert!(past.nearest("tag", &recipe, id, own.iter(), None).is_none());
            }
        }
    }
}
