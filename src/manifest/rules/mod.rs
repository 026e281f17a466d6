//! Rules that a schema cannot say: what holds between values, and what texts must look like. Here is what
//! all rules have in common; those of the tables stand beside.

mod across;
mod dataset;
mod finetune;
mod prompts;
mod stages;

use std::path::Path;

pub(super) use across::{
    cache_seed_draws, captions_by_hand, merge_seed_draws, models_are_named, regularisation,
    removed_tags, sidecars_differ,
};

use super::{
    Project, StageConfig,
    check::Check,
    error::{ManifestError, Mistake},
    source::Place,
};

/// The rules of one table. A rule that reads a value already reported says nothing.
pub(super) struct Rules<'a> {
    pub(super) check: &'a mut Check,
    /// Dotted path of the table.
    pub(super) path: String,
    /// Where the table stands.
    pub(super) place: Place,
}

impl Rules<'_> {
    fn of(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    /// Whether the manifest states the field.
    pub(super) fn states(&self, field: &str) -> bool {
        self.check.places.get(&self.of(field)).is_some()
    }

    /// Reports a mistake that lies in these fields; those that are stated are pointed at, else the
    /// table is.
    fn broken(&mut self, fields: &[&str], labels: &[&str], mistake: Mistake) {
        if fields.iter().any(|field| self.check.is_bad(&self.of(field))) {
            return;
        }
        let stated: Vec<(Place, &str)> = fields
            .iter()
            .zip(labels)
            .filter_map(|(field, label)| {
                Some((self.check.places.get(&self.of(field))?.clone(), *label))
            })
            .collect();
        let error = match stated.split_first() {
            None => ManifestError::at(&self.place, "in this table", mistake),
            Some(((first, label), rest)) => {
                let error = ManifestError::at(first, *label, mistake);
                rest.iter().fold(error, |error, (place, label)| error.and_at(place, *label))
            }
        };
        self.check.errors.push(error);
    }

    fn out_of_range(&mut self, field: &str, rule: &str, help: &str) {
        let label = format!("must be {rule}");
        let (path, rule, help) = (self.of(field), rule.to_owned(), help.to_owned());
        self.broken(&[field], &[&label], Mistake::OutOfRange { path, rule, help });
    }

    pub(super) fn no_effect(&mut self, field: &str, because: &str, reason: &str) {
        let help = format!("take `{field}` out, or change `{because}`");
        let mistake = Mistake::NoEffect { path: self.of(field), reason: reason.to_owned(), help };
        self.broken(&[field, because], &["has no effect", "because of this"], mistake);
    }

    pub(super) fn project(&mut self, project: &Project) {
        if !is_device(&project.device) {
            let help = "\"auto\" takes the first CUDA device, else the CPU; \"cuda:1\" the second";
            self.out_of_range("device", "\"auto\", \"cpu\", \"cuda\" or \"cuda:N\"", help);
        }
        if !project.name.is_empty() {
            self.file_name("name", &project.name);
        }
    }

    pub(super) fn stage(&mut self, config: &StageConfig) {
        match config {
            StageConfig::Label(label) => self.label(label),
            StageConfig::Tag(tag) => self.tag(tag),
            StageConfig::Merge(merge) => self.merge(merge),
            StageConfig::Cache(cache) => self.cache(cache),
            StageConfig::Finetune(finetune) => self.finetune(finetune),
            StageConfig::Sample(sample) => self.prompts("", &sample.asked()),
        }
    }

    fn file_name(&mut self, field: &str, name: &str) {
        let plain = Path::new(name).file_name().is_some_and(|file| file == name);
        if !plain || name.contains(['/', '\\', ':']) {
            let help = "saved models are called by it; where they lie is `output` in [project]";
            self.out_of_range(field, "a plain name without / \\ and :", help);
        }
    }
}

/// `auto`, `cpu`, `cuda` or `cuda:N`.
fn is_device(device: &str) -> bool {
    match device.strip_prefix("cuda:") {
        Some(index) => !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()),
        None => ["auto", "cpu", "cuda"].contains(&device),
    }
}
