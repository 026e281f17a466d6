//! The operators: one function each, by its ONNX name.
//!
//! A function gets its inputs and attributes in a [`Call`] and gives its results. It follows the ONNX
//! text of opset 13 and later; where an older opset says the same in an attribute, the function looks
//! there too. To support one more operator: write its function, add a line to [`TABLE`] and a row to
//! `docs/onnx-operators.md`.

mod activation;
mod arithmetic;
mod bits;
mod choice;
mod compare;
mod constants;
mod control;
mod convolution;
mod detection;
mod einsum;
mod elementwise;
pub(super) mod fused;
mod gates;
mod layout;
mod linear;
mod microsoft;
mod normalize;
mod pad;
mod places;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod scatter;
mod search;
mod selection;
mod shuffle;
mod statistics;
mod sweep;
mod transposed;

use burn::tensor::Device;
use onnx_ir::{AttributeProto, NodeProto, TensorProto};

use super::{
    element::Element,
    host::{Array, Host},
    plan::Plan,
    value::{Floats, Value},
};

/// A result, or what is wrong, in words.
pub type Outcome<T> = Result<T, String>;

/// Computes the results of one node.
pub type Operator = fn(Call<'_>) -> Outcome<Vec<Value>>;

/// Applies one expression to the array inside a value, whatever its kind.
macro_rules! each {
    ($value:expr, $array:ident => $result:expr) => {
        match $value {
            $crate::models::onnx::value::Value::Floats($array) => $result,
            $crate::models::onnx::value::Value::Reals($array) => $result,
            $crate::models::onnx::value::Value::Ints($array) => $result,
            $crate::models::onnx::value::Value::Bools($array) => $result,
        }
    };
}
use each;

/// The newest version of the standard operators whose texts the functions here follow. What a graph of a
/// newer one asks for may differ, so that is told, not refused.
pub const NEWEST_OPSET: i64 = 27;

/// Every operator that can be computed, by name.
#[rustfmt::skip]
const TABLE: &[(&str, Operator)] = &[
    ("Abs", elementwise::abs), ("Acos", activation::acos), ("Acosh", activation::acosh),
    ("Add", arithmetic::add), ("AffineGrid", places::affine_grid), ("And", choice::and),
    ("ArgMax", search::arg_max), ("ArgMin", search::arg_min), ("Asin", activation::asin),
    ("Asinh", activation::asinh), ("Atan", activation::atan), ("Atanh", activation::atanh),
    ("AveragePool", pool::average_pool), ("BatchNormalization", normalize::batch_normalization),
    ("BitShift", bits::shift), ("BitwiseAnd", bits::and), ("BitwiseNot", bits::not),
    ("BitwiseOr", bits::or), ("BitwiseXor", bits::xor), ("Cast", constants::cast),
    ("CastLike", constants::cast_like), ("Ceil", elementwise::ceil), ("Celu", activation::celu),
    ("Clip", activation::clip), ("Col2Im", places::col2im), ("Compress", scatter::compress),
    ("Concat", layout::concat), ("Constant", constants::constant),
    ("ConstantOfShape", constants::constant_of_shape), ("Conv", convolution::conv),
    ("ConvInteger", quantize::conv_integer), ("ConvTranspose", transposed::conv_transpose),
    ("Cos", elementwise::cos), ("Cosh", activation::cosh), ("CumSum", search::cum_sum),
    ("DeformConv", places::deform_conv), ("DepthToSpace", shuffle::depth_to_space),
    ("DequantizeLinear", quantize::dequantize_linear), ("Div", arithmetic::div),
    ("Dropout", elementwise::dropout), ("DynamicQuantizeLinear", quantize::dynamic_quantize_linear),
    ("Einsum", einsum::einsum), ("Elu", elementwise::elu), ("Equal", compare::equal),
    ("Erf", elementwise::erf), ("Exp", elementwise::exp), ("Expand", layout::expand),
    ("EyeLike", search::eye_like), ("Flatten", layout::flatten), ("Floor", elementwise::floor),
    ("GRU", recurrent::gru), ("Gather", selection::gather),
    ("GatherElements", scatter::gather_elements), ("GatherND", scatter::gather_nd),
    ("Gelu", elementwise::gelu), ("Gemm", linear::gemm),
    ("GlobalAveragePool", pool::global_average_pool), ("GlobalLpPool", pool::global_lp_pool),
    ("GlobalMaxPool", pool::global_max_pool), ("Greater", compare::greater),
    ("GreaterOrEqual", compare::greater_or_equal), ("GridSample", detection::grid_sample),
    ("GroupNormalization", statistics::group_normalization),
    ("HardSigmoid", elementwise::hard_sigmoid), ("HardSwish", elementwise::hard_swish),
    ("Hardmax", statistics::hardmax), ("Identity", elementwise::identity), ("If", control::branch),
    ("InstanceNormalization", statistics::instance_normalization), ("IsInf", activation::is_inf),
    ("IsNaN", activation::is_nan), ("LRN", statistics::local_response), ("LSTM", recurrent::lstm),
    ("LayerNormalization", normalize::layer_normalization), ("LeakyRelu", elementwise::leaky_relu),
    ("Less", compare::less), ("LessOrEqual", compare::less_or_equal), ("Log", elementwise::log),
    ("LogSoftmax", normalize::log_softmax), ("Loop", control::repeat),
    ("LpNormalization", statistics::lp_normalization), ("LpPool", pool::lp_pool),
    ("MatMul", linear::matmul), ("MatMulInteger", quantize::mat_mul_integer),
    ("Max", arithmetic::max), ("MaxPool", pool::max_pool), ("MaxUnpool", places::max_unpool),
    ("Mean", arithmetic::mean),
    ("MeanVarianceNormalization", statistics::mean_variance_normalization),
    ("Min", arithmetic::min), ("Mish", elementwise::mish), ("Mod", arithmetic::modulo),
    ("Mul", arithmetic::mul), ("Neg", elementwise::neg),
    ("NonMaxSuppression", detection::non_max_suppression), ("NonZero", search::non_zero),
    ("Not", choice::not), ("OneHot", scatter::one_hot), ("Or", choice::or),
    ("PRelu", activation::prelu), ("Pad", pad::pad), ("Pow", arithmetic::pow),
    ("QLinearConv", quantize::q_linear_conv), ("QLinearMatMul", quantize::q_linear_mat_mul),
    ("QuantizeLinear", quantize::quantize_linear),
    ("RMSNormalization", statistics::rms_normalization), ("RNN", recurrent::rnn),
    ("Range", constants::range), ("Reciprocal", elementwise::reciprocal), ("ReduceL1", reduce::l1),
    ("ReduceL2", reduce::l2), ("ReduceLogSum", reduce::log_sum),
    ("ReduceLogSumExp", reduce::log_sum_exp), ("ReduceMax", reduce::max),
    ("ReduceMean", reduce::mean), ("ReduceMin", reduce::min), ("ReduceProd", reduce::product),
    ("ReduceSum", reduce::sum), ("ReduceSumSquare", reduce::sum_square),
    ("Relu", elementwise::relu), ("Reshape", layout::reshape), ("Resize", resize::resize),
    ("ReverseSequence", shuffle::reverse_sequence), ("RoiAlign", detection::roi_align),
    ("Round", elementwise::round), ("Scan", control::scan), ("Scatter", scatter::scatter_elements),
    ("ScatterElements", scatter::scatter_elements), ("ScatterND", scatter::scatter_nd),
    ("Selu", activation::selu), ("Shape", constants::shape), ("Shrink", activation::shrink),
    ("Sigmoid", elementwise::sigmoid), ("Sign", activation::sign),
    ("SimplifiedLayerNormalization", statistics::rms_normalization), ("Sin", elementwise::sin),
    ("Sinh", activation::sinh), ("Size", constants::size), ("Slice", selection::slice),
    ("Softmax", normalize::softmax), ("Softplus", elementwise::softplus),
    ("Softsign", activation::softsign), ("SpaceToDepth", shuffle::space_to_depth),
    ("Split", selection::split), ("Sqrt", elementwise::sqrt), ("Squeeze", layout::squeeze),
    ("Sub", arithmetic::sub), ("Sum", arithmetic::sum), ("Swish", activation::swish),
    ("Tan", activation::tan), ("Tanh", elementwise::tanh),
    ("ThresholdedRelu", activation::thresholded_relu), ("Tile", layout::tile),
    ("TopK", search::top_k), ("Transpose", layout::transpose), ("Trilu", search::trilu),
    ("Unique", search::unique), ("Unsqueeze", layout::unsqueeze), ("Upsample", resize::upsample),
    ("Where", choice::choose), ("Xor", bits::differ),
    ("com.microsoft.BiasGelu", microsoft::bias_gelu),
    ("com.microsoft.DequantizeLinear", quantize::dequantize_linear),
    ("com.microsoft.DynamicQuantizeLSTM", recurrent::quantized_lstm),
    ("com.microsoft.FastGelu", microsoft::fast_gelu),
    ("com.microsoft.FusedConv", microsoft::fused_conv),
    ("com.microsoft.FusedGemm", microsoft::fused_gemm),
    ("com.microsoft.FusedMatMul", microsoft::fused_mat_mul),
    ("com.microsoft.Gelu", microsoft::bias_gelu), ("com.microsoft.QGemm", quantize::q_gemm),
    ("com.microsoft.QLinearAdd", quantize::q_linear_add),
    ("com.microsoft.QLinearAveragePool", quantize::q_linear_average_pool),
    ("com.microsoft.QLinearConcat", quantize::q_linear_concat),
    ("com.microsoft.QLinearGlobalAveragePool", quantize::q_linear_global_average_pool),
    ("com.microsoft.QLinearLeakyRelu", quantize::q_linear_leaky_relu),
    ("com.microsoft.QLinearMul", quantize::q_linear_mul),
    ("com.microsoft.QLinearSigmoid", quantize::q_linear_sigmoid),
    ("com.microsoft.QLinearSoftmax", quantize::q_linear_softmax),
    ("com.microsoft.QuantizeLinear", quantize::quantize_linear),
    ("com.microsoft.QuickGelu", microsoft::quick_gelu),
    ("com.microsoft.SkipLayerNormalization", microsoft::skip_layer_normalization),
    ("com.microsoft.SkipSimplifiedLayerNormalization", microsoft::skip_simplified_layer_normalization),
];

/// The operator of this name; outside the standard domain, with its domain and a dot before it.
#[must_use]
pub fn find(name: &str) -> Option<Operator> {
    TABLE.iter().find(|(known, _)| *known == name).map(|&(_, operator)| operator)
}

/// The names of all operators that can be computed, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// One use of an operator: its node and the values that arrive there.
pub struct Call<'a> {
    node: &'a NodeProto,
    opset: i64,
    device: &'a Device,
    inputs: Vec<Option<Value>>,
    elements: &'a [Option<Element>],
    bodies: &'a [Plan],
}

impl<'a> Call<'a> {
    pub(super) fn new(
        node: &'a NodeProto,
        opset: i64,
        device: &'a Device,
        inputs: Vec<Option<Value>>,
    ) -> Self {
        Self { node, opset, device, inputs, elements: &[], bodies: &[] }
    }

    /// With the declared types of the inputs and the graphs inside the node.
    pub(super) fn within(self, elements: &'a [Option<Element>], bodies: &'a [Plan]) -> Self {
        Self { elements, bodies, ..self }
    }

    /// The declared type of input `index`, where it is known.
    fn element(&self, index: usize) -> Option<Element> {
        self.elements.get(index).copied().flatten()
    }

    /// Takes input `index`, which must be there.
    fn value(&mut self, index: usize) -> Outcome<Value> {
        self.optional(index).ok_or_else(|| format!("input {index} is missing"))
    }

    /// Takes input `index`, which may be left out.
    fn optional(&mut self, index: usize) -> Option<Value> {
        self.inputs.get_mut(index).and_then(Option::take)
    }

    fn floats(&mut self, index: usize) -> Outcome<Floats> {
        self.value(index)?.floats(self.device)
    }

    /// Takes a list of integers: input `index` or, in older opsets, the attribute `name`.
    fn listed(&mut self, index: usize, name: &str) -> Outcome<Option<Vec<i64>>> {
        match self.optional(index) {
            Some(value) => value.ints().map(Host::into_data).map(Some),
            None => Ok(self.attribute(name).map(|attribute| attribute.ints.clone())),
        }
    }

    /// Takes inputs 0 and 1, which meet element by element. Before opset 7 the second had to be put in
    /// its place by attributes.
    fn pair(&mut self) -> Outcome<(Value, Value)> {
        let (left, right) = (self.value(0)?, self.value(1)?);
        if self.opset >= 7 || self.int("broadcast", 0) == 0 {
            return Ok((left, right));
        }
        let rank = left.shape().len();
        let mut shape = right.shape();
        let at = match self.attribute("axis") {
            Some(attribute) => axis(attribute.i, rank)?,
            None => rank.saturating_sub(shape.len()),
        };
        let behind = rank.checked_sub(at + shape.len());
        let behind = behind.ok_or("its second input has too many dimensions")?;
        shape.extend(std::iter::repeat_n(1, behind));
        each!(right, array => Ok((left, array.reshape(&shape)?.into())))
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |attribute| attribute.f)
    }

    fn text(&self, name: &str) -> &'a str {
        let text = self.attribute(name).map(|attribute| &*attribute.s).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Positive integers of an attribute, one per spatial dimension.
    fn sizes<const N: usize>(&self, name: &str, default: usize) -> Outcome<[usize; N]> {
        let Some(attribute) = self.attribute(name) else { return Ok([default; N]) };
        let sizes = attribute.ints.iter().map(|&size| usize::try_from(size).ok());
        let sizes: Option<Vec<usize>> = sizes.collect();
        let sizes = sizes.and_then(|sizes| sizes.try_into().ok());
        sizes.ok_or_else(|| format!("{name} {:?} is not {N} sizes", attribute.ints))
    }

    fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attribute(name).and_then(|attribute| attribute.t.as_ref())
    }
}

/// `axis` counted from the front, in a value of `rank` dimensions.
fn axis(axis: i64, rank: usize) -> Outcome<usize> {
    let places = rank as i64;
    let place = if axis < 0 { axis + places } else { axis };
    let place = usize::try_from(place).ok().filter(|&place| place < rank);
    place.ok_or_else(|| format!("there is no dimension {axis} among {rank}"))
}

fn axes(list: &[i64], rank: usize) -> Outcome<Vec<usize>> {
    list.iter().map(|&place| axis(place, rank)).collect()
}

/// Sizes as the host arrays of a graph give them.
fn sizes(list: &[i64]) -> Outcome<Vec<usize>> {
    let size = |&size: &i64| usize::try_from(size).map_err(|_| format!("negative size {size}"));
    list.iter().map(size).collect()
}

fn one(value: impl Into<Value>) -> Outcome<Vec<Value>> {
    Ok(vec![value.into()])
}

impl From<Floats> for Value {
    fn from(floats: Floats) -> Self {
        Self::Floats(floats)
    }
}

impl From<Host<f32>> for Value {
    fn from(host: Host<f32>) -> Self {
        Self::Reals(host)
    }
}

impl From<Host<i64>> for Value {
    fn from(host: Host<i64>) -> Self {
        Self::Ints(host)
    }
}

impl From<Host<bool>> for Value {
    fn from(host: Host<bool>) -> Self {
        Self::Bools(host)
    }
}

/// Computes an array from one on the host, whatever its kind; floats go back to the device.
macro_rules! hosted {
    ($call:expr, $value:expr, $host:ident => $result:expr) => {
        match $value {
            $crate::models::onnx::value::Value::Ints($host) => {
                $crate::models::onnx::ops::one($result)
            }
            $crate::models::onnx::value::Value::Bools($host) => {
                $crate::models::onnx::ops::one($result)
            }
            value => {
                let $host = value.reals()?;
                let result = $crate::models::onnx::value::Value::constant($result, $call.device)?;
                $crate::models::onnx::ops::one(result)
            }
        }
    };
}
use hosted;

#[cfg(test)]
mod tests;
