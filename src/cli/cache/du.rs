//! `fluxpipe cache du MANIFEST`: what takes room in the store.

use super::{Of, name, show, used};
use crate::{
    cli::{Exit, Outcome},
    pipeline::housekeeping::usage,
};

/// Show what takes room in the store
///
/// A line per stage and sort of output, with how many items of it this manifest needs, and what else is
/// there: states of trainings, files in the making, damaged files. Reads no outputs and waits for nobody.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe cache du my-project/project.toml
  fluxpipe cache du my-project/project.toml --also my-project/other.toml
  fluxpipe cache du my-project/project.toml --json")]
pub struct Du {
    #[command(flatten)]
    of: Of,

    /// Print one JSON object instead of text (schemas/cache-du.schema.json)
    #[arg(long)]
    json: bool,
}

impl Du {
    pub(super) fn run(self) -> Outcome {
        let (project, roots) = self.of.open()?;
        let mut usage = usage(&project.store, &roots)?;
        usage.manifest = name(&project);
        show(&usage, self.json, used)?;
        Ok(Exit::Done)
    }
}
