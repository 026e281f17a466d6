//! The picture encoder: a vision transformer over square patches, pre-norm, all tokens kept.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor},
};

use super::{
    config::VisionConfig,
    layers::{attend, join_heads, split_heads},
    names::Names,
    positions,
};
use crate::{
    device::kernels::Activation,
    models::layers::{LayerNorm, Linear},
    weights::Loader,
};

/// A vision transformer.
#[derive(Module, Debug)]
pub struct VisionEncoder {
    /// `[1, 1, width]`
    pub cls_token: Param<Tensor<3>>,
    /// `[1, grid² + 1, width]`
    pub pos_embed: Param<Tensor<3>>,
    /// The patch convolution as a linear layer, `[width, 3·patch·patch]`: patches do not overlap.
    pub patch_embed: Linear,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// Over the last block's tokens.
    pub norm: LayerNorm,
    patch: usize,
    grid: usize,
}

impl VisionEncoder {
    /// `loader` stands at the root of the file.
    pub(super) fn load(loader: &Loader<'_>, config: &VisionConfig) -> Self {
        let &VisionConfig { width, patch, grid, .. } = config;
        let names = Names::of(loader);
        let loader = loader.at(names.encoder);
        let proj = loader.at(names.patches);
        let kernel = proj.tensor("weight", [width, 3, patch, patch]);
        let blocks = loader.at(names.blocks);
        let block = |index| Block::load(&blocks.at(index), config, names);
        Self {
            cls_token: loader.param(names.class, [1, 1, width]),
            pos_embed: loader.param(names.positions, [1, grid * grid + 1, width]),
            patch_embed: Linear {
                weight: Param::from_tensor(kernel.reshape([width, 3 * patch * patch])),
                bias: proj.param("bias", [width]),
            }
            .for_many_rows(),
            blocks: (0..config.depth).map(block).collect(),
            norm: LayerNorm::load(&loader.at(names.norm), width, names.epsilon),
            patch,
            grid,
        }
    }

    /// The same for pictures of `grid` × `grid` patches.
    pub(super) fn with_grid(mut self, grid: usize) -> Self {
        let positions = positions::resample(self.pos_embed.val(), self.grid, grid);
        self.pos_embed = Param::from_tensor(positions);
        self.grid = grid;
        self
    }

    /// Normalised pictures `[B, 3, S, S]` → tokens `[B, grid² + 1, width]`, the class token first.
    #[must_use]
    pub fn forward(&self, pictures: Tensor<4>) -> Tensor<3> {
        let class = self.cls_token.val();
        let pictures = pictures.cast(FloatDType::from(class.dtype()));
        let patches = self.patch_embed.infer(self.patches(pictures));
        let [batch, _, width] = patches.dims();
        let tokens = Tensor::cat(vec![class.expand([batch, 1, width]), patches], 1);
        let tokens = tokens + self.pos_embed.val();
        self.norm.forward(self.blocks.iter().fold(tokens, |tokens, block| block.forward(tokens)))
    }

    /// Cuts `[B, 3, S, S]` into `[B, grid², 3·patch·patch]`, row by row.
    fn patches(&self, pictures: Tensor<4>) -> Tensor<3> {
        let (batch, grid, patch) = (pictures.dims()[0], self.grid, self.patch);
        pictures
            .reshape([batch, 3, grid, patch, grid, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch, grid * grid, 3 * patch * patch])
    }
}

/// Attention and feed-forward, each behind a norm and added to its input.
#[derive(Module, Debug)]
pub struct Block {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// `[3·width, width]`, rows in the order q, k, v.
    pub qkv: Linear,
    /// `[width, width]`
    pub proj: Linear,
    /// Before the feed-forward.
    pub norm2: LayerNorm,
    /// `[hidden, width]`
    pub fc1: Linear,
    /// `[width, hidden]`
    pub fc2: Linear,
    heads: usize,
}

impl Block {
    fn load(loader: &Loader<'_>, config: &VisionConfig, names: &Names) -> Self {
        let &VisionConfig { width, hidden, heads, .. } = config;
        let (mlp, epsilon) = (loader.at("mlp"), names.epsilon);
        Self {
            norm1: LayerNorm::load(&loader.at(names.norm1), width, epsilon),
            qkv: Linear::load(&loader.at(names.qkv), width, 3 * width).for_many_rows(),
            proj: Linear::load(&loader.at(names.proj), width, width).for_many_rows(),
            norm2: LayerNorm::load(&loader.at(names.norm2), width, epsilon),
            fc1: Linear::load(&mlp.at("fc1"), width, hidden).for_many_rows(),
            fc2: Linear::load(&mlp.at("fc2"), hidden, width).for_many_rows(),
            heads,
        }
    }

    /// `[B, N, width]` → `[B, N, width]`
    #[must_use]
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let width = x.dims()[2];
        let qkv = self.qkv.infer(self.norm1.forward(x.clone()));
        let part = |index| split_heads(qkv.clone().narrow(2, index * width, width), self.heads);
        let attended = join_heads(attend(part(0), part(1), part(2), None));
        let x = self.proj.onto(x, attended);
        let hidden = self.fc1.then(self.norm2.forward(x.clone()), Activation::Gelu);
        self.fc2.onto(x, hidden)
    }
}
