//! The parts that encoder and decoder are built from. Tensors are `[B, C, H, W]`.

use burn::{
    module::{Module, Param},
    tensor::{DType, FloatDType, Tensor, activation::softmax},
};

use crate::{
    device::kernels::{
        self, Activation, ChannelAffine, Convolution, GroupMoments, Prepare, by_columns, by_taps,
    },
    weights::Loader,
};

/// A convolution of three by three pixels.
#[derive(Module, Debug)]
pub(super) struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

impl Conv {
    pub(super) fn load(loader: &Loader, from: usize, to: usize) -> Self {
        let weight = by_taps(loader.tensor("weight", [to, from, 3, 3]));
        Self { weight: Param::from_tensor(weight), bias: loader.param("bias", [to]) }
    }

    /// Keeps height and width.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.convolve(x, Prepare::Nothing, None)
    }

    /// Of the normalised `x` after a swish (SiLU).
    pub(super) fn swished(&self, x: Tensor<4>, norm: ChannelAffine) -> Tensor<4> {
        self.convolve(x, Prepare::Silu(&norm), None)
    }

    /// The same added to `onto`.
    pub(super) fn swished_onto(
        &self,
        onto: Tensor<4>,
        x: Tensor<4>,
        norm: ChannelAffine,
    ) -> Tensor<4> {
        self.convolve(x, Prepare::Silu(&norm), Some(onto))
    }

    /// Of `x` at twice its height and width.
    pub(super) fn doubled(&self, x: Tensor<4>) -> Tensor<4> {
        self.convolve(x, Prepare::Double, None)
    }

    /// Halves height and width. The zeros needed for that are put right and below only.
    pub(super) fn halving(&self, x: Tensor<4>) -> Tensor<4> {
        self.with(2, (0, 1)).forward(x, Prepare::Nothing, None)
    }

    fn convolve(&self, x: Tensor<4>, prepare: Prepare<'_>, onto: Option<Tensor<4>>) -> Tensor<4> {
        self.with(1, (1, 1)).forward(x, prepare, onto)
    }

    fn with(&self, stride: usize, padding: (usize, usize)) -> Convolution {
        Convolution { weight: self.weight.val(), bias: self.bias.val(), stride, padding }
    }
}

/// A convolution of single pixels: a linear layer over the channels.
#[derive(Module, Debug)]
pub(super) struct Pointwise {
    /// `[out, in]`
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Pointwise {
    fn load(loader: &Loader, from: usize, to: usize) -> Self {
        let weight = loader.tensor("weight", [to, from, 1, 1]).reshape([to, from]);
        Self { weight: Param::from_tensor(by_columns(weight)), bias: loader.param("bias", [to]) }
    }

    /// `[..., in]` → `[..., out]`
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        kernels::linear(x, self.weight.val(), Some(self.bias.val()), Activation::None)
    }

    /// [`forward`](Self::forward) added to `onto`.
    fn onto<const D: usize>(&self, onto: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        kernels::linear_onto(onto, x, self.weight.val(), Some(self.bias.val()))
    }
}

/// Normalises over groups of channels and all pixels, in f32 whatever the type of the weights.
#[derive(Module, Debug)]
pub(super) struct GroupNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl GroupNorm {
    pub(super) const GROUPS: usize = 32;
    const EPSILON: f64 = 1e-6;

    pub(super) fn load(loader: &Loader, channels: usize) -> Self {
        // Channels that do not make 32 groups are asked for as the next number that does, so that
        // such a file fails its audit instead of a tensor operation.
        let channels = channels.next_multiple_of(Self::GROUPS);
        Self { weight: loader.param("weight", [channels]), bias: loader.param("bias", [channels]) }
    }

    /// What it does to the channels of `x`.
    pub(super) fn of(&self, x: &Tensor<4>) -> ChannelAffine {
        self.with(&GroupMoments::of(x, Self::GROUPS))
    }

    /// What it does to the channels of a picture with these moments.
    pub(super) fn with(&self, moments: &GroupMoments) -> ChannelAffine {
        moments.normalise(&self.weight.val(), &self.bias.val(), Self::EPSILON)
    }
}

/// Two convolutions around a shortcut.
#[derive(Module, Debug)]
pub(super) struct ResnetBlock {
    pub(super) norm1: GroupNorm,
    conv1: Conv,
    pub(super) norm2: GroupNorm,
    conv2: Conv,
    nin_shortcut: Option<Pointwise>,
}

impl ResnetBlock {
    pub(super) fn load(loader: &Loader, from: usize, to: usize) -> Self {
        let shortcut = || Pointwise::load(&loader.at("nin_shortcut"), from, to);
        Self {
            norm1: GroupNorm::load(&loader.at("norm1"), from),
            conv1: Conv::load(&loader.at("conv1"), from, to),
            norm2: GroupNorm::load(&loader.at("norm2"), to),
            conv2: Conv::load(&loader.at("conv2"), to, to),
            nin_shortcut: (from != to).then(shortcut),
        }
    }

    /// Channels of the result.
    pub(super) fn channels(&self) -> usize {
        self.conv2.bias.dims()[0]
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.first(x.clone(), self.norm1.of(&x));
        let norm = self.norm2.of(&h);
        self.second(x, h, norm)
    }

    /// The block up to its second norm.
    pub(super) fn first(&self, x: Tensor<4>, norm1: ChannelAffine) -> Tensor<4> {
        self.conv1.swished(x, norm1)
    }

    /// The block from its second norm on: `x` is what came in, `h` what [`first`](Self::first) gave.
    pub(super) fn second(&self, x: Tensor<4>, h: Tensor<4>, norm2: ChannelAffine) -> Tensor<4> {
        let shortcut = match &self.nin_shortcut {
            Some(conv) => conv.forward(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2]),
            None => x,
        };
        self.conv2.swished_onto(shortcut, h, norm2)
    }
}

/// Attention of every pixel to every pixel, one head over all channels.
#[derive(Module, Debug)]
pub(super) struct AttnBlock {
    norm: GroupNorm,
    q: Pointwise,
    k: Pointwise,
    v: Pointwise,
    proj_out: Pointwise,
}

impl AttnBlock {
    /// Largest number of scores held at once (64 MiB in f32). All scores of a 1024² picture would be
    /// 1 GiB; the fused kernels that avoid them round to f16 on some devices.
    const SCORES: usize = 1 << 24;

    fn load(loader: &Loader, channels: usize) -> Self {
        let conv = |name| Pointwise::load(&loader.at(name), channels, channels);
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
        let rows = |x: Tensor<4>| x.permute([0, 2, 3, 1]).reshape([batch, pixels, channels]);
        let h = rows(self.norm.of(&x).apply(x.clone()));
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|conv| conv.forward(h.clone()));
        let step = (Self::SCORES / (batch * pixels)).clamp(1, pixels);
        let attended = (0..pixels).step_by(step).map(|start| {
            let q = q.clone().narrow(1, start, step.min(pixels - start));
            attend(q, k.clone(), v.clone())
        });
        let h = Tensor::cat(attended.collect(), 1);
        let sum = self.proj_out.onto(rows(x), h);
        sum.reshape([batch, height, width, channels]).permute([0, 3, 1, 2])
    }
}

/// `q` `[B, R, C]`, `k` and `v` `[B, N, C]` to `[B, R, C]`; the softmax is in f32.
fn attend(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>) -> Tensor<3> {
    let scale = (q.dims()[2] as f64).sqrt().recip();
    if q.dtype() == DType::F32 {
        let heads = [q, k, v].map(|x| x.unsqueeze_dim::<4>(1));
        let [q, k, v] = heads;
        return kernels::attention(q, k, v, None, scale).squeeze_dim(1);
    }
    let dtype = FloatDType::from(q.dtype());
    let scores = (q * scale).matmul(k.swap_dims(1, 2)).cast(FloatDType::F32);
    softmax(scores, 2).cast(dtype).matmul(v)
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
