//! What a transformer block is to those who run it forwards and backwards.

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::model::Surroundings;

/// A block over one or two streams of tokens `[B, length, hidden]`. A double block has the streams
/// text and picture, in this order; a single block has one.
///
/// [`backward`](Self::backward) is written out by hand, layer by layer, so that no tape is kept and
/// every array is freed as soon as it has been used. What [`forward_keeping`](Self::forward_keeping)
/// computes depends on its arguments alone: a block that is run again from its inputs keeps the same
/// bits, and so has the same gradients.
pub trait Block: Module {
    /// What the forward pass keeps for the backward pass, the inputs included.
    type Kept;

    /// The streams behind the block. On a tape this is what Burn differentiates.
    fn forward(
        &self,
        streams: Vec<Tensor<3>>,
        vec: Tensor<2>,
        around: &Surroundings,
    ) -> Vec<Tensor<3>> {
        self.forward_keeping(streams, vec, around).0
    }

    /// The same, and what [`backward`](Self::backward) needs of it. `vec` is the conditioning,
    /// `[B, hidden]`.
    fn forward_keeping(
        &self,
        streams: Vec<Tensor<3>>,
        vec: Tensor<2>,
        around: &Surroundings,
    ) -> (Vec<Tensor<3>>, Self::Kept);

    /// The vector-Jacobian product of the block: gradients at the streams that enter, for the gradients
    /// `d_streams` of those that leave. Adds the gradient at the conditioning (f32) to `d_vec`, and
    /// those of the parameters to `gradients`; where that is `None` they are not computed.
    fn backward(
        &self,
        kept: Self::Kept,
        around: &Surroundings,
        d_streams: Vec<Tensor<3>>,
        d_vec: &mut Tensor<2>,
        gradients: Option<&mut GradientsParams>,
    ) -> Vec<Tensor<3>>;
}

/// `[B, heads, N, head]` → `[B, N, heads·head]`
pub(super) fn join_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, length, head] = x.dims();
    x.swap_dims(1, 2).reshape([batch, length, heads * head])
}

/// The inverse of [`join_heads`].
pub(super) fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, length, width] = x.dims();
    x.reshape([batch, length, heads, width / heads]).swap_dims(1, 2)
}
