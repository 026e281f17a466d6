//! Pictures into latents: bucket, resize, crop, autoencoder, posterior sample.

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};

use super::{
    Sample,
    batches::{self, Flow},
    cache::Cache,
    import, posterior, record,
    sidecar::leave_out,
    views::{self, View},
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
    let buckets =
        site.manifest.dataset.iter().map(views::buckets).collect::<Result<Vec<_>, _>>()?;
    let by_id = cache.views();
    let jobs_of = |&item: &usize| by_id[&work.items()[item].id];
    let views = items.iter().map(jobs_of).collect::<Vec<_>>();
    let jobs = views.iter().map(|(sample, _)| site.job(sample)).collect::<Vec<_>>();
    let seed = cache.config.seed;
    let fit = |index: usize, picture: Picture| {
        let (sample, view): (&Sample, View) = views[index];
        let buckets = &buckets[sample.dataset];
        let fitted = view.fit(buckets, site.dataset(sample), seed, sample, &picture)?;
        Ok(((picture.width, picture.height), fitted))
    };
    batches::prepared(&jobs, AHEAD, fit, |index, fitted| {
        if work.cancelled() {
            return Ok(Flow::Stop);
        }
        match fitted {
            Ok((size, fitted)) => {
                let (sample, view) = views[index];
                let files = beside.as_ref().map_or(&[][..], |beside| beside.latents(sample));
                let bucket = fitted.placement.bucket;
                let take = |flipped| import::latent(files, flipped, size, bucket);
                let kept = match view.undrawn().and_then(take) {
                    Some(latent) => vec![("latent", latent)],
                    None => {
                        let encoder = match &mut encoder {
                            Some(encoder) => encoder,
                            none => none.insert(Encoder::load(&loader)?),
                        };
                        let moments = moments(cache, encoder, &fitted, &device);
                        // Named by the seed, the picture's content and the view.
                        let counters = view.counters(site, seed, sample);
                        let noise =
                            || Stream::new(seed, "posterior", Some(&sample.digest), &counters);
                        posterior::tensors(moments, cache.config.latent, noise)?
                    }
                };
                work.commit(items[index], draft(cache, sample, kept, &fitted)?)?;
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

/// The record of a view.
fn draft(
    cache: &Cache,
    sample: &Sample,
    kept: Vec<(&str, Vec<f32>)>,
    fitted: &Fitted,
) -> Result<Draft, StageError> {
    let (width, height) = fitted.placement.bucket;
    let size = [height, width].map(|side| side / REDUCTION);
    let arrays = kept.into_iter().map(|(name, values)| {
        let shape = vec![values.len() / (size[0] * size[1]), size[0], size[1]];
        (name, shape, values)
    });
    let mut arrays = arrays.collect::<Vec<_>>();
    let mask = cache.site.dataset(sample).alpha_mask.then(|| fitted.mask()).flatten();
    arrays.extend(mask.map(|mask| ("mask", size.to_vec(), mask)));
    let tensors = arrays.iter().map(|(name, shape, values)| (*name, &shape[..], &values[..]));
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
