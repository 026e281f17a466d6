//! Parts of an array.

use super::{Call, Outcome, axes, axis, each, one, sizes};
use crate::models::onnx::{
    host::{Array, elements},
    value::Value,
};

pub(super) fn gather(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let indices = call.value(1)?.ints()?;
    let shape = value.shape();
    let at = axis(call.int("axis", 0), shape.len())?;
    let places = axes(indices.data(), shape[at])?;
    let mut result = shape[..at].to_vec();
    result.extend(indices.shape());
    result.extend(&shape[at + 1..]);
    elements(&result)?;
    each!(value, array => one(array.select(at, &places).reshape(&result)?))
}

/// Bounds from inputs or, before opset 10, from attributes.
pub(super) fn slice(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let mut value = call.value(0)?;
    let rank = value.shape().len();
    let starts = call.listed(1, "starts")?.ok_or("it states no starts")?;
    let ends = call.listed(2, "ends")?.ok_or("it states no ends")?;
    let places = match call.listed(3, "axes")? {
        Some(list) => axes(&list, rank)?,
        None => (0..starts.len()).collect(),
    };
    let steps = call.listed(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), places.len(), steps.len()] != [starts.len(); 3] || places.len() > rank {
        return Err("its lists are not of one length".to_owned());
    }
    for (i, &axis) in places.iter().enumerate() {
        let size = value.shape()[axis];
        let (start, count, step) = bounds(size, starts[i], ends[i], steps[i])?;
        value = each!(value, array => array.strided(axis, start, count, step).into());
    }
    one(value)
}

/// Start, count and step of the elements from `start` to before `end` of a dimension of `size`; bounds
/// outside it are moved to its ends.
fn bounds(size: usize, start: i64, end: i64, step: i64) -> Outcome<(usize, usize, isize)> {
    let size = size as i64;
    let from_front = |place: i64| if place < 0 { place.saturating_add(size) } else { place };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let start = from_front(start).clamp(low.max(0), high.max(0));
    let end = from_front(end).clamp(low, high);
    let count = match step {
        0 => return Err("its step is zero".to_owned()),
        1.. => end.abs_diff(start.min(end)).div_ceil(step.unsigned_abs()),
        _ => start.abs_diff(end.min(start)).div_ceil(step.unsigned_abs()),
    };
    let count = if size == 0 { 0 } else { count };
    Ok((start as usize, count as usize, isize::try_from(step).unwrap_or(isize::MAX)))
}

pub(super) fn split(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let shape = value.shape();
    let at = axis(call.int("axis", 0), shape.len())?;
    let parts = match call.listed(1, "split")? {
        Some(list) => sizes(&list)?,
        None => {
            let count = call.node.output.len().max(1);
            let each = shape[at].div_ceil(count);
            (0..count).map(|part| each.min(shape[at].saturating_sub(part * each))).collect()
        }
    };
    if parts.iter().sum::<usize>() != shape[at] {
        return Err(format!("{parts:?} does not split dimension {at} of {shape:?}"));
    }
    let mut start = 0;
    let mut results = Vec::with_capacity(parts.len());
    for count in parts {
        let value = value.clone();
        results.push(each!(value, array => array.strided(at, start, count, 1).into()));
        start += count;
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn bounds_are_those_of_numpy() {
        assert_eq!(bounds(5, 1, i64::MAX, 1).unwrap(), (1, 4, 1));
        assert_eq!(bounds(5, -2, 5, 1).unwrap(), (3, 2, 1));
        assert_eq!(bounds(5, 0, 5, 2).unwrap(), (0, 3, 2));
        assert_eq!(bounds(3, -1, i64::MIN + 1, -1).unwrap(), (2, 3, -1));
        assert_eq!(bounds(5, 4, 0, -2).unwrap(), (4, 2, -2));
        assert_eq!(bounds(5, 7, 9, 1).unwrap().1, 0);
        assert!(bounds(5, 0, 1, 0).is_err());
    }
}
