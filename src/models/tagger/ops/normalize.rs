//! Normalisations and softmax.

use burn::tensor::{Tensor, activation, module};

use super::{Call, Outcome, axis, one, statistics::layer_statistics};
use crate::models::tagger::{
    host::Array,
    value::{Floats, Value},
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
    let result = module::layer_norm(value.rows(columns), scale, bias, epsilon.into());
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

pub(super) fn softmax(call: Call<'_>) -> Outcome<Vec<Value>> {
    along(call, activation::softmax, activation::softmax)
}

pub(super) fn log_softmax(call: Call<'_>) -> Outcome<Vec<Value>> {
    along(call, activation::log_softmax, activation::log_softmax)
}

/// Along one dimension; before opset 13 along all from `axis` on, joined.
fn along(
    mut call: Call<'_>,
    function: fn(
        Tensor<{ crate::models::tagger::value::RANK }>,
        usize,
    ) -> Tensor<{ crate::models::tagger::value::RANK }>,
    joined: fn(Tensor<2>, usize) -> Tensor<2>,
) -> Outcome<Vec<Value>> {
    let value = call.floats(0)?;
    let shape = value.shape();
    let at = axis(call.int("axis", if call.opset < 13 { 1 } else { -1 }), shape.len())?;
    if call.opset < 13 && at + 1 < shape.len() {
        let rows = value.rows(shape[at..].iter().product());
        return one(Floats::from_tensor(joined(rows, 1)).reshape(&shape)?);
    }
    let place = value.place(at);
    one(value.map(|tensor| function(tensor, place)))
}
