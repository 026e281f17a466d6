//! `fluxpipe check MANIFEST`: everything that can be known without running.

use std::{collections::BTreeSet, path::Path};

use super::{CliError, Exit, Outcome, Problem, Problems, Project, project::ManifestArgs};
use crate::{
    dataset, device,
    manifest::{Manifest, StageConfig, StageDecl},
    models::{
        identity,
        onnx::Graph,
        tagger::{Signature, TagTable, Tagger, TaggerError},
    },
    pipeline::{self, Plan, RunOptions},
    report, stages,
    weights::Checkpoint,
};

/// Find the mistakes of a manifest, all at once
///
/// Checks every key and value; then the files and folders it names, pictures that would share a
/// sidecar, whether the weight files are those of the right networks, and whether the device can be
/// used. Runs nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  fluxpipe check my-project/project.toml")]
pub struct Check {
    #[command(flatten)]
    manifest: ManifestArgs,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let manifest = self.manifest.read()?;
        let mut problems = files(&manifest);
        problems.extend(pictures(&manifest));
        problems.extend(metadata(&manifest));
        problems.extend(networks(&manifest, |_| true));
        problems.extend(trainings(&manifest, |_| true));
        let device = device::choose(&manifest.project.device);
        if let Err(error) = &device {
            problems.push(Problem::behind(&manifest, "project.device", error.clone()));
        }
        Problems::none(&manifest, problems)?;
        let device = device?;
        let project = Project::of(manifest, &self.manifest.set)?;
        let mut plan = pipeline::plan(&project.graph, &project.store, &RunOptions::default())?;
        let unusable = plan.stages.iter().flat_map(|stage| &stage.decisions);
        let unusable = unusable.filter_map(|decision| decision.spec.unusable.clone());
        Problems::none(&project.manifest, unusable.map(Problem::new).collect())?;
        add_notes(&mut plan, &project, false)?;
        super::print(&report::checked(&project.manifest, &plan, &device.name))?;
        Ok(Exit::Done)
    }
}

/// What the manifest names and is not there.
fn files(manifest: &Manifest) -> Vec<Problem> {
    let missing = manifest.check_files().err().map(|errors| errors.errors);
    missing.into_iter().flatten().map(Problem::new).collect()
}

/// What is wrong with the folders of pictures that are there.
fn pictures(manifest: &Manifest) -> Vec<Problem> {
    let mut problems = Vec::new();
    // One folder may be used at several resolutions.
    let mut seen = BTreeSet::new();
    for (index, dataset) in manifest.dataset.iter().enumerate() {
        let folder = manifest.resolve(&dataset.image_dir);
        if folder.is_dir()
            && seen.insert((folder.clone(), dataset.recursive))
            && let Err(error) = dataset::scan(&folder, dataset.recursive)
        {
            let path = format!("dataset.{index}.image_dir");
            problems.push(Problem::behind(manifest, &path, error));
        }
    }
    problems
}

/// What is wrong with the metadata files that are there.
fn metadata(manifest: &Manifest) -> Vec<Problem> {
    let problems = manifest.stages.iter().filter_map(|stage| {
        let StageConfig::Merge(merge) = &stage.config else { return None };
        let file = manifest.resolve(merge.in_json.as_ref()?);
        let error = file.exists().then(|| dataset::InJson::read(&file))?.err()?;
        Some(Problem::behind(manifest, &format!("stages.{}.in_json", stage.name), error))
    });
    problems.collect()
}

/// Looks into every weight file that is there and that a stage for which `asked` holds uses: can it
/// be read, and is it of the right network?
pub(super) fn networks(manifest: &Manifest, asked: impl Fn(&str) -> bool) -> Vec<Problem> {
    let used = |role: &str| {
        let stages = manifest.stages.iter().filter(|stage| asked(&stage.name));
        stages.into_iter().any(|stage| uses(stage, role))
    };
    let files = manifest.models.all().into_iter().filter(|(role, _)| used(role));
    let files = files.filter_map(|(role, path)| Some((role, manifest.resolve(path?))));
    let files = files.filter(|(_, path)| path.exists());
    let problems = files.filter_map(|(role, path)| {
        let error = network(role, &path).err()?;
        Some(Problem::behind(manifest, &format!("models.{role}"), error))
    });
    problems.collect()
}

/// The device of the manifest, where a stage for which `asked` holds runs a network on it.
pub(super) fn device(manifest: &Manifest, asked: impl Fn(&str) -> bool) -> Option<Problem> {
    let uses_it = |stage: &StageDecl| !stage.config.kind().models().is_empty();
    let mut stages = manifest.stages.iter().filter(|stage| uses_it(stage));
    if !stages.any(|stage| asked(&stage.name)) {
        return None;
    }
    let error = device::choose(&manifest.project.device).err()?;
    Some(Problem::behind(manifest, "project.device", error))
}

/// What trainings for which `asked` holds ask of a transformer that is there, and that it cannot obey.
pub(super) fn trainings(manifest: &Manifest, asked: impl Fn(&str) -> bool) -> Vec<Problem> {
    let Some(flux) = &manifest.models.flux else { return Vec::new() };
    let flux = manifest.resolve(flux);
    let mut problems = Vec::new();
    for stage in manifest.stages.iter().filter(|stage| asked(&stage.name)) {
        let StageConfig::Finetune(config) = &stage.config else { continue };
        for error in stages::refused(config, &flux) {
            let field = error.setting().map_or_else(String::new, |name| format!(".{name}"));
            let path = format!("stages.{}{field}", stage.name);
            problems.push(Problem::behind(manifest, &path, error));
        }
    }
    problems
}

/// The notes of the stages that have work, or of all. How much memory a training needs is known with its
/// pictures; where the manifest allows it less, that is told at its line.
pub(super) fn add_notes(plan: &mut Plan, project: &Project, all: bool) -> miette::Result<()> {
    pipeline::add_notes(plan, &project.graph, &project.store, all)
        .map_err(|error| super::costs::at_its_line(project, error))
}

fn uses(stage: &StageDecl, role: &str) -> bool {
    stage.config.kind().models().contains(&role)
}

pub(super) fn network(role: &'static str, path: &Path) -> Result<(), CliError> {
    if role == "tagger" {
        let graph = Graph::open(&Tagger::graph_path(path))?;
        let table = TagTable::read(&TagTable::beside(graph.path())).map_err(TaggerError::from)?;
        Signature::of(&graph, &table)?;
        return Ok(());
    }
    let found = identity::networks(&Checkpoint::open(path)?);
    if found.iter().any(|network| network.role == role && network.refused.is_none()) {
        return Ok(());
    }
    let named = |network: &identity::Network| match network.refused {
        Some(reason) if network.role == role => format!("a {}, {reason}", network.name),
        _ => format!("a {}", network.name),
    };
    let found = match &found[..] {
        [] => "no network that fluxpipe knows".to_owned(),
        found => found.iter().map(named).collect::<Vec<_>>().join(" and "),
    };
    Err(CliError::WrongNetwork { role, path: path.to_owned(), found })
}
