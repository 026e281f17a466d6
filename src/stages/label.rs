//! Stage `label`: a caption for each picture, by BLIP.
//!
//! The item's output is the caption; the sidecar (`.caption`) shows it to people, who may edit it.

use std::{path::PathBuf, sync::Arc};

use burn::tensor::{Device, FloatDType, Tensor};

use super::{ProjectError, Site, cache::cost::all_weights, sidecar, site::needed};
use crate::{
    dataset, device,
    manifest::{self, Mistake},
    models::blip::{
        Blip, BlipConfig, GenerateSettings, Sampling, caption_text, normalise, prompt_ids,
    },
    pipeline::{
        Cost, Decision, Draft, Finished, ItemSpec, Preflight, Publication, Recipe, Stage,
        StageError, Store, Upstream, Work,
    },
    weights::{Checkpoint, Loader},
};

/// Raised with a reason whenever captions change for equal inputs.
const ALGORITHM: (i64, &str) = (2, "the network sums in another order");

/// Bytes of the longest word of the captioner's vocabulary, about.
const LONGEST_TOKEN: u64 = 20;

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
        prompt_fits(site, name, config)?;
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
        let blip = Blip::load(&loader, &BlipConfig::detect(&loader))?;
        match self.config.image_size {
            Some(side) => Ok(blip.with_image_size(side as usize)?),
            None => Ok(blip),
        }
    }

    fn settings(&self) -> GenerateSettings {
        let config = &self.config;
        let sampling =
            Sampling { top_k: config.top_k as usize, top_p: config.top_p, seed: config.seed };
        GenerateSettings {
            prompt: prompt_ids(&config.prompt),
            num_beams: config.num_beams as usize,
            sampling: (!config.beam_search).then_some(sampling),
            repetition_penalty: config.repetition_penalty(),
            min_length: config.min_length as usize,
            max_length: config.max_length as usize,
        }
    }
}

/// The prompt leaves room for a caption.
fn prompt_fits(site: &Site, name: &str, config: &manifest::Label) -> Result<(), ProjectError> {
    let most = config.max_length as usize;
    // No text has more tokens than bytes, so that most prompts need no tokenizer to be found short.
    if config.prompt.len() + 1 < most {
        return Ok(());
    }
    let tokens = prompt_ids(&config.prompt).len();
    if tokens < most {
        return Ok(());
    }
    let path = |field: &str| format!("stages.{name}.{field}");
    let (prompt, max_length) = (path("prompt"), path("max_length"));
    let mistake = Mistake::Conflict {
        what: format!("a prompt of {tokens} tokens leaves no room in a caption of at most {most}"),
        help: "shorten `prompt` or raise `max_length`, which counts the prompt and its first mark"
            .to_owned(),
    };
    let values = [(prompt.as_str(), "the prompt"), (max_length.as_str(), "at most")];
    Err(site.manifest.mistake(&values, mistake).into())
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

    fn cost(
        &self,
        decisions: &[Decision],
        _: &Upstream<'_>,
        _: &Store,
    ) -> Result<Cost, StageError> {
        let pictures = decisions.iter().filter(|one| one.runs()).count() as u64;
        // A token is a word or a part of one.
        let bytes = pictures * u64::from(self.config.max_length) * LONGEST_TOKEN;
        let cost = Cost { bytes, at_most: true, ..Cost::default() };
        Ok(self.site.with_memory(cost, all_weights(&self.model)))
    }

    fn class(&self, _item: &ItemSpec) -> String {
        let manifest::Label { batch_size, num_beams, beam_search, image_size, .. } = self.config;
        let search = if beam_search { format!("{num_beams} beams") } else { "drawn".to_owned() };
        let size = image_size.map_or_else(String::new, |side| format!(", {side}×{side}"));
        format!("{search}, batches of {batch_size}{size}")
    }

    fn preflight(
        &self,
        decisions: &[Decision],
        _: &Upstream<'_>,
        _: &Store,
        look: &mut dyn Preflight,
    ) -> Result<(), StageError> {
        sidecar::preflight(&self.site, decisions, look)
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let device = device::choose(&self.site.device)?.device;
        let blip = self.load(&device)?;
        let settings = self.settings();
        blip.takes(&settings.prompt)?;
        let side = blip.image_size();
        work.ready(0);
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
