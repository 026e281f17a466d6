//! Functions of one array, element by element.

use burn::tensor::{Tensor, activation};

use super::{Call, Outcome, one};
use crate::{
    device::kernels,
    models::tagger::value::{RANK, Value},
};

/// A function of tensors with, where it occurs in shape arithmetic, its counterpart on the host.
fn map(
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

/// Limits from inputs or, before opset 11, from attributes.
pub(super) fn clip(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let mut limit = |index: usize, name: &str| match call.optional(index) {
        Some(Value::Ints(host)) => Ok(host.single().map(|limit| limit as f32)),
        Some(value) => value.reals().map(|host| host.single()),
        None => Ok(call.attribute(name).map(|attribute| attribute.f)),
    };
    let (low, high) = (limit(1, "min")?, limit(2, "max")?);
    let number = |x: f32| x.max(low.unwrap_or(f32::MIN)).min(high.unwrap_or(f32::MAX));
    match call.value(0)? {
        Value::Ints(host) => one(host.map(|x| number(x as f32) as i64)),
        Value::Reals(host) => one(host.map(number)),
        value => one(value.floats(call.device)?.map(|tensor| match (low, high) {
            (Some(low), Some(high)) => tensor.clamp(low, high),
            (Some(low), None) => tensor.clamp_min(low),
            (None, Some(high)) => tensor.clamp_max(high),
            (None, None) => tensor,
        })),
    }
}
