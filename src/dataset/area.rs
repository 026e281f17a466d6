//! Shrinking by the mean over the covered area, as OpenCV's `INTER_AREA` does.

use rayon::prelude::*;

/// A picture on a white canvas that may be larger; the white is in no memory. The square around a
/// picture of 20 000 × 10 pixels would take more than a gigabyte.
pub(super) struct Canvas<'a> {
    rgb: &'a [u8],
    picture: (usize, usize),
    /// Width and height of the canvas.
    size: (usize, usize),
    /// Left and top edge of the picture on it.
    at: (usize, usize),
}

impl<'a> Canvas<'a> {
    /// The picture alone, `(width, height)` large.
    pub(super) fn bare(rgb: &'a [u8], size: (usize, usize)) -> Self {
        Self { rgb, picture: size, size, at: (0, 0) }
    }

    /// The picture in the middle of the square of its longer side; an odd margin is wider at the end.
    pub(super) fn square(rgb: &'a [u8], picture: (usize, usize)) -> Self {
        let side = picture.0.max(picture.1);
        let at = ((side - picture.0) / 2, (side - picture.1) / 2);
        Self { rgb, picture, size: (side, side), at }
    }

    /// A row of the canvas; `buffer` is where it is put together, if need be.
    fn row<'b>(&'b self, y: usize, buffer: &'b mut Vec<u8>) -> &'b [u8] {
        let width = self.picture.0 * 3;
        let inside = y.checked_sub(self.at.1).filter(|y| *y < self.picture.1);
        let pixels = inside.map(|y| &self.rgb[y * width..][..width]);
        match pixels {
            Some(pixels) if self.picture.0 == self.size.0 => pixels,
            _ => {
                buffer.resize(self.size.0 * 3, 255);
                let place = &mut buffer[self.at.0 * 3..][..width];
                match pixels {
                    Some(pixels) => place.copy_from_slice(pixels),
                    None => place.fill(255),
                }
                buffer
            }
        }
    }
}

/// What one output position covers: input positions from `first` on, each with its share.
struct Cover {
    first: usize,
    shares: Vec<f32>,
}

/// Shrinks a canvas to `to`, `(width, height)`; no side grows. `[height, width, 3]`.
pub(super) fn area(canvas: &Canvas<'_>, to: (usize, usize)) -> Vec<u8> {
    let from = canvas.size;
    if from.0.is_multiple_of(to.0) && from.1.is_multiple_of(to.1) {
        return whole_blocks(canvas, to, (from.0 / to.0, from.1 / to.1));
    }
    let (across, down) = (covers(from.0, to.0), covers(from.1, to.1));
    let mut pixels = vec![0; to.0 * to.1 * 3];
    let rows = pixels.par_chunks_exact_mut(to.0 * 3).zip(&down);
    rows.for_each_init(Vec::new, |buffer, (target, cover)| {
        let mut sums = vec![[0.0_f32; 3]; to.0];
        for (y, &share) in (cover.first..from.1).zip(&cover.shares) {
            let row = canvas.row(y, buffer).as_chunks::<3>().0;
            for (sum, cover) in sums.iter_mut().zip(&across) {
                let mean = weighted(&row[cover.first..], &cover.shares);
                for (sum, mean) in sum.iter_mut().zip(mean) {
                    *sum += share * mean;
                }
            }
        }
        for (target, sum) in target.iter_mut().zip(sums.as_flattened()) {
            // The conversion saturates.
            *target = sum.round_ties_even() as u8;
        }
    });
    pixels
}

fn weighted(pixels: &[[u8; 3]], shares: &[f32]) -> [f32; 3] {
    let mut sums = [0.0; 3];
    for (pixel, &share) in pixels.iter().zip(shares) {
        for (sum, &channel) in sums.iter_mut().zip(pixel) {
            *sum += f32::from(channel) * share;
        }
    }
    sums
}

/// Slivers of a pixel below this width are not counted.
const SLIVER: f64 = 1e-3;

fn covers(from: usize, to: usize) -> Vec<Cover> {
    let scale = from as f64 / to as f64;
    let cover = |position: usize| {
        let begin = position as f64 * scale;
        let end = begin + scale;
        let width = scale.min(from as f64 - begin);
        let last_whole = (end.floor() as usize).min(from - 1);
        let first_whole = (begin.ceil() as usize).min(last_whole);
        let mut first = first_whole;
        let mut shares = Vec::with_capacity(last_whole - first_whole + 2);
        if first_whole as f64 - begin > SLIVER {
            first -= 1;
            shares.push(((first_whole as f64 - begin) / width) as f32);
        }
        shares.extend((first_whole..last_whole).map(|_| (1.0 / width) as f32));
        if end - last_whole as f64 > SLIVER {
            shares.push(((end - last_whole as f64).min(1.0).min(width) / width) as f32);
        }
        Cover { first, shares }
    };
    (0..to).map(cover).collect()
}

/// The mean of whole blocks of `block.0 × block.1` pixels. Sums are exact; a mean between two levels
/// goes to the even one, except for 2 × 2 blocks, where it goes up.
fn whole_blocks(canvas: &Canvas<'_>, to: (usize, usize), block: (usize, usize)) -> Vec<u8> {
    let share = 1.0 / (block.0 * block.1) as f32;
    let mut pixels = vec![0; to.0 * to.1 * 3];
    let rows = pixels.par_chunks_exact_mut(to.0 * 3).enumerate();
    rows.for_each_init(Vec::new, |buffer, (index, target)| {
        let mut sums = vec![[0_u32; 3]; to.0];
        for y in index * block.1..(index + 1) * block.1 {
            let row = canvas.row(y, buffer);
            for (sum, block) in sums.iter_mut().zip(row.chunks_exact(block.0 * 3)) {
                for pixel in block.as_chunks::<3>().0 {
                    for (sum, &channel) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(channel);
                    }
                }
            }
        }
        for (target, &sum) in target.iter_mut().zip(sums.as_flattened()) {
            *target = if block == (2, 2) {
                ((sum + 2) / 4) as u8
            } else {
                (sum as f32 * share).round_ties_even() as u8
            };
        }
    });
    pixels
}
