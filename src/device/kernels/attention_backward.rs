//! The gradients of attention, without a matrix of all scores.

use burn::tensor::{Bool, DType, FloatDType, Tensor, activation::softmax};
use gemm::Parallelism;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    attention::Heads,
    host::{self, Host},
    product::{Product, Strided, Target},
    rows::{biased, exponentials, strands},
};

/// Query rows per chunk in Burn's operators: at 24 heads and 4608 keys, one chunk of f32 scores takes
/// 226 MB.
const CHUNK: usize = 512;

/// Query rows per tile on the CPU: two tiles of 800 keys lie in a core's own cache.
const TILE: usize = 128;

/// The vector-Jacobian product of `softmax(q kᵀ / √head) v`, all `[B, heads, N, head]`: gradients of q, k
/// and v from the gradient `d_out` of the result. `masked` is `[B, 1, 1, N]`, true for keys that nobody
/// attends to. Probabilities are computed again, some queries at a time. Scores and sums are f32;
/// products run in the type of the inputs.
///
/// With `p` the probabilities and `d_p = d_out vᵀ`: `d_v = pᵀ d_out`, and of the scores
/// `d_s = p · (d_p − Σ p d_p)`, from which `d_q = d_s k / √head` and `d_k = d_sᵀ q / √head`.
#[must_use]
pub fn attention_backward(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    masked: Option<&Tensor<4, Bool>>,
    d_out: &Tensor<4>,
) -> [Tensor<4>; 3] {
    if let Some(gradients) = on_host(q, k, v, masked, d_out) {
        return gradients;
    }
    let dtype = FloatDType::from(q.dtype());
    let [batch, heads, length, head] = q.dims();
    let keys = k.dims()[2];
    let scale = 1.0 / (head as f64).sqrt();
    let k_t = k.clone().swap_dims(2, 3);
    let v_t = v.clone().swap_dims(2, 3);
    let zeros = || Tensor::<4>::zeros([batch, heads, keys, head], (&k.device(), DType::F32));
    let (mut d_q, mut d_k, mut d_v) = (Vec::new(), zeros(), zeros());
    for from in (0..length).step_by(CHUNK) {
        let count = CHUNK.min(length - from);
        let q = q.clone().narrow(2, from, count);
        let d_out = d_out.clone().narrow(2, from, count);
        let mut scores = q.clone().matmul(k_t.clone()).cast(FloatDType::F32) * scale;
        if let Some(masked) = masked {
            let masked = masked.clone().expand([batch, heads, count, keys]);
            scores = scores.mask_fill(masked, f32::NEG_INFINITY);
        }
        let p = softmax(scores, 3);
        let p_t = p.clone().cast(dtype).swap_dims(2, 3);
        d_v = d_v + p_t.matmul(d_out.clone()).cast(FloatDType::F32);
        let d_p = d_out.matmul(v_t.clone()).cast(FloatDType::F32);
        let mean = (p.clone() * d_p.clone()).sum_dim(3);
        let d_scores = (p * (d_p - mean) * scale).cast(dtype);
        d_k = d_k + d_scores.clone().swap_dims(2, 3).matmul(q).cast(FloatDType::F32);
        d_q.push(d_scores.matmul(k.clone()));
    }
    [Tensor::cat(d_q, 2), d_k.cast(dtype), d_v.cast(dtype)]
}

/// What is added to the scores: minus infinity for `masked` keys. `[B, 1, 1, N]`, f32.
#[must_use]
pub fn mask_bias(masked: &Tensor<4, Bool>) -> Tensor<4> {
    let zeros = Tensor::zeros(masked.dims(), (&masked.device(), DType::F32));
    zeros.mask_fill(masked.clone(), f32::NEG_INFINITY)
}

fn on_host(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    masked: Option<&Tensor<4, Bool>>,
    d_out: &Tensor<4>,
) -> Option<[Tensor<4>; 3]> {
    let arrays = [Host::of(q)?, Host::of(k)?, Host::of(v)?, Host::of(d_out)?];
    let [batch, heads, length, head] = q.dims();
    let seen = k.dims()[2];
    let [q, k, v, d_out] = arrays.each_ref().map(|array| Heads::of(array, &[batch, heads]));
    let bias = match masked {
        Some(masked) => Some(Host::of(&mask_bias(masked))?.dense()),
        None => None,
    };
    let scale = (1.0 / (head as f64).sqrt()) as f32;
    let bias = bias.as_ref().map(Host::slice);
    let work = Work { q, k, v, d_out, size: [length, seen, head], scale };
    let (mut d_q, mut d_k, mut d_v) = (Vec::new(), Vec::new(), Vec::new());
    let fill = |d_q: &mut [std::mem::MaybeUninit<f32>]| {
        // What queries add up is zero before the first.
        (d_k, d_v) = rayon::join(
            || vec![0.0; batch * heads * seen * head],
            || vec![0.0; batch * heads * seen * head],
        );
        let keys =
            d_k.par_chunks_mut((seen * head).max(1)).zip(d_v.par_chunks_mut((seen * head).max(1)));
        let all = d_q.par_chunks_mut((length * head).max(1)).zip(keys).enumerate();
        all.for_each_init(Scratch::default, |scratch, (at, (d_q, (d_k, d_v)))| {
            let bias = bias.map(|bias| &bias[at / heads * seen..][..seen]);
            work.head(at, bias, scratch, d_q, host::writable(d_k), host::writable(d_v));
        });
    };
    // SAFETY: the queries of all heads are written, tile by tile.
    d_q.append(&mut unsafe { host::filled(batch * heads * length * head, fill) });
    let keys = [batch, heads, seen, head];
    Some([
        host::tensor(d_q, [batch, heads, length, head]),
        host::tensor(d_k, keys),
        host::tensor(d_v, keys),
    ])
}

struct Work<'a> {
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    d_out: Heads<'a>,
    /// Queries, keys, width of a head.
    size: [usize; 3],
    scale: f32,
}

/// A tile of probabilities, which become the gradients of the scores, and one of their gradients.
#[derive(Default)]
struct Scratch {
    p: Vec<f32>,
    d_p: Vec<f32>,
}

type Rows<'a> = &'a mut [std::mem::MaybeUninit<f32>];

impl Work<'_> {
    /// All of one head. `d_k` and `d_v` are added to.
    fn head(
        &self,
        at: usize,
        bias: Option<&[f32]>,
        scratch: &mut Scratch,
        d_q: Rows<'_>,
        d_k: Rows<'_>,
        d_v: Rows<'_>,
    ) {
        let [length, seen, head] = self.size;
        let (k, v) = (self.k.matrix(at, 0), self.v.matrix(at, 0));
        for (tile, d_q) in d_q.chunks_mut(TILE * head).enumerate() {
            let first = tile * TILE;
            let rows = TILE.min(length - first);
            let (q, d_out) = (self.q.matrix(at, first), self.d_out.matrix(at, first));
            let Scratch { p, d_p } = scratch;
            p.resize(rows * seen, 0.0);
            d_p.resize(rows * seen, 0.0);
            product([rows, seen, head], q, turned(k), host::writable(p), false);
            product([rows, seen, head], d_out, turned(v), host::writable(d_p), false);
            for p in p.chunks_exact_mut(seen) {
                probabilities(p, bias, self.scale);
            }
            let weights = Strided::dense(p, seen);
            product([seen, head, rows], turned(weights), d_out, &mut *d_v, true);
            for (p, d_p) in p.chunks_exact_mut(seen).zip(d_p.chunks_exact(seen)) {
                Arch::new().dispatch(ScoreGradients { p, d_p, scale: self.scale });
            }
            let d_scores = Strided::dense(p, seen);
            product([rows, head, seen], d_scores, k, d_q, false);
            product([seen, head, rows], turned(d_scores), q, &mut *d_k, true);
        }
    }
}

fn turned(matrix: Strided<'_>) -> Strided<'_> {
    Strided { row: matrix.column, column: matrix.row, ..matrix }
}

fn product(size: [usize; 3], left: Strided<'_>, right: Strided<'_>, values: Rows<'_>, add: bool) {
    let target = Target { values, row: size[1] };
    Product { size, left, right, scale: 1.0, add }.write(target, Parallelism::None);
}

/// Scores become probabilities.
fn probabilities(row: &mut [f32], bias: Option<&[f32]>, scale: f32) {
    let sum = match bias {
        Some(bias) => {
            biased(row, scale, bias);
            exponentials(row, 1.0)
        }
        None => exponentials(row, scale),
    };
    let inverse = sum.recip();
    row.iter_mut().for_each(|p| *p *= inverse);
}

/// Puts `scale · p · (d_p − Σ p d_p)` in the place of `p`.
struct ScoreGradients<'a> {
    p: &'a mut [f32],
    d_p: &'a [f32],
    scale: f32,
}

impl WithSimd for ScoreGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (body, tail) = S::as_simd_f32s(self.p);
        let (d_body, d_tail) = S::as_simd_f32s(self.d_p);
        let mut sums = [simd.splat_f32s(0.0); 4];
        for (place, (&p, &d)) in body.iter().zip(d_body).enumerate() {
            sums[place % 4] = simd.mul_add_e_f32s(p, d, sums[place % 4]);
        }
        let mean = strands(simd, sums) + tail.iter().zip(d_tail).map(|(p, d)| p * d).sum::<f32>();
        for (p, &d) in self.p.iter_mut().zip(self.d_p) {
            *p *= (d - mean) * self.scale;
        }
    }
}
