//! Sums, means and the like along some dimensions.

use burn::tensor::Tensor;

use super::{Call, Outcome, axes, one};
use crate::models::tagger::{
    host::{Array, Host},
    value::{RANK, Value},
};

type OnTensor = fn(Tensor<RANK>, &[usize]) -> Tensor<RANK>;

/// Reduces on the device, or on the host what is there and has a `fold`.
fn reduce(
    mut call: Call<'_>,
    tensor: OnTensor,
    ints: Option<fn(i64, i64) -> i64>,
) -> Outcome<Vec<Value>> {
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
    match (value, ints) {
        (Value::Ints(host), Some(fold)) => one(on_host(host, &places, fold)?.reshape(&result)?),
        (value, _) => {
            let floats = value.floats(call.device)?;
            let places: Vec<usize> = places.iter().map(|&axis| floats.place(axis)).collect();
            one(floats.map(|array| tensor(array, &places)).reshape(&result)?)
        }
    }
}

fn on_host(host: Host<i64>, places: &[usize], fold: fn(i64, i64) -> i64) -> Outcome<Host<i64>> {
    places.iter().try_fold(host, |host, &axis| {
        let size = host.shape()[axis];
        let slices = (0..size).map(|index| host.clone().select(axis, &[index]));
        let whole = slices.map(Ok).reduce(|a, b| a?.zip(b?, |a, b| Ok(fold(a, b))));
        whole.unwrap_or_else(|| Err("it has no elements to reduce".to_owned()))
    })
}

pub(super) fn sum(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, |x, places| x.sum_dims(places), Some(i64::wrapping_add))
}

pub(super) fn product(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, |x, places| x.prod_dims(places), Some(i64::wrapping_mul))
}

pub(super) fn max(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, |x, places| x.max_dims(places), Some(Ord::max))
}

pub(super) fn min(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, |x, places| x.min_dims(places), Some(Ord::min))
}

pub(super) fn mean(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, |x, places| x.mean_dims(places), None)
}

pub(super) fn l1(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, |x, places| x.abs().sum_dims(places), None)
}

pub(super) fn l2(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, |x, places| x.square().sum_dims(places).sqrt(), None)
}

pub(super) fn sum_square(call: Call<'_>) -> Outcome<Vec<Value>> {
    reduce(call, |x, places| x.square().sum_dims(places), None)
}
