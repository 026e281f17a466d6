//! The passes of the CPU against Burn's operators, whose numbers are checked against the pack.

use burn::tensor::{Device, TensorData};
use half::bf16;

use super::*;
use crate::base::Stream;

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = Stream::new(seed, "test", None, &[]).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn close<const D: usize>(what: &str, a: Tensor<D>, b: Tensor<D>, bound: f32) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let size = b.clone().abs().max().into_scalar::<f32>().max(f32::MIN_POSITIVE);
    let apart = (a - b).abs().max().into_scalar::<f32>();
    assert!(apart <= bound * size, "{what}: {apart} apart at {size}");
}

fn adafactor_steps() -> Vec<AdafactorStep> {
    let step = AdafactorStep {
        scale: 1.0,
        eps_1: 1e-30,
        decay: 0.0,
        clip_threshold: 1.0,
        rate: 1e-2,
        eps_2: None,
        beta1: None,
        weight_decay: 0.0,
        rounding: None,
    };
    vec![
        step,
        AdafactorStep { scale: 0.1, clip_threshold: 0.3, weight_decay: 0.1, ..step },
        AdafactorStep { eps_2: Some(1e-3), beta1: Some(0.9), ..step },
        AdafactorStep {
            eps_2: Some(1e9),
            rate: 1e-11,
            beta1: Some(0.5),
            weight_decay: 0.5,
            ..step
        },
    ]
}

#[test]
fn adafactor_in_three_passes_is_adafactor() {
    fn compare<const D: usize>(shape: [usize; D]) {
        for step in adafactor_steps() {
            let (mut ours, mut plain) = (random(shape, 1), random(shape, 1));
            let (mut ours_state, mut plain_state) = ((None, None), (None, None));
            for number in 1..=3_u32 {
                // Rows of very different sizes, so that a factor at the wrong place is seen.
                let gradient = random(shape, u64::from(number) + 1).powf_scalar(3.0);
                let decay = 1.0 - f64::from(number).powf(-0.8);
                let step = AdafactorStep { decay, ..step };
                let (new, moments, first) =
                    host::adafactor(ours, gradient.clone(), ours_state.0, ours_state.1, &step);
                (ours, ours_state) = (new, (Some(moments), first));
                let (new, moments, first) =
                    plain::adafactor(plain, gradient, plain_state.0, plain_state.1, &step);
                (plain, plain_state) = (new, (Some(moments), first));
                close(&format!("{shape:?} {step:?}"), ours.clone(), plain.clone(), 3e-6);
            }
            let (
                Some(Moments::Factored { rows, columns }),
                Some(Moments::Factored { rows: r, columns: c }),
            ) = (ours_state.0, plain_state.0)
            else {
                panic!("matrices have factored moments");
            };
            // Burn adds up a column one after the other in f32: 1e-5 of 3001 squares.
            close("rows", rows, r, 2e-6);
            close("columns", columns, c, 1e-5);
            assert_eq!(ours_state.1.is_some(), step.beta1.is_some());
            if let (Some(ours), Some(plain)) = (ours_state.1, plain_state.1) {
                close("first moment", ours, plain, 3e-6);
            }
        }
    }
    // One task and several, rows in fours and beside them, columns in vectors and beside them.
    for shape in [[1, 1], [3, 5], [4, 16], [7, 33], [130, 4099], [1, 300_001], [3001, 180]] {
        compare(shape);
    }
    compare([2, 9, 40]);
    compare([3, 2, 70, 1300]);
    compare([2, 1, 3, 3]);
}

#[test]
fn adamw_in_one_pass_is_adamw() {
    let step = AdamWStep {
        scale: 0.5,
        beta1: 0.9,
        beta2: 0.99,
        rate: 1e-2,
        root_bias: 0.7,
        eps: 1e-8,
        weight_decay: 1e-3,
        rounding: None,
    };
    for shape in [[1, 1], [3, 5], [130, 4099]] {
        let zero = || Tensor::zeros([shape[0] * shape[1]], &Device::flex());
        let (mut ours, mut plain) = (random(shape, 1), random(shape, 1));
        let (mut ours_moments, mut plain_moments) = ([zero(), zero()], [zero(), zero()]);
        for number in 2..5 {
            let gradient = random(shape, number);
            (ours, ours_moments) = host::adamw(ours, gradient.clone(), ours_moments, &step);
            (plain, plain_moments) = plain::adamw(plain, gradient, plain_moments, &step);
            close("parameter", ours.clone(), plain.clone(), 1e-6);
        }
        let [[a, b], [c, d]] = [ours_moments, plain_moments];
        close("first", a, c, 1e-6);
        close("second", b, d, 1e-6);
    }
}

#[test]
fn steps_round_as_the_rounding_of_their_result_does() {
    let bits = ElementBits::new(3, "w", &[5]);
    let shape = [70, 4099];
    let (parameter, gradient) = (random(shape, 1), random(shape, 2));
    for step in adafactor_steps() {
        let stepped = |rounding| {
            let step = AdafactorStep { rounding, ..step };
            adafactor(parameter.clone(), gradient.clone(), None, None, &step).0
        };
        let expected = rounded(stepped(None), bits);
        stepped(Some(bits)).into_data().assert_eq(&expected.clone().into_data(), true);
        expected
            .clone()
            .cast(FloatDType::BF16)
            .cast(FloatDType::F32)
            .into_data()
            .assert_eq(&expected.into_data(), true);
    }
    let stepped = |rounding| {
        let zero = || Tensor::zeros([70 * 4099], &Device::flex());
        let (beta1, beta2, eps, weight_decay) = (0.9, 0.99, 1e-8, 0.0);
        let step = AdamWStep {
            scale: 1.0,
            beta1,
            beta2,
            rate: 0.1,
            root_bias: 1.0,
            eps,
            weight_decay,
            rounding,
        };
        adamw(parameter.clone(), gradient.clone(), [zero(), zero()], &step).0
    };
    let expected = rounded(stepped(None), bits);
    stepped(Some(bits)).into_data().assert_eq(&expected.into_data(), true);
}

#[test]
fn what_others_hold_is_left_alone_and_what_nobody_holds_is_used() {
    let (parameter, gradient) = (random([8, 16], 1), random([8, 16], 2));
    let before = (parameter.clone().into_data(), gradient.clone().into_data());
    let step = adafactor_steps()[0];
    let (new, ..) = adafactor(parameter.clone(), gradient.clone(), None, None, &step);
    parameter.into_data().assert_eq(&before.0, true);
    gradient.clone().into_data().assert_eq(&before.1, true);
    let address =
        |x: &Tensor<2>| super::super::host::Host::of(x).map(|array| array.slice().as_ptr());
    let place = address(&new);
    let (newer, ..) = adafactor(new, gradient, None, None, &step);
    assert_eq!(place, address(&newer));
}

#[test]
fn one_thread_and_many_give_the_same_bits() {
    let (parameter, gradient) = (random([700, 1100], 1), random([700, 1100], 2));
    let step = AdafactorStep { eps_2: Some(1e-3), weight_decay: 0.1, ..adafactor_steps()[0] };
    let work = || adafactor(parameter.clone(), gradient.clone(), None, None, &step).0.into_data();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let five = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
    let alone = one.install(work);
    alone.assert_eq(&five.install(work), true);
    alone.assert_eq(&work(), true);
}

#[test]
fn a_value_goes_up_as_often_as_it_is_near_the_upper_neighbour() {
    // 1.000732421875: three thirty-seconds of the way from 1 to its neighbour.
    let count = 200_000;
    let value = Tensor::<1>::full([count], f32::from_bits(0x3f80_1800), &Device::flex());
    let found = rounded(value, ElementBits::new(3, "w", &[5])).into_data();
    let found = found.iter::<f32>().collect::<Vec<_>>();
    assert!(found.iter().all(|x| [1.0, 1.007_812_5].contains(x)));
    let up = found.iter().filter(|x| **x > 1.0).count();
    // Binomial with p = 0x1800/0x10000; four standard deviations.
    let (found, p) = (up as f64 / count as f64, 0.09375);
    assert!((found - p).abs() < 4.0 * (p * (1.0 - p) / count as f64).sqrt(), "{found}");
}

#[test]
fn signs_are_alike_and_specials_stay() {
    let bits = [0x8000, 0x8000, 0xffff, 0xffff, 0xffff];
    let values = [1.005_f32, -1.005, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let rounded = round_stochastically(&values, &bits);
    assert_eq!(rounded[0].to_f32(), -rounded[1].to_f32());
    assert_eq!(rounded[2].to_f32(), f32::INFINITY);
    assert_eq!(rounded[3].to_f32(), f32::NEG_INFINITY);
    assert!(rounded[4].is_nan());
    // The payload of this one would carry into the sign.
    assert!(round_stochastically(&[f32::from_bits(0x7fff_ffff)], &[1])[0].is_nan());
    assert!(round_stochastically(&[f32::MAX], &[0xffff])[0].is_infinite());
    assert_eq!(round_stochastically(&[1.0], &[0xffff])[0], bf16::ONE);
}

#[test]
fn squares_are_summed_over_any_layout() {
    let x = random([70, 4099], 1);
    let exact: f64 = x.clone().into_data().iter::<f64>().map(|x| x * x).sum();
    for x in [x.clone(), x.clone().swap_dims(0, 1)] {
        assert!((sum_of_squares(x) - exact).abs() < 1e-6 * exact);
    }
    let coarse = sum_of_squares(x.cast(FloatDType::BF16));
    assert!((coarse - exact).abs() < 1e-3 * exact);
}
