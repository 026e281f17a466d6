//! `fluxpipe report MANIFEST`: the page `report.html`, which `run` writes at its end too.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use super::{CliError, Exit, Outcome, Project, project::ManifestArgs};
use crate::{
    base::{atomic, disk},
    pipeline::{self, ItemFailure, RunError, RunOptions},
    report,
    stages::overview,
};

/// Write a page that shows what ran and what came of it
///
/// One file that opens in any browser, from the disk and without a network: the training in curves, sample
/// pictures by epoch, captions with their pictures and where each word comes from, the hardest pictures,
/// buckets, time line, warnings, the manifest, and the digests of all networks. `run` writes it at its end
/// as report.html in the output folder; this command writes it anew, also while a training goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe report my-project/project.toml
  fluxpipe report my-project/project.toml -o /tmp/training.html")]
pub struct Report {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The file to write [default: report.html in the output folder]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The page's name in the output folder.
const NAME: &str = "report.html";

impl Report {
    pub(super) fn run(self) -> Outcome {
        let project = self.manifest.open()?;
        let path = self.output.unwrap_or_else(|| usual_place(&project));
        write(&project, &path)?;
        super::print(&report::page_written(&path))?;
        Ok(Exit::Done)
    }
}

/// Where the page of a project lies.
pub(super) fn usual_place(project: &Project) -> PathBuf {
    project.manifest.output().join(NAME)
}

/// Writes the page after a run. A run is worth more than its report: what goes wrong here is told, and
/// fails nothing. Returns what to print.
pub(super) fn after_run(project: &Project) -> String {
    let path = usual_place(project);
    let written = catch_unwind(AssertUnwindSafe(|| write(project, &path)));
    match written {
        Ok(Ok(())) => report::page_written(&path),
        Ok(Err(error)) => report::page_not_written(&path, &ItemFailure::of(&error).message),
        Err(_) => report::page_not_written(&path, "the program met a mistake of its own"),
    }
}

fn write(project: &Project, path: &Path) -> Result<(), CliError> {
    let plan = pipeline::plan(&project.graph, &project.store, &RunOptions::default());
    let plan = plan.and_then(|mut plan| {
        pipeline::add_notes(&mut plan, &project.graph, &project.store, true)?;
        Ok(plan)
    });
    let plan = plan.map_err(|error: RunError| ItemFailure::of(&error).message);
    let overview = overview::overview(&project.site, plan, &project.set);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let beside = same_folder(folder, &overview.output);
    let page = report::html(&overview, beside);
    let written = disk::create_folder(folder).and_then(|()| atomic::write(path, page.as_bytes()));
    written.map_err(|source| CliError::Write { path: path.to_owned(), source })
}

fn same_folder(one: &Path, other: &Path) -> bool {
    let full = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    full(one).is_some_and(|one| Some(one) == full(other))
}
