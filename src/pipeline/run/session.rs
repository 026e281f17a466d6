//! What a stage sees while it runs.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::teller::Teller;
use crate::{
    base::{Digest, clock::Stopwatch},
    pipeline::{
        Cause, Draft, Event, ItemFailure, ItemSpec, ItemState, Node, Output, REST, StageError,
        Store, StoreError, Upstream, Warning, Work,
        cost::{START, Tally},
        decide::Decided,
        publish,
        store::Record,
    },
};

/// Records are flushed to the disk this often. A kill loses none of them in between, only a failing
/// machine does.
const FLUSH: Duration = Duration::from_millis(500);

/// What came of an item.
pub enum Fate {
    /// It was made and is stored.
    Made(Output),
    /// It cannot be made.
    Failed(ItemFailure),
}

/// The work of one stage in one run.
pub struct Session<'a, 't> {
    pub fail_fast: bool,
    node: &'a Node,
    store: &'a Store,
    run: &'a str,
    upstream: Upstream<'a>,
    specs: Vec<&'a ItemSpec>,
    keys: Vec<Digest>,
    forced: Vec<bool>,
    recipes: Vec<(Digest, &'static str)>,
    fates: Vec<Option<Fate>>,
    teller: &'a mut Teller<'t>,
    cancel: &'a AtomicBool,
    /// The item last heard of.
    in_hand: Option<usize>,
    times: Tally,
    /// Seconds of the item in hand that it told the work of.
    told: f64,
    since_commit: Stopwatch,
    since_flush: Stopwatch,
    unflushed: Vec<Digest>,
}

impl<'a, 't> Session<'a, 't> {
    #[expect(
        clippy::too_many_arguments,
        reason = "called in one place; a struct would only rename them"
    )]
    pub fn new(
        node: &'a Node,
        store: &'a Store,
        run: &'a str,
        upstream: Upstream<'a>,
        decided: &'a Decided,
        todo: &[usize],
        teller: &'a mut Teller<'t>,
        cancel: &'a AtomicBool,
    ) -> Self {
        // The caller checked that every key is known.
        let known = todo.iter().map(|&item| &decided.decisions[item]);
        let forced =
            |state: &ItemState| matches!(state, ItemState::Run { cause: Cause::Forced, .. });
        let known: Vec<_> =
            known.filter_map(|one| Some((&one.spec, one.key?, forced(&one.state)))).collect();
        let recipe = |spec: &ItemSpec| (decided.keys[spec.recipe], decided.names[spec.recipe]);
        Self {
            fail_fast: false,
            node,
            store,
            run,
            upstream,
            specs: known.iter().map(|(spec, ..)| *spec).collect(),
            keys: known.iter().map(|(_, key, _)| *key).collect(),
            forced: known.iter().map(|(.., forced)| *forced).collect(),
            recipes: known.iter().map(|(spec, ..)| recipe(spec)).collect(),
            fates: known.iter().map(|_| None).collect(),
            teller,
            cancel,
            in_hand: None,
            times: Tally::default(),
            told: 0.0,
            since_commit: Stopwatch::start(),
            since_flush: Stopwatch::start(),
            unflushed: Vec::new(),
        }
    }

    /// What came of each item.
    pub fn into_fates(self) -> Vec<Option<Fate>> {
        self.fates
    }

    /// Id of the item that is worked on, as far as is known: the one last heard of, or else the first
    /// that is not done.
    pub fn in_hand(&self) -> Option<&str> {
        let open = |item: &usize| self.fates[*item].is_none();
        let item = self.in_hand.filter(open).or_else(|| (0..self.fates.len()).find(open));
        item.map(|item| self.specs[item].id.as_str())
    }

    /// Waits until all records are on the disk.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.since_flush.lap();
        std::mem::take(&mut self.unflushed)
            .iter()
            .try_for_each(|recipe| self.store.flush_records(recipe))
    }

    /// Notes how long an item took, for estimates to come.
    fn note_time(&mut self, item: usize, seconds: f64) {
        let spec = self.specs[item];
        match std::mem::take(&mut self.told) {
            0.0 => self.times.add(spec.recipe, &self.node.stage.class(spec), 1, seconds),
            told => self.times.add(spec.recipe, REST, 1, (seconds - told).max(0.0)),
        }
    }

    /// How long the work took, so far.
    pub fn take_times(&mut self) -> Tally {
        std::mem::take(&mut self.times)
    }

    /// Adds the record of an item.
    fn record(&mut self, item: usize, fate: &Fate) -> Result<f64, StoreError> {
        let seconds = self.since_commit.lap();
        self.note_time(item, seconds);
        let (output, failure) = match fate {
            Fate::Made(output) => (Some(output.clone()), None),
            Fate::Failed(failure) => (None, Some(failure.clone())),
        };
        let record = Record {
            key: self.keys[item],
            output,
            failure,
            id: self.specs[item].id.clone(),
            parts: self.specs[item].key_parts().cloned().collect(),
            seconds,
            run: self.run.to_owned(),
        };
        let recipe = self.recipes[item].0;
        self.store.append_records(&recipe, &[record], false)?;
        if !self.unflushed.contains(&recipe) {
            self.unflushed.push(recipe);
        }
        if self.since_flush.elapsed() > FLUSH {
            self.flush()?;
        }
        Ok(seconds)
    }

    fn name(&self) -> String {
        self.node.name.clone()
    }
}

impl Work for Session<'_, '_> {
    fn items(&self) -> &[&ItemSpec] {
        &self.specs
    }

    fn upstream(&self) -> &Upstream<'_> {
        &self.upstream
    }

    fn store(&self) -> &Store {
        self.store
    }

    fn scratch(&self, item: usize) -> Result<PathBuf, StageError> {
        Ok(self.store.scratch(&self.keys[item])?)
    }

    fn commit(&mut self, item: usize, draft: Draft) -> Result<(), StageError> {
        self.in_hand = Some(item);
        let output = self.store.put(draft)?;
        let fate = Fate::Made(output);
        let seconds = self.record(item, &fate)?;
        self.fates[item] = Some(fate);
        self.store.clear_scratch(&self.keys[item]);
        let (item, recipe) = (self.specs[item].id.clone(), self.recipes[item].1.to_owned());
        self.teller.tell(Event::ItemFinished { stage: self.name(), item, recipe, seconds });
        Ok(())
    }

    fn fail(&mut self, item: usize, error: StageError) -> Result<(), StageError> {
        self.in_hand = Some(item);
        let failure = ItemFailure::from(&error);
        // A store that cannot be read is no fault of the item, and would be remembered as one.
        if failure.code.starts_with("fluxpipe::store::") {
            return Err(error);
        }
        let fate = Fate::Failed(failure.clone());
        self.record(item, &fate)?;
        self.fates[item] = Some(fate);
        let (stage, item) = (self.name(), self.specs[item].id.clone());
        self.teller.tell(Event::ItemFailed { stage, item, failure, remembered: false });
        if self.fail_fast { Err(error) } else { Ok(()) }
    }

    fn step(&mut self, item: usize, done: u64, total: u64, note: &str) {
        self.in_hand = Some(item);
        let (stage, item) = (self.name(), self.specs[item].id.clone());
        self.teller.tell(Event::Step { stage, item, done, total, note: note.to_owned() });
    }

    fn forced(&self, item: usize) -> bool {
        self.forced[item]
    }

    fn chosen(&mut self, item: usize, text: &str) {
        let (stage, item) = (self.name(), self.specs[item].id.clone());
        self.teller.tell(Event::Chosen { stage, item, text: text.to_owned() });
    }

    fn resumed(&mut self, item: usize, done: u64, total: u64) {
        let (stage, item) = (self.name(), self.specs[item].id.clone());
        self.teller.tell(Event::Resumed { stage, item, done, total });
    }

    fn saved(&mut self, item: usize, done: u64, total: u64) {
        let (stage, item) = (self.name(), self.specs[item].id.clone());
        self.teller.tell(Event::StateSaved { stage, item, done, total });
    }

    fn ready(&mut self, item: usize) {
        let seconds = self.since_commit.lap();
        self.times.add(self.specs[item].recipe, START, 1, seconds);
    }

    fn took(&mut self, item: usize, class: &str, units: u64, seconds: f64) {
        self.told += seconds;
        self.times.add(self.specs[item].recipe, class, units, seconds);
    }

    fn warn(&mut self, warning: Warning) {
        self.teller.tell(Event::Warning { stage: self.name(), warning });
    }

    fn show(&mut self, from: &Path, to: &Path) -> Result<(), StageError> {
        if publish::show(from, to)? {
            self.teller.tell(Event::Published {
                stage: self.name(),
                path: to.to_owned(),
                digest: None,
            });
        }
        Ok(())
    }

    fn take_back(&mut self, from: &Path, to: &Path) -> Result<(), StageError> {
        Ok(publish::take_back(from, to)?)
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}
