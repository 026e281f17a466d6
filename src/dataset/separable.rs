//! Resampling one axis after the other with a table of weights.
//!
//! Integer arithmetic throughout, so a picture comes out the same on every machine.

use rayon::prelude::*;

/// What one output position is made of: input positions from `first` on, with their weights.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// Bits behind the point in the weights of [`antialiased`]: 8 for the pixel, 2 for sign and
/// overshoot, the rest of an `i32` here.
const PRECISION: u32 = 32 - 8 - 2;

/// Resizes with `filter`, which is 0 beyond ±`support` and is widened by the scale when shrinking.
/// One axis after the other, each rounded to 8 bits, as Pillow does.
pub(super) fn antialiased(
    rgb: &[u8],
    from: (usize, usize),
    to: (usize, usize),
    support: f64,
    filter: impl Fn(f64) -> f64,
) -> Vec<u8> {
    let across = widened_taps(from.0, to.0, support, &filter);
    let down = widened_taps(from.1, to.1, support, &filter);
    let mut pixels = vec![0; to.0 * to.1 * 3];
    if columns_first(from, to) {
        let mut columns = vec![0; from.0 * to.1 * 3];
        resample_columns(rgb, from.0, &down, &mut columns, to_u8);
        resample_rows(&columns, from.0, &across, &mut pixels, to_u8);
    } else {
        let mut rows = vec![0; to.0 * from.1 * 3];
        resample_rows(rgb, from.0, &across, &mut rows, to_u8);
        resample_columns(&rows, to.0, &down, &mut pixels, to_u8);
    }
    pixels
}

/// Whether the height shrinks so much that Pillow takes the columns first, to have less work for the
/// rows. So since Pillow 13; older ones always take the rows first, which differs by a level or two
/// on photographs.
fn columns_first(from: (usize, usize), to: (usize, usize)) -> bool {
    from.1 > to.1 && 2 * from.0 + to.1 < 2 * to.0 + from.1
}

fn to_u8(sum: i32) -> u8 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}

/// The taps of every output position along an axis.
fn widened_taps(from: usize, to: usize, support: f64, filter: impl Fn(f64) -> f64) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let reach = support * widening;
    let taps = |position: usize| {
        let centre = (position as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let weight = |input: usize| filter((input as f64 - centre + 0.5) / widening);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (weight / sum * f64::from(1 << PRECISION)).round() as i32;
        Taps { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..to).map(taps).collect()
}

/// Bits behind the point in the weights of [`cubic`], for each axis.
const CUBIC_PRECISION: u32 = 11;

/// Resizes with `filter` over at most four pixels whatever the scale. Rounded once, after both axes, as
/// OpenCV does; pixels beyond the border repeat the border.
pub(super) fn cubic(
    rgb: &[u8],
    from: (usize, usize),
    to: (usize, usize),
    filter: impl Fn(f64) -> f64,
) -> Vec<u8> {
    let mut rows = vec![0; to.0 * from.1 * 3];
    resample_rows(rgb, from.0, &four_taps(from.0, to.0, &filter), &mut rows, |sum| sum);
    let mut pixels = vec![0; to.0 * to.1 * 3];
    resample_columns(&rows, to.0, &four_taps(from.1, to.1, &filter), &mut pixels, |sum| {
        const BITS: u32 = 2 * CUBIC_PRECISION;
        ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
    });
    pixels
}

fn four_taps(from: usize, to: usize, filter: impl Fn(f64) -> f64) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let taps = |position: usize| {
        let centre = (position as f64 + 0.5) * scale - 0.5;
        let (left, last) = (centre.floor(), from as isize - 1);
        let clamp = |index: isize| index.clamp(0, last) as usize;
        let first = clamp(left as isize - 1);
        let mut weights = vec![0; clamp(left as isize + 2) - first + 1];
        for index in left as isize - 1..=left as isize + 2 {
            let weight = filter(index as f64 - centre) * f64::from(1 << CUBIC_PRECISION);
            weights[clamp(index) - first] += weight.round_ties_even() as i32;
        }
        Taps { first, weights }
    };
    (0..to).map(taps).collect()
}

/// Every row of `source`, `width` pixels each, becomes a row of `taps.len()` pixels.
fn resample_rows<T: Send>(
    source: &[u8],
    width: usize,
    taps: &[Taps],
    target: &mut [T],
    finish: impl Fn(i32) -> T + Sync,
) {
    let rows = target.par_chunks_exact_mut(taps.len() * 3).zip(source.par_chunks_exact(width * 3));
    rows.for_each(|(target, source)| {
        let (target, source) = (target.as_chunks_mut::<3>().0, source.as_chunks::<3>().0);
        for (target, taps) in target.iter_mut().zip(taps) {
            let mut sums = [0; 3];
            for (pixel, &weight) in source[taps.first..].iter().zip(&taps.weights) {
                for (sum, &channel) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(channel) * weight;
                }
            }
            *target = sums.map(&finish);
        }
    });
}

/// Every column of `source`, rows of `width` pixels, becomes a column of `taps.len()` pixels.
fn resample_columns<S: Copy + Into<i32> + Sync, T: Send>(
    source: &[S],
    width: usize,
    taps: &[Taps],
    target: &mut [T],
    finish: impl Fn(i32) -> T + Sync,
) {
    let rows = target.par_chunks_exact_mut(width * 3).zip(taps);
    rows.for_each(|(target, taps)| {
        let mut sums = vec![0_i32; width * 3];
        for (row, &weight) in source[taps.first * width * 3..].chunks(width * 3).zip(&taps.weights)
        {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += value.into() * weight;
            }
        }
        for (target, sum) in target.iter_mut().zip(sums) {
            *target = finish(sum);
        }
    });
}
