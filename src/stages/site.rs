//! What all stages of a project share: the manifest, the samples, the store; and how their key parts
//! are named.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use miette::Diagnostic;

use super::batches::Job;
use crate::{
    base::Digest,
    dataset::{self, DatasetError, PictureFile},
    device,
    manifest::{Dataset, Manifest, ManifestErrors, Params},
    pipeline::{Cost, GraphError, KeyPart, Origin, StageError, Store, StoreError},
    weights::Checkpoint,
};

/// One picture of a dataset with what is known of it before any work.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Path within its dataset, with forward slashes; `1/…` and so on from the second dataset on, and
    /// `1//…` where an earlier dataset has a folder `1`. It names the sample to people, is the only one of
    /// its name, and is in no key.
    pub id: String,
    /// The picture.
    pub file: PictureFile,
    /// Digest of the picture's bytes: what the sample is.
    pub digest: Digest,
    /// Index of its `[[dataset]]`.
    pub dataset: usize,
    /// Where its sidecars lie, if not beside it.
    pub(super) sidecars: Option<PathBuf>,
}

impl Sample {
    /// The sidecar with this extension (`.caption`).
    ///
    /// # Errors
    /// The extension is one that pictures have, or none.
    pub fn sidecar(&self, extension: &str) -> Result<PathBuf, DatasetError> {
        dataset::sidecar_path(&self.file, self.sidecars.as_deref(), extension)
    }
}

/// What all stages of one project share.
pub struct Site {
    /// What the user wrote.
    pub manifest: Manifest,
    /// Every picture, sorted by dataset and path.
    pub samples: Vec<Sample>,
    /// The store.
    pub store: Arc<Store>,
    /// The folder that the manifest is in; relative paths start here.
    pub folder: PathBuf,
    /// `auto`, `cpu`, `cuda`, `cuda:1`.
    pub device: String,
}

impl Site {
    /// `path` as seen from the manifest.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The folder for everything that is written for people.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.resolve(&self.manifest.project.output)
    }

    /// The place of a manifest value, for a key part.
    #[must_use]
    pub fn origin(&self, path: String) -> Origin {
        let span = self.manifest.spans.get(&path);
        Origin::Manifest { path, span }
    }

    /// Key parts for every parameter of a table (`stages.label`) that can change an output.
    pub fn parameters<P: Params>(&self, table: &str, params: &P) -> Vec<KeyPart> {
        let part = |(name, value): (String, crate::base::Value)| {
            // A default that follows another field is found where that one is written.
            let other = P::STANDS_FOR.iter().find(|(field, _)| *field == name);
            let mut origin = self.origin(format!("{table}.{name}"));
            if let (Some((_, other)), false) = (other, params.states(&name)) {
                origin = self.origin(format!("{table}.{other}"));
            }
            KeyPart::new(name, value, origin)
        };
        params.key_values().into_iter().map(part).collect()
    }

    /// A key part for a file of weights or tags: the digest of its bytes; of a folder of shards, that of
    /// their digests.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn model(&self, name: &str, path: &Path) -> Result<KeyPart, StageError> {
        let digest = self.digest_of(&Checkpoint::files(path)?)?;
        Ok(KeyPart::new(name, digest, Origin::Model(path.to_owned())))
    }

    /// The digest of one file's bytes; of several files, that of their digests.
    ///
    /// # Errors
    /// One cannot be read.
    pub(super) fn digest_of(&self, files: &[PathBuf]) -> Result<Digest, StoreError> {
        let digests = files.iter().map(|file| self.store.digest_file(file));
        Ok(match digests.collect::<Result<Vec<_>, _>>()?[..] {
            [one] => one,
            ref all => {
                Digest::of(&all.iter().flat_map(Digest::as_bytes).copied().collect::<Vec<_>>())
            }
        })
    }

    /// A key part for the algorithm itself. `version` is raised by hand whenever outputs change, with
    /// the reason.
    #[must_use]
    pub fn algorithm(version: i64, reason: &str) -> KeyPart {
        let value = crate::base::Value::Int(version);
        KeyPart::new("algorithm", value, Origin::Code(reason.to_owned()))
    }

    /// The cost with so many bytes of memory, if they are known: of the host where it computes, else of
    /// the device.
    pub(super) fn with_memory(&self, cost: Cost, bytes: Option<u64>) -> Cost {
        match device::choose(&self.device).is_ok_and(|chosen| device::is_cpu(&chosen.device)) {
            true => Cost { host_memory: bytes, ..cost },
            false => Cost { device_memory: bytes, ..cost },
        }
    }

    /// Key parts for what a network sees of a sample's picture: its bytes, and whether it is turned
    /// upright, where it is not.
    #[must_use]
    pub fn picture_parts(&self, sample: &Sample) -> Vec<KeyPart> {
        let file = Origin::File(sample.file.path.clone());
        let mut parts = vec![KeyPart::new("picture", sample.digest, file)];
        if !self.dataset(sample).exif_orientation {
            let origin = self.origin(format!("dataset.{}.exif_orientation", sample.dataset));
            parts.push(KeyPart::new("exif_orientation", crate::base::Value::Bool(false), origin));
        }
        parts
    }

    /// How a sample's picture is read.
    pub(super) fn job<'a>(&self, sample: &'a Sample) -> Job<'a> {
        Job { path: &sample.file.path, upright: self.dataset(sample).exif_orientation }
    }

    /// The dataset of a sample.
    #[must_use]
    pub fn dataset(&self, sample: &Sample) -> &Dataset {
        &self.manifest.dataset[sample.dataset]
    }
}

/// Why a project cannot be opened.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ProjectError {
    /// A folder of pictures.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Dataset(#[from] DatasetError),
    /// A picture cannot be read to know its digest, or the store not be opened.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] crate::pipeline::StoreError),
    /// A file of prompts.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Prompts(#[from] super::prompts::PromptsError),
    /// The stages do not form a graph.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Graph(#[from] GraphError),
    /// A value of the manifest cannot be as it is.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Manifest(#[from] ManifestErrors),
    /// The manifest lacks a model that a stage needs.
    #[error("`stages.{stage}` needs `{model}` in [models]")]
    #[diagnostic(code(fluxpipe::project::model), help("add `{model} = \"path\"` to [models]"))]
    Model {
        /// Name of the stage.
        stage: String,
        /// Key in `[models]`.
        model: &'static str,
    },
}

/// The path of a network that `stage` needs.
pub(super) fn needed(
    site: &Site,
    stage: &str,
    model: &'static str,
    path: Option<&PathBuf>,
) -> Result<PathBuf, ProjectError> {
    match path {
        Some(path) => Ok(site.resolve(path)),
        None => Err(ProjectError::Model { stage: stage.to_owned(), model }),
    }
}
