//! What the encodings of a cache that are to be made will take: their files to the byte, where texts are
//! known, and the memory of the networks.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use rayon::prelude::*;

use super::{
    Cache, LATENT, TEXT,
    notes::{Widths, placed},
    record,
};
use crate::stages::{
    Sample, Site,
    text_encoders::{TextSettings, Tokens},
    variants,
};
use crate::{
    device,
    manifest::{Dtype, Latent},
    models::{autoencoder::REDUCTION, identity},
    pipeline::{Cost, Decision, Smaller, StageError, Store, Upstream},
    weights::Checkpoint,
};

/// How encodings are stored, as far as it decides their size.
#[derive(Clone, Copy)]
struct Form {
    latent: Latent,
    latent_f32: bool,
    text_f32: bool,
    masked: bool,
}

/// What is to be encoded.
struct Wanted {
    /// Buckets, and whether a mask may lie beside the latent.
    latents: Vec<((usize, usize), bool)>,
    /// Real tokens of the texts that are known.
    known: Vec<usize>,
    /// How many texts are not known yet.
    unknown: u64,
    /// Tokens of the longest text.
    length: usize,
}

/// The cost of the items that are to run.
pub fn cost(
    cache: &Cache,
    decisions: &[Decision],
    upstream: &Upstream<'_>,
    store: &Store,
) -> Result<Cost, StageError> {
    let wanted = wanted(cache, decisions, upstream, store)?;
    let widths = Widths::of(cache)?;
    let form = Form {
        latent: cache.config.latent,
        latent_f32: cache.config.latent_dtype == Dtype::F32,
        text_f32: cache.config.text_dtype == Dtype::F32,
        masked: !cache.config.attend_padding,
    };
    let bytes = wanted.bytes(&widths, form);
    let memory = memory(cache, &wanted);
    let at_most = wanted.unknown > 0 || wanted.latents.iter().any(|(_, mask)| *mask);
    let smaller = smaller(&wanted, &widths, form);
    let cost = Cost { bytes, at_most, peak_bytes: bytes, smaller, ..Cost::default() };
    Ok(cache.site.with_memory(cost, memory))
}

fn wanted(
    cache: &Cache,
    decisions: &[Decision],
    upstream: &Upstream<'_>,
    store: &Store,
) -> Result<Wanted, StageError> {
    let of =
        |recipe: usize| decisions.iter().filter(move |one| one.runs() && one.spec.recipe == recipe);
    let views = cache.views();
    let pictures = of(LATENT).filter_map(|one| views.get(&one.spec.id).map(|(sample, _)| *sample));
    let pictures = pictures.collect::<Vec<&Sample>>();
    let latents = placed(&cache.site, &pictures, store)?
        .into_iter()
        .map(|placed| (placed.placement.bucket, cache.site.dataset(placed.sample).alpha_mask));
    let length = cache.t5_length()?;
    let texts = known(&of(TEXT).collect::<Vec<_>>(), upstream, store)?;
    let settings = TextSettings::of(&cache.config, length);
    let count = |text: &Option<String>| text.as_ref().map(|text| Tokens::of(text, &settings).real);
    let counts = texts.par_iter().map(count).collect::<Vec<_>>();
    let known = counts.iter().flatten().copied().collect::<Vec<_>>();
    let unknown = (counts.len() - known.len()) as u64;
    Ok(Wanted { latents: latents.collect(), known, unknown, length })
}

/// The texts of these items, as far as they are made.
pub(super) fn known(
    items: &[&Decision],
    upstream: &Upstream<'_>,
    store: &Store,
) -> Result<Vec<Option<String>>, StageError> {
    let merged = variants::merged(upstream);
    let read = |one: &&Decision| match one.is_pending() {
        true => Ok(None),
        false => variants::read(&merged, store, &one.spec.id).map(Some),
    };
    items.par_iter().map(read).collect()
}

impl Wanted {
    /// Bytes of all records in this form.
    fn bytes(&self, widths: &Widths, form: Form) -> u64 {
        let mut by_size = HashMap::<_, u64>::new();
        self.latents.iter().for_each(|latent| *by_size.entry(*latent).or_default() += 1);
        let latents = by_size.into_iter().map(|(((width, height), mask), count)| {
            count * latent_size(widths, form, (width, height), mask)
        });
        let mut by_tokens = HashMap::<_, u64>::new();
        self.known.iter().for_each(|real| *by_tokens.entry(*real).or_default() += 1);
        let known = by_tokens.into_iter();
        let known = known.map(|(real, count)| count * text_size(widths, form, real, self.length));
        let unknown = self.unknown * text_size(widths, form, self.length, self.length);
        latents.sum::<u64>() + known.sum::<u64>() + unknown
    }
}

fn latent_size(widths: &Widths, form: Form, (width, height): (usize, usize), mask: bool) -> u64 {
    let sides = [height / REDUCTION, width / REDUCTION];
    let shape = [widths.channels as usize, sides[0], sides[1]];
    let names: &[&str] =
        if form.latent == Latent::Moments { &["mean", "std"] } else { &["latent"] };
    let mut tensors = names.iter().map(|name| (*name, &shape[..])).collect::<Vec<_>>();
    tensors.extend(mask.then_some(("mask", &sides[..])));
    record::size(&tensors, &BTreeMap::new(), form.latent_f32)
}

fn text_size(widths: &Widths, form: Form, real: usize, length: usize) -> u64 {
    let rows = if form.masked { real.max(1) } else { length };
    let (clip, t5) = ([widths.clip as usize], [rows, widths.t5 as usize]);
    let notes = super::texts::notes(real, !form.masked);
    record::size(&[("clip_pooled", &clip), ("t5", &t5)], &notes, form.text_f32)
}

/// Forms that take less, the mildest first; each with those before it.
fn smaller(wanted: &Wanted, widths: &Widths, mut form: Form) -> Vec<Smaller> {
    let mut all = Vec::new();
    let mut settings = Vec::new();
    let mut with = |setting: &str, form: Form| {
        settings.push(setting.to_owned());
        let setting = settings.join("`, `");
        all.push(Smaller { setting, peak_bytes: wanted.bytes(widths, form) });
    };
    if form.text_f32 {
        form.text_f32 = false;
        with("text_dtype = \"bf16\"", form);
    }
    if form.latent_f32 {
        form.latent_f32 = false;
        with("latent_dtype = \"bf16\"", form);
    }
    if form.latent == Latent::Moments {
        form.latent = Latent::Sample;
        with("latent = \"sample\"", form);
    }
    all
}

/// Bytes at the peak, about: the weights of the networks that are there together, in f32, and their largest
/// arrays.
fn memory(cache: &Cache, wanted: &Wanted) -> Option<u64> {
    let pixels = wanted.latents.iter().map(|((width, height), _)| width * height).max();
    let latents = pixels.and_then(|pixels| autoencoder(cache, pixels as u64));
    let texts = wanted.known.len() as u64 + wanted.unknown;
    let texts = (texts > 0).then(|| text_encoders(cache, texts * wanted.length as u64)).flatten();
    latents.max(texts)
}

/// The encoder's weights, and what is between its first convolutions, or half of what is free where that is
/// more: it is then computed in bands.
fn autoencoder(cache: &Cache, pixels: u64) -> Option<u64> {
    let file = Checkpoint::open(&cache.ae).ok()?;
    let prefix = identity::prefix(&file, "ae").ok()?;
    let encoder = format!("{prefix}encoder.");
    let first = file.info(&format!("{encoder}conv_in.weight"))?.shape.first().copied()?;
    let arrays = 2 * 4 * first as u64 * pixels;
    Some(weights(&file, &encoder) + arrays.min(device::memory::free() / 2))
}

/// CLIP-L, the layers of T5 that stay and one more, the states of a set, and what a layer makes of some
/// rows.
fn text_encoders(cache: &Cache, rows: u64) -> Option<u64> {
    let (clip, t5) = (Checkpoint::open(&cache.clip_l).ok()?, Checkpoint::open(&cache.t5xxl).ok()?);
    let prefix = identity::prefix(&t5, "t5xxl").ok()?;
    let layer = weights(&t5, &format!("{prefix}encoder.block.0."));
    let layers = u64::from(cache.config.t5_resident_layers) + 1;
    let block = format!("{prefix}encoder.block.0.layer.");
    let [inner, model] = t5.info(&format!("{block}1.DenseReluDense.wi_0.weight"))?.shape[..] else {
        return None;
    };
    let (inner, model) = (inner as u64, model as u64);
    let (together, states) = crate::models::t5::rows(rows, model);
    Some(weights(&clip, "") + layers * layer + 4 * (2 * states * model + together * 3 * inner))
}

/// Bytes of the weights below a name, in f32.
fn weights(file: &Checkpoint, prefix: &str) -> u64 {
    let below = file.names().filter(|name| name.starts_with(prefix));
    4 * below.filter_map(|name| file.info(name)).map(|info| info.elements() as u64).sum::<u64>()
}

/// Bytes of all weights of a file, in f32.
pub(in crate::stages) fn all_weights(path: &Path) -> Option<u64> {
    Some(weights(&Checkpoint::open(path).ok()?, ""))
}

/// By the id of a view: its bucket, as the class of its latent.
pub fn classes(cache: &Cache, site: &Site) -> HashMap<String, String> {
    let Ok(buckets) = super::views::buckets(site) else { return HashMap::new() };
    let views = cache.views().into_par_iter().filter_map(|(id, (sample, _))| {
        let placed = super::header::placed(site, &buckets, sample).ok()??;
        let (width, height) = placed.placement.bucket;
        Some((id, format!("{width}×{height}")))
    });
    views.collect()
}
