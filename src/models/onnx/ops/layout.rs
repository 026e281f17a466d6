//! The same elements in another order or shape.

use burn::tensor::Device;

use super::{Call, Outcome, axes, axis, each, one, sizes};
use crate::models::onnx::{
    host::{Array, Host, broadcast, elements},
    value::{Floats, Value},
};

pub(super) fn reshape(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let wanted = call.listed(1, "shape")?.ok_or("it states no shape")?;
    let shape = target(&value.shape(), &wanted, call.int("allowzero", 0) != 0)?;
    each!(value, array => one(array.reshape(&shape)?))
}

/// The shape that a list with 0 ("as it was") and -1 ("the rest") asks for.
fn target(shape: &[usize], wanted: &[i64], zero_is_size: bool) -> Outcome<Vec<usize>> {
    let size = |(axis, &size): (usize, &i64)| match size {
        -1 => Ok(1),
        0 if !zero_is_size => {
            shape.get(axis).copied().ok_or_else(|| format!("no dimension {axis} to keep"))
        }
        size => usize::try_from(size).map_err(|_| format!("negative size {size}")),
    };
    let mut result = wanted.iter().enumerate().map(size).collect::<Outcome<Vec<_>>>()?;
    if let Some(rest) = wanted.iter().position(|&size| size == -1) {
        let (all, known): (usize, usize) = (shape.iter().product(), result.iter().product());
        if known == 0 || all % known != 0 {
            return Err(format!("{shape:?} does not reshape to {wanted:?}"));
        }
        result[rest] = all / known;
    }
    Ok(result)
}

pub(super) fn flatten(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let shape = value.shape();
    // An axis behind the last dimension is allowed here.
    let at = call.int("axis", 1);
    let at = if at < 0 { at + shape.len() as i64 } else { at };
    let (outer, inner) = usize::try_from(at)
        .ok()
        .and_then(|at| shape.split_at_checked(at))
        .ok_or_else(|| format!("there is no dimension {at} among {}", shape.len()))?;
    let shape = [outer.iter().product(), inner.iter().product()];
    each!(value, array => one(array.reshape(&shape)?))
}

pub(super) fn squeeze(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let shape = value.shape();
    let dropped = match call.listed(1, "axes")? {
        Some(list) => axes(&list, shape.len())?,
        None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
    };
    if let Some(axis) = dropped.iter().find(|&&axis| shape[axis] != 1) {
        return Err(format!("dimension {axis} of {shape:?} is not one"));
    }
    let kept = shape.iter().enumerate().filter(|(axis, _)| !dropped.contains(axis));
    let shape: Vec<usize> = kept.map(|(_, &size)| size).collect();
    each!(value, array => one(array.reshape(&shape)?))
}

pub(super) fn unsqueeze(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let list = call.listed(1, "axes")?.ok_or("it states no axes")?;
    let rank = value.shape().len() + list.len();
    let mut added = axes(&list, rank)?;
    added.sort_unstable();
    let mut shape = value.shape();
    for axis in added {
        shape.insert(axis.min(shape.len()), 1);
    }
    each!(value, array => one(array.reshape(&shape)?))
}

pub(super) fn transpose(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let rank = value.shape().len();
    let order: Vec<usize> = match call.attribute("perm") {
        Some(attribute) => axes(&attribute.ints, rank)?,
        None => (0..rank).rev().collect(),
    };
    let mut all = order.clone();
    all.sort_unstable();
    if !all.iter().copied().eq(0..rank) {
        return Err(format!("{order:?} is no order of {rank} dimensions"));
    }
    each!(value, array => one(array.permute(&order)))
}

pub(super) fn expand(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let wanted = sizes(call.value(1)?.ints()?.data())?;
    let shape = broadcast(&value.shape(), &wanted)?;
    match value {
        // On the device an expanded array is a view, so a large one costs nothing.
        Value::Reals(host) => one(Value::Reals(host).floats(call.device)?.expand(&shape)?),
        value => each!(value, array => one(array.expand(&shape)?)),
    }
}

pub(super) fn concat(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let inputs = std::mem::take(&mut call.inputs);
    let inputs: Vec<Value> = inputs.into_iter().flatten().collect();
    let first = inputs.first().ok_or("it has no inputs")?.shape();
    let at = axis(call.int("axis", 0), first.len())?;
    for shape in inputs.iter().map(Value::shape) {
        let fits = |other: usize| other == at || shape.get(other) == first.get(other);
        if shape.len() != first.len() || !(0..first.len()).all(fits) {
            return Err(format!("{shape:?} does not join {first:?} along dimension {at}"));
        }
    }
    let shapes = inputs.iter().map(Value::shape);
    let mut whole = first.clone();
    whole[at] = shapes.map(|shape| shape[at]).fold(0, usize::saturating_add);
    elements(&whole)?;
    one(joined(inputs, at, call.device)?)
}

/// Arrays of one kind, and of equal sizes but along `at`, joined there.
pub(super) fn joined(parts: Vec<Value>, at: usize, device: &Device) -> Outcome<Value> {
    let parts = parts.into_iter();
    match parts.as_slice().first() {
        Some(Value::Ints(_)) => {
            Ok(Host::concat(parts.map(Value::ints).collect::<Outcome<_>>()?, at).into())
        }
        Some(Value::Bools(_)) => {
            Ok(Host::concat(parts.map(Value::bools).collect::<Outcome<_>>()?, at).into())
        }
        _ => {
            let parts = parts.map(|part| part.floats(device)).collect::<Outcome<Vec<_>>>()?;
            Ok(Floats::concat(parts, at).into())
        }
    }
}

pub(super) fn tile(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let repeats = sizes(call.value(1)?.ints()?.data())?;
    if repeats.len() != value.shape().len() {
        return Err(format!("{repeats:?} does not repeat {:?}", value.shape()));
    }
    let repeated = |(&size, &times): (&usize, &usize)| size.saturating_mul(times);
    elements(&value.shape().iter().zip(&repeats).map(repeated).collect::<Vec<_>>())?;
    each!(value, array => {
        let mut array = array;
        for (axis, &times) in repeats.iter().enumerate() {
            let size = array.shape()[axis];
            let indices: Vec<usize> = (0..size * times).map(|index| index % size).collect();
            if times != 1 {
                array = array.select(axis, &indices);
            }
        }
        one(array)
    })
}
