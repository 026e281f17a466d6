//! A vision transformer as the published taggers are, as exporters write it: `[N, S, S, 3]` in, a
//! probability per tag out. For measurements; the demo's tagger is smaller ([`super::tagger`]).

use std::io;

use onnx_ir::{
    AttributeProto, AttributeType, GraphProto, Message, ModelProto, NodeProto, TensorProto,
};

use super::{
    Fill,
    tagger::{FLOAT, integers, port},
};

/// ONNX's number for 64-bit integers.
const INTEGER: i32 = 7;

/// So many values are drawn for a tensor and then come again: drawing all would take longer than what is
/// measured.
const PERIOD: usize = 1_000_003;

/// Sizes of a tagger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitShape {
    /// Side of the square pictures.
    pub side: usize,
    /// Side of the square that makes a token.
    pub patch: usize,
    /// Width of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Number of probabilities.
    pub tags: usize,
}

impl VitShape {
    /// ViT-B/16 at 448, with as many tags as version 3 of the published taggers.
    pub const BASE: Self =
        Self { side: 448, patch: 16, width: 768, depth: 12, heads: 12, tags: 10_861 };
    /// One of a few thousand weights.
    pub const SMALL: Self = Self { side: 32, patch: 8, width: 32, depth: 2, heads: 2, tags: 24 };

    fn tokens(&self) -> usize {
        (self.side / self.patch).pow(2)
    }

    /// Additions and multiplications for one picture: those of its products and of attention.
    #[must_use]
    pub fn operations(&self) -> f64 {
        let &Self { patch, width, depth, tags, .. } = self;
        let tokens = self.tokens();
        let block = 12 * tokens * width * width + 2 * tokens * tokens * width;
        let ends = tokens * 3 * patch * patch * width + width * tags;
        2.0 * (depth * block + ends) as f64
    }
}

/// The graph's file.
///
/// # Errors
/// The graph cannot be encoded.
pub fn graph(shape: VitShape, seed: u64) -> io::Result<Vec<u8>> {
    let side = shape.side as i64;
    let mut graph = GraphProto { name: "vit".to_owned(), ..GraphProto::default() };
    graph.input.push(port("input", &[None, Some(side), Some(side), Some(3)]));
    graph.output.push(port("output", &[None, Some(shape.tags as i64)]));
    let mut builder = Builder { graph, seed };
    builder.network(&shape);
    let mut model = ModelProto { ir_version: 8, ..ModelProto::default() };
    model.producer_name = "fluxpipe".to_owned();
    model.opset_import.push(Default::default());
    model.opset_import[0].version = 17;
    model.graph = Some(builder.graph).into();
    model.write_to_bytes().map_err(io::Error::other)
}

struct Builder {
    graph: GraphProto,
    seed: u64,
}

impl Builder {
    fn network(&mut self, shape: &VitShape) {
        let &VitShape { patch, width, depth, tags, .. } = shape;
        let (tokens, stride) = (shape.tokens(), patch as i64);
        let x = self.node("Transpose", &["input"], vec![integers("perm", &[0, 3, 1, 2])]);
        let weight = self.random("patches", &[width, 3, patch, patch]);
        let bias = self.filled("patches.bias", &[width], 0.0);
        let strides = vec![integers("strides", &[stride, stride])];
        let x = self.node("Conv", &[&x, &weight, &bias], strides);
        let x = self.reshaped(&x, &[0, width as i64, tokens as i64]);
        let x = self.node("Transpose", &[&x], vec![integers("perm", &[0, 2, 1])]);
        let places = self.random("places", &[1, tokens, width]);
        let mut x = self.node("Add", &[&x, &places], vec![]);
        for block in 0..depth {
            x = self.block(&format!("block.{block}"), &x, shape);
        }
        let axes = vec![integers("axes", &[1]), integer("keepdims", 0)];
        let x = self.node("ReduceMean", &[&x], axes);
        let x = self.norm("norm", &x, width);
        let x = self.linear("head", &x, [width, tags]);
        self.named("Sigmoid", &[&x], vec![], "output");
    }

    fn block(&mut self, name: &str, x: &str, shape: &VitShape) -> String {
        let width = shape.width;
        let h = self.norm(&format!("{name}.norm1"), x, width);
        let h = self.attention(name, &h, shape);
        let x = self.node("Add", &[x, &h], vec![]);
        let h = self.norm(&format!("{name}.norm2"), &x, width);
        let h = self.linear(&format!("{name}.fc1"), &h, [width, 4 * width]);
        let h = self.gelu(&h);
        let h = self.linear(&format!("{name}.fc2"), &h, [4 * width, width]);
        self.node("Add", &[&x, &h], vec![])
    }

    fn attention(&mut self, name: &str, x: &str, shape: &VitShape) -> String {
        let (tokens, width, heads) = (shape.tokens() as i64, shape.width, shape.heads as i64);
        let head = width as i64 / heads;
        let joint = self.linear(&format!("{name}.qkv"), x, [width, 3 * width]);
        let joint = self.reshaped(&joint, &[0, tokens, 3, heads, head]);
        let joint = self.node("Transpose", &[&joint], vec![integers("perm", &[2, 0, 3, 1, 4])]);
        let [q, k, v] = [0, 1, 2].map(|part| {
            let part = self.integers(&[], &[part]);
            self.node("Gather", &[&joint, &part], vec![integer("axis", 0)])
        });
        let scale = self.number((head as f32).sqrt().recip());
        let q = self.node("Mul", &[&q, &scale], vec![]);
        let k = self.node("Transpose", &[&k], vec![integers("perm", &[0, 1, 3, 2])]);
        let scores = self.node("MatMul", &[&q, &k], vec![]);
        let weights = self.node("Softmax", &[&scores], vec![integer("axis", -1)]);
        let h = self.node("MatMul", &[&weights, &v], vec![]);
        let h = self.node("Transpose", &[&h], vec![integers("perm", &[0, 2, 1, 3])]);
        let h = self.reshaped(&h, &[0, tokens, width as i64]);
        self.linear(&format!("{name}.proj"), &h, [width, width])
    }

    /// `x · (1 + erf(x / √2)) · ½`, as exporters write the function before it was an operator.
    fn gelu(&mut self, x: &str) -> String {
        let [root, one, half] =
            [std::f32::consts::SQRT_2, 1.0, 0.5].map(|number| self.number(number));
        let h = self.node("Div", &[x, &root], vec![]);
        let h = self.node("Erf", &[&h], vec![]);
        let h = self.node("Add", &[&h, &one], vec![]);
        let h = self.node("Mul", &[x, &h], vec![]);
        self.node("Mul", &[&h, &half], vec![])
    }

    fn norm(&mut self, name: &str, x: &str, width: usize) -> String {
        let scale = self.filled(&format!("{name}.weight"), &[width], 1.0);
        let shift = self.filled(&format!("{name}.bias"), &[width], 0.0);
        self.node("LayerNormalization", &[x, &scale, &shift], vec![integer("axis", -1)])
    }

    fn linear(&mut self, name: &str, x: &str, [from, to]: [usize; 2]) -> String {
        let weight = self.random(name, &[from, to]);
        let bias = self.filled(&format!("{name}.bias"), &[to], 0.0);
        let product = self.node("MatMul", &[x, &weight], vec![]);
        self.node("Add", &[&bias, &product], vec![])
    }

    fn reshaped(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.integers(&[shape.len()], shape);
        self.node("Reshape", &[x, &shape], vec![])
    }

    fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("{operator}_{}", self.graph.node.len());
        self.named(operator, inputs, attributes, &output);
        output
    }

    fn named(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        output: &str,
    ) {
        self.graph.node.push(NodeProto {
            op_type: operator.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    /// Normal with variance 1/inputs. All but the first axis of a kernel, and the first of a matrix, are
    /// inputs.
    fn random(&mut self, name: &str, shape: &[usize]) -> String {
        let count = shape.iter().product::<usize>();
        let inputs = if shape.len() == 2 { shape[0] } else { shape[1..].iter().product() };
        let fill = Fill::Normal((inputs as f64).sqrt().recip());
        let values = fill.values(self.seed, name, count.min(PERIOD));
        self.floats(name, shape, values.into_iter().cycle().take(count))
    }

    fn filled(&mut self, name: &str, shape: &[usize], value: f32) -> String {
        self.floats(name, shape, std::iter::repeat_n(value, shape.iter().product()))
    }

    fn number(&mut self, value: f32) -> String {
        let name = format!("number_{}", self.graph.initializer.len());
        self.floats(&name, &[], [value].into_iter())
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: impl Iterator<Item = f32>) -> String {
        self.constant(name, shape, FLOAT, values.flat_map(f32::to_le_bytes).collect())
    }

    fn integers(&mut self, shape: &[usize], values: &[i64]) -> String {
        let name = format!("integers_{}", self.graph.initializer.len());
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&name, shape, INTEGER, bytes)
    }

    fn constant(&mut self, name: &str, shape: &[usize], element: i32, bytes: Vec<u8>) -> String {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: shape.iter().map(|&size| size as i64).collect(),
            data_type: element,
            raw_data: bytes.into(),
            ..TensorProto::default()
        });
        name.to_owned()
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: value,
        type_: AttributeType::INT.into(),
        ..AttributeProto::default()
    }
}
