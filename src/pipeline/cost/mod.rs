//! What the items that are to run will cost: bytes on the disk, memory, time.
//!
//! A stage counts bytes and memory from shapes and headers ([`Stage::cost`](super::Stage::cost)) and says
//! how much work of which class there is ([`Stage::amounts`](super::Stage::amounts)). How long a class takes
//! is known from earlier runs alone ([`rates`]). Knows no concrete stage and no device but by its name.

mod rates;
mod total;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Decision, Graph, Plan, Recipe, RunError, Stage, Store, Upstream, digest};
use crate::base::Digest;

pub(super) use rates::Tally;
pub use rates::{Range, Rates};
pub use total::{NoRoom, Total};

/// What a stage counts of its items that are to run, from shapes and headers alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// What its outputs, and what it keeps to go on from, take of the disk when it is done.
    pub bytes: u64,
    /// Whether it may turn out to be less, since something is known only when it is made.
    pub at_most: bool,
    /// What is there at the worst moment, if that is more.
    pub peak_bytes: u64,
    /// Bytes of the host's memory at the peak, if they were counted.
    pub host_memory: Option<u64>,
    /// Bytes of the device's memory at the peak, where that is another.
    pub device_memory: Option<u64>,
    /// Settings that would take less of the disk, the mildest first.
    pub smaller: Vec<Smaller>,
}

/// A setting with which a stage takes less of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smaller {
    /// As one would write it: `save_last_n_epochs = 1`.
    pub setting: String,
    /// What would be there at the worst moment.
    pub peak_bytes: u64,
}

/// So much work of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Index into [`Stage::recipes`](super::Stage::recipes).
    pub recipe: usize,
    /// What takes equally long: `512×512`.
    pub class: String,
    /// How often.
    pub units: u64,
}

/// The class of what comes before the first item: a network is loaded.
pub(super) const START: &str = "start";

/// The class of what an item takes beside the work that it told of itself.
pub const REST: &str = "rest";

/// What a stage will cost, as a plan tells it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StageCost {
    /// Bytes of outputs, and of what is kept to go on from, when the stage is done. Records, logs and
    /// sidecars, about a kilobyte for each item, are not counted.
    pub bytes: u64,
    /// Whether `bytes` is an upper bound.
    pub at_most: bool,
    /// Bytes that are there at the worst moment.
    pub peak_bytes: u64,
    /// Bytes of the host's memory at the peak; `null` where they are not counted.
    pub host_memory: Option<u64>,
    /// Bytes of the device's memory at the peak; `null` where the host is the device, or where they are not
    /// counted.
    pub device_memory: Option<u64>,
    /// Seconds that it will take; `null` before the first batch of its kind on this device.
    pub time: Option<Range>,
    #[serde(skip)]
    pub(super) smaller: Vec<Smaller>,
}

/// How much of what work the items are that run, each counted as one of its class.
pub fn one_each(stage: &(impl Stage + ?Sized), decisions: &[Decision]) -> Vec<Amount> {
    let mut amounts = Vec::<Amount>::new();
    for spec in decisions.iter().filter(|one| one.runs()).map(|one| &one.spec) {
        let class = stage.class(spec);
        let same = |amount: &&mut Amount| amount.recipe == spec.recipe && amount.class == class;
        match amounts.iter_mut().find(same) {
            Some(amount) => amount.units += 1,
            None => amounts.push(Amount { recipe: spec.recipe, class, units: 1 }),
        }
    }
    amounts
}

/// What of a recipe decides how long its work takes, besides the class: networks and the algorithm.
pub(super) fn pace_key(recipe: &Recipe) -> Digest {
    use super::Origin::{Code, Model};
    let parts = recipe.parts.iter();
    let parts = parts.filter(|part| matches!(part.origin, Model(_) | Code(_)));
    digest(&[Digest::of(recipe.name.as_bytes())], parts).unwrap_or(Digest::of(b""))
}

/// How long the items of a stage that run will take on a device, by what earlier runs took.
///
/// # Errors
/// The stage cannot tell its work.
pub(super) fn time(
    stage: &dyn Stage,
    decisions: &[Decision],
    upstream: &Upstream<'_>,
    store: &Store,
    (rates, device): (&Rates, &str),
) -> Result<Option<Range>, super::StageError> {
    let amounts = stage.amounts(decisions, upstream, store)?;
    let keys = stage.recipes()?.iter().map(pace_key).collect::<Vec<_>>();
    Ok(rates.range(stage.kind(), &keys, device, &amounts))
}

/// Counts for each selected stage that has something to run what that will cost on the device of this name.
/// `disk_free` is what can still be written.
///
/// # Errors
/// A stage cannot read what it looks at, or finds that it cannot fit into memory.
pub fn add_costs(
    plan: &mut Plan,
    graph: &Graph,
    store: &Store,
    device: &str,
    disk_free: Option<u64>,
) -> Result<(), RunError> {
    let rates = Rates::read(store);
    for (index, node) in graph.nodes().iter().enumerate() {
        let stage = &plan.stages[index];
        if stage.counts.run == 0 || !stage.selected {
            continue;
        }
        let seen = plan.upstream(&node.name);
        let failed = |error| RunError::stage(&node.name, error);
        let cost = node.stage.cost(&stage.decisions, &seen, store).map_err(failed)?;
        let device = (&rates, device);
        let time = time(node.stage.as_ref(), &stage.decisions, &seen, store, device);
        let cost = StageCost {
            bytes: cost.bytes,
            at_most: cost.at_most || stage.pending > 0 && cost.bytes > 0,
            peak_bytes: cost.peak_bytes.max(cost.bytes),
            host_memory: cost.host_memory,
            device_memory: cost.device_memory,
            time: time.map_err(failed)?,
            smaller: cost.smaller,
        };
        plan.stages[index].cost = Some(cost);
    }
    plan.device = device.to_owned();
    plan.total = Some(Total::of(&plan.stages, disk_free));
    Ok(())
}
