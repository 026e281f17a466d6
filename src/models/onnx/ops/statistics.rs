//! Normalisations by what the input itself holds, other than along its last dimensions.

use burn::tensor::Tensor;

use super::{Call, Outcome, axis, one};
use crate::models::onnx::{
    host::{Array, Host},
    value::{Floats, RANK, Value},
};

/// Mean zero and variance one along dimension 1 of `[rows, elements]`.
fn standardized(rows: Tensor<2>, epsilon: f32) -> Tensor<2> {
    let centred = rows.clone() - rows.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / (variance + epsilon).sqrt()
}

/// A list per channel, ready to meet a value of `rank` dimensions.
fn per_channel(list: Floats, rank: usize) -> Outcome<Tensor<RANK>> {
    let mut shape = vec![1; rank];
    let channels = list.shape().iter().product();
    *shape.get_mut(1).ok_or("its input has no channels")? = channels;
    list.reshape(&shape).map(Floats::tensor)
}

/// Each channel of each sample on its own.
pub(super) fn instance_normalization(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let channels = call.floats(1)?;
    let groups = channels.shape().iter().product();
    grouped(call, groups, channels)
}

/// Groups of channels of each sample.
pub(super) fn group_normalization(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let groups = usize::try_from(call.int("num_groups", 0)).unwrap_or(0);
    let scale = call.floats(1)?;
    grouped(call, groups, scale)
}

fn grouped(mut call: Call<'_>, groups: usize, scale: Floats) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let shape = value.shape();
    let &[samples, channels, ..] = &shape[..] else {
        return Err(format!("{shape:?} has no channels"));
    };
    if groups == 0 || channels % groups != 0 {
        return Err(format!("{channels} channels do not make {groups} groups"));
    }
    let elements: usize = shape.iter().product();
    let rows = value.rows(elements / (samples * groups).max(1));
    let rows = standardized(rows, call.float("epsilon", 1e-5));
    let (mut scale, mut bias) = (scale, call.floats(2)?);
    // Opset 18 had one number per group.
    let each = channels / groups;
    if scale.shape() == [groups] && groups != channels {
        let places: Vec<usize> = (0..channels).map(|channel| channel / each).collect();
        (scale, bias) = (scale.select(0, &places), bias.select(0, &places));
    }
    let (scale, bias) = (per_channel(scale, shape.len())?, per_channel(bias, shape.len())?);
    let result = Floats::from_tensor(rows).reshape(&shape)?;
    one(result.map(|x| x * scale + bias))
}

/// By the sum of squares of the neighbouring channels (`LRN`).
pub(super) fn local_response(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (alpha, beta) = (call.float("alpha", 1e-4), call.float("beta", 0.75));
    let bias = call.float("bias", 1.0);
    let size = usize::try_from(call.int("size", 1)).ok().filter(|&size| size > 0);
    let size = size.ok_or("its size is not positive")?;
    let value = call.floats(0)?;
    let channels = *value.shape().get(1).ok_or("its input has no channels")?;
    let squares = value.clone().map(|x| x.square());
    let place = value.place(1);
    let (before, after) = ((size - 1) / 2, (size - 1).div_ceil(2));
    let mut sum: Option<Tensor<RANK>> = None;
    // The neighbour at each distance, with zeros beyond the ends.
    for distance in -(before.min(channels) as i64)..=after.min(channels) as i64 {
        let inside = |channel: i64| (0..channels as i64).contains(&channel);
        let source = (0..channels as i64).map(|channel| channel + distance);
        let places: Vec<usize> =
            source.clone().map(|c| c.clamp(0, channels as i64 - 1) as usize).collect();
        let kept: Vec<f32> = source.map(|c| f32::from(u8::from(inside(c)))).collect();
        let kept = Tensor::<1>::from_floats(kept.as_slice(), call.device);
        let mut dims = [1; RANK];
        dims[place] = channels;
        let part = squares.clone().select(1, &places).tensor() * kept.reshape(dims);
        sum = Some(match sum {
            Some(sum) => sum + part,
            None => part,
        });
    }
    let sum = sum.ok_or("it has no channels")?;
    one(value.map(|x| x / (sum * (alpha / size as f32) + bias).powf_scalar(beta)))
}

/// By the length of each vector along a dimension.
pub(super) fn lp_normalization(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let place = value.place(axis(call.int("axis", -1), value.rank())?);
    let p = call.int("p", 2);
    one(value.map(|x| {
        let length = match p {
            1 => x.clone().abs().sum_dim(place),
            _ => x.clone().square().sum_dim(place).sqrt(),
        };
        // A vector of zeros stays one.
        let zero = length.clone().equal_elem(0.0);
        x / length.mask_fill(zero, 1.0)
    }))
}

/// Mean zero and variance one along dimensions, by default all but that of the channels.
pub(super) fn mean_variance_normalization(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let list = call.attribute("axes").map_or(&[0, 2, 3][..], |attribute| &attribute.ints);
    let places = super::axes(list, value.rank())?;
    let places: Vec<usize> = places.into_iter().map(|axis| value.place(axis)).collect();
    one(value.map(|x| {
        let centred = x.clone() - x.mean_dims(&places);
        let variance = centred.clone().square().mean_dims(&places);
        centred / (variance.sqrt() + 1e-9)
    }))
}

/// By the root of the mean square of the dimensions from `axis` on.
pub(super) fn rms_normalization(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let shape = value.shape();
    let at = axis(call.int("axis", -1), shape.len())?;
    let scale = call.floats(1)?.tensor();
    let rows = value.rows(shape[at..].iter().product());
    let mean = rows.clone().square().mean_dim(1);
    let rows = rows / (mean + call.float("epsilon", 1e-5)).sqrt();
    one(Floats::from_tensor(rows).reshape(&shape)?.map(|x| x * scale))
}

/// `LayerNormalization` with the mean and the inverse deviation of each row, which only training uses.
pub(super) fn layer_statistics(rows: Tensor<2>, epsilon: f32) -> (Tensor<2>, Tensor<2>) {
    let mean = rows.clone().mean_dim(1);
    let variance = (rows - mean.clone()).square().mean_dim(1);
    (mean, (variance + epsilon).sqrt().recip())
}

/// One where a dimension has its first maximum, else zero; before opset 13 over all dimensions from
/// `axis` on, joined.
pub(super) fn hardmax(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let shape = value.shape();
    let at = axis(call.int("axis", if call.opset < 13 { 1 } else { -1 }), shape.len())?;
    let end = if call.opset < 13 { shape.len() } else { at + 1 };
    let inner: usize = shape[end..].iter().product();
    let size: usize = shape[at..end].iter().product();
    let host = value.download()?;
    let mut data = vec![0.0; host.data().len()];
    for outer in 0..data.len() / (size * inner).max(1) {
        for column in 0..inner {
            let place = |i: usize| (outer * size + i) * inner + column;
            let first = (1..size).fold(0, |best, i| {
                if host.data()[place(i)] > host.data()[place(best)] { i } else { best }
            });
            data[place(first)] = 1.0;
        }
    }
    one(Value::constant(Host::new(shape, data)?, call.device)?)
}
