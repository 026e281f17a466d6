//! The newest checkpoint that a training has published.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::ENDING;
use crate::{
    base::disk,
    manifest::{Manifest, StageConfig},
};

/// A checkpoint among the files for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The file.
    pub path: PathBuf,
    /// Name of the stage.
    pub stage: String,
    /// The epochs behind it, where its name says so.
    pub epoch: Option<usize>,
    /// The steps behind it, where its name says so.
    pub step: Option<usize>,
}

/// The checkpoint of the first finetune stage that was published last; averages are passed over. `None`
/// where there is none yet, or no such stage.
#[must_use]
pub fn newest(manifest: &Manifest) -> Option<Published> {
    let mut stages = manifest.stages.iter();
    let (stage, config) = stages.find_map(|stage| match &stage.config {
        StageConfig::Finetune(config) => Some((&stage.name, config)),
        _ => None,
    })?;
    let name = config.output_name.as_deref().unwrap_or(&manifest.project.name);
    let entries = disk::list(&manifest.output()).into_iter().flatten().flatten();
    let of_training = entries.filter_map(|entry| {
        let published = published(&entry.path(), name, stage)?;
        let time = entry.metadata().and_then(|metadata| metadata.modified());
        Some((time.unwrap_or(SystemTime::UNIX_EPOCH), published))
    });
    // Of two that were published together, the result.
    let newest =
        of_training.max_by_key(|(time, it)| (*time, it.epoch.is_none() && it.step.is_none()));
    newest.map(|(_, published)| published)
}

/// What the file is, if it is called like a checkpoint of this training.
fn published(path: &Path, name: &str, stage: &str) -> Option<Published> {
    let file = path.file_name()?.to_str()?;
    let suffix = file.strip_prefix(name)?.strip_suffix(ENDING)?;
    let number = |digits: &str| digits.parse::<usize>().ok();
    let (epoch, step) = match (suffix, suffix.strip_prefix("-step"), suffix.strip_prefix('-')) {
        ("", ..) => (None, None),
        (_, Some(digits), _) => (None, Some(number(digits)?)),
        (_, _, Some(digits)) => (Some(number(digits)?), None),
        _ => return None,
    };
    Some(Published { path: path.to_owned(), stage: stage.to_owned(), epoch, step })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_epochs_and_steps() {
        let of = |file: &str| {
            published(Path::new(file), "cats", "finetune").map(|found| (found.epoch, found.step))
        };
        assert_eq!(of("cats.safetensors"), Some((None, None)));
        assert_eq!(of("cats-000003.safetensors"), Some((Some(3), None)));
        assert_eq!(of("cats-step00000500.safetensors"), Some((None, Some(500))));
        for other in ["cats-ema.safetensors", "catsuit.safetensors", "cats.txt", "dogs.safetensors"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
