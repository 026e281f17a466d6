//! BLIP: names and shapes as in the published captioner, one head of 32.

use super::{Fill, Tensors};

const WIDTH: usize = 32;
const PATCH: usize = 16;
/// Patches per side: pictures of 64 × 64.
const GRID: usize = 4;
/// The vocabulary of `bert-base-uncased` and its two marks.
const VOCABULARY: usize = 30_524;
const POSITIONS: usize = 96;

pub fn tensors() -> Tensors {
    let mut tensors = Tensors::default();
    vision(&mut tensors);
    let bert = "text_decoder.bert";
    tensors.table(format!("{bert}.embeddings.word_embeddings.weight"), VOCABULARY, WIDTH);
    tensors.table(format!("{bert}.embeddings.position_embeddings.weight"), POSITIONS, WIDTH);
    tensors.norm(&format!("{bert}.embeddings.LayerNorm"), WIDTH);
    for layer in 0..2 {
        let layer = format!("{bert}.encoder.layer.{layer}");
        for attention in ["attention", "crossattention"] {
            for projection in ["query", "key", "value"] {
                tensors.layer(&format!("{layer}.{attention}.self.{projection}"), &[WIDTH, WIDTH]);
            }
            tensors.layer(&format!("{layer}.{attention}.output.dense"), &[WIDTH, WIDTH]);
            tensors.norm(&format!("{layer}.{attention}.output.LayerNorm"), WIDTH);
        }
        tensors.layer(&format!("{layer}.intermediate.dense"), &[4 * WIDTH, WIDTH]);
        tensors.layer(&format!("{layer}.output.dense"), &[WIDTH, 4 * WIDTH]);
        tensors.norm(&format!("{layer}.output.LayerNorm"), WIDTH);
    }
    let head = "text_decoder.cls.predictions";
    tensors.layer(&format!("{head}.transform.dense"), &[WIDTH, WIDTH]);
    tensors.norm(&format!("{head}.transform.LayerNorm"), WIDTH);
    // The word embeddings serve as the last layer, as in the published file, which holds them twice.
    tensors.add(format!("{head}.bias"), &[VOCABULARY], Fill::Zeros);
    tensors
}

fn vision(tensors: &mut Tensors) {
    let vision = "visual_encoder";
    tensors.add(format!("{vision}.cls_token"), &[1, 1, WIDTH], Fill::Normal(1.0));
    let positions = [1, GRID * GRID + 1, WIDTH];
    tensors.add(format!("{vision}.pos_embed"), &positions, Fill::Normal(1.0));
    tensors.layer(&format!("{vision}.patch_embed.proj"), &[WIDTH, 3, PATCH, PATCH]);
    for block in 0..2 {
        let block = format!("{vision}.blocks.{block}");
        tensors.norm(&format!("{block}.norm1"), WIDTH);
        tensors.layer(&format!("{block}.attn.qkv"), &[3 * WIDTH, WIDTH]);
        tensors.layer(&format!("{block}.attn.proj"), &[WIDTH, WIDTH]);
        tensors.norm(&format!("{block}.norm2"), WIDTH);
        tensors.layer(&format!("{block}.mlp.fc1"), &[4 * WIDTH, WIDTH]);
        tensors.layer(&format!("{block}.mlp.fc2"), &[WIDTH, 4 * WIDTH]);
    }
    tensors.norm(&format!("{vision}.norm"), WIDTH);
}
