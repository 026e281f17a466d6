//! Stage `label`: a caption for each picture, by BLIP.
//!
//! The item's output is the caption; the sidecar (`.caption`) shows it to people, who may edit it.

use std::{path::PathBuf, sync::Arc};

use super::{ProjectError, Site, project::needed, sidecar};
use crate::{
    dataset::{self, Picture},
    device, manifest,
    models::blip::{Blip, BlipConfig, GenerateSettings},
    pipeline::{
        Draft, Finished, ItemSpec, Publication, Recipe, Stage, StageError, Store, Upstream, Work,
    },
    weights::{Checkpoint, Loader},
};

/// Raised with a reason whenever captions change for equal inputs.
const ALGORITHM: (i64, &str) = (1, "first version");

/// The stage.
pub struct Label {
    site: Arc<Site>,
    name: String,
    config: manifest::Label,
    model: PathBuf,
}

impl Label {
    pub fn new(site: &Arc<Site>, name: &str, config: &manifest::Label) -> Result<Self, ProjectError> {
        let model = needed(site, name, "blip", site.manifest.models.blip.as_ref())?;
        Ok(Self { site: site.clone(), name: name.to_owned(), config: config.clone(), model })
    }

    fn sidecars(&self) -> sidecar::Sidecars<'_> {
        sidecar::Sidecars {
            blob: "caption",
            extension: &self.config.caption_extension,
            existing: self.config.existing,
        }
    }

    fn load(&self) -> Result<Blip, StageError> {
        let device = device::choose(&self.site.device)?.device;
        let checkpoint = Checkpoint::open(&self.model)?;
        let config = BlipConfig::detect(&checkpoint)?;
        let loader = Loader::new(&checkpoint, "", &device, burn::tensor::FloatDType::F32);
        Ok(Blip::load(&loader, &config)?)
    }
}

impl Stage for Label {
    fn kind(&self) -> &'static str {
        "label"
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let mut parts = self.site.parameters(&format!("stages.{}", self.name), &self.config);
        parts.push(Site::algorithm(ALGORITHM.0, ALGORITHM.1));
        parts.push(self.site.model("blip", &self.model)?);
        Ok(vec![Recipe { name: "caption", parts }])
    }

    fn items(&self, _upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        self.sidecars().items(&self.site)
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let blip = self.load()?;
        let settings = GenerateSettings {
            num_beams: self.config.num_beams,
            min_length: self.config.min_length,
            max_length: self.config.max_length,
            prompt: self.config.prompt.clone(),
        };
        let side = blip.image_size();
        let prepare = |picture: &Picture| dataset::blip_input(picture, side);
        sidecar::in_batches(&self.site, work, self.config.batch_size, prepare, |pictures| {
            let captions = blip.captions(pictures, &settings);
            captions.into_iter().map(|caption| Draft::bytes("caption", caption)).collect()
        })
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        self.sidecars().publications(&self.site, finished, store)
    }
}
