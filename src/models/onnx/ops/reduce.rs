//! Sums, means and the like along some dimensions.

use burn::tensor::Tensor;

use super::{Call, Outcome, axes, one};
use crate::models::onnx::{
    host::{Array, Host},
    value::{RANK, Value},
};

/// One way to make one number of many.
struct Reduction {
    tensor: fn(Tensor<RANK>, &[usize]) -> Tensor<RANK>,
    ints: fn(&[i64]) -> Option<i64>,
    /// What it makes of no numbers at all.
    nothing: f32,
}

const SUM: Reduction = Reduction {
    tensor: |x, places| x.sum_dims(places),
    ints: |list| Some(list.iter().copied().fold(0, i64::wrapping_add)),
    nothing: 0.0,
};

const PRODUCT: Reduction = Reduction {
    tensor: |x, places| x.prod_dims(places),
    ints: |list| Some(list.iter().copied().fold(1, i64::wrapping_mul)),
    nothing: 1.0,
};

const MAX: Reduction = Reduction {
    tensor: |x, places| x.max_dims(places),
    ints: |list| list.iter().copied().max(),
    nothing: f32::NEG_INFINITY,
};

const MIN: Reduction = Reduction {
    tensor: |x, places| x.min_dims(places),
    ints: |list| list.iter().copied().min(),
    nothing: f32::INFINITY,
};

const MEAN: Reduction = Reduction {
    tensor: |x, places| x.mean_dims(places),
    ints: |list| (SUM.ints)(list)?.checked_div(list.len() as i64),
    nothing: f32::NAN,
};

const L1: Reduction = Reduction {
    tensor: |x, places| x.abs().sum_dims(places),
    ints: |list| Some(list.iter().fold(0, |sum, value| sum.wrapping_add(value.wrapping_abs()))),
    nothing: 0.0,
};

const L2: Reduction = Reduction {
    tensor: |x, places| x.square().sum_dims(places).sqrt(),
    ints: |list| Some(list.iter().map(|&value| (value as f64).powi(2)).sum::<f64>().sqrt() as i64),
    nothing: 0.0,
};

const SUM_SQUARE: Reduction = Reduction {
    tensor: |x, places| x.square().sum_dims(places),
    ints: |list| Some(list.iter().fold(0, |sum, v| sum.wrapping_add(v.wrapping_mul(*v)))),
    nothing: 0.0,
};

const LOG_SUM: Reduction = Reduction {
    tensor: |x, places| x.sum_dims(places).log(),
    ints: |list| Some(((SUM.ints)(list)? as f64).ln() as i64),
    nothing: f32::NEG_INFINITY,
};

const LOG_SUM_EXP: Reduction = Reduction {
    // The largest is taken out, so that nothing overflows.
    tensor: |x, places| {
        let largest = x.clone().max_dims(places).clamp(f32::MIN, f32::MAX);
        (x - largest.clone()).exp().sum_dims(places).log() + largest
    },
    ints: |list| Some(list.iter().map(|&value| (value as f64).exp()).sum::<f64>().ln() as i64),
    nothing: f32::NEG_INFINITY,
};

/// Axes from input 1 or, in older opsets, from an attribute.
fn reduce(mut call: Call<'_>, reduction: &Reduction) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let shape = value.shape();
    let list = call.listed(1, "axes")?.unwrap_or_default();
    if list.is_empty() && call.int("noop_with_empty_axes", 0) != 0 {
        return one(value);
    }
    let places = match list.is_empty() {
        true => (0..shape.len()).collect(),
        false => axes(&list, shape.len())?,
    };
    let keep = call.int("keepdims", 1) != 0;
    let result = |axis: usize| match places.contains(&axis) {
        true => keep.then_some(1),
        false => Some(shape[axis]),
    };
    let result: Vec<usize> = (0..shape.len()).filter_map(result).collect();
    match value {
        Value::Ints(host) => one(on_host(host, &places, &result, reduction.ints)?),
        Value::Bools(host) => {
            let ints = on_host(host.map(i64::from), &places, &result, reduction.ints)?;
            one(ints.map(|value| value != 0))
        }
        _ if shape.contains(&0) => {
            one(Value::Reals(Host::scalar(reduction.nothing).expand(&result)?))
        }
        value => {
            let floats = value.floats(call.device)?;
            let places: Vec<usize> = places.iter().map(|&axis| floats.place(axis)).collect();
            one(floats.map(|array| (reduction.tensor)(array, &places)).reshape(&result)?)
        }
    }
}

fn on_host(
    host: Host<i64>,
    places: &[usize],
    result: &[usize],
    function: fn(&[i64]) -> Option<i64>,
) -> Outcome<Host<i64>> {
    let shape = host.shape();
    let kept = (0..shape.len()).filter(|axis| !places.contains(axis));
    let reduced = (0..shape.len()).filter(|axis| places.contains(axis));
    let size: usize = reduced.clone().map(|axis| shape[axis]).product();
    // What is reduced comes to the end, so that each group lies together.
    let host = host.permute(&kept.chain(reduced).collect::<Vec<_>>());
    let groups: usize = result.iter().product();
    let group = |index: usize| function(&host.data()[index * size..][..size]);
    let data = (0..groups).map(group).collect::<Option<Vec<_>>>();
    Host::new(result.to_vec(), data.ok_or("it has no elements to reduce")?)
}

pub(super) fn sum(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &SUM)
}

pub(super) fn product(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &PRODUCT)
}

pub(super) fn max(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &MAX)
}

pub(super) fn min(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &MIN)
}

pub(super) fn mean(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &MEAN)
}

pub(super) fn l1(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &L1)
}

pub(super) fn l2(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &L2)
}

pub(super) fn sum_square(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &SUM_SQUARE)
}

pub(super) fn log_sum(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &LOG_SUM)
}

pub(super) fn log_sum_exp(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, &LOG_SUM_EXP)
}
