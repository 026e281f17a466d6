//! `fluxpipe demo networks DIR`: small random networks.

use std::path::PathBuf;

use crate::{
    cli::{CliError, Exit, Outcome, print},
    models::random,
    report,
};

/// Write small networks with random weights
///
/// One file per network, in the layouts of the published files; about 12 MB. They run the whole
/// pipeline in seconds, and what they say means nothing.
#[derive(Debug, clap::Args)]
pub struct Networks {
    /// The folder to write to; files of the same names in it are replaced
    dir: PathBuf,

    /// Names the random numbers: the same seed gives the same files
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Networks {
    pub(super) fn run(self) -> Outcome {
        let unwritable = |source| CliError::Write { path: self.dir.clone(), source };
        random::write_all(&self.dir, self.seed).map_err(unwritable)?;
        print(&report::demo_written(&self.dir))?;
        Ok(Exit::Done)
    }
}
