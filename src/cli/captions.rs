//! `fluxpipe captions MANIFEST`: the texts that pictures are trained on.

use super::{CliError, Exit, Outcome, project::ManifestArgs};
use crate::{
    pipeline::{self, RunOptions},
    report,
    stages::captions::{self, Asked},
};

/// Show the texts that pictures are trained on
///
/// Lists pictures with their final caption, where its parts come from (a network, a person, the
/// metadata file, the manifest), how many tokens it has for CLIP and T5, and what these do not read.
/// Works before anything ran; what a stage has still to make is said. Runs nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe captions my-project/project.toml
  fluxpipe captions my-project/project.toml --changed
  fluxpipe captions my-project/project.toml --filter umbrella --limit 100
  fluxpipe captions my-project/project.toml --cut --json")]
pub struct Captions {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// Only pictures whose text is another one than the last run made
    #[arg(long)]
    changed: bool,

    /// Only pictures of whose text an encoder does not read the end
    #[arg(long)]
    cut: bool,

    /// Only pictures whose name or text contains TEXT
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// The merge stage, where there are several; the first one if not given
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,

    /// Show at most N pictures [default: 20; with --json all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Print one JSON object instead of text (schemas/captions.schema.json)
    #[arg(long)]
    json: bool,
}

/// Pictures that fit on a few screens.
const LIMIT: usize = 20;

impl Captions {
    pub(super) fn run(self) -> Outcome {
        let project = self.manifest.open()?;
        let plan = pipeline::plan(&project.graph, &project.store, &RunOptions::default())?;
        let asked =
            Asked { changed: self.changed, filter: self.filter, cut: self.cut, among: None };
        let found = captions::captions(&project.site, &plan, self.stage.as_deref(), &asked)?;
        let Some(mut found) = found else {
            return Err(CliError::NoMerge { stage: self.stage }.into());
        };
        found.manifest = project.manifest.source.path.display().to_string();
        let limit = self.limit.unwrap_or(if self.json { usize::MAX } else { LIMIT });
        found.tell_cuts(limit);
        if self.json {
            found.pictures.truncate(limit);
            super::print_json(&found)?;
        } else {
            super::print(&report::captions(&found, limit))?;
        }
        Ok(Exit::Done)
    }
}
