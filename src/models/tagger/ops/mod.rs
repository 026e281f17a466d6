//! The operators: one function each, by its ONNX name.
//!
//! A function gets its inputs and attributes in a [`Call`] and gives its results. It follows the ONNX
//! text of opset 13 and later; where an older opset says the same in an attribute, the function looks
//! there too. To support one more operator: write its function and add a line to [`TABLE`].

mod arithmetic;
mod choice;
mod compare;
mod constants;
mod convolution;
mod einsum;
mod elementwise;
pub(super) mod fused;
mod layout;
mod linear;
mod normalize;
mod pool;
mod reduce;
mod selection;

use burn::tensor::Device;
use onnx_ir::{AttributeProto, NodeProto, TensorProto};

use super::{
    host::Host,
    value::{Floats, Value},
};

/// A result, or what is wrong, in words.
pub type Outcome<T> = Result<T, String>;

/// Computes the results of one node.
pub type Operator = fn(Call<'_>) -> Outcome<Vec<Value>>;

/// Every operator that can be computed, by name.
#[rustfmt::skip]
const TABLE: &[(&str, Operator)] = &[
    ("Abs", elementwise::abs), ("Add", arithmetic::add), ("And", choice::and),
    ("AveragePool", pool::average_pool), ("BatchNormalization", normalize::batch_normalization),
    ("Cast", constants::cast), ("Ceil", elementwise::ceil), ("Clip", elementwise::clip),
    ("Concat", layout::concat), ("Constant", constants::constant),
    ("ConstantOfShape", constants::constant_of_shape), ("Conv", convolution::conv),
    ("Cos", elementwise::cos), ("Div", arithmetic::div), ("Dropout", elementwise::identity),
    ("Einsum", einsum::einsum), ("Elu", elementwise::elu), ("Equal", compare::equal),
    ("Erf", elementwise::erf), ("Exp", elementwise::exp), ("Expand", layout::expand),
    ("Flatten", layout::flatten), ("Floor", elementwise::floor), ("Gather", selection::gather),
    ("Gelu", elementwise::gelu), ("Gemm", linear::gemm),
    ("GlobalAveragePool", pool::global_average_pool), ("GlobalMaxPool", pool::global_max_pool),
    ("Greater", compare::greater), ("GreaterOrEqual", compare::greater_or_equal),
    ("HardSigmoid", elementwise::hard_sigmoid), ("HardSwish", elementwise::hard_swish),
    ("Identity", elementwise::identity), ("LayerNormalization", normalize::layer_normalization),
    ("LeakyRelu", elementwise::leaky_relu), ("Less", compare::less),
    ("LessOrEqual", compare::less_or_equal), ("Log", elementwise::log),
    ("LogSoftmax", normalize::log_softmax), ("MatMul", linear::matmul), ("Max", arithmetic::max),
    ("MaxPool", pool::max_pool), ("Min", arithmetic::min), ("Mish", elementwise::mish),
    ("Mod", arithmetic::modulo), ("Mul", arithmetic::mul), ("Neg", elementwise::neg),
    ("Not", choice::not), ("Or", choice::or), ("Pad", layout::pad), ("Pow", arithmetic::pow),
    ("Range", constants::range), ("Reciprocal", elementwise::reciprocal),
    ("ReduceL1", reduce::l1), ("ReduceL2", reduce::l2), ("ReduceMax", reduce::max),
    ("ReduceMean", reduce::mean), ("ReduceMin", reduce::min), ("ReduceProd", reduce::product),
    ("ReduceSum", reduce::sum), ("ReduceSumSquare", reduce::sum_square),
    ("Relu", elementwise::relu), ("Reshape", layout::reshape), ("Round", elementwise::round),
    ("Shape", constants::shape), ("Sigmoid", elementwise::sigmoid), ("Sin", elementwise::sin),
    ("Size", constants::size), ("Slice", selection::slice), ("Softmax", normalize::softmax),
    ("Softplus", elementwise::softplus), ("Split", selection::split), ("Sqrt", elementwise::sqrt),
    ("Squeeze", layout::squeeze), ("Sub", arithmetic::sub), ("Sum", arithmetic::sum),
    ("Tanh", elementwise::tanh), ("Tile", layout::tile), ("Transpose", layout::transpose),
    ("Unsqueeze", layout::unsqueeze), ("Where", choice::choose),
];

/// The operator of this name in the standard domain.
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
}

impl<'a> Call<'a> {
    pub(super) fn new(
        node: &'a NodeProto,
        opset: i64,
        device: &'a Device,
        inputs: Vec<Option<Value>>,
    ) -> Self {
        Self { node, opset, device, inputs }
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

/// Applies one expression to the array inside a value, whatever its kind.
macro_rules! each {
    ($value:expr, $array:ident => $result:expr) => {
        match $value {
            $crate::models::tagger::value::Value::Floats($array) => $result,
            $crate::models::tagger::value::Value::Reals($array) => $result,
            $crate::models::tagger::value::Value::Ints($array) => $result,
            $crate::models::tagger::value::Value::Bools($array) => $result,
        }
    };
}
use each;

#[cfg(test)]
mod tests;
