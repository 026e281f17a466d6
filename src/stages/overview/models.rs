//! Which networks the stages use: their files, and what these are.

use std::path::PathBuf;

use crate::{base::Digest, stages::Site, weights::Checkpoint};

/// A network that a stage uses.
#[derive(Debug)]
pub struct Model {
    /// Its name in `[models]`.
    pub name: &'static str,
    /// Its file or folder, as the manifest names it.
    pub path: PathBuf,
    /// Bytes of its files; 0 where they are not there.
    pub bytes: u64,
    /// Digest of its file, or of the digests of its files; `None` where they cannot be read.
    pub digest: Option<Digest>,
}

/// Those that the stages of the manifest use. Digests are those that the stages asked for before, so that
/// no large file is read again.
pub fn models(site: &Site) -> Vec<Model> {
    let kinds = site.manifest.stages.iter().map(|stage| stage.config.kind());
    let used = kinds.flat_map(|kind| kind.models()).collect::<Vec<_>>();
    let all = site.manifest.models.all().into_iter();
    let all = all.filter(|(name, _)| used.contains(&name));
    let model = |(name, path): (&'static str, Option<&PathBuf>)| {
        let path = path?;
        let mut file = site.resolve(path);
        // A tagger is named by its folder, beside its graph lies the list of its tags.
        if file.join("model.onnx").is_file() {
            file = file.join("model.onnx");
        }
        let files = Checkpoint::files(&file).unwrap_or_default();
        let bytes = files.iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len()));
        let bytes = bytes.sum();
        let digest = if files.is_empty() { None } else { site.digest_of(&files).ok() };
        Some(Model { name, path: path.clone(), bytes, digest })
    };
    all.filter_map(model).collect()
}
