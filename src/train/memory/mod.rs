//! How a training step uses memory: for each block, where its weights are and what becomes of its values.
//!
//! Both choices change time and memory and no number. [`Step`] counts what a choice takes, and
//! [`Plan::choose`] makes the quickest that fits, as far as nothing is set by hand. Does not know devices:
//! what is free is told.

mod choose;
mod count;
mod heap;
#[cfg(test)]
mod tests;

use std::fmt;

pub use choose::{Free, PlanError, Wishes};
pub use count::Step;

use crate::base::{bytes, plural};

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
    /// What a step takes at most, as far as it was counted.
    pub takes: Takes,
}

/// Bytes that a training step takes at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// Of the device.
    pub device: u64,
    /// Of the host's memory, where the device has memory of its own.
    pub host: u64,
    /// Of the scratch file, where it has not.
    pub scratch: u64,
}

impl Plan {
    /// All weights on the device, all values computed again.
    #[must_use]
    pub fn resident(blocks: usize) -> Self {
        Self::of(blocks, 0, 0)
    }

    /// Of so many blocks `swapped` are swapped and the values of `kept` are kept.
    ///
    /// Swapped blocks are spread evenly, so that each has the time of several others to arrive in. Kept
    /// are the values of the last blocks: they are used first on the way back, and free when the others
    /// are computed again.
    ///
    /// # Panics
    /// Never: more than all are all.
    #[must_use]
    pub fn of(blocks: usize, swapped: usize, kept: usize) -> Self {
        let (swapped, kept) = (swapped.min(blocks), kept.min(blocks));
        let block = |index: usize| BlockPlan {
            weights: match (index + 1) * swapped / blocks > index * swapped / blocks {
                true => Weights::Swapped,
                false => Weights::Resident,
            },
            values: if index >= blocks - kept { Values::Kept } else { Values::Recomputed },
        };
        Self { blocks: (0..blocks).map(block).collect(), takes: Takes::default() }
    }

    /// How many blocks are swapped.
    #[must_use]
    pub fn swapped(&self) -> usize {
        self.blocks.iter().filter(|block| block.weights == Weights::Swapped).count()
    }

    /// Of how many blocks the values are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.blocks.iter().filter(|block| block.values == Values::Kept).count()
    }
}

impl fmt::Display for Plan {
    /// `57 blocks, 35 swapped, values of 12 kept; up to 14.2 GiB of the device, 9.8 GiB of the host`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = plural(self.blocks.len(), "block");
        write!(f, "{count}, {} swapped, values of {} kept", self.swapped(), self.kept())?;
        let Takes { device, host, scratch } = self.takes;
        if device > 0 {
            write!(f, "; up to {} of the device", bytes(device))?;
        }
        if host > 0 {
            write!(f, ", {} of the host", bytes(host))?;
        }
        if scratch > 0 {
            write!(f, ", {} of disk", bytes(scratch))?;
        }
        Ok(())
    }
}
