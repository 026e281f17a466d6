//! The passes of the optimizers over arrays, in vector instructions.
//!
//! Where a loop is over elements that do not depend on each other the compiler finds the instructions
//! itself; sums are written out in strands, since it may not change their order.

use pulp::{Simd, WithSimd};

use super::{AdamWStep, rounding::round};
use crate::base::ElementBits;

/// Adds up the squares of some rows of a gradient, over rows and over columns.
pub(super) struct Squares<'a> {
    pub gradient: &'a [f32],
    pub rows: &'a mut [f32],
    /// Zeros.
    pub columns: &'a mut [f32],
}

impl WithSimd for Squares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.columns.len();
        // Four rows together, so that the sums of the columns are read and written a quarter as often.
        let mut fours = self.gradient.chunks_exact(4 * width);
        let mut sums = self.rows.chunks_exact_mut(4);
        for (rows, sums) in (&mut fours).zip(&mut sums) {
            four_rows(simd, rows, sums, self.columns);
        }
        let rest = fours.remainder().chunks_exact(width);
        for (row, sum) in rest.zip(sums.into_remainder()) {
            *sum = squares(simd, row);
            for (column, &x) in self.columns.iter_mut().zip(row) {
                *column += x * x;
            }
        }
    }
}

#[inline(always)]
fn four_rows<S: Simd>(simd: S, rows: &[f32], sums: &mut [f32], columns: &mut [f32]) {
    let width = columns.len();
    let (a, rows) = rows.split_at(width);
    let (b, rows) = rows.split_at(width);
    let (c, d) = rows.split_at(width);
    let ((a, a_tail), (b, b_tail)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let ((c, c_tail), (d, d_tail)) = (S::as_simd_f32s(c), S::as_simd_f32s(d));
    let (body, tail) = S::as_mut_simd_f32s(columns);
    let mut strands = [simd.splat_f32s(0.0); 4];
    for ((((column, &a), &b), &c), &d) in body.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        strands[0] = simd.mul_add_e_f32s(a, a, strands[0]);
        strands[1] = simd.mul_add_e_f32s(b, b, strands[1]);
        strands[2] = simd.mul_add_e_f32s(c, c, strands[2]);
        strands[3] = simd.mul_add_e_f32s(d, d, strands[3]);
        let two = simd.mul_add_e_f32s(b, b, simd.mul_f32s(a, a));
        let two = simd.add_f32s(two, simd.mul_add_e_f32s(d, d, simd.mul_f32s(c, c)));
        *column = simd.add_f32s(*column, two);
    }
    for (sum, strand) in sums.iter_mut().zip(strands) {
        *sum = simd.reduce_sum_f32s(strand);
    }
    for (place, column) in tail.iter_mut().enumerate() {
        for (sum, row) in sums.iter_mut().zip([a_tail, b_tail, c_tail, d_tail]) {
            let square = row[place] * row[place];
            *sum += square;
            *column += square;
        }
    }
}

/// The sum of the squares of a row, in four strands.
#[inline(always)]
fn squares<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (body, tail) = S::as_simd_f32s(row);
    let mut strands = [simd.splat_f32s(0.0); 4];
    let mut fours = body.chunks_exact(4);
    for four in &mut fours {
        for (strand, &x) in strands.iter_mut().zip(four) {
            *strand = simd.mul_add_e_f32s(x, x, *strand);
        }
    }
    for &x in fours.remainder() {
        strands[0] = simd.mul_add_e_f32s(x, x, strands[0]);
    }
    let tail = tail.iter().map(|x| x * x).sum::<f32>();
    together(simd, strands) + tail
}

#[inline(always)]
fn together<S: Simd>(simd: S, strands: [S::f32s; 4]) -> f32 {
    let pairs = [simd.add_f32s(strands[0], strands[1]), simd.add_f32s(strands[2], strands[3])];
    simd.reduce_sum_f32s(simd.add_f32s(pairs[0], pairs[1]))
}

/// The sum of all squares.
pub(super) struct Sum<'a> {
    pub values: &'a [f32],
}

impl WithSimd for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let mut sum = 0.0;
        for part in self.values.chunks(4096) {
            sum += f64::from(squares(simd, part));
        }
        sum
    }
}

/// The sum of the squares of a gradient, each element times the factors of its row and its column.
pub(super) struct Size<'a> {
    pub gradient: &'a [f32],
    /// Of these rows, and perhaps of more.
    pub rows: &'a [f32],
    pub columns: &'a [f32],
}

impl WithSimd for Size<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let mut sum = 0.0;
        let (columns, columns_tail) = S::as_simd_f32s(self.columns);
        for (row, &factor) in self.gradient.chunks_exact(self.columns.len()).zip(self.rows) {
            let (body, tail) = S::as_simd_f32s(row);
            let mut strands = [simd.splat_f32s(0.0); 4];
            let (mut fours, mut factors) = (body.chunks_exact(4), columns.chunks_exact(4));
            for (four, factors) in (&mut fours).zip(&mut factors) {
                for ((strand, &x), &factor) in strands.iter_mut().zip(four).zip(factors) {
                    let x = simd.mul_f32s(x, factor);
                    *strand = simd.mul_add_e_f32s(x, x, *strand);
                }
            }
            for (&x, &factor) in fours.remainder().iter().zip(factors.remainder()) {
                let x = simd.mul_f32s(x, factor);
                strands[0] = simd.mul_add_e_f32s(x, x, strands[0]);
            }
            let mut of_row = f64::from(together(simd, strands));
            for (&x, &factor) in tail.iter().zip(columns_tail) {
                of_row += f64::from(x * factor).powi(2);
            }
            sum += of_row * f64::from(factor).powi(2);
        }
        sum
    }
}

/// The numbers of the last pass of Adafactor.
#[derive(Clone, Copy)]
pub(super) struct Change {
    /// Of all elements, besides those of rows and columns.
    pub factor: f32,
    /// Share of each value that is taken away.
    pub lost: f32,
    pub beta1: f32,
    pub rounding: Option<ElementBits>,
}

/// Takes the change away from some rows.
pub(super) struct Rows<'a> {
    pub change: Change,
    pub values: &'a mut [f32],
    pub gradient: &'a [f32],
    pub moment: Option<&'a mut [f32]>,
    /// Of these rows, and perhaps of more.
    pub rows: &'a [f32],
    pub columns: &'a [f32],
    /// Place of the first element in the array.
    pub first: u32,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { change, values, gradient, moment, rows, columns, first } = self;
        let width = columns.len();
        let mut moment = moment.map(|moment| moment.chunks_exact_mut(width));
        let parts = values.chunks_exact_mut(width).zip(gradient.chunks_exact(width)).zip(rows);
        for (row, ((values, gradient), &factor)) in parts.enumerate() {
            let factor = factor * change.factor;
            if let Some(moment) = moment.as_mut().and_then(Iterator::next) {
                let parts = values.iter_mut().zip(gradient).zip(columns).zip(moment);
                for (((value, &g), &column), moment) in parts {
                    *moment = *moment * change.beta1 + g * (factor * column) * (1.0 - change.beta1);
                    *value = (*value - *value * change.lost) - *moment;
                }
            } else {
                for ((value, &g), &column) in values.iter_mut().zip(gradient).zip(columns) {
                    *value = (*value - *value * change.lost) - g * (factor * column);
                }
            }
            if let Some(bits) = change.rounding {
                // The row is still in the core's own cache.
                round_all(values, bits, first.wrapping_add((row * width) as u32));
            }
        }
    }
}

#[inline(always)]
fn round_all(values: &mut [f32], bits: ElementBits, first: u32) {
    for (place, value) in values.iter_mut().enumerate() {
        *value = round(*value, bits.at(first.wrapping_add(place as u32)) >> 16);
    }
}

/// A step of AdamW on some elements.
pub(super) struct AdamW<'a> {
    pub step: &'a AdamWStep,
    pub values: &'a mut [f32],
    pub gradient: &'a [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    /// Place of the first element in the array.
    pub place: u32,
}

/// Elements that are stepped, then rounded, while they are in the core's own cache.
const PART: usize = 2048;

impl WithSimd for AdamW<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let AdamWStep { scale, beta1, beta2, rate, root_bias, eps, weight_decay, rounding } =
            *self.step;
        let [scale, beta1, beta2, rate, root_bias, eps] =
            [scale, beta1, beta2, rate, root_bias, eps].map(|x| x as f32);
        let (new1, new2) = ((1.0 - self.step.beta1) as f32, (1.0 - self.step.beta2) as f32);
        let kept = (1.0 - weight_decay) as f32;
        let parts = self.values.chunks_mut(PART).zip(self.gradient.chunks(PART));
        let moments = self.first.chunks_mut(PART).zip(self.second.chunks_mut(PART));
        for (part, ((values, gradient), (first, second))) in parts.zip(moments).enumerate() {
            let elements = values.iter_mut().zip(gradient).zip(first).zip(second);
            for (((value, &g), first), second) in elements {
                let g = g * scale;
                *first = *first * beta1 + g * new1;
                *second = *second * beta2 + g * g * new2;
                *value = *value * kept - *first / (second.sqrt() / root_bias + eps) * rate;
            }
            if let Some(bits) = rounding {
                round_all(values, bits, self.place.wrapping_add((part * PART) as u32));
            }
        }
    }
}

/// Moves averages towards values.
pub(super) struct Blend<'a> {
    pub average: &'a mut [f32],
    pub values: &'a [f32],
    pub old: f32,
    pub new: f32,
}

impl WithSimd for Blend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        for (average, &value) in self.average.iter_mut().zip(self.values) {
            *average = *average * self.old + value * self.new;
        }
    }
}
