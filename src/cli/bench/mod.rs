//! `fluxpipe bench`: how long the parts of a pipeline take on this machine, and how much memory.
//!
//! Each subcommand makes what it measures itself, of random numbers and of the published sizes, and
//! prints one line of JSON.

mod attention;
mod cache;
mod finetune;
mod gemm;
mod label;
mod on;
mod tag;

use super::Outcome;

/// Measure on this machine, with random weights of full size
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bench gemm
  fluxpipe bench attention --device cuda
  fluxpipe bench label --num-beams 3
  fluxpipe bench tag --batch 8
  fluxpipe bench cache --texts 32 --dtype fp8
  fluxpipe bench finetune --device cuda --steps 10")]
pub struct Bench {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Gemm(gemm::Gemm),
    Attention(attention::Attention),
    Label(label::Label),
    Tag(tag::Tag),
    Cache(cache::Cache),
    Finetune(finetune::Finetune),
}

impl Bench {
    pub(super) fn run(self) -> Outcome {
        crate::device::memory::keep();
        match self.part {
            Part::Gemm(command) => command.run(),
            Part::Attention(command) => command.run(),
            Part::Label(command) => command.run(),
            Part::Tag(command) => command.run(),
            Part::Cache(command) => command.run(),
            Part::Finetune(command) => command.run(),
        }
    }
}
