//! What the machine offers, for `doctor`.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{theme, words};

/// What the machine offers.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Version of fluxpipe.
    pub fluxpipe: &'static str,
    /// What `device = "auto"` takes.
    pub auto: String,
    /// Why it did not take a card that is there.
    pub note: Option<String>,
    /// Cards: the name to use in a manifest, and what the driver calls them.
    pub cuda: Vec<(String, String)>,
    /// Library of the driver.
    pub driver: Option<PathBuf>,
    /// Compiler of kernels.
    pub nvrtc: Option<PathBuf>,
    /// Folder of the CUDA headers.
    pub headers: Option<PathBuf>,
    /// Name of the processor.
    pub cpu: String,
    /// Threads that run at once.
    pub threads: usize,
    /// Bytes of memory.
    pub memory_total: u64,
    /// Bytes of it that are free.
    pub memory_free: u64,
    /// The store of the project that was asked for, where it can be used.
    pub store: Option<PathBuf>,
    /// Folder whose disk was asked for.
    pub disk: PathBuf,
    /// Bytes free there.
    pub disk_free: Option<u64>,
}

/// For a person.
#[must_use]
pub fn machine(machine: &Machine) -> String {
    let mut text = format!("{}\n", theme::strong(format!("fluxpipe {}", machine.fluxpipe)));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<15}{value}");
    };
    line("device = \"auto\"", format!(" {}", theme::good(&machine.auto)));
    for (index, (name, card)) in machine.cuda.iter().enumerate() {
        line(if index == 0 { "CUDA cards" } else { "" }, format!(" {name}  {card}"));
    }
    if machine.cuda.is_empty() {
        line("CUDA cards", " none".to_owned());
    }
    line("CUDA driver", format!(" {}", place(machine.driver.as_deref())));
    line("CUDA compiler", format!(" {}", place(machine.nvrtc.as_deref())));
    line("CUDA headers", format!(" {}", place(machine.headers.as_deref())));
    line("processor", format!(" {}, {} threads", machine.cpu, machine.threads));
    let (free, total) = (words::bytes(machine.memory_free), words::bytes(machine.memory_total));
    line("memory", format!(" {free} free of {total}"));
    if let Some(store) = &machine.store {
        line("store", format!(" {}", store.display()));
    }
    let free = machine.disk_free.map_or_else(|| "unknown".to_owned(), words::bytes);
    line("disk", format!(" {free} free for {}", machine.disk.display()));
    if let Some(note) = &machine.note {
        let _ = writeln!(text, "\n{}", theme::busy(note));
    }
    text
}

fn place(path: Option<&Path>) -> String {
    path.map_or_else(|| "not found".to_owned(), |path| path.display().to_string())
}
