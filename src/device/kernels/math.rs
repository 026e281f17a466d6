//! Functions of many numbers at once.

use std::mem::MaybeUninit;

use pulp::Simd;

/// Coefficients of a polynomial `q`, lowest first, with `erfc(z) ≈ exp(-z · q(z))` for `0 ≤ z ≤ 6`:
/// `-ln(erfc(z)) / z` fitted so that the largest error of `erfc` is 1e-8, below the spacing of f32
/// near one. (Iteratively reweighted least squares over 6000 Chebyshev nodes.)
const ERFC: [f32; 10] = [
    1.128_379_8,
    6.366_078e-1,
    1.028_501_8e-1,
    -1.935_966_8e-2,
    1.477_952_2e-4,
    1.416_762_7e-3,
    -5.263_578_4e-4,
    9.862_707e-5,
    -9.721_73e-6,
    3.965_622_7e-7,
];

/// `1 / n!` from 7 down to 0: for `|r| ≤ ln 2 / 2` the series is off by 5e-9 of the result.
const EXP: [f32; 8] =
    [1.984_127e-4, 1.388_888_9e-3, 8.333_334e-3, 4.166_666_8e-2, 1.666_666_7e-1, 0.5, 1.0, 1.0];

/// Adding it rounds to a whole number, which the lowest bits of the sum then hold.
const ROUND: f32 = 12_582_912.0;
/// `ln 2` in two parts, the first of which times any exponent is exact.
const LN_2: [f32; 2] = [6.933_594e-1, -2.121_944_4e-4];

/// `eˣ` for `x ≤ 88`; zero below -87, where f32 has no room for it.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let log_2_e = simd.splat_f32s(std::f32::consts::LOG2_E);
    let shifted = simd.mul_add_e_f32s(x, log_2_e, simd.splat_f32s(ROUND));
    let whole = simd.sub_f32s(shifted, simd.splat_f32s(ROUND));
    let rest = simd.mul_add_e_f32s(whole, simd.splat_f32s(-LN_2[0]), x);
    let rest = simd.mul_add_e_f32s(whole, simd.splat_f32s(-LN_2[1]), rest);
    let mut series = simd.splat_f32s(EXP[0]);
    for coefficient in &EXP[1..] {
        series = simd.mul_add_e_f32s(series, rest, simd.splat_f32s(*coefficient));
    }
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let power = simd.transmute_f32s_u32s(simd.add_u32s(exponent, simd.splat_u32s(0x3f80_0000)));
    let result = simd.mul_f32s(series, power);
    simd.select_f32s(simd.less_than_f32s(x, simd.splat_f32s(-87.0)), simd.splat_f32s(0.0), result)
}

/// `x · Φ(x)` by way of `erfc`: exact to f32 on both sides, since nothing is subtracted from one.
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let z = simd.mul_f32s(simd.abs_f32s(x), simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    let z = simd.min_f32s(z, simd.splat_f32s(6.0));
    let mut power = simd.splat_f32s(ERFC[9]);
    for coefficient in ERFC[..9].iter().rev() {
        power = simd.mul_add_e_f32s(power, z, simd.splat_f32s(*coefficient));
    }
    let tail = exp(simd, simd.neg_f32s(simd.mul_f32s(power, z)));
    let other = simd.sub_f32s(simd.splat_f32s(2.0), tail);
    let twice = simd.select_f32s(simd.less_than_f32s(x, simd.splat_f32s(0.0)), tail, other);
    simd.mul_f32s(simd.mul_f32s(simd.splat_f32s(0.5), x), twice)
}

/// `x / (1 + e⁻ʸ)`: `x` times the logistic function of `y`.
#[inline(always)]
fn logistic_times<S: Simd>(simd: S, x: S::f32s, y: S::f32s) -> S::f32s {
    // Beyond 88 the power overflows; there the quotient is nothing beside any sum it goes into.
    let power = exp(simd, simd.min_f32s(simd.neg_f32s(y), simd.splat_f32s(88.0)));
    simd.div_f32s(x, simd.add_f32s(simd.splat_f32s(1.0), power))
}

/// `x · σ(1.702 x)`, the approximation that CLIP was trained with.
#[inline(always)]
pub(super) fn quick_gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    logistic_times(simd, x, simd.mul_f32s(x, simd.splat_f32s(1.702)))
}

/// `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, by `½ (1 + tanh u) = σ(2u)`.
#[inline(always)]
pub(super) fn gelu_tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let slope = 2.0 * (2.0 / std::f32::consts::PI).sqrt();
    let square = simd.mul_f32s(x, x);
    let factor =
        simd.mul_add_e_f32s(square, simd.splat_f32s(0.044_715 * slope), simd.splat_f32s(slope));
    logistic_times(simd, x, simd.mul_f32s(x, factor))
}

/// The derivative of [`gelu_tanh`]: with `u` the argument of `σ`, `σ + x · σ · (1 − σ) · u′`.
#[inline(always)]
pub(super) fn gelu_tanh_slope<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let root = 2.0 * (2.0 / std::f32::consts::PI).sqrt();
    let (one, splat) = (simd.splat_f32s(1.0), |value| simd.splat_f32s(value));
    let square = simd.mul_f32s(x, x);
    let u = simd.mul_f32s(x, simd.mul_add_e_f32s(square, splat(0.044_715 * root), splat(root)));
    let slope = simd.mul_add_e_f32s(square, splat(3.0 * 0.044_715 * root), splat(root));
    let power = exp(simd, simd.min_f32s(simd.neg_f32s(u), splat(88.0)));
    let share = simd.div_f32s(one, simd.add_f32s(one, power));
    // `1 − σ` without the subtraction.
    let rest = simd.mul_f32s(power, share);
    let steep = simd.mul_f32s(simd.mul_f32s(x, rest), slope);
    simd.mul_f32s(share, simd.add_f32s(one, steep))
}

/// `x · σ(x)`.
#[inline(always)]
pub(super) fn silu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    logistic_times(simd, x, x)
}

/// Writes the first numbers of a vector to the end of a row, which is shorter than a vector.
#[inline(always)]
pub(super) fn write_tail<S: Simd>(simd: S, tail: &mut [MaybeUninit<f32>], values: S::f32s) {
    // The widest vectors have 16 lanes.
    let mut numbers = [0.0; 16];
    let numbers = &mut numbers[..tail.len()];
    simd.partial_store_f32s(numbers, values);
    tail.write_copy_of_slice(numbers);
}
