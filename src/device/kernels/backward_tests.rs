//! Layers with their gradients, against the same in Burn's operators: those compute for tensors on a
//! tape, so each function is called once with plain tensors and once with tracked ones.

use std::cell::Cell;

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::*;
use crate::base::Stream;

thread_local! {
    /// Arrays that this test has drawn.
    static DRAWN: Cell<u64> = const { Cell::new(0) };
}

/// Normal numbers, others for each call and the same in each run of a test.
fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let count = DRAWN.replace(DRAWN.get() + 1);
    let values = Stream::new(count, "kernels", None, &[]).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The same numbers where Burn's operators compute.
fn tracked<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().autodiff()
}

/// Sums of up to 2100 numbers in another order: each may be off by some spacings of f32.
fn close<const D: usize>(ours: Tensor<D>, burn: Tensor<D>) {
    let burn = burn.inner();
    assert_eq!(ours.dims(), burn.dims());
    let apart = (ours - burn.clone()).square().sum().sqrt().into_scalar::<f32>();
    let size = burn.square().sum().sqrt().into_scalar::<f32>();
    assert!(apart <= 4e-6 * size, "{apart} apart at {size}");
}

/// `[B, N, width]` cut out of the columns of a wider array.
fn columns(shape: [usize; 3]) -> Tensor<3> {
    random([shape[0], shape[1], shape[2] + 7]).narrow(2, 3, shape[2])
}

const SHAPES: [[usize; 3]; 5] = [[1, 1, 6], [2, 1, 37], [1, 70, 64], [2, 33, 5], [3, 40, 130]];

#[test]
fn linear_layers() {
    for [batch, length, width] in SHAPES {
        for out in [1, 66, 2100] {
            let (x, d) = (columns([batch, length, width]), columns([batch, length, out]));
            let (weight, bias) = (random([out, width]), random([out]));
            let burn = linear_forward(tracked(&x), tracked(&weight), tracked(&bias));
            close(linear_forward(x.clone(), weight.clone(), bias), burn);
            let burn = linear_d_input(tracked(&d), tracked(&weight));
            close(linear_d_input(d.clone(), weight), burn);
            let burn = linear_d_bias(tracked(&d), None);
            close(linear_d_bias(d.clone(), None), burn);
            for onto in [None, Some(random([out, width]))] {
                let burn = linear_d_weight(tracked(&x), tracked(&d), onto.as_ref().map(tracked));
                close(linear_d_weight(x.clone(), d.clone(), onto), burn);
            }
        }
    }
}

#[test]
fn modulated_norms() {
    for shape in SHAPES {
        let (x, d_y) = (columns(shape) * 2.0 + 1.0, columns(shape));
        let [shift, scale] = [(); 2].map(|()| columns([shape[0], 1, shape[2]]));
        let burn = modulated_norm(tracked(&x), tracked(&shift), tracked(&scale), 1e-3);
        close(modulated_norm(x.clone(), shift, scale.clone(), 1e-3), burn);
        for onto in [None, Some(random(shape))] {
            let before = onto.as_ref().map(tracked);
            let burn =
                modulated_norm_backward(tracked(&x), tracked(&scale), 1e-3, tracked(&d_y), before);
            let held = onto.clone();
            let ours = modulated_norm_backward(x.clone(), scale.clone(), 1e-3, d_y.clone(), onto);
            close(ours.x, burn.x);
            close(ours.shift, burn.shift);
            close(ours.scale, burn.scale);
            drop(held);
        }
    }
}

#[test]
fn gated_sums() {
    for shape in SHAPES {
        let (x, y, gate) = (random(shape), columns(shape), columns([shape[0], 1, shape[2]]));
        let burn = gated_sum(tracked(&x), tracked(&gate), tracked(&y));
        close(gated_sum(x.clone(), gate.clone(), y.clone()), burn);
        let burn = gated_sum_backward(tracked(&gate), tracked(&y), tracked(&x));
        let ours = gated_sum_backward(gate, y, x);
        close(ours.gate, burn.gate);
        close(ours.y, burn.y);
    }
}

#[test]
fn gelus() {
    for shape in SHAPES {
        let (x, d_y) = (columns(shape) * 3.0, columns(shape));
        for beside in [None, Some(columns([shape[0], shape[1], 9]))] {
            let other = beside.as_ref().map(tracked);
            close(gelu_tanh(x.clone(), beside.clone()), gelu_tanh(tracked(&x), other.clone()));
            let burn = gelu_tanh_backward(tracked(&x), tracked(&d_y), other);
            close(gelu_tanh_backward(x.clone(), d_y.clone(), beside), burn);
        }
    }
    let far = Tensor::<1>::from_floats([-1e4, -60.0, 60.0, 1e4], &Device::flex());
    let far = far.reshape([1, 1, 4]);
    let slopes = gelu_tanh_backward(far.clone(), far.ones_like(), None);
    let slopes = slopes.try_into_vec_as::<f32>().unwrap();
    assert!(slopes[..2].iter().all(|slope: &f32| slope.abs() < 1e-20), "{slopes:?}");
    assert!(slopes[2..] == [1.0, 1.0], "{slopes:?}");
}

#[test]
fn heads_of_several_parts() {
    for (batch, lengths, heads, head) in [(1, vec![40, 35], 2, 128), (2, vec![3, 33, 1], 3, 6)] {
        let total = lengths.iter().sum::<usize>();
        let rotation = Rotation { cos: random([total, head / 2]), sin: random([total, head / 2]) };
        let part = |&length: &usize| Projected {
            qkv: columns([batch, length, 3 * heads * head]),
            query_scale: random([head]),
            key_scale: random([head]),
        };
        let parts: Vec<_> = lengths.iter().map(part).collect();
        let on_tape = |part: &Projected| Projected {
            qkv: tracked(&part.qkv),
            query_scale: tracked(&part.query_scale),
            key_scale: tracked(&part.key_scale),
        };
        let burn_parts: Vec<_> = parts.iter().map(on_tape).collect();
        let Rotation { cos, sin } = &rotation;
        let turned = Rotation { cos: tracked(cos), sin: tracked(sin) };
        let burn = rotated_heads(&burn_parts, &turned, 1e-6);
        for (ours, burn) in rotated_heads(&parts, &rotation, 1e-6).into_iter().zip(burn) {
            close(ours, burn);
        }
        let d = [(); 3].map(|()| random([batch, total, heads, head]).swap_dims(1, 2));
        let burn = rotated_heads_backward(&burn_parts, &turned, 1e-6, d.each_ref().map(tracked));
        let ours = rotated_heads_backward(&parts, &rotation, 1e-6, d);
        for (ours, burn) in ours.into_iter().zip(burn) {
            close(ours.qkv, burn.qkv);
            close(ours.query_scale, burn.query_scale);
            close(ours.key_scale, burn.key_scale);
        }
    }
}

#[test]
fn attention_with_and_without_a_mask() {
    for (batch, heads, length, seen, head) in [(1, 2, 300, 300, 16), (2, 3, 7, 9, 8)] {
        let [q, d] = [(); 2].map(|()| random([batch, length, heads, head]).swap_dims(1, 2));
        let [k, v] = [(); 2].map(|()| random([batch, heads, seen, head]));
        let masked = (0..batch * seen).map(|key| key % 3 == 1).collect::<Vec<_>>();
        let masked = TensorData::new(masked, [batch, 1, 1, seen]);
        let masked = Tensor::<4, Bool>::from_data(masked, &Device::flex());
        for masked in [None, Some(&masked)] {
            let [tq, tk, tv, td] = [&q, &k, &v, &d].map(tracked);
            let burn = attention_backward(&tq, &tk, &tv, masked, &td);
            let ours = attention_backward(&q, &k, &v, masked, &d);
            for (ours, burn) in ours.into_iter().zip(burn) {
                close(ours, burn);
            }
        }
    }
}

#[test]
fn gradients_have_the_same_bits_whatever_the_number_of_threads() {
    let (x, d, weight) = (random([2, 150, 96]), random([2, 150, 80]), random([80, 96]));
    let scale = random([2, 1, 96]);
    let heads = [(); 4].map(|()| random([1, 3, 300, 32]));
    let work = || {
        let [q, k, v, d_out] = &heads;
        let [d_q, d_k, d_v] = attention_backward(q, k, v, None, d_out);
        let d_x = linear_d_input(d.clone(), weight.clone());
        let norm = modulated_norm_backward(x.clone(), scale.clone(), 1e-6, d_x, Some(x.clone()));
        vec![
            linear_d_weight(x.clone(), d.clone(), None).into_data(),
            linear_d_bias(d.clone(), None).into_data(),
            norm.x.into_data(),
            norm.shift.into_data(),
            norm.scale.into_data(),
            gated_sum_backward(scale.clone(), x.clone(), x.clone()).gate.into_data(),
            d_q.into_data(),
            d_k.into_data(),
            d_v.into_data(),
        ]
    };
    let on = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    };
    assert!(on(1) == on(3));
}
