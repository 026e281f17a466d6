//! What [`fuse`](super::super::fuse) puts in the place of several operators.

use super::{Call, Outcome, arithmetic, axis, linear, normalize, one};
use crate::{
    device::kernels::{self, Activation},
    models::onnx::{
        host::{Array, elements},
        value::{Floats, RANK, Value},
    },
};

/// Attribute of a product with an activation behind it.
pub(in super::super) const GELU: &str = "gelu";
/// Attribute of attention: the dimension of its softmax.
pub(in super::super) const AXIS: &str = "axis";
/// Attribute of attention: its scale divides.
pub(in super::super) const DIVIDES: &str = "divides";

/// `x W + b`, then an activation or, with a fourth input, the sum with that.
pub(in super::super) fn linear(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (x, weight, bias) = (call.floats(0)?, call.floats(1)?, call.floats(2)?);
    let onto = call.optional(3).map(|onto| onto.floats(call.device)).transpose()?;
    let then = if call.int(GELU, 0) == 0 { Activation::None } else { Activation::Gelu };
    let mut shape = x.shape();
    let [inputs, outputs] = weight.shape()[..] else {
        return Err("its weight is no matrix".to_owned());
    };
    if shape.last() != Some(&inputs) {
        return Err(format!("{shape:?} and {:?} have no matrix product", weight.shape()));
    }
    *shape.last_mut().ok_or("it has no columns")? = outputs;
    elements(&shape)?;
    let (x, bias) = (x.rows(inputs), bias.fixed::<1>()?);
    let weight = weight.fixed::<2>()?.transpose();
    match onto {
        Some(onto) if onto.shape() == shape => {
            let sum = kernels::linear_onto(onto.rows(outputs), x, weight, Some(bias));
            one(Floats::from_tensor(sum).reshape(&shape)?)
        }
        onto => {
            let result = kernels::linear(x, weight, Some(bias), then);
            let result = Floats::from_tensor(result).reshape(&shape)?;
            match onto {
                None => one(result),
                Some(onto) => one(arithmetic::sum_of(result, onto)?),
            }
        }
    }
}

/// An array times what it was multiplied with, of which a single number is kept apart.
fn scaled(call: &mut Call<'_>, array: usize, factor: usize, scale: &mut f32) -> Outcome<Floats> {
    let array = call.value(array)?;
    let Some(factor) = call.optional(factor) else { return array.floats(call.device) };
    // A number of more dimensions than the array would give its own to the result.
    let single = |value: &Value, other: &Value| match value {
        Value::Reals(host) if host.shape().len() <= other.shape().len() => host.single(),
        _ => None,
    };
    if let Some(number) = single(&factor, &array) {
        *scale *= number;
        return array.floats(call.device);
    }
    if let Some(number) = single(&array, &factor) {
        *scale *= number;
        return factor.floats(call.device);
    }
    arithmetic::product_of(array.floats(call.device)?, factor.floats(call.device)?)
}

/// `softmax(scale · q k + bias) v`, where `k` is given as it stands in the product: `[..., head, keys]`.
/// Inputs 5 and 6 are what `q` and `k` are multiplied with.
pub(in super::super) fn attention(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let mut scale = 1.0;
    let q = scaled(&mut call, 0, 5, &mut scale)?;
    let k = scaled(&mut call, 1, 6, &mut scale)?;
    let v = call.floats(2)?;
    let bias = call.optional(3).map(|bias| bias.floats(call.device)).transpose()?;
    if let Some(factor) = call.optional(4) {
        let factor = factor.reals()?.single().ok_or("its scale is no single number")?;
        scale *= if call.int(DIVIDES, 0) == 0 { factor } else { 1.0 / factor };
    }
    let rank = q.rank();
    let lead = |floats: &Floats| floats.shape()[..floats.rank().saturating_sub(2)].to_vec();
    let alike = rank >= 2 && lead(&q) == lead(&k) && lead(&q) == lead(&v);
    let along = call.int(AXIS, normalize::default_axis(call.opset));
    let last = matches!(axis(along, rank), Ok(at) if at + 1 == rank);
    let fits = bias.as_ref().is_none_or(|bias| bias.rank() <= rank);
    if !(alike && last && fits) {
        let mut scores = linear::product(q, k)?;
        scores = scores.map(|scores| scores * scale);
        if let Some(bias) = bias {
            scores = arithmetic::sum_of(scores, bias)?;
        }
        let weights = normalize::softmax_along(scores, along, call.opset)?;
        return one(linear::product(weights, v)?);
    }
    let bias = bias.map(Floats::tensor);
    let k = k.tensor().swap_dims(RANK - 2, RANK - 1);
    let result = kernels::attention(q.tensor(), k, v.tensor(), bias, f64::from(scale));
    one(Floats::new(result, rank))
}
