//! Linear layers of many rows, forwards and backwards, with weights as checkpoints have them.

use std::mem::MaybeUninit;

use burn::tensor::{FloatDType, Tensor, module};
use gemm::Parallelism;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Activation,
    host::{self, Host, Rows},
    layout,
    product::{self, Product, Strided, Target},
    sums::{self, BLOCK},
};

/// Up to so many rows what takes the time is reading or writing the weights, which is then done row by row
/// of them and by all threads.
const FEW: usize = 4;

/// Outputs of a product whose weights are turned round first: some megabytes.
const COLUMNS: usize = 1024;

/// `x Wᵀ + b` with `W` `[out, in]` as it lies in a checkpoint, since training changes it there.
/// `[..., in]` → `[..., out]`.
#[must_use]
pub fn linear_forward<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<D> {
    let [out, width] = weight.dims();
    let mut shape = x.dims();
    if shape[..D - 1].iter().product::<usize>() <= FEW {
        return product::linear(x, weight, Some(bias), Activation::None);
    }
    let (Some(rows), Some(matrix), Some(bias_array)) =
        (Rows::of(&x), Rows::of(&weight), Host::of(&bias))
    else {
        return module::linear(x, weight.transpose(), Some(bias));
    };
    assert_eq!(rows.width, width, "the input of a layer of shape {:?}", [out, width]);
    let bias = bias_array.dense();
    let fill = |values: &mut [MaybeUninit<f32>]| {
        // The bias is what the product is added to.
        values.par_chunks_mut(out).for_each(|row| {
            row.write_copy_of_slice(bias.slice());
        });
        for first in (0..out).step_by(COLUMNS) {
            let count = COLUMNS.min(out - first);
            let part = by_columns_of(&matrix, first, count);
            let product = Product {
                size: [rows.count, count, width],
                left: rows.matrix(),
                right: Strided::dense(&part, count),
                scale: 1.0,
                add: true,
            };
            let target = Target { values: &mut values[first..], row: out };
            product.write(target, Parallelism::Rayon(0));
        }
    };
    // SAFETY: every row is written first.
    let values = unsafe { host::filled(rows.count * out, fill) };
    shape[D - 1] = out;
    host::tensor(values, shape)
}

/// The rows from `first` on as columns: products of many rows read them so a third quicker.
fn by_columns_of(weight: &Rows, first: usize, count: usize) -> Vec<f32> {
    layout::turned([count, weight.width], |row, columns, values| {
        values.copy_from_slice(&weight.row(first + row)[columns]);
    })
}

/// The gradient of [`linear_forward`] at `x`: `d_y W`, `[..., out]` → `[..., in]`.
#[must_use]
pub fn linear_d_input<const D: usize>(d_y: Tensor<D>, weight: Tensor<2>) -> Tensor<D> {
    let [out, width] = weight.dims();
    let mut shape = d_y.dims();
    shape[D - 1] = width;
    let (Some(rows), Some(matrix)) = (Rows::of(&d_y), Rows::of(&weight)) else {
        return self::rows(d_y).matmul(weight).reshape(shape);
    };
    assert_eq!(rows.width, out, "the gradient of a layer of shape {:?}", [out, width]);
    if rows.count <= FEW {
        return host::tensor(few_d_input(&rows, &matrix), shape);
    }
    let product = Product {
        size: [rows.count, width, out],
        left: rows.matrix(),
        right: matrix.matrix(),
        scale: 1.0,
        add: false,
    };
    let fill = |values: &mut [MaybeUninit<f32>]| {
        product.write(Target { values, row: width }, Parallelism::Rayon(0));
    };
    // SAFETY: without `add` every element is written.
    let values = unsafe { host::filled(rows.count * width, fill) };
    host::tensor(values, shape)
}

/// The gradient of [`linear_forward`] at its weight, `d_yᵀ x`, added to `onto`: `[out, in]`. A sum of
/// two is f32: half precision would lose the smaller one.
#[must_use]
pub fn linear_d_weight<const D: usize>(
    x: Tensor<D>,
    d_y: Tensor<D>,
    onto: Option<Tensor<2>>,
) -> Tensor<2> {
    let before = onto.as_ref().map(Host::of);
    let (Some(inputs), Some(rows), None | Some(Some(_))) = (Rows::of(&x), Rows::of(&d_y), &before)
    else {
        let product = self::rows(d_y).transpose().matmul(self::rows(x));
        return match onto {
            Some(onto) => onto.cast(FloatDType::F32) + product.cast(FloatDType::F32),
            None => product,
        };
    };
    assert_eq!(rows.count, inputs.count, "rows of a layer's input and gradient");
    let (out, width, add) = (rows.width, inputs.width, onto.is_some());
    drop(onto);
    let fill = |values: &mut [MaybeUninit<f32>]| {
        if rows.count <= FEW {
            few_d_weight(&inputs, &rows, values, add);
        } else {
            let left = rows.matrix();
            let product = Product {
                size: [out, width, rows.count],
                left: Strided { row: left.column, column: left.row, ..left },
                right: inputs.matrix(),
                scale: 1.0,
                add,
            };
            product.write(Target { values, row: width }, Parallelism::Rayon(0));
        }
    };
    let values = match before.flatten() {
        Some(before) => {
            let mut values = before.into_buffer();
            fill(host::writable(&mut values));
            values
        }
        // SAFETY: without `add` every element is written.
        None => unsafe { host::filled(out * width, fill) },
    };
    host::tensor(values, [out, width])
}

/// The gradient of [`linear_forward`] at its bias, the sum over all rows of `d_y`, added to `onto`:
/// `[out]`, f32.
#[must_use]
pub fn linear_d_bias<const D: usize>(d_y: Tensor<D>, onto: Option<Tensor<1>>) -> Tensor<1> {
    let out = [d_y.dims()[D - 1]];
    let sum = match Rows::of(&d_y) {
        Some(rows) => {
            let sum = sums::over_blocks(rows.count.div_ceil(BLOCK), rows.width, |block, sums| {
                for index in block * BLOCK..rows.count.min((block + 1) * BLOCK) {
                    Arch::new().dispatch(Add { sums, factor: 1.0, row: rows.row(index) });
                }
            });
            host::tensor(sum, out)
        }
        None => self::rows(d_y).cast(FloatDType::F32).sum_dim(0).reshape(out),
    };
    match onto {
        Some(onto) => onto + sum,
        None => sum,
    }
}

/// `d_y W` of few rows: the sum of the weight's rows, each of which is read once.
fn few_d_input(rows: &Rows, weight: &Rows) -> Vec<f32> {
    let (width, share) = (weight.width, 8 * BLOCK);
    sums::over_blocks(weight.count.div_ceil(share), rows.count * width, |block, sums| {
        for index in block * share..weight.count.min((block + 1) * share) {
            for (row, sums) in sums.chunks_exact_mut(width.max(1)).enumerate() {
                let (factor, row) = (rows.row(row)[index], weight.row(index));
                Arch::new().dispatch(Add { sums, factor, row });
            }
        }
    })
}

/// `d_yᵀ x` of few rows, row by row of the weight.
fn few_d_weight(inputs: &Rows, rows: &Rows, values: &mut [MaybeUninit<f32>], add: bool) {
    let width = inputs.width.max(1);
    values.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, values)| {
        for (index, values) in values.chunks_exact_mut(width).enumerate() {
            let mut first = 0;
            if !add {
                let factor = rows.row(0)[block * BLOCK + index];
                for (value, &x) in values.iter_mut().zip(inputs.row(0)) {
                    value.write(factor * x);
                }
                first = 1;
            }
            // SAFETY: just written, or there before.
            let sums = unsafe { values.assume_init_mut() };
            for row in first..rows.count {
                let factor = rows.row(row)[block * BLOCK + index];
                Arch::new().dispatch(Add { sums, factor, row: inputs.row(row) });
            }
        }
    });
}

/// Adds a multiple of a row.
pub(super) struct Add<'a> {
    pub sums: &'a mut [f32],
    pub factor: f32,
    pub row: &'a [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (body, tail) = S::as_mut_simd_f32s(self.sums);
        let (row_body, row_tail) = S::as_simd_f32s(self.row);
        let factor = simd.splat_f32s(self.factor);
        for (sum, &x) in body.iter_mut().zip(row_body) {
            *sum = simd.mul_add_e_f32s(factor, x, *sum);
        }
        let (sum, x) = (simd.partial_load_f32s(tail), simd.partial_load_f32s(row_tail));
        simd.partial_store_f32s(tail, simd.mul_add_e_f32s(factor, x, sum));
    }
}

/// All rows of the last axis.
fn rows<const D: usize>(x: Tensor<D>) -> Tensor<2> {
    let shape = x.dims();
    x.reshape([shape[..D - 1].iter().product(), shape[D - 1]])
}
