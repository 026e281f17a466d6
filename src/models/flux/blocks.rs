//! The transformer blocks, each in three parts around its attention.

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};

use super::{
    attention::attention,
    layers::{Linear, Mlp, Modulation, QkNorm, SelfAttention, gelu, heads, modulated_norm},
    model::Surroundings,
    positions::Rope,
};

/// What a block hands to its attention, and past it.
pub struct Projection {
    /// Queries `[B, heads, L+N, head]`, normalised and rotated.
    pub q: Tensor<4>,
    /// Keys, likewise.
    pub k: Tensor<4>,
    /// Values.
    pub v: Tensor<4>,
    /// What else was computed on the way and is needed after the attention.
    pub aside: Vec<Tensor<3>>,
}

/// A block over one or two streams of tokens `[B, length, hidden]`. A double block has the streams
/// text and picture, in this order; a single block has one.
pub trait Block: Module {
    /// First part: the conditioning `[B, hidden]` → shifts, scales and gates of each stream.
    fn modulate(&self, vec: Tensor<2>) -> Vec<Tensor<3>>;

    /// Second part: the streams, normalised and modulated → queries, keys, values.
    fn project(&self, streams: &[Tensor<3>], modulation: &[Tensor<3>], rope: &Rope) -> Projection;

    /// Last part: what the attention saw, `[B, L+N, hidden]`, and the MLPs are added to the streams.
    fn add(
        &self,
        streams: Vec<Tensor<3>>,
        modulation: &[Tensor<3>],
        attended: Tensor<3>,
        aside: Vec<Tensor<3>>,
    ) -> Vec<Tensor<3>>;

    /// The whole block.
    fn forward(
        &self,
        streams: Vec<Tensor<3>>,
        vec: Tensor<2>,
        surroundings: &Surroundings,
    ) -> Vec<Tensor<3>> {
        let modulation = self.modulate(vec);
        let Projection { q, k, v, aside } = self.project(&streams, &modulation, &surroundings.rope);
        let attended = join_heads(attention(q, k, v, surroundings.masked.as_ref()));
        self.add(streams, &modulation, attended, aside)
    }
}

/// `[B, heads, N, head]` → `[B, N, heads·head]`
pub(crate) fn join_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, length, head] = x.dims();
    x.swap_dims(1, 2).reshape([batch, length, heads * head])
}

/// The inverse of [`join_heads`].
pub(crate) fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, length, width] = x.dims();
    x.reshape([batch, length, heads, width / heads]).swap_dims(1, 2)
}

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

impl DoubleBlock {
    fn sides(&self) -> [(&SelfAttention, &Mlp); 2] {
        [(&self.txt_attn, &self.txt_mlp), (&self.img_attn, &self.img_mlp)]
    }
}

impl Block for DoubleBlock {
    fn modulate(&self, vec: Tensor<2>) -> Vec<Tensor<3>> {
        vec![self.txt_mod.forward(vec.clone()), self.img_mod.forward(vec)]
    }

    fn project(&self, streams: &[Tensor<3>], modulation: &[Tensor<3>], rope: &Rope) -> Projection {
        let mut joint = [Vec::new(), Vec::new(), Vec::new()];
        for (((attn, _), x), modulation) in self.sides().into_iter().zip(streams).zip(modulation) {
            let normed = modulated_norm(x.clone(), part(modulation, 6, 0), part(modulation, 6, 1));
            for (joint, part) in joint.iter_mut().zip(attn.queries_keys_values(normed)) {
                joint.push(part);
            }
        }
        let [q, k, v] = joint.map(|parts| Tensor::cat(parts, 2));
        Projection { q: rope.rotate(q), k: rope.rotate(k), v, aside: Vec::new() }
    }

    fn add(
        &self,
        streams: Vec<Tensor<3>>,
        modulation: &[Tensor<3>],
        attended: Tensor<3>,
        _aside: Vec<Tensor<3>>,
    ) -> Vec<Tensor<3>> {
        let mut from = 0;
        let sides = self.sides().into_iter().zip(streams).zip(modulation);
        let added = sides.map(|(((attn, mlp), x), modulation)| {
            let part = |index| part(modulation, 6, index);
            let length = x.dims()[1];
            let attended = attended.clone().narrow(1, from, length);
            from += length;
            let x = x + part(2) * attn.proj.forward(attended);
            let normed = modulated_norm(x.clone(), part(3), part(4));
            x + part(5) * mlp.forward(normed)
        });
        added.collect()
    }
}

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

impl Block for SingleBlock {
    fn modulate(&self, vec: Tensor<2>) -> Vec<Tensor<3>> {
        vec![self.modulation.forward(vec)]
    }

    fn project(&self, streams: &[Tensor<3>], modulation: &[Tensor<3>], rope: &Rope) -> Projection {
        let x = streams[0].clone();
        let hidden = x.dims()[2];
        let normed = modulated_norm(x, part(&modulation[0], 3, 0), part(&modulation[0], 3, 1));
        let wide = self.linear1.forward(normed);
        let mlp = wide.dims()[2] - 3 * hidden;
        let [q, k, v] = heads(wide.clone().narrow(2, 0, 3 * hidden), &self.norm);
        let aside = vec![wide.narrow(2, 3 * hidden, mlp)];
        Projection { q: rope.rotate(q), k: rope.rotate(k), v, aside }
    }

    fn add(
        &self,
        streams: Vec<Tensor<3>>,
        modulation: &[Tensor<3>],
        attended: Tensor<3>,
        aside: Vec<Tensor<3>>,
    ) -> Vec<Tensor<3>> {
        let gate = part(&modulation[0], 3, 2);
        let mlp = aside.into_iter().map(gelu);
        let both = Tensor::cat(std::iter::once(attended).chain(mlp).collect(), 2);
        let added = gate * self.linear2.forward(both);
        streams.into_iter().map(|x| x + added.clone()).collect()
    }
}

/// Normalises, modulates and maps the picture's tokens to the output.
#[derive(Module, Debug)]
pub struct LastLayer {
    /// `[out, hidden]`
    pub linear: Linear,
    /// Shift and scale out of the conditioning.
    pub ada_ln_modulation: AdaLn,
}

/// A SiLU and a linear layer, which the checkpoint numbers 1.
#[derive(Module, Debug)]
pub struct AdaLn {
    /// `[2·hidden, hidden]`: shift, scale.
    pub layer_1: Linear,
}

impl LastLayer {
    /// `[B, N, hidden]`, `[B, hidden]` → `[B, N, out]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>, vec: Tensor<2>) -> Tensor<3> {
        let modulation = self.ada_ln_modulation.layer_1.forward(activation::silu(vec));
        let modulation = modulation.unsqueeze_dim::<3>(1);
        let normed = modulated_norm(x, part(&modulation, 2, 0), part(&modulation, 2, 1));
        self.linear.forward(normed)
    }
}

/// The part `index` of `count` equal parts of the last axis.
fn part(modulation: &Tensor<3>, count: usize, index: usize) -> Tensor<3> {
    let width = modulation.dims()[2] / count;
    modulation.clone().narrow(2, index * width, width)
}
