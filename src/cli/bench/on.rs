//! Where a measurement runs, and in which type: the options that the measurements share.

use serde::Serialize;

use super::super::Outcome;
use crate::{
    device::{self, Chosen},
    stages::measure::Float,
};

/// Where it runs.
#[derive(Clone, Debug, clap::Args)]
pub struct On {
    /// Where it runs: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
}

/// The device, as results name it.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// `cpu` or `cuda:N`.
    device: String,
    /// What the processor or the card calls itself.
    device_name: String,
    /// Threads of the processor that may run at once.
    threads: usize,
}

impl On {
    pub fn choose(&self) -> miette::Result<(Chosen, Place)> {
        let chosen = device::choose(&self.device)?;
        let place = Place {
            device: chosen.name.clone(),
            device_name: device::name(&chosen.device),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        };
        Ok((chosen, place))
    }
}

/// In which type it computes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Type {
    F32,
    Bf16,
}

impl Type {
    /// The type that was asked for, or the one that training takes on this device.
    pub fn or_usual(this: Option<Self>, chosen: &Chosen) -> Float {
        match this {
            Some(Self::F32) => Float::F32,
            Some(Self::Bf16) => Float::Bf16,
            None if device::is_cpu(&chosen.device) => Float::F32,
            None => Float::Bf16,
        }
    }
}

/// Prints the line of a measurement.
pub fn done(line: &impl Serialize) -> Outcome {
    super::super::print_line(line)?;
    Ok(super::super::Exit::Done)
}
