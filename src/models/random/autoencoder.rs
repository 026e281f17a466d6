//! The autoencoder, with four levels as in the published file.

use super::Tensors;

/// How large the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoencoderShape {
    /// Channels of each level; group norm has 32 groups.
    pub levels: [usize; 4],
    /// Residual blocks of a level of the encoder, and of the decoder.
    pub blocks: [usize; 2],
}

impl AutoencoderShape {
    /// That of FLUX.1.
    pub const FULL: Self = Self { levels: [128, 256, 512, 512], blocks: [2, 3] };
    /// What the demo and the tests use.
    pub const SMALL: Self = Self { levels: [32, 32, 64, 64], blocks: [1, 1] };
}

/// Channels of a latent.
const LATENT: usize = 16;

pub fn tensors(shape: AutoencoderShape) -> Tensors {
    let mut tensors = Tensors::default();
    let AutoencoderShape { levels, blocks } = shape;
    let top = levels[3];
    tensors.layer("encoder.conv_in", &[levels[0], 3, 3, 3]);
    let mut channels = levels[0];
    for (level, &to) in levels.iter().enumerate() {
        let place = format!("encoder.down.{level}");
        for block in 0..blocks[0] {
            resnet_block(&mut tensors, &format!("{place}.block.{block}"), channels, to);
            channels = to;
        }
        if level < 3 {
            tensors.layer(&format!("{place}.downsample.conv"), &[to, to, 3, 3]);
        }
    }
    middle(&mut tensors, "encoder", top);
    // Mean and logarithm of the variance.
    tensors.layer("encoder.conv_out", &[2 * LATENT, top, 3, 3]);
    tensors.layer("decoder.conv_in", &[top, LATENT, 3, 3]);
    middle(&mut tensors, "decoder", top);
    let mut channels = top;
    for (level, &to) in levels.iter().enumerate().rev() {
        let place = format!("decoder.up.{level}");
        for block in 0..blocks[1] {
            resnet_block(&mut tensors, &format!("{place}.block.{block}"), channels, to);
            channels = to;
        }
        if level > 0 {
            tensors.layer(&format!("{place}.upsample.conv"), &[to, to, 3, 3]);
        }
    }
    tensors.layer("decoder.conv_out", &[3, levels[0], 3, 3]);
    tensors.norm("encoder.norm_out", top);
    tensors.norm("decoder.norm_out", levels[0]);
    tensors
}

fn resnet_block(tensors: &mut Tensors, place: &str, from: usize, to: usize) {
    tensors.norm(&format!("{place}.norm1"), from);
    tensors.layer(&format!("{place}.conv1"), &[to, from, 3, 3]);
    tensors.norm(&format!("{place}.norm2"), to);
    tensors.layer(&format!("{place}.conv2"), &[to, to, 3, 3]);
    if from != to {
        tensors.layer(&format!("{place}.nin_shortcut"), &[to, from, 1, 1]);
    }
}

fn middle(tensors: &mut Tensors, half: &str, channels: usize) {
    resnet_block(tensors, &format!("{half}.mid.block_1"), channels, channels);
    tensors.norm(&format!("{half}.mid.attn_1.norm"), channels);
    for convolution in ["q", "k", "v", "proj_out"] {
        let name = format!("{half}.mid.attn_1.{convolution}");
        tensors.layer(&name, &[channels, channels, 1, 1]);
    }
    resnet_block(tensors, &format!("{half}.mid.block_2"), channels, channels);
}
