//! `fluxpipe cache verify MANIFEST`: whether all of the store is what it was.

use super::{Of, alone, name, show, verified};
use crate::{
    cli::{Exit, Outcome},
    pipeline::housekeeping::verify,
    stages,
};

/// Compare all that is stored with its digests
///
/// Reads the whole store, on all cores. A run does the same with what it reads, so this is for who
/// wants to know before, such as after a crash of the machine or a copy to another disk. Exits with 1
/// where something is damaged or gone, and is not repaired.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe cache verify my-project/project.toml
  fluxpipe cache verify my-project/project.toml --repair
  fluxpipe cache verify my-project/project.toml --json")]
pub struct Verify {
    #[command(flatten)]
    of: Of,

    /// Move what is damaged to `damaged/` in the store, so that the next run makes it again
    #[arg(long)]
    repair: bool,

    /// Print one JSON object instead of text (schemas/cache-verify.schema.json)
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Outcome {
        let (project, roots) = self.of.open()?;
        let _alone = self.repair.then(|| alone(&project)).transpose()?;
        let states = stages::damaged_states(&project.store);
        let mut found = verify(&project.store, &roots, states, self.repair)?;
        found.manifest = name(&project);
        show(&found, self.json, verified)?;
        let left = found.damaged.iter().any(|damaged| damaged.moved.is_none());
        // What is gone is no less gone for a repair, but the next run makes it: nothing is left to do here.
        let whole = !left && (self.repair || found.missing.is_empty());
        Ok(if whole { Exit::Done } else { Exit::Failed })
    }
}
