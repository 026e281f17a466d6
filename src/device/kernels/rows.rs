//! Functions of each row of an array by itself.

use std::mem::MaybeUninit;

use burn::tensor::{FloatDType, Tensor, activation, module};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    host::{self, Host},
    math,
};

/// So many elements are worth a task of their own: some ten microseconds of work.
const TASK: usize = 16 * 1024;

/// Normalises over the last axis, then scales and shifts: `(x - mean) / √(variance + ε) · w + b`.
#[must_use]
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let (Some(array), Some(scale), Some(shift)) =
        (Host::of(&x), Host::of(&weight), Host::of(&bias))
    else {
        return module::layer_norm(x, weight, Some(bias), epsilon);
    };
    let shape = x.dims();
    drop(x);
    let (scale, shift) = (scale.dense(), shift.dense());
    let (scale, shift) = (scale.slice(), shift.slice());
    let mut values = array.into_buffer();
    by_rows(&mut values, shape[D - 1], |rows| {
        Arch::new().dispatch(Normalise { rows, scale, shift, epsilon: epsilon as f32 });
    });
    host::tensor(values, shape)
}

/// Divides each row by the root of its mean square and scales it: `x / √(mean(x²) + ε) · w`. In f32,
/// whatever the type, up to the scaling.
#[must_use]
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let (Some(array), Some(scale)) = (Host::of(&x), Host::of(&weight)) else {
        let dtype = FloatDType::from(x.dtype());
        let x = x.cast(FloatDType::F32);
        let factor = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt().recip();
        return (x * factor).cast(dtype) * weight.unsqueeze::<D>();
    };
    let (array, scale) = (array.dense(), scale.dense());
    let (input, scale) = (array.slice(), scale.slice());
    let rows = (TASK / scale.len().max(1)).max(1) * scale.len().max(1);
    let fill = |values: &mut [MaybeUninit<f32>]| {
        values.par_chunks_mut(rows).zip(input.par_chunks(rows)).for_each(|(out, x)| {
            Arch::new().dispatch(RootMeanSquare { x, scale, epsilon: epsilon as f32, out });
        });
    };
    // SAFETY: rows of the width of `scale` are all of the input, and each is written.
    let values = unsafe { host::filled(input.len(), fill) };
    host::tensor(values, x.dims())
}

/// `gelu(gate) · x` of each element, with the approximation by `tanh`: what stands between the linear
/// layers of a gated network.
#[must_use]
pub fn gated_gelu<const D: usize>(gate: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
    let (Some(array), Some(other)) = (Host::of(&gate), Host::of(&x)) else {
        return activation::gelu_approximate(gate) * x;
    };
    let shape = gate.dims();
    assert_eq!(shape, x.dims(), "a gate and what it gates are of one shape");
    drop(gate);
    let other = other.dense();
    let mut values = array.into_buffer();
    let parts = values.par_chunks_mut(TASK).zip(other.slice().par_chunks(TASK));
    parts.for_each(|(values, x)| Arch::new().dispatch(GatedGelu { values, x }));
    host::tensor(values, shape)
}

/// `x · Φ(x)` of each element, with the error function.
#[must_use]
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let Some(array) = Host::of(&x) else { return activation::gelu(x) };
    let shape = x.dims();
    drop(x);
    let mut values = array.into_buffer();
    values.par_chunks_mut(TASK).for_each(|values| Arch::new().dispatch(Gelu { values }));
    host::tensor(values, shape)
}

/// Softmax over the last axis.
#[must_use]
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let Some(array) = Host::of(&x) else { return activation::softmax(x, D - 1) };
    let shape = x.dims();
    drop(x);
    let mut values = array.into_buffer();
    let width = shape[D - 1];
    by_rows(&mut values, width, |rows| {
        for row in rows.chunks_exact_mut(width) {
            let sum = exponentials(row, 1.0);
            let inverse = 1.0 / sum;
            row.iter_mut().for_each(|value| *value *= inverse);
        }
    });
    host::tensor(values, shape)
}

/// Hands out whole rows to the threads.
fn by_rows(values: &mut [f32], width: usize, work: impl Fn(&mut [f32]) + Sync + Send) {
    if let Some(rows) = TASK.checked_div(width) {
        let rows = rows.max(1);
        values.par_chunks_mut(rows * width).for_each(work);
    }
}

/// Puts `exp(scale · (x - largest))` into each place of a row and gives their sum. A row of minus
/// infinities alone has no largest: its places become not-a-number, as the definition has it.
pub(super) fn exponentials(row: &mut [f32], scale: f32) -> f32 {
    Arch::new().dispatch(Exponentials { row, scale })
}

struct Exponentials<'a> {
    row: &'a mut [f32],
    scale: f32,
}

impl WithSimd for Exponentials<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (body, tail) = S::as_mut_simd_f32s(self.row);
        let mut largest = [simd.splat_f32s(f32::NEG_INFINITY); 4];
        let mut fours = body.chunks_exact(4);
        for four in &mut fours {
            for (largest, &x) in largest.iter_mut().zip(four) {
                *largest = simd.max_f32s(*largest, x);
            }
        }
        for &x in fours.remainder() {
            largest[0] = simd.max_f32s(largest[0], x);
        }
        let pairs = [simd.max_f32s(largest[0], largest[1]), simd.max_f32s(largest[2], largest[3])];
        let largest = simd.max_f32s(pairs[0], pairs[1]);
        let largest = tail.iter().copied().fold(simd.reduce_max_f32s(largest), f32::max);
        let (scale, shift) = (simd.splat_f32s(self.scale), simd.splat_f32s(-largest * self.scale));
        let mut sums = [simd.splat_f32s(0.0); 4];
        let mut fours = body.chunks_exact_mut(4);
        for four in &mut fours {
            for (sum, x) in sums.iter_mut().zip(four) {
                *x = math::exp(simd, simd.mul_add_e_f32s(*x, scale, shift));
                *sum = simd.add_f32s(*sum, *x);
            }
        }
        for x in fours.into_remainder() {
            *x = math::exp(simd, simd.mul_add_e_f32s(*x, scale, shift));
            sums[0] = simd.add_f32s(sums[0], *x);
        }
        let mut sum = strands(simd, sums);
        if !tail.is_empty() {
            let x = simd.mul_add_e_f32s(simd.partial_load_f32s(tail), scale, shift);
            simd.partial_store_f32s(tail, math::exp(simd, x));
            sum += tail.iter().sum::<f32>();
        }
        sum
    }
}

/// Puts `scale · x + bias` into each place of a row.
pub(super) fn biased(row: &mut [f32], scale: f32, bias: &[f32]) {
    Arch::new().dispatch(Biased { row, scale, bias });
}

struct Biased<'a> {
    row: &'a mut [f32],
    scale: f32,
    bias: &'a [f32],
}

impl WithSimd for Biased<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (body, tail) = S::as_mut_simd_f32s(self.row);
        let (bias_body, bias_tail) = S::as_simd_f32s(self.bias);
        let scale = simd.splat_f32s(self.scale);
        for (x, &bias) in body.iter_mut().zip(bias_body) {
            *x = simd.mul_add_e_f32s(*x, scale, bias);
        }
        if !tail.is_empty() {
            let (x, bias) = (simd.partial_load_f32s(tail), simd.partial_load_f32s(bias_tail));
            simd.partial_store_f32s(tail, simd.mul_add_e_f32s(x, scale, bias));
        }
    }
}

struct RootMeanSquare<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    epsilon: f32,
    out: &'a mut [MaybeUninit<f32>],
}

impl WithSimd for RootMeanSquare<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.scale.len();
        let count = width as f32;
        for (x, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            let (body, tail) = S::as_simd_f32s(x);
            let sum = squares(simd, body, simd.splat_f32s(0.0));
            let sum = sum + tail.iter().map(|x| x * x).sum::<f32>();
            let factor = 1.0 / (sum / count + self.epsilon).sqrt();
            for ((out, &x), &scale) in out.iter_mut().zip(x).zip(self.scale) {
                out.write(x * factor * scale);
            }
        }
    }
}

struct Normalise<'a> {
    rows: &'a mut [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    epsilon: f32,
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (scale_body, scale_tail) = S::as_simd_f32s(self.scale);
        let (shift_body, shift_tail) = S::as_simd_f32s(self.shift);
        let count = self.scale.len() as f32;
        for row in self.rows.chunks_exact_mut(self.scale.len()) {
            let (body, tail) = S::as_mut_simd_f32s(row);
            let mean = (sum(simd, body) + tail.iter().sum::<f32>()) / count;
            // Two passes: the mean of squares less the square of the mean loses what is small.
            let centre = simd.splat_f32s(mean);
            let squares = squares(simd, body, centre);
            let squares = squares + tail.iter().map(|x| (x - mean).powi(2)).sum::<f32>();
            let factor = 1.0 / (squares / count + self.epsilon).sqrt();
            let by = simd.splat_f32s(factor);
            for ((x, &scale), &shift) in body.iter_mut().zip(scale_body).zip(shift_body) {
                let normal = simd.mul_f32s(simd.sub_f32s(*x, centre), by);
                *x = simd.mul_add_e_f32s(normal, scale, shift);
            }
            for ((x, scale), shift) in tail.iter_mut().zip(scale_tail).zip(shift_tail) {
                *x = (*x - mean) * factor * scale + shift;
            }
        }
    }
}

// The instructions of a processor can only stand in functions that are made for it: a closure is a
// function of its own, so loops over vectors are written out.

/// The sum of all elements, in four strands.
#[inline(always)]
pub(super) fn sum<S: Simd>(simd: S, body: &[S::f32s]) -> f32 {
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (place, &x) in body.iter().enumerate() {
        sums[place % 4] = simd.add_f32s(sums[place % 4], x);
    }
    strands(simd, sums)
}

/// The sum of the squared distances from `centre`.
#[inline(always)]
pub(super) fn squares<S: Simd>(simd: S, body: &[S::f32s], centre: S::f32s) -> f32 {
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (place, &x) in body.iter().enumerate() {
        let x = simd.sub_f32s(x, centre);
        sums[place % 4] = simd.mul_add_e_f32s(x, x, sums[place % 4]);
    }
    strands(simd, sums)
}

#[inline(always)]
pub(super) fn strands<S: Simd>(simd: S, sums: [S::f32s; 4]) -> f32 {
    let pairs = [simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3])];
    simd.reduce_sum_f32s(simd.add_f32s(pairs[0], pairs[1]))
}

struct Gelu<'a> {
    values: &'a mut [f32],
}

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (body, tail) = S::as_mut_simd_f32s(self.values);
        for x in body {
            *x = math::gelu(simd, *x);
        }
        if !tail.is_empty() {
            simd.partial_store_f32s(tail, math::gelu(simd, simd.partial_load_f32s(tail)));
        }
    }
}

struct GatedGelu<'a> {
    values: &'a mut [f32],
    x: &'a [f32],
}

impl WithSimd for GatedGelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (body, tail) = S::as_mut_simd_f32s(self.values);
        let (x_body, x_tail) = S::as_simd_f32s(self.x);
        for (gate, &x) in body.iter_mut().zip(x_body) {
            *gate = simd.mul_f32s(math::gelu_tanh(simd, *gate), x);
        }
        if !tail.is_empty() {
            let gate = math::gelu_tanh(simd, simd.partial_load_f32s(tail));
            let x = simd.partial_load_f32s(x_tail);
            simd.partial_store_f32s(tail, simd.mul_f32s(gate, x));
        }
    }
}
