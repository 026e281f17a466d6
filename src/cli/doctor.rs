//! `fluxpipe doctor`: what this machine offers.

use std::path::{Path, PathBuf};

use super::{Exit, Outcome, project};
use crate::{
    base, device,
    pipeline::Store,
    report::{self, Machine},
};

/// Say what this machine offers: GPU, CUDA libraries, memory, disk
///
/// Shows which device `device = "auto"` would take, and what is missing where a card cannot be used. With a
/// manifest it also says whether this version of fluxpipe can use the project's store.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe doctor
  fluxpipe doctor my-project/project.toml
  fluxpipe doctor --disk /data/flux
  fluxpipe doctor --json")]
pub struct Doctor {
    /// The manifest of a project, or a folder with a project.toml
    manifest: Option<PathBuf>,

    /// Folder whose free disk space is shown [default: the project's output, or this folder]
    #[arg(long, value_name = "DIR")]
    disk: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Outcome {
        let manifest = self.manifest.map(|path| project::read(&path, &[])).transpose()?;
        let output = manifest.map(|manifest| manifest.output());
        let disk = self.disk.or_else(|| output.clone()).unwrap_or_else(|| ".".into());
        let store = output.map(|output| Store::open(&output.join(project::STORE)));
        let mut machine = look_around(&disk);
        machine.store =
            store.as_ref().and_then(|store| Some(store.as_ref().ok()?.root().to_owned()));
        if self.json {
            super::print_json(&machine)?;
        } else {
            super::print(&report::machine(&machine))?;
        }
        store.transpose()?;
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
        store: None,
        disk: disk.to_owned(),
        disk_free: base::disk_free(disk),
    }
}
