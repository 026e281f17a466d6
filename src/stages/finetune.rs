//! Stage `finetune`: the cached samples become a fine-tuned FLUX.1.
//!
//! One item. Its key covers the list of (latent, text record, repeats), the model and the parameters,
//! not where pictures lie or what they are called.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    ProjectError, Site,
    cache::{LATENT, TEXT},
    project::needed,
};
use crate::{
    base::{Digest, Value},
    device, manifest,
    pipeline::{
        Blob, Draft, Finished, ItemSpec, KeyPart, Origin, Owner, Publication, Published, Recipe,
        Stage, StageError, Store, Upstream, UpstreamItem, Work,
    },
    train::{self, Observer, Samples, StepMetrics, TrainError},
    weights::Checkpoint,
};

/// Raised with a reason whenever trained weights change for equal inputs.
const ALGORITHM: (i64, &str) = (1, "first version");

/// The stage.
pub struct Finetune {
    site: Arc<Site>,
    name: String,
    config: manifest::Finetune,
    model: PathBuf,
}

/// What the trainer reads for one sample.
struct Pair<'a> {
    latent: UpstreamItem<'a>,
    text: UpstreamItem<'a>,
    repeats: u32,
}

impl Pair<'_> {
    /// The pair as it stands in the key, or `None` while a part has still to be made.
    fn value(&self) -> Option<Value> {
        let latent = self.latent.output?.blob("latent.safetensors")?.digest;
        let text = self.text.output?.blob("text.safetensors")?.digest;
        Some(Value::List(vec![latent.into(), text.into(), Value::Int(i64::from(self.repeats))]))
    }
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

    fn pairs<'a>(&self, upstream: &Upstream<'a>) -> Vec<Pair<'a>> {
        let of = |recipe: &'static str| {
            upstream
                .items()
                .filter(move |item| item.kind == "cache" && item.recipe == recipe)
                .map(|item| (item.id, item))
                .collect::<std::collections::BTreeMap<_, _>>()
        };
        debug_assert_eq!((LATENT, TEXT), (0, 1));
        let (latents, texts) = (of("latent"), of("text"));
        let samples = super::sidecar::by_id(&self.site);
        let mut pairs = Vec::new();
        for (id, latent) in latents {
            let (Some(&text), Some(sample)) = (texts.get(id), samples.get(id)) else { continue };
            let repeats = self.site.dataset(sample).num_repeats;
            pairs.push(Pair { latent, text, repeats });
        }
        pairs
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
        let pairs = self.pairs(upstream);
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = pairs.iter().map(Pair::value).collect::<Option<Vec<_>>>();
        if let Some(values) = &mut values {
            // By content, so that names and the order of files do not matter.
            values.sort_by_key(|value| *value.digest().as_bytes());
        }
        let pending = pairs.iter().flat_map(|pair| [pair.latent, pair.text]);
        let waiting = pending.into_iter().find(|item| item.output.is_none());
        let samples = match (values, waiting) {
            (Some(values), _) => {
                let origin = Origin::Upstream {
                    stage: pairs[0].latent.stage.to_owned(),
                    item: format!("{} samples", pairs.len()),
                };
                KeyPart { name: "samples".to_owned(), value: Some(Value::List(values)), origin }
            }
            (None, Some(item)) => KeyPart::pending("samples", item.stage, item.id),
            (None, None) => return Ok(Vec::new()),
        };
        Ok(vec![ItemSpec { id: "model".to_owned(), recipe: 0, parts: vec![samples], given: None }])
    }

    fn run(&self, work: &mut dyn Work) -> Result<(), StageError> {
        let chosen = device::choose(&self.site.device)?;
        let checkpoint = Checkpoint::open(&self.model)?;
        let records = Records::open(self, work)?;
        let folder = work.scratch(0)?;
        let mut journal = Journal::create(work, &folder, &self.config.output_name)?;
        let settings = self.settings();
        let outcome = train::finetune(&checkpoint, &settings, &records, &chosen.device, &mut journal);
        let files = journal.finish()?;
        if let Err(TrainError::Cancelled) = outcome {
            return Ok(());
        }
        outcome?;
        let draft = files.into_iter().fold(Draft::default(), |draft, path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            draft.and_file(&name, path)
        });
        work.commit(0, draft)
    }

    fn publications(
        &self,
        finished: &[Finished<'_>],
        _store: &Store,
    ) -> Result<Vec<Publication>, StageError> {
        let blobs = finished.iter().flat_map(|done| &done.output.blobs);
        let publish = |blob: &Blob| Publication {
            path: self.site.output().join(&blob.name),
            content: Published::Blob(blob.clone()),
            owner: Owner::Fluxpipe,
        };
        Ok(blobs.map(publish).collect())
    }
}

/// The cached records as the trainer reads them.
struct Records {
    store: Arc<Store>,
    samples: Vec<Record>,
}

struct Record {
    latent: Blob,
    text: Blob,
    repeats: u32,
    content: Digest,
    size: (usize, usize),
}

impl Records {
    fn open(stage: &Finetune, work: &dyn Work) -> Result<Self, StageError> {
        let mut samples = Vec::new();
        for pair in stage.pairs(work.upstream()) {
            let (Some(latent), Some(text), Some(value)) = (
                pair.latent.output.and_then(|output| output.blob("latent.safetensors")).cloned(),
                pair.text.output.and_then(|output| output.blob("text.safetensors")).cloned(),
                pair.value(),
            ) else {
                continue;
            };
            let file = Checkpoint::from_bytes(Path::new(&latent.name), work.store().read(&latent)?)?;
            let shape = file.info("latent").map(|info| info.shape.clone()).unwrap_or_default();
            let size = (shape.get(1).copied().unwrap_or(0), shape.get(2).copied().unwrap_or(0));
            samples.push(Record { latent, text, repeats: pair.repeats, content: value.digest(), size });
        }
        samples.sort_by_key(|sample| sample.content);
        Ok(Self { store: stage.site.store.clone(), samples })
    }
}
