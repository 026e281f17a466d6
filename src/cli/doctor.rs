//! `fluxpipe doctor`: what this machine offers.

use std::path::{Path, PathBuf};

use super::{Exit, Outcome};
use crate::{
    base, device,
    report::{self, Machine},
};

/// Say what this machine offers: GPU, CUDA libraries, memory, disk
///
/// Shows which device `device = "auto"` would take, and what is missing where a card cannot be used.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe doctor
  fluxpipe doctor --disk /data/flux
  fluxpipe doctor --json")]
pub struct Doctor {
    /// Folder whose free disk space is shown
    #[arg(long, value_name = "DIR", default_value = ".")]
    disk: PathBuf,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Outcome {
        let machine = look_around(&self.disk);
        if self.json {
            super::print_json(&machine)?;
        } else {
            super::print(&report::machine(&machine))?;
        }
        Ok(Exit::Done)
    }
}

fn look_around(disk: &Path) -> Machine {
    let found = device::report();
    let auto = device::choose("auto");
    let (auto, note) = match auto {
        Ok(chosen) => (chosen.name, chosen.note),
        Err(error) => ("none".to_owned(), Some(error.to_string())),
    };
    Machine {
        fluxpipe: env!("CARGO_PKG_VERSION"),
        auto,
        note,
        cuda: found
            .cuda
            .into_iter()
            .map(|card| (format!("cuda:{}", card.index), card.name))
            .collect(),
        driver: found.toolkit.driver,
        nvrtc: found.toolkit.nvrtc,
        headers: found.toolkit.headers,
        cpu: found.cpu,
        threads: found.threads,
        memory_total: found.memory_total,
        memory_free: found.memory_free,
        disk: disk.to_owned(),
        disk_free: base::disk_free(disk),
    }
}
