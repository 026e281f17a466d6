//! Heads: which key each item had in the last run of its stage, so that `why` can say what changed.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::base::{Digest, disk};

/// The keys of an item in the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Key of the recipe.
    pub recipe: Digest,
    /// Key of the item.
    pub item: Digest,
}

/// The keys of the items of one stage. Losing them costs explanations and no work.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    /// The recipe keys that `items` refers to.
    recipes: Vec<Digest>,
    /// By recipe name and id: index into `recipes`, and the item key.
    items: BTreeMap<String, BTreeMap<String, (usize, Digest)>>,
}

impl Heads {
    /// Reads the heads at `path`; none where they cannot be read.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let bytes = disk::read(path).ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// The keys of an item.
    #[must_use]
    pub fn get(&self, recipe: &str, id: &str) -> Option<Head> {
        let (index, item) = *self.items.get(recipe)?.get(id)?;
        Some(Head { recipe: *self.recipes.get(index)?, item })
    }

    /// Recipe name, id and keys of each item.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Head)> {
        let all = self.items.iter().flat_map(|(recipe, items)| {
            items.iter().map(move |(id, place)| (recipe.as_str(), id.as_str(), *place))
        });
        all.filter_map(|(recipe, id, (index, item))| {
            Some((recipe, id, Head { recipe: *self.recipes.get(index)?, item }))
        })
    }

    /// Keeps the keys of an item.
    pub fn set(&mut self, recipe: &str, id: &str, head: Head) {
        let found = self.recipes.iter().position(|key| *key == head.recipe);
        let index = found.unwrap_or_else(|| {
            self.recipes.push(head.recipe);
            self.recipes.len() - 1
        });
        let items = self.items.entry(recipe.to_owned()).or_default();
        items.insert(id.to_owned(), (index, head.item));
    }

    /// Forgets an item.
    pub fn remove(&mut self, recipe: &str, id: &str) {
        if let Some(items) = self.items.get_mut(recipe) {
            items.remove(id);
        }
    }

    /// Whether nothing ever ran.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
