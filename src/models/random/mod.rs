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

use std::{collections::BTreeMap, io, path::Path};

use half::bf16;

use crate::{
    base::Stream,
    weights::{Dtype, Entry, Writer},
};

/// Writes all networks of a pipeline into `folder`: `blip.safetensors`, `tagger/`, `ae.safetensors`,
/// `clip_l.safetensors`, `t5xxl.safetensors`, `flux1-dev.safetensors`; about 11 MB.
///
/// # Errors
/// A file cannot be written.
pub fn write_all(folder: &Path, seed: u64) -> io::Result<()> {
    fs_err::create_dir_all(folder.join("tagger"))?;
    captioner::tensors().write(&folder.join("blip.safetensors"), seed)?;
    autoencoder::tensors().write(&folder.join("ae.safetensors"), seed)?;
    texts::clip().write(&folder.join("clip_l.safetensors"), seed)?;
    texts::t5().write(&folder.join("t5xxl.safetensors"), seed)?;
    transformer::tensors().write(&folder.join("flux1-dev.safetensors"), seed)?;
    fs_err::write(folder.join("tagger/model.onnx"), tagger::graph(seed)?)?;
    fs_err::write(folder.join("tagger/selected_tags.csv"), tagger::tags())
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

    fn write(&self, path: &Path, seed: u64) -> io::Result<()> {
        let entries = self.0.iter().map(|(name, shape, _)| Entry {
            name: name.clone(),
            dtype: Dtype::BF16,
            shape: shape.clone(),
        });
        let entries = entries.collect::<Vec<_>>();
        let file = fs_err::File::create(path)?;
        let mut writer = Writer::new(file, &entries, &BTreeMap::new())?;
        for (name, shape, fill) in &self.0 {
            let values = fill.values(seed, name, shape.iter().product());
            let bytes = values.into_iter().flat_map(|value| bf16::from_f32(value).to_le_bytes());
            writer.tensor(&bytes.collect::<Vec<_>>())?;
        }
        writer.finish().map(drop)
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
        blip::Blip::load(&loader, &blip::BlipConfig::detect(&loader)).unwrap();
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
