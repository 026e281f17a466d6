//! What a plan tells of the cache: the buckets, how pictures are cut and scaled, how many encodings
//! there are and what they take.
//!
//! Sizes of pictures come from their headers, which the store remembers by content.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
};

use rayon::prelude::*;
use serde_json::json;

use super::{
    Cache, LATENT, TEXT,
    header::{self, Placed},
    views::{self, View},
};
use crate::stages::{Sample, Site, variants};
use crate::{
    base::{bytes as told, plural},
    dataset::Placement,
    manifest::{Dtype, Latent},
    models::flux::FluxConfig,
    pipeline::{Decision, Note, StageError, Store},
    weights::Checkpoint,
};

/// So many buckets, or pictures, stand in a line.
const SHOWN: usize = 5;
/// Pictures that grow by more than this factor are named.
const ENLARGED: f64 = 1.5;
/// What the header of a record takes, about.
const HEADER: u64 = 256;

/// The notes of a cache stage with these decisions.
pub fn notes(
    cache: &Cache,
    decisions: &[Decision],
    store: &Store,
) -> Result<Vec<Note>, StageError> {
    let views = cache.views();
    let latents = decisions.iter().filter(|decision| decision.spec.recipe == LATENT);
    let mut samples = latents
        .filter_map(|decision| views.get(&decision.spec.id).map(|(sample, _)| *sample))
        .collect::<Vec<_>>();
    // The views of a picture follow each other.
    samples.dedup_by_key(|sample| std::ptr::from_ref(*sample));
    let placed = placed(&cache.site, &samples, store)?;
    let mut notes = Vec::new();
    if !placed.is_empty() {
        notes.push(buckets(&placed));
        notes.push(cuts(&placed));
        notes.extend(enlarged(&placed));
    }
    if !decisions.is_empty() {
        notes.push(records(cache, decisions, &placed, &views)?);
    }
    Ok(notes)
}

/// Where each picture goes. One that is broken or fits no bucket is told when it is encoded.
pub(in crate::stages) fn placed<'a>(
    site: &Site,
    samples: &[&'a Sample],
    store: &Store,
) -> Result<Vec<Placed<'a>>, StageError> {
    let buckets = views::buckets(site)?;
    let place = |&sample: &&'a Sample| header::placed(site, &buckets, sample);
    let placed = samples.par_iter().map(place).collect::<Result<Vec<_>, _>>()?;
    // Only speed is lost where the store cannot be written.
    let _ = store.save_facts();
    Ok(placed.into_iter().flatten().collect())
}

fn buckets(placed: &[Placed<'_>]) -> Note {
    let mut all = BTreeMap::<(usize, usize), usize>::new();
    for picture in placed {
        *all.entry(picture.placement.bucket).or_default() += 1;
    }
    let mut all = all.into_iter().collect::<Vec<_>>();
    all.sort_by_key(|(bucket, pictures)| (std::cmp::Reverse(*pictures), *bucket));
    let named = |((width, height), pictures): &((usize, usize), usize)| {
        format!("{width}×{height} ({pictures})")
    };
    let shown = all.iter().take(SHOWN).map(named).collect::<Vec<_>>().join(", ");
    let more = match all.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let of = plural(placed.len(), "picture");
    let text = format!("{of} in {}: {shown}{more}", plural(all.len(), "bucket"));
    let line = |((width, height), pictures): &((usize, usize), usize)| {
        format!("{width}×{height}: {}", plural(*pictures, "picture"))
    };
    let data = all.iter().map(|((width, height), pictures)| {
        json!({ "width": width, "height": height, "pictures": pictures })
    });
    let data = data.collect();
    Note { name: "buckets", text, details: all.iter().map(line).collect(), data }
}

fn cuts(placed: &[Placed<'_>]) -> Note {
    let mut by_cut = placed.iter().collect::<Vec<_>>();
    by_cut.sort_by(|one, other| other.placement.cut_off().total_cmp(&one.placement.cut_off()));
    let mut scales = placed
        .iter()
        .map(|picture| picture.placement.enlargement(picture.size))
        .collect::<Vec<_>>();
    scales.sort_by(f64::total_cmp);
    let (median, most) = (by_cut[by_cut.len() / 2].placement.cut_off(), by_cut[0]);
    let (smallest, middle, largest) =
        (scales[0], scales[scales.len() / 2], scales[scales.len() - 1]);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let text = format!(
        "cut off: {} in the median, at most {} ({}); scaled by {middle:.2} in the median, from \
         {smallest:.2} to {largest:.2}",
        percent(median),
        percent(most.placement.cut_off()),
        most.sample.id
    );
    let line = |picture: &&Placed<'_>| {
        let (size, Placement { bucket, resized, .. }) = (picture.size, picture.placement);
        format!(
            "{}: {}×{} to {}×{}, of which {} are cut off for {}×{}",
            picture.sample.id,
            size.0,
            size.1,
            resized.0,
            resized.1,
            percent(picture.placement.cut_off()),
            bucket.0,
            bucket.1
        )
    };
    let worst = by_cut.iter().take(SHOWN).filter(|picture| picture.placement.cut_off() > 0.0);
    let worst = worst.collect::<Vec<_>>();
    let data = json!({
        "cut_off": { "median": median, "largest": most.placement.cut_off() },
        "scale": { "median": middle, "smallest": smallest, "largest": largest },
        "worst": worst.iter().map(|picture| json!({
            "picture": picture.sample.id, "cut_off": picture.placement.cut_off(),
        })).collect::<Vec<_>>(),
    });
    Note { name: "crops", text, details: worst.into_iter().map(line).collect(), data }
}

fn enlarged(placed: &[Placed<'_>]) -> Option<Note> {
    let grows = placed.iter().map(|picture| (picture.placement.enlargement(picture.size), picture));
    let mut grows = grows.filter(|(factor, _)| *factor > ENLARGED).collect::<Vec<_>>();
    grows.sort_by(|one, other| other.0.total_cmp(&one.0));
    if grows.is_empty() {
        return None;
    }
    let named = |(factor, picture): &(f64, &Placed<'_>)| {
        format!("{} ({factor:.1} times)", picture.sample.id)
    };
    let mut shown = grows.iter().take(3).map(named).collect::<Vec<_>>().join(", ");
    if grows.len() > 3 {
        let _ = write!(shown, " and {} more", grows.len() - 3);
    }
    let text = format!("enlarged more than {ENLARGED} times and so blurred: {shown}");
    let data = grows
        .iter()
        .map(|(factor, picture)| json!({ "picture": picture.sample.id, "factor": factor }));
    let data = data.collect();
    Some(Note { name: "enlarged", text, details: grows.iter().skip(3).map(named).collect(), data })
}

/// How many encodings there are, and what they take: those that are stored as they are, the others
/// by their shapes.
fn records(
    cache: &Cache,
    decisions: &[Decision],
    placed: &[Placed<'_>],
    views: &HashMap<String, (&Sample, View)>,
) -> Result<Note, StageError> {
    let widths = Widths::of(cache)?;
    let latent = |picture: &Placed<'_>| {
        let (width, height) = picture.placement.bucket;
        widths.latent(cache, width, height)
    };
    let by_sample = placed
        .iter()
        .map(|picture| (picture.sample.id.as_str(), latent(picture)))
        .collect::<BTreeMap<_, _>>();
    let text = widths.text(cache)?;
    let (mut counts, mut bytes) = ([0_usize; 2], [0_u64; 2]);
    // What is shared is there once.
    for decision in decisions.iter().filter(|decision| decision.shares.is_none()) {
        let recipe = usize::from(decision.spec.recipe == TEXT);
        let stored =
            decision.output().map(|output| output.blobs.iter().map(|blob| blob.size).sum());
        let expected = || match recipe {
            1 => text,
            _ => views
                .get(&decision.spec.id)
                .and_then(|(sample, _)| by_sample.get(sample.id.as_str()))
                .copied()
                .unwrap_or_default(),
        };
        counts[recipe] += 1;
        bytes[recipe] += stored.unwrap_or_else(expected);
    }
    let of = |recipe: usize| decisions.iter().filter(move |one| one.spec.recipe == recipe).count();
    let (views, texts) = (of(LATENT), of(TEXT));
    let per_text = bytes[1] / counts[1].max(1) as u64;
    // How many tokens a text has is known once it is encoded.
    let unsure = !cache.config.attend_padding && decisions.iter().any(Decision::runs);
    let most = if unsure { "at most " } else { "" };
    // Texts that come out alike are encoded once, and which do is known once they are made.
    let unknown = if decisions.iter().any(Decision::is_pending) { "at most " } else { "" };
    let mut line = format!(
        "{} and {}{}, {} together; a text takes {most}{}",
        plural(counts[0], "latent"),
        unknown,
        plural(counts[1], "text"),
        told(bytes[0] + bytes[1]),
        told(per_text)
    );
    let drawn = cache.site.manifest.dataset.iter().map(|dataset| dataset.variants()).max();
    if let Some(variants @ 2..) = drawn {
        let _ = write!(line, ", up to {variants} for each picture");
    }
    let details = vec![
        format!(
            "latents: {} of {}, {}",
            plural(views, "view"),
            plural(placed.len(), "picture"),
            told(bytes[0])
        ),
        format!("texts: {texts} to encode or share, {}", told(bytes[1])),
    ];
    let data = json!({
        "latents": counts[0], "texts": counts[1],
        "latent_bytes": bytes[0], "text_bytes": bytes[1],
        "empty_caption": variants::dropping(&cache.site).is_some(),
    });
    Ok(Note { name: "records", text: line, details, data })
}

/// Widths of the encodings: those that the transformer takes, or FLUX.1's.
pub(super) struct Widths {
    pub channels: u64,
    pub t5: u64,
    pub clip: u64,
}

impl Widths {
    pub(super) fn of(cache: &Cache) -> Result<Self, StageError> {
        let Some(flux) = &cache.site.manifest.models.flux else {
            return Ok(Self { channels: 16, t5: 4096, clip: 768 });
        };
        let (config, _) = FluxConfig::detect(&Checkpoint::open(&cache.site.resolve(flux))?)?;
        Ok(Self {
            channels: config.in_channels as u64 / 4,
            t5: config.context_in_dim as u64,
            clip: config.vec_in_dim as u64,
        })
    }

    fn latent(&self, cache: &Cache, width: usize, height: usize) -> u64 {
        // Of moments there are two: mean and standard deviation.
        let kept = if cache.config.latent == Latent::Moments { 2 } else { 1 };
        let element = kept * element(cache.config.latent_dtype);
        HEADER + element * self.channels * (width as u64 / 8) * (height as u64 / 8)
    }

    fn text(&self, cache: &Cache) -> Result<u64, StageError> {
        let rows = cache.t5_length()? as u64;
        Ok(HEADER + element(cache.config.text_dtype) * (self.clip + rows * self.t5))
    }
}

fn element(dtype: Dtype) -> u64 {
    match dtype {
        Dtype::F32 => 4,
        Dtype::Bf16 => 2,
    }
}
