//! Optimizer steps as kernels for a GPU.
//!
//! All of them take elements two by two, so a row has an even number of them: a word holds two bf16
//! numbers, or two words hold two f32 numbers. bf16 is taken apart by shifts, which every device can do
//! and which leaves the rounding to us. A cube works on one row, on all of a short array, or on a stretch
//! of a long one.

#![expect(
    clippy::assign_op_pattern,
    clippy::unnecessary_cast,
    reason = "the compiler of kernels reads these lines in its own way"
)]

use cubecl::prelude::*;

/// Units of a cube.
pub const UNITS: usize = 256;
/// How often that can be halved.
const HALVINGS: usize = 8;
/// Pairs that a cube of [`adamw`] or [`round_all`] takes.
pub const STRETCH: usize = 16 * UNITS;

/// The first element of a pair.
#[cube]
fn low(words: &[u32], pair: usize, #[comptime] bf16: bool) -> f32 {
    if bf16 { f32::reinterpret(words[pair] << 16u32) } else { f32::reinterpret(words[2 * pair]) }
}

/// The second element of a pair.
#[cube]
fn high(words: &[u32], pair: usize, #[comptime] bf16: bool) -> f32 {
    if bf16 {
        f32::reinterpret(words[pair] & 0xffff_0000u32)
    } else {
        f32::reinterpret(words[2 * pair + 1])
    }
}

/// Writes a pair. What goes into bf16 was rounded before.
#[cube]
fn put(words: &mut [u32], pair: usize, low: f32, high: f32, #[comptime] bf16: bool) {
    if bf16 {
        words[pair] = (u32::reinterpret(low) >> 16u32) | u32::reinterpret(high);
    } else {
        words[2 * pair] = u32::reinterpret(low);
        words[2 * pair + 1] = u32::reinterpret(high);
    }
}

#[cube]
fn mixed(x: u32) -> u32 {
    let x = (x ^ (x >> 16u32)) * 0x21f0_aaadu32;
    let x = (x ^ (x >> 15u32)) * 0x735a_2d97u32;
    x ^ (x >> 15u32)
}

/// As `rounding::round` with the bits of `ElementBits::at`, to the bit.
#[cube]
fn rounded(value: f32, index: usize, key_0: u32, key_1: u32) -> f32 {
    let random = mixed(mixed(index as u32 ^ key_0) + key_1) >> 16u32;
    let bits = u32::reinterpret(value);
    let cut = (bits + random) & 0xffff_0000u32;
    // The low bits of a NaN could carry into its sign.
    let nan = (bits & 0x7fff_ffffu32) > 0x7f80_0000u32;
    f32::reinterpret(select(nan, 0x7fc0_0000u32, cut))
}

/// The sum of the values of all units, in all units.
#[cube]
fn together(value: f32) -> f32 {
    let mut shared = Shared::<[f32]>::new_slice(UNITS);
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    #[unroll]
    for step in 0..HALVINGS {
        let half = comptime!(UNITS >> (step + 1));
        if unit < half {
            shared[unit] = shared[unit] + shared[unit + half];
        }
        sync_cube();
    }
    let sum = shared[0];
    sync_cube();
    sum
}

/// The sum of squares of each row: one cube per row of `pairs` pairs.
#[cube(launch)]
pub fn row_squares(values: &[u32], sums: &mut [f32], pairs: usize, #[comptime] bf16: bool) {
    let row = CUBE_POS as usize;
    let mut sum = 0.0f32;
    for pair in range_stepped(UNIT_POS as usize, pairs, UNITS) {
        let a = low(values, row * pairs + pair, bf16);
        let b = high(values, row * pairs + pair, bf16);
        sum += a * a + b * b;
    }
    let sum = together(sum);
    if UNIT_POS == 0 {
        sums[row] = sum;
    }
}

/// The sums of squares of each column over blocks of `block` rows, `[blocks, columns]`: one unit for each
/// two columns, the blocks along the second axis of cubes.
#[cube(launch)]
pub fn column_squares(
    values: &[u32],
    sums: &mut [f32],
    pairs: usize,
    height: usize,
    block: usize,
    #[comptime] bf16: bool,
) {
    let pair = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
    let part = CUBE_POS_Y as usize;
    if pair < pairs {
        let mut first = 0.0f32;
        let mut second = 0.0f32;
        let end = min(height, (part + 1) * block);
        for row in part * block..end {
            let a = low(values, row * pairs + pair, bf16);
            let b = high(values, row * pairs + pair, bf16);
            first += a * a;
            second += b * b;
        }
        sums[(part * pairs + pair) * 2] = first;
        sums[(part * pairs + pair) * 2 + 1] = second;
    }
}

/// Brings the moments of the rows up to date and gives the rows' factors: one cube.
#[cube(launch)]
pub fn row_factors(
    sums: &[f32],
    moments: &mut [f32],
    factors: &mut [f32],
    height: usize,
    share: f32,
    eps: f32,
    decay: f32,
) {
    let mut sum = 0.0f32;
    for row in range_stepped(UNIT_POS as usize, height, UNITS) {
        let moment = moments[row] * decay + (sums[row] * share + eps) * (1.0 - decay);
        moments[row] = moment;
        sum += moment;
    }
    let mean = together(sum) / height as f32;
    for row in range_stepped(UNIT_POS as usize, height, UNITS) {
        factors[row] = 1.0 / (moments[row] / mean).sqrt();
    }
}

/// Brings the moments of the columns up to date and gives the columns' factors: one unit per column.
#[cube(launch)]
pub fn column_factors(
    sums: &[f32],
    moments: &mut [f32],
    factors: &mut [f32],
    width: usize,
    parts: usize,
    share: f32,
    eps: f32,
    decay: f32,
) {
    let column = ABSOLUTE_POS as usize;
    if column < width {
        let mut sum = 0.0f32;
        for part in 0..parts {
            sum += sums[part * width + column];
        }
        let moment = moments[column] * decay + (sum * share + eps) * (1.0 - decay);
        moments[column] = moment;
        factors[column] = 1.0 / moment.sqrt();
    }
}

/// The sum of squares of each row of the gradient times its factors.
#[cube(launch)]
pub fn row_sizes(
    gradient: &[u32],
    rows: &[f32],
    columns: &[f32],
    sums: &mut [f32],
    pairs: usize,
    #[comptime] bf16: bool,
) {
    let row = CUBE_POS as usize;
    let mut sum = 0.0f32;
    for pair in range_stepped(UNIT_POS as usize, pairs, UNITS) {
        let a = low(gradient, row * pairs + pair, bf16) * columns[2 * pair];
        let b = high(gradient, row * pairs + pair, bf16) * columns[2 * pair + 1];
        sum += a * a + b * b;
    }
    let sum = together(sum);
    if UNIT_POS == 0 {
        sums[row] = sum * rows[row] * rows[row];
    }
}

/// `[factor on the normalised gradient, share of the parameter that is taken away]`, of the sizes of the
/// rows of the normalised gradient and, where the rate goes by the parameter's size, of the parameter:
/// one cube.
#[cube(launch)]
pub fn rates(
    sizes: &[f32],
    own: &[f32],
    out: &mut [f32],
    height: usize,
    count: f32,
    scale: f32,
    clip_threshold: f32,
    rate: f32,
    least: f32,
    weight_decay: f32,
    #[comptime] by_size: bool,
) {
    let mut sum = 0.0f32;
    let mut squares = 0.0f32;
    for row in range_stepped(UNIT_POS as usize, height, UNITS) {
        sum += sizes[row];
        if by_size {
            squares += own[row];
        }
    }
    let size = (together(sum) / count).sqrt() * scale;
    let squares = together(squares);
    if UNIT_POS == 0 {
        let mut whole = rate;
        if by_size {
            whole = rate * max((squares / count).sqrt(), least);
        }
        out[0] = scale * whole / max(size / clip_threshold, 1.0f32);
        out[1] = whole * weight_decay;
    }
}

/// Takes the change away from each row, and rounds.
#[cube(launch)]
pub fn change(
    values: &mut [u32],
    gradient: &[u32],
    moment: &mut [f32],
    rows: &[f32],
    columns: &[f32],
    rates: &[f32],
    pairs: usize,
    beta1: f32,
    key_0: u32,
    key_1: u32,
    #[comptime] keeps_moment: bool,
    #[comptime] rounds: bool,
    #[comptime] value_bf16: bool,
    #[comptime] gradient_bf16: bool,
) {
    let row = CUBE_POS as usize;
    let factor = rows[row] * rates[0];
    let lost = rates[1];
    for column in range_stepped(UNIT_POS as usize, pairs, UNITS) {
        let pair = row * pairs + column;
        let mut a = low(gradient, pair, gradient_bf16) * (factor * columns[2 * column]);
        let mut b = high(gradient, pair, gradient_bf16) * (factor * columns[2 * column + 1]);
        if keeps_moment {
            a = moment[2 * pair] * beta1 + a * (1.0 - beta1);
            b = moment[2 * pair + 1] * beta1 + b * (1.0 - beta1);
            moment[2 * pair] = a;
            moment[2 * pair + 1] = b;
        }
        let old_a = low(&*values, pair, value_bf16);
        let old_b = high(&*values, pair, value_bf16);
        let mut new_a = (old_a - old_a * lost) - a;
        let mut new_b = (old_b - old_b * lost) - b;
        if rounds {
            new_a = rounded(new_a, 2 * pair, key_0, key_1);
            new_b = rounded(new_b, 2 * pair + 1, key_0, key_1);
        }
        put(values, pair, new_a, new_b, value_bf16);
    }
}

/// A whole step for a vector, whose second moments are kept as they are: one cube.
#[cube(launch)]
pub fn vector(
    values: &mut [u32],
    gradient: &[u32],
    moments: &mut [f32],
    pairs: usize,
    scale: f32,
    eps: f32,
    decay: f32,
    clip_threshold: f32,
    rate: f32,
    least: f32,
    weight_decay: f32,
    key_0: u32,
    key_1: u32,
    #[comptime] by_size: bool,
    #[comptime] rounds: bool,
    #[comptime] value_bf16: bool,
    #[comptime] gradient_bf16: bool,
) {
    let count = 2.0f32 * pairs as f32;
    let mut sum = 0.0f32;
    let mut squares = 0.0f32;
    for pair in range_stepped(UNIT_POS as usize, pairs, UNITS) {
        let a = low(gradient, pair, gradient_bf16) * scale;
        let b = high(gradient, pair, gradient_bf16) * scale;
        let first = moments[2 * pair] * decay + (a * a + eps) * (1.0 - decay);
        let second = moments[2 * pair + 1] * decay + (b * b + eps) * (1.0 - decay);
        moments[2 * pair] = first;
        moments[2 * pair + 1] = second;
        let a = a / first.sqrt();
        let b = b / second.sqrt();
        sum += a * a + b * b;
        if by_size {
            let a = low(&*values, pair, value_bf16);
            let b = high(&*values, pair, value_bf16);
            squares += a * a + b * b;
        }
    }
    let size = (together(sum) / count).sqrt();
    let squares = together(squares);
    let mut whole = rate;
    if by_size {
        whole = rate * max((squares / count).sqrt(), least);
    }
    let factor = scale * whole / max(size / clip_threshold, 1.0f32);
    let lost = whole * weight_decay;
    for pair in range_stepped(UNIT_POS as usize, pairs, UNITS) {
        let a = low(gradient, pair, gradient_bf16) * factor / moments[2 * pair].sqrt();
        let b = high(gradient, pair, gradient_bf16) * factor / moments[2 * pair + 1].sqrt();
        let old_a = low(&*values, pair, value_bf16);
        let old_b = high(&*values, pair, value_bf16);
        let mut new_a = (old_a - old_a * lost) - a;
        let mut new_b = (old_b - old_b * lost) - b;
        if rounds {
            new_a = rounded(new_a, 2 * pair, key_0, key_1);
            new_b = rounded(new_b, 2 * pair + 1, key_0, key_1);
        }
        put(values, pair, new_a, new_b, value_bf16);
    }
}

/// A step of AdamW on stretches of an array.
#[cube(launch)]
pub fn adamw(
    values: &mut [u32],
    gradient: &[u32],
    first: &mut [f32],
    second: &mut [f32],
    pairs: usize,
    scale: f32,
    beta1: f32,
    beta2: f32,
    rate: f32,
    root_bias: f32,
    eps: f32,
    weight_decay: f32,
    key_0: u32,
    key_1: u32,
    #[comptime] rounds: bool,
    #[comptime] value_bf16: bool,
    #[comptime] gradient_bf16: bool,
) {
    let start = CUBE_POS as usize * STRETCH;
    let end = min(pairs, start + STRETCH);
    for pair in range_stepped(start + UNIT_POS as usize, end, UNITS) {
        let a = low(gradient, pair, gradient_bf16) * scale;
        let b = high(gradient, pair, gradient_bf16) * scale;
        let mut new_a = low(&*values, pair, value_bf16) * (1.0 - weight_decay);
        let mut new_b = high(&*values, pair, value_bf16) * (1.0 - weight_decay);
        let first_a = first[2 * pair] * beta1 + a * (1.0 - beta1);
        let first_b = first[2 * pair + 1] * beta1 + b * (1.0 - beta1);
        let second_a = second[2 * pair] * beta2 + a * a * (1.0 - beta2);
        let second_b = second[2 * pair + 1] * beta2 + b * b * (1.0 - beta2);
        first[2 * pair] = first_a;
        first[2 * pair + 1] = first_b;
        second[2 * pair] = second_a;
        second[2 * pair + 1] = second_b;
        new_a -= first_a / (second_a.sqrt() / root_bias + eps) * rate;
        new_b -= first_b / (second_b.sqrt() / root_bias + eps) * rate;
        if rounds {
            new_a = rounded(new_a, 2 * pair, key_0, key_1);
            new_b = rounded(new_b, 2 * pair + 1, key_0, key_1);
        }
        put(values, pair, new_a, new_b, value_bf16);
    }
}

/// Rounds stretches of an f32 array to numbers that bf16 holds. Takes single elements: `count` of them.
#[cube(launch)]
pub fn round_all(values: &mut [f32], count: usize, key_0: u32, key_1: u32) {
    let start = CUBE_POS as usize * STRETCH;
    let end = min(count, start + STRETCH);
    for index in range_stepped(start + UNIT_POS as usize, end, UNITS) {
        values[index] = rounded(values[index], index, key_0, key_1);
    }
}
