//! Where the gradients of a part's parameters are put as they are found. Does not know what the part is.

use burn::{module::Param, optim::GradientsParams, tensor::Tensor};

/// The gradients of one part of a network, added up over its backward passes; of a frozen part, none.
pub struct Collected<'a>(Option<&'a mut GradientsParams>);

impl<'a> Collected<'a> {
    /// Adds to `gradients`, or computes none.
    #[must_use]
    pub fn new(gradients: Option<&'a mut GradientsParams>) -> Self {
        Self(gradients)
    }

    /// Puts down what `gradient` makes of the sum so far, if there is one. It is not called where no
    /// gradients are wanted.
    pub fn add<const D: usize>(
        &mut self,
        parameter: &Param<Tensor<D>>,
        gradient: impl FnOnce(Option<Tensor<D>>) -> Tensor<D>,
    ) {
        let Some(gradients) = &mut self.0 else { return };
        let before = gradients.remove::<D>(parameter.id);
        gradients.register(parameter.id, gradient(before));
    }
}
