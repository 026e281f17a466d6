//! Stage `finetune`: the cached samples become a fine-tuned FLUX.1.
//!
//! One item. Its key covers the list of samples (latents, text records, repeats and what else is done
//! with them), the model and the parameters, not where pictures lie or what they are called.

mod appearances;
mod cost;
mod decoder;
mod differences;
mod drawings;
mod events;
mod journal;
mod live;
pub(super) mod losses;
mod memory;
mod newest;
mod notes;
mod preflight;
mod samples;
mod settings;
mod states;
mod warnings;

pub use newest::{Published as PublishedCheckpoint, newest as newest_checkpoint};
pub use states::damaged as damaged_states;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use self::{
    drawings::Drawings,
    journal::Journal,
    samples::{Cached, Records},
    states::{Line, Start},
};
use super::{ProjectError, Site, prompts::Prompts, site::needed};
use crate::{
    base::{Digest, Value, atomic},
    device, manifest,
    models::flux::FluxConfig,
    pipeline::{
        Amount, Blob, Cost, Decision, Difference, Draft, Finished, ItemSpec, KeyPart, Note, Origin,
        Owner, Preflight, Publication, Published, Recipe, Seen, Stage, StageError, Store,
        StoreError, Upstream, Warning, Work,
    },
    train::{self, Place, TrainError, network::Network},
    weights::Checkpoint,
};

/// Raised with a reason whenever trained weights change for equal inputs.
const ALGORITHM: (i64, &str) =
    (3, "weights are rounded by other random bits, and the backward pass sums in another order");

/// Tokens of the longest text that T5 encodes for FLUX.1: so many are reckoned with where memory is planned.
const TEXT_TOKENS: usize = 512;

/// The stage.
pub struct Finetune {
    site: Arc<Site>,
    name: String,
    config: manifest::Finetune,
    model: PathBuf,
    /// Of the pictures that are drawn while it trains.
    prompts: Option<Prompts>,
}

impl Finetune {
    pub fn new(
        site: &Arc<Site>,
        name: &str,
        config: &manifest::Finetune,
        prompts: Option<Prompts>,
    ) -> Result<Self, ProjectError> {
        let model = needed(site, name, "flux", site.manifest.models.flux.as_ref())?;
        let (site, name) = (site.clone(), name.to_owned());
        Ok(Self { site, name, config: config.clone(), model, prompts })
    }
}

impl Stage for Finetune {
    fn kind(&self) -> &'static str {
        "finetune"
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        Ok(vec![Recipe { name: "model", parts: self.recipe()? }])
    }

    fn items(&self, upstream: &Upstream<'_>) -> Result<Vec<ItemSpec>, StageError> {
        let index = samples::Index::new(&self.site, upstream);
        let Some(first) = index.samples().find_first(|_| true) else { return Ok(Vec::new()) };
        let value = |sample: Cached<'_>| {
            let value = sample.value(self.config.prior_loss_weight)?;
            Some((value.digest(), value))
        };
        let values = index.samples().map(value).collect::<Option<Vec<_>>>();
        let values = values.map(|mut values| {
            // By content, so that names and the order of files do not matter.
            values.par_sort_unstable_by_key(|(digest, _)| *digest);
            values.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
        });
        let waiting = match &values {
            Some(_) => None,
            None => index
                .samples()
                .find_map_first(|sample| sample.items().find(|item| item.output.is_none())),
        };
        let samples = match (values, waiting) {
            (Some(values), _) => {
                let origin = Origin::Upstream {
                    stage: first.views[0].stage.to_owned(),
                    item: format!("{} samples", values.len()),
                };
                KeyPart::new("samples", Value::List(values), origin)
            }
            (None, Some(item)) => item.part("samples", samples::blob(&item)),
            (None, None) => return Ok(Vec::new()),
        };
        Ok(vec![ItemSpec::new("model", 0, vec![samples])])
    }

    fn within(&self, difference: &Difference, upstream: &Upstream<'_>) -> Vec<Difference> {
        match &difference.old {
            Some(Value::List(old)) if difference.part == "samples" => {
                differences::within(self, &samples::cached(&self.site, upstream), old)
            }
            _ => Vec::new(),
        }
    }

    fn notes(
        &self,
        decisions: &[Decision],
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Vec<Note>, StageError> {
        notes::notes(self, decisions, upstream, store)
    }

    fn warnings(
        &self,
        _: &[Seen<'_>],
        upstream: &Upstream<'_>,
    ) -> Result<Vec<Warning>, StageError> {
        warnings::warnings(self, upstream)
    }

    fn started(
        &self,
        item: &ItemSpec,
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Option<String>, StageError> {
        if item.key_parts().any(|part| part.value.is_none()) {
            return Ok(None);
        }
        let members = notes::members(self, upstream, store)?;
        Ok(states::told(self, item, &members, store)?.map(|(text, _)| text))
    }

    fn cost(
        &self,
        decisions: &[Decision],
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Cost, StageError> {
        cost::cost(self, decisions, upstream, store)
    }

    fn amounts(
        &self,
        decisions: &[Decision],
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Vec<Amount>, StageError> {
        cost::amounts(self, decisions, upstream, store)
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

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let settings = settings::of(&self.config);
        let records = Records::open(&self.site, &self.config, work.upstream())?;
        let Some(&item) = work.items().first() else { return Ok(()) };
        let members = records.members();
        let Some(line) = Line::of(self, &settings, item, &members)? else {
            return Ok(());
        };
        let place = self.begin(&line, work);
        let chosen = device::choose(&self.site.device)?;
        let checkpoint = match &place.state {
            Some(state) => place.folder.weights(state)?,
            None => Checkpoint::open(&self.model)?,
        };
        let (config, _) = FluxConfig::detect(&checkpoint)?;
        let device = &chosen.device;
        let plan = train::plan(&config, &settings, &members, TEXT_TOKENS, device)?;
        work.chosen(0, &format!("memory: {plan}"));
        let (stored, scratch) = (settings.weights, work.scratch(0)?);
        let network = Network::load(&checkpoint, plan, device, stored, &scratch)?;
        let folder = place.folder.clone();
        let logs = self.site.output().join("logs").join(self.output_name());
        let live = live::Place {
            lines: logs.join("training.jsonl"),
            logs,
            device: chosen.device.clone(),
            weights: settings.weights,
        };
        let drawings = Drawings::of(self, work, &place, config.guidance_embed)?;
        if let (Some(drawings), true) = (&drawings, work.forced(0)) {
            drawings.forget()?;
        }
        let published = |name: &str| self.published(name);
        let class = |index: usize| cost::class(&self.config, members[index].size);
        let mut journal = Journal::new(work, line.total(), live, drawings, published, class);
        let outcome = train::finetune(network, &settings, &records, place, &mut journal);
        let (metrics, losses) = journal.finish();
        match outcome {
            Err(TrainError::Cancelled { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok(summary) => {
                let draft = draft(work, metrics, losses, summary.checkpoints)?;
                work.commit(0, draft)?;
            }
        }
        if !settings.keep_state {
            folder.remove().map_err(|error| StoreError::write(folder.path(), error))?;
        }
        Ok(())
    }

    fn state(&self, item: &ItemSpec) -> Result<Option<Digest>, StageError> {
        Ok(states::name(&self.recipe()?, item))
    }

    fn is_shared(&self) -> bool {
        // A checkpoint has 24 GB.
        false
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        _store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        let publish = |blob: &Blob| Publication {
            // `model…safetensors` under the name that the user chose; blobs have names of their own,
            // since a name is no part of a model.
            path: match blob.name.strip_prefix("model").and_then(|rest| rest.strip_suffix(ENDING)) {
                Some(rest) => self.published(rest),
                None => self.site.output().join(format!("{}-{}", self.output_name(), blob.name)),
            },
            content: Published::Blob(blob.clone()),
            owner: Owner::Fluxpipe,
        };
        Ok(finished.iter().flat_map(|done| &done.output.blobs).map(publish).collect())
    }
}

/// What people call each sample, by what it is in hexadecimal digits.
pub(super) fn sample_names(site: &Site, upstream: &Upstream<'_>) -> HashMap<String, String> {
    let cached = samples::cached(site, upstream).into_iter();
    let named = cached.filter_map(|it| Some((it.content_digest()?.hex(), it.sample.id.clone())));
    named.collect()
}

/// Settings that the transformer of this file cannot obey; nothing of a file that holds none.
pub fn refused(config: &manifest::Finetune, model: &Path) -> Vec<TrainError> {
    let detected = Checkpoint::open(model).ok().and_then(|file| FluxConfig::detect(&file).ok());
    detected.map_or_else(Vec::new, |(flux, _)| train::refused(&flux, &settings::of(config)))
}

/// What the names of checkpoints end in.
const ENDING: &str = ".safetensors";

impl Finetune {
    fn recipe(&self) -> Result<Vec<KeyPart>, StageError> {
        let mut parts = self.site.parameters(&format!("stages.{}", self.name), &self.config);
        parts.push(Site::algorithm(ALGORITHM.0, ALGORITHM.1));
        parts.push(self.site.model("flux", &self.model)?);
        Ok(parts)
    }

    /// From where the training goes on; says so where a state is there and cannot be used.
    fn begin(&self, line: &Line<'_>, work: &mut dyn Work) -> Place {
        let anew = line.place(&self.site.store);
        if work.forced(0) {
            return anew;
        }
        let reason = match line.start(&self.site.store) {
            Start::Anew => return anew,
            Start::Over(reason) => reason,
            Start::On(place) => match line.verified(place) {
                Ok(place) => return place,
                Err(reason) => reason,
            },
        };
        work.warn(states::starts_over(&reason));
        anew
    }

    fn output_name(&self) -> &str {
        self.config.output_name.as_deref().unwrap_or(&self.site.manifest.project.name)
    }

    /// Where people find a checkpoint, by what stands behind the name that they chose.
    fn published(&self, suffix: &str) -> PathBuf {
        self.site.output().join(format!("{}{suffix}{ENDING}", self.output_name()))
    }
}

/// The output: metrics and checkpoints. The files stay where the state is, under second names.
fn draft(
    work: &mut dyn Work,
    metrics: String,
    losses: String,
    checkpoints: Vec<(String, PathBuf)>,
) -> Result<Draft, StageError> {
    let folder = work.scratch(0)?;
    let mut draft = Draft::bytes("metrics.jsonl", metrics).and("losses.jsonl", losses);
    for (suffix, path) in checkpoints {
        let name = format!("model{suffix}{ENDING}");
        let linked = folder.join(&name);
        atomic::link(&path, &linked).map_err(|error| StoreError::write(&linked, error))?;
        draft = draft.and_file(&name, linked);
    }
    Ok(draft)
}
