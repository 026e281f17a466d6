//! What stands around the layers of a block that is conditioned: a normalisation whose scale and shift
//! come from the conditioning, and a sum whose second term passes a gate.

use std::mem::MaybeUninit;

use burn::tensor::{FloatDType, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    host::{self, Host, Rows},
    rows::{squares, sum},
    sums::{self, BLOCK},
};

/// Normalises over the last axis without learned weights, then scales and shifts:
/// `(x − mean) / √(variance + ε) · (1 + scale) + shift`. `[B, N, width]`, with `scale` and `shift`
/// `[B, 1, width]`. In f32, whatever the type, and returned in the type of `x`.
#[must_use]
pub fn modulated_norm(x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>, epsilon: f64) -> Tensor<3> {
    if let (Some(rows), Some(shift), Some(scale)) =
        (Rows::of(&x), Rows::of(&shift), Rows::of(&scale))
    {
        let [_, length, _] = x.dims();
        return mapped(x.dims(), |index, out| {
            let (x, item) = (rows.row(index), index / length);
            let (shift, scale) = (shift.row(item), scale.row(item));
            Arch::new().dispatch(Norm { x, shift, scale, epsilon: epsilon as f32, out });
        });
    }
    let dtype = FloatDType::from(x.dtype());
    let (normal, _) = normalised(x, epsilon);
    let (shift, scale) = (shift.cast(FloatDType::F32), scale.cast(FloatDType::F32));
    (normal * (scale + 1.0) + shift).cast(dtype)
}

/// Gradients of [`modulated_norm`].
#[derive(Clone, Debug)]
pub struct ModulatedNormGradients {
    /// At `x`, added to what was there: `[B, N, width]`.
    pub x: Tensor<3>,
    /// At the shift: `[B, 1, width]`, f32.
    pub shift: Tensor<3>,
    /// At the scale: `[B, 1, width]`, f32.
    pub scale: Tensor<3>,
}

/// The vector-Jacobian product of [`modulated_norm`] for the gradient `d_y` of its result. What goes to
/// `x` is added to `onto`, the gradient that comes past the layer; where nobody else holds that, its
/// memory is used.
///
/// With `n` the normalised row, `s` what it was divided by and `g = d_y (1 + scale)`:
/// `d_x = (g − mean(g) − n · mean(g n)) / s`.
#[must_use]
pub fn modulated_norm_backward(
    x: Tensor<3>,
    scale: Tensor<3>,
    epsilon: f64,
    d_y: Tensor<3>,
    onto: Option<Tensor<3>>,
) -> ModulatedNormGradients {
    if let (Some(rows), Some(scale), Some(d_y)) = (Rows::of(&x), Rows::of(&scale), Rows::of(&d_y))
        && onto.as_ref().is_none_or(|onto| Host::of(onto).is_some())
    {
        return norm_backward(x.dims(), &rows, &scale, epsilon as f32, &d_y, onto);
    }
    let dtype = FloatDType::from(x.dtype());
    let (normal, deviation) = normalised(x, epsilon);
    let (scale, d_y) = (scale.cast(FloatDType::F32), d_y.cast(FloatDType::F32));
    let shift_gradient = d_y.clone().sum_dim(1);
    let scale_gradient = (d_y.clone() * normal.clone()).sum_dim(1);
    let g = d_y * (scale + 1.0);
    let along = (g.clone() * normal.clone()).mean_dim(2);
    let d_x = ((g.clone() - g.mean_dim(2) - normal * along) / deviation).cast(dtype);
    let x = match onto {
        Some(onto) => onto + d_x,
        None => d_x,
    };
    ModulatedNormGradients { x, shift: shift_gradient, scale: scale_gradient }
}

/// Rows of mean 0 and variance 1 in f32, and what they were divided by.
fn normalised(x: Tensor<3>, epsilon: f64) -> (Tensor<3>, Tensor<3>) {
    let x = x.cast(FloatDType::F32);
    let centred = x.clone() - x.mean_dim(2);
    let deviation = (centred.clone().square().mean_dim(2) + epsilon).sqrt();
    (centred / deviation.clone(), deviation)
}

/// `x + gate · y`: a residual sum. `[B, N, width]`, with a gate of `[B, 1, width]`.
#[must_use]
pub fn gated_sum(x: Tensor<3>, gate: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    if let (Some(x_rows), Some(gate), Some(y)) = (Rows::of(&x), Rows::of(&gate), Rows::of(&y)) {
        let [_, length, _] = x.dims();
        return mapped(x.dims(), |index, out| {
            let (x, gate, y) = (x_rows.row(index), gate.row(index / length), y.row(index));
            Arch::new().dispatch(GatedSum { x, gate, y, out });
        });
    }
    x + gate * y
}

/// Gradients of [`gated_sum`]; at `x` it is that of the result.
#[derive(Clone, Debug)]
pub struct GateGradients {
    /// At the gate: `[B, 1, width]`, f32.
    pub gate: Tensor<3>,
    /// At `y`: `[B, N, width]`.
    pub y: Tensor<3>,
}

/// The vector-Jacobian product of [`gated_sum`] for the gradient `d_sum` of its result.
#[must_use]
pub fn gated_sum_backward(gate: Tensor<3>, y: Tensor<3>, d_sum: Tensor<3>) -> GateGradients {
    if let (Some(gate), Some(y_rows), Some(d_sum)) =
        (Rows::of(&gate), Rows::of(&y), Rows::of(&d_sum))
    {
        return gate_backward(y.dims(), &gate, &y_rows, &d_sum);
    }
    let gate_gradient = (d_sum.clone().cast(FloatDType::F32) * y.cast(FloatDType::F32)).sum_dim(1);
    GateGradients { gate: gate_gradient, y: d_sum * gate }
}

/// An array of this shape, each row of which `work` writes.
fn mapped(
    shape: [usize; 3],
    work: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync + Send,
) -> Tensor<3> {
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let rows = out.par_chunks_mut(shape[2].max(1)).with_min_len(ROWS).enumerate();
        rows.for_each(|(index, out)| work(index, out));
    };
    // SAFETY: the work of each row writes it.
    let values = unsafe { host::filled(shape.iter().product(), fill) };
    host::tensor(values, shape)
}

/// So few rows are not worth a task of their own.
const ROWS: usize = 4;

/// Hands out the rows of `values` in blocks, none of which goes over two items of the batch. `work` gets
/// the number of a row, the row, and `width` sums that start at zero; gives the sums of each item.
fn with_sums(
    values: &mut [MaybeUninit<f32>],
    [_, length, row]: [usize; 3],
    width: usize,
    work: impl Fn(usize, &mut [MaybeUninit<f32>], &mut [f32]) + Sync + Send,
) -> Vec<Vec<f32>> {
    let items = values.par_chunks_mut((length * row).max(1)).enumerate();
    let items = items.map(|(item, values)| {
        let blocks =
            values.par_chunks_mut(BLOCK * row.max(1)).enumerate().map(|(block, values)| {
                let mut sums = vec![0.0; width];
                for (index, values) in values.chunks_mut(row).enumerate() {
                    work(item * length + block * BLOCK + index, values, &mut sums);
                }
                sums
            });
        sums::added(blocks.collect(), width)
    });
    items.collect()
}

/// The columns `part` of `parts` of all sums, as `[B, 1, width]`.
fn sums_of(sums: &[Vec<f32>], part: usize, width: usize) -> Tensor<3> {
    let values = sums.iter().flat_map(|sums| &sums[part * width..][..width]).copied().collect();
    host::tensor(values, [sums.len(), 1, width])
}

fn norm_backward(
    shape: [usize; 3],
    x: &Rows,
    scale: &Rows,
    epsilon: f32,
    d_y: &Rows,
    onto: Option<Tensor<3>>,
) -> ModulatedNormGradients {
    let [_, length, width] = shape;
    let before = onto.as_ref().and_then(Host::of);
    drop(onto);
    let mut values = match before {
        Some(before) => before.into_buffer(),
        None => vec![0.0; shape.iter().product()],
    };
    let sums = with_sums(host::writable(&mut values), shape, 2 * width, |index, d_x, sums| {
        // SAFETY: numbers, as above.
        let d_x = unsafe { d_x.assume_init_mut() };
        let (x, d_y, scale) = (x.row(index), d_y.row(index), scale.row(index / length));
        Arch::new().dispatch(NormBackward { x, d_y, scale, epsilon, d_x, sums });
    });
    ModulatedNormGradients {
        x: host::tensor(values, shape),
        shift: sums_of(&sums, 0, width),
        scale: sums_of(&sums, 1, width),
    }
}

fn gate_backward(shape: [usize; 3], gate: &Rows, y: &Rows, d_sum: &Rows) -> GateGradients {
    let [_, length, width] = shape;
    let mut sums = Vec::new();
    let fill = |out: &mut [MaybeUninit<f32>]| {
        sums = with_sums(out, shape, width, |index, d_y, d_gate| {
            let (gate, y, d) = (gate.row(index / length), y.row(index), d_sum.row(index));
            Arch::new().dispatch(GateBackward { gate, y, d, d_y, d_gate });
        });
    };
    // SAFETY: the work of each row writes it.
    let values = unsafe { host::filled(shape.iter().product(), fill) };
    GateGradients { gate: sums_of(&sums, 0, width), y: host::tensor(values, shape) }
}

/// The mean of a row, and one by its deviation.
#[inline(always)]
fn moments<S: Simd>(simd: S, x: &[f32], epsilon: f32) -> (f32, f32) {
    let (body, tail) = S::as_simd_f32s(x);
    let count = x.len() as f32;
    let mean = (sum(simd, body) + tail.iter().sum::<f32>()) / count;
    // Two passes: the mean of squares less the square of the mean loses what is small.
    let squares = squares(simd, body, simd.splat_f32s(mean));
    let squares = squares + tail.iter().map(|x| (x - mean).powi(2)).sum::<f32>();
    (mean, 1.0 / (squares / count + epsilon).sqrt())
}

struct Norm<'a> {
    x: &'a [f32],
    shift: &'a [f32],
    scale: &'a [f32],
    epsilon: f32,
    out: &'a mut [MaybeUninit<f32>],
}

impl WithSimd for Norm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (mean, factor) = moments(simd, self.x, self.epsilon);
        let columns = self.x.iter().zip(self.shift).zip(self.scale);
        for (out, ((&x, &shift), &scale)) in self.out.iter_mut().zip(columns) {
            out.write(((x - mean) * factor).mul_add(1.0 + scale, shift));
        }
    }
}

struct NormBackward<'a> {
    x: &'a [f32],
    d_y: &'a [f32],
    scale: &'a [f32],
    epsilon: f32,
    /// Is added to.
    d_x: &'a mut [f32],
    /// Of the shift, and of the scale behind it.
    sums: &'a mut [f32],
}

impl WithSimd for NormBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (mean, factor) = moments(simd, self.x, self.epsilon);
        let (width, lanes) = (self.x.len(), S::F32_LANES);
        let (d_shift, d_scale) = self.sums.split_at_mut(width);
        // Sums of `g` and of `g n`, lane by lane.
        let mut total = [simd.splat_f32s(0.0); 2];
        let (centre, by, one) =
            (simd.splat_f32s(mean), simd.splat_f32s(factor), simd.splat_f32s(1.0));
        for start in (0..width).step_by(lanes) {
            let span = start..width.min(start + lanes);
            let load = |row: &[f32]| simd.partial_load_f32s(&row[span.clone()]);
            let (d_y, scale) = (load(self.d_y), load(self.scale));
            let normal = simd.mul_f32s(simd.sub_f32s(load(self.x), centre), by);
            // Lanes beyond the row have a gradient of zero.
            let g = simd.mul_f32s(d_y, simd.add_f32s(one, scale));
            total[0] = simd.add_f32s(total[0], g);
            total[1] = simd.mul_add_e_f32s(g, normal, total[1]);
            let sum = simd.add_f32s(load(d_shift), d_y);
            simd.partial_store_f32s(&mut d_shift[span.clone()], sum);
            let sum = simd.mul_add_e_f32s(d_y, normal, load(d_scale));
            simd.partial_store_f32s(&mut d_scale[span.clone()], sum);
        }
        let [mean_g, along] = total.map(|total| simd.reduce_sum_f32s(total) / width as f32);
        let columns = self.x.iter().zip(self.d_y).zip(self.scale);
        for (d_x, ((&x, &d_y), &scale)) in self.d_x.iter_mut().zip(columns) {
            let normal = (x - mean) * factor;
            *d_x += (d_y * (1.0 + scale) - mean_g - normal * along) * factor;
        }
    }
}

struct GatedSum<'a> {
    x: &'a [f32],
    gate: &'a [f32],
    y: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
}

impl WithSimd for GatedSum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let columns = self.x.iter().zip(self.gate).zip(self.y);
        for (out, ((&x, &gate), &y)) in self.out.iter_mut().zip(columns) {
            out.write(gate.mul_add(y, x));
        }
    }
}

struct GateBackward<'a> {
    gate: &'a [f32],
    y: &'a [f32],
    d: &'a [f32],
    d_y: &'a mut [MaybeUninit<f32>],
    /// Is added to.
    d_gate: &'a mut [f32],
}

impl WithSimd for GateBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let columns = self.gate.iter().zip(self.y).zip(self.d);
        let gradients = self.d_y.iter_mut().zip(self.d_gate);
        for ((d_y, d_gate), ((&gate, &y), &d)) in gradients.zip(columns) {
            d_y.write(d * gate);
            *d_gate = d.mul_add(y, *d_gate);
        }
    }
}
