//! Convolution of pictures whose channels lie together.
//!
//! With the channels of a pixel next to each other, the pixels under one row of a kernel lie one after
//! the other, and so a convolution is one matrix product per row of the kernel: of windows that overlap
//! in memory, and are never written out. It is done in bands of rows. What goes before (normalisation
//! and SiLU, or doubling the size) is done as a band is copied between its margins of zeros, and what
//! goes after (the bias, a residual sum) as its result is copied out, so that a residual block holds
//! two arrays of its size and nothing else.

use std::mem::MaybeUninit;

use burn::tensor::{Tensor, activation::silu, module::conv2d, ops::ConvOptions};
use gemm::Parallelism;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    groups::ChannelAffine,
    host::{self, Host},
    math,
    product::{Product, Strided, Target},
};

/// Pixels of a band: enough that the product's own copy of the weights is small beside its work, and
/// few enough that a band of 512 channels stays in the caches.
const BAND: usize = 4096;

/// A convolution with a square kernel, and how it moves over a picture.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// `[out, in, k, k]`; laid out [`by_taps`] it is used as it lies.
    pub weight: Tensor<4>,
    /// `[out]`
    pub bias: Tensor<1>,
    /// Pixels from one place of the kernel to the next.
    pub stride: usize,
    /// Zeros above and left of the picture, and below and right of it.
    pub padding: (usize, usize),
}

/// What is done to a picture on its way into a convolution.
#[derive(Clone, Copy, Debug, Default)]
pub enum Prepare<'a> {
    /// Nothing.
    #[default]
    Nothing,
    /// Every channel is scaled and shifted, then `x · sigmoid(x)`.
    Silu(&'a ChannelAffine),
    /// Every pixel becomes a square of four.
    Double,
}

impl Convolution {
    /// `[B, in, H, W]` → `[B, out, H', W']`, added to `onto` if there is one, in whose memory it then is
    /// if nobody else holds that. On the CPU the result has its channels together (`[B, H', W', out]`
    /// in memory), and `x` and `onto` are copied first if theirs are not. A picture's numbers do not
    /// depend on the others of its batch.
    ///
    /// # Panics
    /// The shapes do not fit.
    #[must_use]
    pub fn forward(
        &self,
        x: Tensor<4>,
        prepare: Prepare<'_>,
        onto: Option<Tensor<4>>,
    ) -> Tensor<4> {
        let Some(layer) = Layer::of(self, &x, prepare) else { return self.plain(x, prepare, onto) };
        let shape = [x.dims()[0], layer.height, layer.width, layer.out];
        let row = layer.width * layer.out;
        let values = match onto {
            None => {
                let fill = |output: &mut [MaybeUninit<f32>]| layer.fill(output, row, false);
                // SAFETY: bands are all rows of all pictures, and each is written as a whole.
                unsafe { host::filled(shape.iter().product(), fill) }
            }
            Some(onto) if Host::of(&onto).is_none() => return self.plain(x, prepare, Some(onto)),
            Some(onto) => {
                let sum = together(onto);
                assert_eq!(sum.dims(), shape, "what a convolution is added to");
                let array = Host::of(&sum).expect("invariant: on the CPU");
                drop(sum);
                let mut values = array.into_buffer();
                layer.fill(host::writable(&mut values), row, true);
                values
            }
        };
        host::tensor(values, shape).permute([0, 3, 1, 2])
    }

    /// The same in Burn's operators.
    fn plain(&self, x: Tensor<4>, prepare: Prepare<'_>, onto: Option<Tensor<4>>) -> Tensor<4> {
        let x = match prepare {
            Prepare::Nothing => x,
            Prepare::Silu(affine) => silu(affine.apply(x)),
            Prepare::Double => double(x),
        };
        let padding = [self.padding; 2];
        let options = ConvOptions::new_with_padding([self.stride; 2], padding, [1; 2], 1);
        let y = conv2d(x, self.weight.clone(), Some(self.bias.clone()), options);
        match onto {
            Some(onto) => onto + y,
            None => y,
        }
    }
}

/// `[out, in, k, k]` laid out as `[k, k, in, out]`, which is how a product takes it.
#[must_use]
pub fn by_taps(weight: Tensor<4>) -> Tensor<4> {
    let [out, from, height, width] = weight.dims();
    match Host::of(&weight.clone().permute([2, 3, 1, 0])) {
        None => weight,
        Some(array) => {
            let values = array.into_buffer();
            host::tensor(values, [height, width, from, out]).permute([3, 2, 0, 1])
        }
    }
}

/// Every pixel as a square of four.
fn double(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let x = x.reshape([batch * channels, height, 1, width, 1]);
    let x = x.expand([batch * channels, height, 2, width, 2]);
    x.reshape([batch, channels, 2 * height, 2 * width])
}

/// `[B, C, H, W]` as `[B, H, W, C]`.
fn together(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

/// A convolution and its input, on the CPU.
struct Layer {
    /// `[B, H, W, C]`
    input: Host,
    /// `H`, `W`, `C`
    size: [usize; 3],
    /// Scale and shift, `[B, C]`.
    affine: Option<[Host; 2]>,
    double: bool,
    /// `[k, k, in, out]`
    weight: Host,
    bias: Host,
    kernel: usize,
    stride: usize,
    before: usize,
    out: usize,
    height: usize,
    width: usize,
    /// Pixels of a row between its margins.
    padded: usize,
}

/// Memory of a thread, kept from band to band.
#[derive(Default)]
struct Scratch {
    rows: Vec<f32>,
    result: Vec<f32>,
}

impl Layer {
    fn of(convolution: &Convolution, x: &Tensor<4>, prepare: Prepare<'_>) -> Option<Self> {
        let [_, channels, height, width] = x.dims();
        let [out, from, kernel, across] = convolution.weight.dims();
        let affine = match prepare {
            Prepare::Silu(affine) => {
                Some([Host::of(&affine.scale)?.dense(), Host::of(&affine.shift)?.dense()])
            }
            _ => None,
        };
        let double = matches!(prepare, Prepare::Double);
        let factor = if double { 2 } else { 1 };
        let (before, after) = convolution.padding;
        let padded = [height, width].map(|size| size * factor + before + after);
        let stride = convolution.stride;
        let input = Host::of(&together(x.clone()))?;
        let weight = Host::of(&convolution.weight.clone().permute([2, 3, 1, 0]))?;
        let bias = Host::of(&convolution.bias)?;
        let fits = from == channels && kernel == across && stride > 0;
        // What does not fit, Burn's operators say in their own words.
        let fits = fits && padded.iter().all(|&size| size >= kernel) && out * channels > 0;
        fits.then(|| Self {
            input: input.dense(),
            size: [height, width, channels],
            affine,
            double,
            weight: weight.dense(),
            bias: bias.dense(),
            kernel,
            stride,
            before,
            out,
            height: (padded[0] - kernel) / stride + 1,
            width: (padded[1] - kernel) / stride + 1,
            padded: padded[1].next_multiple_of(stride),
        })
    }

    /// Writes all pictures, or adds them to what is there. `row` is the length of a row of the result.
    fn fill(&self, output: &mut [MaybeUninit<f32>], row: usize, add: bool) {
        let rows = (BAND * self.stride / self.padded).clamp(1, self.height);
        let bands = self.height.div_ceil(rows);
        // Of about equal height, and a number of them that two or four threads share evenly.
        let rows = self.height.div_ceil(bands.next_multiple_of(4)).max(1);
        output.par_chunks_mut(self.height * row).enumerate().for_each(|(item, output)| {
            let bands = output.par_chunks_mut(rows * row).enumerate();
            bands.for_each_init(Scratch::default, |scratch, (band, output)| {
                self.band(item, band * rows, output, scratch, add);
            });
        });
    }

    /// The rows of one picture from `first` on, as many as `output` has room for.
    fn band(
        &self,
        item: usize,
        first: usize,
        output: &mut [MaybeUninit<f32>],
        scratch: &mut Scratch,
        add: bool,
    ) {
        let rows = output.len() / (self.width * self.out);
        let channels = self.size[2];
        let span = self.padded * channels;
        // Rows that the kernel meets with its first, second … row lie apart, each sort together.
        let needed = (rows - 1) * self.stride + self.kernel;
        let sort = needed.div_ceil(self.stride);
        scratch.rows.resize(sort * self.stride * span + self.kernel * channels, 0.0);
        for row in 0..needed {
            let start = (row % self.stride * sort + row / self.stride) * span;
            let target = &mut scratch.rows[start..start + span];
            self.row(item, first * self.stride + row, target);
        }
        let places = rows * (self.padded / self.stride);
        scratch.result.resize(places * self.out, 0.0);
        let taps = self.kernel * channels;
        let weights = self.weight.slice().chunks_exact(taps * self.out);
        for (row, weights) in weights.enumerate() {
            let start = (row % self.stride * sort + row / self.stride) * span;
            let windows = &scratch.rows[start..];
            let product = Product {
                size: [places, self.out, taps],
                left: Strided {
                    values: windows,
                    row: (self.stride * channels) as isize,
                    column: 1,
                },
                right: Strided::dense(weights, self.out),
                scale: 1.0,
                add: row > 0,
            };
            let values = host::writable(&mut scratch.result);
            product.write(Target { values, row: self.out }, Parallelism::None);
        }
        let from = scratch.result.chunks_exact(self.padded / self.stride * self.out);
        for (output, result) in output.chunks_exact_mut(self.width * self.out).zip(from) {
            let result = &result[..output.len()];
            Arch::new().dispatch(CopyOut { output, result, bias: self.bias.slice(), add });
        }
    }

    /// One row of the prepared picture between its margins; `row` counts from the upper margin.
    fn row(&self, item: usize, row: usize, target: &mut [f32]) {
        let [height, width, channels] = self.size;
        let factor = if self.double { 2 } else { 1 };
        let Some(row) = row.checked_sub(self.before).filter(|&row| row < height * factor) else {
            return target.fill(0.0);
        };
        let start = (item * height + row / factor) * width * channels;
        let source = &self.input.slice()[start..][..width * channels];
        let (left, rest) = target.split_at_mut(self.before * channels);
        let (inner, right) = rest.split_at_mut(factor * source.len());
        left.fill(0.0);
        right.fill(0.0);
        if let Some([scale, shift]) = &self.affine {
            let own = item * channels..(item + 1) * channels;
            let (scale, shift) = (&scale.slice()[own.clone()], &shift.slice()[own]);
            Arch::new().dispatch(Silu { source, target: inner, scale, shift });
        } else if self.double {
            let pairs = inner.chunks_exact_mut(2 * channels).zip(source.chunks_exact(channels));
            for (pair, pixel) in pairs {
                pair[..channels].copy_from_slice(pixel);
                pair[channels..].copy_from_slice(pixel);
            }
        } else {
            inner.copy_from_slice(source);
        }
    }
}

/// `silu(x · scale + shift)` of each channel of each pixel.
struct Silu<'a> {
    source: &'a [f32],
    target: &'a mut [f32],
    scale: &'a [f32],
    shift: &'a [f32],
}

impl WithSimd for Silu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.scale.len();
        let (scale, scale_tail) = S::as_simd_f32s(self.scale);
        let (shift, shift_tail) = S::as_simd_f32s(self.shift);
        let scale_tail = simd.partial_load_f32s(scale_tail);
        let shift_tail = simd.partial_load_f32s(shift_tail);
        let pixels = self.source.chunks_exact(channels);
        for (source, target) in pixels.zip(self.target.chunks_exact_mut(channels)) {
            let (body, tail) = S::as_simd_f32s(source);
            let (target, rest) = S::as_mut_simd_f32s(target);
            for (((y, &x), &scale), &shift) in target.iter_mut().zip(body).zip(scale).zip(shift) {
                *y = math::silu(simd, simd.mul_add_e_f32s(x, scale, shift));
            }
            if !tail.is_empty() {
                let x = simd.partial_load_f32s(tail);
                let y = math::silu(simd, simd.mul_add_e_f32s(x, scale_tail, shift_tail));
                simd.partial_store_f32s(rest, y);
            }
        }
    }
}

/// A row of the result with the bias, or what was there and the row with the bias.
struct CopyOut<'a> {
    output: &'a mut [MaybeUninit<f32>],
    result: &'a [f32],
    bias: &'a [f32],
    add: bool,
}

impl WithSimd for CopyOut<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let channels = self.bias.len();
        let pixels = self.result.chunks_exact(channels);
        for (output, result) in self.output.chunks_exact_mut(channels).zip(pixels) {
            if self.add {
                for ((y, &x), &bias) in output.iter_mut().zip(result).zip(self.bias) {
                    // SAFETY: what is added to is there: see `forward`.
                    y.write(unsafe { y.assume_init() } + (x + bias));
                }
            } else {
                for ((y, &x), &bias) in output.iter_mut().zip(result).zip(self.bias) {
                    y.write(x + bias);
                }
            }
        }
    }
}
