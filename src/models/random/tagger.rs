//! A tagger: a small convolutional graph with the input and output of the published WD taggers
//! (`[N, 64, 64, 3]`, blue first, 0 to 255; one probability per tag), as an ONNX file.

use std::io;

use onnx_ir::{
    AttributeProto, AttributeType, GraphProto, Message, ModelProto, NodeProto, TensorProto,
    ValueInfoProto,
};

use super::Fill;

const SIDE: i64 = 64;
/// ONNX's number for 32-bit floats.
pub(super) const FLOAT: i32 = 1;
/// Channels before and after each convolution.
const CHANNELS: [usize; 3] = [3, 8, 16];
const RATINGS: [&str; 4] = ["general", "sensitive", "questionable", "explicit"];
const GENERAL: [&str; 20] = [
    "indoors",
    "outdoors",
    "day",
    "night",
    "sky",
    "water",
    "tree",
    "building",
    "animal",
    "cat",
    "food",
    "cup",
    "portrait",
    "blurry",
    "from_above",
    "close-up",
    "simple_background",
    "no_humans",
    "monochrome",
    "still_life",
];

/// `selected_tags.csv` of the graph.
pub fn tags() -> String {
    let ratings = RATINGS.iter().map(|name| (name, 9));
    let rows = ratings.chain(GENERAL.iter().map(|name| (name, 0)));
    let rows = rows.enumerate().map(|(id, (name, category))| format!("{id},{name},{category},0\n"));
    std::iter::once("tag_id,name,category,count\n".to_owned()).chain(rows).collect()
}

/// The file's bytes.
pub fn graph(seed: u64) -> io::Result<Vec<u8>> {
    let tags = RATINGS.len() + GENERAL.len();
    let mut graph = GraphProto { name: "tagger".to_owned(), ..GraphProto::default() };
    graph.input.push(port("input", &[None, Some(SIDE), Some(SIDE), Some(3)]));
    graph.output.push(port("predictions", &[None, Some(tags as i64)]));
    let mut x = "input".to_owned();
    let mut add = |graph: &mut GraphProto, operator: &str, more: &[&str], attributes| {
        let name = format!("{operator}_{}", graph.node.len());
        let input = std::iter::once(x.as_str()).chain(more.iter().copied()).map(str::to_owned);
        let node = NodeProto {
            op_type: operator.to_owned(),
            input: input.collect(),
            output: vec![name.clone()],
            name: name.clone(),
            attribute: attributes,
            ..NodeProto::default()
        };
        graph.node.push(node);
        x = name;
    };
    // Levels up to 255 to about unit size.
    graph.initializer.push(constant("scale", &[1], vec![1.0 / 128.0]));
    add(&mut graph, "Mul", &["scale"], vec![]);
    add(&mut graph, "Transpose", &[], vec![integers("perm", &[0, 3, 1, 2])]);
    for (index, pair) in CHANNELS.windows(2).enumerate() {
        let name = format!("convolution_{index}");
        graph.initializer.push(random(&name, &[pair[1], pair[0], 3, 3], seed));
        let attributes = vec![integers("strides", &[2, 2]), integers("pads", &[1, 1, 1, 1])];
        add(&mut graph, "Conv", &[&name], attributes);
        add(&mut graph, "Relu", &[], vec![]);
    }
    add(&mut graph, "GlobalAveragePool", &[], vec![]);
    add(&mut graph, "Flatten", &[], vec![]);
    graph.initializer.push(random("head", &[CHANNELS[2], tags], seed));
    add(&mut graph, "MatMul", &["head"], vec![]);
    add(&mut graph, "Sigmoid", &[], vec![]);
    if let Some(last) = graph.node.last_mut() {
        last.output = vec!["predictions".to_owned()];
    }
    let mut model = ModelProto { ir_version: 8, ..ModelProto::default() };
    model.producer_name = "fluxpipe".to_owned();
    model.opset_import.push(Default::default());
    model.opset_import[0].version = 17;
    model.graph = Some(graph).into();
    model.write_to_bytes().map_err(io::Error::other)
}

fn random(name: &str, shape: &[usize], seed: u64) -> TensorProto {
    let inputs = if shape.len() == 2 { shape[0] } else { shape[1..].iter().product() };
    let fill = Fill::Normal((2.0 / inputs as f64).sqrt());
    constant(name, shape, fill.values(seed, name, shape.iter().product()))
}

fn constant(name: &str, shape: &[usize], values: Vec<f32>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: shape.iter().map(|&size| size as i64).collect(),
        data_type: FLOAT,
        float_data: values,
        ..TensorProto::default()
    }
}

pub(super) fn integers(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.to_vec(),
        type_: AttributeType::INTS.into(),
        ..AttributeProto::default()
    }
}

pub(super) fn port(name: &str, sizes: &[Option<i64>]) -> ValueInfoProto {
    let mut port = ValueInfoProto { name: name.to_owned(), ..ValueInfoProto::default() };
    let tensor = port.type_.mut_or_insert_default().mut_tensor_type();
    tensor.elem_type = FLOAT;
    let shape = tensor.shape.mut_or_insert_default();
    for size in sizes {
        shape.dim.push(Default::default());
        if let (Some(dimension), Some(size)) = (shape.dim.last_mut(), *size) {
            dimension.set_dim_value(size);
        }
    }
    port
}
