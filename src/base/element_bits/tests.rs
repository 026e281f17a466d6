//! Statistics of the upper 16 bits, which are those that rounding takes.

use super::*;

const COUNT: u32 = 1 << 20;

/// Computed apart, in Python.
const KNOWN: [u32; 5] = [0xc888_d6b7, 0x84af_5ba6, 0xaa5f_c31b, 0x5000_ad7b, 0xacc4_ebc7];

fn bits(seed: u64, step: u64, name: &str) -> ElementBits {
    ElementBits::new(seed, name, &[step])
}

fn upper(bits: ElementBits, index: u32) -> f64 {
    f64::from(bits.at(index) >> 16)
}

/// Correlation of two sequences of uniform numbers: its standard error is `1 / √count`.
fn correlation(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let middle = 65_535.0 / 2.0;
    let (mut sum, mut count) = (0.0, 0.0);
    for (a, b) in pairs {
        sum += (a - middle) * (b - middle);
        count += 1.0;
    }
    // The variance of a whole number below 2^16 is (2^32 - 1) / 12.
    sum / count / ((65_536.0_f64.powi(2) - 1.0) / 12.0)
}

const FOUR_DEVIATIONS: f64 = 4.0 / 1024.0;

#[test]
fn a_name_gives_the_same_bits_and_another_name_others() {
    let first = |bits: ElementBits| [0, 1, 2, 3].map(|index| bits.at(index));
    assert_eq!(first(bits(1, 2, "a")), first(bits(1, 2, "a")));
    assert_ne!(first(bits(1, 2, "a")), first(bits(2, 2, "a")));
    assert_ne!(first(bits(1, 2, "a")), first(bits(1, 3, "a")));
    assert_ne!(first(bits(1, 2, "a")), first(bits(1, 2, "b")));
}

#[test]
fn the_numbers_are_these_on_every_machine() {
    let bits = ElementBits { key: [0x0123_4567, 0x89ab_cdef] };
    let found = [0, 1, 2, 1 << 20, u32::MAX].map(|index| bits.at(index));
    assert_eq!(found, KNOWN);
}

#[test]
fn every_bit_is_set_as_often_as_not() {
    for key in 0..8 {
        let bits = bits(key, 0, "w");
        for bit in 0..32 {
            let set = (0..COUNT).filter(|&index| bits.at(index) >> bit & 1 == 1).count();
            let off = (set as f64 / f64::from(COUNT) - 0.5).abs();
            // The standard deviation is 1 / (2 · 1024).
            assert!(off < 0.5 * 4.5 / 1024.0, "bit {bit} of key {key}: {off}");
        }
    }
}

#[test]
fn numbers_fall_into_all_ranges_alike() {
    for key in 0..8 {
        let bits = bits(key, 1, "w");
        let mut counts = [0_u32; 256];
        (0..COUNT).for_each(|index| counts[(bits.at(index) >> 24) as usize] += 1);
        let expected = f64::from(COUNT) / 256.0;
        let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
        let chi: f64 = counts.iter().map(square).sum();
        // 255 degrees of freedom: mean 255, standard deviation 22.6.
        assert!((chi - 255.0).abs() < 5.0 * 22.6, "{chi}");
    }
}

#[test]
fn neighbours_steps_and_names_are_not_correlated() {
    let here = bits(7, 100, "double_blocks.0.img_mlp.0.weight");
    for distance in [1, 2, 3, 8, 64, 3072, 9216, 1 << 16] {
        let pairs = (0..COUNT).map(|index| (upper(here, index), upper(here, index + distance)));
        let found = correlation(pairs);
        assert!(found.abs() < FOUR_DEVIATIONS, "{distance} places apart: {found}");
    }
    let others = [
        bits(7, 101, "double_blocks.0.img_mlp.0.weight"),
        bits(7, 100, "double_blocks.1.img_mlp.0.weight"),
        bits(8, 100, "double_blocks.0.img_mlp.0.weight"),
        // Keys that differ in one bit, which names do not give. In the first word such keys change the
        // order of the places alone, so there the same place is looked at, not others.
        ElementBits { key: [here.key[0], here.key[1] ^ 1] },
        ElementBits { key: [here.key[0], here.key[1] ^ (1 << 31)] },
    ];
    for (number, other) in others.into_iter().enumerate() {
        for distance in [0, 1, 3072] {
            let pairs =
                (0..COUNT).map(|index| (upper(here, index), upper(other, index + distance)));
            let found = correlation(pairs);
            assert!(found.abs() < FOUR_DEVIATIONS, "other {number}, {distance} apart: {found}");
        }
    }
}
