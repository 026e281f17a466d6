//! Integers as rows of bits, and booleans that differ.

use super::{Call, Outcome, one};
use crate::models::onnx::value::Value;

fn pair(mut call: Call<'_>, function: fn(i64, i64) -> i64) -> Outcome<Vec<Value>> {
    let (left, right) = (call.value(0)?.ints()?, call.value(1)?.ints()?);
    one(left.zip(right, |a, b| Ok(function(a, b)))?)
}

pub(super) fn and(call: Call<'_>) -> Outcome<Vec<Value>> {
    pair(call, |a, b| a & b)
}

pub(super) fn or(call: Call<'_>) -> Outcome<Vec<Value>> {
    pair(call, |a, b| a | b)
}

pub(super) fn xor(call: Call<'_>) -> Outcome<Vec<Value>> {
    pair(call, |a, b| a ^ b)
}

pub(super) fn not(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    one(call.value(0)?.ints()?.map(|value| !value))
}

/// By as many places as the second input says; what leaves the declared width is lost.
pub(super) fn shift(call: Call<'_>) -> Outcome<Vec<Value>> {
    let function: fn(i64, i64) -> i64 = match call.text("direction") {
        "LEFT" => |a, b| u32::try_from(b).ok().and_then(|b| a.checked_shl(b)).unwrap_or(0),
        "RIGHT" => |a, b| {
            let places = u32::try_from(b).ok();
            places.and_then(|b| (a as u64).checked_shr(b)).unwrap_or(0) as i64
        },
        other => return Err(format!("direction {other} is not supported")),
    };
    pair(call, function)
}

/// `Xor` of booleans.
pub(super) fn differ(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (left, right) = call.pair()?;
    one(left.bools()?.zip(right.bools()?, |a, b| Ok(a != b))?)
}
