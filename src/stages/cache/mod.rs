//! Stage `cache`: what the trainer reads instead of pictures and captions.
//!
//! Two sorts of items with a recipe each: a *latent* per view of a picture (autoencoder) and a *text
//! record* per training text (CLIP-L and T5), so that an edited caption leaves its latents alone and an
//! edited picture its texts. Equal texts and equal views have equal keys and are encoded once. Where
//! captions are dropped, the empty one is an item too, one for all pictures.

pub(super) mod cost;
pub(super) mod header;
pub(super) mod import;
mod latents;
pub(super) mod notes;
mod posterior;
mod preflight;
pub(super) mod record;
pub(super) mod texts;
pub(super) mod views;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use rayon::prelude::*;

use self::views::View;
use super::{ProjectError, Sample, Site, site::needed, variants};
use crate::{
    base::{Digest, Value},
    dataset::{Buckets, Placement},
    manifest,
    models::flux::FluxConfig,
    pipeline::{
        Cost, Decision, ItemSpec, KeyPart, Note, Preflight, Recipe, Seen, Stage, StageError, Store,
        Upstream, UpstreamItem, Warning, Work,
    },
    weights::Checkpoint,
};

/// Raised with a reason whenever latents change for equal inputs.
const LATENT_ALGORITHM: (i64, &str) =
    (3, "the autoencoder sums in another order: the last digits differ");
/// Raised with a reason whenever text records change for equal inputs.
const TEXT_ALGORITHM: (i64, &str) =
    (2, "the text encoders sum in another order: the last digits differ");

/// Index of the recipe for latents.
pub const LATENT: usize = 0;
/// Index of the recipe for text records.
pub const TEXT: usize = 1;

/// The stage.
pub struct Cache {
    pub(super) site: Arc<Site>,
    pub(super) name: String,
    pub(super) config: manifest::Cache,
    pub(super) ae: PathBuf,
    pub(super) clip_l: PathBuf,
    pub(super) t5xxl: PathBuf,
    /// By the id of a latent: its bucket.
    classes: OnceLock<HashMap<String, String>>,
}

impl Cache {
    pub fn new(
        site: &Arc<Site>,
        name: &str,
        config: &manifest::Cache,
    ) -> Result<Self, ProjectError> {
        let models = &site.manifest.models;
        Ok(Self {
            ae: needed(site, name, "ae", models.ae.as_ref())?,
            clip_l: needed(site, name, "clip_l", models.clip_l.as_ref())?,
            t5xxl: needed(site, name, "t5xxl", models.t5xxl.as_ref())?,
            site: site.clone(),
            name: name.to_owned(),
            config: config.clone(),
            classes: OnceLock::new(),
        })
    }

    /// The parameters among `names`.
    fn parameters(&self, names: &[&str]) -> Vec<KeyPart> {
        let mut parts = self.site.parameters(&format!("stages.{}", self.name), &self.config);
        parts.retain(|part| names.contains(&part.name.as_str()));
        parts
    }

    /// How many T5 tokens a caption is given: as stated, or 256 for schnell and 512 otherwise.
    pub(super) fn t5_length(&self) -> Result<usize, StageError> {
        if let Some(length) = self.config.t5xxl_max_token_length {
            return Ok(length as usize);
        }
        let Some(flux) = &self.site.manifest.models.flux else { return Ok(512) };
        let (config, _) = FluxConfig::detect(&Checkpoint::open(&self.site.resolve(flux))?)?;
        Ok(if config.guidance_embed { 512 } else { 256 })
    }

    /// What is the same for all texts that are encoded, captions and prompts.
    pub(super) fn text_recipe(&self) -> Result<Recipe, StageError> {
        let mut parts = self.parameters(manifest::Cache::TEXT);
        let length = Value::Int(self.t5_length()? as i64);
        parts
            .iter_mut()
            .filter(|part| part.name == "t5xxl_max_token_length")
            .for_each(|part| part.value = Some(length.clone()));
        parts.push(Site::algorithm(TEXT_ALGORITHM.0, TEXT_ALGORITHM.1));
        parts.push(self.site.model("clip_l", &self.clip_l)?);
        parts.push(self.site.model("t5xxl", &self.t5xxl)?);
        Ok(Recipe { name: "text", parts })
    }

    /// What decides how long a text takes.
    pub(super) fn text_class(&self) -> String {
        match (self.config.attend_padding, self.t5_length()) {
            (true, Ok(length)) => format!("{length} tokens"),
            _ => "masked".to_owned(),
        }
    }

    /// By dataset: what decides the size of a picture's latent, the bucket settings. A rule that changes
    /// nothing of what was so before it came is no part.
    fn bucket_parts(&self) -> Vec<Arc<[KeyPart]>> {
        let datasets = self.site.manifest.dataset.iter().enumerate();
        datasets.map(|(index, dataset)| self.parts_of_dataset(index, dataset).into()).collect()
    }

    fn parts_of_dataset(&self, index: usize, dataset: &manifest::Dataset) -> Vec<KeyPart> {
        let table = format!("dataset.{index}");
        let mut parts = self.site.parameters(&table, dataset);
        let rule = |name: &str, value: Value| {
            KeyPart::new(name, value, self.site.origin(format!("{table}.{name}")))
        };
        if dataset.enable_bucket && dataset.aspect == manifest::Aspect::ConstantArea {
            parts.push(rule("aspect", Value::Text("constant_area".to_owned())));
        }
        if let Some(how) = dataset.resize_interpolation {
            let how = serde_json::to_value(how.plain()).unwrap_or_default();
            parts.push(rule("resize_interpolation", Value::from(how)));
        }
        if dataset.alpha_mask {
            parts.push(rule("alpha_mask", Value::Bool(true)));
        }
        parts
    }

    /// Where the picture goes, if crops of it are drawn. One that is broken or fits no bucket is told when
    /// it is encoded.
    fn placement(
        &self,
        buckets: &[Buckets],
        sample: &Sample,
    ) -> Result<Option<Placement>, StageError> {
        if !self.site.dataset(sample).random_crop {
            return Ok(None);
        }
        let placed = header::placed(&self.site, buckets, sample)?;
        Ok(placed.map(|placed| placed.placement))
    }

    /// The sample and view that the id of a latent stands for.
    pub(super) fn views(&self) -> HashMap<String, (&Sample, View)> {
        let views = self.site.samples.iter().flat_map(|sample| {
            let views = View::all(self.site.dataset(sample)).into_iter();
            views.map(move |view| (view.id(&sample.id), (sample, view)))
        });
        views.collect()
    }
}

impl Stage for Cache {
    fn kind(&self) -> &'static str {
        "cache"
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let mut latent = self.parameters(manifest::Cache::LATENT);
        // A draw is what was kept before there was a choice; nothing else depends on the seed.
        let unused = match self.config.latent {
            manifest::Latent::Sample => "latent",
            manifest::Latent::Mean | manifest::Latent::Moments => "seed",
        };
        latent.retain(|part| part.name != unused);
        latent.push(Site::algorithm(LATENT_ALGORITHM.0, LATENT_ALGORITHM.1));
        latent.push(self.site.model("ae", &self.ae)?);
        Ok(vec![Recipe { name: "latent", parts: latent }, self.text_recipe()?])
    }

    fn items(&self, upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        let samples = super::sidecar::by_id(&self.site);
        let beside = self.config.import_cache.then(|| import::Beside::of(&self.site));
        // Drawn views and drawn texts are no part of what those caches hold.
        let import =
            |files: Option<&[PathBuf]>| import::part(&self.site, files.unwrap_or_default());
        let (buckets, settings) = (views::buckets(&self.site)?, self.bucket_parts());
        let random = |sample: &&Sample| self.site.dataset(sample).random_crop;
        header::look_up(&self.site, &self.site.samples.iter().filter(random).collect::<Vec<_>>())?;
        let merged = upstream.items().filter(|item| item.kind == "merge").collect::<Vec<_>>();
        let of_merged = |merged: &UpstreamItem<'_>| -> Result<_, StageError> {
            let Some(sample) = samples.get(merged.id) else { return Ok(Vec::new()) };
            let dataset = self.site.dataset(sample);
            let placement = self.placement(&buckets, sample)?;
            let views = View::all(dataset);
            // No more room than is needed: there are 100 000 of these lists for a moment.
            let mut items = Vec::with_capacity(views.len() + dataset.variants() as usize);
            for view in views {
                let mut parts = self.site.picture_parts(sample);
                let drawn = view.draw(dataset, self.config.seed, sample, placement);
                parts.extend(drawn.parts(&self.site, sample));
                if !view.is_drawn() {
                    parts.extend(import(beside.as_ref().map(|beside| beside.latents(sample)))?);
                }
                let latent = ItemSpec::new(view.id(&sample.id), LATENT, parts);
                items.push(latent.sharing(&settings[sample.dataset]));
            }
            let variants = dataset.variants();
            for variant in 0..variants {
                let mut parts = vec![merged.part("caption", &variants::blob(variant))];
                if variants == 1 {
                    parts.extend(import(beside.as_ref().map(|beside| beside.texts(sample)))?);
                }
                items.push(ItemSpec::new(variants::id(&sample.id, variant), TEXT, parts));
            }
            Ok(items)
        };
        let items = merged.par_iter().map(of_merged).collect::<Result<Vec<_>, _>>()?;
        let mut items = items.into_iter().flatten().collect::<Vec<_>>();
        if let (Some(dropping), false) = (variants::dropping(&self.site), items.is_empty()) {
            let empty = Digest::of(b"");
            let parts = vec![KeyPart::new("caption", empty, self.site.origin(dropping))];
            items.push(ItemSpec::new(variants::EMPTY, TEXT, parts));
        }
        Ok(items)
    }

    fn notes(
        &self,
        decisions: &[Decision],
        _: &Upstream<'_>,
        store: &Store,
    ) -> Result<Vec<Note>, StageError> {
        notes::notes(self, decisions, store)
    }

    fn cost(
        &self,
        decisions: &[Decision],
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Cost, StageError> {
        cost::cost(self, decisions, upstream, store)
    }

    fn class(&self, item: &ItemSpec) -> String {
        if item.recipe == TEXT {
            return self.text_class();
        }
        let classes = self.classes.get_or_init(|| cost::classes(self, &self.site));
        classes.get(&item.id).cloned().unwrap_or_default()
    }

    fn preflight(
        &self,
        decisions: &[Decision],
        upstream: &Upstream<'_>,
        store: &Store,
        look: &mut dyn Preflight,
    ) -> Result<(), StageError> {
        preflight::preflight(self, decisions, upstream, store, look)
    }

    fn warnings(&self, items: &[Seen<'_>], _: &Upstream<'_>) -> Result<Vec<Warning>, StageError> {
        Ok(import::warning(items).into_iter().collect())
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let of = |recipe| {
            let items = work.items().iter().enumerate();
            items.filter(|(_, item)| item.recipe == recipe).map(|(i, _)| i).collect::<Vec<_>>()
        };
        let (latents, texts) = (of(LATENT), of(TEXT));
        let (texts, refused) = import::take_texts(self, work, texts)?;
        // A network is loaded only if some item needs it, and dropped before the next one.
        if !texts.is_empty() {
            let captions = texts::captions(work, &texts)?;
            preflight::warn_of_cut_offs(self, work, &texts, &captions)?;
            let texts = texts.into_iter().zip(captions).collect();
            texts::encode(self, work, texts, &refused)?;
        }
        if !latents.is_empty() && !work.cancelled() {
            latents::encode(self, work, &latents)?;
        }
        Ok(())
    }
}
