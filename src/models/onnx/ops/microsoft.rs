//! Operators of the domain `com.microsoft` that exporters and optimizers write: standard ones, fused.

use burn::tensor::{Tensor, activation};

use super::{
    Call, Operator, Outcome, convolution, elementwise, linear, normalize, one, statistics,
};
use crate::models::onnx::value::{Floats, RANK, Value};

fn first(results: Outcome<Vec<Value>>, call_device: &burn::tensor::Device) -> Outcome<Floats> {
    let result = results?.into_iter().next().ok_or("it has no result")?;
    result.floats(call_device)
}

/// The function that attribute `activation` names, with its parameters.
fn activated(call: &Call<'_>, value: Floats) -> Outcome<Floats> {
    let parameters = call.attribute("activation_params").map(|attribute| attribute.floats.clone());
    let stated = |index: usize| parameters.as_ref().and_then(|list| list.get(index)).copied();
    let alpha = |default: f32| stated(0).unwrap_or(call.float("activation_alpha", default));
    let beta = |default: f32| stated(1).unwrap_or(call.float("activation_beta", default));
    Ok(match call.text("activation") {
        "" => value,
        "Relu" => value.map(activation::relu),
        "Sigmoid" => value.map(activation::sigmoid),
        "Tanh" => value.map(Tensor::tanh),
        "LeakyRelu" => value.map(|x| activation::leaky_relu(x, alpha(0.01).into())),
        "HardSigmoid" => {
            value.map(|x| activation::hard_sigmoid(x, alpha(0.2).into(), beta(0.5).into()))
        }
        "Clip" => value.map(|x| x.clamp(alpha(f32::MIN), beta(f32::MAX))),
        other => return Err(format!("activation {other} is not supported")),
    })
}

/// `Conv`, then an addition (input 3), then an activation.
pub(super) fn fused_conv(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let added = call.inputs.get_mut(3).and_then(Option::take);
    let added = added.map(|added| added.floats(call.device)).transpose()?;
    let inner = Call::new(call.node, call.opset, call.device, std::mem::take(&mut call.inputs));
    let mut result = first(convolution::conv(inner), call.device)?;
    if let Some(added) = added {
        let added = added.tensor();
        result = result.map(|x| x + added);
    }
    one(activated(&call, result)?)
}

pub(super) fn fused_gemm(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let inner = Call::new(call.node, call.opset, call.device, std::mem::take(&mut call.inputs));
    let result = first(linear::gemm(inner), call.device)?;
    one(activated(&call, result)?)
}

/// `alpha * A * B`, the last two dimensions of either side transposed where asked for.
pub(super) fn fused_mat_mul(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    if call.int("transBatchA", 0) != 0 || call.int("transBatchB", 0) != 0 {
        return Err("transposed batches are not supported".to_owned());
    }
    let (transposed_left, transposed_right) =
        (call.int("transA", 0) != 0, call.int("transB", 0) != 0);
    let mut side = |index: usize, transposed: bool| {
        let value = call.floats(index)?;
        // A list has nothing to transpose.
        let transposed = transposed && value.rank() > 1;
        Ok::<_, String>(if transposed { value.map(Tensor::transpose) } else { value })
    };
    let (left, right) = (side(0, transposed_left)?, side(1, transposed_right)?);
    let alpha = call.float("alpha", 1.0);
    one(linear::product(left, right)?.map(|x| if alpha == 1.0 { x } else { x * alpha }))
}

/// The sum of two inputs, or the first alone.
fn with_bias(call: &mut Call<'_>) -> Outcome<Floats> {
    let value = call.floats(0)?;
    Ok(match call.optional(1) {
        Some(bias) => {
            let bias = bias.floats(call.device)?.tensor();
            value.map(|x| x + bias)
        }
        None => value,
    })
}

pub(super) fn bias_gelu(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    one(with_bias(&mut call)?.map(activation::gelu))
}

pub(super) fn fast_gelu(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    one(with_bias(&mut call)?.map(activation::gelu_approximate))
}

pub(super) fn quick_gelu(call: Call<'_>) -> Outcome<Vec<Value>> {
    let alpha = call.float("alpha", 1.702);
    elementwise::map(call, |x| x.clone() * activation::sigmoid(x * alpha), None)
}

/// `LayerNormalization`, or `RMSNormalization`, of a sum: input, skip, scale, bias, bias of the sum.
fn of_sum(mut call: Call<'_>, normalization: Operator, inputs: [usize; 3]) -> Outcome<Vec<Value>> {
    let sum = with_bias(&mut call)?;
    let [scale, bias, addend] = inputs.map(|index| call.optional(index));
    let sum = match addend {
        Some(addend) => {
            let addend: Tensor<RANK> = addend.floats(call.device)?.tensor();
            sum.map(|x| x + addend)
        }
        None => sum,
    };
    let mut node = call.node.clone();
    node.output.truncate(1);
    let results = [Some(sum.clone().into()), scale, bias].to_vec();
    let mut results = normalization(Call::new(&node, call.opset, call.device, results))?;
    // The sum itself is the fourth result; the second and third are for training only.
    if call.node.output.iter().skip(1).take(2).any(|name| !name.is_empty()) {
        return Err("its mean and deviation are not supported".to_owned());
    }
    if call.node.output.len() > 3 {
        results.resize(3, sum.clone().into());
        results.push(sum.into());
    }
    Ok(results)
}

pub(super) fn skip_layer_normalization(call: Call<'_>) -> Outcome<Vec<Value>> {
    of_sum(call, normalize::layer_normalization, [2, 3, 4])
}

pub(super) fn skip_simplified_layer_normalization(call: Call<'_>) -> Outcome<Vec<Value>> {
    of_sum(call, statistics::rms_normalization, [2, usize::MAX, 3])
}
