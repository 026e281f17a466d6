//! Encoding large pictures in less memory: the first levels in bands of rows, without a seam.
//!
//! The first levels hold by far the largest arrays. A convolution needs a few rows around a band, which
//! are computed with it and dropped. What ties all rows together are the group norms alone, and these
//! only by means and variances: so the bands are gone through once for each norm, to measure what comes
//! into it with all norms before it known, and once more for the result. Nothing is estimated: only the
//! order of sums differs from [`Encoder::encode`].

use std::ops::Range;

use burn::tensor::Tensor;

use super::{
    encoder::{Encoder, Moments},
    layers::GroupNorm,
};
use crate::device::kernels::{ChannelAffine, GroupMoments};

/// Rows of a band, without those around it.
const ROWS: usize = 128;

impl Encoder {
    /// [`encode`](Self::encode) with the first `levels` levels in bands. Those are then computed once
    /// for each of their norms: with 1 the largest arrays are half as large, for 1.4 times the products;
    /// with 2 a quarter, for 2.9 times (networks of FLUX.1's sizes, and a few percent for the rows around). The last
    /// level is never done so.
    #[must_use]
    pub fn encode_in_bands(&self, image: Tensor<4>, levels: usize) -> Moments {
        self.encode_in_bands_of(image, levels, ROWS)
    }

    pub(super) fn encode_in_bands_of(
        &self,
        image: Tensor<4>,
        levels: usize,
        rows: usize,
    ) -> Moments {
        let levels = levels.min(self.down.len().saturating_sub(1));
        if levels == 0 {
            return self.encode(image);
        }
        let bands = Bands { encoder: self, image, levels, rows };
        let mut known = Vec::new();
        for norm in bands.norms() {
            let parts = bands
                .all()
                .map(|band| GroupMoments::of(&bands.band(band, &known), GroupNorm::GROUPS));
            let moments = parts.reduce(|all, part| all.and(&part));
            known.extend(moments.map(|moments| norm.with(&moments)));
        }
        let parts = bands.all().map(|band| bands.band(band, &known)).collect();
        self.deeper(Tensor::cat(parts, 2), levels)
    }
}

/// A picture whose first levels are computed band by band.
struct Bands<'a> {
    encoder: &'a Encoder,
    image: Tensor<4>,
    levels: usize,
    rows: usize,
}

impl Bands<'_> {
    /// The norms of the levels, in the order of computation.
    fn norms(&self) -> impl Iterator<Item = &GroupNorm> {
        let blocks = self.encoder.down[..self.levels].iter().flat_map(|level| &level.block);
        blocks.flat_map(|block| [&block.norm1, &block.norm2])
    }

    /// Pixels of the picture per row of what the bands give.
    fn step(&self) -> usize {
        1 << self.levels
    }

    /// The rows of each band.
    fn all(&self) -> impl Iterator<Item = Range<usize>> {
        let (height, rows) = (self.image.dims()[2], self.rows.next_multiple_of(self.step()));
        (0..height).step_by(rows).map(move |first| first..(first + rows).min(height))
    }

    /// Rows above and below that a band depends on: one for each convolution, at the size it has there.
    fn around(&self) -> usize {
        let levels = self.encoder.down[..self.levels].iter().enumerate();
        let rows = levels.map(|(level, down)| (2 * down.block.len() + 1) << level).sum::<usize>();
        (rows + 1).next_multiple_of(self.step())
    }

    /// What a band becomes by the layers up to the first norm that is not `known` yet, or up to the end
    /// of the levels.
    fn band(&self, band: Range<usize>, known: &[ChannelAffine]) -> Tensor<4> {
        let first = band.start.saturating_sub(self.around());
        let last = (band.end + self.around()).min(self.image.dims()[2]);
        let image = self.image.clone().narrow(2, first, last - first);
        let (h, scale) = self.layers(image, known);
        // What lies around took the band's edge for that of the picture.
        h.narrow(2, (band.start - first) / scale, band.len() / scale)
    }

    /// The layers, and how many rows of the picture one of the result stands for.
    fn layers(&self, image: Tensor<4>, known: &[ChannelAffine]) -> (Tensor<4>, usize) {
        let mut known = known.iter().cloned();
        let mut h = self.encoder.conv_in.forward(image);
        for (level, down) in self.encoder.down[..self.levels].iter().enumerate() {
            for block in &down.block {
                let Some(norm) = known.next() else { return (h, 1 << level) };
                let inner = block.first(h.clone(), norm);
                let Some(norm) = known.next() else { return (inner, 1 << level) };
                h = block.second(h, inner, norm);
            }
            if let Some(conv) = &down.downsample {
                h = conv.halving(h);
            }
        }
        (h, self.step())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, FloatDType};

    use super::*;
    use crate::{device::cpu, models::random, weights::Loader};

    fn largest(x: Tensor<4>) -> f32 {
        x.abs().max().into_scalar()
    }

    #[test]
    fn bands_have_no_seam() {
        let folder = tempfile::tempdir().unwrap();
        random::write_all(folder.path(), 5).unwrap();
        let file = crate::weights::Checkpoint::open(&folder.path().join("ae.safetensors")).unwrap();
        let device = cpu();
        let loader = Loader::new(&file, "", &device, FloatDType::F32);
        let encoder = Encoder::load(&loader).unwrap();
        // A picture whose parts have different means and contrasts, so that norms of a part would differ.
        let image = Tensor::<4>::random([2, 3, 200, 72], Distribution::Uniform(-0.5, 0.5), &device);
        let slope = Tensor::<1, burn::tensor::Int>::arange(0..200, &device).float() / 200.0 - 0.5;
        let slope = slope.reshape([1, 1, 200, 1]);
        let image = image * (slope.clone() + 0.6) + slope;
        let whole = encoder.encode(image.clone());
        for levels in [1, 2, 3, 9] {
            for rows in [16, 24, 56, 400] {
                let bands = encoder.encode_in_bands_of(image.clone(), levels, rows);
                let size = largest(whole.mean.clone());
                for (found, expected) in [(bands.mean, &whole.mean), (bands.logvar, &whole.logvar)]
                {
                    let apart = largest(found - expected.clone());
                    assert!(apart < 2e-5 * size.max(1.0), "{levels} levels, {rows} rows: {apart}");
                }
            }
        }
    }
}
