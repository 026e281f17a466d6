//! What is kept of the distribution that the autoencoder gives for a picture: a draw from it, its mean,
//! or mean and deviation, from which the training draws.

use burn::tensor::{Tensor, TensorData};

use super::record;
use crate::{
    base::Stream,
    manifest::Latent,
    models::autoencoder::{Moments, SCALE, to_latent},
    pipeline::StageError,
};

/// Names and elements of the tensors of a record, all of the shape of the latent, for one picture
/// `[1, C, h, w]`. `noise` is drawn from only where a draw is kept.
///
/// # Errors
/// The device does not give the numbers.
pub fn tensors(
    moments: Moments,
    keep: Latent,
    noise: impl FnOnce() -> Stream,
) -> Result<Vec<(&'static str, Vec<f32>)>, StageError> {
    let tensors = match keep {
        Latent::Sample => {
            let shape = moments.mean.dims();
            let values = noise().normals(shape.iter().product());
            let noise =
                Tensor::<4>::from_data(TensorData::new(values, shape), &moments.mean.device());
            vec![("latent", to_latent(moments.sample(noise)))]
        }
        Latent::Mean => vec![("latent", to_latent(moments.mean))],
        // Scaled like the mean, so that a latent is `mean + std · ε`.
        Latent::Moments => {
            let std = (moments.logvar * 0.5).exp() * SCALE;
            vec![("mean", to_latent(moments.mean)), ("std", std)]
        }
    };
    tensors.into_iter().map(|(name, tensor)| Ok((name, record::values(tensor)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_the_mean_and_noise_times_the_deviation() {
        let device = crate::device::cpu();
        let random = |offset: f32| {
            let values = Stream::new(3, "test", None, &[]).normals(48);
            let values = values.into_iter().map(|x| x + offset).collect::<Vec<_>>();
            Tensor::<4>::from_data(TensorData::new(values, [1, 3, 4, 4]), &device)
        };
        let moments = || Moments { mean: random(0.5), logvar: random(-4.0) };
        let noise = || Stream::new(7, "posterior", None, &[]);
        let kept = |keep| tensors(moments(), keep, noise).unwrap();
        let (sample, mean, both) =
            (kept(Latent::Sample), kept(Latent::Mean), kept(Latent::Moments));
        assert_eq!(
            (sample[0].0, mean[0].0, both[0].0, both[1].0),
            ("latent", "latent", "mean", "std")
        );
        assert_eq!(mean[0].1, both[0].1);
        let draws = noise().normals(48);
        for (place, draw) in draws.into_iter().enumerate() {
            let drawn = both[0].1[place] + both[1].1[place] * draw;
            assert!((drawn - sample[0].1[place]).abs() < 1e-6);
            assert!(both[1].1[place] > 0.0 && (sample[0].1[place] - mean[0].1[place]).abs() > 0.0);
        }
    }
}
