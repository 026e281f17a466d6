//! `[project]` and `[models]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the project is called, where it writes and where it computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub struct Project {
    /// Name of the project; the trained model is called so unless `output_name` says otherwise.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Folder of everything that is written, relative to the manifest.
    #[schemars(length(min = 1))]
    pub output: PathBuf,
    /// Where networks run: `auto` (the first CUDA device, else the CPU), `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// What happens to a picture that cannot be used: `skip` leaves it out and says so at the end,
    /// `fail` ends the run.
    pub on_bad_image: OnBadImage,
    /// Whether a run with work that takes long first tries out what would else fail after hours: every
    /// picture is decoded, every text that is known is tokenized, and a training loads its model, takes a
    /// step at the largest size, saves and reads back what it saved.
    pub preflight: bool,
    /// A line to be shown after every run, such as a reminder to whoever runs this.
    pub note: Option<String>,
}

impl Default for Project {
    fn default() -> Self {
        Self {
            name: String::new(),
            output: "output".into(),
            device: "auto".to_owned(),
            on_bad_image: OnBadImage::Skip,
            preflight: true,
            note: None,
        }
    }
}

/// What happens to a picture that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBadImage {
    /// It is left out and listed at the end.
    Skip,
    /// It ends the run.
    Fail,
}

/// Where outputs are kept, besides the folder `store` in the output folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// A folder that several machines see, relative to the manifest: outputs that are there are taken, and what
    /// is made is copied there, but for trained models and pictures (docs/store.md).
    #[schemars(length(min = 1))]
    pub shared: Option<PathBuf>,
}

/// The file of each network, relative to the manifest. Only those that a stage uses are needed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// BLIP captioner (`.pth` or `.safetensors`), for `label`.
    #[schemars(length(min = 1))]
    pub blip: Option<PathBuf>,
    /// WD tagger: a folder with `model.onnx` and `selected_tags.csv`, or the `.onnx` file beside its
    /// `selected_tags.csv`, for `tag`.
    #[schemars(length(min = 1))]
    pub tagger: Option<PathBuf>,
    /// FLUX autoencoder (`ae.safetensors`), for `cache`.
    #[schemars(length(min = 1))]
    pub ae: Option<PathBuf>,
    /// CLIP-L text encoder (`clip_l.safetensors`), for `cache`.
    #[schemars(length(min = 1))]
    pub clip_l: Option<PathBuf>,
    /// T5-XXL text encoder (`t5xxl_fp16.safetensors` and the like), for `cache`.
    #[schemars(length(min = 1))]
    pub t5xxl: Option<PathBuf>,
    /// FLUX.1 transformer to be trained (dev or schnell, by what the file is), for `finetune`.
    #[schemars(length(min = 1))]
    pub flux: Option<PathBuf>,
}

impl Models {
    /// Every network with its name in the manifest.
    #[must_use]
    pub fn all(&self) -> [(&'static str, Option<&PathBuf>); 6] {
        [
            ("blip", self.blip.as_ref()),
            ("tagger", self.tagger.as_ref()),
            ("ae", self.ae.as_ref()),
            ("clip_l", self.clip_l.as_ref()),
            ("t5xxl", self.t5xxl.as_ref()),
            ("flux", self.flux.as_ref()),
        ]
    }

    /// The file of a network by its name in the manifest.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&PathBuf> {
        self.all().into_iter().find(|(known, _)| *known == name).and_then(|(_, path)| path)
    }
}
