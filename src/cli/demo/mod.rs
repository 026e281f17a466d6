//! `fluxpipe demo`: what the demo is made of.

mod make;
mod measure;
mod networks;

use super::Outcome;

/// Make what the demo is made of, and measure what it learned
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe demo make pictures --count 24 --only star
  fluxpipe demo networks networks")]
pub struct Demo {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Make(make::Make),
    Measure(measure::Measure),
    Networks(networks::Networks),
}

impl Demo {
    pub(super) fn run(self) -> Outcome {
        match self.part {
            Part::Make(command) => command.run(),
            Part::Measure(command) => command.run(),
            Part::Networks(command) => command.run(),
        }
    }
}
