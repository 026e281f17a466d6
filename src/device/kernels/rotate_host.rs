//! Heads normalised and rotated on the CPU: what [`super::rotate`] says, each row read once.

use std::mem::MaybeUninit;

use burn::tensor::Tensor;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    host::{self, Host, Rows},
    rotate::{Projected, ProjectedGradients, Rotation},
    rows::{squares, strands},
    sums::{self, BLOCK},
};

/// The parts of a sequence on the CPU.
struct Parts {
    parts: Vec<Part>,
    cos: Rows,
    sin: Rows,
    epsilon: f32,
    batch: usize,
    /// Tokens of all parts.
    length: usize,
    heads: usize,
    head: usize,
}

struct Part {
    qkv: Rows,
    /// Of queries and keys.
    scales: [Host; 2],
    /// Tokens of the parts before, and of this one.
    from: usize,
    length: usize,
}

impl Parts {
    fn of(parts: &[Projected], rotation: &Rotation, epsilon: f64) -> Option<Self> {
        let (cos, sin) = (Rows::of(&rotation.cos)?, Rows::of(&rotation.sin)?);
        let first = parts.first()?;
        let [batch, _, width] = first.qkv.dims();
        let head = first.query_scale.dims()[0];
        let mut all = Vec::with_capacity(parts.len());
        let mut from = 0;
        for part in parts {
            let scales = [Host::of(&part.query_scale)?.dense(), Host::of(&part.key_scale)?.dense()];
            let length = part.qkv.dims()[1];
            assert_eq!(part.qkv.dims(), [batch, length, width], "parts of one sequence");
            all.push(Part { qkv: Rows::of(&part.qkv)?, scales, from, length });
            from += length;
        }
        assert_eq!((cos.count, 2 * cos.width), (from, head), "an angle for each token and pair");
        let (heads, epsilon) = (width / 3 / head, epsilon as f32);
        Some(Self { parts: all, cos, sin, epsilon, batch, length: from, heads, head })
    }

    /// The angles of a token.
    fn turn(&self, token: usize) -> Turn<'_> {
        Turn { cos: self.cos.row(token), sin: self.sin.row(token), epsilon: self.epsilon }
    }
}

/// See [`super::rotated_heads`].
pub(super) fn forward(
    parts: &[Projected],
    rotation: &Rotation,
    epsilon: f64,
) -> Option<[Tensor<4>; 3]> {
    let all = Parts::of(parts, rotation, epsilon)?;
    let Parts { batch, length, heads, head, .. } = all;
    let shape = [batch, heads, length, head];
    let joint = [0, 1, 2].map(|which| {
        let fill = |out: &mut [MaybeUninit<f32>]| {
            // One head after the other, since attention reads them so.
            let each = out.par_chunks_mut((length * head).max(1)).enumerate();
            each.for_each(|(at, out)| all.head(which, at / heads, at % heads, out));
        };
        // SAFETY: the rows of all heads are written, part by part.
        host::tensor(unsafe { host::filled(shape.iter().product(), fill) }, shape)
    });
    Some(joint)
}

impl Parts {
    /// All tokens of one head of the queries (0), keys (1) or values (2).
    fn head(&self, which: usize, item: usize, head: usize, out: &mut [MaybeUninit<f32>]) {
        let columns = (which * self.heads + head) * self.head;
        for part in &self.parts {
            let out = &mut out[part.from * self.head..][..part.length * self.head];
            for (token, out) in out.chunks_exact_mut(self.head).enumerate() {
                let x = &part.qkv.row(item * part.length + token)[columns..][..self.head];
                let Some(scale) = part.scales.get(which) else {
                    out.write_copy_of_slice(x);
                    continue;
                };
                let (turn, scale) = (self.turn(part.from + token), scale.slice());
                Arch::new().dispatch(Forward { x, scale, turn, out });
            }
        }
    }
}

/// See [`super::rotated_heads_backward`].
pub(super) fn backward(
    parts: &[Projected],
    rotation: &Rotation,
    epsilon: f64,
    d: &[Tensor<4>; 3],
) -> Option<Vec<ProjectedGradients>> {
    let all = Parts::of(parts, rotation, epsilon)?;
    // Head by head in memory, as `attention_backward` makes them.
    let mut dense = Vec::with_capacity(3);
    for d in d {
        assert_eq!(d.dims(), [all.batch, all.heads, all.length, all.head], "of the joint heads");
        dense.push(Host::of(d)?.dense());
    }
    let gradients = all.parts.iter().map(|part| {
        let width = 3 * all.heads * all.head;
        let shape = [all.batch, part.length, width];
        let rows = all.batch * part.length;
        let mut scales = Vec::new();
        let fill = |out: &mut [MaybeUninit<f32>]| {
            let blocks = out.par_chunks_mut((BLOCK * width).max(1)).enumerate();
            let sums = blocks.map(|(block, out)| {
                let mut sums = vec![0.0; 2 * all.head];
                for (row, out) in out.chunks_exact_mut(width).enumerate() {
                    all.row_backward(part, block * BLOCK + row, &dense, out, &mut sums);
                }
                sums
            });
            scales = sums::added(sums.collect(), 2 * all.head);
        };
        // SAFETY: all heads of queries, keys and values of each row are written.
        let qkv = host::tensor(unsafe { host::filled(rows * width, fill) }, shape);
        let key_scale = host::tensor(scales.split_off(all.head), [all.head]);
        ProjectedGradients { qkv, query_scale: host::tensor(scales, [all.head]), key_scale }
    });
    Some(gradients.collect())
}

impl Parts {
    /// The gradient of one token of a part; `sums` are those of the scales.
    fn row_backward(
        &self,
        part: &Part,
        row: usize,
        d: &[Host],
        out: &mut [MaybeUninit<f32>],
        sums: &mut [f32],
    ) {
        let (item, token) = (row / part.length, part.from + row % part.length);
        let x = part.qkv.row(row);
        for (at, out) in out.chunks_exact_mut(self.head).enumerate() {
            let (which, head) = (at / self.heads, at % self.heads);
            let place = ((item * self.heads + head) * self.length + token) * self.head;
            let d = &d[which].slice()[place..][..self.head];
            let Some(scale) = part.scales.get(which) else {
                out.write_copy_of_slice(d);
                continue;
            };
            let (x, scale) = (&x[at * self.head..][..self.head], scale.slice());
            let d_scale = &mut sums[which * self.head..][..self.head];
            Arch::new().dispatch(Backward { x, scale, turn: self.turn(token), d, out, d_scale });
        }
    }
}

/// How one row is turned.
#[derive(Clone, Copy)]
struct Turn<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    epsilon: f32,
}

/// One by the root of the mean square of a row.
#[inline(always)]
fn inverse_size<S: Simd>(simd: S, x: &[f32], epsilon: f32) -> f32 {
    let (body, tail) = S::as_simd_f32s(x);
    let sum = squares(simd, body, simd.splat_f32s(0.0));
    let sum = sum + tail.iter().map(|x| x * x).sum::<f32>();
    1.0 / (sum / x.len() as f32 + epsilon).sqrt()
}

struct Forward<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    turn: Turn<'a>,
    out: &'a mut [MaybeUninit<f32>],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let factor = inverse_size(simd, self.x, self.turn.epsilon);
        let angles = self.turn.cos.iter().zip(self.turn.sin);
        let pairs = self.x.as_chunks::<2>().0.iter().zip(self.scale.as_chunks::<2>().0);
        let outs = self.out.as_chunks_mut::<2>().0.iter_mut();
        for ((out, (x, scale)), (&cos, &sin)) in outs.zip(pairs).zip(angles) {
            let (x0, x1) = (x[0] * factor * scale[0], x[1] * factor * scale[1]);
            out[0].write(x0 * cos - x1 * sin);
            out[1].write(x0 * sin + x1 * cos);
        }
    }
}

struct Backward<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    turn: Turn<'a>,
    d: &'a [f32],
    out: &'a mut [MaybeUninit<f32>],
    /// Is added to.
    d_scale: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let factor = inverse_size(simd, self.x, self.turn.epsilon);
        // The gradient before the rotation, in the place of the result.
        let angles = self.turn.cos.iter().zip(self.turn.sin);
        let pairs = self.d.as_chunks::<2>().0.iter();
        let outs = self.out.as_chunks_mut::<2>().0.iter_mut();
        for ((out, d), (&cos, &sin)) in outs.zip(pairs).zip(angles) {
            out[0].write(d[0] * cos + d[1] * sin);
            out[1].write(d[1] * cos - d[0] * sin);
        }
        // SAFETY: a head is whole pairs, so each element was just written.
        let d_x = unsafe { self.out.assume_init_mut() };
        for ((d_scale, &d), &x) in self.d_scale.iter_mut().zip(&*d_x).zip(self.x) {
            *d_scale += d * (x * factor);
        }
        for (d, &scale) in d_x.iter_mut().zip(self.scale) {
            *d *= scale;
        }
        let (d_body, d_tail) = S::as_simd_f32s(d_x);
        let (x_body, x_tail) = S::as_simd_f32s(self.x);
        let mut products = [simd.splat_f32s(0.0); 4];
        for (place, (&d, &x)) in d_body.iter().zip(x_body).enumerate() {
            products[place % 4] = simd.mul_add_e_f32s(d, x, products[place % 4]);
        }
        let along =
            strands(simd, products) + d_tail.iter().zip(x_tail).map(|(d, x)| d * x).sum::<f32>();
        let along = along * factor * factor / self.x.len() as f32;
        for (d, &x) in d_x.iter_mut().zip(self.x) {
            *d = (*d - x * along) * factor;
        }
    }
}
