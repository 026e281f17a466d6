//! `fluxpipe cache …`: the store of a project as a whole.

mod du;
mod export;
mod gc;
mod import;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;

use super::{CliError, Outcome, Project, project::open};
use crate::{
    base::Lock,
    pipeline::{Store, StoreError, housekeeping::Roots},
    report::{bundle_imported, collected, exported, used, verified},
};

/// Look after the store: what takes room, what is damaged, what nothing needs
///
/// The store is the folder `store` in the output folder of a project: all that was made, by its content
/// (docs/store.md). Nothing in it is ever needed to be right: what is lost is made again by the next run.
#[derive(Debug, clap::Args)]
pub struct Cache {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Du(du::Du),
    Verify(verify::Verify),
    Gc(gc::Gc),
    Export(export::Export),
    Import(import::Import),
}

impl Cache {
    pub(super) fn run(self) -> Outcome {
        match self.command {
            Command::Du(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Gc(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Import(command) => command.run(),
        }
    }
}

/// The manifest that a command of the store is about.
#[derive(Debug, clap::Args)]
struct Of {
    /// The manifest, or a folder with a project.toml
    manifest: PathBuf,

    /// Another manifest with the same output folder, whose outputs are needed too; may be given several
    /// times
    #[arg(long, value_name = "MANIFEST")]
    also: Vec<PathBuf>,
}

impl Of {
    /// The project, and what it and the others need.
    fn open(&self) -> miette::Result<(Project, Roots)> {
        let project = open(&self.manifest, &[])?;
        let mut roots = Roots::default();
        roots.add(&project.graph, &project.store)?;
        for also in &self.also {
            let other = open(also, &[])?;
            if other.store.root() != project.store.root() {
                let (manifest, store) = (also.clone(), other.store.root().to_owned());
                return Err(CliError::OtherStore { manifest, store }.into());
            }
            roots.add(&other.graph, &project.store)?;
        }
        Ok((project, roots))
    }
}

/// The store for this process alone.
fn alone(project: &Project) -> miette::Result<Lock> {
    taken(project, Store::take_alone)
}

/// A part in the store, so that nobody clears it meanwhile.
fn part(project: &Project) -> miette::Result<Lock> {
    taken(project, Store::take_part)
}

fn taken(
    project: &Project,
    take: impl Fn(&Store) -> Result<Result<Lock, Option<u32>>, StoreError>,
) -> miette::Result<Lock> {
    let store = project.store.root().to_owned();
    Ok(take(&project.store)?.map_err(|process| CliError::StoreInUse { store, process })?)
}

fn name(project: &Project) -> String {
    project.manifest.source.path.display().to_string()
}

/// The result as JSON, or as text.
fn show<T: serde::Serialize>(result: &T, json: bool, text: fn(&T) -> String) -> miette::Result<()> {
    if json { super::print_json(result) } else { super::print(&text(result)) }
}
