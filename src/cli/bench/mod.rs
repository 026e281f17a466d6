//! `fluxpipe bench`: how long the parts of a pipeline take on this machine, and how much memory.
//!
//! Each subcommand makes what it measures itself, of random numbers and of the published sizes, and
//! prints one line of JSON.

mod cache;

use super::Outcome;

/// Measure on this machine, with random weights of full size
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bench cache
  fluxpipe bench cache --texts 32 --dtype fp8
  fluxpipe bench cache --shape tiny")]
pub struct Bench {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Cache(cache::Cache),
}

impl Bench {
    pub(super) fn run(self) -> Outcome {
        crate::device::memory::keep();
        match self.part {
            Part::Cache(command) => command.run(),
        }
    }
}
