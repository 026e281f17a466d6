//! What two runs made differently: for each stage which items have other keys, and of the first of them
//! which parts.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::PastRun;
use crate::{
    base::{Digest, Value},
    pipeline::{
        Cause, Difference, FileList, Origin, Sign, Store,
        explain::differences,
        files::Gathered,
        nearest::{Past, digests_in},
        store::{Head, Heads},
    },
};

/// What two runs made differently in one stage.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StageDifference {
    /// Its name.
    pub stage: String,
    /// Whether the keys after both runs are known. They are not where the stage had not run by then, or a
    /// version ran it that did not keep them.
    pub known: bool,
    /// Items whose keys differ; `null` where none does.
    pub items: Option<FileList>,
    /// The first item with another key in both.
    pub first: Option<ItemDifference>,
}

/// Why an item has another key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ItemDifference {
    /// Id of the item.
    pub item: String,
    /// What is made: `latent`, `text`.
    pub recipe: String,
    /// Its key after the first run.
    #[schemars(with = "String")]
    pub old: Digest,
    /// Its key after the second run.
    #[schemars(with = "String")]
    pub new: Digest,
    /// The parts that differ, foremost first; empty where the store has one of the keys no more.
    pub differences: Vec<Difference>,
    /// What came, went or changed within a part that is a list, such as the samples of a training.
    pub files: Option<FileList>,
}

/// Compares two runs, stage by stage in the order of the later one.
#[must_use]
pub fn difference(store: &Store, old: &PastRun, new: &PastRun) -> Vec<StageDifference> {
    let past = Past::new(store);
    let names = new.stages.iter().chain(&old.stages).map(|stage| stage.name.as_str());
    let mut stages = Vec::<StageDifference>::new();
    for name in names {
        if !stages.iter().any(|known| known.stage == name) {
            let keys = [old, new].map(|run| store.keys_after(name, &run.id));
            stages.push(of_stage(&past, name, keys));
        }
    }
    stages
}

fn of_stage(past: &Past<'_>, stage: &str, keys: [Option<Heads>; 2]) -> StageDifference {
    let stage = stage.to_owned();
    let [Some(old), Some(new)] = keys else {
        return StageDifference { stage, known: false, items: None, first: None };
    };
    let (mut items, mut first) = (Gathered::default(), None);
    for (recipe, id, head) in new.iter() {
        match old.get(recipe, id) {
            None => items.add(Sign::Added, id, recipe, false),
            Some(was) if was != head => {
                items.add(Sign::Changed, id, recipe, false);
                first.get_or_insert((recipe, id, was, head));
            }
            Some(_) => {}
        }
    }
    for (recipe, id, _) in old.iter().filter(|(recipe, id, _)| new.get(recipe, id).is_none()) {
        items.add(Sign::Removed, id, recipe, false);
    }
    let first = first.map(|(recipe, id, was, is)| of_item(past, recipe, id, was, is));
    StageDifference { stage, known: true, items: items.finish("items", ""), first }
}

fn of_item(past: &Past<'_>, recipe: &str, id: &str, was: Head, is: Head) -> ItemDifference {
    let (mut found, mut files) = (Vec::new(), None);
    if let (Some((old_recipe, old)), Some((new_recipe, new))) = (past.stored(was), past.stored(is))
    {
        differences(&old_recipe.parts, new_recipe.parts.iter(), &mut found);
        differences(&old.parts, new.parts.iter(), &mut found);
    }
    found.sort_by_key(|difference| Cause::of(&difference.origin));
    found.retain(|difference| match within(past, difference) {
        Some(list) => {
            files = Some(list);
            false
        }
        None => true,
    });
    let (item, recipe) = (id.to_owned(), recipe.to_owned());
    ItemDifference { item, recipe, old: was.item, new: is.item, differences: found, files }
}

/// What differs within a part that lists what other stages made: each entry goes by the item that made
/// the first thing in it.
fn within(past: &Past<'_>, difference: &Difference) -> Option<FileList> {
    let Origin::Upstream { stage, .. } = &difference.origin else { return None };
    let (Some(Value::List(old)), Some(Value::List(new))) = (&difference.old, &difference.new)
    else {
        return None;
    };
    let mut left = HashMap::<Digest, (&Value, usize)>::new();
    for value in old {
        left.entry(value.digest()).or_insert((value, 0)).1 += 1;
    }
    let mut come = Vec::new();
    for value in new {
        match left.get_mut(&value.digest()) {
            Some((_, count @ 1..)) => *count -= 1,
            _ => come.push(value),
        }
    }
    let gone = left.into_values().flat_map(|(value, count)| std::iter::repeat_n(value, count));
    let gone = gone.collect::<Vec<_>>();
    let first = |value: &Value| {
        let mut found = Vec::new();
        digests_in(value, &mut found);
        found.first().copied()
    };
    let wanted = come.iter().chain(&gone).filter_map(|value| first(value)).collect();
    let names = past.makers(|_| true, &wanted);
    let name = |value: &Value| {
        let digest = first(value)?;
        Some(names.get(&digest).cloned().unwrap_or_else(|| digest.short()))
    };
    let mut gone = gone.into_iter().filter_map(name).collect::<Vec<_>>();
    let mut list = Gathered::default();
    for item in come.into_iter().filter_map(name) {
        match gone.iter().position(|other| *other == item) {
            Some(place) => {
                gone.swap_remove(place);
                list.add(Sign::Changed, &item, "", false);
            }
            None => list.add(Sign::Added, &item, "", false),
        }
    }
    gone.iter().for_each(|item| list.add(Sign::Removed, item, "", false));
    list.finish(&difference.part, stage)
}
