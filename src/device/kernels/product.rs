//! Matrix products with what follows them.

use std::mem::MaybeUninit;

use burn::tensor::{Tensor, activation, module};
use gemm::Parallelism;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Activation,
    host::{self, Host},
    math,
};

/// So many elements are worth a task of their own.
const TASK: usize = 16 * 1024;

/// `activation(x Wᵀ + b)`, with `W` as checkpoints have it: `[out, in]`. `[..., in]` → `[..., out]`.
///
/// How the weight lies decides how it is multiplied. Row by row, as checkpoints have it, each weight is
/// read once for every four rows of `x`: right for few rows, where reading the weights is what takes the
/// time, and a blocked product would first copy all of them. Laid out [`by_columns`](super::by_columns) the product is
/// blocked: right for many rows. Either way the numbers of a row are the same whatever other rows there
/// are; of a blocked product that holds from some 20 rows on, below which `gemm` takes other ways.
#[must_use]
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    then: Activation,
) -> Tensor<D> {
    let Some(layer) = Layer::of(&x, &weight, bias.as_ref()) else {
        let y = module::linear(x, weight.transpose(), bias);
        return match then {
            Activation::None => y,
            Activation::Gelu => activation::gelu(y),
            Activation::QuickGelu => y.clone() * activation::sigmoid(y * 1.702),
        };
    };
    let mut shape = x.dims();
    shape[D - 1] = layer.out;
    // SAFETY: without `add` every element is written.
    let mut values =
        unsafe { host::filled(layer.rows * layer.out, |values| layer.multiply(values, false)) };
    layer.finish(&mut values, then);
    host::tensor(values, shape)
}

/// `onto + x Wᵀ + b`: a linear layer added to what went around it. Where nobody else holds `onto` its
/// memory is used.
#[must_use]
pub fn linear_onto<const D: usize>(
    onto: Tensor<D>,
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let (Some(layer), Some(sum)) = (Layer::of(&x, &weight, bias.as_ref()), Host::of(&onto)) else {
        return onto + module::linear(x, weight.transpose(), bias);
    };
    let shape = onto.dims();
    drop(onto);
    let mut values = sum.into_buffer();
    assert_eq!(values.len(), layer.rows * layer.out, "elements of a sum of shape {shape:?}");
    layer.multiply(host::writable(&mut values), true);
    layer.finish(&mut values, Activation::None);
    host::tensor(values, shape)
}

/// A linear layer and its input, on the CPU.
struct Layer {
    input: Host,
    weight: Host,
    bias: Option<Host>,
    rows: usize,
    width: usize,
    out: usize,
}

impl Layer {
    fn of<const D: usize>(
        x: &Tensor<D>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
    ) -> Option<Self> {
        let [out, width] = weight.dims();
        let shape = x.dims();
        let rows = shape[..D - 1].iter().product();
        let bias = match bias {
            None => None,
            Some(bias) => Some(Host::of(bias)?.dense()),
        };
        let (input, weight) = (Host::of(x)?, Host::of(weight)?);
        let fits = bias.as_ref().is_none_or(|bias| bias.slice().len() == out);
        // What does not fit, Burn's operators say in their own words.
        (fits && shape[D - 1] == width && rows * width * out > 0).then(|| Self {
            input: input.dense(),
            weight,
            bias,
            rows,
            width,
            out,
        })
    }

    /// Writes `x Wᵀ`, or adds it to what is there.
    fn multiply(&self, values: &mut [MaybeUninit<f32>], add: bool) {
        let x = self.input.slice();
        if self.weight.is_dense() {
            return self.multiply_by_rows(values, add);
        }
        let (weight, steps) = self.weight.strided();
        let product = Product {
            size: [self.rows, self.out, self.width],
            left: Strided::dense(x, self.width),
            right: Strided { values: weight, row: steps[1], column: steps[0] },
            scale: 1.0,
            add,
        };
        product.write(Target { values, row: self.out }, Parallelism::Rayon(0));
    }

    fn multiply_by_rows(&self, values: &mut [MaybeUninit<f32>], add: bool) {
        let (x, weight) = (self.input.slice(), self.weight.slice());
        let share = (TASK / self.width).max(1);
        let parts = weight.par_chunks(share * self.width).map(|weight| {
            let mut part = vec![0.0; self.rows * (weight.len() / self.width)];
            Arch::new().dispatch(ByRows { x, weight, width: self.width, out: &mut part });
            part
        });
        for (index, part) in parts.collect::<Vec<_>>().into_iter().enumerate() {
            let (start, span) = (index * share, part.len() / self.rows);
            for (row, part) in part.chunks_exact(span).enumerate() {
                let values = &mut values[row * self.out + start..][..span];
                for (value, &part) in values.iter_mut().zip(part) {
                    // SAFETY: to be added to, an element must be there: see `linear_onto`.
                    let before = if add { unsafe { value.assume_init() } } else { 0.0 };
                    value.write(before + part);
                }
            }
        }
    }

    /// Adds the bias and applies the activation.
    fn finish(&self, values: &mut [f32], then: Activation) {
        if self.bias.is_none() && then == Activation::None {
            return;
        }
        let bias = self.bias.as_ref().map(Host::slice);
        let rows = (TASK / self.out).max(1);
        values.par_chunks_mut(rows * self.out).for_each(|values| {
            Arch::new().dispatch(Finish { values, width: self.out, bias, then });
        });
    }
}

struct Finish<'a> {
    values: &'a mut [f32],
    width: usize,
    bias: Option<&'a [f32]>,
    then: Activation,
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Some(bias) = self.bias else {
            let (body, tail) = S::as_mut_simd_f32s(self.values);
            for x in body {
                *x = active(simd, *x, self.then);
            }
            let x = simd.partial_load_f32s(tail);
            simd.partial_store_f32s(tail, active(simd, x, self.then));
            return;
        };
        let (bias_body, bias_tail) = S::as_simd_f32s(bias);
        for row in self.values.chunks_exact_mut(self.width) {
            let (body, tail) = S::as_mut_simd_f32s(row);
            for (x, &bias) in body.iter_mut().zip(bias_body) {
                *x = active(simd, simd.add_f32s(*x, bias), self.then);
            }
            let sum =
                simd.add_f32s(simd.partial_load_f32s(tail), simd.partial_load_f32s(bias_tail));
            simd.partial_store_f32s(tail, active(simd, sum, self.then));
        }
    }
}

#[inline(always)]
fn active<S: Simd>(simd: S, x: S::f32s, then: Activation) -> S::f32s {
    match then {
        Activation::None => x,
        Activation::Gelu => math::gelu(simd, x),
        Activation::QuickGelu => math::quick_gelu(simd, x),
    }
}

/// `x Wᵀ`, weight by weight: `out` is `[rows, rows of weight]`.
struct ByRows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl WithSimd for ByRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (width, columns) = (self.width, self.weight.len() / self.width);
        let rows = self.x.len() / width;
        let mut row = 0;
        while row < rows {
            let x = &self.x[row * width..];
            let out = &mut self.out[row * columns..];
            // Rows of one weight stay in the nearest cache while they meet the rows of `x`.
            row += match rows - row {
                1 => dots::<S, 1>(simd, x, self.weight, width, out),
                2 => dots::<S, 2>(simd, x, self.weight, width, out),
                3 => dots::<S, 3>(simd, x, self.weight, width, out),
                _ => dots::<S, 4>(simd, x, self.weight, width, out),
            };
        }
    }
}

/// Each of the first `R` rows of `x` times each row of `weight`.
#[inline(always)]
fn dots<S: Simd, const R: usize>(
    simd: S,
    x: &[f32],
    weight: &[f32],
    width: usize,
    out: &mut [f32],
) -> usize {
    let columns = weight.len() / width;
    let rows: [_; R] = std::array::from_fn(|row| S::as_simd_f32s(&x[row * width..][..width]));
    for (column, weight) in weight.chunks_exact(width).enumerate() {
        let (body, tail) = S::as_simd_f32s(weight);
        let mut sums = [[simd.splat_f32s(0.0); 4]; R];
        let mut place = 0;
        while place + 4 <= body.len() {
            for (sums, (x, _)) in sums.iter_mut().zip(&rows) {
                for (strand, sum) in sums.iter_mut().enumerate() {
                    *sum = simd.mul_add_e_f32s(body[place + strand], x[place + strand], *sum);
                }
            }
            place += 4;
        }
        while place < body.len() {
            for (sums, (x, _)) in sums.iter_mut().zip(&rows) {
                sums[0] = simd.mul_add_e_f32s(body[place], x[place], sums[0]);
            }
            place += 1;
        }
        let tail = simd.partial_load_f32s(tail);
        for (row, (sums, (_, x))) in sums.iter_mut().zip(&rows).enumerate() {
            sums[1] = simd.mul_add_e_f32s(tail, simd.partial_load_f32s(x), sums[1]);
            let left = simd.add_f32s(sums[0], sums[1]);
            let right = simd.add_f32s(sums[2], sums[3]);
            out[row * columns + column] = simd.reduce_sum_f32s(simd.add_f32s(left, right));
        }
    }
    R
}

/// A matrix within an array: the steps from one row and one column to the next.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    pub values: &'a [f32],
    pub row: isize,
    pub column: isize,
}

impl<'a> Strided<'a> {
    /// Rows of `width` elements, one after the other.
    pub fn dense(values: &'a [f32], width: usize) -> Self {
        Self { values, row: width as isize, column: 1 }
    }

    /// One row, where elements of a row lie next to each other.
    #[inline(always)]
    pub fn row_of(&self, row: usize, width: usize) -> &'a [f32] {
        &self.values[row * self.row as usize..][..width]
    }

    /// Whether a matrix of this size lies within the array.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = |count: usize, step: isize| (count as isize - 1).checked_mul(step);
        let (Some(row), Some(column)) = (last(rows, self.row), last(columns, self.column)) else {
            return false;
        };
        self.row >= 0
            && self.column >= 0
            && row.checked_add(column).is_some_and(|last| (last as usize) < self.values.len())
    }
}

/// Where a product goes: rows of elements that lie next to each other.
pub(super) struct Target<'a> {
    pub values: &'a mut [MaybeUninit<f32>],
    /// The step from one row to the next.
    pub row: usize,
}

impl Target<'_> {
    /// The same place once more.
    pub fn again(&mut self) -> Target<'_> {
        Target { values: self.values, row: self.row }
    }
}

/// `scale · left · right` of matrices `[m, k]` and `[k, n]`.
pub(super) struct Product<'a> {
    /// `m`, `n`, `k`
    pub size: [usize; 3],
    pub left: Strided<'a>,
    pub right: Strided<'a>,
    pub scale: f32,
    /// Whether it is added to what the target holds; else what that holds is not read.
    pub add: bool,
}

impl Product<'_> {
    pub fn write(&self, target: Target<'_>, parallelism: Parallelism) {
        let [m, n, k] = self.size;
        if m == 0 || n == 0 {
            return;
        }
        assert!(
            self.left.holds(m, k)
                && self.right.holds(k, n)
                && target.row >= n
                && (m - 1) * target.row + n <= target.values.len(),
            "a product of {m}×{k} and {k}×{n} beyond its arrays"
        );
        // SAFETY: every element that a matrix of these sizes and steps has lies within its slice, as
        // just checked; the target is borrowed for writing, its rows do not overlap.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                target.values.as_mut_ptr().cast::<f32>(),
                1,
                target.row as isize,
                self.add,
                self.left.values.as_ptr(),
                self.left.column,
                self.left.row,
                self.right.values.as_ptr(),
                self.right.column,
                self.right.row,
                1.0,
                self.scale,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}
