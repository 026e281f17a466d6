//! Group normalisation, as what it does to each channel.

use burn::tensor::{FloatDType, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::host::Host;

/// Pixels whose mean and spread are found by themselves, before those of all are put together.
const BLOCK: usize = 256;

/// What is done to each channel of each picture: `x · scale + shift`, both `[B, C]`, f32.
#[derive(Clone, Debug)]
pub struct ChannelAffine {
    /// Factors.
    pub scale: Tensor<2>,
    /// What is added then.
    pub shift: Tensor<2>,
}

impl ChannelAffine {
    /// Does it to `[B, C, H, W]`, computing in f32 whatever its type.
    #[must_use]
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, _, _] = x.dims();
        let dtype = FloatDType::from(x.dtype());
        let over = |values: &Tensor<2>| values.clone().reshape([batch, channels, 1, 1]);
        (x.cast(FloatDType::F32) * over(&self.scale) + over(&self.shift)).cast(dtype)
    }
}

/// Mean and variance of each group of channels over some pixels, so that those of several parts of a
/// picture can be put together.
#[derive(Clone, Debug)]
pub struct GroupMoments {
    /// Numbers of one group that were counted.
    count: f64,
    /// Per picture and group: the mean, and the sum of the squared distances from it.
    groups: Vec<[f64; 2]>,
    /// Pictures.
    batch: usize,
}

impl GroupMoments {
    /// Those of `x` `[B, C, H, W]`, `C` being a multiple of `groups`.
    #[must_use]
    pub fn of(x: &Tensor<4>, groups: usize) -> Self {
        let [batch, channels, height, width] = x.dims();
        let together = x.clone().permute([0, 2, 3, 1]);
        let pixels = height * width;
        let count = (channels / groups * pixels) as f64;
        let Some(array) = Host::of(&together) else {
            return Self { count, groups: plain(x.clone(), groups), batch };
        };
        let array = array.dense();
        let items = array.slice().chunks_exact((pixels * channels).max(1));
        let groups = items.flat_map(|values| of_picture(values, channels, groups)).collect();
        Self { count, groups, batch }
    }

    /// Those of both parts. (Chan, Golub, LeVeque 1979.)
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        let count = self.count + other.count;
        for (one, other_group) in self.groups.iter_mut().zip(&other.groups) {
            let apart = other_group[0] - one[0];
            one[0] += apart * other.count / count;
            one[1] += other_group[1] + apart * apart * self.count * other.count / count;
        }
        self.count = count;
        self
    }

    /// `(x − mean) / √(variance + ε) · weight + bias`, as factors and summands of the channels.
    #[must_use]
    pub fn normalise(&self, weight: &Tensor<1>, bias: &Tensor<1>, epsilon: f64) -> ChannelAffine {
        let device = weight.device();
        let groups = self.groups.len() / self.batch;
        let [channels] = weight.dims();
        let shape = [self.batch * groups, channels / groups];
        let of = |value: fn(&[f64; 2], f64, f64) -> f64| {
            let values = self.groups.iter().map(|group| value(group, self.count, epsilon) as f32);
            let values = Tensor::<1>::from_floats(values.collect::<Vec<_>>().as_slice(), &device);
            values.reshape([self.batch * groups, 1]).expand(shape).reshape([self.batch, channels])
        };
        let row = |x: &Tensor<1>| x.clone().cast(FloatDType::F32).reshape([1, channels]);
        let scale = of(|group, count, epsilon| (group[1] / count + epsilon).sqrt().recip());
        let scale = scale * row(weight);
        let shift = row(bias) - of(|group, _, _| group[0]) * scale.clone();
        ChannelAffine { scale, shift }
    }
}

/// The same in Burn's operators.
fn plain(x: Tensor<4>, groups: usize) -> Vec<[f64; 2]> {
    let [batch, channels, height, width] = x.dims();
    let each = channels / groups;
    let x = x.cast(FloatDType::F32).reshape([batch, groups, each * height, width]);
    // Means of the means of rows: in one long f32 sum over a large picture, digits would be lost.
    let mean = |x: Tensor<4>| x.mean_dim(3).mean_dim(2);
    let center = mean(x.clone());
    let variance = mean((x - center.clone()).square());
    let count = (each * height * width) as f64;
    let values = |x: Tensor<4>| x.into_data().iter::<f64>().collect::<Vec<_>>();
    let pairs = values(center).into_iter().zip(values(variance));
    pairs.map(|(mean, variance)| [mean, variance * count]).collect()
}

/// Of one picture, `[pixels, channels]`: by blocks, then by channels, then by groups.
fn of_picture(values: &[f32], channels: usize, groups: usize) -> Vec<[f64; 2]> {
    let blocks = values.par_chunks(BLOCK * channels).map(|values| {
        let (mut means, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
        Arch::new().dispatch(Block { values, means: &mut means, squares: &mut squares });
        (values.len() / channels, means, squares)
    });
    let blocks = blocks.collect::<Vec<_>>();
    let each = channels / groups;
    let of_group = |group: usize| {
        let channels = group * each..(group + 1) * each;
        let parts = || {
            blocks.iter().flat_map(|(count, means, squares)| {
                let channels = channels.clone();
                channels.map(|channel| {
                    (*count as f64, f64::from(means[channel]), f64::from(squares[channel]))
                })
            })
        };
        let count: f64 = parts().map(|(count, _, _)| count).sum();
        let mean = parts().map(|(count, mean, _)| count * mean).sum::<f64>() / count;
        let squares = parts().map(|(count, part, squares)| squares + count * (part - mean).powi(2));
        [mean, squares.sum()]
    };
    (0..groups).into_par_iter().map(of_group).collect()
}

/// Of each channel of some pixels: the mean, and the sum of the squared distances from it.
struct Block<'a> {
    values: &'a [f32],
    /// Zeros.
    means: &'a mut [f32],
    /// Zeros.
    squares: &'a mut [f32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let channels = self.means.len();
        for pixel in self.values.chunks_exact(channels) {
            for (sum, &x) in self.means.iter_mut().zip(pixel) {
                *sum += x;
            }
        }
        let count = (self.values.len() / channels) as f32;
        for sum in self.means.iter_mut() {
            *sum /= count;
        }
        for pixel in self.values.chunks_exact(channels) {
            for ((sum, &x), &mean) in self.squares.iter_mut().zip(pixel).zip(self.means.iter()) {
                *sum += (x - mean) * (x - mean);
            }
        }
    }
}
