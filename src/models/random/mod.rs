//! Small networks with random weights in the published file layouts, made from a seed.
//!
//! They stand in for the real files where those are not at hand: the demo and the tests run the real
//! code on them. What they say about a picture means nothing. Values are normal with variance 1/inputs,
//! norms are ones, biases are zeros, so that activations stay near unit size at any depth.

mod autoencoder;
mod captioner;
mod tagger;
mod texts;
mod transformer;
mod vit;

use std::{collections::BTreeMap, io, path::Path};

use rayon::prelude::*;

use crate::{
    base::{Stream, atomic, disk},
    models::blip::BlipConfig,
    weights::{Checkpoint, Dtype, Entry, Writer},
};

pub use autoencoder::AutoencoderShape;
pub use captioner::SMALL as SMALL_CAPTIONER;
pub use texts::{ClipShape, T5Shape};
pub use vit::VitShape;

/// Writes all networks of a pipeline into `folder`: `blip.safetensors`, `tagger/`, `ae.safetensors`,
/// `clip_l.safetensors`, `t5xxl.safetensors`, `flux1-dev.safetensors`; about 11 MB.
///
/// # Errors
/// A file cannot be written.
pub fn write_all(folder: &Path, seed: u64) -> io::Result<()> {
    disk::create_folder(&folder.join("tagger"))?;
    let write = |tensors: Tensors, name: &str| {
        tensors.write(disk::File::create(&folder.join(name))?, seed).map(drop)
    };
    write(captioner::tensors(&captioner::SMALL), "blip.safetensors")?;
    write(autoencoder::tensors(AutoencoderShape::SMALL), "ae.safetensors")?;
    write(texts::clip(ClipShape::SMALL), "clip_l.safetensors")?;
    write(texts::t5(T5Shape::SMALL), "t5xxl.safetensors")?;
    write(transformer::tensors(), "flux1-dev.safetensors")?;
    atomic::write(&folder.join("tagger/model.onnx"), &tagger::graph(seed)?)?;
    atomic::write(&folder.join("tagger/selected_tags.csv"), tagger::tags().as_bytes())
}

/// A captioner of these sizes as its file would be, in memory: [`BlipConfig::LARGE`] takes 0.9 GB.
/// Benchmarks run on it, since how long a network takes does not depend on what it has learned.
///
/// # Errors
/// None that memory can give.
pub fn captioner(config: &BlipConfig, seed: u64) -> io::Result<Checkpoint> {
    captioner::tensors(config).in_memory("random BLIP", seed)
}

/// A CLIP text encoder of this shape as its file would be, in memory.
///
/// # Errors
/// None that memory can give.
pub fn clip(shape: ClipShape, seed: u64) -> io::Result<Checkpoint> {
    texts::clip(shape).in_memory("random CLIP", seed)
}

/// A T5 encoder of this shape as its file would be, in memory: one layer of T5-XXL takes 0.65 GB.
///
/// # Errors
/// None that memory can give.
pub fn t5(shape: T5Shape, seed: u64) -> io::Result<Checkpoint> {
    texts::t5(shape).in_memory("random T5", seed)
}

/// Writes a T5 encoder of this shape as `dtype`, for measurements: T5-XXL in 16 bits is 9.5 GB. To be as
/// quick as the disk, each tensor repeats its first million values.
///
/// # Errors
/// The file cannot be written, or the type is none that weights are stored in.
pub fn write_t5(file: impl io::Write, shape: T5Shape, dtype: Dtype, seed: u64) -> io::Result<()> {
    texts::t5(shape).write_as(file, seed, dtype, Some(1_000_003)).map(drop)
}

/// An autoencoder of this shape as its file would be, in memory: that of FLUX.1 takes 168 MB.
///
/// # Errors
/// None that memory can give.
pub fn autoencoder(shape: AutoencoderShape, seed: u64) -> io::Result<Checkpoint> {
    autoencoder::tensors(shape).in_memory("random autoencoder", seed)
}

/// A tagger of this shape as an ONNX file: [`VitShape::BASE`] takes 0.4 GB.
///
/// # Errors
/// None that memory can give.
pub fn vit(shape: VitShape, seed: u64) -> io::Result<Vec<u8>> {
    vit::graph(shape, seed)
}

/// The tensors of a network to be made up: names, shapes, and how large values are.
#[derive(Default)]
struct Tensors(Vec<(String, Vec<usize>, Fill)>);

/// How a tensor is filled.
#[derive(Clone, Copy)]
enum Fill {
    /// Normal with this standard deviation.
    Normal(f64),
    Zeros,
    Ones,
}

impl Tensors {
    fn add(&mut self, name: impl Into<String>, shape: &[usize], fill: Fill) {
        self.0.push((name.into(), shape.to_vec(), fill));
    }

    /// A table of vectors with unit size.
    fn table(&mut self, name: impl Into<String>, rows: usize, width: usize) {
        self.add(name, &[rows, width], Fill::Normal(1.0));
    }

    fn weight(&mut self, name: &str, shape: &[usize]) {
        let inputs = shape[1..].iter().product::<usize>() as f64;
        self.add(format!("{name}.weight"), shape, Fill::Normal(inputs.sqrt().recip()));
    }

    /// A linear layer or a convolution, `shape` being that of its weight.
    fn layer(&mut self, name: &str, shape: &[usize]) {
        self.weight(name, shape);
        self.add(format!("{name}.bias"), &shape[..1], Fill::Zeros);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), &[width], Fill::Ones);
        self.add(format!("{name}.bias"), &[width], Fill::Zeros);
    }

    /// The file that [`write`](Self::write) would write.
    fn in_memory(&self, name: &str, seed: u64) -> io::Result<Checkpoint> {
        let size = self.0.iter().map(|(_, shape, _)| 2 * shape.iter().product::<usize>()).sum();
        let bytes = self.write(Vec::with_capacity(size), seed)?;
        Checkpoint::from_bytes(Path::new(name), bytes).map_err(io::Error::other)
    }

    /// Writes them as bf16. Tensors are drawn in parallel, a few at a time, so that a large network
    /// takes no second copy of itself.
    fn write<W: io::Write>(&self, file: W, seed: u64) -> io::Result<W> {
        self.write_as(file, seed, Dtype::BF16, None)
    }

    /// Writes them as `dtype`. With a `period` no more values than that are drawn for a tensor, and then
    /// come again.
    fn write_as<W: io::Write>(
        &self,
        file: W,
        seed: u64,
        dtype: Dtype,
        period: Option<usize>,
    ) -> io::Result<W> {
        let entries = self.0.iter().map(|(name, shape, _)| Entry {
            name: name.clone(),
            dtype,
            shape: shape.clone(),
        });
        let entries = entries.collect::<Vec<_>>();
        let mut writer = Writer::new(file, &entries, &BTreeMap::new())?;
        for some in self.0.chunks(if period.is_some() { 1 } else { 16 }) {
            let bytes = some.par_iter().map(|(name, shape, fill)| {
                let count = shape.iter().product::<usize>();
                let drawn = count.min(period.unwrap_or(count));
                let some = dtype.encode(&fill.values(seed, name, drawn)).ok_or_else(|| {
                    io::Error::other(format!("no weights are stored as {}", dtype.name()))
                })?;
                Ok(some.into_iter().cycle().take(count * dtype.size()).collect::<Vec<u8>>())
            });
            for bytes in bytes.collect::<io::Result<Vec<_>>>()? {
                writer.tensor(&bytes)?;
            }
        }
        writer.finish()
    }
}

impl Fill {
    fn values(self, seed: u64, name: &str, count: usize) -> Vec<f32> {
        match self {
            Self::Zeros => vec![0.0; count],
            Self::Ones => vec![1.0; count],
            Self::Normal(deviation) => {
                let draws = Stream::new(seed, name, None, &[]).normals(count);
                draws.into_iter().map(|draw| draw * deviation as f32).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::FloatDType;

    use super::*;
    use crate::{
        device::cpu,
        models::{autoencoder, blip, clip, flux, t5, tagger::Tagger},
        weights::{Checkpoint, Loader},
    };

    #[test]
    fn a_captioner_has_the_sizes_that_were_asked_for() {
        // Every size another one, so that none can stand for another.
        let config = BlipConfig {
            vision: blip::VisionConfig {
                width: 128,
                depth: 2,
                heads: 2,
                hidden: 96,
                patch: 8,
                grid: 3,
            },
            text: blip::TextConfig {
                width: 64,
                depth: 1,
                heads: 1,
                hidden: 160,
                positions: 12,
                cross: 128,
                ..BlipConfig::LARGE.text
            },
        };
        let (file, device) = (captioner(&config, 1).unwrap(), cpu());
        let loader = Loader::new(&file, "", &device, FloatDType::F32);
        assert_eq!(blip::BlipConfig::detect(&loader), config);
        let blip = blip::Blip::load(&loader, &config).unwrap();
        // A fixed number of new tokens, as benchmarks want it.
        let prompt = blip::prompt_ids("a picture of ");
        let length = prompt.len() + 3;
        let settings = blip::GenerateSettings {
            prompt,
            min_length: length,
            max_length: length,
            ..blip::GenerateSettings::default()
        };
        let pictures = burn::tensor::Tensor::zeros([2, 3, 24, 24], &device);
        let captions = blip.caption(pictures, &settings);
        assert!(captions.iter().all(|ids| ids.len() == length), "{captions:?}");
    }

    #[test]
    fn every_file_is_what_its_network_takes_and_none_is_large() {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path(), 1).unwrap();
        let mut bytes = 0;
        for entry in walkdir::WalkDir::new(folder.path()).into_iter().flatten() {
            let size = entry.metadata().unwrap().len();
            assert!(size < 5_000_000, "{}: {size}", entry.path().display());
            bytes += if entry.file_type().is_file() { size } else { 0 };
        }
        assert!(bytes < 15_000_000, "{bytes}");
        let open = |name: &str| Checkpoint::open(&folder.path().join(name)).unwrap();
        let device = cpu();
        let file = open("blip.safetensors");
        let loader = Loader::new(&file, "", &device, FloatDType::F32);
        assert_eq!(blip::BlipConfig::detect(&loader), captioner::SMALL);
        blip::Blip::load(&loader, &captioner::SMALL).unwrap();
        let file = open("ae.safetensors");
        let loader = || Loader::new(&file, "", &device, FloatDType::F32);
        autoencoder::Encoder::load(&loader()).unwrap();
        autoencoder::Decoder::load(&loader()).unwrap();
        let file = open("clip_l.safetensors");
        let loader = Loader::new(&file, "", &device, FloatDType::F32);
        clip::ClipText::load(&loader, clip::ClipConfig::detect(&loader)).unwrap();
        let file = open("t5xxl.safetensors");
        t5::T5Stream::open(Loader::new(&file, "", &device, FloatDType::F32)).unwrap();
        let file = open("flux1-dev.safetensors");
        assert!(flux::Flux::load(&file, &device, FloatDType::BF16).unwrap().takes_guidance());
        let tagger = Tagger::open(&folder.path().join("tagger"), &device).unwrap();
        let probabilities = tagger.probabilities(&[vec![7; tagger.size() * tagger.size() * 3]]);
        assert!(probabilities.unwrap()[0].iter().all(|p| p.is_finite()));
    }
}
