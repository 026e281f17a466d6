//! The cached records of each sample, and how the trainer reads them.
//!
//! A sample is a picture with its text: one latent per view, one text record per variant. Which of them
//! an appearance takes is chosen in [`appearances`](super::appearances).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rayon::prelude::*;

use super::appearances::{Choice, Choices, held_out};
use crate::stages::{Sample, Site, cache::views::View, variants};
use crate::{
    base::{Digest, Stream, Value},
    manifest,
    pipeline::{Blob, StageError, Store, Upstream, UpstreamItem},
    train::{self, Appearance, Member, Role},
    weights::Checkpoint,
};

const LATENT: &str = "latent.safetensors";
const TEXT: &str = "text.safetensors";

/// What the cache stage has of one sample.
pub struct Cached<'a> {
    pub sample: &'a Sample,
    pub views: Vec<UpstreamItem<'a>>,
    pub texts: Vec<UpstreamItem<'a>>,
    /// The empty caption, where the sample's dataset drops captions.
    pub empty: Option<UpstreamItem<'a>>,
    dataset: &'a manifest::Dataset,
    held_out: bool,
}

/// The samples of which all records are there or will be.
pub fn cached<'a>(site: &'a Site, upstream: &Upstream<'a>) -> Vec<Cached<'a>> {
    Index::new(site, upstream).samples().collect()
}

/// The cached records, by id.
pub struct Index<'a> {
    site: &'a Site,
    latents: HashMap<&'a str, UpstreamItem<'a>>,
    texts: HashMap<&'a str, UpstreamItem<'a>>,
    held_out: HashSet<(usize, Digest)>,
}

impl<'a> Index<'a> {
    pub fn new(site: &'a Site, upstream: &Upstream<'a>) -> Self {
        let made_by = |is_wanted: fn(&str) -> bool| {
            let items = upstream.of_kind("cache").filter(|item| is_wanted(item.recipe));
            items.map(|item| (item.id, item)).collect::<HashMap<_, _>>()
        };
        let (latents, texts) = rayon::join(
            || made_by(|recipe| recipe == "latent"),
            || made_by(|recipe| recipe != "latent"),
        );
        Self { site, latents, texts, held_out: held_out_pictures(site) }
    }

    /// The samples of which all records are there or will be, in the order of the pictures.
    pub fn samples(&self) -> impl ParallelIterator<Item = Cached<'a>> {
        self.site.samples.par_iter().filter_map(|sample| self.cached(sample))
    }

    fn cached(&self, sample: &'a Sample) -> Option<Cached<'a>> {
        let dataset = self.site.dataset(sample);
        let views = View::all(dataset).into_iter();
        let views = views.map(|view| self.latents.get(view.id(&sample.id).as_str()).copied());
        let variants = (0..dataset.variants())
            .map(|variant| self.texts.get(variants::id(&sample.id, variant).as_str()).copied());
        let empty = self.texts.get(variants::EMPTY).copied();
        Some(Cached {
            sample,
            views: views.collect::<Option<_>>()?,
            texts: variants.collect::<Option<_>>()?,
            empty: empty.filter(|_| dataset.drops_captions()),
            dataset,
            held_out: self.held_out.contains(&(sample.dataset, sample.digest)),
        })
    }
}

/// Index of the dataset and digest of each picture that only measures the loss.
fn held_out_pictures(site: &Site) -> HashSet<(usize, Digest)> {
    let mut found = HashSet::new();
    for (index, dataset) in site.manifest.dataset.iter().enumerate() {
        if dataset.validation_split > 0.0 && !dataset.is_reg {
            let pictures = site.samples.iter().filter(|sample| sample.dataset == index);
            let pictures = pictures.map(|sample| sample.digest).collect::<Vec<_>>();
            let chosen = held_out(&pictures, dataset.validation_split, dataset.validation_seed);
            found.extend(chosen.into_iter().map(|picture| (index, picture)));
        }
    }
    found
}

impl<'a> Cached<'a> {
    /// All records that the sample reads.
    pub fn items(&self) -> impl Iterator<Item = UpstreamItem<'a>> {
        self.views.iter().chain(&self.texts).chain(&self.empty).copied()
    }

    /// The records as they stand in the key, or `None` while one has still to be made. A sample of one
    /// view and one text that nothing special is done with is a latent, a text and the repeats.
    pub fn value(&self, prior_loss_weight: f64) -> Option<Value> {
        let mut value = self.content()?;
        let mut special = Vec::new();
        let dataset = self.dataset;
        if self.held_out {
            special.push(("held_out", Value::Bool(true)));
        } else {
            if dataset.caption_dropout_rate > 0.0 {
                special.push(("caption_dropout_rate", Value::Float(dataset.caption_dropout_rate)));
            }
            if dataset.caption_dropout_every_n_epochs > 0 {
                let every = Value::Int(i64::from(dataset.caption_dropout_every_n_epochs));
                special.push(("caption_dropout_every_n_epochs", every));
            }
            if let Some(empty) = &self.empty {
                special.push(("empty", digest(empty, TEXT)?.into()));
            }
            if dataset.is_reg {
                special.push(("prior_loss_weight", Value::Float(prior_loss_weight)));
            }
        }
        if self.texts.len() > 1 && dataset.token_warmup_step > 0.0 {
            special.push(("in_order", Value::Bool(true)));
        }
        if !special.is_empty() {
            let special = special.into_iter().map(|(name, value)| (name.to_owned(), value));
            value.push(Value::Map(special.collect()));
        }
        Some(Value::List(value))
    }

    /// How often the sample appears in an epoch; held out, it is looked at once.
    pub fn repeats(&self) -> u32 {
        if self.held_out { 1 } else { self.dataset.num_repeats }
    }

    /// What the sample is there for.
    pub fn role(&self) -> Role {
        match (self.held_out, self.dataset.is_reg) {
            (true, _) => Role::HeldOut,
            (false, true) => Role::Regularisation,
            (false, false) => Role::Trained,
        }
    }

    /// What the sample is, which names its random numbers and its place in the order; `None` while a
    /// record of it has still to be made.
    pub fn content_digest(&self) -> Option<Digest> {
        Some(Value::List(self.content()?).digest())
    }

    /// What the sample is, part by part.
    fn content(&self) -> Option<Vec<Value>> {
        let repeats = Value::Int(i64::from(self.repeats()));
        Some(vec![self.views_value()?, self.texts_value()?, repeats])
    }

    /// Its latents as they stand in the key, or `None` while one has still to be made.
    pub fn views_value(&self) -> Option<Value> {
        digests(&self.views, LATENT)
    }

    /// Its texts as they stand in the key, or `None` while one has still to be made.
    pub fn texts_value(&self) -> Option<Value> {
        digests(&self.texts, TEXT)
    }
}

/// The digests of one blob of each item; of one item, that of its own.
fn digests(items: &[UpstreamItem<'_>], blob: &str) -> Option<Value> {
    let digests = items.iter().map(|item| Some(Value::Digest(digest(item, blob)?)));
    let mut digests = digests.collect::<Option<Vec<_>>>()?;
    Some(if digests.len() == 1 { digests.remove(0) } else { Value::List(digests) })
}

/// Which blob of an item of the cache stage is the record.
pub fn blob(item: &UpstreamItem<'_>) -> &'static str {
    if item.recipe == "latent" { LATENT } else { TEXT }
}

fn digest(item: &UpstreamItem<'_>, blob: &str) -> Option<Digest> {
    Some(item.output?.blob(blob)?.digest)
}

/// The records as the trainer reads them.
pub struct Records {
    store: Arc<Store>,
    seed: u64,
    samples: Vec<Record>,
}

struct Record {
    name: String,
    views: Vec<Blob>,
    texts: Vec<Blob>,
    empty: Option<Blob>,
    repeats: u32,
    role: Role,
    weight: f32,
    choices: Choices,
    content: Digest,
    size: (usize, usize),
}

impl Records {
    /// Opens the records of all samples.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn open(
        site: &Site,
        config: &manifest::Finetune,
        upstream: &Upstream<'_>,
    ) -> Result<Self, StageError> {
        let mut samples = Vec::new();
        for cached in cached(site, upstream) {
            samples.extend(Record::of(&cached, config, &site.store)?);
        }
        samples.sort_by_key(|sample| sample.content);
        Ok(Self { store: site.store.clone(), seed: config.seed, samples })
    }

    /// What decides where each of them appears.
    pub fn members(&self) -> Vec<Member> {
        let member = |sample: &Record| Member {
            size: sample.size,
            content: sample.content,
            repeats: sample.repeats,
            role: sample.role,
        };
        self.samples.iter().map(member).collect()
    }

    fn open_blob(&self, blob: &Blob) -> Result<Checkpoint, String> {
        open(&self.store, blob).map_err(|error| error.to_string())
    }
}

/// Maps a record into memory.
fn open(store: &Store, blob: &Blob) -> Result<Checkpoint, StageError> {
    Ok(Checkpoint::open_safetensors(&store.path(blob)?)?)
}

impl Record {
    /// `None` where a record is not there.
    fn of(
        cached: &Cached<'_>,
        config: &manifest::Finetune,
        store: &Store,
    ) -> Result<Option<Self>, StageError> {
        let blobs = |items: &[UpstreamItem<'_>], name| {
            let blobs = items.iter().map(|item| item.output?.blob(name).cloned());
            blobs.collect::<Option<Vec<_>>>()
        };
        let (Some(views), Some(texts), Some(content)) =
            (blobs(&cached.views, LATENT), blobs(&cached.texts, TEXT), cached.content())
        else {
            return Ok(None);
        };
        let dataset = cached.dataset;
        let file = open(store, &views[0])?;
        let info = file.info("latent").or_else(|| file.info("mean"));
        let Some(&[_, height, width]) = info.map(|info| &info.shape[..]) else { return Ok(None) };
        let run = (config.seed, config.max_train_epochs as usize);
        Ok(Some(Self {
            name: cached.sample.id.clone(),
            choices: Choices::new(dataset, run, texts.len(), views.len()),
            views,
            texts,
            empty: cached.empty.as_ref().and_then(|item| item.output?.blob(TEXT).cloned()),
            repeats: cached.repeats(),
            role: cached.role(),
            weight: if dataset.is_reg { config.prior_loss_weight as f32 } else { 1.0 },
            content: Value::List(content).digest(),
            size: (height, width),
        }))
    }
}

impl train::Samples for Records {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn bucket(&self, index: usize) -> (usize, usize) {
        self.samples[index].size
    }

    fn content(&self, index: usize) -> Digest {
        self.samples[index].content
    }

    fn name(&self, index: usize) -> String {
        self.samples[index].name.clone()
    }

    fn repeats(&self, index: usize) -> u32 {
        self.samples[index].repeats
    }

    fn role(&self, index: usize) -> Role {
        self.samples[index].role
    }

    fn load(&self, appearance: &Appearance) -> Result<train::Sample, String> {
        let sample = &self.samples[appearance.index];
        let Choice { text, view } = sample.choices.of(appearance);
        let text = match (text, &sample.empty) {
            (Some(text), _) => &sample.texts[text],
            (None, Some(empty)) => empty,
            (None, None) => return Err("the empty caption is not in the cache".to_owned()),
        };
        let (latent, text) = (self.open_blob(&sample.views[view])?, self.open_blob(text)?);
        let tensor = |file: &Checkpoint, name| file.f32(name).map_err(|error| error.to_string());
        let mask = latent.info("mask").is_some().then(|| tensor(&latent, "mask")).transpose()?;
        Ok(train::Sample {
            latent: match latent.info("latent") {
                Some(_) => tensor(&latent, "latent")?,
                None => {
                    let (mean, std) = (tensor(&latent, "mean")?, tensor(&latent, "std")?);
                    drawn(&mean, &std, self.seed, appearance)
                }
            },
            t5: tensor(&text, "t5")?,
            t5_masked: text.metadata().get("t5_padding").is_some_and(|padding| padding == "masked"),
            clip: tensor(&text, "clip_pooled")?,
            mask,
            weight: sample.weight,
        })
    }
}

/// A latent from what is stored of its distribution, drawn anew for each appearance.
fn drawn(mean: &[f32], std: &[f32], seed: u64, appearance: &Appearance) -> Vec<f32> {
    let counters = [appearance.epoch as u64, appearance.repeat];
    let mut stream = Stream::new(seed, "posterior", Some(&appearance.content), &counters);
    let noise = stream.normals(mean.len());
    mean.iter().zip(std).zip(noise).map(|((mean, std), noise)| mean + std * noise).collect()
}
