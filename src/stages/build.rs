//! From the manifest to a graph of stages over the samples of the datasets.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use super::{
    ProjectError, Sample, Site,
    cache::Cache,
    finetune::Finetune,
    label::Label,
    merge::Merge,
    prompts::{self, Encode, Prompts},
    sample::{Sample as Drawn, Side},
    tag::{Tag, probabilities::Probabilities},
};
use crate::{
    dataset::{self, DatasetError, PictureFile},
    manifest::{Asked, Dataset, Manifest, Samples, StageConfig, StageDecl},
    pipeline::{Graph, Node, Stage, Store},
};

/// Scans the datasets.
///
/// # Errors
/// A folder of pictures is missing or empty, or two pictures would share a sidecar.
pub fn site(manifest: &Manifest, store: &Arc<Store>) -> Result<Arc<Site>, ProjectError> {
    let folder = manifest.source.folder().to_owned();
    // What is remembered is read while the folders are: each takes a third of a second for 100 000 pictures.
    let (files, loaded) = rayon::join(
        || manifest.dataset.iter().map(|dataset| scanned(dataset, &folder)).collect::<Vec<_>>(),
        || store.load_digests(),
    );
    let mut samples = Vec::new();
    for ((index, dataset), files) in manifest.dataset.iter().enumerate().zip(files) {
        let sidecars = dataset.sidecars.as_ref().map(|sidecars| folder.join(sidecars));
        add_samples(index, files?, sidecars.as_ref(), store, &mut samples)?;
    }
    loaded?;
    refuse_shared_sidecars(manifest, &samples)?;
    let (manifest, store) = (manifest.clone(), store.clone());
    let device = manifest.project.device.clone();
    Ok(Arc::new(Site { manifest, samples, store, folder, device }))
}

/// Builds the graph of stages.
///
/// # Errors
/// A stage lacks a model, or the stages do not form a graph.
pub fn build(site: &Arc<Site>) -> Result<Graph, ProjectError> {
    let mut nodes = Vec::new();
    for stage in &site.manifest.stages {
        let name = stage.name.clone();
        let mut needs = stage.needs.clone();
        if let StageConfig::Tag(config) = &stage.config {
            let step = Box::new(Probabilities::new(site, &name, config)?);
            let name = Probabilities::name(&name);
            nodes.push(Node { name: name.clone(), needs: Vec::new(), stage: step });
            needs.push(name);
        }
        let built: Box<dyn Stage> = match &stage.config {
            StageConfig::Label(config) => Box::new(Label::new(site, &name, config)?),
            StageConfig::Tag(config) => Box::new(Tag::new(site, &name, config)?),
            StageConfig::Merge(config) => Box::new(Merge::new(site, &name, config)),
            StageConfig::Cache(config) => Box::new(Cache::new(site, &name, config)?),
            StageConfig::Finetune(config) => {
                let samples = config.samples.as_ref().map(Samples::asked);
                let prompts = samples.map(|asked| {
                    let table = format!("stages.{name}.samples");
                    encoded(site, stage, &table, &asked, &mut needs, &mut nodes)
                });
                Box::new(Finetune::new(site, &name, config, prompts.transpose()?)?)
            }
            StageConfig::Sample(config) => {
                let table = format!("stages.{name}");
                let prompts =
                    encoded(site, stage, &table, &config.asked(), &mut needs, &mut nodes)?;
                if config.compare {
                    let step = Box::new(Drawn::new(site, &name, &prompts, Side::Before)?);
                    let of = vec![Encode::name(&name)];
                    let name = Drawn::before(&name);
                    nodes.push(Node { name: name.clone(), needs: of, stage: step });
                    needs.push(name);
                }
                Box::new(Drawn::new(site, &name, &prompts, Side::After)?)
            }
        };
        nodes.push(Node { name, needs, stage: built });
    }
    Ok(Graph::new(nodes)?)
}

/// The prompts of a table of `stage`, whose texts are encoded in a step that the stage needs.
fn encoded(
    site: &Arc<Site>,
    stage: &StageDecl,
    table: &str,
    asked: &Asked<'_>,
    needs: &mut Vec<String>,
    nodes: &mut Vec<Node>,
) -> Result<Prompts, ProjectError> {
    let prompts = Prompts::of(site, table, asked)?;
    if let Some(cache) = prompts::cache_of(site, stage)? {
        let name = Encode::name(&stage.name);
        let step = Box::new(Encode::new(site, cache, prompts.clone()));
        nodes.push(Node { name: name.clone(), needs: Vec::new(), stage: step });
        needs.push(name);
    }
    Ok(prompts)
}

fn scanned(dataset: &Dataset, folder: &Path) -> Result<Vec<PictureFile>, DatasetError> {
    dataset::scan(&folder.join(&dataset.image_dir), dataset.recursive)
}

fn add_samples(
    index: usize,
    files: Vec<PictureFile>,
    sidecars: Option<&PathBuf>,
    store: &Store,
    samples: &mut Vec<Sample>,
) -> Result<(), ProjectError> {
    let prefix = prefix(index, samples);
    // A picture that was read before costs a look at its time and size; a new one is read whole.
    let added = files.into_par_iter().map(|file| {
        let digest = store.digest_file(&file.path)?;
        let id = format!("{prefix}{}", file.relative);
        Ok(Sample { id, file, digest, dataset: index, sidecars: sidecars.cloned() })
    });
    let added = added.collect::<Vec<Result<_, ProjectError>>>();
    samples.reserve(added.len());
    // The first picture that cannot be read is told, not whichever came first.
    for sample in added {
        samples.push(sample?);
    }
    Ok(())
}

/// What the names of a dataset's pictures begin with: `1/` in the second one, and `1//` where a folder
/// of a dataset before is called so. No path has two slashes in a row, so no two names are equal.
fn prefix(index: usize, before: &[Sample]) -> String {
    let plain = if index == 0 { String::new() } else { format!("{index}/") };
    match index > 0 && before.iter().any(|sample| sample.id.starts_with(&plain)) {
        true => plain + "/",
        false => plain,
    }
}

/// Two datasets may lead to one picture, but not two pictures to one sidecar.
fn refuse_shared_sidecars(manifest: &Manifest, samples: &[Sample]) -> Result<(), DatasetError> {
    // Those of one dataset were looked at when they were found.
    if manifest.dataset.len() < 2 {
        return Ok(());
    }
    // One folder may be named in several ways, so folders are looked up, once for each dataset.
    let folder = |dataset: &Dataset| {
        let folder = dataset.sidecars.as_ref().unwrap_or(&dataset.image_dir);
        resolved(&manifest.resolve(folder))
    };
    let folders = manifest.dataset.iter().map(folder).collect::<Vec<_>>();
    dataset::refuse_shared_sidecars(samples.iter().map(|sample| {
        (sample.file.path.as_path(), folders[sample.dataset].join(&sample.file.relative))
    }))
}

/// `path` without links and `..`, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            resolved(parent).join(name)
        }
        _ => path.to_owned(),
    }
}
