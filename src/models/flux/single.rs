//! The block over text and picture as one sequence.

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::{
    attention::attention,
    blocks::{Block, join_heads, split_heads},
    layers::{EPSILON, Linear, Modulation, Parts, QkNorm},
    model::Surroundings,
};
use crate::{
    device::kernels::{
        self, GateGradients, ModulatedNormGradients, Projected, rotated_heads,
        rotated_heads_backward,
    },
    models::gradients::Collected,
};

/// A block over text and picture as one sequence; attention and MLP run side by side.
#[derive(Module, Debug)]
pub struct SingleBlock {
    /// `[3·hidden + mlp, hidden]`: q, k, v and the MLP's first layer.
    pub linear1: Linear,
    /// `[hidden, hidden + mlp]`: the attention's projection and the MLP's second layer.
    pub linear2: Linear,
    /// Norms of q and k.
    pub norm: QkNorm,
    /// Modulation.
    pub modulation: Modulation,
}

/// What a [`SingleBlock`] keeps for its backward pass.
#[derive(Clone, Debug)]
pub struct SingleKept {
    vec: Tensor<2>,
    x: Tensor<3>,
    modulation: Parts,
    /// `[B, N, 3·hidden + mlp]`: q, k, v and what is before the GELU, as they leave the first layer.
    wide: Tensor<3>,
    /// Queries, keys and values: `[B, heads, N, head]`.
    joint: [Tensor<4>; 3],
    /// What the attention saw.
    attended: Tensor<3>,
    /// What the second layer made of both.
    projected: Tensor<3>,
}

// Places among the parts of the modulation: the shift has the scale behind it.
const SHIFT: usize = 0;
const GATE: usize = 2;

impl Block for SingleBlock {
    type Kept = SingleKept;

    fn forward_keeping(
        &self,
        streams: Vec<Tensor<3>>,
        vec: Tensor<2>,
        around: &Surroundings,
    ) -> (Vec<Tensor<3>>, SingleKept) {
        let x = one(streams);
        let modulation = self.modulation.forward(vec.clone());
        let wide = self.linear1.forward(modulation.normed(x.clone(), SHIFT));
        let joint = rotated_heads(&[self.projected(&x, &wide)], &around.rope, EPSILON);
        let [q, k, v] = joint.clone();
        let attended = join_heads(attention(q, k, v, around.masked.as_ref()));
        let projected = self.linear2.forward(self.both(&attended, &wide));
        let out = kernels::gated_sum(x.clone(), modulation.of(&x, GATE), projected.clone());
        (vec![out], SingleKept { vec, x, modulation, wide, joint, attended, projected })
    }

    fn backward(
        &self,
        kept: SingleKept,
        around: &Surroundings,
        d_streams: Vec<Tensor<3>>,
        d_vec: &mut Tensor<2>,
        gradients: Option<&mut GradientsParams>,
    ) -> Vec<Tensor<3>> {
        let mut gradients = Collected::new(gradients);
        let gradients = &mut gradients;
        let SingleKept { vec, x, modulation, wide, joint: [q, k, v], attended, projected } = kept;
        let (hidden, d_out) = (x.dims()[2], one(d_streams));
        let GateGradients { gate, y: d_projected } =
            kernels::gated_sum_backward(modulation.of(&x, GATE), projected, d_out.clone());
        let both = self.both(&attended, &wide);
        drop(attended);
        let d_both = self.linear2.backward(both, d_projected, gradients);
        let d_attended = split_heads(d_both.clone().narrow(2, 0, hidden), q.dims()[1]);
        let d_joint = kernels::attention_backward(&q, &k, &v, around.masked.as_ref(), &d_attended);
        drop((d_attended, q, k, v));
        let projected = [self.projected(&x, &wide)];
        let mut d_joint = rotated_heads_backward(&projected, &around.rope, EPSILON, d_joint);
        drop(projected);
        let d_qkv = self.norm.backward(d_joint.remove(0), gradients);
        let d_active = d_both.narrow(2, hidden, wide.dims()[2] - 3 * hidden);
        let d_wide = kernels::gelu_tanh_backward(inner(&x, &wide), d_active, Some(d_qkv));
        drop(wide);
        let d_normed =
            self.linear1.backward(modulation.normed(x.clone(), SHIFT), d_wide, gradients);
        let ModulatedNormGradients { x: d_x, shift, scale } =
            modulation.normed_backward(x, SHIFT, d_normed, Some(d_out));
        self.modulation.backward(vec, vec![shift, scale, gate], d_vec, gradients);
        vec![d_x]
    }
}

impl SingleBlock {
    fn projected(&self, x: &Tensor<3>, wide: &Tensor<3>) -> Projected {
        self.norm.with(wide.clone().narrow(2, 0, 3 * x.dims()[2]))
    }

    /// What enters the second layer: what the attention saw, and the MLP's inner values.
    fn both(&self, attended: &Tensor<3>, wide: &Tensor<3>) -> Tensor<3> {
        kernels::gelu_tanh(inner(attended, wide), Some(attended.clone()))
    }
}

/// What is before the GELU; `x` has the width of the stream.
fn inner(x: &Tensor<3>, wide: &Tensor<3>) -> Tensor<3> {
    let qkv = 3 * x.dims()[2];
    wide.clone().narrow(2, qkv, wide.dims()[2] - qkv)
}

fn one(streams: Vec<Tensor<3>>) -> Tensor<3> {
    streams.into_iter().next().unwrap_or_else(|| unreachable!("a single block has one stream"))
}
