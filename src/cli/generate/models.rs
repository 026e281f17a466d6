//! Which files draw: those of the command line, else those of a manifest.

use std::path::{Path, PathBuf};

use super::{
    super::{CliError, check, project},
    Generate,
};
use crate::{
    manifest::{self, Manifest, StageConfig},
    stages::{PublishedCheckpoint, newest_checkpoint},
};

/// The files, and what the manifest says of them.
pub(super) struct Models {
    pub ae: PathBuf,
    pub clip_l: PathBuf,
    pub t5xxl: PathBuf,
    /// The transformer that draws.
    pub flux: PathBuf,
    /// The one before, where both are compared.
    pub before: Option<PathBuf>,
    /// What is known of `flux`, where it is the newest checkpoint.
    pub checkpoint: Option<PublishedCheckpoint>,
    /// How texts are encoded.
    pub cache: manifest::Cache,
    pub device: String,
    pub out: PathBuf,
}

impl Models {
    /// # Errors
    /// The manifest is wrong, a file is not named or not there, or holds another network.
    pub fn of(command: &Generate) -> miette::Result<Self> {
        let manifest = command.manifest.as_deref().map(|path| project::read(path, &command.set));
        let manifest = manifest.transpose()?;
        let manifest = manifest.as_ref();
        let named = |role: &'static str, option: &Option<PathBuf>| -> Result<PathBuf, CliError> {
            let path = option.clone().or_else(|| from_manifest(manifest?, role));
            path.ok_or(CliError::NoModel { role })
        };
        let base = named("flux", &command.flux);
        let checkpoint = match (&command.checkpoint, manifest) {
            (None, Some(manifest)) => Some(published(manifest)?),
            _ => None,
        };
        let after = command.checkpoint.clone();
        let after = after.or_else(|| checkpoint.as_ref().map(|checkpoint| checkpoint.path.clone()));
        let before = match (command.compare, &after) {
            (true, None) => return Err(CliError::NoComparison.into()),
            (true, Some(_)) => Some(named("flux", &command.flux)?),
            (false, _) => None,
        };
        let flux = match after {
            Some(after) => after,
            None => base?,
        };
        let models = Self {
            ae: named("ae", &command.ae)?,
            clip_l: named("clip_l", &command.clip_l)?,
            t5xxl: named("t5xxl", &command.t5xxl)?,
            flux,
            before,
            checkpoint,
            cache: manifest.and_then(cache).unwrap_or_default(),
            device: device(command, manifest),
            out: match (&command.out, manifest) {
                (Some(out), _) => out.clone(),
                (None, Some(manifest)) => manifest.output().join("generated"),
                // clap asks for one of both.
                (None, None) => PathBuf::new(),
            },
        };
        models.check()?;
        Ok(models)
    }

    /// Every file is there and holds its network. All headers are read before any work.
    fn check(&self) -> Result<(), CliError> {
        let all = [
            ("ae", &self.ae),
            ("clip_l", &self.clip_l),
            ("t5xxl", &self.t5xxl),
            ("flux", &self.flux),
        ];
        for (role, path) in all.into_iter().chain(self.before.as_ref().map(|path| ("flux", path))) {
            if !path.exists() {
                return Err(CliError::NoFile { path: path.clone() });
            }
            check::network(role, path).map_err(|error| match error {
                CliError::WrongNetwork { role, path, found } => {
                    CliError::WrongFile { role, path, found }
                }
                other => other,
            })?;
        }
        Ok(())
    }
}

fn from_manifest(manifest: &Manifest, role: &str) -> Option<PathBuf> {
    let all = manifest.models.all();
    let path: &Path = all.iter().find(|(name, _)| *name == role)?.1?;
    Some(manifest.resolve(path))
}

/// The newest checkpoint of the finetune stage.
fn published(manifest: &Manifest) -> Result<PublishedCheckpoint, CliError> {
    newest_checkpoint(manifest).ok_or_else(|| CliError::NoCheckpoint { folder: manifest.output() })
}

/// The stage that encodes captions, whose settings count for prompts too.
fn cache(manifest: &Manifest) -> Option<manifest::Cache> {
    manifest.stages.iter().find_map(|stage| match &stage.config {
        StageConfig::Cache(cache) => Some(cache.clone()),
        _ => None,
    })
}

fn device(command: &Generate, manifest: Option<&Manifest>) -> String {
    let of_manifest = || manifest.map(|manifest| manifest.project.device.clone());
    command.device.clone().or_else(of_manifest).unwrap_or_else(|| "auto".to_owned())
}
