//! `fluxpipe check MANIFEST`: everything that can be known without running.

use std::path::Path;

use super::{CliError, Exit, Outcome, inspect::network, project::ManifestArgs};
use crate::{
    device,
    manifest::Manifest,
    models::tagger::{Graph, Signature, TagTable, Tagger},
    pipeline::{self, RunOptions},
    report,
    weights::Checkpoint,
};

/// Find the mistakes of a manifest, all at once
///
/// Checks every key and value, the files and folders it names, whether the weight files are those of
/// the right networks, and whether the device can be used. Runs nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  fluxpipe check my-project/project.toml")]
pub struct Check {
    #[command(flatten)]
    manifest: ManifestArgs,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let project = self.manifest.open()?;
        let device = device::choose(&project.manifest.project.device)?;
        networks(&project.manifest, |_| true)?;
        let plan = pipeline::plan(&project.graph, &project.store, &RunOptions::default())?;
        super::print(&report::checked(&project.manifest, &plan, &device.name))?;
        Ok(Exit::Done)
    }
}

/// Looks into every weight file that a stage for which `asked` holds uses: can it be read, and is it
/// of the right network?
pub(super) fn networks(manifest: &Manifest, asked: impl Fn(&str) -> bool) -> miette::Result<()> {
    let used = |role: &str| {
        let stages = manifest.stages.iter().filter(|stage| asked(&stage.name));
        stages.into_iter().any(|stage| stage.config.kind().models().contains(&role))
    };
    let files = manifest.models.all().into_iter().filter(|(role, _)| used(role));
    let files = files.filter_map(|(role, path)| Some((role, manifest.resolve(path?))));
    let problems = files.filter_map(|(role, path)| network(role, &path).err());
    let mut problems = problems.collect::<Vec<_>>();
    match problems.len() {
        0 => Ok(()),
        1 => Err(problems.remove(0).into()),
        _ => Err(CliError::Weights { problems }.into()),
    }
}

fn network(role: &'static str, path: &Path) -> Result<(), CliError> {
    if role == "tagger" {
        let graph = Graph::open(&Tagger::graph_path(path))?;
        let table = TagTable::read(&TagTable::beside(graph.path()))?;
        Signature::of(&graph, &table)?;
        return Ok(());
    }
    let found = network::recognise(&Checkpoint::open(path)?);
    let found = match found {
        Some(network) if network.role == role => return Ok(()),
        Some(network) => format!("a {}", network.name),
        None => "no network that fluxpipe knows".to_owned(),
    };
    Err(CliError::WrongNetwork { role, path: path.to_owned(), found })
}
