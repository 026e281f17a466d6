//! Running: stage by stage, each decided anew once what it needs is there.

mod mend;
mod options;
mod preflight;
mod session;
mod share;
mod teller;

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use petgraph::Direction;

use super::{
    Counts, Decision, Event, Graph, ItemFailure, ItemState, Node, Range, RunError, Stopped, Store,
    StoreError, Tally, Upstream,
    cost::{Rates, pace_key, time},
    decide::{Decided, decide},
    plan::{Scope, upstream},
    publish,
    reason::reasons,
    store::{Head, StoredRecipe},
};
pub use options::{Request, RunOptions, StageSummary, Summary};

use crate::base::{Digest, Lock, clock, plural};
use session::{Fate, Session};
use teller::Teller;

/// How often a waiting run looks whether the other is done.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// After this time a waiting run says that it waits.
const SAY_SO: Duration = Duration::from_secs(1);

/// Runs what has to run. `sink` hears of everything as it happens; [`Event::Finished`] comes last, also
/// before an error. Setting `cancel` makes the running stage end soon.
///
/// # Errors
/// The options name a stage that is not there; a stage failed; the store cannot be read or written;
/// the user asked to stop. What was committed is kept in any case. Items that failed and are left out
/// are no error: they are in the summary.
pub fn run(
    graph: &Graph,
    store: &Store,
    options: &RunOptions,
    sink: &mut dyn FnMut(Event),
    cancel: Arc<AtomicBool>,
) -> Result<Summary, RunError> {
    let scope = Scope::new(graph, options)?;
    let watch = clock::Stopwatch::start();
    let id = clock::run_id();
    store.clear_temporary();
    let teller = Teller::new(sink, store.run_log(&id)?);
    let summary = Summary { run: id.clone(), ..Summary::default() };
    let lost_known = store.lost(0).len();
    let (done, failed, lost) = (Vec::new(), vec![false; graph.nodes().len()], HashSet::new());
    let mut run = Run {
        graph,
        store,
        options,
        scope,
        cancel,
        teller,
        summary,
        estimate: None,
        done,
        failed,
        lost_known,
        lost,
    };

    let names = graph.nodes().iter().zip(&run.scope.selected).filter(|(_, selected)| **selected);
    let stages = names.map(|(node, _)| node.name.clone()).collect();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let asked = options.asked.as_ref().map(|asked| store.keep_request(asked)).transpose()?;
    run.teller.tell(Event::Started { run: id.clone(), version, stages, asked });
    let mut errors = match run.begin() {
        Ok(_part) => run.all(),
        Err(error) => vec![error],
    };

    let cancelled = run.cancelled();
    run.summary.seconds = watch.seconds();
    let stopped = match (cancelled, errors.is_empty()) {
        (true, _) => Some(Stopped::Cancelled),
        (false, false) => Some(Stopped::Failed),
        (false, true) => None,
    };
    run.teller.tell(Event::Finished {
        run: id,
        stages: run.summary.stages.clone(),
        published: run.summary.published.len(),
        seconds: run.summary.seconds,
        stopped,
    });
    if let (Err(error), true) = (run.teller.save(), errors.is_empty()) {
        errors.push(error.into());
    }
    // Only speed is lost where the digests of files cannot be kept.
    let _ = store.save_digests();
    match (errors.pop(), errors.is_empty(), cancelled) {
        (None, _, false) => Ok(run.summary),
        (None, _, true) => Err(RunError::Cancelled),
        (Some(error), true, _) => Err(error),
        (Some(error), false, _) => {
            errors.push(error);
            Err(RunError::Several { errors })
        }
    }
}

struct Run<'a> {
    graph: &'a Graph,
    store: &'a Store,
    options: &'a RunOptions,
    scope: Scope,
    cancel: Arc<AtomicBool>,
    teller: Teller<'a>,
    summary: Summary,
    /// What the stage in hand was expected to take.
    estimate: Option<Range>,
    /// What was decided, and done, by stage.
    done: Vec<Option<Decided>>,
    /// Which stages failed.
    failed: Vec<bool>,
    /// How many stored outputs were known to be lost at the last look.
    lost_known: usize,
    /// Those that were lost in this run.
    lost: HashSet<Digest>,
}

impl Run<'_> {
    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Runs the stages; returns the errors of those that failed.
    fn all(&mut self) -> Vec<RunError> {
        let graph = self.graph;
        let mut errors = Vec::new();
        // For each stage, the failed one that it needs.
        let mut blocked: Vec<Option<usize>> = vec![None; graph.nodes().len()];
        let mut index = 0;
        while index < graph.nodes().len() && !self.cancelled() {
            self.done.push(None);
            if let Some(failed) = blocked[index] {
                if self.scope.selected[index] {
                    let (stage, because) = (self.name(index), self.name(failed));
                    self.teller.tell(Event::StageSkipped { stage, because });
                }
                index += 1;
                continue;
            }
            let result = match (self.failed[index], self.scope.selected[index]) {
                (true, _) => Ok(None),
                (false, true) => self.stage(index),
                (false, false) => self.look(index),
            };
            match result {
                Ok(None) => index += 1,
                // Something that was made is lost: all from there on is decided again.
                Ok(Some(again)) => {
                    index = again;
                    self.done.truncate(again);
                }
                Err(error) => {
                    errors.push(error);
                    if !self.options.keep_going {
                        break;
                    }
                    self.failed[index] = true;
                    let reached = graph.reached(index, Direction::Outgoing);
                    let reached = blocked.iter_mut().zip(reached);
                    for (other, (blocked, _)) in
                        reached.enumerate().filter(|(_, (_, reached))| *reached)
                    {
                        if other != index {
                            blocked.get_or_insert(index);
                        }
                    }
                    index += 1;
                }
            }
        }
        errors
    }

    fn name(&self, index: usize) -> String {
        self.graph.nodes()[index].name.clone()
    }

    /// Decides for a stage that is not selected: later ones may read what it made before.
    fn look(&mut self, index: usize) -> Result<Option<usize>, RunError> {
        let upstream = upstream(self.graph, index, &self.done);
        match decide(&self.graph.nodes()[index], &upstream, self.store, false) {
            Ok(decided) => self.done[index] = Some(decided),
            Err(error) => return self.mend(index, None).map(Some).ok_or(error),
        }
        Ok(None)
    }

    /// Runs one stage and tells of it. Returns the stage from which all has to be decided again, where a
    /// stored output turned out to be lost.
    fn stage(&mut self, index: usize) -> Result<Option<usize>, RunError> {
        let node = &self.graph.nodes()[index];
        let Some(_lock) = self.lock(&node.name)? else { return Ok(None) };
        let watch = clock::Stopwatch::start();
        let before = self.summary.published.len();
        self.summary.failures.retain(|(stage, ..)| *stage != node.name);
        let mut decided = None;
        let result = self.carry_out(index, &mut decided);
        let again = self.mend(index, decided.as_ref());
        let error = result.as_ref().err().filter(|_| again.is_none());
        let error = error.map(|error| ItemFailure::of(error.innermost()));
        let tally =
            decided.as_ref().map(|decided| Tally::of(&decided.decisions)).unwrap_or_default();
        self.done[index] = decided;
        let (name, kind) = (node.name.clone(), node.stage.kind().to_owned());
        let published = self.summary.published.len() - before;
        let seconds = watch.seconds();
        let estimate = self.estimate.take();
        let summary =
            StageSummary { name, kind, items: tally, published, seconds, estimate, error };
        let summary = self.summary.add(summary);
        let stage = summary.name.clone();
        let (items, published, seconds) = (summary.items, summary.published, summary.seconds);
        let told = match (&summary.error, again) {
            (_, Some(_)) => None,
            (Some(failure), None) => Some(Event::StageFailed { stage, failure: failure.clone() }),
            (None, None) => Some(Event::StageFinished { stage, items, published, seconds }),
        };
        told.into_iter().for_each(|event| self.teller.tell(event));
        let saved = self.teller.save();
        if again.is_some() {
            return Ok(again);
        }
        result?;
        // All of its items were made anew once, as was asked.
        self.scope.forced[index] = false;
        saved?;
        Ok(None)
    }

    /// Takes part in the store, so that nothing is cleared from it meanwhile, and tries out what is to be tried.
    fn begin(&mut self) -> Result<Option<Lock>, RunError> {
        let first = self.scope.selected.iter().position(|selected| *selected).unwrap_or_default();
        let name = self.graph.nodes().get(first).map_or_else(String::new, |node| node.name.clone());
        let part = self.wait(&name, Store::take_part)?;
        if self.options.preflight {
            self.preflight()?;
        }
        Ok(part)
    }

    /// Waits for the run lock of a stage; `None` if the user asked to stop meanwhile.
    fn lock(&mut self, stage: &str) -> Result<Option<Lock>, RunError> {
        self.wait(stage, |store| store.try_lock(stage))
    }

    fn wait(
        &mut self,
        stage: &str,
        take: impl Fn(&Store) -> Result<Result<Lock, Option<u32>>, StoreError>,
    ) -> Result<Option<Lock>, RunError> {
        let watch = clock::Stopwatch::start();
        let mut said = false;
        while !self.cancelled() {
            match take(self.store)? {
                Ok(lock) => return Ok(Some(lock)),
                Err(pid) if !said && watch.elapsed() >= SAY_SO => {
                    said = true;
                    self.teller.tell(Event::Waiting { stage: stage.to_owned(), pid });
                }
                Err(_) => {}
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(None)
    }

    /// Decides, does the work, and publishes. `slot` holds what was decided also when this fails.
    fn carry_out(&mut self, index: usize, slot: &mut Option<Decided>) -> Result<(), RunError> {
        let node = &self.graph.nodes()[index];
        // Another process may have written sidecars since the last look.
        self.store.ledger().refresh()?;
        let seen = upstream(self.graph, index, &self.done);
        let decided = slot.insert(decide(node, &seen, self.store, self.scope.forced[index])?);
        let taken = self.take_shared(node, decided)?;
        ready(node, decided)?;
        something_left(node, decided, &seen)?;
        self.estimate = self.estimate(node, decided, &seen);
        self.tell_start(node, decided)?;
        let result = self.work(index, slot);
        let Some(decided) = slot else { return result };
        self.keep_heads(node, decided)?;
        let given = self.give_shared(node, decided)?;
        if taken + given > 0 {
            self.teller.tell(Event::Shared { stage: node.name.clone(), taken, given });
        }
        result?;
        if self.cancelled() {
            return Ok(());
        }
        let due = publish::look(node, decided, self.store)?;
        let (teller, published) = (&mut self.teller, &mut self.summary.published);
        publish::write(&due, self.store, &mut |path, digest| {
            published.push(path.to_owned());
            let (stage, path) = (node.name.clone(), path.to_owned());
            teller.tell(Event::Published { stage, path, digest: Some(digest) });
        })?;
        for warning in publish::warnings(node, decided, &upstream(self.graph, index, &self.done))? {
            self.teller.tell(Event::Warning { stage: node.name.clone(), warning });
        }
        let counts = publish::frequencies(node, decided, self.store)?;
        if !counts.is_empty() {
            self.teller.tell(Event::Frequencies { stage: node.name.clone(), counts });
        }
        Ok(())
    }

    /// What the stage will take, by what earlier runs took.
    fn estimate(&self, node: &Node, decided: &Decided, seen: &Upstream<'_>) -> Option<Range> {
        let device = &self.options.device;
        if device.is_empty() || !decided.decisions.iter().any(Decision::runs) {
            return None;
        }
        let rates = (&Rates::read(self.store), device.as_str());
        // What is wrong with its inputs the stage says when it reads them.
        time(node.stage.as_ref(), &decided.decisions, seen, self.store, rates).ok().flatten()
    }

    fn tell_start(&mut self, node: &Node, decided: &Decided) -> Result<(), RunError> {
        let (stage, kind) = (node.name.clone(), node.stage.kind().to_owned());
        let items = Counts::of(&decided.decisions);
        let (reasons, more_reasons) = reasons(&decided.decisions);
        let stage_name = stage.clone();
        self.teller.tell(Event::StageStarted {
            stage: stage_name,
            kind,
            items,
            reasons,
            more_reasons,
            estimate: self.estimate,
        });
        for decision in &decided.decisions {
            let item = decision.spec.id.clone();
            if let Some(given) = &decision.spec.given {
                let why = given.why.to_owned();
                self.teller.tell(Event::Kept { stage: stage.clone(), item, why });
            } else if let ItemState::Failed(failure) = &decision.state {
                if self.options.fail_fast && decision.spec.unusable.is_some() {
                    let error = Box::new(failure.clone());
                    return Err(RunError::Stage { stage, error });
                }
                if self.options.fail_fast {
                    let message = failure.message.clone();
                    return Err(RunError::BadItem { stage, item, message });
                }
                let failure = failure.clone();
                self.summary.failures.push((stage.clone(), item.clone(), failure.clone()));
                let (stage, remembered) = (stage.clone(), decision.spec.unusable.is_none());
                self.teller.tell(Event::ItemFailed { stage, item, failure, remembered });
            }
        }
        Ok(())
    }

    /// Lets the stage do its items, and puts what came of them into the decisions.
    fn work(&mut self, index: usize, slot: &mut Option<Decided>) -> Result<(), RunError> {
        let node = &self.graph.nodes()[index];
        let Some(decided) = slot else { return Ok(()) };
        self.put_recipes(node, decided)?;
        let todo: Vec<usize> =
            (0..decided.decisions.len()).filter(|&item| decided.decisions[item].runs()).collect();
        if todo.is_empty() {
            return Ok(());
        }
        let seen = upstream(self.graph, index, &self.done);
        let (teller, cancel) = (&mut self.teller, &self.cancel);
        let run = &self.summary.run;
        let mut session = Session::new(node, self.store, run, seen, decided, &todo, teller, cancel);
        session.fail_fast = self.options.fail_fast;
        let outcome = catch_unwind(AssertUnwindSafe(|| node.stage.run(&mut session)));
        let flushed = session.flush();
        let times = session.take_times();
        let in_hand = session.in_hand().map(ToOwned::to_owned);
        let fates = session.into_fates();
        let left = self.take_fates(node, decided, &todo, fates);
        let keys = decided.recipes.iter().map(pace_key).collect::<Vec<_>>();
        let (kind, device) = (node.stage.kind(), &self.options.device);
        times.save(self.store, kind, &keys, device, &self.summary.run);
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(RunError::stage(&node.name, error)),
            Err(payload) => {
                let (stage, message) = (node.name.clone(), panic_text(payload.as_ref()));
                return Err(RunError::Panic { stage, item: in_hand, message });
            }
        }
        flushed?;
        match left.split_first() {
            Some((first, more)) if !self.cancelled() => Err(RunError::LeftOut {
                stage: node.name.clone(),
                item: decided.decisions[*first].spec.id.clone(),
                more: more.len(),
            }),
            _ => Ok(()),
        }
    }

    /// Stores the recipes by which items are made, or were.
    fn put_recipes(&self, node: &Node, decided: &Decided) -> Result<(), StoreError> {
        for (recipe, key) in decided.keys.iter().enumerate() {
            let keyed =
                |decision: &Decision| decision.spec.recipe == recipe && decision.key.is_some();
            if decided.decisions.iter().any(keyed) {
                let stored = StoredRecipe {
                    kind: node.stage.kind().to_owned(),
                    recipe: decided.names[recipe].to_owned(),
                    parts: decided.recipes[recipe].parts.clone(),
                };
                self.store.put_recipe(key, &stored)?;
            }
        }
        Ok(())
    }

    /// Puts what came of the items into the decisions; returns the items of which nothing came.
    fn take_fates(
        &mut self,
        node: &Node,
        decided: &mut Decided,
        todo: &[usize],
        fates: Vec<Option<Fate>>,
    ) -> Vec<usize> {
        let mut left = Vec::new();
        for (&item, fate) in todo.iter().zip(fates) {
            match fate {
                Some(Fate::Made(output)) => {
                    decided.decisions[item].state = ItemState::Made(output);
                }
                Some(Fate::Failed(failure)) => {
                    let id = decided.decisions[item].spec.id.clone();
                    self.summary.failures.push((node.name.clone(), id, failure.clone()));
                    decided.decisions[item].state = ItemState::Failed(failure);
                }
                None => left.push(item),
            }
        }
        for item in 0..decided.decisions.len() {
            if let (Some(leader), ItemState::Run { .. }) =
                (decided.decisions[item].shares, &decided.decisions[item].state)
            {
                decided.decisions[item].state = decided.decisions[leader].state.shared();
            }
        }
        left
    }

    /// Keeps the keys of the items that have an output, for the explanations of the next run.
    fn keep_heads(&self, node: &Node, decided: &Decided) -> Result<(), StoreError> {
        let before = self.store.heads(&node.name);
        let mut heads = super::store::Heads::default();
        for decision in &decided.decisions {
            let id = decision.spec.id.as_str();
            let Some(&recipe) = decided.keys.get(decision.spec.recipe) else { continue };
            let name = decided.names[decision.spec.recipe];
            let made = decision.output().and(decision.key).map(|item| Head { recipe, item });
            // What is not made now, or is given, keeps the key under which it was made last.
            if let Some(head) = made.or_else(|| before.get(name, id)) {
                heads.set(name, id, head);
            }
        }
        // First the log: where a kill comes between, the next run notes the same once more.
        self.store.note_keys(&node.name, &self.summary.run, &before, &heads)?;
        if heads == before { Ok(()) } else { self.store.put_heads(&node.name, &heads) }
    }
}

/// Checks that everything that the stage reads is known.
fn ready(node: &Node, decided: &Decided) -> Result<(), RunError> {
    let waits = decided.decisions.iter().filter_map(|decision| match &decision.state {
        ItemState::Run { follows, .. } => follows.first(),
        _ => None,
    });
    let waits: Vec<_> = waits.collect();
    match waits.first() {
        None => Ok(()),
        Some(first) => Err(RunError::NotReady {
            stage: node.name.clone(),
            upstream: first.stage.clone(),
            items: waits.len(),
        }),
    }
}

/// Checks that failed items did not take everything away from a stage: bad pictures are left out, but
/// a run that leaves out all of them has made nothing, and must not end as if it had.
fn something_left(node: &Node, decided: &Decided, seen: &Upstream<'_>) -> Result<(), RunError> {
    if !decided.decisions.is_empty() {
        return Ok(());
    }
    let failed = |decision: &&Decision| matches!(decision.state, ItemState::Failed(_));
    for stage in &seen.stages {
        let failed = stage.decisions.iter().filter(failed).count();
        if failed > 0 {
            return Err(RunError::NothingLeft {
                stage: node.name.clone(),
                upstream: stage.name.to_owned(),
                items: plural(failed, "item"),
            });
        }
    }
    Ok(())
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}
