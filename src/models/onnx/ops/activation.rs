//! Further functions of one array, element by element; the commonest are in `elementwise`.

use burn::tensor::{Tensor, activation};

use super::{Call, Outcome, elementwise::map, one};
use crate::models::onnx::{
    host::{Array, Host},
    value::Value,
};

/// Constants of `Selu`, which keep mean and variance of its input (Klambauer et al. 2017).
const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_GAMMA: f32 = 1.050_701;

pub(super) fn acos(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::acos, None)
}

pub(super) fn acosh(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::acosh, None)
}

pub(super) fn asin(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::asin, None)
}

pub(super) fn asinh(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::asinh, None)
}

pub(super) fn atan(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::atan, None)
}

pub(super) fn atanh(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::atanh, None)
}

pub(super) fn cosh(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::cosh, None)
}

pub(super) fn sinh(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::sinh, None)
}

pub(super) fn tan(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, Tensor::tan, None)
}

pub(super) fn sign(call: Call<'_>) -> Outcome<Vec<Value>> {
    if let Some(Some(Value::Ints(host))) = call.inputs.first() {
        return one(host.map(i64::signum));
    }
    map(call, Tensor::sign, None)
}

pub(super) fn celu(call: Call<'_>) -> Outcome<Vec<Value>> {
    let alpha = call.float("alpha", 1.0);
    map(
        call,
        |x| {
            let below = ((x.clone() / alpha).clamp_max(0.0).exp() - 1.0) * alpha;
            activation::relu(x) + below
        },
        None,
    )
}

pub(super) fn selu(call: Call<'_>) -> Outcome<Vec<Value>> {
    let (alpha, gamma) = (call.float("alpha", SELU_ALPHA), call.float("gamma", SELU_GAMMA));
    map(
        call,
        |x| {
            let below = (x.clone().clamp_max(0.0).exp() - 1.0) * alpha;
            (activation::relu(x) + below) * gamma
        },
        None,
    )
}

/// With a slope for what is below zero, which broadcasts.
pub(super) fn prelu(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, mut slope) = (call.floats(0)?, call.floats(1)?);
    // Before opset 7 a list of slopes was one per channel.
    if call.opset < 7 && slope.rank() == 1 && value.rank() > 1 {
        let mut shape = vec![1; value.rank()];
        shape[1] = slope.shape()[0];
        slope = slope.reshape(&shape)?;
    }
    if slope.rank() > value.rank() {
        return Err("its slope has more dimensions than its input".to_owned());
    }
    let slope = slope.tensor();
    one(value.map(|x| {
        let below = x.clone().clamp_max(0.0);
        activation::relu(x) + below * slope
    }))
}

pub(super) fn shrink(call: Call<'_>) -> Outcome<Vec<Value>> {
    let (bias, limit) = (call.float("bias", 0.0), call.float("lambd", 0.5));
    map(
        call,
        |x| {
            let (below, above) = (x.clone().lower_elem(-limit), x.clone().greater_elem(limit));
            let moved = x.zeros_like().mask_where(below, x.clone() + bias);
            moved.mask_where(above, x - bias)
        },
        None,
    )
}

pub(super) fn softsign(call: Call<'_>) -> Outcome<Vec<Value>> {
    map(call, |x| x.clone() / (x.abs() + 1.0), None)
}

pub(super) fn swish(call: Call<'_>) -> Outcome<Vec<Value>> {
    let alpha = call.float("alpha", 1.0);
    map(call, |x| x.clone() * activation::sigmoid(x * alpha), None)
}

pub(super) fn thresholded_relu(call: Call<'_>) -> Outcome<Vec<Value>> {
    let alpha = call.float("alpha", 1.0);
    map(
        call,
        |x| {
            let low = x.clone().lower_equal_elem(alpha);
            x.mask_fill(low, 0.0)
        },
        None,
    )
}

pub(super) fn is_nan(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    one(call.value(0)?.reals()?.map(f32::is_nan))
}

pub(super) fn is_inf(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (low, high) = (call.int("detect_negative", 1) != 0, call.int("detect_positive", 1) != 0);
    one(call
        .value(0)?
        .reals()?
        .map(|x| (high && x == f32::INFINITY) || (low && x == f32::NEG_INFINITY)))
}

/// Limits from inputs or, before opset 11, from attributes. Integers keep all their digits.
pub(super) fn clip(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    match call.value(0)? {
        Value::Ints(host) => {
            let mut limit = |index| {
                let limit = call.optional(index).map(Value::ints).transpose()?;
                Ok::<_, String>(limit.and_then(|limit| limit.single()))
            };
            let (low, high) = (limit(1)?.unwrap_or(i64::MIN), limit(2)?.unwrap_or(i64::MAX));
            one(host.map(|x| x.max(low).min(high)))
        }
        value => {
            let mut limit = |index, name: &str| match call.optional(index) {
                Some(value) => value.reals().map(|host: Host<f32>| host.single()),
                None => Ok(call.attribute(name).map(|attribute| attribute.f)),
            };
            let (low, high) = (limit(1, "min")?, limit(2, "max")?);
            one(value.floats(call.device)?.map(|x| match (low, high) {
                (Some(low), Some(high)) if low <= high => x.clamp(low, high),
                // The upper limit has the last word where they cross.
                (Some(_), Some(high)) => x.zeros_like() + high,
                (Some(low), None) => x.clamp_min(low),
                (None, Some(high)) => x.clamp_max(high),
                (None, None) => x,
            }))
        }
    }
}
