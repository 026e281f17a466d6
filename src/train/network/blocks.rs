//! A block of either kind, and the names of its parameters.

use burn::tensor::{FloatDType, Tensor, TensorData};

use super::parameters;
use crate::models::flux::{Block, DoubleBlock, SingleBlock, Surroundings};

/// A block of either kind.
#[derive(Clone, Debug)]
pub(in crate::train) enum AnyBlock {
    Double(DoubleBlock),
    Single(SingleBlock),
}

impl AnyBlock {
    /// The block, see [`Block::forward`].
    pub fn forward(
        &self,
        streams: Vec<Tensor<3>>,
        vec: Tensor<2>,
        surroundings: &Surroundings,
    ) -> Vec<Tensor<3>> {
        match self {
            Self::Double(block) => block.forward(streams, vec, surroundings),
            Self::Single(block) => block.forward(streams, vec, surroundings),
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
