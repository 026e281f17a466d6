//! Floor 1: what the user wrote. One TOML file becomes typed tables, with the place of every value.
//!
//! Knows nothing else of the program: no stage, no network, no picture. What is wrong with a manifest
//! is found here, all of it at once and each at its place.

mod cache;
mod captions;
mod check;
mod compare;
mod dataset;
mod error;
mod files;
mod finetune;
mod foreign;
mod label;
mod merge;
mod needs;
mod params;
mod project;
pub mod prompts;
mod read;
mod rules;
mod sample;
mod schema;
mod set;
mod source;
mod stage;
mod syntax;
mod tag;
mod tag_list;
mod template;
mod tree;
mod words;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

pub use cache::{Cache, ClipActivation, Dtype, Latent};
pub use compare::{Setting, compare};
pub use dataset::{Aspect, Dataset, ResizeInterpolation, Resolution};
pub use error::{ManifestError, ManifestErrors, Mistake};
pub use finetune::{
    Eps, Finetune, GradientCheckpointing, HuberSchedule, LossType, LrScheduler, Memory,
    ModelPredictionType, OptimizerArgs, OptimizerType, Samples, Steps, TimestepSampling,
    WeightingScheme,
};
pub use foreign::{Foreign, Standing, foreign};
pub use label::{Existing, Label};
pub use merge::Merge;
pub use params::{Params, without};
pub use project::{Models, OnBadImage, Project, StoreSettings};
pub use prompts::Asked;
pub use sample::Sample;
pub use schema::schema;
pub use source::{Source, Spans};
pub use stage::{Kind, StageConfig, StageDecl};
pub use tag::{Order, Tag};
pub use tag_list::{TagList, TagReplacement};
pub use template::template;

/// A manifest without mistakes.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file.
    pub source: Source,
    /// Where its values stand.
    pub spans: Spans,
    /// `[project]`.
    pub project: Project,
    /// `[models]`.
    pub models: Models,
    /// `[store]`.
    pub store: StoreSettings,
    /// `[[dataset]]`, at least one.
    pub dataset: Vec<Dataset>,
    /// `[stages.NAME]` in the order of the file, at least one. `needs` makes no circle.
    pub stages: Vec<StageDecl>,
    /// Where values stand, also those of the command line.
    places: tree::Places,
}

impl Manifest {
    /// The same manifest in the place of the one at `path`: relative paths start at that one's folder.
    #[must_use]
    pub fn in_place_of(mut self, path: &Path) -> Self {
        self.source.in_place_of = Some(path.to_owned());
        self
    }

    /// A path of the manifest as seen from the working directory.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.source.folder().join(path)
    }

    /// Folder of everything that is written.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.resolve(&self.project.output)
    }

    /// The stage of this name.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&StageDecl> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Dotted path of a stage's parameter, and the place that decides it: its own value, or that of
    /// the parameter it follows (`thresh` for `general_threshold`). `None` where both are defaults.
    #[must_use]
    pub fn place(&self, stage: &StageDecl, field: &str) -> (String, Option<Range<usize>>) {
        self.decided(&format!("stages.{}", stage.name), stage.config.stands_for(), field)
    }

    /// The same for a field of `[[dataset]]`, which is counted from 0.
    #[must_use]
    pub fn dataset_place(&self, index: usize, field: &str) -> (String, Option<Range<usize>>) {
        self.decided(&format!("dataset.{index}"), Dataset::STANDS_FOR, field)
    }

    fn decided(
        &self,
        table: &str,
        stands_for: &[(&str, &str)],
        field: &str,
    ) -> (String, Option<Range<usize>>) {
        let followed = stands_for.iter().find(|(name, _)| *name == field).map(|(_, other)| *other);
        for name in [Some(field), followed].into_iter().flatten() {
            let path = format!("{table}.{name}");
            if let Some(span) = self.spans.get(&path) {
                return (path, Some(span));
            }
        }
        (format!("{table}.{field}"), None)
    }
}
