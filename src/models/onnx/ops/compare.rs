//! Comparisons. Their results steer shapes and choices, so they are made on the host.

use super::{Call, Outcome, one};
use crate::models::onnx::value::Value;

fn compare(
    mut call: Call<'_>,
    ints: fn(&i64, &i64) -> bool,
    reals: fn(&f32, &f32) -> bool,
) -> Outcome<Vec<Value>> {
    match call.pair()? {
        (Value::Ints(left), Value::Ints(right)) => one(left.zip(right, |a, b| Ok(ints(&a, &b)))?),
        (Value::Bools(left), Value::Bools(right)) => {
            one(left.zip(right, |a, b| Ok(ints(&a.into(), &b.into())))?)
        }
        (left, right) => one(left.reals()?.zip(right.reals()?, |a, b| Ok(reals(&a, &b)))?),
    }
}

pub(super) fn equal(call: Call<'_>) -> Outcome<Vec<Value>> {
    compare(call, i64::eq, f32::eq)
}

pub(super) fn greater(call: Call<'_>) -> Outcome<Vec<Value>> {
    compare(call, i64::gt, f32::gt)
}

pub(super) fn greater_or_equal(call: Call<'_>) -> Outcome<Vec<Value>> {
    compare(call, i64::ge, f32::ge)
}

pub(super) fn less(call: Call<'_>) -> Outcome<Vec<Value>> {
    compare(call, i64::lt, f32::lt)
}

pub(super) fn less_or_equal(call: Call<'_>) -> Outcome<Vec<Value>> {
    compare(call, i64::le, f32::le)
}
