//! Element types, as graphs state them.
//!
//! On the edges there are only three kinds of numbers: f32, i64 and booleans. What a graph declares
//! still matters: integers wrap at their declared width, a quantised result saturates at it, and an
//! output is written in it. So the declared type of every edge is followed through the graph.

use onnx_ir::{NodeProto, TensorProto};

/// The type of the elements of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Element {
    F16,
    BF16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

/// Codes of `TensorProto.DataType`, and what ONNX calls them.
const CODES: [(i64, Element, &str); 13] = [
    (1, Element::F32, "float"),
    (2, Element::U8, "uint8"),
    (3, Element::I8, "int8"),
    (4, Element::U16, "uint16"),
    (5, Element::I16, "int16"),
    (6, Element::I32, "int32"),
    (7, Element::I64, "int64"),
    (9, Element::Bool, "bool"),
    (10, Element::F16, "float16"),
    (11, Element::F64, "double"),
    (12, Element::U32, "uint32"),
    (13, Element::U64, "uint64"),
    (16, Element::BF16, "bfloat16"),
];

impl Element {
    /// The type with this code; strings, complex numbers and types of less than a byte have none here.
    #[must_use]
    pub fn of(code: impl Into<i64>) -> Option<Self> {
        let code = code.into();
        CODES.iter().find(|known| known.0 == code).map(|known| known.1)
    }

    /// What ONNX calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        CODES.iter().find(|known| known.1 == self).map_or("", |known| known.2)
    }

    /// Whether it is a float, which is f32 on the edges.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// The smallest and the largest integer; `None` for floats, booleans and 64 bits.
    pub(super) fn range(self) -> Option<(i64, i64)> {
        Some(match self {
            Self::I8 => (i8::MIN.into(), i8::MAX.into()),
            Self::I16 => (i16::MIN.into(), i16::MAX.into()),
            Self::I32 => (i32::MIN.into(), i32::MAX.into()),
            Self::U8 => (0, u8::MAX.into()),
            Self::U16 => (0, u16::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            _ => return None,
        })
    }

    /// `value` as it overflows in this type.
    pub(super) fn wrap(self, value: i64) -> i64 {
        match self {
            Self::I8 => (value as i8).into(),
            Self::I16 => (value as i16).into(),
            Self::I32 => (value as i32).into(),
            Self::U8 => (value as u8).into(),
            Self::U16 => (value as u16).into(),
            Self::U32 => (value as u32).into(),
            _ => value,
        }
    }
}

/// The element types of a node's results, as far as its inputs' types tell them. A node with graphs
/// inside has the types of those.
pub(super) fn results(node: &NodeProto, inputs: &[Option<Element>]) -> Vec<Option<Element>> {
    let input = |index: usize| inputs.get(index).copied().flatten();
    let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let stated = |name: &str| attribute(name).and_then(|attribute| Element::of(attribute.i));
    let of_tensor = |tensor: &TensorProto| Element::of(tensor.data_type);
    let tensor = |name: &str| attribute(name).and_then(|attribute| attribute.t.as_ref());
    let first = input(0);
    let one = match node.op_type.as_str() {
        "ArgMax" | "ArgMin" | "NonMaxSuppression" | "NonZero" | "Shape" | "Size" => {
            Some(Element::I64)
        }
        "And" | "Equal" | "Greater" | "GreaterOrEqual" | "IsInf" | "IsNaN" | "Less"
        | "LessOrEqual" | "Not" | "Or" | "Xor" => Some(Element::Bool),
        "Cast" => stated("to"),
        "CastLike" | "DequantizeLinear" | "Where" => input(1),
        "Constant" => match node.attribute.first().map(|attribute| attribute.name.as_str()) {
            Some("value_int" | "value_ints") => Some(Element::I64),
            Some("value_float" | "value_floats") => Some(Element::F32),
            _ => tensor("value").and_then(of_tensor),
        },
        "ConstantOfShape" => tensor("value").map_or(Some(Element::F32), of_tensor),
        "ConvInteger" | "MatMulInteger" => Some(Element::I32),
        "DynamicQuantizeLinear" => {
            return vec![Some(Element::U8), Some(Element::F32), Some(Element::U8)];
        }
        "Dropout" => return vec![first, Some(Element::Bool)],
        "EyeLike" => stated("dtype").or(first),
        "MaxPool" | "TopK" | "Unique" => {
            let mut all = vec![Some(Element::I64); node.output.len()];
            if let Some(values) = all.first_mut() {
                *values = first;
            }
            return all;
        }
        "OneHot" => input(2),
        "QLinearConv" | "QLinearMatMul" | "QLinearAdd" | "QLinearMul" => input(7),
        "QLinearSigmoid"
        | "QLinearLeakyRelu"
        | "QLinearAveragePool"
        | "QLinearGlobalAveragePool"
        | "QLinearSoftmax" => input(4),
        "QLinearConcat" => input(1),
        "QGemm" => {
            if inputs.len() > 7 {
                input(8)
            } else {
                Some(Element::F32)
            }
        }
        "QuantizeLinear" => stated("output_dtype").or(input(2)).or(Some(Element::U8)),
        _ => first,
    };
    vec![one; node.output.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_at_their_width() {
        assert_eq!(Element::U8.wrap(-1), 255);
        assert_eq!(Element::I8.wrap(200), -56);
        assert_eq!(Element::U32.wrap(-1), i64::from(u32::MAX));
        assert_eq!(Element::I64.wrap(i64::MIN), i64::MIN);
    }

    #[test]
    fn a_comparison_is_boolean_and_a_sum_like_its_first_term() {
        let node = |name: &str| {
            let mut node = NodeProto::new();
            node.op_type = name.to_owned();
            node.output = vec!["y".to_owned()];
            node
        };
        let inputs = [Some(Element::U8), None];
        assert_eq!(results(&node("Less"), &inputs), [Some(Element::Bool)]);
        assert_eq!(results(&node("Add"), &inputs), [Some(Element::U8)]);
    }
}
