//! From a manifest's path to everything that the commands work on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    device,
    manifest::{Manifest, OnBadImage},
    pipeline::{Graph, Request, RunOptions, Store},
    report::Places,
    stages::{self, Site},
};

/// A manifest, opened.
pub struct Project {
    /// What the user wrote.
    pub manifest: Manifest,
    /// What the command line set instead.
    pub set: Vec<(String, String)>,
    /// What was made before.
    pub store: Arc<Store>,
    /// The samples of the datasets.
    pub site: Arc<Site>,
    /// The stages.
    pub graph: Graph,
}

/// The folder of the store inside the output folder.
pub(super) const STORE: &str = "store";

/// What a manifest is called where only its folder is named.
pub(super) const USUAL_NAME: &str = "project.toml";

/// Reads the manifest, with `set` instead of what it says, and makes its stages ready. No network is
/// loaded and no device opened.
///
/// # Errors
/// The manifest is wrong, a file that it names is not there, or the store cannot be opened.
pub fn open(path: &Path, set: &[(String, String)]) -> miette::Result<Project> {
    let manifest = read(path, set)?;
    manifest.check_files()?;
    Project::of(manifest, set)
}

/// Reads the manifest alone.
pub(super) fn read(path: &Path, set: &[(String, String)]) -> miette::Result<Manifest> {
    let path = if path.is_dir() { path.join(USUAL_NAME) } else { path.to_owned() };
    Ok(Manifest::read_with_overrides(&path, set)?)
}

impl Project {
    /// The stages of a manifest whose files are there; `set` is what the command line said.
    pub(super) fn of(manifest: Manifest, set: &[(String, String)]) -> miette::Result<Self> {
        let output = manifest.output();
        Self::beside(manifest, set, &output)
    }

    /// The same with the store of another output folder.
    pub(super) fn beside(
        manifest: Manifest,
        set: &[(String, String)],
        output: &Path,
    ) -> miette::Result<Self> {
        let mut store = Store::open(&output.join(STORE))?;
        if let Some(shared) = &manifest.store.shared {
            store = store.with_shared(&manifest.resolve(shared))?;
        }
        let store = Arc::new(store);
        let site = stages::site(&manifest, &store)?;
        let graph = stages::build(&site)?;
        Ok(Self { manifest, set: set.to_vec(), store, site, graph })
    }

    /// What a run is asked with, for its record.
    pub(super) fn asked(&self) -> Request {
        Request {
            path: self.manifest.source.path.clone(),
            text: Arc::clone(&self.manifest.source.text),
            set: self.set.iter().map(|(path, value)| format!("{path}={value}")).collect(),
        }
    }

    /// For naming places in reports.
    #[must_use]
    pub fn places(&self) -> Places<'_> {
        Places { manifest: &self.manifest.source, set: &self.set }
    }
}

/// The manifest, and what the command line says instead of it.
#[derive(Debug, clap::Args)]
pub(super) struct ManifestArgs {
    /// The manifest, or a folder with a project.toml
    pub manifest: PathBuf,

    /// Use VALUE (as in TOML) for one setting, as in stages.finetune.learning_rate=1e-4
    #[arg(long, value_name = "PATH=VALUE", value_parser = path_and_value)]
    pub set: Vec<(String, String)>,
}

pub(super) fn path_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => {
            Ok((path.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write it as PATH=VALUE, such as stages.label.num_beams=4".to_owned()),
    }
}

impl ManifestArgs {
    pub(super) fn open(&self) -> miette::Result<Project> {
        open(&self.manifest, &self.set)
    }

    /// The project with another manifest in the place of its own.
    pub(super) fn open_with(&self, other: &Path) -> miette::Result<Project> {
        let own = read(&self.manifest, &[])?;
        let other = read(other, &self.set)?.in_place_of(&own.source.path);
        other.check_files()?;
        Project::beside(other, &self.set, &own.output())
    }

    pub(super) fn read(&self) -> miette::Result<Manifest> {
        read(&self.manifest, &self.set)
    }
}

/// Which stages a command is about.
#[derive(Debug, clap::Args)]
pub(super) struct SelectionArgs {
    /// Only this stage; may be given several times
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,

    /// This stage and all that need it
    #[arg(long, value_name = "STAGE", conflicts_with = "only")]
    from: Option<String>,

    /// This stage and all that it needs
    #[arg(long, value_name = "STAGE", conflicts_with = "only")]
    until: Option<String>,

    /// Run every item of this stage, made before or not; may be given several times
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
}

impl SelectionArgs {
    pub(super) fn options(self, manifest: &Manifest) -> RunOptions {
        RunOptions {
            only: self.only,
            from: self.from,
            until: self.until,
            force: self.force,
            keep_going: false,
            device: device_title(manifest),
            preflight: false,
            asked: None,
            fail_fast: manifest.project.on_bad_image == OnBadImage::Fail,
        }
    }
}

/// What the manifest's device calls itself; nothing of one that cannot be used, which is told elsewhere.
pub(super) fn device_title(manifest: &Manifest) -> String {
    let chosen = device::choose(&manifest.project.device);
    chosen.map(|chosen| device::title(&chosen)).unwrap_or_default()
}
