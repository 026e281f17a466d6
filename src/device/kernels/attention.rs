//! Attention that never holds all scores.

use std::mem::MaybeUninit;

use burn::tensor::{FloatDType, Tensor, activation};
use gemm::Parallelism;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    host::{self, Host},
    product::{Product, Strided, Target},
    rows::{biased, exponentials},
};

/// Queries that are worked on together: with 800 keys their scores take less than half of a core's own cache.
const QUERIES: usize = 128;

/// Up to so many queries, as when a text is written word by word, are worked on where keys and values
/// lie: the blocked product would copy all of both first.
const FEW: usize = 4;

/// `softmax(scale · q kᵀ + bias) v`, all `[..., heads, N, head]`; `bias` is broadcast over `[..., heads,
/// N, keys]`.
///
/// On the CPU the result lies as `[..., N, heads, head]`, so that joining the heads afterwards copies
/// nothing; `q`, `k` and `v` are read where they lie, such as in the output of one joint projection.
///
/// # Panics
/// There are fewer than three dimensions, or the shapes do not fit.
#[must_use]
pub fn attention<const D: usize>(
    q: Tensor<D>,
    k: Tensor<D>,
    v: Tensor<D>,
    bias: Option<Tensor<D>>,
    scale: f64,
) -> Tensor<D> {
    let on_host = (Host::of(&q), Host::of(&k), Host::of(&v), bias.as_ref().map(Host::of));
    let (Some(queries), Some(keys), Some(values), None | Some(Some(_))) = &on_host else {
        return plain(q, k, v, bias, scale);
    };
    let shape = q.dims();
    let lead = &shape[..D - 2];
    let fit = k.dims()[..D - 2] == *lead && v.dims()[..D - 2] == *lead;
    let fit = fit && k.dims()[D - 1] == shape[D - 1] && v.dims()[D - 2] == k.dims()[D - 2];
    let (heads, items) = (shape[D - 3], shape[..D - 3].iter().product::<usize>());
    let [length, head] = [shape[D - 2], shape[D - 1]];
    let [seen, width] = [k.dims()[D - 2], v.dims()[D - 1]];
    if !fit || items * heads * length * head * seen * width == 0 {
        return plain(q, k, v, bias, scale);
    }
    let bias = bias.map(|bias| {
        let mut shape = shape;
        shape[D - 1] = seen;
        bias.expand(shape)
    });
    let bias = bias.as_ref().and_then(Host::of);
    let work = Attention {
        queries: Heads::of(queries, lead),
        keys: Heads::of(keys, lead),
        values: Heads::of(values, lead),
        bias: bias.as_ref().map(|bias| Heads::of(bias, lead)),
        size: [length, seen, head, width],
        scale: scale as f32,
    };
    let row = heads * width;
    let step = block_of(length);
    let fill = |output: &mut [MaybeUninit<f32>]| {
        output.par_chunks_mut(length * row).enumerate().for_each(|(item, output)| {
            let blocks = output.par_chunks_mut(step * row).enumerate();
            blocks.for_each_init(Vec::new, |scores, (block, output)| {
                for head in 0..heads {
                    let target = Target { values: &mut output[head * width..], row };
                    work.block(item * heads + head, block * step, step, scores, target);
                }
            });
        });
    };
    // SAFETY: the heads of all blocks of all items are all of the output.
    let output = unsafe { host::filled(items * length * row, fill) };
    let mut shape = shape;
    [shape[D - 3], shape[D - 2], shape[D - 1]] = [length, heads, width];
    host::tensor(output, shape).swap_dims(D - 3, D - 2)
}

/// Queries per task: [`QUERIES`] at most, and tasks that 2 or 4 threads can share evenly.
fn block_of(length: usize) -> usize {
    let blocks = length.div_ceil(QUERIES);
    if blocks == 1 { length } else { length.div_ceil(blocks.next_multiple_of(4)) }
}

/// The same in Burn's operators. Written out, because fused kernels multiply in half precision. Scores
/// are f32 from the product on, whatever the type: half precision has too few bits for their sums.
fn plain<const D: usize>(
    q: Tensor<D>,
    k: Tensor<D>,
    v: Tensor<D>,
    bias: Option<Tensor<D>>,
    scale: f64,
) -> Tensor<D> {
    let dtype = FloatDType::from(v.dtype());
    let scores = q.matmul(k.swap_dims(D - 2, D - 1)).cast(FloatDType::F32) * scale;
    let scores = match bias {
        Some(bias) => scores + bias.cast(FloatDType::F32),
        None => scores,
    };
    activation::softmax(scores, D - 1).cast(dtype).matmul(v)
}

/// `[..., heads, N, width]`, wherever its elements lie.
pub(super) struct Heads<'a> {
    values: &'a [f32],
    /// Where each head of each item starts.
    starts: Vec<usize>,
    row: isize,
    column: isize,
}

impl<'a> Heads<'a> {
    pub fn of(array: &'a Host, lead: &[usize]) -> Self {
        let (values, steps) = array.strided();
        let mut starts = vec![0];
        for (&size, &step) in lead.iter().zip(steps) {
            let step = usize::try_from(step).expect("invariant: no axis is reversed");
            let next = |start: &usize| {
                (0..size).map(move |index| start + index * step).collect::<Vec<_>>()
            };
            starts = starts.iter().flat_map(next).collect();
        }
        Self { values, starts, row: steps[lead.len()], column: steps[lead.len() + 1] }
    }

    /// Rows from `first` on of one head.
    pub fn matrix(&self, head: usize, first: usize) -> Strided<'a> {
        let start = self.starts[head] as isize + first as isize * self.row;
        Strided { values: &self.values[start as usize..], row: self.row, column: self.column }
    }
}

struct Attention<'a> {
    queries: Heads<'a>,
    keys: Heads<'a>,
    values: Heads<'a>,
    bias: Option<Heads<'a>>,
    /// Queries, keys, width of a query, width of a value.
    size: [usize; 4],
    scale: f32,
}

impl Attention<'_> {
    /// Rows of `target` for at most `count` queries from `first` on, of one head.
    fn block(
        &self,
        at: usize,
        first: usize,
        count: usize,
        scores: &mut Vec<f32>,
        mut target: Target<'_>,
    ) {
        let [length, seen, head, width] = self.size;
        let rows = count.min(length - first);
        scores.resize(rows * seen, 0.0);
        let (keys, values) = (self.keys.matrix(at, 0), self.values.matrix(at, 0));
        let queries = self.queries.matrix(at, first);
        let few = rows <= FEW && queries.column == 1 && keys.column == 1 && values.column == 1;
        if few {
            Arch::new().dispatch(Scores { queries, keys, size: [rows, seen, head], scores });
        } else {
            let right = Strided { row: keys.column, column: keys.row, ..keys };
            let size = [rows, seen, head];
            let product = Product { size, left: queries, right, scale: 1.0, add: false };
            let target = Target { values: host::writable(scores), row: seen };
            product.write(target, Parallelism::None);
        }
        let mut sums = Vec::with_capacity(rows);
        let bias = self.bias.as_ref().map(|bias| bias.matrix(at, first));
        for (row, scores) in scores.chunks_exact_mut(seen).enumerate() {
            // A bias is added to scores that are scaled already; without one, the exponent scales.
            let mut scale = self.scale;
            if let Some(bias) = bias {
                if bias.column == 1 {
                    biased(scores, self.scale, bias.row_of(row, seen));
                } else {
                    let start = row as isize * bias.row;
                    for (key, score) in (0..).zip(scores.iter_mut()) {
                        let bias = bias.values[(start + key * bias.column) as usize];
                        *score = *score * self.scale + bias;
                    }
                }
                scale = 1.0;
            }
            sums.push(exponentials(scores, scale));
        }
        if few {
            let size = [rows, seen, width];
            Arch::new().dispatch(Mix { weights: scores, values, size, target: &mut target });
        } else {
            let product = Product {
                size: [rows, width, seen],
                left: Strided::dense(scores, seen),
                right: values,
                scale: 1.0,
                add: false,
            };
            product.write(target.again(), Parallelism::None);
        }
        for (row, sum) in target.values.chunks_mut(target.row).zip(sums) {
            let factor = sum.recip();
            for value in &mut row[..width] {
                // SAFETY: just written.
                value.write(unsafe { value.assume_init() } * factor);
            }
        }
    }
}

/// Scores of few queries: each with each key.
struct Scores<'a> {
    queries: Strided<'a>,
    keys: Strided<'a>,
    size: [usize; 3],
    scores: &'a mut [f32],
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [rows, seen, head] = self.size;
        for row in 0..rows {
            let (body, tail) = S::as_simd_f32s(self.queries.row_of(row, head));
            let tail = simd.partial_load_f32s(tail);
            for key in 0..seen {
                let (keys, rest) = S::as_simd_f32s(self.keys.row_of(key, head));
                let mut sum = simd.mul_f32s(tail, simd.partial_load_f32s(rest));
                for (&x, &y) in body.iter().zip(keys) {
                    sum = simd.mul_add_e_f32s(x, y, sum);
                }
                self.scores[row * seen + key] = simd.reduce_sum_f32s(sum);
            }
        }
    }
}

/// The values of all keys, weighted by the scores of few queries.
struct Mix<'a, 't> {
    weights: &'a [f32],
    values: Strided<'a>,
    size: [usize; 3],
    target: &'a mut Target<'t>,
}

impl WithSimd for Mix<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [rows, seen, width] = self.size;
        let span = 4 * S::F32_LANES;
        for row in 0..rows {
            let weights = &self.weights[row * seen..][..seen];
            for start in (0..width).step_by(span) {
                let count = span.min(width - start);
                let mut sums = [simd.splat_f32s(0.0); 4];
                for (key, &weight) in weights.iter().enumerate() {
                    let values = &self.values.row_of(key, width)[start..start + count];
                    let (body, tail) = S::as_simd_f32s(values);
                    let weight = simd.splat_f32s(weight);
                    for (sum, &value) in sums.iter_mut().zip(body) {
                        *sum = simd.mul_add_e_f32s(weight, value, *sum);
                    }
                    if !tail.is_empty() {
                        let sum = &mut sums[body.len()];
                        *sum = simd.mul_add_e_f32s(weight, simd.partial_load_f32s(tail), *sum);
                    }
                }
                let mut mixed = [0.0; 64];
                let (body, _) = S::as_mut_simd_f32s(&mut mixed[..span]);
                body.copy_from_slice(&sums);
                let target = &mut self.target.values[row * self.target.row + start..][..count];
                for (target, &mixed) in target.iter_mut().zip(&mixed) {
                    target.write(mixed);
                }
            }
        }
    }
}
