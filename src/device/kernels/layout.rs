//! Weights laid out as products of many rows read them.

use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::host::{self, Host};

/// Columns per task: the rows that are read hold some hundred bytes of them, one after the other.
const COLUMNS: usize = 256;
/// Rows that are turned at once: with their columns they fill a fraction of a core's own cache.
const ROWS: usize = 64;
/// Numbers between two rows that are being turned: not a power of two, so that the elements of a column
/// fall on different lines of the cache.
const PITCH: usize = COLUMNS + 16;

/// A weight `[out, in]` laid out by columns: products of many rows read it so a third quicker, since the
/// rows of a wide layer lie at distances that fall on the same lines of the cache. Products of few rows
/// want it as it is.
#[must_use]
pub fn by_columns(weight: Tensor<2>) -> Tensor<2> {
    let Some(array) = Host::of(&weight) else { return weight };
    let [out, width] = weight.dims();
    let array = array.dense();
    let rows = array.slice();
    by_columns_from([out, width], |row, columns, values| {
        values.copy_from_slice(&rows[row * width..][columns]);
    })
}

/// The same of a weight that is not in memory yet: `decode(row, columns, values)` writes those columns of
/// one row of it. All threads decode, and no copy of the weight in its other layout is made.
#[must_use]
pub fn by_columns_from(
    [out, width]: [usize; 2],
    decode: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
) -> Tensor<2> {
    host::tensor(turned([out, width], decode), [width, out]).transpose()
}

/// The elements of such a weight, column by column.
pub(super) fn turned(
    [out, width]: [usize; 2],
    decode: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    let fill = |values: &mut [std::mem::MaybeUninit<f32>]| {
        let blocks = values.par_chunks_mut((COLUMNS * out).max(1)).enumerate();
        blocks.for_each_init(
            || vec![0.0; ROWS * PITCH],
            |rows, (block, values)| {
                let first = block * COLUMNS;
                let count = COLUMNS.min(width - first);
                for start in (0..out).step_by(ROWS) {
                    let span = ROWS.min(out - start);
                    for (row, values) in rows.chunks_exact_mut(PITCH).take(span).enumerate() {
                        decode(start + row, first..first + count, &mut values[..count]);
                    }
                    for (column, values) in values.chunks_exact_mut(out).enumerate() {
                        let elements = rows[column..].iter().step_by(PITCH);
                        for (value, &element) in
                            values[start..start + span].iter_mut().zip(elements)
                        {
                            value.write(element);
                        }
                    }
                }
            },
        );
    };
    // SAFETY: the columns of all blocks are all of the array, and each gets all its rows.
    unsafe { host::filled(out * width, fill) }
}
