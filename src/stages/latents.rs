//! Pictures into latents: bucket, resize, crop, autoencoder, posterior sample.

use std::collections::BTreeMap;

use burn::tensor::{FloatDType, Tensor, TensorData};

use super::{
    Sample,
    batches::{self, Flow},
    cache::Cache,
    posterior, record,
    sidecar::leave_out,
    views::{self, View},
};
use crate::{
    base::Stream,
    dataset::Fitted,
    device,
    manifest::Dtype,
    models::{autoencoder::Encoder, identity},
    pipeline::{Draft, StageError, Work},
    weights::{Checkpoint, Loader},
};

/// How many pictures wait for the encoder, which takes seconds for each.
const AHEAD: usize = 2;

/// Encodes the pictures of the items with these indices, one by one.
pub fn encode(cache: &Cache, work: &mut dyn Work, items: &[usize]) -> Result<(), StageError> {
    let device = device::choose(&cache.site.device)?.device;
    let checkpoint = Checkpoint::open(&cache.ae)?;
    let loader =
        Loader::new(&checkpoint, identity::prefix(&checkpoint, "ae")?, &device, FloatDType::F32);
    let encoder = Encoder::load(&loader)?;
    let site = &cache.site;
    let buckets =
        site.manifest.dataset.iter().map(views::buckets).collect::<Result<Vec<_>, _>>()?;
    let by_id = cache.views();
    let jobs_of = |&item: &usize| by_id[&work.items()[item].id];
    let views = items.iter().map(jobs_of).collect::<Vec<_>>();
    let jobs = views.iter().map(|(sample, _)| site.job(sample)).collect::<Vec<_>>();
    let seed = cache.config.seed;
    let fit = |index: usize, picture| {
        let (sample, view): (&Sample, View) = views[index];
        view.fit(&buckets[sample.dataset], site.dataset(sample), seed, sample, &picture)
    };
    batches::prepared(&jobs, AHEAD, fit, |index, fitted| {
        if work.cancelled() {
            return Ok(Flow::Stop);
        }
        match fitted {
            Ok(fitted) => {
                let draft = latent(cache, &encoder, views[index], &fitted, &device)?;
                work.commit(items[index], draft)?;
            }
            Err(error) => leave_out(work, items[index], error)?,
        }
        Ok(Flow::GoOn)
    })
}

/// The record of a view; noise is named by the seed, the picture's content and the view.
fn latent(
    cache: &Cache,
    encoder: &Encoder,
    (sample, view): (&Sample, View),
    fitted: &Fitted,
    device: &burn::tensor::Device,
) -> Result<Draft, StageError> {
    let (width, height) = fitted.placement.bucket;
    let pixels = fitted.pixels.iter().map(|&level| f32::from(level) / 127.5 - 1.0);
    let data = TensorData::new(pixels.collect::<Vec<_>>(), [height, width, 3]);
    let image = Tensor::<3>::from_data(data, device).permute([2, 0, 1]).unsqueeze::<4>();
    let moments = encoder.encode(image);
    let shape = moments.mean.dims();
    let seed = cache.config.seed;
    let counters = view.counters(&cache.site, seed, sample);
    let noise = || Stream::new(seed, "posterior", Some(&sample.digest), &counters);
    let kept = posterior::tensors(moments, cache.config.latent, noise)?;
    let kept = kept.iter().map(|(name, values)| (*name, &shape[1..], values.as_slice()));
    let mut tensors = kept.collect::<Vec<(&str, &[usize], &[f32])>>();
    let mask = cache.site.dataset(sample).alpha_mask.then(|| fitted.mask()).flatten();
    if let Some(mask) = &mask {
        tensors.push(("mask", &shape[2..], mask));
    }
    let f32 = cache.config.latent_dtype == Dtype::F32;
    let bytes = record::write(&tensors, &BTreeMap::new(), f32)?;
    Ok(Draft::bytes("latent.safetensors", bytes))
}
