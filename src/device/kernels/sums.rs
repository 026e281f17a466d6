//! Sums over the rows of an array, in an order that no number of threads changes.

use rayon::prelude::*;

/// Rows that are summed up one after the other, by one thread; their sums are added in their order.
pub(super) const BLOCK: usize = 32;

/// For each of `blocks` blocks of rows, `work(block, sums)` adds to `sums`, of `width` zeros; all of them
/// together.
pub(super) fn over_blocks(
    blocks: usize,
    width: usize,
    work: impl Fn(usize, &mut [f32]) + Sync + Send,
) -> Vec<f32> {
    let parts = (0..blocks).into_par_iter().map(|block| {
        let mut sums = vec![0.0; width];
        work(block, &mut sums);
        sums
    });
    added(parts.collect(), width)
}

/// The sums of all blocks, added in their order.
pub(super) fn added(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0.0; width]);
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total
}
