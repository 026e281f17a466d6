//! The parts that encoder and decoder are built from. Tensors are `[B, C, H, W]`.

use burn::{
    module::{Module, Param},
    tensor::{
        FloatDType, Tensor,
        activation::{silu, softmax},
        module::conv2d,
        ops::ConvOptions,
    },
};

use crate::weights::Loader;

/// A convolution that keeps height and width.
#[derive(Module, Debug)]
pub(super) struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

impl Conv {
    pub(super) fn load(loader: &Loader, from: usize, to: usize, kernel: usize) -> Self {
        Self {
            weight: loader.param("weight", [to, from, kernel, kernel]),
            bias: loader.param("bias", [to]),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let around = self.weight.dims()[2] / 2;
        self.convolve(x, 1, (around, around))
    }

    /// Halves height and width. The zeros needed for that are put right and below only.
    pub(super) fn forward_halving(&self, x: Tensor<4>) -> Tensor<4> {
        self.convolve(x, 2, (0, 1))
    }

    fn convolve(&self, x: Tensor<4>, stride: usize, padding: (usize, usize)) -> Tensor<4> {
        let options = ConvOptions::new_with_padding([stride; 2], [padding; 2], [1; 2], 1);
        conv2d(x, self.weight.val(), Some(self.bias.val()), options)
    }
}

/// Normalises over groups of channels and all pixels, in f32 whatever the type of the weights.
#[derive(Module, Debug)]
pub(super) struct GroupNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl GroupNorm {
    const GROUPS: usize = 32;
    const EPSILON: f64 = 1e-6;

    pub(super) fn load(loader: &Loader, channels: usize) -> Self {
        // Channels that do not make 32 groups are asked for as the next number that does, so that
        // such a file fails its audit instead of a tensor operation.
        let channels = channels.next_multiple_of(Self::GROUPS);
        Self { weight: loader.param("weight", [channels]), bias: loader.param("bias", [channels]) }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let dtype = FloatDType::from(x.dtype());
        let each = channels / Self::GROUPS;
        let x = x.cast(FloatDType::F32);
        // Means of the means of rows: in one long f32 sum over a large picture, digits would be lost.
        let mean = |x: Tensor<4>| x.mean_dim(3).mean_dim(2);
        let groups = x.clone().reshape([batch, Self::GROUPS, each * height, width]);
        let center = mean(groups.clone());
        let variance = mean((groups - center.clone()).square());
        let spread = |x: Tensor<4>| x.repeat_dim(2, each).reshape([batch, channels, 1, 1]);
        let affine =
            |x: &Param<Tensor<1>>| x.val().cast(FloatDType::F32).reshape([1, channels, 1, 1]);
        let scale = spread((variance + Self::EPSILON).sqrt().recip()) * affine(&self.weight);
        let shift = affine(&self.bias) - spread(center) * scale.clone();
        (x * scale + shift).cast(dtype)
    }
}

/// Two convolutions around a shortcut.
#[derive(Module, Debug)]
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv,
    norm2: GroupNorm,
    conv2: Conv,
    nin_shortcut: Option<Conv>,
}

impl ResnetBlock {
    pub(super) fn load(loader: &Loader, from: usize, to: usize) -> Self {
        Self {
            norm1: GroupNorm::load(&loader.at("norm1"), from),
            conv1: Conv::load(&loader.at("conv1"), from, to, 3),
            norm2: GroupNorm::load(&loader.at("norm2"), to),
            conv2: Conv::load(&loader.at("conv2"), to, to, 3),
            nin_shortcut: (from != to).then(|| Conv::load(&loader.at("nin_shortcut"), from, to, 1)),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.conv1.forward(silu(self.norm1.forward(x.clone())));
        let h = self.conv2.forward(silu(self.norm2.forward(h)));
        let shortcut = match &self.nin_shortcut {
            Some(conv) => conv.forward(x),
            None => x,
        };
        shortcut + h
    }
}

/// Attention of every pixel to every pixel, one head over all channels.
#[derive(Module, Debug)]
pub(super) struct AttnBlock {
    norm: GroupNorm,
    q: Conv,
    k: Conv,
    v: Conv,
    proj_out: Conv,
}

impl AttnBlock {
    /// Largest number of scores held at once (64 MiB in f32). All scores of a 1024² picture would be
    /// 1 GiB; the fused kernels that avoid them round to f16 on some devices.
    const SCORES: usize = 1 << 24;

    fn load(loader: &Loader, channels: usize) -> Self {
        let conv = |name| Conv::load(&loader.at(name), channels, channels, 1);
        Self {
            norm: GroupNorm::load(&loader.at("norm"), channels),
            q: conv("q"),
            k: conv("k"),
            v: conv("v"),
            proj_out: conv("proj_out"),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let pixels = height * width;
        let h = self.norm.forward(x.clone());
        let flat = |conv: &Conv| conv.forward(h.clone()).reshape([batch, channels, pixels]);
        let scale = (channels as f64).sqrt().recip();
        let q = flat(&self.q).swap_dims(1, 2) * scale;
        let (k, v) = (flat(&self.k), flat(&self.v).swap_dims(1, 2));
        let rows = (Self::SCORES / (batch * pixels)).clamp(1, pixels);
        let attended = (0..pixels).step_by(rows).map(|start| {
            let q = q.clone().narrow(1, start, rows.min(pixels - start));
            attend(q, k.clone(), v.clone())
        });
        let h = Tensor::cat(attended.collect(), 1);
        x + self.proj_out.forward(h.swap_dims(1, 2).reshape([batch, channels, height, width]))
    }
}

/// `q` `[B, R, C]` (scaled), `k` `[B, C, N]`, `v` `[B, N, C]` to `[B, R, C]`.
fn attend(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>) -> Tensor<3> {
    let dtype = FloatDType::from(q.dtype());
    softmax(q.matmul(k).cast(FloatDType::F32), 2).cast(dtype).matmul(v)
}

/// The lowest level, where pixels attend to each other.
#[derive(Module, Debug)]
pub(super) struct Mid {
    block_1: ResnetBlock,
    attn_1: AttnBlock,
    block_2: ResnetBlock,
}

impl Mid {
    pub(super) fn load(loader: &Loader, channels: usize) -> Self {
        Self {
            block_1: ResnetBlock::load(&loader.at("block_1"), channels, channels),
            attn_1: AttnBlock::load(&loader.at("attn_1"), channels),
            block_2: ResnetBlock::load(&loader.at("block_2"), channels, channels),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.block_2.forward(self.attn_1.forward(self.block_1.forward(x)))
    }
}

/// The output channels of the convolution `name`, or a harmless number where the file lacks it: the
/// audit reports the lack.
pub(super) fn output_channels(loader: &Loader, name: &str) -> usize {
    sizes(loader, name).map_or(GroupNorm::GROUPS, |sizes| sizes[0])
}

/// The input channels of the convolution `name`, with the same care.
pub(super) fn input_channels(loader: &Loader, name: &str) -> usize {
    sizes(loader, name).map_or(GroupNorm::GROUPS, |sizes| sizes[1])
}

fn sizes(loader: &Loader, name: &str) -> Option<[usize; 4]> {
    let sizes: [usize; 4] = loader.at(name).shape("weight")?.try_into().ok()?;
    sizes.iter().all(|&size| size > 0).then_some(sizes)
}

/// How many numbered parts lie below `segment`, within what any such network has: a file that claims
/// more holds parts that the audit reports as not used.
pub(super) fn count(loader: &Loader, segment: &str) -> usize {
    loader.count(segment).clamp(1, 16)
}
