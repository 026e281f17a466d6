//! Optimizer steps in Burn's operators, in f32 and without rounding.

use burn::tensor::Tensor;

use super::{AdafactorStep, AdamWStep, Moments};

pub(super) fn adafactor<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Option<Moments>,
    first_moment: Option<Tensor<1>>,
    step: &AdafactorStep,
) -> (Tensor<D>, Moments, Option<Tensor<1>>) {
    let gradient = scaled(gradient, step.scale);
    let (direction, moments) = normalised(gradient, moments, step);
    let clip = (rms(direction.clone()) / step.clip_threshold).clamp_min(1.0);
    let rate = match step.eps_2 {
        Some(least) => rms(parameter.clone()).clamp_min(least) * step.rate,
        None => Tensor::full([1], step.rate, &parameter.device()),
    };
    let mut change = direction * (rate.clone() / clip).unsqueeze();
    let first_moment = step.beta1.map(|beta1| {
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
    if step.weight_decay != 0.0 {
        kept = kept.clone() - kept * (rate * step.weight_decay).unsqueeze();
    }
    (kept - change, moments, first_moment)
}

/// The gradient divided by the root of its second moments.
fn normalised<const D: usize>(
    gradient: Tensor<D>,
    old: Option<Moments>,
    step: &AdafactorStep,
) -> (Tensor<D>, Moments) {
    let shape = gradient.dims();
    let squares = gradient.clone().square() + step.eps_1;
    if D < 2 {
        let squares = squares.flatten::<1>(0, D - 1);
        let full = match old {
            Some(Moments::Full(old)) => blend(old, squares, step.decay),
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
            (blend(old_rows, rows, step.decay), blend(old_columns, columns, step.decay))
        }
        _ => (rows, columns),
    };
    // The row factor is normalised first: the product of two small moments could underflow.
    let row_factor = (rows.clone() / rows.clone().mean_dim(1)).sqrt().recip();
    let column_factor = columns.clone().sqrt().recip();
    let factor = row_factor.unsqueeze_dim::<3>(2) * column_factor.unsqueeze_dim::<3>(1);
    (gradient * factor.reshape(shape), Moments::Factored { rows, columns })
}

pub(super) fn adamw<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    [first, second]: [Tensor<1>; 2],
    step: &AdamWStep,
) -> (Tensor<D>, [Tensor<1>; 2]) {
    let shape = parameter.dims();
    let gradient = scaled(gradient.flatten::<1>(0, D - 1), step.scale);
    let first = first * step.beta1 + gradient.clone() * (1.0 - step.beta1);
    let second = second * step.beta2 + gradient.square() * (1.0 - step.beta2);
    let size = second.clone().sqrt() / step.root_bias + step.eps;
    let change = (first.clone() / size * step.rate).reshape(shape);
    let kept = parameter * (1.0 - step.weight_decay);
    (kept - change, [first, second])
}

fn scaled<const D: usize>(gradient: Tensor<D>, scale: f64) -> Tensor<D> {
    if scale == 1.0 { gradient } else { gradient * scale }
}

fn blend<const D: usize>(old: Tensor<D>, new: Tensor<D>, decay: f64) -> Tensor<D> {
    old * decay + new * (1.0 - decay)
}

fn rms<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    x.square().mean().sqrt()
}
