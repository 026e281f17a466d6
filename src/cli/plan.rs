//! `fluxpipe plan MANIFEST`: what a run would do, and why.

use std::path::PathBuf;

use super::{
    Exit, Outcome, Problems, Project,
    project::{ManifestArgs, SelectionArgs},
};
use crate::{
    device,
    pipeline::{self, RunOptions},
    report,
};

/// Show what a run would do, and why
///
/// Shows per stage how many items are reused and how many run, and the reason: the line of the
/// manifest, the picture, caption or weight file that changed. Then what it will cost: bytes of disk, memory
/// at the peak, and time, by what earlier runs took on this device. What cannot fit is refused. Runs nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe plan my-project/project.toml
  fluxpipe plan my-project/project.toml --set stages.finetune.learning_rate=1e-4
  fluxpipe plan my-project/project.toml --manifest other.toml
  fluxpipe plan my-project/project.toml --json
  fluxpipe plan my-project/project.toml --exit-code   # 4 if there is work, 0 if not")]
pub struct Plan {
    #[command(flatten)]
    manifest: ManifestArgs,

    #[command(flatten)]
    selection: SelectionArgs,

    /// What if: plan this manifest in the place of the project's own. Its relative paths start at the
    /// folder of that one, and the same store is asked
    #[arg(long = "manifest", value_name = "FILE")]
    instead: Option<PathBuf>,

    /// Print one JSON object instead of text (schemas/plan.schema.json)
    #[arg(long)]
    json: bool,

    /// Also list every bucket, the pictures that are cut most, and what stages tell that have nothing to do
    #[arg(long, short)]
    verbose: bool,

    /// Exit with 4 if there is work to do
    #[arg(long)]
    exit_code: bool,
}

impl Plan {
    pub(super) fn run(self) -> Outcome {
        device::memory::return_large();
        let project = match &self.instead {
            Some(other) => self.manifest.open_with(other)?,
            None => self.manifest.open()?,
        };
        let options = self.selection.options(&project.manifest);
        let has_work = show(&project, &options, self.json, self.verbose)?;
        // As with the plan below.
        std::mem::forget(project);
        Ok(if has_work && self.exit_code { Exit::Work } else { Exit::Done })
    }
}

/// Prints the plan and tells whether there is work; `run --dry-run` prints the same.
pub(super) fn show(
    project: &Project,
    options: &RunOptions,
    json: bool,
    verbose: bool,
) -> miette::Result<bool> {
    let mut plan = pipeline::plan(&project.graph, &project.store, options)?;
    let busy = |name: &str| super::run::is_busy(&plan, name);
    let mut problems = super::check::trainings(&project.manifest, busy);
    problems.extend(super::check::device(&project.manifest, busy));
    Problems::none(&project.manifest, problems)?;
    super::check::add_notes(&mut plan, project, json || verbose)?;
    super::costs::add(&mut plan, project, &options.device)?;
    plan.manifest = project.manifest.source.path.display().to_string();
    if json {
        super::print_json(&plan)?;
    } else {
        super::print(&report::plan(&plan, project.places(), verbose))?;
    }
    let has_work = report::has_work(&plan);
    // The process ends here: the system takes back the memory of 500 000 decisions at once.
    std::mem::forget(plan);
    Ok(has_work)
}
