//! Pictures to the distribution of their latents.

use burn::{module::Module, tensor::Tensor};

use super::layers::{Conv, GroupNorm, Mid, ResnetBlock, count, output_channels};
use crate::weights::{Loader, WeightsError};

/// The encoder half.
#[derive(Module, Debug)]
pub struct Encoder {
    pub(super) conv_in: Conv,
    pub(super) down: Vec<Down>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: Conv,
}

/// One level: residual blocks, then half the size on all levels but the last.
#[derive(Module, Debug)]
pub(super) struct Down {
    pub(super) block: Vec<ResnetBlock>,
    pub(super) downsample: Option<Conv>,
}

/// A normal distribution for every element of a latent, before shift and scale. Both `[B, 16, H/8, W/8]`.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The most likely latent.
    pub mean: Tensor<4>,
    /// The logarithm of the variance, as the network gave it.
    pub logvar: Tensor<4>,
}

impl Moments {
    /// A draw from the distribution: `noise` is standard normal, of the shape of `mean`.
    #[must_use]
    pub fn sample(self, noise: Tensor<4>) -> Tensor<4> {
        self.mean + (self.logvar * 0.5).exp() * noise
    }
}

impl Down {
    /// Channels of what leaves it.
    fn channels(&self) -> usize {
        self.block.first().map_or(0, ResnetBlock::channels)
    }
}

impl Encoder {
    /// Takes `encoder.*`; `decoder.*` may be there and is not looked at. All widths come from the file.
    ///
    /// # Errors
    /// The file is not that of such an encoder.
    pub fn load(loader: &Loader) -> Result<Self, WeightsError> {
        loader.ignore_below("decoder");
        let encoder = Self::take(&loader.at("encoder"));
        loader.finish("FLUX.1 autoencoder (encoder)")?;
        Ok(encoder)
    }

    fn take(loader: &Loader) -> Self {
        let mut channels = output_channels(loader, "conv_in");
        let conv_in = Conv::load(&loader.at("conv_in"), 3, channels);
        let levels = count(loader, "down");
        let mut down = Vec::with_capacity(levels);
        for level in 0..levels {
            let loader = loader.at("down").at(level);
            let to = output_channels(&loader, "block.0.conv1");
            let mut block = Vec::new();
            for index in 0..count(&loader, "block") {
                block.push(ResnetBlock::load(&loader.at("block").at(index), channels, to));
                channels = to;
            }
            let downsample = (level + 1 < levels)
                .then(|| Conv::load(&loader.at("downsample").at("conv"), channels, channels));
            down.push(Down { block, downsample });
        }
        // Mean and logarithm of the variance, so an even number.
        let out = output_channels(loader, "conv_out").next_multiple_of(2);
        Self {
            conv_in,
            down,
            mid: Mid::load(&loader.at("mid"), channels),
            norm_out: GroupNorm::load(&loader.at("norm_out"), channels),
            conv_out: Conv::load(&loader.at("conv_out"), channels, out),
        }
    }

    /// Encodes `image` `[B, 3, H, W]` with values in -1..=1; `H` and `W` are multiples of 8.
    #[must_use]
    pub fn encode(&self, image: Tensor<4>) -> Moments {
        self.deeper(self.conv_in.forward(image), 0)
    }

    /// About how many bytes of arrays [`encode_in_bands`](Self::encode_in_bands) holds at a time for a
    /// picture of so many pixels, computed in f32 on the CPU, besides the bands themselves.
    #[must_use]
    pub fn memory(&self, pixels: u64, levels: usize) -> u64 {
        let levels = levels.min(self.down.len().saturating_sub(1));
        let widths = |level: usize| self.down.get(level).map_or(0, |level| level.channels());
        // What comes in, what is between the convolutions, what goes out in the place of the shortcut.
        let arrays = match levels {
            0 => 2 * widths(0),
            level if widths(level) == widths(level - 1) => 2 * widths(level),
            level => widths(level - 1) + 2 * widths(level),
        };
        (arrays as u64 * 4 * pixels) >> (2 * levels)
    }

    /// The levels from this one on, and what follows them.
    pub(super) fn deeper(&self, mut h: Tensor<4>, level: usize) -> Moments {
        for level in &self.down[level..] {
            for block in &level.block {
                h = block.forward(h);
            }
            if let Some(conv) = &level.downsample {
                h = conv.halving(h);
            }
        }
        let h = self.mid.forward(h);
        let norm = self.norm_out.of(&h);
        let h = self.conv_out.swished(h, norm);
        let half = h.dims()[1] / 2;
        Moments { mean: h.clone().narrow(1, 0, half), logvar: h.narrow(1, half, half) }
    }
}
