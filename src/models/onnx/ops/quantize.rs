//! Numbers stored as small integers with a scale and a zero point.
//!
//! Everything is computed in f32: `(x - zero) * scale` goes in, and results are rounded, halves to
//! even, and saturated at their type. Sums of integers are exact up to 2^24.

use super::{
    Call, Outcome, arithmetic, axis, convolution, elementwise, layout, normalize, one, pool,
};
use crate::models::onnx::{
    element::Element,
    host::{Array, Host},
    value::{Floats, Value},
};

/// An array with its scale and zero point, none of which may be.
struct Quantized {
    value: Value,
    scale: Option<Value>,
    zero: Option<Value>,
}

impl Quantized {
    /// Inputs `index`, `index + 1` and `index + 2`.
    fn at(call: &mut Call<'_>, index: usize) -> Outcome<Self> {
        Ok(Self {
            value: call.value(index)?,
            scale: Some(call.value(index + 1)?),
            zero: call.optional(index + 2),
        })
    }

    /// `(x - zero) * scale`; a list of scales or zero points lies along `along`.
    fn floats(self, call: &Call<'_>, along: Along) -> Outcome<Floats> {
        let value = plain(self.value, call)?;
        let shape = value.shape();
        let mut result = value.tensor();
        if let Some(zero) = self.zero {
            result = result - along.lay(plain(zero, call)?, &shape)?.tensor();
        }
        if let Some(scale) = self.scale {
            result = result * along.lay(plain(scale, call)?, &shape)?.tensor();
        }
        Ok(Floats::new(result, shape.len()))
    }
}

/// Integers as they are, as floats.
fn plain(value: Value, call: &Call<'_>) -> Outcome<Floats> {
    match value {
        Value::Ints(host) => Value::Reals(host.map(|value| value as f32)).floats(call.device),
        value => value.floats(call.device),
    }
}

/// The dimension along which scales differ; negative ones count from the end.
#[derive(Clone, Copy)]
struct Along {
    axis: i64,
    /// How many neighbours share one, where there is one for each block.
    block: usize,
}

impl Along {
    fn axis(axis: i64) -> Self {
        Self { axis, block: 0 }
    }

    /// A list of scales so that it meets an array of `shape`.
    fn lay(self, list: Floats, shape: &[usize]) -> Outcome<Floats> {
        let count: usize = list.shape().iter().product();
        if count == 1 {
            return list.reshape(&[]);
        }
        let at = axis(self.axis, shape.len())?;
        if self.block > 0 {
            let blocks = list.shape().get(at).copied().unwrap_or(0);
            if shape[at].div_ceil(self.block) != blocks {
                return Err(format!(
                    "{blocks} scales do not fit {shape:?} in blocks of {}",
                    self.block
                ));
            }
            let places: Vec<usize> = (0..shape[at]).map(|place| place / self.block).collect();
            return Ok(list.select(at, &places));
        }
        if list.rank() != 1 {
            return Ok(list);
        }
        if count != shape[at] {
            return Err(format!("{count} scales do not fit dimension {at} of {shape:?}"));
        }
        let mut sizes = vec![1; shape.len()];
        sizes[at] = count;
        list.reshape(&sizes)
    }
}

/// Rounded and saturated integers of a type.
fn quantized(
    call: &Call<'_>,
    value: Floats,
    (scale, zero): (Value, Option<Value>),
    along: Along,
    element: Option<Element>,
) -> Outcome<Host<i64>> {
    let element = if zero.is_none() { element.or(Some(Element::U8)) } else { element };
    let range = element.and_then(Element::range);
    let (low, high) = range.ok_or("the type of its result is not known or not supported")?;
    let shape = value.shape();
    let mut result = value.tensor() / along.lay(plain(scale, call)?, &shape)?.tensor();
    result = result.round();
    if let Some(zero) = zero {
        result = result + along.lay(plain(zero, call)?, &shape)?.tensor();
    }
    let host = Floats::new(result, shape.len()).download()?;
    Ok(host.map(|value| (value as i64).clamp(low, high)))
}

fn stated_axis(call: &Call<'_>) -> Along {
    let block = usize::try_from(call.int("block_size", 0)).unwrap_or(0);
    Along { axis: call.int("axis", 1), block }
}

pub(super) fn quantize_linear(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, scale, zero) = (call.floats(0)?, call.value(1)?, call.optional(2));
    let stated = call.attribute("output_dtype").and_then(|attribute| Element::of(attribute.i));
    let element = stated.or(call.element(2));
    one(quantized(&call, value, (scale, zero), stated_axis(&call), element)?)
}

pub(super) fn dequantize_linear(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let input = Quantized::at(&mut call, 0)?;
    one(input.floats(&call, stated_axis(&call))?)
}

/// To unsigned bytes, by the range of the values and zero.
pub(super) fn dynamic_quantize_linear(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let host = call.value(0)?.reals()?;
    let low = host.data().iter().copied().fold(0.0, f32::min);
    let high = host.data().iter().copied().fold(0.0, f32::max);
    let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
    let zero = (-low / scale).clamp(0.0, 255.0).round_ties_even();
    let bytes = host.map(|x| ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0) as i64);
    Ok(vec![bytes.into(), Host::scalar(scale).into(), Host::scalar(zero as i64).into()])
}

/// Scales of the rows of a left factor and of the columns of a right one.
const ROWS: Along = Along { axis: -2, block: 0 };
const COLUMNS: Along = Along { axis: -1, block: 0 };

fn rounded(value: Floats) -> Outcome<Vec<Value>> {
    one(value.download()?.map(|value| value.round() as i64))
}

pub(super) fn mat_mul_integer(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let left = Quantized { value: call.value(0)?, scale: None, zero: call.optional(2) };
    let right = Quantized { value: call.value(1)?, scale: None, zero: call.optional(3) };
    let (left, right) = (left.floats(&call, ROWS)?, right.floats(&call, COLUMNS)?);
    rounded(super::linear::product(left, right)?)
}

pub(super) fn q_linear_mat_mul(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (left, right) = (Quantized::at(&mut call, 0)?, Quantized::at(&mut call, 3)?);
    let (left, right) = (left.floats(&call, ROWS)?, right.floats(&call, COLUMNS)?);
    let result = super::linear::product(left, right)?;
    requantized(&mut call, result, 6)
}

/// With the scale and zero point of inputs `index` and `index + 1`.
fn requantized(call: &mut Call<'_>, result: Floats, index: usize) -> Outcome<Vec<Value>> {
    let scale = (call.value(index)?, call.optional(index + 1));
    let element = call.element(index + 1);
    one(quantized(call, result, scale, Along::axis(-1), element)?)
}

/// An operator on floats, applied to other inputs than the node's own.
fn apply(call: &Call<'_>, operator: super::Operator, inputs: Vec<Option<Value>>) -> Outcome<Value> {
    let inner = Call::new(call.node, call.opset, call.device, inputs);
    operator(inner)?.into_iter().next().ok_or_else(|| "it has no result".to_owned())
}

pub(super) fn conv_integer(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let value = Quantized { value: call.value(0)?, scale: None, zero: call.optional(2) };
    let weight = Quantized { value: call.value(1)?, scale: None, zero: call.optional(3) };
    let value = value.floats(&call, Along::axis(1))?.into();
    let weight = weight.floats(&call, Along::axis(0))?.into();
    let result = apply(&call, convolution::conv, vec![Some(value), Some(weight)])?;
    rounded(result.floats(call.device)?)
}

pub(super) fn q_linear_conv(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (value, weight) = (Quantized::at(&mut call, 0)?, Quantized::at(&mut call, 3)?);
    let bias = call.optional(8);
    // A bias has the scale of what it is added to.
    let bias = match (bias, &value.scale, &weight.scale) {
        (Some(bias), Some(left), Some(right)) => {
            let scale = plain(left.clone(), &call)?.reshape(&[])?.tensor();
            let right = plain(right.clone(), &call)?;
            let scale = right.map(|right| right * scale);
            let bias = Quantized { value: bias, scale: Some(scale.into()), zero: None };
            Some(bias.floats(&call, Along::axis(0))?.into())
        }
        _ => None,
    };
    let value = value.floats(&call, Along::axis(1))?.into();
    let weight = weight.floats(&call, Along::axis(0))?.into();
    let result = apply(&call, convolution::conv, vec![Some(value), Some(weight), bias])?;
    let result = result.floats(call.device)?;
    requantized(&mut call, result, 6)
}

/// Of two arrays, each with scale and zero point, as exporters write it outside the standard domain.
fn two(mut call: Call<'_>, operator: super::Operator) -> Outcome<Vec<Value>> {
    let (left, right) = (Quantized::at(&mut call, 0)?, Quantized::at(&mut call, 3)?);
    let (left, right) =
        (left.floats(&call, Along::axis(-1))?, right.floats(&call, Along::axis(-1))?);
    let result = apply(&call, operator, vec![Some(left.into()), Some(right.into())])?;
    let result = result.floats(call.device)?;
    requantized(&mut call, result, 6)
}

pub(super) fn q_linear_add(call: Call<'_>) -> Outcome<Vec<Value>> {
    two(call, arithmetic::add)
}

pub(super) fn q_linear_mul(call: Call<'_>) -> Outcome<Vec<Value>> {
    two(call, arithmetic::mul)
}

/// Of one array with scale and zero point.
fn single(mut call: Call<'_>, operator: super::Operator) -> Outcome<Vec<Value>> {
    if call.int("channels_last", 0) != 0 {
        return Err("channels_last is not supported".to_owned());
    }
    let value = Quantized::at(&mut call, 0)?.floats(&call, Along::axis(-1))?;
    let result = apply(&call, operator, vec![Some(value.into())])?.floats(call.device)?;
    requantized(&mut call, result, 3)
}

pub(super) fn q_linear_sigmoid(call: Call<'_>) -> Outcome<Vec<Value>> {
    single(call, elementwise::sigmoid)
}

pub(super) fn q_linear_leaky_relu(call: Call<'_>) -> Outcome<Vec<Value>> {
    single(call, elementwise::leaky_relu)
}

pub(super) fn q_linear_average_pool(call: Call<'_>) -> Outcome<Vec<Value>> {
    single(call, pool::average_pool)
}

pub(super) fn q_linear_global_average_pool(call: Call<'_>) -> Outcome<Vec<Value>> {
    single(call, pool::global_average_pool)
}

/// Scale and zero point of the result come first, then three inputs for each part.
pub(super) fn q_linear_concat(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let mut parts = Vec::new();
    for index in (2..call.inputs.len()).step_by(3) {
        let part = Quantized::at(&mut call, index)?.floats(&call, Along::axis(-1))?;
        parts.push(Some(part.into()));
    }
    let result = apply(&call, layout::concat, parts)?.floats(call.device)?;
    requantized(&mut call, result, 0)
}

pub(super) fn q_linear_softmax(call: Call<'_>) -> Outcome<Vec<Value>> {
    single(call, normalize::softmax)
}

/// `alpha * A * B + C`, where C has the scale of the product; floats where no scale of the result is
/// given.
pub(super) fn q_gemm(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (left, right) = (Quantized::at(&mut call, 0)?, Quantized::at(&mut call, 3)?);
    let along = Along::axis(if call.int("transB", 0) != 0 { 0 } else { 1 });
    let alpha = call.float("alpha", 1.0);
    let bias = match (call.optional(6), &left.scale, &right.scale) {
        (Some(bias), Some(a), Some(b)) => {
            let a = plain(a.clone(), &call)?.reshape(&[])?.tensor();
            // Gemm applies alpha to the product alone.
            let scale = plain(b.clone(), &call)?.map(|b| b * a * alpha);
            let bias = Quantized { value: bias, scale: Some(scale.into()), zero: None };
            Some(bias.floats(&call, COLUMNS)?.into())
        }
        _ => None,
    };
    let left = left.floats(&call, ROWS)?.into();
    let right = right.floats(&call, along)?.into();
    let result = apply(&call, super::linear::gemm, vec![Some(left), Some(right), bias])?;
    let result = result.floats(call.device)?;
    match call.inputs.get(7) {
        Some(Some(_)) => requantized(&mut call, result, 7),
        _ => one(result),
    }
}
