//! Against the same in Burn's operators.

use burn::tensor::{
    Device, Distribution, FloatDType, Tensor, activation, module, ops::ConvOptions,
};

use super::*;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// Sums are made in another order: some spacings of f32 at the size of the result.
#[track_caller]
fn close(ours: Tensor<4>, expected: Tensor<4>) {
    assert_eq!(ours.dims(), expected.dims());
    let largest = |x: Tensor<4>| x.abs().max().into_scalar::<f32>();
    let (apart, size) = (largest(ours - expected.clone()), largest(expected));
    assert!(apart <= 4e-6 * size.max(1.0), "{apart} apart at {size}");
}

/// In, out, kernel, stride, padding before and after, height, width.
const CASES: [[usize; 8]; 7] = [
    [3, 32, 3, 1, 1, 1, 9, 7],
    [32, 3, 3, 1, 1, 1, 1, 5],
    [37, 19, 3, 2, 0, 1, 10, 12],
    [16, 48, 3, 2, 0, 1, 7, 9],
    [8, 8, 1, 1, 0, 0, 4, 4],
    [5, 6, 5, 3, 2, 2, 11, 13],
    // Several bands.
    [4, 8, 3, 1, 1, 1, 150, 101],
];

#[test]
fn convolutions_of_any_kind() {
    for [from, out, kernel, stride, before, after, height, width] in CASES {
        let padding = (before, after);
        let convolution = Convolution {
            weight: random([out, from, kernel, kernel]),
            bias: random([out]),
            stride,
            padding,
        };
        let laid =
            Convolution { weight: by_taps(convolution.weight.clone()), ..convolution.clone() };
        let options = ConvOptions::new_with_padding([stride; 2], [padding; 2], [1; 2], 1);
        let plain = |x| {
            let (weight, bias) = (convolution.weight.clone(), convolution.bias.clone());
            module::conv2d(x, weight, Some(bias), options.clone())
        };
        let x = random([2, from, height, width]);
        let expected = plain(x.clone());
        close(convolution.forward(x.clone(), Prepare::Nothing, None), expected.clone());
        close(laid.forward(x.clone(), Prepare::Nothing, None), expected.clone());

        let affine = ChannelAffine { scale: random([2, from]), shift: random([2, from]) };
        let over = |values: &Tensor<2>| values.clone().reshape([2, from, 1, 1]);
        let silu = activation::silu(x.clone() * over(&affine.scale) + over(&affine.shift));
        let onto = random(expected.dims());
        let found = laid.forward(x.clone(), Prepare::Silu(&affine), Some(onto.clone()));
        close(found, onto + plain(silu));

        let indices = |size: usize| {
            let places = (0..2 * size as i32).map(|place| place / 2).collect::<Vec<_>>();
            Tensor::<1, burn::tensor::Int>::from_ints(places.as_slice(), &Device::flex())
        };
        let double = x.clone().select(2, indices(height)).select(3, indices(width));
        close(laid.forward(x, Prepare::Double, None), plain(double));
    }
}

#[test]
fn a_picture_has_the_same_numbers_whatever_others_are_in_the_batch() {
    let x = random([3, 32, 40, 24]) * 2.0 + 1.0;
    let (weight, bias) = (random([32]), random([32]));
    let conv = Convolution {
        weight: by_taps(random([16, 32, 3, 3])),
        bias: random([16]),
        stride: 1,
        padding: (1, 1),
    };
    let layer = |x: Tensor<4>| {
        let norm = GroupMoments::of(&x, 8).normalise(&weight, &bias, 1e-6);
        conv.forward(x, Prepare::Silu(&norm), None)
    };
    let all = layer(x.clone());
    for picture in 0..3 {
        let one = layer(x.clone().narrow(0, picture, 1)).into_data();
        one.assert_eq(&all.clone().narrow(0, picture, 1).into_data(), true);
    }
    let threads = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    threads.install(|| layer(x)).into_data().assert_eq(&all.into_data(), true);
}

#[test]
fn what_a_convolution_is_added_to_is_left_alone_where_others_hold_it() {
    let (x, onto) = (random([1, 4, 6, 6]), random([1, 8, 6, 6]));
    let before = onto.clone().into_data();
    let conv =
        Convolution { weight: random([8, 4, 3, 3]), bias: random([8]), stride: 1, padding: (1, 1) };
    let _ = conv.forward(x, Prepare::Nothing, Some(onto.clone()));
    onto.into_data().assert_eq(&before, true);
}

/// Mean and variance by their definition, in f64.
fn normalised(x: &Tensor<4>, groups: usize) -> Tensor<4> {
    let shape = x.dims();
    let each = shape[1] / groups * shape[2] * shape[3];
    let values = x.clone().into_data().iter::<f64>().collect::<Vec<_>>();
    let values = values.chunks_exact(each).flat_map(|group| {
        let mean = group.iter().sum::<f64>() / each as f64;
        let variance = group.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / each as f64;
        group.iter().map(move |x| ((x - mean) / (variance + 1e-6).sqrt()) as f32)
    });
    let values = values.collect::<Vec<_>>();
    Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape(shape)
}

#[test]
fn groups_are_normalised_also_far_from_zero() {
    let device = Device::flex();
    let (one, zero) = (Tensor::ones([12], &device), Tensor::zeros([12], &device));
    for (offset, bound) in [(0.0, 1e-5), (100.0, 1e-4)] {
        let x = random([2, 12, 33, 41]) + offset;
        let expected = normalised(&x, 4);
        // The vectorised way; Burn's operators, which other types than f32 go to; a picture in parts.
        let off = |affine: ChannelAffine| {
            (affine.apply(x.clone()) - expected.clone()).abs().max().into_scalar::<f32>()
        };
        let moments = GroupMoments::of(&x, 4);
        let found = off(moments.normalise(&one, &zero, 1e-6));
        assert!(found < bound, "{found}");
        let plain = GroupMoments::of(&x.clone().cast(FloatDType::F64), 4);
        let found = off(plain.normalise(&one, &zero, 1e-6));
        assert!(found < bound, "{found}");
        let parts = GroupMoments::of(&x.clone().narrow(2, 0, 7), 4)
            .and(&GroupMoments::of(&x.clone().narrow(2, 7, 26), 4));
        let found = off(parts.normalise(&one, &zero, 1e-6));
        assert!(found < bound, "{found}");
    }
}
