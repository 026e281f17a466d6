//! Why an item runs, or what it depends on where it does not.

use petgraph::Direction;
use serde::Serialize;

use super::{
    Cause, Decision, Difference, Graph, ItemFailure, ItemState, KeyPart, Origin, RunError,
    RunOptions, Store,
    decide::{Decided, decide},
    explain::{Explainer, differing},
    plan::{Scope, upstream},
    store::Head,
};
use crate::base::{Digest, Value, did_you_mean};

/// Accounts given at once.
const LISTED: usize = 32;

/// Upstream items that one account refers to.
const BECAUSE: usize = 8;

/// Why a stage, or one of its items, is to run.
#[derive(Debug, Serialize)]
pub struct Why {
    /// Name of the stage.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// The items asked for; for a whole stage those that run or failed, or all if there are none. An
    /// item that failed in a stage before is told as an item of that one.
    pub items: Vec<Account>,
    /// Items that are not listed.
    pub more: usize,
    /// Whether items were asked for by name.
    #[serde(skip)]
    pub by_name: bool,
}

/// The account of one item.
#[derive(Debug, Serialize)]
pub struct Account {
    /// Name of its stage.
    pub stage: String,
    /// Its id.
    pub item: String,
    /// What is made: `latent`, `text`.
    pub recipe: String,
    /// Its key, where it is known.
    pub key: Option<Digest>,
    /// What is to become of it: `kept`, `reuse`, `run`, `failed`.
    pub state: &'static str,
    /// The earlier item of the stage whose output it shares.
    pub shares: Option<String>,
    /// Why it is kept, for an item that a human gave.
    pub kept: Option<String>,
    /// Why it failed, and is not tried again.
    pub failure: Option<ItemFailure>,
    /// Why it runs.
    pub cause: Option<Cause>,
    /// From where it goes on, where an earlier run did a part of it.
    pub started: Option<String>,
    /// What it is compared with.
    pub against: Option<Against>,
    /// What differs, foremost first.
    pub differences: Vec<Difference>,
    /// The upstream items that must run first, or made something else, with their own accounts.
    pub because: Vec<Account>,
    /// Upstream items that are not listed.
    pub more: usize,
    /// Its whole key: parts of the recipe and of the item. Left out within `because`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<KeyPart>,
}

/// The stored key that an item is compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Against {
    /// Id of the item that had it.
    pub item: String,
    /// The key.
    pub key: Digest,
    /// Whether it is that of this item's last run; else it is the most similar one in the store.
    pub own: bool,
}

/// Gives the account of an item, or of the items of a stage.
///
/// # Errors
/// There is no such stage or item; what a plan can fail of.
pub fn why(
    graph: &Graph,
    store: &Store,
    options: &RunOptions,
    stage: &str,
    item: Option<&str>,
) -> Result<Why, RunError> {
    let asked = graph.find(stage)?;
    let scope = Scope::new(graph, options)?;
    let mut done: Vec<Option<Decided>> = Vec::new();
    // Every stage after the one asked for stands after it in the graph.
    for (index, node) in graph.nodes()[..=asked].iter().enumerate() {
        let decided = decide(node, &upstream(graph, index, &done), store, scope.forced[index])?;
        done.push(Some(decided));
    }
    let _ = store.save_digests();
    let accountant = Accountant { graph, store, done: &done };
    let (told, places) = match (accountant.places(asked, item), item) {
        (Err(error), Some(item)) => accountant.failed_before(asked, item).ok_or(error)?,
        (places, _) => (asked, places?),
    };
    let listed = places.iter().take(LISTED);
    let node = &graph.nodes()[asked];
    Ok(Why {
        stage: node.name.clone(),
        kind: node.stage.kind().to_owned(),
        items: listed.map(|&place| accountant.account(told, place, None, 0)).collect(),
        more: places.len().saturating_sub(LISTED),
        by_name: item.is_some(),
    })
}

struct Accountant<'a> {
    graph: &'a Graph,
    store: &'a Store,
    done: &'a [Option<Decided>],
}

impl Accountant<'_> {
    /// The items asked for.
    fn places(&self, stage: usize, item: Option<&str>) -> Result<Vec<usize>, RunError> {
        let decisions = self.done[stage].as_ref().map_or(&[][..], |decided| &decided.decisions);
        let all = || 0..decisions.len();
        let Some(item) = item else {
            let told = |place: &usize| {
                let state = &decisions[*place].state;
                matches!(state, ItemState::Run { .. } | ItemState::Failed(_))
            };
            let told: Vec<_> = all().filter(told).collect();
            return Ok(if told.is_empty() { all().collect() } else { told });
        };
        // By name, then as an account calls it, and last by a part of the name: a person may leave out
        // the folders or the extension.
        let names = self.done[stage].as_ref().map_or(&[][..], |decided| &decided.names);
        let called = |place: usize| {
            let spec = &decisions[place].spec;
            format!("{} ({})", spec.id, names.get(spec.recipe).copied().unwrap_or_default())
        };
        let ways: [&dyn Fn(usize) -> bool; 3] =
            [&|place| decisions[place].spec.id == item, &|place| called(place) == item, &|place| {
                called(place).contains(item)
            }];
        for way in ways {
            let found: Vec<_> = all().filter(|&place| way(place)).collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let mut first: Vec<_> = all().map(|place| decisions[place].spec.id.as_str()).collect();
        first.dedup();
        let near = did_you_mean(item, first.iter().copied());
        first.truncate(5);
        let help = match near {
            Some(near) => format!("did you mean: {near}"),
            None => format!("its items are: {}", first.join(", ")),
        };
        let stage = self.graph.nodes()[stage].name.clone();
        Err(RunError::UnknownItem { stage, item: item.to_owned(), help })
    }

    /// The item that a stage has not since it failed in a stage before: that one, and its place there.
    fn failed_before(&self, stage: usize, item: &str) -> Option<(usize, Vec<usize>)> {
        let before = self.graph.reached(stage, Direction::Incoming);
        // The graph is in order: the first one that has the item is where it failed.
        (0..stage).filter(|&other| before[other]).find_map(|other| {
            let places = self.places(other, Some(item)).ok()?;
            let decisions = &self.done[other].as_ref()?.decisions;
            let failed = |place: &usize| matches!(decisions[*place].state, ItemState::Failed(_));
            places.iter().all(failed).then_some((other, places))
        })
    }

    /// The account of an item; `old` is the key to compare with, where another than its last.
    fn account(
        &self,
        stage: usize,
        place: usize,
        old: Option<(Head, String)>,
        depth: usize,
    ) -> Account {
        let node = &self.graph.nodes()[stage];
        // Accounts are asked of stages that are decided, and places come from their lists.
        let decided = self.done[stage].as_ref().expect("the stage was decided above");
        let decision = &decided.decisions[place];
        let recipe = decided.names.get(decision.spec.recipe).copied().unwrap_or_default();
        let mut account = Account {
            stage: node.name.clone(),
            item: decision.spec.id.clone(),
            recipe: recipe.to_owned(),
            key: decision.key,
            state: state_word(&decision.state),
            shares: decision.shares.map(|leader| decided.decisions[leader].spec.id.clone()),
            kept: decision.spec.given.as_ref().map(|given| given.why.to_owned()),
            failure: None,
            cause: None,
            started: None,
            against: None,
            differences: Vec::new(),
            because: Vec::new(),
            more: 0,
            parts: Vec::new(),
        };
        if depth == 0 {
            let shared = decided.recipes.get(decision.spec.recipe).map(|recipe| &recipe.parts);
            account.parts =
                shared.into_iter().flatten().chain(decision.spec.key_parts()).cloned().collect();
        }
        if let ItemState::Failed(failure) = &decision.state {
            account.failure = Some(failure.clone());
        }
        if let ItemState::Run { cause, .. } = &decision.state {
            account.cause = Some(*cause);
            // Where the store cannot be read, the run itself says so.
            let seen = upstream(self.graph, stage, self.done);
            let started = node.stage.started(&decision.spec, &seen, self.store);
            account.started = started.ok().flatten();
        }
        if old.is_some() || matches!(decision.state, ItemState::Run { .. }) {
            self.compare(stage, decided, decision, old, &mut account);
            self.follow(decision, &mut account, depth);
        }
        account
    }

    /// Fills in what differs from the last key of the item, or from the most similar stored one.
    fn compare(
        &self,
        stage: usize,
        decided: &Decided,
        decision: &Decision,
        old: Option<(Head, String)>,
        account: &mut Account,
    ) {
        let node = &self.graph.nodes()[stage];
        let seen = upstream(self.graph, stage, self.done);
        let mut explainer = Explainer::new(node, &seen, self.store);
        let id = &decision.spec.id;
        let own = || Some((explainer.head(&account.recipe, id)?, id.clone()));
        let (found, own) = match old.or_else(own) {
            Some(found) => (Some(found), true),
            None => (self.nearest(node.stage.kind(), decided, decision), false),
        };
        let Some((head, item)) = found else { return };
        if let Some(differences) = explainer.against(decided, decision, head) {
            account.against = Some(Against { item, key: head.item, own });
            account.differences = differences
                .into_iter()
                .flat_map(|difference| match node.stage.within(&difference, &seen) {
                    within if within.is_empty() => vec![difference],
                    within => within,
                })
                .collect();
        }
    }

    /// The stored key of the same kind and recipe with the fewest parts that differ.
    fn nearest(
        &self,
        kind: &str,
        decided: &Decided,
        decision: &Decision,
    ) -> Option<(Head, String)> {
        let recipe = &decided.recipes[decision.spec.recipe];
        let mut best: Option<(usize, Head, String)> = None;
        for key in self.store.recipe_keys() {
            let Some(stored) = self.store.recipe(&key) else { continue };
            if stored.kind != kind || stored.recipe != recipe.name {
                continue;
            }
            let shared = differing(&stored.parts, recipe.parts.iter());
            let Ok(records) = self.store.records(&key) else { continue };
            for record in records.all().filter(|record| record.output.is_some()) {
                let count = shared + differing(&record.parts, decision.spec.key_parts());
                // Of several the one with the smallest id, so that the answer is always the same.
                if best.as_ref().is_none_or(|(least, _, id)| (count, &record.id) < (*least, id)) {
                    best = Some((count, Head { recipe: key, item: record.key }, record.id));
                }
            }
        }
        best.map(|(_, head, id)| (head, id))
    }

    /// Adds the accounts of the upstream items that explain this one.
    fn follow(&self, decision: &Decision, account: &mut Account, depth: usize) {
        let mut sources: Vec<(&str, &str, Option<&Value>)> = Vec::new();
        if let ItemState::Run { follows, .. } = &decision.state {
            sources.extend(follows.iter().map(|of| (of.stage.as_str(), of.item.as_str(), None)));
        }
        let differences = std::mem::take(&mut account.differences);
        for difference in &differences {
            if let Origin::Upstream { stage, item } = &difference.origin
                && difference.new.is_some()
            {
                sources.push((stage, item, difference.old.as_ref()));
            }
        }
        account.more = sources.len().saturating_sub(BECAUSE);
        for (stage, item, old) in sources.into_iter().take(BECAUSE) {
            let Ok(index) = self.graph.find(stage) else { continue };
            let Ok(places) = self.places(index, Some(item)) else { continue };
            for place in places {
                let old = old.and_then(|old| self.maker(index, place, old));
                let source = self.account(index, place, old, depth + 1);
                // Of items of one id, those that stay as they are explain nothing.
                if source.state != "reuse" || !source.differences.is_empty() {
                    account.because.push(source);
                }
            }
        }
        account.differences = differences;
    }

    /// The stored key under which the item at `place` made the blob with the digest `old`.
    fn maker(&self, stage: usize, place: usize, old: &Value) -> Option<(Head, String)> {
        let Value::Digest(digest) = old else { return None };
        let decided = self.done[stage].as_ref()?;
        let decision = &decided.decisions[place];
        let kind = self.graph.nodes()[stage].stage.kind();
        let name = *decided.names.get(decision.spec.recipe)?;
        let keys = self.store.recipe_keys().into_iter().filter(|key| {
            let stored = self.store.recipe(key);
            stored.is_some_and(|stored| stored.kind == kind && stored.recipe == name)
        });
        let mut found: Vec<(bool, Head, String)> = Vec::new();
        for recipe in keys {
            for record in self.store.records(&recipe).ok()?.all() {
                let blobs = record.output.iter().flat_map(|output| &output.blobs);
                if blobs.into_iter().any(|blob| blob.digest == *digest) {
                    let other = record.id != decision.spec.id;
                    found.push((other, Head { recipe, item: record.key }, record.id));
                }
            }
        }
        found.sort_by_key(|(other, head, _)| (*other, head.item));
        found.into_iter().next().map(|(_, head, id)| (head, id))
    }
}

fn state_word(state: &ItemState) -> &'static str {
    match state {
        ItemState::Kept => "kept",
        ItemState::Reuse(_) | ItemState::Made(_) => "reuse",
        ItemState::Run { .. } => "run",
        ItemState::Failed(_) => "failed",
    }
}
