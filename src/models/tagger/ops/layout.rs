//! The same elements in another order or shape.

use burn::tensor::{DType, Tensor, ops::PadMode};

use super::{Call, Outcome, axes, axis, each, one, sizes};
use crate::models::tagger::{
    host::{Array, Host, broadcast},
    value::{Floats, RANK, Value},
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
    match inputs[0] {
        Value::Ints(_) => {
            let parts = inputs.into_iter().map(Value::ints).collect::<Outcome<_>>()?;
            one(Host::concat(parts, at))
        }
        Value::Bools(_) => {
            let parts = inputs.into_iter().map(Value::bools).collect::<Outcome<_>>()?;
            one(Host::concat(parts, at))
        }
        _ if inputs.iter().all(|input| matches!(input, Value::Reals(_))) => {
            let parts = inputs.into_iter().map(Value::reals).collect::<Outcome<_>>()?;
            one(Host::concat(parts, at))
        }
        _ => {
            let parts = inputs.into_iter().map(|input| input.floats(call.device));
            one(Floats::concat(parts.collect::<Outcome<_>>()?, at))
        }
    }
}

pub(super) fn tile(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let repeats = sizes(call.value(1)?.ints()?.data())?;
    if repeats.len() != value.shape().len() {
        return Err(format!("{repeats:?} does not repeat {:?}", value.shape()));
    }
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

/// Pads, or crops where a number is negative.
pub(super) fn pad(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let pads = call.listed(1, "pads")?.ok_or("it states no sizes")?;
    let fill = match call.optional(2) {
        Some(value) => value.reals()?.single().unwrap_or(0.0),
        None => call.float("value", 0.0),
    };
    let rank = value.rank();
    let places = match call.optional(3) {
        Some(list) => axes(list.ints()?.data(), rank)?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * places.len() {
        return Err(format!("{pads:?} does not pad {} dimensions", places.len()));
    }
    let mut pairs = [(0, 0); RANK];
    let mut value = value;
    for (i, &axis) in places.iter().enumerate() {
        let (before, after) = (pads[i], pads[i + places.len()]);
        let crop = |pad: i64| usize::try_from(-pad).unwrap_or(0);
        let size = value.shape()[axis];
        let kept = size.checked_sub(crop(before) + crop(after));
        let kept = kept.ok_or_else(|| format!("{pads:?} cuts away dimension {axis}"))?;
        value = value.strided(axis, crop(before), kept, 1);
        let grow = |pad: i64| usize::try_from(pad).unwrap_or(0);
        pairs[value.place(axis)] = (grow(before), grow(after));
    }
    let mode = match call.text("mode") {
        "" | "constant" => PadMode::Constant(fill),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        other => return Err(format!("mode {other} is not supported")),
    };
    if pairs == [(0, 0); RANK] {
        return one(value);
    }
    if let PadMode::Constant(fill) = mode {
        return one(value.map(|tensor| filled(tensor, pairs, fill)));
    }
    one(value.map(|tensor| tensor.pad(pairs, mode)))
}

/// `tensor` in the middle of a block of `fill`.
fn filled(tensor: Tensor<RANK>, pairs: [(usize, usize); RANK], fill: f32) -> Tensor<RANK> {
    let dims = tensor.dims();
    let outer: [usize; RANK] = std::array::from_fn(|i| pairs[i].0 + dims[i] + pairs[i].1);
    let inner: [std::ops::Range<usize>; RANK] =
        std::array::from_fn(|i| pairs[i].0..pairs[i].0 + dims[i]);
    Tensor::full(outer, fill, (&tensor.device(), DType::F32)).slice_assign(inner, tensor)
}
