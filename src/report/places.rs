//! Where a person finds what a key part comes from: a line of the manifest, a file, a stage.

use std::path::{Path, PathBuf};

use crate::{manifest::Source, pipeline::Origin};

/// What is needed to name places.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The manifest.
    pub manifest: &'a Source,
    /// Dotted paths that the command line set.
    pub set: &'a [(String, String)],
}

impl Places<'_> {
    /// The manifest's name without its folders.
    #[must_use]
    pub fn manifest_name(&self) -> String {
        let name = self.manifest.path.file_name().unwrap_or(self.manifest.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// A path as short as it can be said: relative to the manifest's folder where it lies in it.
    #[must_use]
    pub fn short(&self, path: &Path) -> String {
        let folder = self.manifest.folder();
        let inside = path.strip_prefix(folder).ok().map(Path::to_path_buf);
        // The engine may hand out full paths where the command line was relative.
        let full = || -> Option<PathBuf> {
            let folder = std::path::absolute(folder).ok()?;
            Some(path.strip_prefix(folder).ok()?.to_path_buf())
        };
        inside.or_else(full).unwrap_or_else(|| path.to_owned()).display().to_string()
    }

    /// `project.toml:12`, `--set`, `a default`, `pictures/a.caption`, `label`.
    #[must_use]
    pub fn of(&self, origin: &Origin) -> String {
        match origin {
            Origin::Manifest { path, .. } if self.was_set(path) => "--set".to_owned(),
            Origin::Manifest { span: Some(span), .. } => {
                format!("{}:{}", self.manifest_name(), self.manifest.line(span.start))
            }
            Origin::Manifest { span: None, .. } => "a default".to_owned(),
            Origin::File(path) | Origin::Model(path) => self.short(path),
            Origin::Code(_) => "fluxpipe itself".to_owned(),
            Origin::Upstream { stage, .. } => stage.clone(),
        }
    }

    /// Whether the command line set this value.
    pub(super) fn was_set(&self, path: &str) -> bool {
        self.set.iter().any(|(set, _)| set == path)
    }
}
