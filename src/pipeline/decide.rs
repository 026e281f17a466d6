//! The decision: for each item of a stage, whether its output is there or must be made. `plan`,
//! `why` and `run` all ask here.
//!
//! A stage's key parts name upstream outputs by their digests and never upstream keys, so an upstream
//! item that ran and made the same as before leads to the same keys here, and nothing runs
//! (early cutoff). Where an upstream item has still to run, its part is pending, the key unknown, and
//! the item is planned to run; the run decides again once it is known.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::{
    Cause, Decision, Difference, ItemRef, ItemSpec, ItemState, KeyPart, Node, Origin, Recipe,
    RunError, StageError, Store, Upstream, digest,
    explain::Explainer,
    store::{Outcome, recipe_key},
};
use crate::base::{Digest, Value};

/// What was decided for a stage.
#[derive(Debug)]
pub struct Decided {
    /// Name of each recipe.
    pub names: Vec<&'static str>,
    /// Each recipe.
    pub recipes: Vec<Recipe>,
    /// Key of each recipe.
    pub keys: Vec<Digest>,
    /// Each item, in the stage's order.
    pub decisions: Vec<Decision>,
    /// Whether the stage ran before, as far as the store knows.
    pub ran_before: bool,
}

impl Decided {
    /// Forgets the key parts of items that are there: no later stage reads them, and of 100 000 items
    /// they take more memory than anything else.
    pub fn forget_parts(&mut self) {
        let held = |decision: &&mut Decision| matches!(decision.state, ItemState::Reuse(_));
        self.decisions.par_iter_mut().filter(held).for_each(|decision| {
            decision.spec.parts = Vec::new();
        });
    }
}

/// Decides for every item of `node`, given what is decided upstream. `force` makes every item run.
pub fn decide(
    node: &Node,
    upstream: &Upstream<'_>,
    store: &Store,
    force: bool,
) -> Result<Decided, RunError> {
    let failed =
        |error: StageError| RunError::NotPlanned { stage: node.name.clone(), error: error.into() };
    let recipes = node.stage.recipes().map_err(failed)?;
    let keys = recipe_keys(node, &recipes)?;
    let specs = node.stage.items(upstream).map_err(failed)?;
    each_once(&node.name, &recipes, &specs)?;
    let keyed = item_keys(node, &keys, &specs, upstream)?;

    let stored = match force {
        true => keys.iter().map(|_| HashMap::new()).collect(),
        false => stored(node, store, &keys, &specs, &keyed)?,
    };
    let decisions = shared(specs, keyed, stored);
    let names = recipes.iter().map(|recipe| recipe.name).collect();
    let mut decided = Decided { names, recipes, keys, decisions, ran_before: true };
    if decided.decisions.iter().any(|decision| matches!(decision.state, ItemState::Run { .. })) {
        Explainer::new(node, upstream, store).explain(&mut decided, force);
    }
    let run = decided.decisions.iter().filter(|decision| decision.runs()).count();
    tracing::debug!(stage = %node.name, items = decided.decisions.len(), run, "decided");
    Ok(decided)
}

/// Key of each recipe: kind, name and parts.
fn recipe_keys(node: &Node, recipes: &[Recipe]) -> Result<Vec<Digest>, RunError> {
    let keys = recipes.iter().map(|recipe| {
        distinct(&node.name, recipe.name, recipe.parts.iter())?;
        // A recipe has no pending part: it is made of parameters and files.
        recipe_key(node.stage.kind(), recipe.name, &recipe.parts)
            .ok_or_else(|| pending_recipe(node, recipe))
    });
    keys.collect()
}

fn pending_recipe(node: &Node, recipe: &Recipe) -> RunError {
    let part = recipe.parts.iter().find(|part| part.value.is_none());
    let part = part.map(|part| part.name.clone()).unwrap_or_default();
    RunError::PendingRecipe { stage: node.name.clone(), recipe: recipe.name.to_owned(), part }
}

/// Key of each item, if it is known, and the digest that stands for it before.
fn item_keys(
    node: &Node,
    recipes: &[Digest],
    specs: &[ItemSpec],
    upstream: &Upstream<'_>,
) -> Result<Vec<(Option<Digest>, Digest)>, RunError> {
    let pending = |spec: &ItemSpec| spec.key_parts().any(|part| part.value.is_none());
    let expected = match specs.iter().any(pending) {
        true => expected_upstream(upstream),
        false => HashMap::new(),
    };
    let keyed = specs.par_iter().map(|spec| {
        distinct(&node.name, &spec.id, spec.key_parts())?;
        if let Some(given) = &spec.given {
            return Ok((None, given.output.digest()));
        }
        if let Some(failure) = &spec.unusable {
            return Ok((None, Digest::of(failure.message.as_bytes())));
        }
        let Some(recipe) = recipes.get(spec.recipe) else {
            let recipe = format!("recipe {}", spec.recipe);
            return Err(RunError::UnknownRecipe {
                stage: node.name.clone(),
                item: spec.id.clone(),
                recipe,
            });
        };
        if let Some(key) = digest(&[*recipe], spec.key_parts()) {
            return Ok((Some(key), key));
        }
        let parts: Vec<_> = spec.key_parts().map(|part| known_or(part, &expected)).collect();
        // Every part has a value now; the mark keeps such a digest from ever being a key.
        let mark = Digest::of(b"pending");
        Ok((None, digest(&[*recipe, mark], &parts).unwrap_or(mark)))
    });
    keyed.collect()
}

/// By stage and id: a digest that is equal for upstream items that will make equal outputs.
fn expected_upstream<'a>(upstream: &Upstream<'a>) -> HashMap<(&'a str, &'a str), Vec<Value>> {
    let mut expected = HashMap::<_, Vec<Value>>::new();
    for stage in &upstream.stages {
        for decision in stage.decisions {
            // An id may stand for several items, one per recipe.
            let place = expected.entry((stage.name, decision.spec.id.as_str())).or_default();
            place.push(decision.expected.into());
        }
    }
    expected
}

/// The part, with the blob that will be made in place of a value that is still unknown.
fn known_or(part: &KeyPart, expected: &HashMap<(&str, &str), Vec<Value>>) -> KeyPart {
    let mut part = part.clone();
    if part.value.is_none() {
        let source = match &part.origin {
            Origin::Upstream { stage, item } => expected.get(&(stage.as_str(), item.as_str())),
            _ => None,
        };
        let mut blob = source.cloned().unwrap_or_default();
        blob.extend(part.awaits.take().map(|name| Value::Text(name.into())));
        part.value = Some(Value::List(blob));
    }
    part
}

/// Checks that no two parts have one name: the key would hold only one of them.
fn distinct<'a>(
    stage: &str,
    item: &str,
    parts: impl Iterator<Item = &'a KeyPart>,
) -> Result<(), RunError> {
    let mut names: Vec<&str> = parts.map(|part| part.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(RunError::PartTwice {
            stage: stage.to_owned(),
            item: item.to_owned(),
            part: pair[0].to_owned(),
        }),
    }
}

/// Checks that no two items of one recipe have one id: later stages look outputs up by it.
fn each_once(stage: &str, recipes: &[Recipe], specs: &[ItemSpec]) -> Result<(), RunError> {
    let mut seen = HashSet::with_capacity(specs.len());
    match specs.iter().find(|spec| !seen.insert((spec.recipe, spec.id.as_str()))) {
        None => Ok(()),
        Some(spec) => Err(RunError::ItemTwice {
            stage: stage.to_owned(),
            item: spec.id.clone(),
            recipe: recipes.get(spec.recipe).map_or("", |recipe| recipe.name).to_owned(),
        }),
    }
}

/// By recipe and key: what the store holds; nothing where the files of an output are gone.
fn stored(
    node: &Node,
    store: &Store,
    recipes: &[Digest],
    specs: &[ItemSpec],
    keyed: &[(Option<Digest>, Digest)],
) -> Result<Vec<HashMap<Digest, Outcome>>, RunError> {
    let stored = recipes.iter().enumerate().map(|(recipe, key)| {
        let items = specs.iter().zip(keyed).filter(|(spec, _)| spec.recipe == recipe);
        let wanted: HashSet<Digest> = items.filter_map(|(_, (key, _))| *key).collect();
        Ok(match node.stage.is_shared() {
            true => store.outcomes(key, &wanted)?,
            false => store.own_outcomes(key, &wanted)?,
        })
    });
    stored.collect()
}

/// Decides for each item; those with equal keys share what the first of them has or makes.
fn shared(
    specs: Vec<ItemSpec>,
    keyed: Vec<(Option<Digest>, Digest)>,
    mut stored: Vec<HashMap<Digest, Outcome>>,
) -> Vec<Decision> {
    let mut leaders: HashMap<Digest, usize> = HashMap::with_capacity(specs.len());
    let mut decisions: Vec<Decision> = Vec::with_capacity(specs.len());
    for (spec, (key, expected)) in specs.into_iter().zip(keyed) {
        let (state, shares) = if spec.given.is_some() {
            (ItemState::Kept, None)
        } else if let Some(failure) = &spec.unusable {
            (ItemState::Failed(failure.clone()), None)
        } else {
            let leader = *leaders.entry(expected).or_insert(decisions.len());
            match decisions.get(leader) {
                Some(first) => (first.state.shared(), Some(leader)),
                None => {
                    let stored = key.and_then(|key| stored[spec.recipe].remove(&key));
                    (stored.map_or_else(|| to_run(&spec), ItemState::from), None)
                }
            }
        };
        decisions.push(Decision { spec, key, state, shares, expected });
    }
    decisions
}

impl From<Outcome> for ItemState {
    fn from(stored: Outcome) -> Self {
        match stored {
            Outcome::Output(output) => Self::Reuse(output),
            Outcome::Failure(failure) => Self::Failed(failure),
        }
    }
}

/// To run, for reasons that are found out later.
fn to_run(spec: &ItemSpec) -> ItemState {
    let follows = spec.key_parts().filter(|part| part.value.is_none());
    let follows = follows.filter_map(|part| match &part.origin {
        Origin::Upstream { stage, item } => {
            Some(ItemRef { stage: stage.clone(), item: item.clone() })
        }
        _ => None,
    });
    let mut follows: Vec<_> = follows.collect();
    follows.dedup();
    ItemState::Run { cause: Cause::New, differences: Vec::<Difference>::new(), follows }
}

impl ItemState {
    /// The state of an item that shares what an item in this state makes.
    pub(super) fn shared(&self) -> Self {
        match self {
            Self::Kept => Self::Kept,
            Self::Reuse(output) | Self::Made(output) => Self::Reuse(output.clone()),
            Self::Failed(failure) => Self::Failed(failure.clone()),
            Self::Run { cause, differences, follows } => Self::Run {
                cause: *cause,
                differences: differences.clone(),
                follows: follows.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{fake::FakeStage, stage::UpstreamStage};

    fn waiting(id: &str, of: &str, blob: &str) -> ItemSpec {
        ItemSpec::new(id, 0, vec![KeyPart::pending("caption", "merge", of, blob)])
    }

    /// Of two samples that will be merged from equal texts, the texts will be equal one by one.
    #[test]
    fn what_waits_for_equal_blobs_is_expected_to_be_equal() {
        let merged = ["a", "b", "c"].map(|id| Decision {
            spec: ItemSpec::new(id, 0, Vec::new()),
            key: None,
            state: ItemState::Run { cause: Cause::New, differences: vec![], follows: vec![] },
            shares: None,
            expected: Digest::of(if id == "c" { b"other" } else { b"equal" }),
        });
        let (kind, name) = ("merge", "merge");
        let stage = UpstreamStage { name, kind, recipes: &["text"], decisions: &merged };
        let upstream = Upstream { stages: vec![stage] };
        let stage = Box::new(FakeStage::new("cache"));
        let node = Node { name: "cache".to_owned(), needs: vec!["merge".to_owned()], stage };
        let specs = [
            waiting("a", "a", "text"),
            waiting("a (text 2)", "a", "text-1"),
            waiting("b (text 2)", "b", "text-1"),
            waiting("b", "b", "text"),
            waiting("c", "c", "text"),
        ];
        let keyed = item_keys(&node, &[Digest::of(b"recipe")], &specs, &upstream).unwrap();
        assert!(keyed.iter().all(|(key, _)| key.is_none()));
        let [a, a_2, b_2, b, c] = [0, 1, 2, 3, 4].map(|item: usize| keyed[item].1);
        assert_eq!((a, a_2), (b, b_2));
        assert_eq!(HashSet::from([a, a_2, c]).len(), 3);
    }
}
