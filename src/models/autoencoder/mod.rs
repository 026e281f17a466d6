//! The FLUX.1 autoencoder: pictures to latents an eighth of their size, and back.
//!
//! Encoder and decoder are two networks that share a file (`ae.safetensors`) and nothing else, so each
//! is loaded on its own: caching needs the encoder only, pictures from a prompt the decoder only.

mod bands;
mod decoder;
mod encoder;
mod layers;

pub use decoder::Decoder;
pub use encoder::{Encoder, Moments};

use burn::tensor::Tensor;

/// What latents are multiplied by, so that they have about unit variance.
pub const SCALE: f64 = 0.3611;
/// What is taken from latents first, so that they are centred.
pub const SHIFT: f64 = 0.1159;
/// Pixels of a picture per latent element, in each direction, for the published four levels.
pub const REDUCTION: usize = 8;

/// A sample of the encoder's distribution as the transformer takes it: `SCALE * (z - SHIFT)`.
#[must_use]
pub fn to_latent(sample: Tensor<4>) -> Tensor<4> {
    (sample - SHIFT) * SCALE
}

/// A latent of the transformer as the decoder's first convolution takes it.
fn from_latent(latent: Tensor<4>) -> Tensor<4> {
    latent / SCALE + SHIFT
}

#[cfg(test)]
mod tests {
    use burn::tensor::FloatDType;

    use super::*;
    use crate::{
        device::cpu,
        weights::{Checkpoint, Loader, Problem, WeightsError},
    };

    fn audit(error: WeightsError) -> Vec<Problem> {
        match error {
            WeightsError::Audit { problems, .. } => problems,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_file_of_another_network_is_refused_with_the_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        // 48 channels do not make 32 groups, and the second tensor belongs nowhere.
        let weight = vec![0_u8; 48 * 3 * 9 * 4];
        let tensors = [("encoder.conv_in.weight", vec![48, 3, 3, 3]), ("encoder.extra", vec![1])]
            .map(|(name, shape)| {
                let bytes = &weight[..shape.iter().product::<usize>() * 4];
                (
                    name,
                    safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes)
                        .unwrap(),
                )
            });
        std::fs::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
        let file = Checkpoint::open(&path).unwrap();
        let loader = || Loader::new(&file, "", &cpu(), FloatDType::F32);
        let problems = audit(Encoder::load(&loader()).unwrap_err());
        assert!(problems.contains(&Problem::Extra("encoder.extra".to_owned())), "{problems:?}");
        let missing = Problem::Missing("encoder.down.0.block.0.norm1.weight".to_owned());
        assert!(problems.contains(&missing), "{problems:?}");
        let problems = audit(Decoder::load(&loader()).unwrap_err());
        assert!(problems.contains(&Problem::Missing("decoder.conv_in.weight".to_owned())));
        assert!(
            !problems.contains(&Problem::Extra("encoder.extra".to_owned())),
            "not its business"
        );
    }

    #[test]
    fn latents_go_there_and_back() {
        let sample = Tensor::<4>::from_data([[[[-3.0_f32, 0.1159, 2.0]]]], &cpu());
        let latent = to_latent(sample);
        let values = latent.clone().into_data().try_to_vec::<f32>().unwrap();
        assert!(values[1].abs() < 1e-6 && (values[2] - 0.3611 * (2.0 - 0.1159)).abs() < 1e-6);
        let back = from_latent(latent).into_data().try_to_vec::<f32>().unwrap();
        assert!((back[0] + 3.0).abs() < 1e-5 && (back[2] - 2.0).abs() < 1e-5);
    }
}
