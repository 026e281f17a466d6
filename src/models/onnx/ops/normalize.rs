//! Normalisations and softmax.

use burn::tensor::{Tensor, activation, module};

use super::{Call, Outcome, axis, one, statistics::layer_statistics};
use crate::{
    device::kernels,
    models::onnx::{
        host::Array,
        value::{Floats, RANK, Value},
    },
};

/// Over the dimensions from `axis` on, which are joined.
pub(super) fn layer_normalization(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let shape = value.shape();
    let at = axis(call.int("axis", -1), shape.len())?;
    let columns: usize = shape[at..].iter().product();
    let list = |floats: Floats| floats.reshape(&[columns])?.fixed::<1>();
    let scale = list(call.floats(1)?)?;
    let bias = call.optional(2).map(|bias| list(bias.floats(call.device)?)).transpose()?;
    let epsilon = call.float("epsilon", 1e-5);
    if call.node.output.len() > 1 {
        let (mean, deviation) = layer_statistics(value.clone().rows(columns), epsilon);
        let outer: Vec<usize> =
            shape.iter().enumerate().map(|(i, &size)| if i < at { size } else { 1 }).collect();
        let result = module::layer_norm(value.rows(columns), scale, bias, epsilon.into());
        return Ok(vec![
            Floats::from_tensor(result).reshape(&shape)?.into(),
            Floats::from_tensor(mean).reshape(&outer)?.into(),
            Floats::from_tensor(deviation).reshape(&outer)?.into(),
        ]);
    }
    let rows = value.rows(columns);
    let result = match bias {
        Some(bias) => kernels::layer_norm(rows, scale, bias, epsilon.into()),
        None => module::layer_norm(rows, scale, None, epsilon.into()),
    };
    one(Floats::from_tensor(result).reshape(&shape)?)
}

/// With the stored mean and variance of each channel (dimension 1).
pub(super) fn batch_normalization(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    if call.int("training_mode", 0) != 0 {
        return Err("training mode is not supported".to_owned());
    }
    let value = call.floats(0)?;
    let mut shape = vec![1; value.rank()];
    *shape.get_mut(1).ok_or("its input has no channels")? = value.shape()[1];
    let mut per_channel = |index| call.floats(index)?.reshape(&shape).map(Floats::tensor);
    let (scale, bias) = (per_channel(1)?, per_channel(2)?);
    let (mean, variance) = (per_channel(3)?, per_channel(4)?);
    let scale = scale / (variance + call.float("epsilon", 1e-5)).sqrt();
    one(value.map(|x| (x - mean) * scale + bias))
}

pub(super) fn softmax(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let at = call.int("axis", default_axis(call.opset));
    one(softmax_along(call.floats(0)?, at, call.opset)?)
}

/// Softmax along dimension `at`, as the operator of this opset has it.
pub(super) fn softmax_along(value: Floats, at: i64, opset: i64) -> Outcome<Floats> {
    along(value, at, opset, softmax_of, kernels::softmax)
}

pub(super) fn log_softmax(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let at = call.int("axis", default_axis(call.opset));
    let joined = |rows| activation::log_softmax(rows, 1);
    one(along(call.floats(0)?, at, call.opset, activation::log_softmax, joined)?)
}

fn softmax_of(value: Tensor<RANK>, place: usize) -> Tensor<RANK> {
    if place + 1 == RANK { kernels::softmax(value) } else { activation::softmax(value, place) }
}

pub(super) fn default_axis(opset: i64) -> i64 {
    if opset < 13 { 1 } else { -1 }
}

/// Along one dimension; before opset 13 along all from `at` on, joined.
fn along(
    value: Floats,
    at: i64,
    opset: i64,
    function: fn(Tensor<RANK>, usize) -> Tensor<RANK>,
    joined: fn(Tensor<2>) -> Tensor<2>,
) -> Outcome<Floats> {
    let shape = value.shape();
    let at = axis(at, shape.len())?;
    if opset < 13 && at + 1 < shape.len() {
        let rows = value.rows(shape[at..].iter().product());
        return Floats::from_tensor(joined(rows)).reshape(&shape);
    }
    let place = value.place(at);
    Ok(value.map(|tensor| function(tensor, place)))
}
