//! Attention that never holds all scores.

use std::mem::MaybeUninit;

use burn::tensor::{Tensor, activation};
use gemm::Parallelism;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    host::{self, Host},
    product::{Product, Strided, Target},
    rows::exponentials,
};

/// Queries that are worked on together: with 800 keys their scores take a third of a core's own cache.
const QUERIES: usize = 96;

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
    let fill = |output: &mut [MaybeUninit<f32>]| {
        output.par_chunks_mut(length * row).enumerate().for_each(|(item, output)| {
            let blocks = output.par_chunks_mut(QUERIES * row).enumerate();
            blocks.for_each_init(Vec::new, |scores, (block, output)| {
                for head in 0..heads {
                    let target = Target { values: &mut output[head * width..], row };
                    work.block(item * heads + head, block * QUERIES, scores, target);
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

/// The same in Burn's operators. Written out, because fused kernels multiply in half precision.
fn plain<const D: usize>(
    q: Tensor<D>,
    k: Tensor<D>,
    v: Tensor<D>,
    bias: Option<Tensor<D>>,
    scale: f64,
) -> Tensor<D> {
    let scores = q.matmul(k.swap_dims(D - 2, D - 1)) * scale;
    let scores = match bias {
        Some(bias) => scores + bias,
        None => scores,
    };
    activation::softmax(scores, D - 1).matmul(v)
}

/// `[..., heads, N, width]`, wherever its elements lie.
struct Heads<'a> {
    values: &'a [f32],
    /// Where each head of each item starts.
    starts: Vec<usize>,
    row: isize,
    column: isize,
}

impl<'a> Heads<'a> {
    fn of(array: &'a Host, lead: &[usize]) -> Self {
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
    fn matrix(&self, head: usize, first: usize) -> Strided<'a> {
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
    /// The rows of `target`, from the query `first` on, of one head.
    fn block(&self, at: usize, first: usize, scores: &mut Vec<f32>, target: Target<'_>) {
        let [length, seen, head, width] = self.size;
        let rows = QUERIES.min(length - first);
        scores.resize(rows * seen, 0.0);
        let keys = self.keys.matrix(at, 0);
        let keys = Strided { row: keys.column, column: keys.row, ..keys };
        let left = self.queries.matrix(at, first);
        // A bias is added to scores that are scaled already; without one, the exponent scales.
        let (inside, outside) = match self.bias {
            Some(_) => (self.scale, 1.0),
            None => (1.0, self.scale),
        };
        let product =
            Product { size: [rows, seen, head], left, right: keys, scale: inside, add: false };
        product.write(Target { values: host::writable(scores), row: seen }, Parallelism::None);
        let bias = self.bias.as_ref().map(|bias| bias.matrix(at, first));
        for (row, scores) in scores.chunks_exact_mut(seen).enumerate() {
            if let Some(bias) = bias {
                let start = row as isize * bias.row;
                for (key, score) in (0..).zip(scores.iter_mut()) {
                    *score += bias.values[(start + key * bias.column) as usize];
                }
            }
            let factor = 1.0 / exponentials(scores, outside);
            Arch::new().dispatch(Scale { row: scores, factor });
        }
        let product = Product {
            size: [rows, width, seen],
            left: Strided::dense(scores, seen),
            right: self.values.matrix(at, 0),
            scale: 1.0,
            add: false,
        };
        product.write(target, Parallelism::None);
    }
}

struct Scale<'a> {
    row: &'a mut [f32],
    factor: f32,
}

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (body, tail) = S::as_mut_simd_f32s(self.row);
        let factor = simd.splat_f32s(self.factor);
        for x in body {
            *x = simd.mul_f32s(*x, factor);
        }
        for x in tail {
            *x *= self.factor;
        }
    }
}
