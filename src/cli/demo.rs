//! `fluxpipe demo DIR`: the small networks of the demo.

use std::path::PathBuf;

use super::{CliError, Exit, Outcome};
use crate::{models::random, report};

/// Write the small random networks of the demo
///
/// One file per network, in the layouts of the published files, with random weights from a seed; about
/// 12 MB. They run the whole pipeline in seconds, and what they say means nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe demo assets/demo/models")]
pub struct Demo {
    /// The folder to write to; files of the same names in it are replaced
    dir: PathBuf,

    /// Names the random numbers: the same seed gives the same files
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Demo {
    pub(super) fn run(self) -> Outcome {
        let unwritable = |source| CliError::Write { path: self.dir.clone(), source };
        random::write_all(&self.dir, self.seed).map_err(unwritable)?;
        super::print(&report::demo_written(&self.dir))?;
        Ok(Exit::Done)
    }
}
