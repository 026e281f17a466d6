//! The plan: what a run would do, counted and explained.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Cause, Decision, Graph, GraphError, ItemState, Note, Origin, RunError, RunOptions, Selection,
    StageCost, Store, Total, Upstream, Warning,
    decide::{Decided, decide},
    publish,
    reason::reasons,
    stage::UpstreamStage,
};
use crate::base::Value;

/// What a run would do.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Plan {
    /// Version of this layout.
    pub version: u32,
    /// The manifest, as the command line names it; filled in by the caller.
    pub manifest: String,
    /// The stages, each after those that it needs.
    pub stages: Vec<StagePlan>,
    /// What the device calls itself for which times are told.
    pub device: String,
    /// What all selected stages will cost; `null` before [`add_costs`](super::add_costs).
    pub total: Option<Total>,
}

/// What a run would do in one stage.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StagePlan {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Names of the stages that it needs.
    pub needs: Vec<String>,
    /// Whether `--only`, `--from` and `--until` leave it in.
    pub selected: bool,
    /// In one word.
    pub state: StageState,
    /// How many items do what.
    #[serde(rename = "items")]
    pub counts: Counts,
    /// How many of the items that run wait for what others make. They may turn out to be made already, or
    /// equal to each other, and then need not run.
    pub pending: usize,
    /// Why items run: root causes first, followers last.
    pub reasons: Vec<Reason>,
    /// How many more reasons there are than are listed.
    pub more_reasons: usize,
    /// What its user should know.
    pub warnings: Vec<Warning>,
    /// Files beside the store that would be written, where no item runs (else they depend on what is made).
    pub publishes: usize,
    /// Those of them that are there already with another content, and belong to fluxpipe: what a human
    /// changed in them is lost.
    pub writes_over: Vec<PathBuf>,
    /// What the stage itself tells; empty before [`add_notes`].
    pub notes: Vec<Note>,
    /// What its items that run will cost; `null` where none runs.
    pub cost: Option<StageCost>,
    /// Each item's decision.
    #[serde(skip)]
    pub decisions: Vec<Decision>,
    /// Names of the stage's recipes, by [`ItemSpec::recipe`](super::ItemSpec::recipe).
    #[serde(skip)]
    pub recipes: Vec<&'static str>,
}

/// How many items do what: `total = reuse + run + kept + failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// All items.
    pub total: usize,
    /// Those whose output is there, or is shared with an item that runs.
    pub reuse: usize,
    /// Those that run.
    pub run: usize,
    /// Those whose output is given by a human.
    pub kept: usize,
    /// Those that failed in an earlier run with the very same key, and are not tried again; and those of
    /// which a file cannot be used.
    pub failed: usize,
}

/// The state of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageState {
    /// Nothing to run.
    Fresh,
    /// Some items are to run.
    Partial,
    /// All items are to run again.
    Stale,
    /// All items are to run, for the first time.
    New,
}

/// Why some items run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reason {
    /// The key part that is not what it was; `item` for a new item and `output` for a lost one.
    pub part: String,
    /// Where it comes from.
    pub origin: Cause,
    /// What it was, where all these items agree.
    #[serde(serialize_with = "plain")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub old: Option<Value>,
    /// What it is, where all these items agree.
    #[serde(serialize_with = "plain")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub new: Option<Value>,
    /// How many items it makes run.
    pub items: usize,
    /// Where exactly, for the first of these items: a manifest path and its place, a file, an upstream item.
    #[schemars(with = "Option<serde_json::Value>")]
    pub at: Option<Origin>,
    /// Ids of the first of these items.
    pub examples: Vec<String>,
}

/// A value as plain JSON: a reader of a plan wants `0.0001`, not how keys spell it.
fn plain<S: serde::Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(json).serialize(serializer)
}

/// A value as plain JSON.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::None => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) => text.clone().into(),
        Value::Digest(digest) => digest.to_string().into(),
        Value::List(values) => values.iter().map(json).collect(),
        Value::Map(values) => {
            values.iter().map(|(name, value)| (name.clone(), json(value))).collect()
        }
    }
}

/// Decides for every stage what a run with these options would do.
///
/// # Errors
/// The options name a stage that is not there; a stage cannot read what it needs to know its items;
/// the store cannot be read.
pub fn plan(graph: &Graph, store: &Store, options: &RunOptions) -> Result<Plan, RunError> {
    store.looking(|| looked(graph, store, options))
}

/// The plan, unless a stored output that it reads turns out to be lost.
fn looked(graph: &Graph, store: &Store, options: &RunOptions) -> Result<Plan, RunError> {
    let scope = Scope::new(graph, options)?;
    store.ledger().refresh()?;
    let mut done: Vec<Option<Decided>> = Vec::new();
    let (mut publishes, mut warnings) = (Vec::new(), Vec::new());
    for (index, node) in graph.nodes().iter().enumerate() {
        // What the stage before would publish is worked out meanwhile.
        let (decided, published) = rayon::join(
            || {
                let seen = upstream(graph, index, &done);
                let decided = decide(node, &seen, store, scope.forced[index])?;
                let warnings = publish::warnings(node, &decided, &seen)?;
                Ok::<_, RunError>((decided, warnings))
            },
            || published(graph, &done, store),
        );
        publishes.extend(published?);
        if let Some(Some(before)) = done.last_mut() {
            before.forget_parts();
        }
        let (decided, warned) = decided?;
        warnings.push(warned);
        done.push(Some(decided));
    }
    publishes.extend(published(graph, &done, store)?);
    // Only speed is lost where the store cannot be written.
    let _ = store.save_digests();
    let stages = graph.nodes().iter().zip(done.into_iter().flatten());
    let stages = stages.zip(publishes.into_iter().zip(warnings)).zip(scope.selected);
    let stages = stages.map(|(((node, decided), (publishes, warnings)), selected)| {
        let (reasons, more_reasons) = reasons(&decided.decisions);
        StagePlan {
            name: node.name.clone(),
            kind: node.stage.kind().to_owned(),
            needs: node.needs.clone(),
            selected,
            state: StageState::of(&decided),
            counts: Counts::of(&decided.decisions),
            pending: decided.decisions.iter().filter(|one| one.runs() && one.is_pending()).count(),
            reasons,
            more_reasons,
            warnings,
            writes_over: publish::written_over(&publishes),
            publishes: publishes.len(),
            notes: Vec::new(),
            cost: None,
            decisions: decided.decisions,
            recipes: decided.names,
        }
    });
    let stages = stages.collect();
    let (manifest, device) = (String::new(), String::new());
    Ok(Plan { version: 1, manifest, stages, device, total: None })
}

/// The files that the last of these stages would publish; nothing where no stage is decided.
fn published(
    graph: &Graph,
    done: &[Option<Decided>],
    store: &Store,
) -> Result<Option<Vec<super::Publication>>, RunError> {
    let last =
        done.last().and_then(Option::as_ref).zip(graph.nodes().get(done.len().wrapping_sub(1)));
    let Some((decided, node)) = last else { return Ok(None) };
    let idle = !decided.decisions.iter().any(Decision::runs);
    Ok(Some(if idle { publish::due(node, decided, store)? } else { Vec::new() }))
}

/// Lets each stage that would run something tell what there is to tell beside that; with `all` every
/// stage.
///
/// # Errors
/// A stage cannot read what it looks at.
pub fn add_notes(plan: &mut Plan, graph: &Graph, store: &Store, all: bool) -> Result<(), RunError> {
    for (index, node) in graph.nodes().iter().enumerate() {
        let stage = &plan.stages[index];
        if !all && (stage.counts.run == 0 || !stage.selected) {
            continue;
        }
        let notes = node.stage.notes(&stage.decisions, &plan.upstream(&node.name), store);
        let notes = notes.map_err(|error| RunError::stage(&node.name, error))?;
        plan.stages[index].notes = notes;
    }
    Ok(())
}

impl Plan {
    /// What the stage of this name sees of those that it needs, as far as it is known.
    #[must_use]
    pub fn upstream(&self, stage: &str) -> Upstream<'_> {
        let stage = self.stages.iter().find(|found| found.name == stage);
        let needs = stage.into_iter().flat_map(|stage| &stage.needs);
        let needs = needs.filter_map(|need| self.stages.iter().find(|found| found.name == *need));
        let needs = needs.map(|stage| UpstreamStage {
            name: &stage.name,
            kind: &stage.kind,
            recipes: &stage.recipes,
            decisions: &stage.decisions,
        });
        Upstream { stages: needs.collect() }
    }

    /// Whether a run would do work of a stage that has something to try out first.
    #[must_use]
    pub fn has_long_work(&self) -> bool {
        self.stages.iter().any(|stage| stage.selected && stage.counts.run > 0)
    }

    /// Whether a run would make an item or write a file.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let work = |stage: &&StagePlan| stage.counts.run + stage.publishes > 0;
        self.stages.iter().filter(|stage| stage.selected).any(|stage| work(&stage))
    }
}

impl Counts {
    /// Counts the decisions of a stage.
    #[must_use]
    pub fn of(decisions: &[Decision]) -> Self {
        let count = |test: fn(&Decision) -> bool| decisions.iter().filter(|d| test(d)).count();
        let run = count(Decision::runs);
        let failed = count(|decision| matches!(decision.state, ItemState::Failed(_)));
        let kept = count(|decision| matches!(decision.state, ItemState::Kept));
        let total = decisions.len();
        Self { total, reuse: total - run - kept - failed, run, kept, failed }
    }
}

impl StageState {
    fn of(decided: &Decided) -> Self {
        let reused = |decision: &Decision| matches!(decision.state, ItemState::Reuse(_));
        if !decided.decisions.iter().any(Decision::runs) {
            Self::Fresh
        } else if decided.decisions.iter().any(reused) {
            Self::Partial
        } else if decided.ran_before {
            Self::Stale
        } else {
            Self::New
        }
    }
}

/// Which stages are selected, and which run all their items.
pub(super) struct Scope {
    pub selected: Selection,
    pub forced: Selection,
}

impl Scope {
    pub fn new(graph: &Graph, options: &RunOptions) -> Result<Self, GraphError> {
        let (from, until) = (options.from.as_deref(), options.until.as_deref());
        let selected = graph.select(&options.only, from, until)?;
        let mut forced = vec![false; selected.len()];
        for name in &options.force {
            if !selected[graph.find(name)?] {
                return Err(GraphError::ForcedNotSelected { name: name.clone() });
            }
            graph.with_steps(name)?.into_iter().for_each(|index| forced[index] = selected[index]);
        }
        Ok(Self { selected, forced })
    }
}

/// What the stage `index` sees of those that it needs.
pub(super) fn upstream<'a>(
    graph: &'a Graph,
    index: usize,
    done: &'a [Option<Decided>],
) -> Upstream<'a> {
    let stages = graph.needs(index).iter().filter_map(|&need| {
        let (node, decided) = (&graph.nodes()[need], done.get(need)?.as_ref()?);
        Some(UpstreamStage {
            name: &node.name,
            kind: node.stage.kind(),
            recipes: &decided.names,
            decisions: &decided.decisions,
        })
    });
    Upstream { stages: stages.collect() }
}
