//! `[[dataset]]`: a folder of pictures and the sizes they are trained at.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Params;

/// A folder of pictures. Several may be given, also of one folder at several resolutions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["image_dir", "resolution"]))]
pub struct Dataset {
    /// Folder of the pictures, relative to the manifest.
    #[schemars(length(min = 1))]
    pub image_dir: PathBuf,
    /// Whether pictures in folders below `image_dir` belong to it.
    pub recursive: bool,
    /// How often each picture is shown in one epoch.
    #[schemars(range(min = 1))]
    pub num_repeats: u32,
    /// Folder of the sidecar files (captions and tags), relative to the manifest. Where it is not
    /// set they lie beside the pictures.
    #[schemars(length(min = 1))]
    pub sidecars: Option<PathBuf>,
    /// Ending of the captions that people wrote, where no stage `label` makes them. Where it is `.txt`,
    /// these files are captions, and no tags are read from them.
    #[schemars(length(min = 2))]
    pub caption_extension: String,
    /// Whether a picture is turned as its EXIF orientation says. The original trainer takes pixels as
    /// they are stored, whatever the camera noted.
    pub exif_orientation: bool,
    /// Size that pictures are trained at: a side, or `[width, height]`. With buckets it is their
    /// area that counts.
    pub resolution: Resolution,
    /// Whether a picture keeps its proportions: it goes to the bucket that is nearest to them.
    pub enable_bucket: bool,
    /// Shortest side of a bucket.
    #[schemars(range(min = 16))]
    pub min_bucket_reso: u32,
    /// Longest side of a bucket; twice the longer side of `resolution` where it is not set, so that
    /// a wide picture keeps its area.
    #[schemars(range(min = 16))]
    pub max_bucket_reso: Option<u32>,
    /// Sides of a bucket are multiples of this, and this of 16.
    #[schemars(range(min = 16), extend("multipleOf" = 16))]
    pub bucket_reso_steps: u32,
    /// Whether small pictures keep their size.
    pub bucket_no_upscale: bool,
    /// How a picture finds its bucket: `constant_area` takes the nearest proportions on either side
    /// alike; `linear` is the rule of the training scripts, which favours tall buckets.
    pub aspect: Aspect,
    /// How pictures are resized; by area where they shrink and by Lanczos where they grow if not set.
    pub resize_interpolation: Option<ResizeInterpolation>,
    /// Whether a picture is also trained mirrored, half of the times.
    pub flip_aug: bool,
    /// Whether hue or brightness is sometimes changed a little.
    pub color_aug: bool,
    /// Whether the part that is cut off is drawn, rather than even on both sides.
    pub random_crop: bool,
    /// How many crops and colours of a picture are drawn, with `random_crop` or `color_aug`. Each is
    /// encoded once; the training takes them in turns.
    #[schemars(range(min = 1, max = 1000))]
    pub image_variants: u32,
    /// Whether transparent parts of a picture do not count in the loss.
    pub alpha_mask: bool,
    /// Whether these are regularisation pictures: they count as often as all others together, and
    /// their loss is weighed by `prior_loss_weight`.
    pub is_reg: bool,
    /// Share of the pictures that are kept apart, to measure the loss on what is not trained.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub validation_split: f64,
    /// Seed that chooses the pictures of `validation_split`.
    pub validation_seed: u64,
    /// Caption of pictures that have neither caption nor tags.
    #[schemars(length(min = 1))]
    pub class_tokens: Option<String>,
    /// Words before every caption, joined by a space.
    #[schemars(length(min = 1))]
    pub caption_prefix: Option<String>,
    /// Words behind every caption, joined by a space.
    #[schemars(length(min = 1))]
    pub caption_suffix: Option<String>,
    /// What stands between the parts of a caption that are shuffled or dropped.
    #[schemars(length(min = 1))]
    pub caption_separator: String,
    /// What stands for `caption_separator` inside of a part that stays together.
    #[schemars(length(min = 1))]
    pub secondary_separator: Option<String>,
    /// Whether the parts of a caption come in an order that is drawn anew for each variant.
    pub shuffle_caption: bool,
    /// How many parts at the front of a caption stay where they are.
    pub keep_tokens: u32,
    /// What ends the fixed part of a caption, and begins a fixed end: `fixed ||| free ||| fixed`.
    #[schemars(length(min = 1))]
    pub keep_tokens_separator: Option<String>,
    /// Whether `{a|b|c}` in a caption stands for one of the three, and each line of a sidecar is a
    /// caption of its own, one of which is drawn.
    pub enable_wildcard: bool,
    /// Share of the appearances of a picture at which its caption is empty.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub caption_dropout_rate: f64,
    /// In every so manieth epoch all captions are empty; 0 is never.
    pub caption_dropout_every_n_epochs: u32,
    /// Probability with which each free part of a caption is left out.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub caption_tag_dropout_rate: f64,
    /// With how many free parts of a caption the token warm-up begins.
    #[schemars(range(min = 1))]
    pub token_warmup_min: u32,
    /// Share of the training after which all parts of a caption are there; 0 is from the start. A number
    /// of steps cannot be said: when the texts are made, steps are not known yet.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub token_warmup_step: f64,
    /// How many texts are drawn for each picture where something in its caption is drawn. Each is
    /// encoded once; the training takes them in turns.
    #[schemars(range(min = 1, max = 1000))]
    pub caption_variants: u32,
}

impl Default for Dataset {
    fn default() -> Self {
        Self {
            image_dir: PathBuf::new(),
            recursive: false,
            num_repeats: 1,
            sidecars: None,
            caption_extension: ".caption".to_owned(),
            exif_orientation: true,
            resolution: Resolution { width: 1024, height: 1024 },
            enable_bucket: true,
            min_bucket_reso: 256,
            max_bucket_reso: None,
            bucket_reso_steps: 64,
            bucket_no_upscale: false,
            aspect: Aspect::ConstantArea,
            resize_interpolation: None,
            flip_aug: false,
            color_aug: false,
            random_crop: false,
            image_variants: 4,
            alpha_mask: false,
            is_reg: false,
            validation_split: 0.0,
            validation_seed: 42,
            class_tokens: None,
            caption_prefix: None,
            caption_suffix: None,
            caption_separator: ",".to_owned(),
            secondary_separator: None,
            shuffle_caption: false,
            keep_tokens: 0,
            keep_tokens_separator: None,
            enable_wildcard: false,
            caption_dropout_rate: 0.0,
            caption_dropout_every_n_epochs: 0,
            caption_tag_dropout_rate: 0.0,
            token_warmup_min: 1,
            token_warmup_step: 0.0,
            caption_variants: 8,
        }
    }
}

impl Dataset {
    /// Longest side of a bucket, stated or not.
    #[must_use]
    pub fn max_bucket_reso(&self) -> u32 {
        self.max_bucket_reso.unwrap_or_else(|| self.resolution.longer().saturating_mul(2))
    }

    /// How many texts a picture of this dataset has: one where nothing in captions is drawn.
    #[must_use]
    pub fn variants(&self) -> u32 {
        let draws = self.shuffle_caption
            || self.enable_wildcard
            || self.caption_tag_dropout_rate > 0.0
            || self.token_warmup_step > 0.0;
        if draws { self.caption_variants } else { 1 }
    }

    /// Whether captions are sometimes empty.
    #[must_use]
    pub fn drops_captions(&self) -> bool {
        self.caption_dropout_rate > 0.0 || self.caption_dropout_every_n_epochs > 0
    }
}

/// What counts for every latent is the size of each picture. Its own bytes, and whether it is turned,
/// are key parts of their own; so are the view, the rules of captions, and what belongs to the training,
/// each in the keys of what reads it.
impl Params for Dataset {
    const NOT_IN_KEY: &'static [&'static str] = &[
        "image_dir",
        "recursive",
        "num_repeats",
        "sidecars",
        "caption_extension",
        "exif_orientation",
        // Key parts of latents, where they have an effect.
        "aspect",
        "resize_interpolation",
        "flip_aug",
        "color_aug",
        "random_crop",
        "image_variants",
        "alpha_mask",
        // Parts of the training's key.
        "is_reg",
        "validation_split",
        "validation_seed",
        // Key parts of training texts, where they have an effect.
        "class_tokens",
        "caption_prefix",
        "caption_suffix",
        "caption_separator",
        "secondary_separator",
        "shuffle_caption",
        "keep_tokens",
        "keep_tokens_separator",
        "enable_wildcard",
        "caption_dropout_rate",
        "caption_dropout_every_n_epochs",
        "caption_tag_dropout_rate",
        "token_warmup_min",
        "token_warmup_step",
        "caption_variants",
    ];
    const STANDS_FOR: &'static [(&'static str, &'static str)] =
        &[("max_bucket_reso", "resolution")];

    fn resolved(&self) -> Self {
        Self { max_bucket_reso: Some(self.max_bucket_reso()), ..self.clone() }
    }
}

/// How a picture finds its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// Buckets of nearly one area, and the nearest by the ratio of proportions.
    ConstantArea,
    /// The nearest by the difference of width / height.
    Linear,
}

/// How pictures are resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResizeInterpolation {
    /// Lanczos with three lobes.
    Lanczos,
    /// The nearest pixel.
    Nearest,
    /// Linear between four pixels.
    Bilinear,
    /// The same as `bilinear`.
    Linear,
    /// Cubic between sixteen pixels.
    Bicubic,
    /// The same as `bicubic`.
    Cubic,
    /// The mean of the covered area.
    Area,
    /// The mean of the covered pixels, as Pillow's.
    Box,
}

impl ResizeInterpolation {
    /// The one that stands for all names of the same.
    #[must_use]
    pub fn plain(self) -> Self {
        match self {
            Self::Linear => Self::Bilinear,
            Self::Cubic => Self::Bicubic,
            other => other,
        }
    }
}

/// Width and height in pixels; a single number in the manifest is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "WrittenResolution", into = "[u32; 2]")]
pub struct Resolution {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Resolution {
    /// The longer side.
    #[must_use]
    pub fn longer(self) -> u32 {
        self.width.max(self.height)
    }

    /// The shorter side.
    #[must_use]
    pub fn shorter(self) -> u32 {
        self.width.min(self.height)
    }
}

/// A resolution as it stands in the manifest.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum WrittenResolution {
    Side(#[schemars(range(min = 16))] u32),
    Size(#[schemars(inner(range(min = 16)))] [u32; 2]),
}

impl From<WrittenResolution> for Resolution {
    fn from(written: WrittenResolution) -> Self {
        match written {
            WrittenResolution::Side(side) => Self { width: side, height: side },
            WrittenResolution::Size([width, height]) => Self { width, height },
        }
    }
}

impl From<Resolution> for [u32; 2] {
    fn from(resolution: Resolution) -> Self {
        [resolution.width, resolution.height]
    }
}
