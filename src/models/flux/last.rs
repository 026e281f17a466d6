//! From the hidden width to a velocity.

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

use super::layers::{Linear, Parts, conditioned, conditioned_backward};
use crate::{device::kernels::ModulatedNormGradients, models::gradients::Collected};

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

/// What the [`LastLayer`] keeps for its backward pass.
#[derive(Clone, Debug)]
pub struct LastKept {
    vec: Tensor<2>,
    x: Tensor<3>,
    modulation: Parts,
}

const SHIFT: usize = 0;

impl LastLayer {
    /// `[B, N, hidden]`, `[B, hidden]` → `[B, N, out]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>, vec: Tensor<2>) -> Tensor<3> {
        self.forward_keeping(x, vec).0
    }

    /// The same, and what [`backward`](Self::backward) needs of it.
    #[must_use]
    pub fn forward_keeping(&self, x: Tensor<3>, vec: Tensor<2>) -> (Tensor<3>, LastKept) {
        let modulation = conditioned(&self.ada_ln_modulation.layer_1, vec.clone());
        let out = self.linear.forward(modulation.normed(x.clone(), SHIFT));
        (out, LastKept { vec, x, modulation })
    }

    /// The gradient at `x`, for the gradient `d_out` of the output. Adds that of the conditioning (f32)
    /// to `d_vec` and those of the parameters to `gradients`; where that is `None` they are not computed.
    #[must_use]
    pub fn backward(
        &self,
        kept: LastKept,
        d_out: Tensor<3>,
        d_vec: &mut Tensor<2>,
        gradients: Option<&mut GradientsParams>,
    ) -> Tensor<3> {
        let mut gradients = Collected::new(gradients);
        let LastKept { vec, x, modulation } = kept;
        let normed = modulation.normed(x.clone(), SHIFT);
        let d_normed = self.linear.backward(normed, d_out, &mut gradients);
        let ModulatedNormGradients { x: d_x, shift, scale } =
            modulation.normed_backward(x, SHIFT, d_normed, None);
        let layer = &self.ada_ln_modulation.layer_1;
        conditioned_backward(layer, vec, vec![shift, scale], d_vec, &mut gradients);
        d_x
    }
}
