//! `fluxpipe why MANIFEST STAGE [ITEM]`: what made a stage or an item run.

use super::{Exit, Outcome, project::ManifestArgs};
use crate::{
    pipeline::{self, RunOptions},
    report::{self, Look},
};

/// Explain why a stage, or one item of it, would run
///
/// Compares the key of each item with the nearest one that is stored (of all that it ever had, that with the
/// fewest parts that differ) and follows the difference to its end: the line of the manifest with the value
/// it had, the files that came, went or changed, the weight file, or the change in fluxpipe itself. For an
/// item that is up to date it shows everything the item depends on. Writes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe why my-project/project.toml finetune
  fluxpipe why my-project/project.toml label cats/01.jpg
  fluxpipe why my-project/project.toml cache 01 --json")]
pub struct Why {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The stage
    stage: String,

    /// One of its items, as `plan` and `run` name it; a part of the name will do
    item: Option<String>,

    /// Print one JSON object instead of text (schemas/why.schema.json)
    #[arg(long)]
    json: bool,
}

impl Why {
    pub(super) fn run(self) -> Outcome {
        let project = self.manifest.open()?;
        let options = RunOptions::default();
        let item = self.item.as_deref();
        let why = pipeline::why(&project.graph, &project.store, &options, &self.stage, item)?;
        if self.json {
            super::print_json(&why)?;
        } else {
            super::print(&report::why(&why, project.places(), Look::stdout()))?;
        }
        Ok(Exit::Done)
    }
}
