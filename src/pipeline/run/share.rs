//! The shared store in a run: what it has is taken before a stage works, what the stage made is given after.

use std::collections::HashSet;

use super::Run;
use crate::{
    base::Digest,
    pipeline::{Decision, Event, ItemState, Node, StoreError, Warning, decide::Decided},
};

impl Run<'_> {
    /// Copies what only the shared store has, so that nothing depends on it from here on; how many items.
    pub(super) fn take_shared(&self, node: &Node, decided: &Decided) -> Result<usize, StoreError> {
        self.each_recipe(node, decided, |recipe, keys| self.store.take_shared(recipe, keys))
    }

    /// Copies what the shared store has not; how many items. That it cannot be written is told and costs nothing.
    pub(super) fn give_shared(
        &mut self,
        node: &Node,
        decided: &Decided,
    ) -> Result<usize, StoreError> {
        let given =
            self.each_recipe(node, decided, |recipe, keys| self.store.give_shared(recipe, keys));
        match given {
            Ok(given) => Ok(given),
            Err(error @ StoreError::Damaged { .. }) => Err(error),
            Err(error) => {
                self.teller
                    .tell(Event::Warning { stage: node.name.clone(), warning: not_given(&error) });
                Ok(0)
            }
        }
    }

    fn each_recipe(
        &self,
        node: &Node,
        decided: &Decided,
        copy: impl Fn(&Digest, &HashSet<Digest>) -> Result<usize, StoreError>,
    ) -> Result<usize, StoreError> {
        if self.store.shared().is_none() || !node.stage.is_shared() {
            return Ok(0);
        }
        let copied = decided.keys.iter().enumerate().map(|(recipe, key)| {
            let items = decided.decisions.iter().filter(|one| one.spec.recipe == recipe);
            copy(key, &items.filter_map(made).collect())
        });
        copied.sum()
    }
}

/// The key of an item with an output.
fn made(decision: &Decision) -> Option<Digest> {
    let made = matches!(decision.state, ItemState::Reuse(_) | ItemState::Made(_));
    decision.key.filter(|_| made)
}

fn not_given(error: &StoreError) -> Warning {
    let cause =
        std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    Warning {
        code: "fluxpipe::store::not_shared".to_owned(),
        message: format!("what was made is not given to the shared store: {error}{cause}"),
        help: Some("it is in the project's own store; the next run tries again".to_owned()),
        items: 1,
        examples: Vec::new(),
    }
}
