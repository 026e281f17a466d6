//! Pictures into latents: bucket, resize, crop, autoencoder, posterior sample.

use std::collections::BTreeMap;

use burn::tensor::{FloatDType, Tensor, TensorData};

use super::{
    Sample,
    batches::{self, Flow},
    cache::Cache,
    posterior, record,
    sidecar::leave_out,
};
use crate::{
    base::Stream,
    dataset::{BucketSettings, Buckets, DatasetError, Fitted},
    device,
    manifest::{self, Dtype},
    models::autoencoder::Encoder,
    pipeline::{Draft, StageError, Work},
    weights::{Checkpoint, Loader},
};

/// How many pictures wait for the encoder, which takes seconds for each.
const AHEAD: usize = 2;

/// Encodes the pictures of the items with these indices, one by one.
pub fn encode(cache: &Cache, work: &mut dyn Work, items: &[usize]) -> Result<(), StageError> {
    let device = device::choose(&cache.site.device)?.device;
    let checkpoint = Checkpoint::open(&cache.ae)?;
    let loader = Loader::new(&checkpoint, "", &device, FloatDType::F32);
    let encoder = Encoder::load(&loader)?;
    let buckets = cache.site.manifest.dataset.iter().map(buckets).collect::<Result<Vec<_>, _>>()?;
    let by_id = super::sidecar::by_id(&cache.site);
    let samples = items.iter().map(|&item| by_id[work.items()[item].id.as_str()]);
    let samples = samples.collect::<Vec<_>>();
    let jobs = samples.iter().map(|sample| cache.site.job(sample)).collect::<Vec<_>>();
    let fit = |index: usize, picture| buckets[samples[index].dataset].fit(&picture);
    batches::prepared(&jobs, AHEAD, fit, |index, fitted| {
        if work.cancelled() {
            return Ok(Flow::Stop);
        }
        match fitted {
            Ok(fitted) => {
                let draft = latent(cache, &encoder, samples[index], &fitted, &device)?;
                work.commit(items[index], draft)?;
            }
            Err(error) => leave_out(work, items[index], error)?,
        }
        Ok(Flow::GoOn)
    })
}

fn buckets(dataset: &manifest::Dataset) -> Result<Buckets, DatasetError> {
    let resolution = dataset.resolution;
    Buckets::new(&BucketSettings {
        resolution: (resolution.width as usize, resolution.height as usize),
        enable_bucket: dataset.enable_bucket,
        min_bucket_reso: dataset.min_bucket_reso as usize,
        max_bucket_reso: dataset.max_bucket_reso() as usize,
        bucket_reso_steps: dataset.bucket_reso_steps as usize,
        bucket_no_upscale: dataset.bucket_no_upscale,
    })
}

/// The record of a picture; noise is named by the seed and the picture's content.
fn latent(
    cache: &Cache,
    encoder: &Encoder,
    sample: &Sample,
    fitted: &Fitted,
    device: &burn::tensor::Device,
) -> Result<Draft, StageError> {
    let (width, height) = fitted.placement.bucket;
    let pixels = fitted.pixels.iter().map(|&level| f32::from(level) / 127.5 - 1.0);
    let data = TensorData::new(pixels.collect::<Vec<_>>(), [height, width, 3]);
    let image = Tensor::<3>::from_data(data, device).permute([2, 0, 1]).unsqueeze::<4>();
    let moments = encoder
        .encode_in_bands(image, bands(cache, encoder, width * height, *device == device::cpu()));
    let shape = moments.mean.dims();
    let seed = cache.config.seed;
    let noise = || Stream::new(seed, "posterior", Some(&sample.digest), &[]);
    let kept = posterior::tensors(moments, cache.config.latent, noise)?;
    let kept = kept.iter().map(|(name, values)| (*name, &shape[1..], values.as_slice()));
    let tensors = kept.collect::<Vec<(&str, &[usize], &[f32])>>();
    let f32 = cache.config.latent_dtype == Dtype::F32;
    let bytes = record::write(&tensors, &BTreeMap::new(), f32)?;
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
