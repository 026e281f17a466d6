//! Values that are stated, counted or converted rather than computed.

use std::path::Path;

use super::{Call, Outcome, one, sizes};
use crate::models::tagger::{
    host::{Array, Host},
    initializer::{self, data_type},
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

/// Integers from `start` by `delta`, before `limit`.
pub(super) fn range(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let mut number = |index| {
        let number = call.value(index)?.ints()?.single();
        number.ok_or_else(|| format!("input {index} is not a single integer"))
    };
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    let step = usize::try_from(delta.unsigned_abs()).ok().filter(|&step| step > 0);
    let step = step.ok_or("its step is zero")?;
    let list = match delta > 0 {
        true => (start..limit).step_by(step).collect(),
        false => (limit + 1..=start).rev().step_by(step).collect(),
    };
    one(Host::list(list))
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

/// Every float type is f32 here, every integer type i64.
pub(super) fn cast(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    match call.int("to", 0) {
        data_type::FLOAT | data_type::FLOAT16 | data_type::BFLOAT16 | data_type::DOUBLE => {
            match value {
                Value::Ints(host) => one(host.map(|value| value as f32)),
                Value::Bools(host) => one(host.map(|value| f32::from(u8::from(value)))),
                floats => one(floats),
            }
        }
        data_type::BOOL => match value {
            Value::Ints(host) => one(host.map(|value| value != 0)),
            Value::Bools(host) => one(host),
            floats => one(floats.reals()?.map(|value| value != 0.0)),
        },
        data_type::INT8
        | data_type::UINT8
        | data_type::INT16
        | data_type::UINT16
        | data_type::INT32
        | data_type::UINT32
        | data_type::INT64
        | data_type::UINT64 => match value {
            Value::Ints(host) => one(host),
            Value::Bools(host) => one(host.map(i64::from)),
            floats => one(floats.reals()?.map(|value| value as i64)),
        },
        other => Err(format!("element type {other} is not supported")),
    }
}
