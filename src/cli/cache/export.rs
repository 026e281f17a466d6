//! `fluxpipe cache export MANIFEST -o FILE`: outputs of stages as one file.

use std::path::PathBuf;

use super::{Of, exported, show};
use crate::{
    cli::{CliError, Exit, Outcome},
    pipeline::housekeeping::export,
};

/// Write what stages made to one file, for another machine
///
/// The file holds the outputs that this manifest needs, by their content; `cache import` adds them to another
/// store, and a run there reuses what fits: the same pictures, captions, settings and networks. It is a tar
/// file. Without --stage it holds the outputs of all stages but those that train or draw.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe cache export my-project/project.toml -o outputs.tar
  fluxpipe cache export my-project/project.toml --stage cache -o latents.tar
  fluxpipe cache import there/project.toml latents.tar")]
pub struct Export {
    #[command(flatten)]
    of: Of,

    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Only the outputs of this stage; may be given several times
    #[arg(long, value_name = "STAGE")]
    stage: Vec<String>,

    /// Write over FILE if it is there
    #[arg(long)]
    force: bool,

    /// Print one JSON object instead of text (schemas/cache-export.schema.json)
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(super) fn run(self) -> Outcome {
        let (project, roots) = self.of.open()?;
        let nodes = project.graph.nodes();
        let unknown = self.stage.iter().find(|name| nodes.iter().all(|node| node.name != **name));
        if let Some(stage) = unknown {
            let stages = nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>().join(", ");
            return Err(CliError::NoStage { stage: stage.clone(), stages }.into());
        }
        let stages = match self.stage.is_empty() {
            true => {
                let shared = nodes.iter().filter(|node| node.stage.is_shared());
                shared.map(|node| node.name.clone()).collect()
            }
            false => self.stage,
        };
        if self.output.exists() && !self.force {
            return Err(CliError::FileExists { path: self.output }.into());
        }
        let bundle = export(&project.store, &roots, &stages, &self.output)?;
        show(&bundle, self.json, exported)?;
        Ok(Exit::Done)
    }
}
