//! Values that are stated, counted or converted rather than computed.

use std::path::Path;

use super::{Call, Outcome, one, sizes};
use crate::models::onnx::{
    element::Element,
    host::{Array, Host, elements},
    initializer,
    value::Value,
};

pub(super) fn constant(call: Call<'_>) -> Outcome<Vec<Value>> {
    if call.tensor("value").is_some() {
        return one(stated(&call)?);
    }
    let Some(attribute) = call.node.attribute.first() else {
        return Err("it states no value".to_owned());
    };
    match attribute.name.as_str() {
        "value_int" => one(Host::scalar(attribute.i)),
        "value_ints" => one(Host::list(attribute.ints.clone())),
        "value_float" => one(Host::scalar(attribute.f)),
        "value_floats" => one(Host::list(attribute.floats.clone())),
        other => Err(format!("a {other} is not supported")),
    }
}

/// The tensor in attribute `value`.
fn stated(call: &Call<'_>) -> Outcome<Value> {
    let Some(tensor) = call.tensor("value") else { return Ok(Host::scalar(0.0).into()) };
    // Attributes lie in the graph itself: no folder is searched.
    if tensor.data_location.value() != 0 {
        return Err("its value lies outside the graph".to_owned());
    }
    initializer::decode(Path::new(""), tensor).map_err(|error| error.to_string())
}

pub(super) fn constant_of_shape(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let shape = sizes(call.value(0)?.ints()?.data())?;
    elements(&shape)?;
    let value = stated(&call)?;
    match value {
        // A large float array is one number seen from many places.
        Value::Reals(host) if host.single().is_some() => {
            let number = host.reshape(&[])?;
            one(Value::Reals(number).floats(call.device)?.expand(&shape)?)
        }
        Value::Ints(host) => one(host.reshape(&[])?.expand(&shape)?),
        Value::Bools(host) => one(host.reshape(&[])?.expand(&shape)?),
        _ => Err("its value is not a single number".to_owned()),
    }
}

/// Numbers from `start` by `delta`, before `limit`.
pub(super) fn range(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let missing = || "it takes three single numbers".to_owned();
    match (call.value(0)?, call.value(1)?, call.value(2)?) {
        (Value::Ints(start), Value::Ints(limit), Value::Ints(delta)) => {
            let numbers = [start.single(), limit.single(), delta.single()];
            let [Some(start), Some(limit), Some(delta)] = numbers else { return Err(missing()) };
            let way = i128::from(limit) - i128::from(start);
            let count = counted(way as f64 / delta as f64)?;
            one(Host::list((0..count).map(|i| start + i * delta).collect()))
        }
        (start, limit, delta) => {
            let numbers =
                [start.reals()?, limit.reals()?, delta.reals()?].map(|host| host.single());
            let [Some(start), Some(limit), Some(delta)] = numbers else { return Err(missing()) };
            let count = counted((f64::from(limit) - f64::from(start)) / f64::from(delta))?;
            let list = (0..count).map(|i| start + i as f32 * delta).collect();
            one(Value::constant(Host::list(list), call.device)?)
        }
    }
}

/// The number of steps on a way of this many, which need not be whole.
fn counted(steps: f64) -> Outcome<i64> {
    if !steps.is_finite() {
        return Err("its step is zero".to_owned());
    }
    let count = steps.ceil().max(0.0) as usize;
    elements(&[count])?;
    Ok(count as i64)
}

pub(super) fn shape(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let shape = call.value(0)?.shape();
    let bound = |name, default| {
        let place = call.int(name, default);
        let place = if place < 0 { place + shape.len() as i64 } else { place };
        place.clamp(0, shape.len() as i64) as usize
    };
    let (start, end) = (bound("start", 0), bound("end", shape.len() as i64));
    let part = shape.get(start..end).unwrap_or_default();
    one(Host::list(part.iter().map(|&size| size as i64).collect()))
}

pub(super) fn size(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    one(Host::scalar(call.value(0)?.shape().iter().product::<usize>() as i64))
}

/// Every float type is f32 here; a float becomes an integer by dropping its fraction, and integers wrap
/// at the width of the type asked for.
pub(super) fn cast(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let code = call.int("to", 0);
    let to = Element::of(code).ok_or_else(|| format!("element type {code} is not supported"))?;
    one(converted(call.value(0)?, to)?.placed(call.device)?)
}

/// To the type of the second input.
pub(super) fn cast_like(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let to = match call.element(1) {
        Some(element) => element,
        None => call.value(1)?.element(),
    };
    one(converted(call.value(0)?, to)?.placed(call.device)?)
}

fn converted(value: Value, to: Element) -> Outcome<Value> {
    Ok(match (value, to) {
        (Value::Ints(host), to) if to.is_float() => host.map(|value| value as f32).into(),
        (Value::Bools(host), to) if to.is_float() => {
            host.map(|bit| f32::from(u8::from(bit))).into()
        }
        (floats, to) if to.is_float() => floats,
        (Value::Bools(host), Element::Bool) => host.into(),
        (Value::Ints(host), Element::Bool) => host.map(|value| value != 0).into(),
        (floats, Element::Bool) => floats.reals()?.map(|value| value != 0.0).into(),
        (Value::Ints(host), _) => Value::Ints(host).wrapped(Some(to)),
        (Value::Bools(host), _) => host.map(i64::from).into(),
        (floats, _) => Value::Ints(floats.reals()?.map(|value| value as i64)).wrapped(Some(to)),
    })
}
