//! Pictures into latents: bucket, resize, crop, autoencoder, posterior sample.

use std::collections::BTreeMap;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};

use super::{
    batches::{self, Flow},
    cache::Cache,
    import, posterior, record,
    sidecar::leave_out,
    views::{self, View},
};
use crate::{
    base::Stream,
<<<<<<< HEAD
    dataset::{BucketSettings, Buckets, DatasetError, Fitted, Picture},
    device,
    manifest::{self, Dtype},
    models::{
        autoencoder::{Encoder, Moments, REDUCTION},
        identity,
    },
=======
    dataset::Fitted,
    device,
    manifest::Dtype,
    models::{autoencoder::Encoder, identity},
>>>>>>> b50b7363a1fe4598075a0763932a787fc15d0468
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
<<<<<<< HEAD
    let mut encoder = None;
    let beside = cache.config.import_cache.then(|| import::Beside::of(&cache.site));
    let buckets = cache.site.manifest.dataset.iter().map(buckets).collect::<Result<Vec<_>, _>>()?;
    let by_id = super::sidecar::by_id(&cache.site);
    let samples = items.iter().map(|&item| by_id[work.items()[item].id.as_str()]);
    let samples = samples.collect::<Vec<_>>();
    let jobs = samples.iter().map(|sample| cache.site.job(sample)).collect::<Vec<_>>();
    let fit = |index: usize, picture: Picture| {
        Ok(((picture.width, picture.height), buckets[samples[index].dataset].fit(&picture)?))
=======
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
>>>>>>> b50b7363a1fe4598075a0763932a787fc15d0468
    };
    batches::prepared(&jobs, AHEAD, fit, |index, fitted| {
        if work.cancelled() {
            return Ok(Flow::Stop);
        }
        match fitted {
<<<<<<< HEAD
            Ok((size, fitted)) => {
                let files = beside.as_ref().map_or(&[][..], |all| all.latents(samples[index]));
                let taken = import::latent(files, false, size, fitted.placement.bucket);
                let kept = match taken {
                    Some(latent) => vec![("latent", latent)],
                    None => {
                        let encoder = match &mut encoder {
                            Some(encoder) => encoder,
                            none => none.insert(Encoder::load(&loader)?),
                        };
                        let moments = moments(cache, encoder, &fitted, &device);
                        let seed = cache.config.seed;
                        let digest = Some(&samples[index].digest);
                        let noise = || Stream::new(seed, "posterior", digest, &[]);
                        posterior::tensors(moments, cache.config.latent, noise)?
                    }
                };
                work.commit(items[index], draft(cache, &kept, &fitted)?)?;
=======
            Ok(fitted) => {
                let draft = latent(cache, &encoder, views[index], &fitted, &device)?;
                work.commit(items[index], draft)?;
>>>>>>> b50b7363a1fe4598075a0763932a787fc15d0468
            }
            Err(error) => leave_out(work, items[index], error)?,
        }
        Ok(Flow::GoOn)
    })
}

<<<<<<< HEAD
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

/// What the autoencoder gives for a picture.
fn moments(cache: &Cache, encoder: &Encoder, fitted: &Fitted, device: &Device) -> Moments {
=======
/// The record of a view; noise is named by the seed, the picture's content and the view.
fn latent(
    cache: &Cache,
    encoder: &Encoder,
    (sample, view): (&Sample, View),
    fitted: &Fitted,
    device: &burn::tensor::Device,
) -> Result<Draft, StageError> {
>>>>>>> b50b7363a1fe4598075a0763932a787fc15d0468
    let (width, height) = fitted.placement.bucket;
    let pixels = fitted.pixels.iter().map(|&level| f32::from(level) / 127.5 - 1.0);
    let data = TensorData::new(pixels.collect::<Vec<_>>(), [height, width, 3]);
    let image = Tensor::<3>::from_data(data, device).permute([2, 0, 1]).unsqueeze::<4>();
<<<<<<< HEAD
    let levels = bands(cache, encoder, width * height, *device == device::cpu());
    encoder.encode_in_bands(image, levels)
}

/// The record of a picture.
fn draft(cache: &Cache, kept: &[(&str, Vec<f32>)], fitted: &Fitted) -> Result<Draft, StageError> {
    let (width, height) = fitted.placement.bucket;
    let [height, width] = [height, width].map(|side| side / REDUCTION);
    let tensors = kept.iter().map(|(name, values)| {
        (*name, [values.len() / (height * width), height, width], values.as_slice())
    });
    let tensors = tensors.collect::<Vec<_>>();
    let tensors = tensors.iter().map(|(name, shape, values)| (*name, &shape[..], *values));
=======
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
>>>>>>> b50b7363a1fe4598075a0763932a787fc15d0468
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
