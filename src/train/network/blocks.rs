//! A block of either kind.

use burn::{
    optim::GradientsParams,
    tensor::{FloatDType, Tensor, TensorData},
};

use super::parameters;
use crate::{
    models::flux::{Block, DoubleBlock, DoubleKept, SingleBlock, SingleKept, Surroundings},
    train::blockwise::GradientSink,
};

/// A block of either kind.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a network has tens of these, of gigabytes each")]
pub(in crate::train) enum AnyBlock {
    Double(DoubleBlock),
    Single(SingleBlock),
}

/// What a block keeps of its forward pass: see [`Block::Kept`].
pub(in crate::train) enum AnyKept {
    Double(Box<DoubleKept>),
    Single(Box<SingleKept>),
}

impl AnyBlock {
    /// See [`Block::forward`].
    pub fn forward(
        &self,
        streams: Vec<Tensor<3>>,
        vec: Tensor<2>,
        around: &Surroundings,
    ) -> Vec<Tensor<3>> {
        match self {
            Self::Double(block) => block.forward(streams, vec, around),
            Self::Single(block) => block.forward(streams, vec, around),
        }
    }

    /// See [`Block::forward_keeping`].
    pub fn forward_keeping(
        &self,
        streams: Vec<Tensor<3>>,
        vec: Tensor<2>,
        around: &Surroundings,
    ) -> (Vec<Tensor<3>>, AnyKept) {
        match self {
            Self::Double(block) => {
                let (streams, kept) = block.forward_keeping(streams, vec, around);
                (streams, AnyKept::Double(Box::new(kept)))
            }
            Self::Single(block) => {
                let (streams, kept) = block.forward_keeping(streams, vec, around);
                (streams, AnyKept::Single(Box::new(kept)))
            }
        }
    }

    /// See [`Block::backward`].
    pub fn backward(
        &self,
        kept: AnyKept,
        around: &Surroundings,
        d_streams: Vec<Tensor<3>>,
        d_vec: &mut Tensor<2>,
        gradients: Option<&mut GradientsParams>,
    ) -> Vec<Tensor<3>> {
        match (self, kept) {
            (Self::Double(block), AnyKept::Double(kept)) => {
                block.backward(*kept, around, d_streams, d_vec, gradients)
            }
            (Self::Single(block), AnyKept::Single(kept)) => {
                block.backward(*kept, around, d_streams, d_vec, gradients)
            }
            _ => unreachable!("a block keeps values of its own kind"),
        }
    }

    /// Hands the block and its gradients to `sink`.
    pub fn hand_to<S: GradientSink>(
        self,
        sink: &mut S,
        place: &[&str],
        gradients: GradientsParams,
    ) -> Self {
        match self {
            Self::Double(block) => Self::Double(sink.take(place, block, gradients)),
            Self::Single(block) => Self::Single(sink.take(place, block, gradients)),
        }
    }

    pub fn cast(self, dtype: FloatDType) -> Self {
        match self {
            Self::Double(block) => Self::Double(parameters::cast(block, dtype)),
            Self::Single(block) => Self::Single(parameters::cast(block, dtype)),
        }
    }

    pub fn read(&self, dtype: FloatDType, read: &mut dyn FnMut(usize, TensorData)) {
        match self {
            Self::Double(block) => parameters::read(block, dtype, read),
            Self::Single(block) => parameters::read(block, dtype, read),
        }
    }
}
