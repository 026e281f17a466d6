//! Functions of one array, element by element.

use burn::tensor::{Tensor, activation};

use super::{Call, Outcome, one};
use crate::{
    device::kernels,
    models::onnx::{
        host::{Array, Host},
        value::{RANK, Value},
    },
};

/// A function of tensors with, where it occurs in shape arithmetic, its counterpart on the host.
pub(super) fn map(
    mut call: Call<'_>,
    tensor: impl FnOnce(Tensor<RANK>) -> Tensor<RANK>,
    number: Option<fn(f32) -> f32>,
) -> Outcome<Vec<Value>> {
    match (call.value(0)?, number) {
        (Value::Reals(host), Some(number)) => one(host.map(number)),
        (value, _) => one(value.floats(call.device)?.map(tensor)),
    }
}

pub(super) fn identity(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    one(call.value(0)?)
}

/// Nothing is dropped outside of training.
pub(super) fn dropout(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = call.value(0)?;
    let kept = call.optional(2).map(|training| training.bools()).transpose()?;
    if kept.and_then(|training| training.single()) == Some(true) {
        return Err("training mode is not supported".to_owned());
    }
    if call.node.output.len() < 2 {
        return one(value);
    }
    let mask = Host::scalar(true).expand(&value.shape())?;
    Ok(vec![value, mask.into()])
}

pub(super) fn abs(call: Call<'_>) -> Outcome<Vec<Value>> {
    if let Some(Some(Value::Ints(host))) = call.inputs.first() {
        return one(host.map(i64::wrapping_abs));
    }
    map(call, Tensor::abs, Some(f32::abs))
}

pub(super) fn neg(call: Call<'_>) -> Outcome<Vec<Value>> {
    if let Some(Some(Value::Ints(host))) = call.inputs.first() {
        return one(host.map(i64::wrapping_neg));
    }
    map(call, Tensor::neg, Some(|x| -x))
}

pub(super) fn sqrt(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::sqrt, Some(f32::sqrt))
}

pub(super) fn exp(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::exp, Some(f32::exp))
}

pub(super) fn log(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::log, Some(f32::ln))
}

pub(super) fn floor(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::floor, Some(f32::floor))
}

pub(super) fn ceil(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::ceil, Some(f32::ceil))
}

/// Halves go to the even neighbour.
pub(super) fn round(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::round, Some(f32::round_ties_even))
}

pub(super) fn reciprocal(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::recip, Some(f32::recip))
}

pub(super) fn erf(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::erf, None)
}

pub(super) fn sin(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::sin, None)
}

pub(super) fn cos(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::cos, None)
}

pub(super) fn tanh(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::tanh, None)
}

pub(super) fn sigmoid(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, activation::sigmoid, None)
}

pub(super) fn relu(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, activation::relu, None)
}

pub(super) fn softplus(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, |tensor| activation::softplus(tensor, 1.0), None)
}

pub(super) fn mish(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, activation::mish, None)
}

pub(super) fn hard_swish(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, activation::hard_swish, None)
}

pub(super) fn hard_sigmoid(call: Call<'_>) -> Outcome<Vec<Value>> {
    let (alpha, beta) = (call.float("alpha", 0.2), call.float("beta", 0.5));
    map(call, |tensor| activation::hard_sigmoid(tensor, alpha.into(), beta.into()), None)
}

pub(super) fn leaky_relu(call: Call<'_>) -> Outcome<Vec<Value>> {
    let alpha = call.float("alpha", 0.01);
    map(call, |tensor| activation::leaky_relu(tensor, alpha.into()), None)
}

pub(super) fn elu(call: Call<'_>) -> Outcome<Vec<Value>> {
    let alpha = call.float("alpha", 1.0);
    map(call, |tensor| activation::elu(tensor, alpha.into()), None)
}

pub(super) fn gelu(call: Call<'_>) -> Outcome<Vec<Value>> {
    match call.text("approximate") {
        "tanh" => map(call, activation::gelu_approximate, None),
        _ => map(call, kernels::gelu, None),
    }
}
