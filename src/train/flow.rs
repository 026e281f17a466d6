//! Flow matching: noisy inputs, targets and losses, and the schedules of inference.
//!
//! A sample is mixed with noise, `x = (1 − σ)·latent + σ·noise`, and the network learns the velocity
//! `noise − latent`. Time steps stay f32 throughout: rounded to bf16, the network would be told times
//! on a grid of 1/256 that are not those of its input.

use std::f64::consts::{FRAC_PI_2, PI};

use burn::tensor::{DType, FloatDType, Tensor, TensorData};

use crate::base::Stream;

/// How the noise level σ of a sample is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimestepSampling {
    /// From a table of 1000 shifted levels, at a place that `weighting_scheme` draws.
    Sigma {
        /// How the place is drawn.
        weighting_scheme: WeightingScheme,
        /// Shift of the table.
        discrete_flow_shift: f64,
    },
    /// Uniform in `[0, 1)`.
    Uniform,
    /// The logistic function of a normal number.
    Sigmoid {
        /// Factor on the normal number.
        sigmoid_scale: f64,
    },
    /// [`TimestepSampling::Sigmoid`], shifted towards noise.
    Shift {
        /// Factor on the normal number.
        sigmoid_scale: f64,
        /// Shift.
        discrete_flow_shift: f64,
    },
    /// [`TimestepSampling::Sigmoid`], shifted the more the larger the picture is, as in inference.
    FluxShift {
        /// Factor on the normal number.
        sigmoid_scale: f64,
    },
}

/// How [`TimestepSampling::Sigma`] draws places in its table, and how [`PredictionType::SigmaScaled`]
/// weights losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WeightingScheme {
    /// Uniform places, weight 1.
    Uniform,
    /// Uniform places, weight σ⁻².
    SigmaSqrt,
    /// Uniform places, weight `2 / (π (1 − 2σ + 2σ²))`.
    Cosmap,
    /// The logistic function of a normal number, weight 1.
    LogitNormal {
        /// Mean of the normal number.
        logit_mean: f64,
        /// Its standard deviation.
        logit_std: f64,
    },
    /// More places at both ends or in the middle, weight 1.
    Mode {
        /// How much more.
        mode_scale: f64,
    },
}

/// What the network's output means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PredictionType {
    /// The velocity: the only one that agrees with the target.
    Raw,
    /// The velocity less the noisy input.
    Additive,
    /// `(noisy − prediction) / σ`; losses are weighted by the scheme.
    SigmaScaled(WeightingScheme),
}

/// How the difference of prediction and target is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossType {
    /// Its square.
    L2,
    /// Its size.
    L1,
    /// `2c(√(d² + c²) − c)`: a square near 0, a line beyond `c`.
    Huber(HuberC),
    /// `2(√(d² + c²) − c)`.
    SmoothL1(HuberC),
}

/// The `c` of the Huber losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HuberC {
    /// `c` itself, or its value at σ = 1.
    pub huber_c: f64,
    /// Factor on it.
    pub huber_scale: f64,
    /// Whether it rises to 1 as σ falls to 0.
    pub exponential: bool,
}

impl HuberC {
    /// `c` at the noise level `sigma`.
    #[must_use]
    pub fn at(&self, sigma: f32) -> f64 {
        let power = if self.exponential { f64::from(sigma) } else { 1.0 };
        self.huber_c.powf(power) * self.huber_scale
    }
}

impl TimestepSampling {
    /// Draws what [`TimestepSampling::sigma`] needs: a uniform or a normal number.
    #[must_use]
    pub fn draw(&self, stream: &mut Stream) -> f64 {
        match self {
            Self::Uniform => stream.uniform(),
            Self::Sigma { weighting_scheme: WeightingScheme::LogitNormal { .. }, .. } => {
                stream.normal()
            }
            Self::Sigma { .. } => stream.uniform(),
            Self::Sigmoid { .. } | Self::Shift { .. } | Self::FluxShift { .. } => stream.normal(),
        }
    }

    /// The noise level in `[0, 1]` for a draw and a picture of `tokens` tokens. The time step that
    /// the network is told is the same number.
    #[must_use]
    pub fn sigma(&self, draw: f64, tokens: usize) -> f32 {
        let sigma = match *self {
            Self::Sigma { weighting_scheme, discrete_flow_shift } => {
                let place = weighting_scheme.place(draw);
                let table = sigma_table(discrete_flow_shift);
                return table[((place * 1000.0) as usize).min(table.len() - 1)];
            }
            Self::Uniform => draw,
            Self::Sigmoid { sigmoid_scale } => sigmoid(sigmoid_scale * draw),
            Self::Shift { sigmoid_scale, discrete_flow_shift } => {
                shifted(discrete_flow_shift, sigmoid(sigmoid_scale * draw))
            }
            Self::FluxShift { sigmoid_scale } => {
                time_shift(mu(tokens), sigmoid(sigmoid_scale * draw))
            }
        };
        sigma as f32
    }
}

impl WeightingScheme {
    /// The place in `[0, 1]` in the table, 0 being pure noise.
    fn place(self, draw: f64) -> f32 {
        let place = match self {
            Self::Uniform | Self::SigmaSqrt | Self::Cosmap => draw,
            Self::LogitNormal { logit_mean, logit_std } => sigmoid(logit_mean + logit_std * draw),
            Self::Mode { mode_scale } => {
                let bend = (FRAC_PI_2 * draw).cos().powi(2) - 1.0 + draw;
                1.0 - draw - mode_scale * bend
            }
        };
        place as f32
    }

    /// The weight of a loss at the noise level `sigma`.
    #[must_use]
    pub fn weight(self, sigma: f32) -> f64 {
        let sigma = f64::from(sigma);
        match self {
            Self::SigmaSqrt => sigma.powi(-2),
            Self::Cosmap => 2.0 / (PI * (1.0 - 2.0 * sigma + 2.0 * sigma * sigma)),
            _ => 1.0,
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn shifted(shift: f64, sigma: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

/// The 1000 noise levels of [`TimestepSampling::Sigma`], from 1 downwards.
#[must_use]
pub fn sigma_table(shift: f64) -> Vec<f32> {
    (1..=1000).rev().map(|k| shifted(shift, f64::from(k) / 1000.0) as f32).collect()
}

/// The shift exponent of a picture of `tokens` tokens: a line through 0.5 at 256 and 1.15 at 4096.
#[must_use]
pub fn mu(tokens: usize) -> f64 {
    0.5 + (1.15 - 0.5) * (tokens as f64 - 256.0) / (4096.0 - 256.0)
}

/// `e^mu / (e^mu + 1/t − 1)`; 0 stays 0.
#[must_use]
pub fn time_shift(mu: f64, t: f64) -> f64 {
    if t <= 0.0 {
        return 0.0;
    }
    mu.exp() / (mu.exp() + (1.0 / t - 1.0))
}

/// The times of `steps` inference steps, from 1 to 0. dev is shifted by the size of the picture,
/// schnell is not.
#[must_use]
pub fn inference_times(steps: usize, tokens: usize, shift: bool) -> Vec<f32> {
    let time = |i: usize| {
        let t = 1.0 - i as f64 / steps as f64;
        if shift { time_shift(mu(tokens), t) as f32 } else { t as f32 }
    };
    (0..=steps).map(time).collect()
}

/// `(1 − σ)·latents + σ·(noise + γ·ξ)` in f32, with one σ per sample; the perturbation `(ξ, γ)` is
/// optional. Latents and noise are `[B, ...]`, packed or not.
#[must_use]
pub fn noisy_input<const D: usize>(
    latents: Tensor<D>,
    noise: Tensor<D>,
    perturbation: Option<(Tensor<D>, f64)>,
    sigmas: &[f32],
) -> Tensor<D> {
    let sigma = per_sample(sigmas.iter().copied(), &latents);
    let noise = match perturbation {
        Some((xi, gamma)) => noise + xi * gamma,
        None => noise,
    };
    latents * (sigma.clone().neg() + 1.0) + noise * sigma
}

/// Everything that turns outputs into losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// What the output means.
    pub model_prediction_type: PredictionType,
    /// How the difference is measured.
    pub loss_type: LossType,
}

impl Objective {
    /// The loss of each sample `[B]`: the mean over all but the first axis, in f32. `weights` are
    /// factors on its terms; the mean is over all of them, whatever they weigh.
    #[must_use]
    pub fn per_sample<const D: usize>(
        &self,
        output: Tensor<D>,
        noisy: &Tensor<D>,
        target: &Tensor<D>,
        sigmas: &[f32],
        weights: Option<&Tensor<D>>,
    ) -> Tensor<1> {
        let output = output.cast(FloatDType::F32);
        let column = |value: &dyn Fn(f32) -> f64| {
            per_sample(sigmas.iter().map(|&sigma| value(sigma) as f32), target)
        };
        let prediction = match self.model_prediction_type {
            PredictionType::Raw => output,
            PredictionType::Additive => output + noisy.clone(),
            PredictionType::SigmaScaled(_) => {
                noisy.clone() - output * column(&|sigma| f64::from(sigma))
            }
        };
        let difference = prediction - target.clone();
        let root = |c: Tensor<D>| (difference.clone().square() + c.clone().square()).sqrt() - c;
        let mut loss = match self.loss_type {
            LossType::L2 => difference.square(),
            LossType::L1 => difference.abs(),
            LossType::Huber(huber) => {
                let c = column(&|sigma| huber.at(sigma));
                root(c.clone()) * c * 2.0
            }
            LossType::SmoothL1(huber) => root(column(&|sigma| huber.at(sigma))) * 2.0,
        };
        if let PredictionType::SigmaScaled(weighting) = self.model_prediction_type {
            loss = loss * column(&|sigma| weighting.weight(sigma));
        }
        if let Some(weights) = weights {
            loss = loss * weights.clone();
        }
        loss.flatten::<2>(1, D - 1).mean_dim(1).flatten(0, 1)
    }

    /// The loss of each sample, and the gradient of their mean at `output`, in the type of `output`.
    #[must_use]
    pub fn loss_and_gradient<const D: usize>(
        &self,
        output: Tensor<D>,
        noisy: &Tensor<D>,
        target: &Tensor<D>,
        sigmas: &[f32],
        weights: Option<&Tensor<D>>,
    ) -> (Vec<f64>, Tensor<D>) {
        let output = output.inner().autodiff().require_grad();
        let losses = self.per_sample(output.clone(), noisy, target, sigmas, weights);
        let values = losses.clone().inner().into_data().iter::<f32>().map(f64::from).collect();
        let mut gradients = losses.mean().backward();
        let gradient = output.grad_remove(&mut gradients);
        (values, gradient.unwrap_or_else(|| output.inner().zeros_like()))
    }
}

/// One number per sample, shaped to multiply `like`.
fn per_sample<const D: usize>(values: impl Iterator<Item = f32>, like: &Tensor<D>) -> Tensor<D> {
    let values = values.collect::<Vec<_>>();
    let mut shape = [1; D];
    shape[0] = values.len();
    let device = like.device().without_autodiff();
    Tensor::from_data(TensorData::new(values, shape), (&device, DType::F32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_have_the_known_values() {
        let shift = TimestepSampling::Shift { sigmoid_scale: 1.0, discrete_flow_shift: 3.1582 };
        let known = [(-1.0, 0.537_430_4), (0.0, 0.759_511_3), (1.0, 0.895_669)];
        for (draw, expected) in known {
            let found: f32 = shift.sigma(draw, 0);
            assert!((found - expected).abs() < 1e-7, "{draw}: {found} is not {expected}");
        }
        assert!((mu(4096) - 1.15).abs() < 1e-12);
        assert!((mu(1024) - 0.63).abs() < 1e-12);
        let known: [f32; 5] = [1.0, 0.904_530_76, 0.759_510_93, 0.512_844_1, 0.0];
        for (found, expected) in inference_times(4, 4096, true).into_iter().zip(known) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
        let table = sigma_table(3.1582);
        for (index, expected) in [(0, 1.0_f32), (499, 0.760_241_15), (999, 0.003_151_40)] {
            assert!((table[index] - expected).abs() < 1e-7, "{index}: {}", table[index]);
        }
    }
}
