//! `fluxpipe import sd-scripts SCRIPT [CONFIG]`: a manifest for what a script of another trainer does.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{CliError, Exit, Outcome};
use crate::{
    base::{atomic, disk},
    dataset,
    migrate::{self, Asked, MigrateError, Source, Surroundings},
    report,
};

/// Take over a project of another trainer
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  fluxpipe import sd-scripts FLUX_finetune.sh data_config.toml -o project.toml")]
pub struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    SdScripts(SdScripts),
}

/// Write a manifest that does what a script of sd-scripts does
///
/// Reads the shell script that starts flux_train.py (and make_captions.py, the tagger and the others before
/// it), the data configuration and what `accelerate config` wrote. Nothing is run. Lists what became of each
/// flag: taken over, always so here, without effect in the original, or not supported, and why. Defaults that
/// are others here are written out. Command lines with broken line ends are read as they were meant.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe import sd-scripts FLUX_finetune.sh data_config.toml -o project.toml
  fluxpipe import sd-scripts train.sh --accelerate-config default_config.yaml
  fluxpipe import sd-scripts train.sh --base ~/sd-scripts --json")]
struct SdScripts {
    /// The shell script
    script: PathBuf,

    /// The data configuration (.toml or .json) [default: the one that the script names]
    config: Option<PathBuf>,

    /// What `accelerate config` wrote [default: the one that the script names]
    #[arg(long, value_name = "FILE")]
    accelerate_config: Option<PathBuf>,

    /// The folder in which the script is run, from which its paths start [default: the script's own]
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,

    /// The manifest to write; paths in it are relative to its folder
    #[arg(short, long, value_name = "FILE", default_value = "project.toml")]
    output: PathBuf,

    /// Write over a manifest that is there
    #[arg(long)]
    force: bool,

    /// Print the list as one JSON object (schemas/import.schema.json)
    #[arg(long)]
    json: bool,
}

/// No script or configuration is larger.
const MOST: u64 = 1 << 20;

impl Import {
    pub(super) fn run(self) -> Outcome {
        match self.from {
            From::SdScripts(command) => command.run(),
        }
    }
}

impl SdScripts {
    fn run(self) -> Outcome {
        if !self.force && self.output.exists() {
            return Err(CliError::Overwrite { path: self.output }.into());
        }
        let script = read(&self.script)?;
        let config = self
            .config
            .as_deref()
            .map(|path| Ok::<_, MigrateError>((path, read(path)?)))
            .transpose()?;
        let accelerate = self
            .accelerate_config
            .as_deref()
            .map(|path| Ok::<_, MigrateError>((path, read(path)?)))
            .transpose()?;
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let own = self.script.parent().filter(|folder| !folder.as_os_str().is_empty());
        let base = absolute(self.base.as_deref().or(own).unwrap_or(Path::new(".")));
        let names = [
            Some(self.script.as_path()),
            self.config.as_deref(),
            self.accelerate_config.as_deref(),
        ]
        .map(|path| path.map(|path| path.display().to_string()).unwrap_or_default());
        let source = |index: usize, text| Source { name: &names[index], text };
        let (text, mut imported) = migrate::import(&Asked {
            script: source(0, &script),
            dataset: config.as_ref().map(|(_, text)| source(1, text)),
            accelerate: accelerate.as_ref().map(|(_, text)| source(2, text)),
            base: &base,
            manifest: &absolute(&self.output),
            look: &Disk,
        })?;
        imported.manifest = self.output.display().to_string();
        self.write(&text)?;
        if self.json {
            super::print_json(&imported)?;
        } else {
            super::print(&report::imported(&imported))?;
        }
        Ok(Exit::Done)
    }

    fn write(&self, text: &str) -> Result<(), CliError> {
        let unwritable = |source| CliError::Write { path: self.output.clone(), source };
        if let Some(folder) = self.output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            disk::create_folder(folder).map_err(unwritable)?;
        }
        if self.force {
            return atomic::write(&self.output, text.as_bytes()).map_err(unwritable);
        }
        match atomic::write_new(&self.output, text.as_bytes()).map_err(unwritable)? {
            true => Ok(()),
            // Somebody else was quicker.
            false => Err(CliError::Overwrite { path: self.output.clone() }),
        }
    }
}

/// The text of a file, if it is one of a likely size.
fn read(path: &Path) -> Result<String, MigrateError> {
    let unreadable =
        |error: io::Error| MigrateError::Read { path: path.to_owned(), reason: error.to_string() };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MOST {
        return Err(MigrateError::Size { path: path.to_owned(), bytes, most: MOST });
    }
    let text = String::from_utf8(disk::read(path).map_err(unreadable)?).ok();
    text.filter(|text| !text.contains('\0'))
        .ok_or_else(|| MigrateError::Text { path: path.to_owned() })
}

/// What lies around the script.
struct Disk;

impl Surroundings for Disk {
    fn text(&self, path: &Path) -> Result<Option<String>, MigrateError> {
        if path.is_file() { read(path).map(Some) } else { Ok(None) }
    }

    fn folders(&self, path: &Path) -> Vec<String> {
        let entries = disk::list(path).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        let mut names: Vec<_> =
            folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn pictures(&self, path: &Path) -> Option<usize> {
        let entries = disk::list(path).ok()?;
        Some(entries.flatten().filter(|entry| dataset::is_picture(&entry.path())).count())
    }
}
