//! CLIP-L and T5: the published names, at any size.

use super::{Fill, Tensors};

/// Width of both encoders of the demo.
pub const WIDTH: usize = 32;

/// Sizes of a CLIP text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipShape {
    /// Width of the vectors.
    pub width: usize,
    /// Width between the linear layers.
    pub inner: usize,
    /// Number of layers.
    pub layers: usize,
}

impl ClipShape {
    /// CLIP-L.
    pub const LARGE: Self = Self { width: 768, inner: 3072, layers: 12 };
    /// The demo's.
    pub const SMALL: Self = Self { width: WIDTH, inner: 4 * WIDTH, layers: 2 };
}

/// Sizes of a T5 v1.1 encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct T5Shape {
    /// Width of the hidden states.
    pub width: usize,
    /// Width between the linear layers.
    pub inner: usize,
    /// Number of layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
}

impl T5Shape {
    /// T5-XXL.
    pub const XXL: Self = Self { width: 4096, inner: 10_240, layers: 24, heads: 64 };
    /// T5 v1.1 base.
    pub const BASE: Self = Self { width: 768, inner: 2048, layers: 12, heads: 12 };
    /// The demo's.
    pub const SMALL: Self = Self { width: WIDTH, inner: 2 * WIDTH, layers: 2, heads: 2 };

    /// Multiplications and additions that one layer does for a text of so many tokens, each counted as
    /// one: those of its six products and of attention.
    #[must_use]
    pub fn operations(&self, tokens: usize) -> f64 {
        let Self { width, inner, .. } = *self;
        let products = tokens * (4 * width * width + 3 * width * inner);
        let attention = 2 * tokens * tokens * width;
        2.0 * (products + attention) as f64
    }
}

pub fn clip(shape: ClipShape) -> Tensors {
    let ClipShape { width, inner, layers } = shape;
    let mut tensors = Tensors::default();
    let text = "text_model";
    tensors.table(format!("{text}.embeddings.token_embedding.weight"), 49_408, width);
    tensors.table(format!("{text}.embeddings.position_embedding.weight"), 77, width);
    for layer in 0..layers {
        let layer = format!("{text}.encoder.layers.{layer}");
        for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            tensors.layer(&format!("{layer}.self_attn.{projection}"), &[width, width]);
        }
        tensors.layer(&format!("{layer}.mlp.fc1"), &[inner, width]);
        tensors.layer(&format!("{layer}.mlp.fc2"), &[width, inner]);
        tensors.norm(&format!("{layer}.layer_norm1"), width);
        tensors.norm(&format!("{layer}.layer_norm2"), width);
    }
    tensors.norm(&format!("{text}.final_layer_norm"), width);
    tensors
}

pub fn t5(shape: T5Shape) -> Tensors {
    let T5Shape { width, inner, layers, heads } = shape;
    let mut tensors = Tensors::default();
    tensors.table("shared.weight", 32_128, width);
    for block in 0..layers {
        let (attention, feed_forward) =
            (format!("encoder.block.{block}.layer.0"), format!("encoder.block.{block}.layer.1"));
        for projection in ["q", "k", "v", "o"] {
            tensors.weight(&format!("{attention}.SelfAttention.{projection}"), &[width, width]);
        }
        if block == 0 {
            let bias = format!("{attention}.SelfAttention.relative_attention_bias.weight");
            tensors.table(bias, 32, heads);
        }
        tensors.add(format!("{attention}.layer_norm.weight"), &[width], Fill::Ones);
        let dense = format!("{feed_forward}.DenseReluDense");
        tensors.weight(&format!("{dense}.wi_0"), &[inner, width]);
        tensors.weight(&format!("{dense}.wi_1"), &[inner, width]);
        tensors.weight(&format!("{dense}.wo"), &[width, inner]);
        tensors.add(format!("{feed_forward}.layer_norm.weight"), &[width], Fill::Ones);
    }
    tensors.add("encoder.final_layer_norm.weight", &[width], Fill::Ones);
    tensors
}
