//! Against the same in Burn's operators, whose numbers are checked against the packs of the networks.

use burn::tensor::{Device, Distribution, Tensor, activation, module};

use super::*;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// Largest difference, and the largest value of `b`.
fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> (f32, f32) {
    assert_eq!(a.dims(), b.dims());
    let largest = |x: Tensor<D>| x.abs().max().into_scalar::<f32>();
    (largest(a - b.clone()), largest(b))
}

/// Sums are made in another order: some spacings of f32 at the size of the result.
fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
    let (apart, size) = apart(a, b);
    assert!(apart <= 4e-6 * size.max(1.0), "{apart} apart at {size}");
}

#[test]
fn linear_layers_of_few_and_many_rows() {
    for rows in [1, 2, 3, 4, 5, 16, 17, 50] {
        for (width, out) in [(64, 48), (37, 5), (1, 1), (770, 33)] {
            let (x, weight, bias) = (random([2, rows, width]), random([out, width]), random([out]));
            let plain = module::linear(x.clone(), weight.clone().transpose(), None);
            close(linear(x.clone(), weight.clone(), None, Activation::None), plain.clone());
            let plain = plain + bias.clone().unsqueeze();
            let given = Some(bias.clone());
            let active = linear(x.clone(), weight.clone(), given.clone(), Activation::Gelu);
            close(active, activation::gelu(plain.clone()));
            let active = linear(x.clone(), weight.clone(), given.clone(), Activation::QuickGelu);
            let logistic = activation::sigmoid(plain.clone() * 1.702);
            close(active, plain.clone() * logistic);
            let onto = random([2, rows, out]);
            let sum = onto.clone() + plain;
            close(linear_onto(onto.clone(), x.clone(), weight.clone(), given.clone()), sum.clone());
            close(linear_onto(onto, x, by_columns(weight), given), sum);
        }
    }
}

#[test]
fn a_row_has_the_same_numbers_whatever_other_rows_there_are() {
    let (x, weight, bias) = (random([1, 150, 700]), random([90, 700]), random([90]));
    let same = |weight: Tensor<2>, parts: &[(usize, usize)]| {
        let layer = |x| linear(x, weight.clone(), Some(bias.clone()), Activation::Gelu);
        let all = layer(x.clone());
        for &(start, count) in parts {
            let some = layer(x.clone().narrow(1, start, count));
            some.into_data().assert_eq(&all.clone().narrow(1, start, count).into_data(), true);
        }
    };
    same(weight.clone(), &[(0, 1), (3, 2), (17, 3), (60, 33), (100, 50)]);
    same(by_columns(weight), &[(0, 20), (60, 33), (100, 50)]);
}

#[test]
fn what_goes_around_a_layer_is_left_alone_where_others_hold_it() {
    let (onto, x, weight) = (random([1, 3, 4]), random([1, 3, 4]), random([4, 4]));
    let before = onto.clone().into_data();
    let _ = linear_onto(onto.clone(), x, weight, None);
    onto.into_data().assert_eq(&before, true);
}

#[test]
fn attention_over_any_layout() {
    for (batch, heads, length, seen, head) in
        [(1, 1, 1, 1, 1), (2, 3, 5, 7, 8), (1, 2, 200, 131, 16), (3, 2, 1, 300, 64)]
    {
        // Heads cut out of a joint projection.
        let joint = random([batch, length, heads * head * 2]);
        let q = joint.narrow(2, heads * head, heads * head);
        let q = q.reshape([batch, length, heads, head]).swap_dims(1, 2);
        let (k, v) = (random([batch, heads, seen, head]), random([batch, seen, heads, head]));
        let v = v.swap_dims(1, 2);
        let scale = (head as f64).powf(-0.5);
        // One bias for all heads, one for each, and one whose keys do not lie side by side.
        let turned = random([1, heads, seen, length]).swap_dims(2, 3);
        let biases = [random([1, 1, length, seen]), random([1, heads, length, seen]), turned];
        for bias in [None].into_iter().chain(biases.map(Some)) {
            let scores = q.clone().matmul(k.clone().swap_dims(2, 3)) * scale;
            let scores = match bias.clone() {
                Some(bias) => scores + bias,
                None => scores,
            };
            let expected = activation::softmax(scores, 3).matmul(v.clone());
            close(attention(q.clone(), k.clone(), v.clone(), bias, scale), expected);
        }
    }
}

#[test]
fn masked_keys_have_no_weight() {
    let device = Device::flex();
    let mask = Tensor::<1>::from_floats([0.0, f32::NEG_INFINITY], &device).reshape([1, 1, 1, 2]);
    let v = Tensor::<1>::from_floats([3.0, f32::MAX], &device).reshape([1, 1, 2, 1]);
    let one = random([1, 1, 1, 4]);
    let out = attention(one.clone(), one.repeat_dim(2, 2), v, Some(mask), 1.0);
    assert_eq!(out.into_scalar::<f32>(), 3.0);
}

#[test]
fn rows_are_normalised() {
    for width in [1, 5, 64, 1000] {
        let x = random([3, 7, width]) * 3.0 + 100.0;
        let (weight, bias) = (random([width]), random([width]));
        let plain = module::layer_norm(x.clone(), weight.clone(), Some(bias.clone()), 1e-6);
        let ours = layer_norm(x.clone(), weight, bias, 1e-6);
        // Values of 100 have a spacing of 8e-6, which is then scaled up by what they are divided by.
        let (apart, _) = apart(ours, plain);
        assert!(apart < 2e-4, "{apart} apart for {width}");
        close(softmax(x.clone()), activation::softmax(x, 2));
    }
}

#[test]
fn rows_are_divided_by_their_root_mean_square() {
    for width in [1, 5, 64, 1000] {
        let (x, weight) = (random([3, 7, width]) * 3.0, random([width]));
        let factor = (x.clone().square().mean_dim(2) + 1e-6).sqrt().recip();
        let plain = x.clone() * factor * weight.clone().unsqueeze::<3>();
        close(rms_norm(x, weight, 1e-6), plain);
    }
}

#[test]
fn gates_are_those_of_the_tanh_formula() {
    for length in [1, 17, 5000] {
        let (gate, x) = (random([2, length]) * 4.0, random([2, length]));
        close(gated_gelu(gate.clone(), x.clone()), activation::gelu_approximate(gate) * x);
    }
    let far = Tensor::<1>::from_floats([-1e20, -60.0, 60.0, f32::NAN], &Device::flex());
    let far = gated_gelu(far.clone(), Tensor::ones_like(&far)).into_data().try_to_vec().unwrap();
    assert!(f32::abs(far[0]) < 1e-17 && f32::abs(far[1]) < 1e-30, "{far:?}");
    assert!(far[2] == 60.0 && f32::is_nan(far[3]), "{far:?}");
}

#[test]
fn a_weight_is_laid_out_by_columns_whatever_its_size() {
    for (out, width) in [(1, 1), (3, 700), (65, 256), (130, 513)] {
        let weight = random([out, width]);
        let turned = by_columns(weight.clone());
        turned.into_data().assert_eq(&weight.into_data(), true);
    }
}

/// `erf` by its series in f64: alternating, so the first term left out bounds the error.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn gelu_is_exact_to_f32() {
    let xs: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 1000.0).collect();
    let ours = gelu(Tensor::<1>::from_floats(xs.as_slice(), &Device::flex())).into_data();
    for (x, ours) in xs.iter().zip(ours.iter::<f32>()) {
        let x = f64::from(*x);
        let exact = 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
        let off = (f64::from(ours) - exact).abs();
        assert!(off <= 2e-7 * x.abs().max(1e-3), "gelu({x}) = {ours}, not {exact}");
    }
    let far = Tensor::<1>::from_floats([-100.0, 100.0, f32::NAN], &Device::flex());
    let far = gelu(far).into_data().try_to_vec::<f32>().unwrap();
    assert!(far[0].abs() < 1e-14 && far[1] == 100.0 && far[2].is_nan());
}

#[test]
fn one_thread_and_many_give_the_same_bits() {
    let (x, weight) = (random([1, 300, 96]), random([200, 96]));
    let q = random([1, 2, 300, 32]);
    let work = || {
        let y = linear(x.clone(), weight.clone(), None, Activation::Gelu).into_data();
        (y, attention(q.clone(), q.clone(), q.clone(), None, 0.2).into_data())
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let (alone, together) = (one.install(work), work());
    alone.0.assert_eq(&together.0, true);
    alone.1.assert_eq(&together.1, true);
}
