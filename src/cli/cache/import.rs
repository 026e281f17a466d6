//! `fluxpipe cache import MANIFEST FILE`: outputs that another machine made.

use std::path::PathBuf;

use super::{bundle_imported, part, show};
use crate::{
    cli::{Exit, Outcome},
    pipeline::housekeeping::import,
};

/// Add outputs that `cache export` wrote
///
/// Everything in the file is compared with its digest. What the store has already stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe cache import my-project/project.toml latents.tar
  fluxpipe plan my-project/project.toml      # what is reused of it")]
pub struct Import {
    /// The manifest, or a folder with a project.toml
    manifest: PathBuf,

    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print one JSON object instead of text (schemas/cache-import.schema.json)
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(super) fn run(self) -> Outcome {
        let project = super::open(&self.manifest, &[])?;
        let _part = part(&project)?;
        let found = import(&project.store, &self.file)?;
        show(&found, self.json, bundle_imported)?;
        Ok(Exit::Done)
    }
}
