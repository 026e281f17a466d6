//! Whether the files that a manifest names are there. Looks at names only, opens nothing.

use std::path::Path;

use super::{
    Manifest, StageConfig,
    error::{ManifestError, ManifestErrors, Mistake},
};
use crate::base::{did_you_mean, disk};

impl Manifest {
    /// Looks for every folder of pictures and every network that the manifest names.
    ///
    /// # Errors
    /// All that are missing, at once.
    pub fn check_files(&self) -> Result<(), ManifestErrors> {
        let mut errors = Vec::new();
        for (index, dataset) in self.dataset.iter().enumerate() {
            let folder = self.resolve(&dataset.image_dir);
            let path = format!("dataset.{index}.image_dir");
            if !folder.exists() {
                let help = "name the folder that the pictures are in, as seen from the manifest";
                errors.push(self.missing(&path, &folder, help));
            } else if !folder.is_dir() {
                let mistake = Mistake::NotAFolder { file: folder };
                errors.push(self.at(&path, "this is a file", mistake));
            }
        }
        for (name, file) in self.models.all() {
            let Some(file) = file.map(|file| self.resolve(file)) else { continue };
            if !file.exists() {
                let help = "put the file there, or name where it is, as seen from the manifest";
                errors.push(self.missing(&format!("models.{name}"), &file, help));
            }
        }
        if let Some(shared) = self.store.shared.as_ref().map(|shared| self.resolve(shared)) {
            if !shared.is_dir() {
                let help = "make the folder, mount the disk that it is on, or take the line out";
                errors.push(self.missing("store.shared", &shared, help));
            } else if is_same(&shared, &self.output().join("store")) {
                let mistake = Mistake::Conflict {
                    what: "this is the project's own store".to_owned(),
                    help: "name another folder, which other machines see too".to_owned(),
                };
                errors.push(self.at("store.shared", "is its own store", mistake));
            }
        }
        for (path, file) in self.prompts_files() {
            let file = self.resolve(file);
            if !file.is_file() {
                let help = "name where the file of prompts is, as seen from the manifest";
                errors.push(self.missing(&path, &file, help));
            }
        }
        for stage in &self.stages {
            let StageConfig::Merge(merge) = &stage.config else { continue };
            let Some(file) = merge.in_json.as_ref().map(|file| self.resolve(file)) else {
                continue;
            };
            let path = format!("stages.{}.in_json", stage.name);
            if !file.exists() {
                let help = "name where the metadata file is, as seen from the manifest";
                errors.push(self.missing(&path, &file, help));
            } else if is_same(&file, &self.output().join(&merge.out_json)) {
                let mistake = Mistake::Conflict {
                    what:
                        "`in_json` is the file that the stage writes: it would read its own texts"
                            .to_owned(),
                    help: "name another file in `out_json`, or take `in_json` out".to_owned(),
                };
                errors.push(self.at(&path, "is written too", mistake));
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(ManifestErrors::in_order(&self.source, errors))
    }

    /// Every file of prompts with the path of its value.
    fn prompts_files(&self) -> impl Iterator<Item = (String, &Path)> {
        self.stages.iter().filter_map(|stage| {
            let (table, file) = match &stage.config {
                StageConfig::Sample(sample) => ("", sample.prompts_file.as_deref()),
                StageConfig::Finetune(finetune) => {
                    (".samples", finetune.samples.as_ref()?.prompts_file.as_deref())
                }
                _ => return None,
            };
            Some((format!("stages.{}{table}.prompts_file", stage.name), file?))
        })
    }

    fn missing(&self, path: &str, file: &Path, otherwise: &str) -> ManifestError {
        let help = match neighbour(file) {
            Some(near) => format!("did you mean `{near}`, which lies in the same folder?"),
            None => otherwise.to_owned(),
        };
        self.at(path, "not found", Mistake::MissingFile { file: file.to_owned(), help })
    }

    /// A mistake in the values of these paths, each with a few words under it, that only a stage can
    /// see: what a tokenizer makes of a text, for one.
    #[must_use]
    pub fn mistake(&self, values: &[(&str, &str)], mistake: Mistake) -> ManifestErrors {
        let mut stated =
            values.iter().filter_map(|(path, label)| Some((self.places.get(path)?, *label)));
        let error = match stated.next() {
            None => ManifestError::nowhere(mistake),
            Some((place, label)) => stated
                .fold(ManifestError::at(place, label, mistake), |error, (place, label)| {
                    error.and_at(place, label)
                }),
        };
        ManifestErrors::in_order(&self.source, vec![error])
    }

    fn at(&self, path: &str, label: &str, mistake: Mistake) -> ManifestError {
        match self.places.get(path) {
            Some(place) => ManifestError::at(place, label, mistake),
            None => ManifestError::nowhere(mistake),
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    canonical(one).is_some_and(|one| canonical(other) == Some(one))
}

/// A file beside the missing one with nearly its name.
fn neighbour(file: &Path) -> Option<String> {
    let wanted = file.file_stem()?.to_str()?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = disk::list(folder.unwrap_or(Path::new("."))).ok()?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    // Endings are long and alike: only what stands before them tells files apart.
    let stem = |name: &String| {
        Path::new(name).file_stem().and_then(|stem| stem.to_str()).map(str::to_owned)
    };
    let stems: Vec<String> = names.iter().filter_map(stem).collect();
    let near = did_you_mean(wanted, stems.iter().map(String::as_str))?;
    names.iter().find(|name| stem(name).as_deref() == Some(near)).cloned()
}
