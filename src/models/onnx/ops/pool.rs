//! Pooling: one number for each window of a channel, or for all of it.
//!
//! Pictures are pooled on the device; lists, volumes and what the device's pools cannot do, on the host.

use burn::tensor::{
    module,
    ops::{AvgPoolOptions, MaxPoolOptions},
};
use rayon::prelude::*;

use super::{
    Call, Outcome,
    convolution::Window,
    one,
    sweep::{Places, Sweep},
};
use crate::models::onnx::{
    host::{Array, Host, MOST_ELEMENTS},
    value::{Floats, RANK, Value},
};

pub(super) fn average_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let upwards = call.int("ceil_mode", 0) != 0;
    let counted = call.int("count_include_pad", 0) != 0;
    if value.rank() == 4 && !upwards && call.attribute("dilations").is_none() {
        let kernel = call.sizes("kernel_shape", 1)?;
        let pictures = value.fixed::<4>()?;
        let [_, channels, height, width] = pictures.dims();
        let window = Window::new(&call, [height, width], kernel)?;
        window.check(pictures.dims(), channels, kernel)?;
        let options = AvgPoolOptions::new(kernel)
            .with_stride(window.stride)
            .with_padding_pairs(window.padding)
            .with_count_include_pad(counted);
        return one(Floats::from_tensor(module::avg_pool2d(pictures, options)));
    }
    pooled(&call, value, |channel, places| {
        let sum: f32 = places.inside.iter().map(|&place| channel[place]).sum();
        let margins = if counted { places.margins } else { 0 };
        sum / (places.inside.len() + margins).max(1) as f32
    })
}

/// The largest of each window and, if asked for, where it is.
pub(super) fn max_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let integers = matches!(value, Value::Ints(_));
    let value = match value {
        Value::Ints(host) => Value::Reals(host.map(|value| value as f32)),
        value => value,
    };
    let value = value.floats(call.device)?;
    let upwards = call.int("ceil_mode", 0) != 0;
    let places = call.node.output.get(1).is_some_and(|name| !name.is_empty());
    if places {
        return max_places(&call, value);
    }
    if value.rank() == 4 && !integers && !upwards {
        let kernel = call.sizes("kernel_shape", 1)?;
        let pictures = value.fixed::<4>()?;
        let [_, channels, height, width] = pictures.dims();
        let window = Window::new(&call, [height, width], kernel)?;
        window.check(pictures.dims(), channels, kernel)?;
        let options = MaxPoolOptions::new(kernel)
            .with_stride(window.stride)
            .with_padding_pairs(window.padding)
            .with_dilation(window.dilation);
        return one(Floats::from_tensor(module::max_pool2d(pictures, options)));
    }
    let largest = |channel: &[f32], places: &Places| {
        places.inside.iter().map(|&place| channel[place]).fold(f32::NEG_INFINITY, f32::max)
    };
    let results = pooled(&call, value, largest)?;
    match results.into_iter().next() {
        Some(value) if integers => one(value.reals()?.map(|value| value as i64)),
        value => Ok(value.into_iter().collect()),
    }
}

fn max_places(call: &Call<'_>, value: Floats) -> Outcome<Vec<Value>> {
    let (shape, sweep) = swept(call, &value)?;
    let values = value.download()?;
    let windows = sweep.windows();
    let size: usize = shape[2..].iter().product();
    let mut largest = Vec::new();
    let mut places = Vec::new();
    for (index, channel) in values.data().chunks(size.max(1)).enumerate() {
        for window in &windows {
            let better = |best: Option<usize>, &place: &usize| match best {
                Some(best) if channel[best] >= channel[place] => Some(best),
                _ => Some(place),
            };
            let place = window.inside.iter().fold(None, better).ok_or("a window is empty")?;
            largest.push(channel[place]);
            let place = if call.int("storage_order", 0) == 0 {
                place
            } else {
                column_major(place, &shape[2..])
            };
            places.push((index * size + place) as i64);
        }
    }
    let result = [&shape[..2], &sweep.to].concat();
    let largest = Value::constant(Host::new(result.clone(), largest)?, call.device)?;
    Ok(vec![largest, Host::new(result, places)?.into()])
}

/// The flat index of the same place where the first dimension is the innermost.
fn column_major(mut place: usize, sizes: &[usize]) -> usize {
    let mut index = 0;
    for (axis, &size) in sizes.iter().enumerate().rev() {
        index += (place % size) * sizes[..axis].iter().product::<usize>();
        place /= size;
    }
    index
}

/// `LpPool`: the p-norm of each window.
pub(super) fn lp_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let p = call.int("p", 2) as f32;
    let value = call.floats(0)?;
    pooled(&call, value, |channel, places| {
        let powers = places.inside.iter().map(|&place| channel[place].abs().powf(p));
        powers.sum::<f32>().powf(1.0 / p)
    })
}

fn swept(call: &Call<'_>, value: &Floats) -> Outcome<(Vec<usize>, Sweep)> {
    let shape = value.shape();
    let from = shape.get(2..).filter(|from| !from.is_empty());
    let from = from.ok_or_else(|| format!("{shape:?} has no places to pool"))?;
    let sweep = Sweep::new(call, from)?;
    if sweep.window().saturating_mul(sweep.to.iter().product()) > MOST_ELEMENTS {
        return Err("its windows are too many and too large".to_owned());
    }
    Ok((shape, sweep))
}

/// Pools on the host.
fn pooled(
    call: &Call<'_>,
    value: Floats,
    window: impl Fn(&[f32], &Places) -> f32 + Sync,
) -> Outcome<Vec<Value>> {
    let (shape, sweep) = swept(call, &value)?;
    let values = value.download()?;
    let windows = sweep.windows();
    let size: usize = shape[2..].iter().product();
    let pool = |channel: &[f32]| windows.iter().map(|places| window(channel, places)).collect();
    let channels: Vec<Vec<f32>> = values.data().par_chunks(size.max(1)).map(pool).collect();
    let result = [&shape[..2], &sweep.to].concat();
    one(Value::constant(Host::new(result, channels.concat())?, call.device)?)
}

pub(super) fn global_average_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let places = spatial(&value);
    one(value.map(|tensor| tensor.mean_dims(&places)))
}

pub(super) fn global_max_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let places = spatial(&value);
    one(value.map(|tensor| tensor.max_dims(&places)))
}

pub(super) fn global_lp_pool(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let p = call.int("p", 2) as f32;
    let value = call.floats(0)?;
    let places = spatial(&value);
    one(value.map(|tensor| tensor.abs().powf_scalar(p).sum_dims(&places).powf_scalar(1.0 / p)))
}

/// All dimensions behind batch and channels.
fn spatial(value: &Floats) -> Vec<usize> {
    (value.place(2)..RANK).collect()
}
