//! The sizes of a FLUX file, read from the shapes of its tensors.

use crate::weights::{Checkpoint, Problem, WeightsError};

/// Sizes of the transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct FluxConfig {
    /// Features of a picture token: 64.
    pub in_channels: usize,
    /// Features of an output token: 64.
    pub out_channels: usize,
    /// Features of the pooled text: 768.
    pub vec_in_dim: usize,
    /// Features of a text token: 4096.
    pub context_in_dim: usize,
    /// Width of the streams: 3072.
    pub hidden_size: usize,
    /// Width of the MLPs: 12288.
    pub mlp_size: usize,
    /// Attention heads: 24.
    pub num_heads: usize,
    /// Double blocks: 19.
    pub depth: usize,
    /// Single blocks: 38.
    pub depth_single_blocks: usize,
    /// Channels of a head that each position axis rotates: 16, 56, 56. The file does not say; see
    /// [`FluxConfig::axes_of_head`].
    pub axes_dim: [usize; 3],
    /// Base of the rotation's frequencies.
    pub theta: f64,
    /// Whether there is a guidance embedder: dev has one, schnell has none.
    pub guidance_embed: bool,
}

/// How a file names its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Whose names.
    pub naming: Naming,
    /// What stands before every name: nothing, or `model.diffusion_model.` in all-in-one files.
    pub root: String,
}

/// Whose names a file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `double_blocks.0.img_attn.qkv.weight`: Black Forest Labs, ComfyUI.
    Bfl,
    /// `transformer_blocks.0.attn.to_q.weight`: the diffusers library.
    Diffusers,
}

impl FluxConfig {
    /// FLUX.1-dev as published: 11.9 billion weights.
    pub const DEV: Self = Self {
        in_channels: 64,
        out_channels: 64,
        vec_in_dim: 768,
        context_in_dim: 4096,
        hidden_size: 3072,
        mlp_size: 12_288,
        num_heads: 24,
        depth: 19,
        depth_single_blocks: 38,
        axes_dim: [16, 56, 56],
        theta: 10_000.0,
        guidance_embed: true,
    };

    /// Reads sizes and names from a checkpoint, loading nothing.
    ///
    /// # Errors
    /// The file is no FLUX transformer, or lacks a tensor that tells a size.
    pub fn detect(checkpoint: &Checkpoint) -> Result<(Self, Layout), WeightsError> {
        let layout = Layout::detect(checkpoint)?;
        let at = |bfl: &str, diffusers: &str| {
            let name = match layout.naming {
                Naming::Bfl => bfl,
                Naming::Diffusers => diffusers,
            };
            format!("{}{name}", layout.root)
        };
        let shape = |bfl: &str, diffusers: &str| -> Result<Vec<usize>, WeightsError> {
            let name = at(bfl, diffusers);
            let info = checkpoint.info(&name);
            let shape = info.map(|info| info.shape.clone()).filter(|shape| !shape.is_empty());
            shape.ok_or_else(|| not_flux(checkpoint, vec![Problem::Missing(name)]))
        };
        let img_in = shape("img_in.weight", "x_embedder.weight")?;
        let txt_in = shape("txt_in.weight", "context_embedder.weight")?;
        let vector_in =
            shape("vector_in.in_layer.weight", "time_text_embed.text_embedder.linear_1.weight")?;
        let mlp =
            shape("double_blocks.0.img_mlp.0.weight", "transformer_blocks.0.ff.net.0.proj.weight")?;
        let head = shape(
            "double_blocks.0.img_attn.norm.query_norm.scale",
            "transformer_blocks.0.attn.norm_q.weight",
        )?[0];
        let out = shape("final_layer.linear.weight", "proj_out.weight")?;
        let guidance =
            at("guidance_in.in_layer.weight", "time_text_embed.guidance_embedder.linear_1.weight");
        let last = |shape: &[usize]| shape.last().copied().unwrap_or_default();
        let config = Self {
            in_channels: last(&img_in),
            out_channels: out[0],
            vec_in_dim: last(&vector_in),
            context_in_dim: last(&txt_in),
            hidden_size: img_in[0],
            mlp_size: mlp[0],
            num_heads: img_in[0] / head.max(1),
            depth: count(checkpoint, &at("double_blocks.", "transformer_blocks.")),
            depth_single_blocks: count(
                checkpoint,
                &at("single_blocks.", "single_transformer_blocks."),
            ),
            axes_dim: Self::axes_of_head(head),
            theta: 10_000.0,
            guidance_embed: checkpoint.info(&guidance).is_some(),
        };
        let whole = head > 0 && config.hidden_size == config.num_heads * head;
        if !whole || config.axes_dim.iter().sum::<usize>() != head {
            let name = at(
                "double_blocks.0.img_attn.norm.query_norm.scale",
                "transformer_blocks.0.attn.norm_q.weight",
            );
            let expected = vec![config.hidden_size / config.num_heads.max(1)];
            let problem = Problem::Shape { name, expected, found: vec![head] };
            return Err(not_flux(checkpoint, vec![problem]));
        }
        Ok((config, layout))
    }

    /// The split of a head's channels over the three position axes: the first takes an eighth, rounded
    /// up so that the other two can share the rest evenly, each axis in whole pairs. 128 gives
    /// 16, 56, 56 as published.
    #[must_use]
    pub fn axes_of_head(head: usize) -> [usize; 3] {
        let mut first = (head / 8).max(2).next_multiple_of(2);
        if first * 8 < head {
            first += 2;
        }
        while first < head && !(head - first).is_multiple_of(4) {
            first += 2;
        }
        let rest = head.saturating_sub(first) / 2;
        [first, rest, rest]
    }

    /// Floating-point operations of a training step over `batch` samples: of the products of all blocks,
    /// forwards and twice backwards, and of attention. Nothing is counted twice that is computed again.
    #[must_use]
    pub fn operations(&self, batch: usize, picture_tokens: usize, text_tokens: usize) -> f64 {
        let [hidden, mlp] = [self.hidden_size, self.mlp_size].map(|size| size as f64);
        let (tokens, blocks) =
            ((picture_tokens + text_tokens) as f64, (self.depth + self.depth_single_blocks) as f64);
        // A token meets one stream's weights in a double block, and as many in a single block.
        let weights = 4.0 * hidden * hidden + 2.0 * hidden * mlp;
        let products = 2.0 * weights * blocks * tokens;
        let attention = 4.0 * tokens * tokens * hidden * blocks;
        3.0 * batch as f64 * (products + attention)
    }

    /// Channels per head.
    #[must_use]
    pub fn head(&self) -> usize {
        self.hidden_size / self.num_heads
    }
}

impl Layout {
    /// Which names the file uses.
    fn detect(checkpoint: &Checkpoint) -> Result<Self, WeightsError> {
        const BFL: &str = "double_blocks.0.img_attn.qkv.weight";
        const DIFFUSERS: &str = "transformer_blocks.0.attn.add_k_proj.weight";
        for root in ["", "model.diffusion_model."] {
            for (naming, known) in [(Naming::Bfl, BFL), (Naming::Diffusers, DIFFUSERS)] {
                if checkpoint.info(&format!("{root}{known}")).is_some() {
                    return Ok(Self { naming, root: root.to_owned() });
                }
            }
        }
        Err(not_flux(checkpoint, vec![Problem::Missing(BFL.to_owned())]))
    }
}

/// How many numbered blocks there are after `start`: one more than the largest number.
fn count(checkpoint: &Checkpoint, start: &str) -> usize {
    let number = |name: &str| name.strip_prefix(start)?.split('.').next()?.parse::<usize>().ok();
    checkpoint.names().filter_map(number).max().map_or(0, |largest| largest + 1)
}

fn not_flux(checkpoint: &Checkpoint, problems: Vec<Problem>) -> WeightsError {
    let path = checkpoint.path().to_owned();
    WeightsError::Audit { path, network: "FLUX.1 transformer".to_owned(), problems }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_dev_has_the_known_number_of_operations() {
        // 3 * (2 * 12 * 3072^2 * 57 * 4608 + 4 * 4608^2 * 3072 * 57)
        let operations = FluxConfig::DEV.operations(1, 4096, 512);
        assert_eq!(operations, 3.0 * (59_489_592_016_896.0 + 14_872_398_004_224.0));
        assert_eq!(FluxConfig::DEV.operations(3, 4096, 512), 3.0 * operations);
    }

    #[test]
    fn a_head_is_split_into_whole_pairs() {
        assert_eq!(FluxConfig::axes_of_head(128), [16, 56, 56]);
        assert_eq!(FluxConfig::axes_of_head(20), [4, 8, 8]);
        for head in (8..=256).step_by(2) {
            let axes = FluxConfig::axes_of_head(head);
            assert_eq!(axes.iter().sum::<usize>(), head, "{head}: {axes:?}");
            assert!(axes.iter().all(|axis| axis % 2 == 0), "{head}: {axes:?}");
        }
    }
}
