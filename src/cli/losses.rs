//! `fluxpipe losses MANIFEST`: which pictures the model finds hardest.

use super::{CliError, Exit, Outcome, project::ManifestArgs};
use crate::{
    pipeline::{self, RunOptions},
    report,
    stages::losses::{self, Found},
};

/// Show which pictures the model finds hardest
///
/// Lists pictures by their losses in the last training that came to its end, with their captions. A loss
/// depends on the noise level that was drawn, so each is compared with those of all pictures at like
/// levels: `1.30×` is a picture whose losses are 30 % larger. Often its caption does not fit. Runs
/// nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe losses my-project/project.toml
  fluxpipe losses my-project/project.toml --epoch 10 --top 5
  fluxpipe losses my-project/project.toml --json")]
pub struct Losses {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// Only losses of epoch N; of all epochs if not given
    #[arg(long, value_name = "N")]
    epoch: Option<usize>,

    /// Show the N hardest pictures [default: 20; with --json all]
    #[arg(long, value_name = "N")]
    top: Option<usize>,

    /// The finetune stage, where there are several; the first one if not given
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,

    /// Print one JSON object instead of text (schemas/losses.schema.json)
    #[arg(long)]
    json: bool,
}

/// Pictures that fit on a screen.
const TOP: usize = 20;

impl Losses {
    pub(super) fn run(self) -> Outcome {
        let project = self.manifest.open()?;
        let plan = pipeline::plan(&project.graph, &project.store, &RunOptions::default())?;
        let found = losses::losses(&project.site, &plan, self.stage.as_deref(), self.epoch)?;
        let mut found = match found {
            Found::Losses(found) => found,
            Found::NoStage => return Err(CliError::NoFinetune { stage: self.stage }.into()),
            Found::NotTrained => return Err(CliError::NotTrained.into()),
        };
        found.manifest = project.manifest.source.path.display().to_string();
        let top = self.top.unwrap_or(if self.json { usize::MAX } else { TOP });
        if self.json {
            found.pictures.truncate(top);
            super::print_json(&found)?;
        } else {
            super::print(&report::losses(&found, top))?;
        }
        Ok(Exit::Done)
    }
}
