//! Adafactor, with the parameters and formulas of the transformers library.
//!
//! Second moments of a matrix are kept as row and column means, so the state of 12 billion weights is
//! some megabytes. Burn's own Adafactor differs in the relative step, in weight decay and in having no
//! first moment.

use burn::tensor::Tensor;

/// Parameters of Adafactor. The defaults are those with which fluxpipe trains: a fixed learning rate
/// that a schedule decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Adafactor {
    /// Added to squared gradients.
    pub eps_1: f64,
    /// Lower bound of a parameter's size where `scale_parameter` is set.
    pub eps_2: f64,
    /// Upper bound of the root mean square of an update, before the learning rate.
    pub clip_threshold: f64,
    /// Exponent of the second moments' decay: `1 − step^decay_rate`.
    pub decay_rate: f64,
    /// Decay of a first moment; none is kept without it.
    pub beta1: Option<f64>,
    /// Share of a parameter that each step takes away, times the learning rate.
    pub weight_decay: f64,
    /// Whether the learning rate is multiplied by the parameter's root mean square.
    pub scale_parameter: bool,
    /// Whether the learning rate is `min(0.01, 1/√step)` instead of the given one.
    pub relative_step: bool,
    /// Whether the bound 0.01 of `relative_step` is reached by a warm-up of 1e-6 per step.
    pub warmup_init: bool,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self {
            eps_1: 1e-30,
            eps_2: 1e-3,
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta1: None,
            weight_decay: 0.0,
            scale_parameter: false,
            relative_step: false,
            warmup_init: false,
        }
    }
}

/// What Adafactor remembers of one parameter, in f32.
#[derive(Clone, Debug)]
pub struct AdafactorState {
    /// Steps taken.
    pub step: u32,
    /// Second moments.
    pub moments: Moments,
    /// First moment, flat, where `beta1` is set.
    pub first_moment: Option<Tensor<1>>,
}

/// Second moments of one parameter.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a network has hundreds of these, not millions")]
pub enum Moments {
    /// Of a matrix, or of each matrix in a stack: means over the last axis and over the one before.
    Factored {
        /// `[stack, rows]`
        rows: Tensor<2>,
        /// `[stack, columns]`
        columns: Tensor<2>,
    },
    /// Of a vector.
    Full(Tensor<1>),
}

impl Adafactor {
    /// One step: the new value of `parameter`, unrounded. All tensors are f32; a tensor of more than
    /// two axes is a stack of matrices. `state` is `None` before the first step.
    #[must_use]
    pub fn update<const D: usize>(
        &self,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdafactorState>,
    ) -> (Tensor<D>, AdafactorState) {
        let step = state.as_ref().map_or(0, |state| state.step) + 1;
        let (old_moments, first_moment) =
            state.map_or((None, None), |state| (Some(state.moments), state.first_moment));
        let decay = 1.0 - f64::from(step).powf(self.decay_rate);
        let (direction, moments) = self.normalised(gradient, old_moments, decay);
        let clip = (rms(direction.clone()) / self.clip_threshold).clamp_min(1.0);
        let rate = self.rate(learning_rate, step, &parameter);
        let mut change = direction / clip.unsqueeze() * rate.clone().unsqueeze();
        let first_moment = self.beta1.map(|beta1| {
            let flat = change.clone().flatten(0, D - 1);
            match first_moment {
                Some(old) => old * beta1 + flat * (1.0 - beta1),
                None => flat * (1.0 - beta1),
            }
        });
        if let Some(moment) = &first_moment {
            change = moment.clone().reshape(change.dims());
        }
        let mut kept = parameter;
        if self.weight_decay != 0.0 {
            let share = (rate * self.weight_decay).unsqueeze();
            kept = kept.clone() - kept * share;
        }
        (kept - change, AdafactorState { step, moments, first_moment })
    }

    /// The gradient divided by the root of its second moments.
    fn normalised<const D: usize>(
        &self,
        gradient: Tensor<D>,
        old: Option<Moments>,
        decay: f64,
    ) -> (Tensor<D>, Moments) {
        let shape = gradient.dims();
        let squares = gradient.clone().square() + self.eps_1;
        if D < 2 {
            let squares = squares.flatten::<1>(0, D - 1);
            let full = match old {
                Some(Moments::Full(old)) => blend(old, squares, decay),
                _ => squares,
            };
            let root = full.clone().sqrt().recip().reshape(shape);
            return (gradient * root, Moments::Full(full));
        }
        let (height, width) = (shape[D - 2], shape[D - 1]);
        let stack = shape[..D - 2].iter().product::<usize>();
        let squares = squares.reshape([stack, height, width]);
        let rows = squares.clone().mean_dim(2).reshape([stack, height]);
        let columns = squares.mean_dim(1).reshape([stack, width]);
        let (rows, columns) = match old {
            Some(Moments::Factored { rows: old_rows, columns: old_columns }) => {
                (blend(old_rows, rows, decay), blend(old_columns, columns, decay))
            }
            _ => (rows, columns),
        };
        // The row factor is normalised first: the product of two small moments could underflow.
        let row_factor = (rows.clone() / rows.clone().mean_dim(1)).sqrt().recip();
        let column_factor = columns.clone().sqrt().recip();
        let factor = row_factor.unsqueeze_dim::<3>(2) * column_factor.unsqueeze_dim::<3>(1);
        (gradient * factor.reshape(shape), Moments::Factored { rows, columns })
    }

    /// The learning rate of this step, `[1]`.
    fn rate<const D: usize>(&self, given: f64, step: u32, parameter: &Tensor<D>) -> Tensor<1> {
        let bound = if self.warmup_init { 1e-6 * f64::from(step) } else { 1e-2 };
        let rate = if self.relative_step { bound.min(1.0 / f64::from(step).sqrt()) } else { given };
        if self.scale_parameter {
            rms(parameter.clone()).clamp_min(self.eps_2) * rate
        } else {
            Tensor::full([1], rate, &parameter.device())
        }
    }
}

fn blend<const D: usize>(old: Tensor<D>, new: Tensor<D>, decay: f64) -> Tensor<D> {
    old * decay + new * (1.0 - decay)
}

fn rms<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    x.square().mean().sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Three steps at learning rate 0.05, with numbers from the published implementation.
    #[test]
    fn a_small_matrix_and_vector_take_the_known_steps() {
        let device = Device::flex();
        let matrix = |values: [f32; 6]| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), [2, 3]), &device)
        };
        let vector = |values: [f32; 2]| {
            Tensor::<1>::from_data(TensorData::new(values.to_vec(), [2]), &device)
        };
        let adafactor = Adafactor::default();
        let (mut p, mut p_state) = (matrix([-0.5, -0.25, 0.0, 0.25, 0.5, 0.75]), None);
        let (mut b, mut b_state) = (vector([0.5, -0.25]), None);
        for step in 1..=3 {
            let k = step as f32;
            let gradient = matrix([0.1, -0.2, 0.3, 0.05, 0.4, -0.6].map(|g| g * k));
            let (new, state) = adafactor.update(0.05, p, gradient, p_state);
            (p, p_state) = (new, Some(state));
            let (new, state) = adafactor.update(0.05, b, vector([0.01 * k, -0.03 * k]), b_state);
            (b, b_state) = (new, Some(state));
        }
        let close = |found: Vec<f32>, expected: &[f32]| {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-6, "{found} is not {expected}");
            }
        };
        let expected =
            [-0.753_373_1, -0.123_313_4, -0.126_686_6, 0.184_423, 0.368_846_1, 0.881_153_9];
        close(p.try_into_vec_as::<f32>().unwrap(), &expected);
        close(b.try_into_vec_as::<f32>().unwrap(), &[0.35, -0.1]);
        let Some(AdafactorState { moments: Moments::Factored { rows, columns }, .. }) = p_state
        else {
            panic!("a matrix has factored moments");
        };
        close(rows.try_into_vec_as::<f32>().unwrap(), &[0.248_710_6, 0.928_223_43]);
        let expected = [0.033_309_45, 0.532_951_24, 1.199_140_3];
        close(columns.try_into_vec_as::<f32>().unwrap(), &expected);
    }
}
