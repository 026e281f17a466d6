//! Pictures into latents: bucket, resize, crop, autoencoder, posterior sample.

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};

use super::{
    Cache,
    header::{self, Shape},
    import, posterior, record,
    views::{self, View},
};
use crate::stages::{
    Sample,
    batches::{self, Flow},
    sidecar::leave_out,
};
use crate::{
    base::Stream,
    dataset::{Fitted, Picture},
    device,
    manifest::Dtype,
    models::{
        autoencoder::{Encoder, Moments, REDUCTION},
        identity,
    },
    pipeline::{Draft, StageError, Work},
    weights::{Checkpoint, Loader},
};

/// How many pictures wait for the encoder, which takes seconds for each.
const AHEAD: usize = 2;

/// Encodes the pictures of the items with these indices, one by one, but for those of which a cache can
/// be taken.
pub fn encode(cache: &Cache, work: &mut dyn Work, items: &[usize]) -> Result<(), StageError> {
    let device = device::choose(&cache.site.device)?.device;
    let checkpoint = Checkpoint::open(&cache.ae)?;
    let loader =
        Loader::new(&checkpoint, identity::prefix(&checkpoint, "ae")?, &device, FloatDType::F32);
    let mut encoder = None;
    let site = &cache.site;
    let beside = cache.config.import_cache.then(|| import::Beside::of(site));
    let buckets = views::buckets(site)?;
    let by_id = cache.views();
    let jobs_of = |&item: &usize| by_id[&work.items()[item].id];
    let views = items.iter().map(jobs_of).collect::<Vec<(&Sample, View)>>();
    let jobs = views.iter().map(|(sample, _)| site.job(sample)).collect::<Vec<_>>();
    let seed = cache.config.seed;
    let fit = |index: usize, picture: Picture| {
        let (sample, view) = views[index];
        let buckets = &buckets[sample.dataset];
        let size = (picture.width, picture.height);
        let placement = buckets.select(size.0, size.1)?;
        let drawn = view.draw(site.dataset(sample), seed, sample, Some(placement));
        Ok((size, drawn, drawn.fit(buckets, placement, &picture)))
    };
    let taken = |sample: &Sample, view: View, size, fitted: &Fitted| {
        let files = beside.as_ref().filter(|_| !view.is_drawn());
        let files = files.map_or(&[][..], |beside| beside.latents(sample));
        if files.is_empty() {
            return Ok(Ok(None));
        }
        // Nobody can see in a decoded picture that it was turned.
        let turned = header::shape(site, sample)?.is_some_and(|shape| shape.turned);
        let bucket = fitted.placement.bucket;
        Ok::<_, StageError>(import::latent(
            files,
            view.is_flipped(),
            Shape { size, turned },
            bucket,
        ))
    };
    batches::prepared(&jobs, AHEAD, fit, |index, fitted| {
        if work.cancelled() {
            return Ok(Flow::Stop);
        }
        match fitted {
            Ok((size, drawn, fitted)) => {
                let (sample, view) = views[index];
                let (mut kept, refused) = match taken(sample, view, size, &fitted)? {
                    Ok(Some(latent)) => (vec![("latent", latent)], None),
                    other => {
                        let encoder = match &mut encoder {
                            Some(encoder) => encoder,
                            none => {
                                let encoder = none.insert(Encoder::load(&loader)?);
                                work.ready(items[index]);
                                encoder
                            }
                        };
                        let moments = moments(cache, encoder, &fitted, &device);
                        let (digest, counters) = (Some(&sample.digest), drawn.counters());
                        let noise = || Stream::new(seed, "posterior", digest, &counters);
                        (posterior::tensors(moments, cache.config.latent, noise)?, other.err())
                    }
                };
                let mask = site.dataset(sample).alpha_mask.then(|| fitted.mask()).flatten();
                kept.extend(mask.map(|mask| ("mask", mask)));
                let draft = draft(cache, &kept, &fitted)?;
                work.commit(items[index], import::encoded(draft, refused.as_ref()))?;
            }
            Err(error) => leave_out(work, items[index], error)?,
        }
        Ok(Flow::GoOn)
    })
}

/// What the autoencoder gives for a picture.
fn moments(cache: &Cache, encoder: &Encoder, fitted: &Fitted, device: &Device) -> Moments {
    let (width, height) = fitted.placement.bucket;
    let pixels = fitted.pixels.iter().map(|&level| f32::from(level) / 127.5 - 1.0);
    let data = TensorData::new(pixels.collect::<Vec<_>>(), [height, width, 3]);
    let image = Tensor::<3>::from_data(data, device).permute([2, 0, 1]).unsqueeze::<4>();
    let levels = bands(cache, encoder, width * height, *device == device::cpu());
    encoder.encode_in_bands(image, levels)
}

/// The record of a view: tensors `[C, h, w]`, but for a mask, which is `[h, w]`.
fn draft(cache: &Cache, kept: &[(&str, Vec<f32>)], fitted: &Fitted) -> Result<Draft, StageError> {
    let (width, height) = fitted.placement.bucket;
    let [height, width] = [height, width].map(|side| side / REDUCTION);
    let tensors = kept.iter().map(|(name, values)| {
        let shape = [values.len() / (height * width), height, width];
        (*name, shape, values.as_slice())
    });
    let tensors = tensors.collect::<Vec<_>>();
    let tensors = tensors.iter().map(|(name, shape, values)| {
        (*name, if *name == "mask" { &shape[1..] } else { &shape[..] }, *values)
    });
    let f32 = cache.config.latent_dtype == Dtype::F32;
    let bytes = record::write(&tensors.collect::<Vec<_>>(), &BTreeMap::new(), f32)?;
    Ok(Draft::bytes("latent.safetensors", bytes))
}

/// How many levels of the autoencoder are computed in bands: as many as the manifest says, or as few as
/// leave half of the free memory to others.
fn bands(cache: &Cache, encoder: &Encoder, pixels: usize, on_cpu: bool) -> usize {
    if let Some(levels) = cache.config.vae_bands {
        return levels as usize;
    }
    if !on_cpu {
        return 0;
    }
    let most = device::memory::free() / 2;
    (0..2).find(|&levels| encoder.memory(pixels as u64, levels) <= most).unwrap_or(2)
}
