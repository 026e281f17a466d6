//! Why an item runs, or what it depends on where it does not.

use std::collections::HashSet;

use petgraph::Direction;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Blessed, Blessings, Cause, Decision, Difference, FileList, Graph, ItemFailure, ItemState,
    KeyPart, Origin, RunError, RunOptions, Sign, Store,
    decide::{Decided, decide},
    decision::plain,
    explain::Explainer,
    files::Gathered,
    nearest::{Near, Past},
    plan::{Scope, upstream},
    store::Head,
};
use crate::base::{Digest, Value, did_you_mean};

/// Accounts given at once.
const LISTED: usize = 32;

/// Upstream items that one account refers to.
const BECAUSE: usize = 8;

/// Why a stage, or one of its items, is to run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Why {
    /// Version of this layout.
    pub version: u32,
    /// Name of the stage.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// The items asked for; for a whole stage those that run or failed, or all if there are none. An
    /// item that failed in a stage before is told as an item of that one.
    pub items: Vec<Account>,
    /// Items that are not listed.
    pub more: usize,
    /// How the items of the stage as a whole are not those of its last run: which are new, which are gone,
    /// and of which a file changed; `null` where none is, where it never ran, or where items were asked for
    /// by name.
    pub files: Option<FileList>,
    /// Whether items were asked for by name.
    #[serde(skip)]
    pub by_name: bool,
}

/// The account of one item.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Account {
    /// Name of its stage.
    pub stage: String,
    /// Its id.
    pub item: String,
    /// What is made: `latent`, `text`.
    pub recipe: String,
    /// Its key, where it is known.
    #[schemars(with = "Option<String>")]
    pub key: Option<Digest>,
    /// What is to become of it: `kept`, `reuse`, `run`, `failed`.
    pub state: &'static str,
    /// The earlier item of the stage whose output it shares.
    pub shares: Option<String>,
    /// Why it is kept, for an item that a human gave.
    pub kept: Option<String>,
    /// Why it failed, and is not tried again.
    pub failure: Option<ItemFailure>,
    /// Where its output was accepted by hand, and not made under its key. The differences are then those
    /// between the two keys.
    pub blessed: Option<Blessed>,
    /// Why it runs.
    pub cause: Option<Cause>,
    /// From where it goes on, where an earlier run did a part of it.
    pub started: Option<String>,
    /// What it is compared with.
    pub against: Option<Against>,
    /// What differs, foremost first.
    pub differences: Vec<Difference>,
    /// What came, went or changed within a part that holds many things, such as the samples of a training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FileList>,
    /// The upstream items that must run first, or made something else, with their own accounts.
    pub because: Vec<Account>,
    /// Upstream items that are not listed.
    pub more: usize,
    /// Its whole key: parts of the recipe and of the item. Left out within `because`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// A part of a key, for a reader.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Part {
    /// What it is.
    pub name: String,
    /// Its value; `null` while it is not made yet.
    #[serde(serialize_with = "plain")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub value: Option<Value>,
    /// Where it comes from.
    pub origin: Origin,
}

impl From<&KeyPart> for Part {
    fn from(part: &KeyPart) -> Self {
        let KeyPart { name, value, origin, .. } = part.clone();
        Self { name, value, origin }
    }
}

/// The stored key that an item is compared with.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Against {
    /// Id of the item that had it.
    pub item: String,
    /// The key.
    #[schemars(with = "String")]
    pub key: Digest,
    /// Id of the run that made its output.
    pub run: String,
    /// Whether it is that of this item's last run; else a nearer one is stored, or that is not known.
    pub own: bool,
    /// How many parts differ.
    pub parts: usize,
    /// How many parts differ from this item's last run, where another key is nearer.
    pub since_last: Option<usize>,
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
    let (past, blessings) = (Past::new(store), store.blessings()?);
    let accountant = Accountant { graph, store, done: &done, past, blessings };
    let (told, places) = match (accountant.places(asked, item), item) {
        (Err(error), Some(item)) => accountant.failed_before(asked, item).ok_or(error)?,
        (places, _) => (asked, places?),
    };
    let listed = places.iter().take(LISTED);
    let node = &graph.nodes()[asked];
    Ok(Why {
        version: 1,
        stage: node.name.clone(),
        kind: node.stage.kind().to_owned(),
        items: listed.map(|&place| accountant.account(told, place, None, 0)).collect(),
        more: places.len().saturating_sub(LISTED),
        files: if item.is_some() { None } else { accountant.files(asked) },
        by_name: item.is_some(),
    })
}

struct Accountant<'a> {
    graph: &'a Graph,
    store: &'a Store,
    done: &'a [Option<Decided>],
    past: Past<'a>,
    blessings: Blessings,
}

impl Accountant<'_> {
    /// How the items of a stage are not those of its last run.
    fn files(&self, stage: usize) -> Option<FileList> {
        let decided = self.done[stage].as_ref()?;
        let heads = self.store.heads(&self.graph.nodes()[stage].name);
        if heads.is_empty() {
            return None;
        }
        let mut list = Gathered::default();
        let mut there = HashSet::new();
        for decision in &decided.decisions {
            let recipe = decided.names.get(decision.spec.recipe).copied().unwrap_or_default();
            there.insert((recipe, decision.spec.id.as_str()));
            match &decision.state {
                ItemState::Run { cause: Cause::New, .. } => {
                    list.add(Sign::Added, &decision.spec.id, recipe, decision.is_pending());
                }
                ItemState::Run { cause: Cause::File, .. } => {
                    list.add(Sign::Changed, &decision.spec.id, recipe, false);
                }
                _ => {}
            }
        }
        for (recipe, id, _) in
            heads.iter().filter(|(recipe, id, _)| !there.contains(&(*recipe, *id)))
        {
            list.add(Sign::Removed, id, recipe, false);
        }
        list.finish("items", "")
    }

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
    fn account(&self, stage: usize, place: usize, old: Option<Near>, depth: usize) -> Account {
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
            blessed: None,
            cause: None,
            started: None,
            against: None,
            differences: Vec::new(),
            files: None,
            because: Vec::new(),
            more: 0,
            parts: Vec::new(),
        };
        if depth == 0 {
            let shared = decided.recipes.get(decision.spec.recipe).map(|recipe| &recipe.parts);
            let parts = shared.into_iter().flatten().chain(decision.spec.key_parts());
            account.parts = parts.map(Part::from).collect();
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
        if let (Some(key), ItemState::Reuse(output)) = (&decision.key, &decision.state)
            && let Some(blessed) = self.blessings.of(key, output)
        {
            let made = self.past.stored(blessed.from());
            let (id, run) = made.map(|(_, record)| (record.id, record.run)).unwrap_or_default();
            let near = Near { head: blessed.from(), id, run };
            account.blessed = Some(blessed);
            let within = self.compare(stage, decided, decision, Some(near), &mut account);
            account.files = Gathered::of(&within);
            account.against.iter_mut().for_each(|against| against.own = false);
        } else if old.is_some() || matches!(decision.state, ItemState::Run { .. }) {
            // What is new within something else is that and no more.
            let is_new = matches!(decision.state, ItemState::Run { cause: Cause::New, .. });
            let within = match is_new && depth > 0 {
                true => Vec::new(),
                false => self.compare(stage, decided, decision, old, &mut account),
            };
            self.follow(decision, &within, &mut account, depth);
            account.files = Gathered::of(&within);
        }
        account
    }

    /// Fills in what differs from the nearest stored key. Returns what of it is a list of files or upstream
    /// items within one part.
    fn compare(
        &self,
        stage: usize,
        decided: &Decided,
        decision: &Decision,
        old: Option<Near>,
        account: &mut Account,
    ) -> Vec<Difference> {
        let node = &self.graph.nodes()[stage];
        let seen = upstream(self.graph, stage, self.done);
        let mut explainer = Explainer::new(node, &seen, self.store);
        let (id, recipe) = (&decision.spec.id, &decided.recipes[decision.spec.recipe]);
        let last = explainer.head(&account.recipe, id);
        let nearest = || {
            let parts = decision.spec.key_parts();
            self.past.nearest(node.stage.kind(), recipe, id, parts, last)
        };
        let is_made = old.is_some();
        let Some(near) = old.or_else(nearest) else { return Vec::new() };
        let Some(differences) = explainer.against(decided, decision, near.head) else {
            return Vec::new();
        };
        let own = is_made || last == Some(near.head);
        let since_last = last.filter(|_| !own);
        let since_last = since_last.and_then(|last| explainer.against(decided, decision, last));
        account.against = Some(Against {
            item: near.id,
            key: near.head.item,
            run: near.run,
            own,
            parts: differences.len(),
            since_last: since_last.map(|differences| differences.len()),
        });
        let (mut own, mut within) = (Vec::new(), Vec::new());
        let pending = self.pending(decision, near.head);
        for difference in differences.into_iter().chain(pending) {
            let inside = node.stage.within(&difference, &seen);
            if inside.is_empty() {
                own.extend((!difference.pending).then_some(difference));
                continue;
            }
            let (files, stated): (Vec<_>, Vec<_>) = inside.into_iter().partition(|inside| {
                matches!(inside.origin, Origin::Upstream { .. } | Origin::File(_))
            });
            own.extend(stated);
            within.extend(files);
        }
        account.differences = own;
        within
    }

    /// The parts of an item that are not known yet, with what they were.
    fn pending(&self, decision: &Decision, old: Head) -> Vec<Difference> {
        let parts = decision.spec.key_parts().filter(|part| part.value.is_none());
        let parts = parts.collect::<Vec<_>>();
        let record = if parts.is_empty() { None } else { self.past.stored(old) };
        let Some((_, record)) = record else { return Vec::new() };
        let was = |name: &str| record.parts.iter().find(|part| part.name == name)?.value.clone();
        let difference = |part: &KeyPart| Difference {
            part: part.name.clone(),
            origin: part.origin.clone(),
            old: was(&part.name),
            new: None,
            pending: true,
        };
        parts.into_iter().map(difference).collect()
    }

    /// Adds the accounts of the upstream items that explain this one.
    fn follow(
        &self,
        decision: &Decision,
        within: &[Difference],
        account: &mut Account,
        depth: usize,
    ) {
        let mut sources: Vec<(&str, &str, Option<&Value>)> = Vec::new();
        let differences = std::mem::take(&mut account.differences);
        for difference in differences.iter().chain(within) {
            // A sample that is new is new upstream too; to say so again explains nothing.
            let is_news = difference.old.is_some() || differences.contains(difference);
            if let Origin::Upstream { stage, item } = &difference.origin
                && (difference.new.is_some() || difference.pending)
                && is_news
            {
                sources.push((stage, item, difference.old.as_ref()));
            }
        }
        if let ItemState::Run { follows, .. } = &decision.state {
            for of in follows {
                let (stage, item) = (of.stage.as_str(), of.item.as_str());
                let told = within.iter().any(|inside| {
                    matches!(&inside.origin, Origin::Upstream { stage: of, item: known }
                        if of == stage && known == item)
                });
                if !told && !sources.iter().any(|known| (known.0, known.1) == (stage, item)) {
                    sources.push((stage, item, None));
                }
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
    fn maker(&self, stage: usize, place: usize, old: &Value) -> Option<Near> {
        let Value::Digest(digest) = old else { return None };
        let decided = self.done[stage].as_ref()?;
        let spec = &decided.decisions[place].spec;
        let kind = self.graph.nodes()[stage].stage.kind();
        self.past.maker(kind, decided.names.get(spec.recipe)?, &spec.id, digest)
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
