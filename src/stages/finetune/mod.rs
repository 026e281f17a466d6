//! Stage `finetune`: the cached samples become a fine-tuned FLUX.1.
//!
//! One item. Its key covers the list of samples (latents, text records, repeats and what else is done
//! with them), the model and the parameters, not where pictures lie or what they are called.

mod appearances;
mod differences;
mod journal;
mod notes;
mod samples;
mod settings;

use std::{path::PathBuf, sync::Arc};

use rayon::prelude::*;

use self::{
    journal::Journal,
    samples::{Cached, Records},
};
use super::{ProjectError, Site, site::needed};
use crate::{
    base::Value,
    device, manifest,
    models::flux::Flux,
    pipeline::{
        Blob, Decision, Difference, Finished, ItemSpec, KeyPart, Note, Origin, Owner, Publication,
        Published, Recipe, Stage, StageError, Store, Upstream, Work,
    },
    train::{self, TrainError},
    weights::Checkpoint,
};

/// Raised with a reason whenever trained weights change for equal inputs.
const ALGORITHM: (i64, &str) =
    (3, "weights are rounded by other random bits, and the backward pass sums in another order");

/// The stage.
pub struct Finetune {
    site: Arc<Site>,
    name: String,
    config: manifest::Finetune,
    model: PathBuf,
}

impl Finetune {
    pub fn new(
        site: &Arc<Site>,
        name: &str,
        config: &manifest::Finetune,
    ) -> Result<Self, ProjectError> {
        let model = needed(site, name, "flux", site.manifest.models.flux.as_ref())?;
        Ok(Self { site: site.clone(), name: name.to_owned(), config: config.clone(), model })
    }
}

impl Stage for Finetune {
    fn kind(&self) -> &'static str {
        "finetune"
    }

    fn recipes(&self) -> Result<Vec<Recipe>, StageError> {
        let mut parts = self.site.parameters(&format!("stages.{}", self.name), &self.config);
        parts.push(Site::algorithm(ALGORITHM.0, ALGORITHM.1));
        parts.push(self.site.model("flux", &self.model)?);
        Ok(vec![Recipe { name: "model", parts }])
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
        match (&difference.old, &difference.new) {
            (Some(Value::List(old)), Some(Value::List(new))) if difference.part == "samples" => {
                differences::within(self, &samples::cached(&self.site, upstream), old, new)
            }
            _ => Vec::new(),
        }
    }

    fn notes(
        &self,
        _: &[Decision],
        upstream: &Upstream<'_>,
        store: &Store,
    ) -> Result<Vec<Note>, StageError> {
        notes::notes(self, upstream, store)
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let chosen = device::choose(&self.site.device)?;
        let checkpoint = Checkpoint::open(&self.model)?;
        let settings = settings::of(&self.config);
        let flux = Flux::load(&checkpoint, &chosen.device, settings.weights)?;
        let records = Records::open(&self.site, &self.config, work.upstream())?;
        let base = self.site.store.digest_file(&self.model)?;
        let mut journal =
            Journal::new(work, base, settings::metadata(&self.config), settings.max_train_epochs)?;
        let outcome = train::finetune(flux, &settings, &records, &mut journal);
        let draft = journal.finish();
        match outcome {
            Err(TrainError::Cancelled { .. }) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => work.commit(0, draft),
        }
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        _store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        let name = match &self.config.output_name {
            Some(name) => name,
            None => &self.site.manifest.project.name,
        };
        let publish = |blob: &Blob| Publication {
            // `model…safetensors` under the name that the user chose; blobs have names of their own,
            // since a name is no part of a model.
            path: self.site.output().join(match blob.name.strip_prefix("model") {
                Some(rest) => format!("{name}{rest}"),
                None => format!("{name}-{}", blob.name),
            }),
            content: Published::Blob(blob.clone()),
            owner: Owner::Fluxpipe,
        };
        Ok(finished.iter().flat_map(|done| &done.output.blobs).map(publish).collect())
    }
}
