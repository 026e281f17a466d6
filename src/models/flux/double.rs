//! The block in which text and picture have weights of their own and attend together.

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::{
    attention::attention,
    blocks::{Block, join_heads, split_heads},
    layers::{EPSILON, Mlp, Modulation, Parts, SelfAttention},
    model::Surroundings,
};
use crate::{
    device::kernels::{
        self, GateGradients, ModulatedNormGradients, Projected, ProjectedGradients, rotated_heads,
        rotated_heads_backward,
    },
    models::gradients::Collected,
};

/// A block in which text and picture have weights of their own and attend together.
#[derive(Module, Debug)]
pub struct DoubleBlock {
    /// Modulation of the picture.
    pub img_mod: Modulation,
    /// Attention weights of the picture.
    pub img_attn: SelfAttention,
    /// MLP of the picture.
    pub img_mlp: Mlp,
    /// Modulation of the text.
    pub txt_mod: Modulation,
    /// Attention weights of the text.
    pub txt_attn: SelfAttention,
    /// MLP of the text.
    pub txt_mlp: Mlp,
}

/// What a [`DoubleBlock`] keeps for its backward pass.
#[derive(Clone, Debug)]
pub struct DoubleKept {
    vec: Tensor<2>,
    before: [Before; 2],
    /// Queries, keys and values of both streams: `[B, heads, L+N, head]`.
    joint: [Tensor<4>; 3],
    after: [After; 2],
}

/// What is kept of one stream up to the attention.
#[derive(Clone, Debug)]
struct Before {
    x: Tensor<3>,
    modulation: Parts,
    /// `[B, length, 3·hidden]`, as they leave the linear layer.
    qkv: Tensor<3>,
}

/// What is kept of one stream from the attention on.
#[derive(Clone, Debug)]
struct After {
    /// What the attention saw, and what the linear layer behind it made of that.
    attended: Tensor<3>,
    projected: Tensor<3>,
    /// The stream between attention and MLP.
    between: Tensor<3>,
    /// Before the MLP's GELU, and the MLP's result.
    inner: Tensor<3>,
    mlp: Tensor<3>,
}

// Places among the parts of the modulation: a shift has its scale behind it.
const SHIFT_ATTENTION: usize = 0;
const GATE_ATTENTION: usize = 2;
const SHIFT_MLP: usize = 3;
const GATE_MLP: usize = 5;

impl Block for DoubleBlock {
    type Kept = DoubleKept;

    fn forward_keeping(
        &self,
        streams: Vec<Tensor<3>>,
        vec: Tensor<2>,
        around: &Surroundings,
    ) -> (Vec<Tensor<3>>, DoubleKept) {
        let streams = two(streams);
        let sides = self.sides();
        let [text, picture] = streams;
        let before = [sides[0].project(text, &vec), sides[1].project(picture, &vec)];
        let joint = rotated_heads(&self.projected(&before), &around.rope, EPSILON);
        let [q, k, v] = joint.clone();
        let attended = halves(join_heads(attention(q, k, v, around.masked.as_ref())), &before);
        let [text, picture] = attended;
        let (text, after_text) = sides[0].add(&before[0], text);
        let (picture, after_picture) = sides[1].add(&before[1], picture);
        let after = [after_text, after_picture];
        (vec![text, picture], DoubleKept { vec, before, joint, after })
    }

    fn backward(
        &self,
        kept: DoubleKept,
        around: &Surroundings,
        d_streams: Vec<Tensor<3>>,
        d_vec: &mut Tensor<2>,
        gradients: Option<&mut GradientsParams>,
    ) -> Vec<Tensor<3>> {
        let mut gradients = Collected::new(gradients);
        let DoubleKept { vec, before, joint: [q, k, v], after } = kept;
        let sides = self.sides();
        let mut pulled = Vec::with_capacity(2);
        for (((side, before), after), d_out) in sides.iter().zip(&before).zip(after).zip(d_streams)
        {
            pulled.push(side.backward_add(before, after, d_out, &mut gradients));
        }
        let d_attended = pulled.iter().map(|pulled| pulled.attended.clone()).collect();
        let d_attended = split_heads(Tensor::cat(d_attended, 1), q.dims()[1]);
        let d_joint = kernels::attention_backward(&q, &k, &v, around.masked.as_ref(), &d_attended);
        drop(d_attended);
        let projected = self.projected(&before);
        let d_projected = rotated_heads_backward(&projected, &around.rope, EPSILON, d_joint);
        drop(projected);
        let sides = sides.into_iter().zip(before).zip(d_projected).zip(pulled);
        let d_streams = sides.map(|(((side, before), d), pulled)| {
            side.backward_project(before, &vec, d, pulled, d_vec, &mut gradients)
        });
        d_streams.collect()
    }
}

impl DoubleBlock {
    /// The weights of text and picture.
    fn sides(&self) -> [Side<'_>; 2] {
        [
            Side { modulation: &self.txt_mod, attn: &self.txt_attn, mlp: &self.txt_mlp },
            Side { modulation: &self.img_mod, attn: &self.img_attn, mlp: &self.img_mlp },
        ]
    }

    fn projected(&self, before: &[Before; 2]) -> [Projected; 2] {
        let [text, picture] = before;
        [self.txt_attn.norm.with(text.qkv.clone()), self.img_attn.norm.with(picture.qkv.clone())]
    }
}

fn two(streams: Vec<Tensor<3>>) -> [Tensor<3>; 2] {
    streams.try_into().unwrap_or_else(|_| unreachable!("a double block has text and picture"))
}

/// The joint sequence apart again.
fn halves(joint: Tensor<3>, before: &[Before; 2]) -> [Tensor<3>; 2] {
    let [text, picture] = before.each_ref().map(|before| before.x.dims()[1]);
    [joint.clone().narrow(1, 0, text), joint.narrow(1, text, picture)]
}

/// The weights of one stream.
struct Side<'a> {
    modulation: &'a Modulation,
    attn: &'a SelfAttention,
    mlp: &'a Mlp,
}

/// Gradients that the second half of a stream hands to its first half.
struct Pulled {
    attended: Tensor<3>,
    /// Past the attention.
    x: Tensor<3>,
    gate_attention: Tensor<3>,
    shift_mlp: Tensor<3>,
    scale_mlp: Tensor<3>,
    gate_mlp: Tensor<3>,
}

impl Side<'_> {
    /// The stream, normalised and modulated → queries, keys, values.
    fn project(&self, x: Tensor<3>, vec: &Tensor<2>) -> Before {
        let modulation = self.modulation.forward(vec.clone());
        let qkv = self.attn.qkv.forward(modulation.normed(x.clone(), SHIFT_ATTENTION));
        Before { x, modulation, qkv }
    }

    /// What the attention saw and the MLP are added to the stream.
    fn add(&self, before: &Before, attended: Tensor<3>) -> (Tensor<3>, After) {
        let Before { x, modulation, .. } = before;
        let projected = self.attn.proj.forward(attended.clone());
        let gate = modulation.of(x, GATE_ATTENTION);
        let between = kernels::gated_sum(x.clone(), gate, projected.clone());
        let (mlp, inner) = self.mlp.forward(modulation.normed(between.clone(), SHIFT_MLP));
        let gate = modulation.of(x, GATE_MLP);
        let out = kernels::gated_sum(between.clone(), gate, mlp.clone());
        (out, After { attended, projected, between, inner, mlp })
    }

    /// The vector-Jacobian product of [`add`](Self::add).
    fn backward_add(
        &self,
        before: &Before,
        after: After,
        d_out: Tensor<3>,
        gradients: &mut Collected<'_>,
    ) -> Pulled {
        let After { attended, projected, between, inner, mlp } = after;
        let Before { x, modulation, .. } = before;
        let gate = modulation.of(x, GATE_MLP);
        let GateGradients { gate: gate_mlp, y: d_mlp } =
            kernels::gated_sum_backward(gate, mlp, d_out.clone());
        let normed = || modulation.normed(between.clone(), SHIFT_MLP);
        let d_normed = self.mlp.backward(normed, inner, d_mlp, gradients);
        let ModulatedNormGradients { x: d_between, shift: shift_mlp, scale: scale_mlp } =
            modulation.normed_backward(between, SHIFT_MLP, d_normed, Some(d_out));
        let gate = modulation.of(x, GATE_ATTENTION);
        let GateGradients { gate: gate_attention, y: d_projected } =
            kernels::gated_sum_backward(gate, projected, d_between.clone());
        let attended = self.attn.proj.backward(attended, d_projected, gradients);
        Pulled { attended, x: d_between, gate_attention, shift_mlp, scale_mlp, gate_mlp }
    }

    /// The vector-Jacobian product of [`project`](Self::project), the gradient past the attention added:
    /// that of the stream.
    fn backward_project(
        &self,
        before: Before,
        vec: &Tensor<2>,
        d: ProjectedGradients,
        pulled: Pulled,
        d_vec: &mut Tensor<2>,
        gradients: &mut Collected<'_>,
    ) -> Tensor<3> {
        let Before { x, modulation, .. } = before;
        let d_qkv = self.attn.norm.backward(d, gradients);
        let normed = modulation.normed(x.clone(), SHIFT_ATTENTION);
        let d_normed = self.attn.qkv.backward(normed, d_qkv, gradients);
        let ModulatedNormGradients { x: d_x, shift, scale } =
            modulation.normed_backward(x, SHIFT_ATTENTION, d_normed, Some(pulled.x));
        let Pulled { gate_attention, shift_mlp, scale_mlp, gate_mlp, .. } = pulled;
        let parts = vec![shift, scale, gate_attention, shift_mlp, scale_mlp, gate_mlp];
        self.modulation.backward(vec.clone(), parts, d_vec, gradients);
        d_x
    }
}
