//! Stage `sample`: pictures from prompts, by the trained model and by the model before the training.
//!
//! One item per picture. What the model before draws is a step of its own, `sample.before`, so that a new
//! training draws only its own pictures; the texts are encoded in another, `sample.prompts`. Does not know how
//! a transformer draws.

mod draw;

use std::{path::PathBuf, sync::Arc};

use super::{ProjectError, Site, prompts::Prompts, site::needed};
use crate::{
    base::{Digest, Value},
    models::flux::FluxConfig,
    pipeline::{
        Blob, Cost, Decision, Finished, ItemSpec, Owner, Publication, Published, Recipe, Stage,
        StageError, Store, Upstream, UpstreamItem, Work,
    },
    weights::Checkpoint,
};

/// Raised with a reason whenever pictures change for equal inputs.
const ALGORITHM: (i64, &str) = (1, "first version");

/// The blob of a picture.
const PICTURE: &str = "picture.png";
/// The blob of the pictures before and after, side by side.
const COMPARE: &str = "compare.png";
/// The blob of the trained model, and what its item is called.
const MODEL: (&str, &str) = ("model.safetensors", "model");

/// Which model draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that was trained from.
    Before,
    /// The trained one.
    After,
}

/// The stage, or its step that draws with the model before.
pub struct Sample {
    site: Arc<Site>,
    name: String,
    prompts: Prompts,
    side: Side,
    flux: PathBuf,
    ae: PathBuf,
}

impl Sample {
    /// `name` is that of the stage, also for the step.
    pub fn new(
        site: &Arc<Site>,
        name: &str,
        prompts: &Prompts,
        side: Side,
    ) -> Result<Self, ProjectError> {
        let models = &site.manifest.models;
        Ok(Self {
            flux: needed(site, name, "flux", models.flux.as_ref())?,
            ae: needed(site, name, "ae", models.ae.as_ref())?,
            site: site.clone(),
            name: name.to_owned(),
            prompts: prompts.clone(),
            side,
        })
    }

    /// Name of the step of a stage of this name. No stage of a manifest has a dot in its name.
    pub fn before(stage: &str) -> String {
        format!("{stage}.before")
    }

    /// Whether the model is dev. Training does not change that.
    fn takes_guidance(&self) -> Result<bool, StageError> {
        let (config, _) = FluxConfig::detect(&Checkpoint::open(&self.flux)?)?;
        Ok(config.guidance_embed)
    }

    /// Digest of the file of the model before.
    fn base(&self) -> Result<Option<Digest>, StageError> {
        let part = self.site.model("flux", &self.flux)?;
        Ok(match part.value {
            Some(Value::Digest(digest)) => Some(digest),
            _ => None,
        })
    }

    /// What the trained model is, if there is one or will be.
    fn trained<'a>(upstream: &Upstream<'a>) -> Option<UpstreamItem<'a>> {
        upstream.of_kind("finetune").find(|item| item.id == MODEL.1)
    }
}

/// The picture of the model before, made or to be made.
fn drawn_before<'a>(upstream: &Upstream<'a>, id: &str) -> Option<UpstreamItem<'a>> {
    upstream.of_kind("sample.before").find(|item| item.id == id)
}

/// Bytes of a picture that cannot be compressed, and of what its file says of it.
pub(super) fn largest_png(width: u32, height: u32) -> u64 {
    u64::from(width) * u64::from(height) * 3 * 101 / 100 + 8192
}

impl Stage for Sample {
    fn kind(&self) -> &'static str {
        match self.side {
            Side::Before => "sample.before",
            Side::After => "sample",
        }
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let mut parts = vec![Site::algorithm(ALGORITHM.0, ALGORITHM.1)];
        parts.push(self.site.model("ae", &self.ae)?);
        if self.side == Side::Before {
            parts.push(self.site.model("flux", &self.flux)?);
        }
        Ok(vec![Recipe { name: "picture", parts }])
    }

    fn items(&self, upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        let model = match self.side {
            Side::Before => None,
            Side::After => match Self::trained(upstream) {
                Some(model) => Some(model.part("model", MODEL.0)),
                // The training has nothing to train on, and says so.
                None => return Ok(Vec::new()),
            },
        };
        let takes_guidance = self.takes_guidance()?;
        let item = |wanted| {
            let id = Prompts::file_name(wanted);
            let mut parts = self.prompts.parts(&self.site, upstream, wanted, takes_guidance);
            parts.extend(model.clone());
            let before = drawn_before(upstream, &id).filter(|_| self.side == Side::After);
            parts.extend(before.map(|item| item.part("before", PICTURE)));
            ItemSpec::new(id, 0, parts)
        };
        Ok(self.prompts.pictures.iter().map(item).collect())
    }

    fn cost(
        &self,
        decisions: &[Decision],
        _: &Upstream<'_>,
        _: &Store,
    ) -> Result<Cost, StageError> {
        let due = decisions.iter().filter(|one| one.runs()).map(|one| one.spec.id.as_str());
        let due = due.collect::<Vec<_>>();
        let pictures = self.prompts.pictures.iter();
        let pictures = pictures.filter(|wanted| due.contains(&Prompts::file_name(wanted).as_str()));
        // Two of them, where both models' stand side by side beside the one.
        let compared = self.side == Side::After
            && decisions.iter().any(|one| one.spec.parts.iter().any(|part| part.name == "before"));
        let copies = if compared { 3 } else { 1 };
        let bytes = pictures.map(|wanted| copies * largest_png(wanted.width, wanted.height)).sum();
        Ok(Cost { bytes, at_most: true, ..Cost::default() })
    }

    fn class(&self, item: &ItemSpec) -> String {
        let mut pictures = self.prompts.pictures.iter();
        let wanted = pictures.find(|wanted| Prompts::file_name(wanted) == item.id);
        wanted.map_or_else(String::new, |wanted| {
            let steps = wanted.steps.map_or_else(String::new, |steps| format!(", {steps} steps"));
            let twice = if wanted.negative.is_some() { ", twice" } else { "" };
            format!("{}×{}{steps}{twice}", wanted.width, wanted.height)
        })
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        draw::all(self, work)
    }

    fn is_shared(&self) -> bool {
        // They are made from a model that stays here too.
        false
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        _store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        let folder = self.site.output().join("samples").join(&self.name);
        let publish = |done: &Finished<'_>, blob: &Blob| {
            let ending = match (self.side, blob.name.as_str()) {
                (Side::Before, _) => "-before",
                (Side::After, COMPARE) => "-compare",
                (Side::After, _) => "",
            };
            Publication {
                path: folder.join(format!("{}{ending}.png", done.spec.id)),
                content: Published::Blob(blob.clone()),
                owner: Owner::Fluxpipe,
            }
        };
        let of = |done: &Finished<'_>| {
            done.output.blobs.iter().map(|blob| publish(done, blob)).collect::<Vec<_>>()
        };
        Ok(finished.iter().flat_map(of).collect())
    }
}
