//! Stored outputs that turn out to be lost while a run goes on, such as a latent with a flipped bit that a
//! training comes upon: the run tells of them, decides again from the stage that made them, and goes on. Only
//! what is lost is made again.

use std::collections::{BTreeMap, BTreeSet};

use super::Run;
use crate::pipeline::{
    Decision, Event, ItemState, Lost, Output, Warning, decide::Decided, plan::upstream,
};

impl Run<'_> {
    /// Tells of stored outputs that were found lost since the last look. Returns the first stage that has to be
    /// decided again; `None` where nothing was lost, or where something was lost twice in this run: a disk that
    /// goes on losing things is not written to for ever.
    ///
    /// `decided` is what was decided for the stage `index`, in which they were found.
    pub(super) fn mend(&mut self, index: usize, decided: Option<&Decided>) -> Option<usize> {
        if self.store.lost(self.lost_known).is_empty() {
            return None;
        }
        // Where one is damaged others may be. To look at all that the stage reads costs less than to come upon
        // them one by one, hours into a training.
        let read = upstream(self.graph, index, &self.done);
        let read = read.stages.iter().flat_map(|stage| stage.decisions);
        self.store.check(read.filter_map(made_earlier));
        let lost = self.store.lost(self.lost_known);
        self.lost_known += lost.len();

        let mut first = index;
        let mut once = true;
        let mut by_stage: BTreeMap<usize, Losses<'_>> = BTreeMap::new();
        for one in &lost {
            once &= self.lost.insert(one.digest);
            let owners = self.done.iter().map(Option::as_ref).enumerate();
            let owners = owners.filter(|(stage, _)| *stage != index).chain([(index, decided)]);
            let owner = owners.filter_map(|(stage, decided)| {
                let spec = &maker(&decided?.decisions, one)?.spec;
                Some((stage, (spec.recipe, spec.id.clone())))
            });
            let (stage, item) = owner.min_by_key(|(stage, _)| *stage).unzip();
            first = first.min(stage.unwrap_or(index));
            let losses = by_stage.entry(stage.unwrap_or(index)).or_default();
            losses.outputs.push(one);
            losses.items.extend(item);
        }
        for (stage, losses) in by_stage {
            let stage = self.graph.nodes()[stage].name.clone();
            self.teller.tell(Event::Warning { stage, warning: warning(&losses) });
        }
        once.then_some(first)
    }
}

/// What one stage lost.
#[derive(Default)]
struct Losses<'a> {
    outputs: Vec<&'a Lost>,
    /// Recipe and id of the items that made it.
    items: BTreeSet<(usize, String)>,
}

/// What an item made before this run, or in it.
fn made_earlier(decision: &Decision) -> Option<&Output> {
    match &decision.state {
        ItemState::Reuse(output) | ItemState::Made(output) => Some(output),
        ItemState::Kept | ItemState::Run { .. } | ItemState::Failed(_) => None,
    }
}

/// The item that made a lost output.
fn maker<'a>(decisions: &'a [Decision], lost: &Lost) -> Option<&'a Decision> {
    decisions.iter().find(|decision| {
        let blobs = made_earlier(decision).into_iter().flat_map(|output| &output.blobs);
        blobs.into_iter().any(|blob| blob.digest == lost.digest)
    })
}

/// Ids that a warning names.
const EXAMPLES: usize = 5;

fn warning(losses: &Losses<'_>) -> Warning {
    let Losses { outputs, items } = losses;
    let count = outputs.len();
    let names: BTreeSet<_> = items.iter().map(|(_, id)| id).collect();
    let (it, is, it_runs) = match count {
        1 => ("a stored output", "is", "what made it runs again"),
        _ => ("stored outputs", "are", "what made them runs again"),
    };
    let damaged = outputs.iter().any(|lost| lost.damaged);
    let shared = outputs.iter().all(|lost| lost.shared);
    let what = match (damaged, shared) {
        (true, true) => format!("{it} in the shared store {is} damaged and not taken"),
        (true, false) => format!("{it} {is} damaged"),
        (false, _) => format!("{it} {is} gone"),
    };
    let place = outputs.iter().find(|lost| lost.damaged);
    let help = place.map(|lost| match &lost.moved {
        Some(moved) => format!(
            "the damaged file is kept as {}; if this comes again, look at the disk and the memory of this machine",
            moved.display()
        ),
        None => format!("it is {}", lost.path.display()),
    });
    Warning {
        code: "fluxpipe::store::damaged".to_owned(),
        message: format!("{what}; {it_runs}"),
        help,
        items: items.len().max(1),
        examples: names.into_iter().take(EXAMPLES).cloned().collect(),
    }
}
