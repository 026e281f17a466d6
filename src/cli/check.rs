//! `fluxpipe check MANIFEST`: everything that can be known without running.

use super::{Exit, Outcome, project::ManifestArgs};
use crate::{
    device,
    pipeline::{self, RunOptions},
    report,
};

/// Find the mistakes of a manifest, all at once
///
/// Checks every key and value, the files and folders it names, whether the weight files are those of
/// the right networks, and whether the device can be used. Runs nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  fluxpipe check my-project/project.toml")]
pub struct Check {
    #[command(flatten)]
    manifest: ManifestArgs,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let project = self.manifest.open()?;
        let device = device::choose(&project.manifest.project.device)?;
        let plan = pipeline::plan(&project.graph, &project.store, &RunOptions::default())?;
        super::print(&report::checked(&project.manifest, &plan, &device.name))?;
        Ok(Exit::Done)
    }
}
