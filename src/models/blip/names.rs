//! Under which names files hold the picture encoder: as published, or as the library transformers
//! saves it. The text decoder has the same names in both.

use crate::weights::Loader;

/// Where the parts of the picture encoder are, each relative to the one that holds it.
pub(super) struct Names {
    /// The encoder, from the root of the file.
    pub encoder: &'static str,
    pub class: &'static str,
    pub positions: &'static str,
    pub patches: &'static str,
    pub blocks: &'static str,
    pub norm: &'static str,
    /// Parts of one block. Its feed-forward layers are `mlp.fc1` and `mlp.fc2` in both.
    pub norm1: &'static str,
    pub qkv: &'static str,
    pub proj: &'static str,
    pub norm2: &'static str,
    /// What the norms add to the variance. No file says it: each program has its own.
    pub epsilon: f64,
}

const PUBLISHED: Names = Names {
    encoder: "visual_encoder",
    class: "cls_token",
    positions: "pos_embed",
    patches: "patch_embed.proj",
    blocks: "blocks",
    norm: "norm",
    norm1: "norm1",
    qkv: "attn.qkv",
    proj: "attn.proj",
    norm2: "norm2",
    epsilon: 1e-6,
};

const TRANSFORMERS: Names = Names {
    encoder: "vision_model",
    class: "embeddings.class_embedding",
    positions: "embeddings.position_embedding",
    patches: "embeddings.patch_embedding",
    blocks: "encoder.layers",
    norm: "post_layernorm",
    norm1: "layer_norm1",
    qkv: "self_attn.qkv",
    proj: "self_attn.projection",
    norm2: "layer_norm2",
    epsilon: 1e-5,
};

impl Names {
    /// The names in use at `loader`, which stands at the root of a file.
    pub fn of(loader: &Loader<'_>) -> &'static Self {
        if loader.has(TRANSFORMERS.encoder) { &TRANSFORMERS } else { &PUBLISHED }
    }
}
