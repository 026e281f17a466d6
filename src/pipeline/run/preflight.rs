//! The preflight of a run: each stage with work tries out what it can before the first one begins.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{Run, panic_text, teller::Teller};
use crate::pipeline::{
    Event, ItemFailure, Preflight, RunError, StageSummary, Tally, Warning, plan, preflight::Seen,
};

/// What one stage sees.
struct Look<'a, 't> {
    stage: &'a str,
    teller: &'a mut Teller<'t>,
    cancel: &'a AtomicBool,
    seen: &'a mut Seen,
    fail_fast: bool,
}

impl Preflight for Look<'_, '_> {
    fn tell(&mut self, text: &str) {
        let (stage, text) = (self.stage.to_owned(), text.to_owned());
        self.teller.tell(Event::Preflight { stage, text });
    }

    fn warn(&mut self, warning: Warning) {
        self.teller.tell(Event::Warning { stage: self.stage.to_owned(), warning });
    }

    fn is_first(&mut self, what: String) -> bool {
        self.seen.insert(what)
    }

    fn fail_fast(&self) -> bool {
        self.fail_fast
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

impl Run<'_> {
    /// Lets each selected stage that has something to run try out what would else fail later. The first
    /// that fails ends the run.
    pub(super) fn preflight(&mut self) -> Result<(), RunError> {
        let plan = plan(self.graph, self.store, self.options)?;
        let mut seen = Seen::new();
        for (node, planned) in self.graph.nodes().iter().zip(&plan.stages) {
            if planned.counts.run == 0 || !planned.selected || self.cancelled() {
                continue;
            }
            // Another run is at this stage, or tries the same out: two of them would be in each other's way.
            let Ok(_lock) = self.store.try_lock(&node.name)? else { continue };
            let upstream = plan.upstream(&node.name);
            let mut look = Look {
                stage: &node.name,
                teller: &mut self.teller,
                cancel: &self.cancel,
                seen: &mut seen,
                fail_fast: self.options.fail_fast,
            };
            let tried = catch_unwind(AssertUnwindSafe(|| {
                node.stage.preflight(&planned.decisions, &upstream, self.store, &mut look)
            }));
            let error = match tried {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => RunError::stage(&node.name, error),
                Err(payload) => {
                    let message = panic_text(payload.as_ref());
                    RunError::Panic { stage: node.name.clone(), item: None, message }
                }
            };
            let failure = ItemFailure::of(error.innermost());
            let stage = node.name.clone();
            self.teller.tell(Event::StageFailed { stage: stage.clone(), failure: failure.clone() });
            self.summary.stages.push(StageSummary {
                name: stage,
                kind: node.stage.kind().to_owned(),
                items: Tally::of(&planned.decisions),
                published: 0,
                seconds: 0.0,
                estimate: None,
                error: Some(failure),
            });
            return Err(error);
        }
        Ok(())
    }
}
