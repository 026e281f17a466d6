//! How a training step uses memory: for each block, where its weights are and what becomes of its values.
//!
//! Both choices change time and memory and no number. Does not know the device; see [`Plan::auto`] for
//! what it is told.

/// Where the weights of a block are while it is not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// On the device.
    Resident,
    /// In memory of the host; where the device is the host, in a scratch file.
    Swapped,
}

/// What becomes of the values between a block's inputs and its outputs after the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// They stay for the backward pass.
    Kept,
    /// They are computed again.
    Recomputed,
}

/// What is chosen for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlan {
    /// Its weights.
    pub weights: Weights,
    /// Its values.
    pub values: Values,
}

/// What is chosen for all blocks, double blocks first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One per block.
    pub blocks: Vec<BlockPlan>,
}

impl Plan {
    /// All weights on the device, all values computed again.
    #[must_use]
    pub fn resident(blocks: usize) -> Self {
        let block = BlockPlan { weights: Weights::Resident, values: Values::Recomputed };
        Self { blocks: vec![block; blocks] }
    }
}
