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
}

impl Default for Dataset {
    fn default() -> Self {
        Self {
            image_dir: PathBuf::new(),
            recursive: false,
            num_repeats: 1,
            sidecars: None,
            exif_orientation: true,
            resolution: Resolution { width: 1024, height: 1024 },
            enable_bucket: true,
            min_bucket_reso: 256,
            max_bucket_reso: None,
            bucket_reso_steps: 64,
            bucket_no_upscale: false,
        }
    }
}

impl Dataset {
    /// Longest side of a bucket, stated or not.
    #[must_use]
    pub fn max_bucket_reso(&self) -> u32 {
        self.max_bucket_reso.unwrap_or_else(|| self.resolution.longer().saturating_mul(2))
    }
}

/// What counts is the size of each picture. Its own bytes, and whether it is turned, are key parts of
/// their own, and how often it is repeated belongs to the training.
impl Params for Dataset {
    const NOT_IN_KEY: &'static [&'static str] =
        &["image_dir", "recursive", "num_repeats", "sidecars", "exif_orientation"];
    const STANDS_FOR: &'static [(&'static str, &'static str)] =
        &[("max_bucket_reso", "resolution")];

    fn resolved(&self) -> Self {
        Self { max_bucket_reso: Some(self.max_bucket_reso()), ..self.clone() }
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
