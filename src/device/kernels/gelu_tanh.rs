//! GELU in its tanh form, as layers have it whose gradients are wanted.

use std::mem::MaybeUninit;

use burn::tensor::{FloatDType, Tensor, activation};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    host::{self, Rows},
    math,
};

/// `2 · √(2/π)`
const TWICE_ROOT: f64 = 1.595_769_121_605_730_7;
const CUBIC: f64 = 0.044_715;

/// `x · σ(2·√(2/π)·(x + 0.044715·x³))`, which is the tanh form, behind the columns of `beside` if there
/// is one: `[B, N, width]` → `[B, N, beside + width]`. In f32, whatever the type.
#[must_use]
pub fn gelu_tanh(x: Tensor<3>, beside: Option<Tensor<3>>) -> Tensor<3> {
    if let Some(sum) = on_host(&x, None, beside.as_ref()) {
        return sum;
    }
    let dtype = FloatDType::from(x.dtype());
    let x = x.cast(FloatDType::F32);
    behind(beside, (x.clone() * logistic(x)).cast(dtype))
}

/// The vector-Jacobian product of [`gelu_tanh`] for the gradient `d_y` of its result, behind the columns
/// of `beside` if there is one. With `σ` the logistic factor and `u` its argument:
/// `d_x = d_y · (σ + x · σ · (1 − σ) · u′)`.
#[must_use]
pub fn gelu_tanh_backward(x: Tensor<3>, d_y: Tensor<3>, beside: Option<Tensor<3>>) -> Tensor<3> {
    if let Some(d_x) = on_host(&x, Some(&d_y), beside.as_ref()) {
        return d_x;
    }
    let dtype = FloatDType::from(x.dtype());
    let x = x.cast(FloatDType::F32);
    let share = logistic(x.clone());
    let slope = (x.clone().square() * (3.0 * CUBIC) + 1.0) * TWICE_ROOT;
    let derivative = share.clone() + x * share.clone() * (-share + 1.0) * slope;
    behind(beside, (d_y.cast(FloatDType::F32) * derivative).cast(dtype))
}

fn behind(beside: Option<Tensor<3>>, x: Tensor<3>) -> Tensor<3> {
    match beside {
        Some(beside) => Tensor::cat(vec![beside, x], 2),
        None => x,
    }
}

/// Both of them on the CPU: with `d_y`, the product of the derivative with that.
fn on_host(
    x: &Tensor<3>,
    d_y: Option<&Tensor<3>>,
    beside: Option<&Tensor<3>>,
) -> Option<Tensor<3>> {
    let [batch, length, width] = x.dims();
    let values = Rows::of(x)?;
    let d_y = match d_y {
        Some(d_y) => Some(Rows::of(d_y)?),
        None => None,
    };
    let beside = match beside {
        Some(beside) => Some(Rows::of(beside)?),
        None => None,
    };
    let before = beside.as_ref().map_or(0, |beside| beside.width);
    let row = before + width;
    let fill = |out: &mut [MaybeUninit<f32>]| {
        out.par_chunks_mut(row.max(1)).enumerate().for_each(|(index, out)| {
            let (first, out) = out.split_at_mut(before);
            if let Some(beside) = &beside {
                first.write_copy_of_slice(beside.row(index));
            }
            let d_y = d_y.as_ref().map(|d_y| d_y.row(index));
            Arch::new().dispatch(Row { x: values.row(index), d_y, out });
        });
    };
    // SAFETY: each row is written, what is beside it and what is made of it.
    let out = unsafe { host::filled(batch * length * row, fill) };
    Some(host::tensor(out, [batch, length, row]))
}

struct Row<'a> {
    x: &'a [f32],
    d_y: Option<&'a [f32]>,
    out: &'a mut [MaybeUninit<f32>],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (x_body, x_tail) = S::as_simd_f32s(self.x);
        let (out_body, out_tail) = S::as_uninit_mut_simd_f32s(self.out);
        let x_last = simd.partial_load_f32s(x_tail);
        let Some(d_y) = self.d_y else {
            for (out, &x) in out_body.iter_mut().zip(x_body) {
                out.write(math::gelu_tanh(simd, x));
            }
            math::write_tail(simd, out_tail, math::gelu_tanh(simd, x_last));
            return;
        };
        let (d_body, d_tail) = S::as_simd_f32s(d_y);
        for ((out, &x), &d) in out_body.iter_mut().zip(x_body).zip(d_body) {
            out.write(simd.mul_f32s(d, math::gelu_tanh_slope(simd, x)));
        }
        let d = simd.partial_load_f32s(d_tail);
        math::write_tail(simd, out_tail, simd.mul_f32s(d, math::gelu_tanh_slope(simd, x_last)));
    }
}

fn logistic(x: Tensor<3>) -> Tensor<3> {
    let cube = x.clone() * x.clone() * x.clone();
    activation::sigmoid((cube * CUBIC + x) * TWICE_ROOT)
}
