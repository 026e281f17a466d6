//! Shrinking by the mean over the covered area, as OpenCV's `INTER_AREA` does.

use rayon::prelude::*;

/// What one output position covers: input positions from `first` on, each with its share.
struct Cover {
    first: usize,
    shares: Vec<f32>,
}

/// Shrinks `rgb` between two sizes `(width, height)`; no side grows.
pub(super) fn area(rgb: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    if from.0.is_multiple_of(to.0) && from.1.is_multiple_of(to.1) {
        return whole_blocks(rgb, from.0, to, (from.0 / to.0, from.1 / to.1));
    }
    let (across, down) = (covers(from.0, to.0), covers(from.1, to.1));
    let mut pixels = vec![0; to.0 * to.1 * 3];
    pixels.par_chunks_exact_mut(to.0 * 3).zip(&down).for_each(|(target, cover)| {
        let mut sums = vec![[0.0_f32; 3]; to.0];
        let rows = rgb[cover.first * from.0 * 3..].chunks(from.0 * 3);
        for (row, &share) in rows.zip(&cover.shares) {
            for (sum, cover) in sums.iter_mut().zip(&across) {
                let mean = weighted(&row.as_chunks::<3>().0[cover.first..], &cover.shares);
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
fn whole_blocks(rgb: &[u8], width: usize, to: (usize, usize), block: (usize, usize)) -> Vec<u8> {
    let share = 1.0 / (block.0 * block.1) as f32;
    let mut pixels = vec![0; to.0 * to.1 * 3];
    let bands = rgb.par_chunks_exact(width * 3 * block.1);
    pixels.par_chunks_exact_mut(to.0 * 3).zip(bands).for_each(|(target, band)| {
        let mut sums = vec![[0_u32; 3]; to.0];
        for row in band.chunks_exact(width * 3) {
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
