//! Elements that change their places by a rule: between depth and space, and backwards.

use super::{Call, Outcome, axis, each, one};
use crate::models::onnx::{host::Array, value::Value};

fn block(call: &Call<'_>) -> Outcome<usize> {
    let size = usize::try_from(call.int("blocksize", 0)).ok().filter(|&size| size > 0);
    size.ok_or_else(|| "its blocksize is not positive".to_owned())
}

/// Channels become blocks of pixels.
pub(super) fn depth_to_space(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let size = block(&call)?;
    let shape = value.shape();
    let &[samples, channels, height, width] = &shape[..] else {
        return Err(format!("{shape:?} is not [N, C, H, W]"));
    };
    let depth = channels / size / size;
    if depth * size * size != channels {
        return Err(format!("{channels} channels do not make blocks of {size}"));
    }
    let (split, order) = match call.text("mode") {
        "CRD" => ([samples, depth, size, size, height, width], [0, 1, 4, 2, 5, 3]),
        "" | "DCR" => ([samples, size, size, depth, height, width], [0, 3, 4, 1, 5, 2]),
        other => return Err(format!("mode {other} is not supported")),
    };
    let result = [samples, depth, height * size, width * size];
    each!(value, array => one(array.reshape(&split)?.permute(&order).reshape(&result)?))
}

/// Blocks of pixels become channels.
pub(super) fn space_to_depth(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let size = block(&call)?;
    let shape = value.shape();
    let &[samples, channels, height, width] = &shape[..] else {
        return Err(format!("{shape:?} is not [N, C, H, W]"));
    };
    if height % size != 0 || width % size != 0 {
        return Err(format!("{height}x{width} pixels do not make blocks of {size}"));
    }
    let order = match call.text("mode") {
        "CRD" => [0, 1, 3, 5, 2, 4],
        "" | "DCR" => [0, 3, 5, 1, 2, 4],
        other => return Err(format!("mode {other} is not supported")),
    };
    let split = [samples, channels, height / size, size, width / size, size];
    let result = [samples, channels * size * size, height / size, width / size];
    each!(value, array => one(array.reshape(&split)?.permute(&order).reshape(&result)?))
}

/// The first elements of each sequence, as many as its length says, backwards.
pub(super) fn reverse_sequence(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let lengths = call.value(1)?.ints()?;
    let shape = value.shape();
    let batch = axis(call.int("batch_axis", 1), shape.len())?;
    let time = axis(call.int("time_axis", 0), shape.len())?;
    if batch == time || lengths.data().len() != shape[batch] {
        return Err("its lengths are not one for each sequence".to_owned());
    }
    let size = shape[time];
    each!(value, array => {
        let mut parts = Vec::with_capacity(shape[batch]);
        for (sample, &length) in lengths.data().iter().enumerate() {
            let length = usize::try_from(length).ok().filter(|&length| length <= size);
            let length = length.ok_or("a length is not within its sequence")?;
            let places: Vec<usize> = (0..length).rev().chain(length..size).collect();
            parts.push(array.clone().strided(batch, sample, 1, 1).select(time, &places));
        }
        if parts.is_empty() {
            return one(array);
        }
        one(Array::concat(parts, batch))
    })
}
