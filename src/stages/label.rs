//! Stage `label`: a caption for each picture, by BLIP.
//!
//! The item's output is the caption; the sidecar (`.caption`) shows it to people, who may edit it.

use std::{path::PathBuf, sync::Arc};

use burn::tensor::{Device, FloatDType, Tensor};

use super::{ProjectError, Site, sidecar, site::needed};
use crate::{
    dataset, device, manifest,
    models::blip::{Blip, BlipConfig, GenerateSettings, caption_text, normalise, prompt_ids},
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
    pub fn new(
        site: &Arc<Site>,
        name: &str,
        config: &manifest::Label,
    ) -> Result<Self, ProjectError> {
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

    fn load(&self, device: &Device) -> Result<Blip, StageError> {
        let checkpoint = Checkpoint::open(&self.model)?;
        let loader = Loader::new(&checkpoint, "", device, FloatDType::F32);
        Ok(Blip::load(&loader, &BlipConfig::detect(&loader))?)
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
        let device = device::choose(&self.site.device)?.device;
        let blip = self.load(&device)?;
        let settings = GenerateSettings {
            num_beams: self.config.num_beams as usize,
            min_length: self.config.min_length as usize,
            max_length: self.config.max_length as usize,
            prompt: prompt_ids(&self.config.prompt),
        };
        let side = blip.image_size();
        let prepare = |picture| dataset::captioner_pixels(picture, side);
        sidecar::in_batches(&self.site, work, self.config.batch_size, prepare, |pictures| {
            let pictures = pictures.iter().map(|pixels| normalise(pixels, side, side, &device));
            let captions = blip.caption(Tensor::stack(pictures.collect(), 0), &settings);
            let texts = captions.iter().map(|ids| caption_text(ids, &settings.prompt));
            Ok(texts.map(|text| Draft::bytes("caption", text)).collect())
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
