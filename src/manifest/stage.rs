//! `[stages.NAME]`: its kind and the parameters of that kind.

use std::fmt;

use serde::Serialize;

use super::{Cache, Finetune, Label, Merge, Params, Sample, Tag};
use crate::base::Value;

/// A stage as the manifest declares it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageDecl {
    /// Its name: the last part of `[stages.NAME]`.
    pub name: String,
    /// Names of the stages whose outputs it reads, stated or by default.
    pub needs: Vec<String>,
    /// Its kind's parameters.
    pub config: StageConfig,
}

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Captions by BLIP.
    Label,
    /// Tags by a WD tagger.
    Tag,
    /// Captions and tags become training captions.
    Merge,
    /// Latents and text encodings.
    Cache,
    /// Full fine-tuning of FLUX.1.
    Finetune,
    /// Pictures by the trained model.
    Sample,
}

impl Kind {
    /// Every kind, in the order in which a pipeline uses them.
    pub const ALL: [Self; 6] =
        [Self::Label, Self::Tag, Self::Merge, Self::Cache, Self::Finetune, Self::Sample];

    /// The kind as it stands in the manifest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Tag => "tag",
            Self::Merge => "merge",
            Self::Cache => "cache",
            Self::Finetune => "finetune",
            Self::Sample => "sample",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Kinds whose outputs this one reads.
    #[must_use]
    pub fn reads(self) -> &'static [Self] {
        match self {
            Self::Label | Self::Tag => &[],
            Self::Merge => &[Self::Label, Self::Tag],
            Self::Cache => &[Self::Merge],
            Self::Finetune => &[Self::Cache],
            Self::Sample => &[Self::Finetune],
        }
    }

    /// Networks that it uses, by their names in `[models]`.
    #[must_use]
    pub fn models(self) -> &'static [&'static str] {
        match self {
            Self::Label => &["blip"],
            Self::Tag => &["tagger"],
            Self::Merge => &[],
            Self::Cache => &["ae", "clip_l", "t5xxl"],
            Self::Finetune => &["flux"],
            Self::Sample => &["flux", "ae", "clip_l", "t5xxl"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The parameters of a stage, by its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::large_enum_variant, reason = "a manifest has a handful of stages")]
pub enum StageConfig {
    /// Captions by BLIP.
    Label(Label),
    /// Tags by a WD tagger.
    Tag(Tag),
    /// Captions and tags become training captions.
    Merge(Merge),
    /// Latents and text encodings.
    Cache(Cache),
    /// Full fine-tuning of FLUX.1.
    Finetune(Finetune),
    /// Pictures by the trained model.
    Sample(Sample),
}

impl StageConfig {
    /// What the stage does.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Label(_) => Kind::Label,
            Self::Tag(_) => Kind::Tag,
            Self::Merge(_) => Kind::Merge,
            Self::Cache(_) => Kind::Cache,
            Self::Finetune(_) => Kind::Finetune,
            Self::Sample(_) => Kind::Sample,
        }
    }

    /// See [`Params::key_values`].
    #[must_use]
    pub fn key_values(&self) -> Vec<(String, Value)> {
        match self {
            Self::Label(config) => config.key_values(),
            Self::Tag(config) => config.key_values(),
            Self::Merge(config) => config.key_values(),
            Self::Cache(config) => config.key_values(),
            Self::Finetune(config) => config.key_values(),
            Self::Sample(config) => config.key_values(),
        }
    }

    /// See [`Params::STANDS_FOR`].
    #[must_use]
    pub fn stands_for(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Label(_) => Label::STANDS_FOR,
            Self::Tag(_) => Tag::STANDS_FOR,
            Self::Merge(_) => Merge::STANDS_FOR,
            Self::Cache(_) => Cache::STANDS_FOR,
            Self::Finetune(_) => Finetune::STANDS_FOR,
            Self::Sample(_) => Sample::STANDS_FOR,
        }
    }
}
