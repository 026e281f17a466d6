//! Elements picked from, and put into, places that an array of indices names. On the host.

use super::{Call, Outcome, axis, hosted, one};
use crate::models::onnx::{
    host::{Array, Host, elements},
    value::Value,
};

/// `place` counted from the front, in a dimension of `size`.
fn index(place: i64, size: usize) -> Outcome<usize> {
    axis(place, size).map_err(|_| format!("index {place} is not among {size}"))
}

pub(super) fn gather_elements(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, indices) = (call.value(0)?, call.value(1)?.ints()?);
    let shape = value.shape();
    let at = axis(call.int("axis", 0), shape.len())?;
    let places = element_places(&shape, &indices, at)?;
    hosted!(call, value, host => {
        Host::new(indices.shape(), places.iter().map(|&place| host.data()[place]).collect())?
    })
}

/// For each index, the flat place in an array of `shape` that differs from the index's own along `at`.
fn element_places(shape: &[usize], indices: &Host<i64>, at: usize) -> Outcome<Vec<usize>> {
    let sizes = indices.shape();
    let fits = |axis: usize| axis == at || sizes[axis] <= shape[axis];
    if sizes.len() != shape.len() || !(0..shape.len()).all(fits) {
        return Err(format!("indices {sizes:?} do not fit {shape:?}"));
    }
    let strides: Vec<usize> = strides(shape);
    let mut place = vec![0; shape.len()];
    let mut places = Vec::with_capacity(indices.data().len());
    for &wanted in indices.data() {
        let own = place.iter().zip(&strides).enumerate().filter(|(axis, _)| *axis != at);
        let base: usize = own.map(|(_, (place, stride))| place * stride).sum();
        places.push(base + index(wanted, shape[at])? * strides[at]);
        for (place, &size) in place.iter_mut().zip(&sizes).rev() {
            *place += 1;
            if *place < size {
                break;
            }
            *place = 0;
        }
    }
    Ok(places)
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

pub(super) fn gather_nd(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, indices) = (call.value(0)?, call.value(1)?.ints()?);
    let shape = value.shape();
    let batch = usize::try_from(call.int("batch_dims", 0)).unwrap_or(usize::MAX);
    let tuples = Tuples::new(&shape, &indices, batch)?;
    let result = [&indices.shape()[..indices.shape().len() - 1], &shape[tuples.end..]].concat();
    elements(&result)?;
    let starts = tuples.starts(&indices)?;
    hosted!(call, value, host => {
        let runs = starts.iter().flat_map(|&start| &host.data()[start..start + tuples.run]);
        Host::new(result, runs.copied().collect())?
    })
}

/// Tuples of indices along the first dimensions of an array; each names a run of elements.
struct Tuples {
    shape: Vec<usize>,
    batch: usize,
    /// The dimension behind the last that a tuple names.
    end: usize,
    run: usize,
}

impl Tuples {
    fn new(shape: &[usize], indices: &Host<i64>, batch: usize) -> Outcome<Self> {
        let sizes = indices.shape();
        let (Some(&length), true) = (sizes.last(), batch < sizes.len()) else {
            return Err("its indices have too few dimensions".to_owned());
        };
        let end = batch.saturating_add(length);
        if end > shape.len() || sizes[..batch] != shape[..batch] {
            return Err(format!("indices {sizes:?} do not fit {shape:?}"));
        }
        let run = shape[end..].iter().product();
        Ok(Self { shape: shape.to_vec(), batch, end, run })
    }

    /// Where the run of each tuple begins.
    fn starts(&self, indices: &Host<i64>) -> Outcome<Vec<usize>> {
        let length = self.end - self.batch;
        let strides = strides(&self.shape);
        let batches: usize = self.shape[..self.batch].iter().product();
        let block: usize = self.shape[self.batch..].iter().product();
        let sizes = indices.shape();
        let tuples: usize = sizes[..sizes.len() - 1].iter().product();
        let per_batch = tuples / batches.max(1);
        let start = |tuple: usize| {
            let list = &indices.data()[tuple * length..][..length];
            let axes = list.iter().zip(self.batch..);
            axes.map(|(&place, axis)| Ok(index(place, self.shape[axis])? * strides[axis]))
                .sum::<Outcome<usize>>()
                .map(|inner| tuple / per_batch.max(1) * block + inner)
        };
        (0..tuples).map(start).collect()
    }
}

/// How a new element meets the one that is there.
fn meeting<T: Copy + PartialOrd>(
    reduction: &str,
    add: fn(T, T) -> T,
    multiply: fn(T, T) -> T,
) -> Outcome<impl Fn(T, T) -> T> {
    let known = ["", "none", "add", "mul", "max", "min"];
    if !known.contains(&reduction) {
        return Err(format!("reduction {reduction} is not supported"));
    }
    let reduction = reduction.to_owned();
    Ok(move |old: T, new: T| match reduction.as_str() {
        "add" => add(old, new),
        "mul" => multiply(old, new),
        "max" => {
            if new > old {
                new
            } else {
                old
            }
        }
        "min" => {
            if new < old {
                new
            } else {
                old
            }
        }
        _ => new,
    })
}

/// Puts runs of `updates` at the places given.
fn put<T: Copy>(
    host: Host<T>,
    updates: &Host<T>,
    starts: &[usize],
    run: usize,
    meet: impl Fn(T, T) -> T,
) -> Outcome<Host<T>> {
    let shape = host.shape();
    if updates.data().len() != starts.len() * run {
        return Err(format!("its updates {:?} do not fit its indices", updates.shape()));
    }
    let mut data = host.into_data();
    for (&start, new) in starts.iter().zip(updates.data().chunks(run.max(1))) {
        for (old, &new) in data[start..].iter_mut().zip(new) {
            *old = meet(*old, new);
        }
    }
    Host::new(shape, data)
}

fn scattered(
    call: &Call<'_>,
    value: Value,
    updates: Value,
    starts: &[usize],
    run: usize,
) -> Outcome<Vec<Value>> {
    let reduction = call.text("reduction");
    match value {
        Value::Ints(host) => {
            let meet = meeting(reduction, i64::wrapping_add, i64::wrapping_mul)?;
            one(put(host, &updates.ints()?, starts, run, meet)?)
        }
        Value::Bools(host) => {
            let meet = meeting(reduction, |a, b| a | b, |a, b| a & b)?;
            one(put(host, &updates.bools()?, starts, run, meet)?)
        }
        value => {
            let meet = meeting(reduction, |a: f32, b| a + b, |a, b| a * b)?;
            let result = put(value.reals()?, &updates.reals()?, starts, run, meet)?;
            one(Value::constant(result, call.device)?)
        }
    }
}

pub(super) fn scatter_elements(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, indices, updates) = (call.value(0)?, call.value(1)?.ints()?, call.value(2)?);
    let shape = value.shape();
    let at = axis(call.int("axis", 0), shape.len())?;
    let places = element_places(&shape, &indices, at)?;
    scattered(&call, value, updates, &places, 1)
}

pub(super) fn scatter_nd(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, indices, updates) = (call.value(0)?, call.value(1)?.ints()?, call.value(2)?);
    let tuples = Tuples::new(&value.shape(), &indices, 0)?;
    let starts = tuples.starts(&indices)?;
    scattered(&call, value, updates, &starts, tuples.run)
}

/// A new dimension, with the second of two values at the index and the first elsewhere.
pub(super) fn one_hot(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let integers = |value: Value| match value {
        Value::Ints(host) => Ok(host),
        value => Ok::<_, String>(value.reals()?.map(|value| value as i64)),
    };
    let indices = integers(call.value(0)?)?;
    let depth = integers(call.value(1)?)?.single().and_then(|depth| usize::try_from(depth).ok());
    let depth = depth.ok_or("its depth is not a single positive number")?;
    let shape = indices.shape();
    let at = axis(call.int("axis", -1), shape.len() + 1)?;
    let mut result = shape.clone();
    result.insert(at, depth);
    elements(&result)?;
    let inner: usize = shape[at..].iter().product();
    // What is outside the depth is nowhere.
    let hot = |(i, &wanted): (usize, &i64)| {
        let wanted = axis(wanted, depth).ok()?;
        Some((i / inner.max(1) * depth + wanted) * inner + i % inner.max(1))
    };
    let places: Vec<usize> = indices.data().iter().enumerate().filter_map(hot).collect();
    let values = call.value(2)?;
    hosted!(call, values, host => {
        let &[off, on] = host.data() else { return Err("it does not state two values".to_owned()) };
        let mut data = vec![off; result.iter().product()];
        places.iter().for_each(|&place| data[place] = on);
        Host::new(result, data)?
    })
}

/// The places of a dimension whose condition holds.
pub(super) fn compress(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, condition) = (call.value(0)?, call.value(1)?.bools()?);
    let shape = value.shape();
    let at = call.attribute("axis").map(|attribute| axis(attribute.i, shape.len())).transpose()?;
    let size = at.map_or(shape.iter().product(), |at| shape[at]);
    let held = condition.data().iter().enumerate().filter(|(_, holds)| **holds);
    let places: Vec<usize> = held.map(|(place, _)| place).collect();
    if places.last().is_some_and(|&last| last >= size) {
        return Err("its condition is longer than its input".to_owned());
    }
    super::each!(value, array => {
        let array = if at.is_some() { array } else { array.reshape(&[size])? };
        one(array.select(at.unwrap_or(0), &places))
    })
}
