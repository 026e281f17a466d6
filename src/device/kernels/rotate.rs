//! Queries, keys and values out of joint projections: split into heads, queries and keys divided by
//! their root mean square and rotated, the parts of a sequence put one after the other.

use burn::tensor::{FloatDType, Tensor};

use super::rotate_host;

/// One part of a sequence, and the weights that its queries and keys are scaled by.
#[derive(Clone, Debug)]
pub struct Projected {
    /// `[B, N, 3·width]`: queries, keys, values, each of them head by head.
    pub qkv: Tensor<3>,
    /// `[head]`
    pub query_scale: Tensor<1>,
    /// `[head]`
    pub key_scale: Tensor<1>,
}

/// One angle for each token and each pair of neighbouring channels.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// `[N, head/2]`, f32
    pub cos: Tensor<2>,
    /// `[N, head/2]`, f32
    pub sin: Tensor<2>,
}

/// Queries, keys and values of all `parts`, one part after the other: each `[B, heads, N, head]`.
/// Queries and keys are `x / √(mean(x²) + ε) · scale` over the channels of a head, and then rotated:
/// `(x0, x1) → (cos·x0 − sin·x1, sin·x0 + cos·x1)`; in f32, and returned in the type of `qkv`.
#[must_use]
pub fn rotated_heads(parts: &[Projected], rotation: &Rotation, epsilon: f64) -> [Tensor<4>; 3] {
    if let Some(joint) = rotate_host::forward(parts, rotation, epsilon) {
        return joint;
    }
    let mut joint = [Vec::new(), Vec::new(), Vec::new()];
    for part in parts {
        let [q, k, v] = part.heads();
        joint[0].push(Rows::of(q, epsilon).scaled(&part.query_scale));
        joint[1].push(Rows::of(k, epsilon).scaled(&part.key_scale));
        joint[2].push(v);
    }
    let [q, k, v] = joint.map(|parts| Tensor::cat(parts, 2));
    let dtype = FloatDType::from(v.dtype());
    [rotation.forward(q).cast(dtype), rotation.forward(k).cast(dtype), v]
}

/// Gradients of [`rotated_heads`] at one part.
#[derive(Clone, Debug)]
pub struct ProjectedGradients {
    /// `[B, N, 3·width]`
    pub qkv: Tensor<3>,
    /// `[head]`, f32
    pub query_scale: Tensor<1>,
    /// `[head]`, f32
    pub key_scale: Tensor<1>,
}

/// The vector-Jacobian product of [`rotated_heads`] for the gradients `d` of queries, keys and values.
///
/// A rotation is undone by its inverse. With `n = x / r` the row of root mean square one and
/// `g = d_y · scale`: `d_scale = Σ d_y n` and `d_x = (g − n · mean(g n)) / r`.
#[must_use]
pub fn rotated_heads_backward(
    parts: &[Projected],
    rotation: &Rotation,
    epsilon: f64,
    d: [Tensor<4>; 3],
) -> Vec<ProjectedGradients> {
    if let Some(gradients) = rotate_host::backward(parts, rotation, epsilon, &d) {
        return gradients;
    }
    let [d_q, d_k, d_v] = d;
    let dtype = FloatDType::from(d_v.dtype());
    let d_q = rotation.backward(d_q.cast(FloatDType::F32));
    let d_k = rotation.backward(d_k.cast(FloatDType::F32));
    let mut from = 0;
    let gradients = parts.iter().map(|part| {
        let [batch, length, width] = part.qkv.dims();
        let [q, k, _] = part.heads();
        let here = |d: &Tensor<4>| d.clone().narrow(2, from, length);
        let (d_q, query_scale) = Rows::of(q, epsilon).backward(&part.query_scale, here(&d_q));
        let (d_k, key_scale) = Rows::of(k, epsilon).backward(&part.key_scale, here(&d_k));
        let joined = [d_q.cast(dtype), d_k.cast(dtype), here(&d_v)]
            .map(|d| d.swap_dims(1, 2).reshape([batch, length, width / 3]));
        from += length;
        ProjectedGradients { qkv: Tensor::cat(joined.into(), 2), query_scale, key_scale }
    });
    gradients.collect()
}

impl Projected {
    /// Queries, keys, values: `[B, heads, N, head]`.
    fn heads(&self) -> [Tensor<4>; 3] {
        let [batch, length, width] = self.qkv.dims();
        let head = self.query_scale.dims()[0];
        [0, 1, 2].map(|index| {
            let part = self.qkv.clone().narrow(2, index * width / 3, width / 3);
            part.reshape([batch, length, width / 3 / head, head]).swap_dims(1, 2)
        })
    }
}

/// Rows of root mean square one in f32, and what they were divided by.
struct Rows {
    normal: Tensor<4>,
    size: Tensor<4>,
}

impl Rows {
    fn of(x: Tensor<4>, epsilon: f64) -> Self {
        let x = x.cast(FloatDType::F32);
        let size = (x.clone().square().mean_dim(3) + epsilon).sqrt();
        Self { normal: x / size.clone(), size }
    }

    fn scaled(self, scale: &Tensor<1>) -> Tensor<4> {
        self.normal * scale.clone().cast(FloatDType::F32).unsqueeze()
    }

    /// Gradients at the rows and at the scale.
    fn backward(self, scale: &Tensor<1>, d_y: Tensor<4>) -> (Tensor<4>, Tensor<1>) {
        let Self { normal, size } = self;
        let head = scale.dims();
        let d_scale = (d_y.clone() * normal.clone()).sum_dims(&[0, 1, 2]).reshape(head);
        let g = d_y * scale.clone().cast(FloatDType::F32).unsqueeze();
        let along = (g.clone() * normal.clone()).mean_dim(3);
        ((g - normal * along) / size, d_scale)
    }
}

impl Rotation {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        Self::turn(x, self.pairs(&self.cos), self.pairs(&self.sin))
    }

    fn backward(&self, d_y: Tensor<4>) -> Tensor<4> {
        Self::turn(d_y, self.pairs(&self.cos), -self.pairs(&self.sin))
    }

    fn pairs(&self, angles: &Tensor<2>) -> Tensor<5> {
        let [length, pairs] = angles.dims();
        angles.clone().reshape([1, 1, length, pairs, 1])
    }

    fn turn(x: Tensor<4>, cos: Tensor<5>, sin: Tensor<5>) -> Tensor<4> {
        let shape = x.dims();
        let [batch, heads, length, head] = shape;
        let pairs = x.reshape([batch, heads, length, head / 2, 2]);
        let (x0, x1) = (pairs.clone().narrow(4, 0, 1), pairs.narrow(4, 1, 1));
        let y0 = x0.clone() * cos.clone() - x1.clone() * sin.clone();
        let y1 = x0 * sin + x1 * cos;
        Tensor::cat(vec![y0, y1], 4).reshape(shape)
    }
}
