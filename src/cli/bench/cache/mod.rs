//! `fluxpipe bench cache`: the networks of the cache stage.

mod autoencoder;
mod clip;
mod t5;

use super::super::Outcome;

/// Measure the networks of the cache stage
///
/// Without a network's name the large text encoder: writes a file of random weights (T5-XXL in 16 bits:
/// 9.5 GB) into a folder that it removes again, encodes texts as the stage does, and prints one line of
/// JSON: seconds, arithmetic per second, and how much memory was the program's own at most (mapped weights
/// are not: the system can take them back at any time).
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  fluxpipe bench cache
  fluxpipe bench cache --texts 32 --dtype fp8
  fluxpipe bench cache --shape tiny
  fluxpipe bench cache clip --texts 8
  fluxpipe bench cache autoencoder --resolution 1024 --device cuda")]
pub struct Cache {
    #[command(subcommand)]
    network: Option<Network>,

    #[command(flatten)]
    t5: t5::T5,
}

#[derive(Debug, clap::Subcommand)]
enum Network {
    Clip(clip::Clip),
    Autoencoder(autoencoder::Autoencoder),
}

impl Cache {
    pub(super) fn run(self) -> Outcome {
        match self.network {
            None => self.t5.run(),
            Some(Network::Clip(command)) => command.run(),
            Some(Network::Autoencoder(command)) => command.run(),
        }
    }
}
