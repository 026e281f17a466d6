//! BLIP: names and shapes as in the published captioner.

use super::{Fill, Tensors};
use crate::models::blip::{BlipConfig, TextConfig, VisionConfig};

/// The captioner of the demo: one head of 32, pictures of 64 × 64.
pub const SMALL: BlipConfig = BlipConfig {
    vision: VisionConfig { width: 32, depth: 2, heads: 1, hidden: 128, patch: 16, grid: 4 },
    text: TextConfig {
        width: 32,
        depth: 2,
        heads: 1,
        hidden: 128,
        vocabulary: BlipConfig::LARGE.text.vocabulary,
        positions: 96,
        cross: 32,
    },
};

pub fn tensors(config: &BlipConfig) -> Tensors {
    let mut tensors = Tensors::default();
    vision(&mut tensors, &config.vision);
    text(&mut tensors, &config.text);
    tensors
}

fn vision(tensors: &mut Tensors, config: &VisionConfig) {
    let &VisionConfig { width, depth, hidden, patch, grid, .. } = config;
    let vision = "visual_encoder";
    tensors.add(format!("{vision}.cls_token"), &[1, 1, width], Fill::Normal(1.0));
    let positions = [1, grid * grid + 1, width];
    tensors.add(format!("{vision}.pos_embed"), &positions, Fill::Normal(1.0));
    tensors.layer(&format!("{vision}.patch_embed.proj"), &[width, 3, patch, patch]);
    for block in 0..depth {
        let block = format!("{vision}.blocks.{block}");
        tensors.norm(&format!("{block}.norm1"), width);
        tensors.layer(&format!("{block}.attn.qkv"), &[3 * width, width]);
        tensors.layer(&format!("{block}.attn.proj"), &[width, width]);
        tensors.norm(&format!("{block}.norm2"), width);
        tensors.layer(&format!("{block}.mlp.fc1"), &[hidden, width]);
        tensors.layer(&format!("{block}.mlp.fc2"), &[width, hidden]);
    }
    tensors.norm(&format!("{vision}.norm"), width);
}

fn text(tensors: &mut Tensors, config: &TextConfig) {
    let &TextConfig { width, depth, hidden, vocabulary, positions, cross, .. } = config;
    let bert = "text_decoder.bert";
    tensors.table(format!("{bert}.embeddings.word_embeddings.weight"), vocabulary, width);
    tensors.table(format!("{bert}.embeddings.position_embeddings.weight"), positions, width);
    tensors.norm(&format!("{bert}.embeddings.LayerNorm"), width);
    for layer in 0..depth {
        let layer = format!("{bert}.encoder.layer.{layer}");
        for (attention, source) in [("attention", width), ("crossattention", cross)] {
            for (projection, from) in [("query", width), ("key", source), ("value", source)] {
                tensors.layer(&format!("{layer}.{attention}.self.{projection}"), &[width, from]);
            }
            tensors.layer(&format!("{layer}.{attention}.output.dense"), &[width, width]);
            tensors.norm(&format!("{layer}.{attention}.output.LayerNorm"), width);
        }
        tensors.layer(&format!("{layer}.intermediate.dense"), &[hidden, width]);
        tensors.layer(&format!("{layer}.output.dense"), &[width, hidden]);
        tensors.norm(&format!("{layer}.output.LayerNorm"), width);
    }
    let head = "text_decoder.cls.predictions";
    tensors.layer(&format!("{head}.transform.dense"), &[width, width]);
    tensors.norm(&format!("{head}.transform.LayerNorm"), width);
    // The word embeddings serve as the last layer, as in the published file, which holds them twice.
    tensors.add(format!("{head}.bias"), &[vocabulary], Fill::Zeros);
}
