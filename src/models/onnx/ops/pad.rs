//! Margins around an array.

use burn::tensor::{DType, Tensor};

use super::{Call, Outcome, axes, each, one};
use crate::models::onnx::{
    host::{Array, Host, elements},
    value::{Floats, RANK, Value},
};

/// How wide the margins of one dimension are; a negative one crops.
#[derive(Clone, Copy)]
struct Margin {
    axis: usize,
    before: i64,
    after: i64,
}

/// Widths from input 1 or, before opset 11, from an attribute.
pub(super) fn pad(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let pads = call.listed(1, "pads")?.ok_or("it states no sizes")?;
    let fill = call.optional(2);
    let rank = value.shape().len();
    let places = match call.optional(3) {
        Some(list) => axes(list.ints()?.data(), rank)?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * places.len() {
        return Err(format!("{pads:?} does not pad {} dimensions", places.len()));
    }
    let (before, after) = pads.split_at(places.len());
    let widths = places.iter().zip(before).zip(after);
    let margins: Vec<Margin> =
        widths.map(|((&axis, &before), &after)| Margin { axis, before, after }).collect();
    let value = cropped(value, &margins)?;
    let mut shape = value.shape();
    for margin in &margins {
        let added = margin.before.max(0).unsigned_abs() + margin.after.max(0).unsigned_abs();
        shape[margin.axis] =
            shape[margin.axis].saturating_add(usize::try_from(added).unwrap_or(usize::MAX));
    }
    elements(&shape)?;
    match call.text("mode") {
        "" | "constant" => constant(&call, value, &margins, fill),
        "reflect" => mirrored(value, &margins, |place, size| {
            let period = (2 * (size - 1)).max(1);
            let at = place.rem_euclid(period);
            if at < size { at } else { period - at }
        }),
        "edge" => mirrored(value, &margins, |place, size| place.clamp(0, size - 1)),
        "wrap" => mirrored(value, &margins, i64::rem_euclid),
        other => Err(format!("mode {other} is not supported")),
    }
}

fn cropped(mut value: Value, margins: &[Margin]) -> Outcome<Value> {
    for margin in margins.iter().filter(|margin| margin.before < 0 || margin.after < 0) {
        let crop = |width: i64| usize::try_from(width.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let (start, size) = (crop(margin.before), value.shape()[margin.axis]);
        let kept = size.checked_sub(start.saturating_add(crop(margin.after)));
        let kept = kept.ok_or_else(|| format!("its sizes cut away dimension {}", margin.axis))?;
        value = each!(value, array => array.strided(margin.axis, start, kept, 1).into());
    }
    Ok(value)
}

/// Margins of elements that the array has: `source` gives the place of one, from a place counted from
/// the array's first element and the size of the dimension.
fn mirrored(
    mut value: Value,
    margins: &[Margin],
    source: impl Fn(i64, i64) -> i64,
) -> Outcome<Vec<Value>> {
    for &Margin { axis, before, after } in margins {
        let size = value.shape()[axis] as i64;
        if before.max(0) + after.max(0) == 0 {
            continue;
        }
        if size == 0 {
            return Err(format!("dimension {axis} has no elements to repeat"));
        }
        let places = -before.max(0)..size + after.max(0);
        let places: Vec<usize> = places.map(|place| source(place, size) as usize).collect();
        value = each!(value, array => array.select(axis, &places).into());
    }
    one(value)
}

fn constant(
    call: &Call<'_>,
    value: Value,
    margins: &[Margin],
    fill: Option<Value>,
) -> Outcome<Vec<Value>> {
    let grown = margins.iter().copied().filter(|margin| margin.before > 0 || margin.after > 0);
    let grown: Vec<Margin> = grown.collect();
    match value {
        value if grown.is_empty() => one(value),
        Value::Ints(host) => {
            let fill = fill.map(Value::ints).transpose()?.and_then(|fill| fill.single());
            one(surrounded(host, &grown, fill.unwrap_or(0))?)
        }
        Value::Bools(host) => {
            let fill = fill.map(Value::bools).transpose()?.and_then(|fill| fill.single());
            one(surrounded(host, &grown, fill.unwrap_or(false))?)
        }
        value => {
            let fill = match fill {
                Some(fill) => fill.reals()?.single().unwrap_or(0.0),
                None => call.float("value", 0.0),
            };
            one(filled(value.floats(call.device)?, &grown, fill))
        }
    }
}

fn surrounded<T: Copy>(mut host: Host<T>, margins: &[Margin], fill: T) -> Outcome<Host<T>> {
    for &Margin { axis, before, after } in margins {
        let block = |width: i64| {
            let mut shape = host.shape();
            shape[axis] = usize::try_from(width).unwrap_or(0);
            Host::scalar(fill).expand(&shape)
        };
        host = Host::concat(vec![block(before)?, host.clone(), block(after)?], axis);
    }
    Ok(host)
}

/// The array in the middle of a block of `fill`.
fn filled(value: Floats, margins: &[Margin], fill: f32) -> Floats {
    let mut pairs = [(0, 0); RANK];
    let grow = |width: i64| usize::try_from(width).unwrap_or(0);
    for margin in margins {
        pairs[value.place(margin.axis)] = (grow(margin.before), grow(margin.after));
    }
    value.map(|tensor| {
        let dims = tensor.dims();
        let outer: [usize; RANK] = std::array::from_fn(|i| pairs[i].0 + dims[i] + pairs[i].1);
        let inner: [std::ops::Range<usize>; RANK] =
            std::array::from_fn(|i| pairs[i].0..pairs[i].0 + dims[i]);
        Tensor::full(outer, fill, (&tensor.device(), DType::F32)).slice_assign(inner, tensor)
    })
}
