//! The picture encoder: a vision transformer over square patches, pre-norm, all tokens kept.

use burn::{
    module::{Module, Param},
    tensor::{FloatDType, Tensor},
};

use super::{
    config::VisionConfig,
    layers::{attend, join_heads, split_heads},
};
use crate::{
    device::kernels::Activation,
    models::layers::{LayerNorm, Linear},
    weights::Loader,
};

const EPSILON: f64 = 1e-6;

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
    pub(super) fn load(loader: &Loader<'_>, config: &VisionConfig) -> Self {
        let &VisionConfig { width, patch, grid, .. } = config;
        let proj = loader.at("patch_embed").at("proj");
        let kernel = proj.tensor("weight", [width, 3, patch, patch]);
        let blocks = loader.at("blocks");
        Self {
            cls_token: loader.param("cls_token", [1, 1, width]),
            pos_embed: loader.param("pos_embed", [1, grid * grid + 1, width]),
            patch_embed: Linear {
                weight: Param::from_tensor(kernel.reshape([width, 3 * patch * patch])),
                bias: proj.param("bias", [width]),
            },
            blocks: (0..config.depth).map(|i| Block::load(&blocks.at(i), config)).collect(),
            norm: LayerNorm::load(&loader.at("norm"), width, EPSILON),
            patch,
            grid,
        }
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
    fn load(loader: &Loader<'_>, config: &VisionConfig) -> Self {
        let &VisionConfig { width, hidden, heads, .. } = config;
        let (attn, mlp) = (loader.at("attn"), loader.at("mlp"));
        Self {
            norm1: LayerNorm::load(&loader.at("norm1"), width, EPSILON),
            qkv: Linear::load(&attn.at("qkv"), width, 3 * width).for_many_rows(),
            proj: Linear::load(&attn.at("proj"), width, width).for_many_rows(),
            norm2: LayerNorm::load(&loader.at("norm2"), width, EPSILON),
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
