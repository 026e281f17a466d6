//! Latents to pictures.

use burn::{module::Module, tensor::Tensor};

use super::{
    from_latent,
    layers::{Conv, GroupNorm, Mid, ResnetBlock, count, input_channels, output_channels},
};
use crate::weights::{Loader, WeightsError};

/// The decoder half.
#[derive(Module, Debug)]
pub struct Decoder {
    conv_in: Conv,
    mid: Mid,
    up: Vec<Up>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

/// One level: residual blocks, then twice the size on all levels but level 0, which comes last.
#[derive(Module, Debug)]
struct Up {
    block: Vec<ResnetBlock>,
    upsample: Option<Conv>,
}

impl Decoder {
    /// Takes `decoder.*`; `encoder.*` may be there and is not looked at. All widths come from the file.
    ///
    /// # Errors
    /// The file is not that of such a decoder.
    pub fn load(loader: &Loader) -> Result<Self, WeightsError> {
        loader.ignore_below("encoder");
        let decoder = Self::take(&loader.at("decoder"));
        loader.finish("FLUX.1 autoencoder (decoder)")?;
        Ok(decoder)
    }

    fn take(loader: &Loader) -> Self {
        let mut channels = output_channels(loader, "conv_in");
        let latent = input_channels(loader, "conv_in");
        let conv_in = Conv::load(&loader.at("conv_in"), latent, channels);
        let mid = Mid::load(&loader.at("mid"), channels);
        let levels = count(loader, "up");
        let mut up = Vec::with_capacity(levels);
        // From the lowest level to level 0, which is also the order of the widths.
        for level in (0..levels).rev() {
            let loader = loader.at("up").at(level);
            let to = output_channels(&loader, "block.0.conv1");
            let mut block = Vec::new();
            for index in 0..count(&loader, "block") {
                block.push(ResnetBlock::load(&loader.at("block").at(index), channels, to));
                channels = to;
            }
            let upsample = (level > 0)
                .then(|| Conv::load(&loader.at("upsample").at("conv"), channels, channels));
            up.push(Up { block, upsample });
        }
        // The module's list has the order of the file, level 0 first.
        up.reverse();
        Self {
            conv_in,
            mid,
            up,
            norm_out: GroupNorm::load(&loader.at("norm_out"), channels),
            conv_out: Conv::load(&loader.at("conv_out"), channels, 3),
        }
    }

    /// Decodes `latent` `[B, 16, h, w]`, shifted and scaled as the transformer has it, to a picture
    /// `[B, 3, 8h, 8w]` with values about -1..=1 (not clamped).
    #[must_use]
    pub fn decode(&self, latent: Tensor<4>) -> Tensor<4> {
        let mut h = self.mid.forward(self.conv_in.forward(from_latent(latent)));
        for level in self.up.iter().rev() {
            for block in &level.block {
                h = block.forward(h);
            }
            if let Some(conv) = &level.upsample {
                h = conv.doubled(h);
            }
        }
        let norm = self.norm_out.of(&h);
        self.conv_out.swished(h, norm)
    }
}
