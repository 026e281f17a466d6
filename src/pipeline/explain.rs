//! Why items run: the difference between what they read now and what they read last time.

use std::collections::HashMap;

use super::{
    Cause, Decision, Difference, ItemState, KeyPart, Node, Origin, Store, Upstream,
    decide::Decided,
    store::{Head, Heads, Records, StoredRecipe},
};
use crate::base::Digest;

/// Finds the reasons of the items of one stage.
pub struct Explainer<'a> {
    store: &'a Store,
    heads: Heads,
    records: HashMap<Digest, Option<Records>>,
    recipes: HashMap<Digest, Option<StoredRecipe>>,
    /// By stage and id: the file that holds an output given by a human.
    given: HashMap<(&'a str, &'a str), &'a Origin>,
}

impl<'a> Explainer<'a> {
    pub fn new(node: &Node, upstream: &Upstream<'a>, store: &'a Store) -> Self {
        let given = upstream.stages.iter().flat_map(|stage| {
            let kept = stage.decisions.iter().filter(|d| matches!(d.state, ItemState::Kept));
            kept.filter_map(|decision| {
                Some(((stage.name, decision.spec.id.as_str()), file_of(decision)?))
            })
        });
        Self {
            store,
            heads: store.heads(&node.name),
            records: HashMap::new(),
            recipes: HashMap::new(),
            given: given.collect(),
        }
    }

    /// Fills in why each item runs.
    pub fn explain(&mut self, decided: &mut Decided, forced: bool) {
        decided.ran_before = !self.heads.is_empty();
        for index in 0..decided.decisions.len() {
            let decision = &decided.decisions[index];
            if !decision.runs() {
                continue;
            }
            let recipe = decision.spec.recipe;
            let head = self.heads.get(decided.names[recipe], &decision.spec.id);
            let found = head.and_then(|head| self.against(decided, decision, head));
            let key = decided.keys[recipe];
            let same =
                head.is_some_and(|head| head.recipe == key && Some(head.item) == decision.key);
            let (known, found) = (found.is_some(), found.unwrap_or_default());
            if let ItemState::Run { cause, differences, follows } =
                &mut decided.decisions[index].state
            {
                *cause = if forced {
                    Cause::Forced
                } else if let Some(difference) = found.first() {
                    Cause::of(&difference.origin)
                } else if same {
                    Cause::Lost
                } else if !follows.is_empty() && known {
                    Cause::Follows
                } else {
                    Cause::New
                };
                *differences = found;
            }
        }
    }

    /// Differences of an item to the stored key `old`, foremost first; `None` if that is not known any more.
    pub fn against(
        &mut self,
        decided: &Decided,
        decision: &Decision,
        old: Head,
    ) -> Option<Vec<Difference>> {
        let recipe = decision.spec.recipe;
        let mut found = Vec::new();
        if old.recipe != decided.keys[recipe] {
            let store = self.store;
            let stored =
                self.recipes.entry(old.recipe).or_insert_with(|| store.recipe(&old.recipe));
            differences(&stored.as_ref()?.parts, decided.recipes[recipe].parts.iter(), &mut found);
        }
        if Some(old.item) != decision.key {
            let store = self.store;
            let load = || store.records(&old.recipe).ok();
            let records = self.records.entry(old.recipe).or_insert_with(load);
            let record = records.as_ref()?.record(&old.item)?;
            differences(&record.parts, decision.spec.key_parts(), &mut found);
        }
        for difference in &mut found {
            if let Origin::Upstream { stage, item } = &difference.origin
                && let Some(file) = self.given.get(&(stage.as_str(), item.as_str()))
            {
                difference.origin = (*file).clone();
            }
        }
        found.sort_by_key(|difference| Cause::of(&difference.origin));
        Some(found)
    }

    /// The keys of the item's last run.
    pub fn head(&self, recipe: &str, id: &str) -> Option<Head> {
        self.heads.get(recipe, id)
    }
}

/// The file from which an item got what it was given.
fn file_of(decision: &Decision) -> Option<&Origin> {
    let parts = decision.spec.key_parts().map(|part| &part.origin);
    // The sidecar is named last: the parts before it are what the item would be made of.
    parts.filter(|origin| matches!(origin, Origin::File(_))).last()
}

/// Adds the parts that differ; those still unknown are left out.
pub fn differences<'a>(
    old: &[KeyPart],
    new: impl Iterator<Item = &'a KeyPart> + Clone,
    found: &mut Vec<Difference>,
) {
    let was: HashMap<&str, &KeyPart> = old.iter().map(|part| (part.name.as_str(), part)).collect();
    let is: HashMap<&str, &KeyPart> = new.clone().map(|part| (part.name.as_str(), part)).collect();
    for part in new {
        let before = was.get(part.name.as_str()).and_then(|part| part.value.as_ref());
        if part.value.is_some() && before != part.value.as_ref() {
            found.push(Difference {
                part: part.name.clone(),
                origin: part.origin.clone(),
                old: before.cloned(),
                new: part.value.clone(),
                pending: false,
            });
        }
    }
    for part in old.iter().filter(|part| !is.contains_key(part.name.as_str())) {
        found.push(Difference {
            part: part.name.clone(),
            origin: part.origin.clone(),
            old: part.value.clone(),
            new: None,
            pending: false,
        });
    }
}

/// How many parts differ; those still unknown are not counted. Of equal parts in equal order nothing is
/// looked up: a store is asked for the nearest of many.
pub fn differing<'a>(old: &[KeyPart], new: impl Iterator<Item = &'a KeyPart>) -> usize {
    let (mut different, mut found, mut place) = (0, 0, 0);
    for part in new {
        let is_there = |old: &&KeyPart| old.name == part.name;
        let was = old.get(place).filter(is_there).or_else(|| old.iter().find(is_there));
        place += 1;
        found += usize::from(was.is_some());
        let same = was.is_some_and(|was| part.value.is_none() || was.value == part.value);
        different += usize::from(!same && part.value.is_some());
    }
    // Those that are not there any more.
    different + old.len().saturating_sub(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Value;

    #[test]
    fn parts_are_counted_as_they_are_told() {
        let part = |name: &str, value: i64| {
            KeyPart::new(name, Value::Int(value), Origin::Code(String::new()))
        };
        let old = [part("a", 1), part("b", 2), part("c", 3)];
        let pending = KeyPart::pending("c", "merge", "x", "text");
        for (new, count) in [
            (vec![part("a", 1), part("b", 2), part("c", 3)], 0),
            (vec![part("c", 3), part("a", 1), part("b", 2)], 0),
            (vec![part("a", 1), part("b", 7), part("d", 3)], 3),
            (vec![part("b", 2)], 2),
            (vec![part("a", 1), part("b", 2), pending.clone()], 0),
            (vec![], 3),
        ] {
            assert_eq!(differing(&old, new.iter()), count, "{new:?}");
            let mut told = Vec::new();
            differences(&old, new.iter(), &mut told);
            assert_eq!(told.len(), count, "{new:?}");
        }
    }
}
