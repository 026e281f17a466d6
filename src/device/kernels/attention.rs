//! Attention that never holds all scores.

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

/// `softmax(scale · q kᵀ + bias) v`, all `[B, heads, N, head]`; `bias` is broadcast over `[B, heads, N,
/// keys]`.
///
/// On the CPU the result lies as `[B, N, heads, head]`, so that joining the heads afterwards copies
/// nothing; `q`, `k` and `v` are read where they lie, such as in the output of one joint projection.
#[must_use]
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Option<Tensor<4>>,
    scale: f64,
) -> Tensor<4> {
    let on_host = (Host::of(&q), Host::of(&k), Host::of(&v), bias.as_ref().map(Host::of));
    let (Some(queries), Some(keys), Some(values), None | Some(Some(_))) = &on_host else {
        return plain(q, k, v, bias, scale);
    };
    let [batch, heads, length, head] = q.dims();
    let [seen, width] = [k.dims()[2], v.dims()[3]];
    if batch * heads * length * head * seen * width == 0 {
        return plain(q, k, v, bias, scale);
    }
    let bias = bias.map(|bias| bias.expand([batch, heads, length, seen]));
    let bias = bias.as_ref().and_then(Host::of);
    let work = Attention {
        queries: Heads::of(queries),
        keys: Heads::of(keys),
        values: Heads::of(values),
        bias: bias.as_ref().map(Heads::of),
        size: [length, seen, head, width],
        scale: scale as f32,
    };
    let mut output = vec![0.0; batch * length * heads * width];
    let row = heads * width;
    output.par_chunks_mut(length * row).enumerate().for_each(|(item, output)| {
        let blocks = output.par_chunks_mut(QUERIES * row).enumerate();
        blocks.for_each_init(Vec::new, |scores, (block, output)| {
            for head in 0..heads {
                let target = Target { values: &mut output[head * width..], row };
                work.block(item, head, block * QUERIES, scores, target);
            }
        });
    });
    host::tensor(output, [batch, length, heads, width]).swap_dims(1, 2)
}

/// The same in Burn's operators. Written out, because fused kernels multiply in half precision.
fn plain(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    bias: Option<Tensor<4>>,
    scale: f64,
) -> Tensor<4> {
    let scores = q.matmul(k.swap_dims(2, 3)) * scale;
    let scores = match bias {
        Some(bias) => scores + bias,
        None => scores,
    };
    activation::softmax(scores, 3).matmul(v)
}

/// `[B, heads, N, width]`, wherever its elements lie.
struct Heads<'a> {
    values: &'a [f32],
    steps: [isize; 4],
}

impl<'a> Heads<'a> {
    fn of(array: &'a Host) -> Self {
        let (values, steps) = array.strided();
        Self { values, steps: std::array::from_fn(|axis| steps[axis]) }
    }

    /// Rows from `first` on of one head.
    fn matrix(&self, item: usize, head: usize, first: usize) -> Strided<'a> {
        let [of_item, of_head, row, column] = self.steps;
        let start = item as isize * of_item + head as isize * of_head + first as isize * row;
        Strided { values: &self.values[start as usize..], row, column }
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
    fn block(
        &self,
        item: usize,
        at: usize,
        first: usize,
        scores: &mut Vec<f32>,
        target: Target<'_>,
    ) {
        let [length, seen, head, width] = self.size;
        let rows = QUERIES.min(length - first);
        scores.resize(rows * seen, 0.0);
        let keys = self.keys.matrix(item, at, 0);
        let keys = Strided { row: keys.column, column: keys.row, ..keys };
        let left = self.queries.matrix(item, at, first);
        // A bias is added to scores that are scaled already; without one, the exponent scales.
        let (inside, outside) = match self.bias {
            Some(_) => (self.scale, 1.0),
            None => (1.0, self.scale),
        };
        let product =
            Product { size: [rows, seen, head], left, right: keys, scale: inside, add: false };
        product.write(Target::dense(scores, seen), Parallelism::None);
        let bias = self.bias.as_ref().map(|bias| bias.matrix(item, at, first));
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
            right: self.values.matrix(item, at, 0),
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
        body.iter_mut().for_each(|x| *x = simd.mul_f32s(*x, factor));
        tail.iter_mut().for_each(|x| *x *= self.factor);
    }
}
