//! What a training step takes, array by array.

use burn::tensor::{DType, FloatDType};

use super::{BlockPlan, Plan, Takes, Values, Weights};
use crate::models::flux::FluxConfig;

/// A training step, as far as its memory goes.
#[derive(Clone, Debug)]
pub struct Step {
    /// Sizes of the transformer.
    pub config: FluxConfig,
    /// Samples of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step.
    pub accumulated: usize,
    /// Picture tokens of a sample: a 16th of its height times a 16th of its width.
    pub picture_tokens: usize,
    /// Text tokens of a sample.
    pub text_tokens: usize,
    /// The type that weights are stored in.
    pub stored: FloatDType,
    /// The type that is computed in.
    pub compute: FloatDType,
    /// What the optimizer remembers of each weight, in bytes: 0 where moments are factored, 8 for two.
    pub state: usize,
    /// Bytes of the averages of the weights, which are the host's on every machine: 0 where there are none
    /// or where they lie in a file.
    pub averages: u64,
    /// Whether it goes back, or only forwards, as where a picture is drawn.
    pub backward: bool,
    /// Whether each block is trained.
    pub trained: Vec<bool>,
    /// Whether the device has memory of its own.
    pub has_memory: bool,
}

/// Rows of scores that attention makes at once on its way back.
const ATTENTION_ROWS: usize = 512;

/// Arrays of the size of a parameter that an optimizer step makes, in f32.
const UPDATE_ARRAYS: u64 = 5;

impl Step {
    /// What the step takes with this plan.
    #[must_use]
    pub fn takes(&self, plan: &Plan) -> Takes {
        let backward = (0..plan.blocks.len()).map(|index| self.at(index, plan)).max();
        let moving = self.weights_on_device(plan) + self.buffers(plan) + self.state_bytes();
        let moved = plan.blocks.iter().enumerate();
        let moved = moved.filter(|(_, block)| block.weights == Weights::Swapped);
        let moved = moved.map(|(index, _)| self.weights(index) * size(self.stored)).sum::<u64>();
        let on_device = moving + backward.unwrap_or_default();
        match self.has_memory {
            true => Takes { device: on_device, host: moved + self.averages, scratch: 0 },
            false => {
                let device = self.takes_of_the_heap(plan) + self.averages;
                Takes { device, host: 0, scratch: moved }
            }
        }
    }

    /// How many weights a block has.
    #[must_use]
    pub fn weights(&self, index: usize) -> u64 {
        let FluxConfig { hidden_size: hidden, mlp_size: mlp, .. } = self.config;
        let head = self.config.head();
        let weights = if self.is_double(index) {
            // Of text and picture alike: modulation, q k v, norms, projection, MLP.
            2 * (6 * hidden * (hidden + 1)
                + 3 * hidden * (hidden + 1)
                + 2 * head
                + hidden * (hidden + 1)
                + mlp * (hidden + 1)
                + hidden * (mlp + 1))
        } else {
            (3 * hidden + mlp) * (hidden + 1)
                + hidden * (hidden + mlp + 1)
                + 2 * head
                + 3 * hidden * (hidden + 1)
        };
        weights as u64
    }

    /// What a block's backward pass needs of its forward pass of one micro-batch, its inputs included: see
    /// `Block::Kept` of the blocks.
    #[must_use]
    pub fn kept(&self, index: usize) -> u64 {
        let FluxConfig { hidden_size: hidden, mlp_size: mlp, .. } = self.config;
        let width = if self.is_double(index) { 11 * hidden + mlp } else { 9 * hidden + mlp };
        self.values(width)
    }

    /// The inputs of a block, of one micro-batch.
    #[must_use]
    pub fn inputs(&self) -> u64 {
        self.values(self.config.hidden_size)
    }

    /// What lives at most while block `index` is pulled back, besides weights that stay.
    fn at(&self, index: usize, plan: &Plan) -> u64 {
        let waiting = plan.blocks.iter().enumerate().take(index + 1);
        let waiting = waiting.map(|(index, block)| self.waiting(index, *block)).sum::<u64>();
        let again = match plan.blocks[index].values {
            Values::Kept => 0,
            Values::Recomputed => self.kept(index),
        };
        // Gradients at the streams of every micro-batch.
        let streams = self.accumulated as u64 * self.inputs();
        let update = match self.trained.get(index) {
            Some(false) => 0,
            _ => self.weights(index) * size(self.compute) + UPDATE_ARRAYS * 4 * self.largest(index),
        };
        waiting + again + streams + self.workspace() + update
    }

    /// What waits of a block from the forward pass for the backward pass.
    pub(super) fn waiting(&self, index: usize, block: BlockPlan) -> u64 {
        if !self.backward {
            return 0;
        }
        let each = match block.values {
            Values::Kept => self.kept(index),
            Values::Recomputed => self.inputs(),
        };
        self.accumulated as u64 * each
    }

    /// What a block makes on its way back and lets go again: gradients of its values, and scores.
    fn workspace(&self) -> u64 {
        let FluxConfig { hidden_size: hidden, mlp_size: mlp, num_heads: heads, .. } = self.config;
        let tokens = self.picture_tokens + self.text_tokens;
        let scores = self.batch * heads * tokens.min(ATTENTION_ROWS) * tokens;
        self.values(10 * hidden + 3 * mlp) + 4 * 4 * scores as u64
    }

    /// Weights that stay on the device, between steps too.
    pub(super) fn weights_on_device(&self, plan: &Plan) -> u64 {
        let resident = plan.blocks.iter().enumerate();
        let resident = resident.filter(|(_, block)| block.weights == Weights::Resident);
        let resident = resident.map(|(index, _)| self.weights(index) * size(self.stored));
        resident.sum::<u64>() + self.outside() * size(self.compute)
    }

    /// How many weights embedders and last layer have.
    fn outside(&self) -> u64 {
        let FluxConfig { hidden_size: hidden, in_channels, out_channels, .. } = self.config;
        let FluxConfig { vec_in_dim, context_in_dim, guidance_embed, .. } = self.config;
        let mlp = |inputs: usize| hidden * (inputs + 1) + hidden * (hidden + 1);
        let embedders = hidden * (in_channels + 1)
            + hidden * (context_in_dim + 1)
            + mlp(256) * if guidance_embed { 2 } else { 1 }
            + mlp(vec_in_dim);
        (embedders + 2 * hidden * (hidden + 1) + out_channels * (hidden + 1)) as u64
    }

    /// All weights.
    #[must_use]
    pub fn all_weights(&self) -> u64 {
        let blocks = self.config.depth + self.config.depth_single_blocks;
        (0..blocks).map(|index| self.weights(index)).sum::<u64>() + self.outside()
    }

    /// Blocks on their way, in the type that is computed in: one at work, one fetched ahead, one that is
    /// put away. A resident block that is stored in another type is decoded while it is at work.
    fn buffers(&self, plan: &Plan) -> u64 {
        let largest = |kind: Weights| {
            let blocks = plan.blocks.iter().enumerate().filter(|(_, block)| block.weights == kind);
            blocks.map(|(index, _)| self.weights(index)).max().unwrap_or(0) * size(self.compute)
        };
        let decoded = if self.stored == self.compute { 0 } else { largest(Weights::Resident) };
        3 * largest(Weights::Swapped) + decoded
    }

    pub(super) fn state_bytes(&self) -> u64 {
        let trained = self.trained.iter().enumerate().filter(|(_, trained)| **trained);
        let weights = trained.map(|(index, _)| self.weights(index)).sum::<u64>() + self.outside();
        weights * self.state as u64
    }

    /// The largest parameter of a block.
    fn largest(&self, index: usize) -> u64 {
        let FluxConfig { hidden_size: hidden, mlp_size: mlp, .. } = self.config;
        let rows = if self.is_double(index) { (6 * hidden).max(mlp) } else { 3 * hidden + mlp };
        (rows * hidden) as u64
    }

    /// So many values for each token of a micro-batch.
    pub(super) fn values(&self, width: usize) -> u64 {
        let tokens = self.batch * (self.picture_tokens + self.text_tokens);
        (tokens * width) as u64 * size(self.compute)
    }

    pub(super) fn is_double(&self, index: usize) -> bool {
        index < self.config.depth
    }
}

pub(super) fn size(dtype: FloatDType) -> u64 {
    DType::from(dtype).size() as u64
}
