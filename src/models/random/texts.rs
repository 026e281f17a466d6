//! CLIP-L and T5: the published names and vocabularies, 32 wide.

use super::{Fill, Tensors};

/// Width of both encoders.
pub const WIDTH: usize = 32;

pub fn clip() -> Tensors {
    let mut tensors = Tensors::default();
    let text = "text_model";
    tensors.table(format!("{text}.embeddings.token_embedding.weight"), 49_408, WIDTH);
    tensors.table(format!("{text}.embeddings.position_embedding.weight"), 77, WIDTH);
    for layer in 0..2 {
        let layer = format!("{text}.encoder.layers.{layer}");
        for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            tensors.layer(&format!("{layer}.self_attn.{projection}"), &[WIDTH, WIDTH]);
        }
        tensors.layer(&format!("{layer}.mlp.fc1"), &[4 * WIDTH, WIDTH]);
        tensors.layer(&format!("{layer}.mlp.fc2"), &[WIDTH, 4 * WIDTH]);
        tensors.norm(&format!("{layer}.layer_norm1"), WIDTH);
        tensors.norm(&format!("{layer}.layer_norm2"), WIDTH);
    }
    tensors.norm(&format!("{text}.final_layer_norm"), WIDTH);
    tensors
}

pub fn t5() -> Tensors {
    const HEADS: usize = 2;
    let mut tensors = Tensors::default();
    tensors.table("shared.weight", 32_128, WIDTH);
    for block in 0..2 {
        let (attention, feed_forward) =
            (format!("encoder.block.{block}.layer.0"), format!("encoder.block.{block}.layer.1"));
        for projection in ["q", "k", "v", "o"] {
            tensors.weight(&format!("{attention}.SelfAttention.{projection}"), &[WIDTH, WIDTH]);
        }
        if block == 0 {
            let bias = format!("{attention}.SelfAttention.relative_attention_bias.weight");
            tensors.table(bias, 32, HEADS);
        }
        tensors.add(format!("{attention}.layer_norm.weight"), &[WIDTH], Fill::Ones);
        let dense = format!("{feed_forward}.DenseReluDense");
        tensors.weight(&format!("{dense}.wi_0"), &[2 * WIDTH, WIDTH]);
        tensors.weight(&format!("{dense}.wi_1"), &[2 * WIDTH, WIDTH]);
        tensors.weight(&format!("{dense}.wo"), &[WIDTH, 2 * WIDTH]);
        tensors.add(format!("{feed_forward}.layer_norm.weight"), &[WIDTH], Fill::Ones);
    }
    tensors.add("encoder.final_layer_norm.weight", &[WIDTH], Fill::Ones);
    tensors
}
