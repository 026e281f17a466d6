//! Accepting outputs under keys under which they were not made, since a person knows that what changed does
//! not matter to them. An item is accepted only where the item of the same name has an output from the last
//! run of its stage. What differs is told before, and what was accepted for ever after.

mod record;

use std::collections::{BTreeMap, HashMap, HashSet};

use schemars::JsonSchema;
use serde::Serialize;

pub use record::{Blessed, BlessedStage, Blessings};

use super::{
    Cause, Decision, Graph, ItemState, Output, Reason, RunError, RunOptions, Store, StoreError,
    decide::{Decided, decide},
    explain::Explainer,
    nearest::Past,
    plan::{Scope, upstream},
    reason::reasons,
    store::{Head, Outcome, Record, StoredRecipe},
};
use crate::base::{Digest, Lock, clock};
use record::{Item, Line, noted};

/// What is asked of a blessing.
#[derive(Clone, Debug, Default)]
pub struct BlessOptions {
    /// Why what changed does not matter, in the user's words.
    pub reason: String,
    /// Accept also items whose pictures, captions or other inputs are not those of the earlier output.
    pub changed_inputs: bool,
    /// Accept what can be accepted, and leave the other items to run.
    pub matching: bool,
    /// Only tell.
    pub dry_run: bool,
}

/// What a blessing accepts, or would.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Blessing {
    /// Version of this layout.
    pub version: u32,
    /// Why, in the user's words.
    pub reason: String,
    /// When; `null` where nothing was written.
    pub at: Option<String>,
    /// What is accepted, for the stage and each of its steps that has any.
    pub accepted: Vec<Accepted>,
    /// Items that are left to run.
    pub refused: Vec<Refused>,
}

/// Items of a stage that are accepted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accepted {
    /// Name of the stage.
    pub stage: String,
    /// How many items.
    pub items: usize,
    /// The first of them.
    pub first: Vec<String>,
    /// What changed since they were made, and is held not to matter.
    pub reasons: Vec<Reason>,
    /// How many more reasons there are.
    pub more_reasons: usize,
}

/// An item that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Refused {
    /// Name of its stage.
    pub stage: String,
    /// Its id.
    pub item: String,
    /// Why.
    pub because: Refusal,
    /// The key part that it is about, where it is about one.
    pub part: Option<String>,
}

/// Why an item cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// An item that it reads has still to run.
    Waits,
    /// It has no output from the last run of the stage.
    New,
    /// That output is gone from the store.
    Gone,
    /// What that output was made of is not known any more.
    Unknown,
    /// A picture, a caption or another input of it changed.
    Input,
    /// It would share one output with an item that has another one.
    Shared,
}

/// Items named per stage.
const NAMED: usize = 5;

/// Accepts for the items of a stage that are to run, and of its steps, the outputs of the items of the same
/// names.
///
/// # Errors
/// There is no such stage; nothing can be accepted; an item cannot and `matching` is not asked; another
/// process runs the stage; the store cannot be read or written.
pub fn bless(
    graph: &Graph,
    store: &Store,
    stage: &str,
    options: &BlessOptions,
) -> Result<Blessing, RunError> {
    let asked = graph.with_steps(stage)?;
    let scope = Scope::new(graph, &RunOptions::default())?;
    let _locks = if options.dry_run { Vec::new() } else { locks(graph, store, &asked)? };
    let mut done: Vec<Option<Decided>> = Vec::new();
    let mut accepted = Vec::new();
    let mut refused = Vec::new();
    let last = asked.iter().max().map_or(0, |last| last + 1);
    for (index, node) in graph.nodes()[..last].iter().enumerate() {
        let mut decided = decide(node, &upstream(graph, index, &done), store, scope.forced[index])?;
        if asked.contains(&index) {
            let seen = upstream(graph, index, &done);
            let mut explainer = Explainer::new(node, &seen, store);
            let found = look(&node.name, &decided, &mut explainer, store, options)?;
            refused.extend(found.refused);
            if !found.taken.is_empty() {
                accepted.push((
                    index,
                    told(&node.name, &decided, &found.taken),
                    found.taken.clone(),
                ));
            }
            // A later step reads them.
            take(&mut decided, &found.taken);
        }
        done.push(Some(decided));
    }
    if accepted.is_empty() && refused.is_empty() {
        return Err(RunError::NothingToBless { stage: stage.to_owned() });
    }
    if accepted.is_empty() || !refused.is_empty() && !options.matching {
        return Err(not_blessed(stage, &refused, !accepted.is_empty()));
    }
    let at = (!options.dry_run).then(|| noted(clock::now()));
    if let Some(at) = &at {
        for (index, _, taken) in &accepted {
            let Some(decided) = &done[*index] else { continue };
            let node = &graph.nodes()[*index];
            keep(store, &node.name, node.stage.kind(), decided, taken, &options.reason, at)?;
        }
    }
    let accepted = accepted.into_iter().map(|(_, told, _)| told).collect();
    Ok(Blessing { version: 1, reason: options.reason.clone(), at, accepted, refused })
}

/// The run locks of the stages, and a part in the store: nobody makes meanwhile what is accepted here, nor
/// clears it.
fn locks(graph: &Graph, store: &Store, stages: &[usize]) -> Result<Vec<Lock>, RunError> {
    let busy = |name: &str, pid: Option<u32>| RunError::Busy {
        stage: name.to_owned(),
        by: pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")),
    };
    let names: Vec<_> = stages.iter().map(|&index| graph.nodes()[index].name.as_str()).collect();
    let first = names.first().copied().unwrap_or_default();
    let mut locks = vec![store.take_part()?.map_err(|pid| busy(first, pid))?];
    for name in names {
        locks.push(store.try_lock(name)?.map_err(|pid| busy(name, pid))?);
    }
    Ok(locks)
}

/// An item that is accepted: its place, the keys of the earlier output, and the output.
type Taken = (usize, Head, Output);

struct Look {
    taken: Vec<Taken>,
    refused: Vec<Refused>,
}

/// Which items of a stage can be accepted.
fn look(
    stage: &str,
    decided: &Decided,
    explainer: &mut Explainer<'_>,
    store: &Store,
    options: &BlessOptions,
) -> Result<Look, StoreError> {
    let to_run = |decision: &Decision| matches!(decision.state, ItemState::Run { .. });
    let running = decided.decisions.iter().enumerate().filter(|(_, decision)| to_run(decision));
    let running: Vec<(usize, &Decision)> = running.collect();
    let head = |decision: &Decision| {
        explainer.head(decided.names[decision.spec.recipe], &decision.spec.id)
    };
    let heads: HashMap<usize, Head> =
        running.iter().filter_map(|(place, one)| Some((*place, head(one)?))).collect();
    let outputs = outputs(store, heads.values())?;
    let mut found = Look { taken: Vec::new(), refused: Vec::new() };
    for (place, decision) in running {
        let earlier = heads.get(&place).map(|head| (*head, outputs.get(&(head.recipe, head.item))));
        let refusal = match earlier {
            _ if decision.is_pending() || decision.key.is_none() => Err((Refusal::Waits, None)),
            None => Err((Refusal::New, None)),
            Some((_, None)) => Err((Refusal::Gone, None)),
            Some((head, Some(output))) => {
                let leader = decision.shares.unwrap_or(place);
                let first = heads.get(&leader);
                let first = first.and_then(|head| outputs.get(&(head.recipe, head.item)));
                match differs(explainer, decided, decision, head, options.changed_inputs) {
                    Err(refusal) => Err(refusal),
                    Ok(()) if first != Some(output) => Err((Refusal::Shared, None)),
                    Ok(()) => Ok((place, head, output.clone())),
                }
            }
        };
        match refusal {
            Ok(taken) => found.taken.push(taken),
            Err((because, part)) => {
                let item = decision.spec.id.clone();
                found.refused.push(Refused { stage: stage.to_owned(), item, because, part });
            }
        }
    }
    settle(decided, &mut found, stage);
    Ok(found)
}

/// Items with one key have one output: where one of them cannot be accepted, none can.
fn settle(decided: &Decided, found: &mut Look, stage: &str) {
    let leader = |place: usize| decided.decisions[place].shares.unwrap_or(place);
    let taken: HashSet<usize> = found.taken.iter().map(|(place, ..)| *place).collect();
    let to_run = |decision: &Decision| matches!(decision.state, ItemState::Run { .. });
    let all = decided.decisions.iter().enumerate().filter(|(_, decision)| to_run(decision));
    let torn: HashSet<usize> =
        all.map(|(place, _)| place).filter(|place| !taken.contains(place)).map(leader).collect();
    let (kept, torn): (Vec<_>, Vec<_>) = std::mem::take(&mut found.taken)
        .into_iter()
        .partition(|(place, ..)| !torn.contains(&leader(*place)));
    found.taken = kept;
    found.refused.extend(torn.into_iter().map(|(place, ..)| Refused {
        stage: stage.to_owned(),
        item: decided.decisions[place].spec.id.clone(),
        because: Refusal::Shared,
        part: None,
    }));
}

/// The outputs that are there under these keys.
fn outputs<'h>(
    store: &Store,
    heads: impl Iterator<Item = &'h Head>,
) -> Result<HashMap<(Digest, Digest), Output>, StoreError> {
    let mut wanted = HashMap::<_, HashSet<_>>::new();
    for head in heads {
        wanted.entry(head.recipe).or_default().insert(head.item);
    }
    let mut found = HashMap::new();
    for (recipe, keys) in wanted {
        for (key, outcome) in store.outcomes(&recipe, &keys)? {
            if let Outcome::Output(output) = outcome {
                found.insert((recipe, key), output);
            }
        }
    }
    Ok(found)
}

/// Whether what differs may be held not to matter.
fn differs(
    explainer: &mut Explainer<'_>,
    decided: &Decided,
    decision: &Decision,
    head: Head,
    changed_inputs: bool,
) -> Result<(), (Refusal, Option<String>)> {
    let differences = explainer.against(decided, decision, head).ok_or((Refusal::Unknown, None))?;
    let input = differences
        .iter()
        .find(|difference| matches!(Cause::of(&difference.origin), Cause::File | Cause::Upstream));
    match input {
        Some(input) if !changed_inputs => Err((Refusal::Input, Some(input.part.clone()))),
        _ => Ok(()),
    }
}

/// What is accepted, for a reader.
fn told(stage: &str, decided: &Decided, taken: &[Taken]) -> Accepted {
    let places: HashSet<usize> = taken.iter().map(|(place, ..)| *place).collect();
    let accepted = decided.decisions.iter().enumerate().filter(|(place, _)| places.contains(place));
    let accepted: Vec<&Decision> = accepted.map(|(_, decision)| decision).collect();
    let (reasons, more_reasons) = reasons(accepted.iter().copied());
    let first = accepted.iter().take(NAMED).map(|decision| decision.spec.id.clone()).collect();
    let (stage, items) = (stage.to_owned(), accepted.len());
    Accepted { stage, items, first, reasons, more_reasons }
}

/// Puts the outputs into the decisions.
fn take(decided: &mut Decided, taken: &[Taken]) {
    for (place, _, output) in taken {
        decided.decisions[*place].state = ItemState::Reuse(output.clone());
    }
}

/// Writes down what is accepted: first that it is no more than that, then the outputs under their new keys.
fn keep(
    store: &Store,
    stage: &str,
    kind: &str,
    decided: &Decided,
    taken: &[Taken],
    reason: &str,
    at: &str,
) -> Result<(), StoreError> {
    let past = Past::new(store);
    let mut by_recipe = BTreeMap::<usize, Vec<&Taken>>::new();
    for one in taken {
        by_recipe.entry(decided.decisions[one.0].spec.recipe).or_default().push(one);
    }
    for (recipe, taken) in by_recipe {
        let item = |(place, head, output): &&Taken| {
            let decision = &decided.decisions[*place];
            let (id, from) = (decision.spec.id.clone(), (head.recipe, head.item));
            Some(Item { id, key: decision.key?, from, output: output.digest() })
        };
        let items = taken.iter().filter_map(item).collect();
        let (stage, at, reason) = (stage.to_owned(), at.to_owned(), reason.to_owned());
        store.note_blessed(&Line { stage, at, reason, items })?;
        let key = decided.keys[recipe];
        let parts = decided.recipes[recipe].parts.clone();
        let name = decided.names[recipe].to_owned();
        store.put_recipe(&key, &StoredRecipe { kind: kind.to_owned(), recipe: name, parts })?;
        for (place, head, output) in taken {
            let decision = &decided.decisions[*place];
            let (Some(item), None) = (decision.key, decision.shares) else { continue };
            // How long it took and when is what it was.
            let made = past.stored(*head).map(|(_, made)| (made.seconds, made.run));
            let (seconds, run) = made.unwrap_or_default();
            let record = Record {
                key: item,
                output: Some(output.clone()),
                failure: None,
                id: decision.spec.id.clone(),
                parts: decision.spec.key_parts().cloned().collect(),
                seconds,
                run,
            };
            store.append_records(&key, &[record], false)?;
        }
        store.flush_records(&key)?;
    }
    Ok(())
}

/// Says of the items that cannot be accepted why, and what can be done.
fn not_blessed(stage: &str, refused: &[Refused], others_can: bool) -> RunError {
    let mut by_reason = BTreeMap::<Refusal, Vec<&Refused>>::new();
    refused.iter().for_each(|one| by_reason.entry(one.because).or_default().push(one));
    let mut told = String::new();
    for (because, items) in &by_reason {
        let mut names = items.iter().map(|one| one.item.as_str()).collect::<Vec<_>>();
        names.truncate(NAMED);
        let more = match items.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let part = items.first().and_then(|one| one.part.as_deref()).unwrap_or_default();
        told += &format!("\n  {}: {}{more}", because.words(part), names.join(", "));
    }
    let has = |wanted: &[Refusal]| by_reason.keys().any(|because| wanted.contains(because));
    let mut help = Vec::new();
    if has(&[Refusal::Waits]) {
        help.push(format!(
            "run the stages before it first: `fluxpipe run --until` the one before `{stage}`"
        ));
    }
    if has(&[Refusal::Input]) {
        help.push("accept them although their inputs changed with --changed-inputs".to_owned());
    }
    if others_can {
        help.push("accept the others alone, and leave these to run, with --matching".to_owned());
    }
    if help.is_empty() {
        help.push("they have to run: `fluxpipe run`".to_owned());
    }
    let (stage, items) = (stage.to_owned(), refused.len());
    RunError::NotBlessed { stage, items, told, help: help.join("; ") }
}

impl Refusal {
    /// In words; `part` is the key part that it is about.
    #[must_use]
    pub fn words(self, part: &str) -> String {
        match self {
            Self::Waits => "what they read has still to be made".to_owned(),
            Self::New => "the last run of the stage left no output of these names".to_owned(),
            Self::Gone => "their outputs are gone from the store".to_owned(),
            Self::Unknown => "what their outputs were made of is not known any more".to_owned(),
            Self::Input => format!("an input changed ({part})"),
            Self::Shared => {
                "they would share the output of an item that has another one".to_owned()
            }
        }
    }
}
