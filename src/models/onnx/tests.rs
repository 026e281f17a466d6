//! Graphs that are not as they should be.

use std::{fs, path::PathBuf};

use burn::tensor::Device;
use miette::Diagnostic;
use onnx_ir::{GraphProto, Message, ModelProto, NodeProto, TensorProto, ValueInfoProto};

use super::*;

pub(in crate::models) fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    let mut node = NodeProto::new();
    node.op_type = operator.to_owned();
    node.name = format!("/{output}");
    node.input = inputs.iter().map(ToString::to_string).collect();
    node.output = vec![output.to_owned()];
    node
}

/// A graph from `input` to `output`.
pub(in crate::models) fn graph(nodes: Vec<NodeProto>, tensors: Vec<TensorProto>) -> ModelProto {
    let port = |name: &str| {
        let mut port = ValueInfoProto::new();
        port.name = name.to_owned();
        port
    };
    let mut graph = GraphProto::new();
    graph.node = nodes;
    graph.initializer = tensors;
    graph.input = vec![port("input")];
    graph.output = vec![port("output")];
    let mut model = ModelProto::new();
    model.opset_import.push(Default::default());
    model.opset_import[0].version = 17;
    model.graph = Some(graph).into();
    model
}

fn floats(name: &str, data: &[f32]) -> TensorProto {
    let mut tensor = TensorProto::new();
    tensor.name = name.to_owned();
    tensor.data_type = 1;
    tensor.dims = vec![data.len() as i64];
    tensor.float_data = data.to_vec();
    tensor
}

/// A tensor of `count` floats whose bytes lie elsewhere.
fn elsewhere(location: &str, offset: usize, count: usize) -> TensorProto {
    // Field 14, `data_location`, set to `EXTERNAL`: its type cannot be named from here.
    let mut tensor = TensorProto::parse_from_bytes(&[14 << 3, 1]).unwrap();
    tensor.name = "weight".to_owned();
    tensor.data_type = 1;
    tensor.dims = vec![count as i64];
    for (key, value) in [("location", location), ("offset", &offset.to_string())] {
        tensor.external_data.push(Default::default());
        let entry = tensor.external_data.last_mut().unwrap();
        (entry.key, entry.value) = (key.to_owned(), value.to_owned());
    }
    tensor
}

pub(in crate::models) struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn with(model: &ModelProto) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.graph(), model.write_to_bytes().unwrap()).unwrap();
        folder
    }

    pub fn graph(&self) -> PathBuf {
        self.0.path().join("model.onnx")
    }

    fn open(&self) -> Result<Graph, OnnxError> {
        Graph::open(&self.graph())
    }
}

fn list(data: &[f32]) -> Value {
    Value::Floats(Floats::upload(Host::list(data.to_vec()), &Device::flex()).unwrap())
}

fn run(folder: &Folder, input: &[f32]) -> Result<Vec<f32>, OnnxError> {
    let plan = Plan::new(folder.open()?, &Device::flex())?;
    let result = plan.run(vec![list(input)])?.remove(0);
    Ok(result.reals().unwrap().into_data())
}

#[track_caller]
fn assert_code(error: &OnnxError, code: &str) {
    assert_eq!(error.code().unwrap().to_string(), format!("fluxpipe::onnx::{code}"), "{error}");
    assert!(error.help().is_some());
}

#[test]
fn unknown_operators_are_refused_by_name() {
    let mut other = node("Relu", &["b"], "c");
    other.domain = "com.example".to_owned();
    let nodes = vec![
        node("Relu", &["input"], "a"),
        node("Frobnicate", &["a"], "b"),
        other,
        node("Frobnicate", &["c"], "output"),
        node("Unused", &["input"], "nobody"),
    ];
    let error = Folder::with(&graph(nodes, vec![])).open().unwrap_err();
    assert_code(&error, "operator");
    let text = error.to_string();
    assert!(
        text.ends_with("Frobnicate at node `/b` and 1 more, com.example.Relu at node `/c`"),
        "{text}"
    );
}

#[test]
fn what_is_no_graph_is_refused() {
    let good = graph(vec![node("Relu", &["input"], "output")], vec![]);
    let folder = Folder::with(&good);
    let bytes = fs::read(folder.graph()).unwrap();
    fs::write(folder.graph(), &bytes[..bytes.len() - 3]).unwrap();
    assert_code(&folder.open().unwrap_err(), "format");
    fs::write(folder.graph(), b"PK\x03\x04 not protobuf at all").unwrap();
    assert_code(&folder.open().unwrap_err(), "format");
    assert_code(&Graph::open(&folder.graph().with_file_name("none.onnx")).unwrap_err(), "read");
    let loose = graph(vec![node("Add", &["input", "nowhere"], "output")], vec![]);
    let error = Folder::with(&loose).open().unwrap_err();
    assert_code(&error, "format");
    assert!(error.to_string().contains("`nowhere`"), "{error}");
}

#[test]
fn data_outside_the_folder_is_refused() {
    for location in ["../weights", "/etc/hostname", "data/../../weights", ""] {
        let model = graph(
            vec![node("Add", &["input", "weight"], "output")],
            vec![elsewhere(location, 0, 2)],
        );
        assert_code(&Folder::with(&model).open().unwrap_err(), "external");
    }
}

#[test]
fn data_beside_the_graph_is_read() {
    let model =
        graph(vec![node("Add", &["input", "weight"], "output")], vec![elsewhere("w.bin", 4, 2)]);
    let folder = Folder::with(&model);
    assert_code(&run(&folder, &[0.0, 0.0]).unwrap_err(), "read");
    let bytes: Vec<u8> = [9.0_f32, 1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let file = folder.graph().with_file_name("w.bin");
    fs::write(&file, &bytes).unwrap();
    assert_eq!(run(&folder, &[1.0, 1.0]).unwrap(), [2.0, 3.0]);
    fs::write(&file, &bytes[..8]).unwrap();
    assert_code(&run(&folder, &[1.0, 1.0]).unwrap_err(), "format");
}

#[test]
fn a_node_that_cannot_be_computed_is_named() {
    let model =
        graph(vec![node("Add", &["input", "w"], "output")], vec![floats("w", &[1.0, 2.0, 3.0])]);
    let error = run(&Folder::with(&model), &[1.0, 2.0]).unwrap_err();
    assert_code(&error, "run");
    assert!(error.to_string().contains("Add at node `/output`"), "{error}");
}

#[test]
fn constant_nodes_are_computed_once() {
    let nodes = vec![
        node("Mul", &["w", "w"], "square"),
        node("Add", &["square", "w"], "sum"),
        node("Add", &["input", "sum"], "output"),
    ];
    let folder = Folder::with(&graph(nodes, vec![floats("w", &[2.0, 3.0])]));
    let plan = Plan::new(folder.open().unwrap(), &Device::flex()).unwrap();
    assert_eq!(plan.steps(), 1);
    for _ in 0..2 {
        let result = plan.run(vec![list(&[1.0, 1.0])]).unwrap().remove(0);
        assert_eq!(result.reals().unwrap().into_data(), [7.0, 13.0]);
    }
}

fn inside(
    node: &mut NodeProto,
    name: &str,
    nodes: Vec<NodeProto>,
    inputs: &[&str],
    outputs: &[&str],
) {
    let mut body = graph(nodes, vec![]).graph.unwrap();
    let port = |name: &&str| {
        let mut port = ValueInfoProto::new();
        port.name = (*name).to_owned();
        port
    };
    body.input = inputs.iter().map(port).collect();
    body.output = outputs.iter().map(port).collect();
    node.attribute.push(Default::default());
    let attribute = node.attribute.last_mut().unwrap();
    attribute.name = name.to_owned();
    attribute.g = Some(body).into();
}

/// `If` the condition holds `input + w`, else `input - w`.
fn choice(condition: &str) -> NodeProto {
    let mut choice = node("If", &[condition], "output");
    // In a file the branches may come in any order.
    let branch = |operator| {
        vec![node(operator, &["input", "w"], "inner"), node("Identity", &["inner"], "outer")]
    };
    inside(&mut choice, "else_branch", branch("Sub"), &[], &["outer"]);
    inside(&mut choice, "then_branch", branch("Add"), &[], &["outer"]);
    choice
}

#[test]
fn a_branch_is_taken_by_its_condition() {
    let nodes = vec![
        node("ReduceMax", &["input"], "largest"),
        node("Greater", &["largest", "w"], "condition"),
        choice("condition"),
    ];
    let folder = Folder::with(&graph(nodes, vec![floats("w", &[1.0])]));
    assert_eq!(folder.open().unwrap().operators()["Sub"], 1);
    assert_eq!(run(&folder, &[3.0, 0.0]).unwrap(), [4.0, 1.0]);
    assert_eq!(run(&folder, &[0.5, 0.0]).unwrap(), [-0.5, -1.0]);
}

#[test]
fn of_a_constant_condition_only_one_branch_is_kept() {
    let nodes = vec![node("Less", &["w", "w"], "condition"), choice("condition")];
    let folder = Folder::with(&graph(nodes, vec![floats("w", &[1.0])]));
    let plan = Plan::new(folder.open().unwrap(), &Device::flex()).unwrap();
    assert_eq!(plan.steps(), 2);
    assert_eq!(run(&folder, &[3.0]).unwrap(), [2.0]);
}

#[test]
fn a_loop_carries_its_state_and_stacks_the_rest() {
    let count = |limit: i64| {
        let mut tensor = TensorProto::new();
        tensor.name = "limit".to_owned();
        tensor.data_type = 7;
        tensor.int64_data = vec![limit];
        tensor
    };
    let mut round = node("Loop", &["limit", "", "input"], "last");
    round.output.push("output".to_owned());
    let body = vec![
        node("Identity", &["goes"], "goes_on"),
        node("Add", &["state", "w"], "sum"),
        node("Mul", &["sum", "w"], "row"),
    ];
    let (inputs, outputs) = (["round", "goes", "state"], ["goes_on", "sum", "row"]);
    inside(&mut round, "body", body, &inputs, &outputs);
    let folder =
        |limit| Folder::with(&graph(vec![round.clone()], vec![floats("w", &[2.0]), count(limit)]));
    assert_eq!(run(&folder(3), &[1.0]).unwrap(), [6.0, 10.0, 14.0]);
    let endless = run(&folder(i64::MAX), &[1.0]).unwrap_err();
    assert_code(&endless, "run");
    assert!(endless.to_string().contains("100000 rounds"), "{endless}");
}

#[test]
fn what_a_graph_inside_takes_from_nowhere_is_named() {
    let nodes = vec![node("Less", &["input", "input"], "condition"), choice("condition")];
    let error = Folder::with(&graph(nodes, vec![])).open().unwrap_err();
    assert_code(&error, "format");
    assert!(error.to_string().contains("`w`"), "{error}");
}

#[test]
fn integers_wrap_at_the_width_that_the_graph_declares() {
    let mut bytes = TensorProto::new();
    (bytes.name, bytes.data_type) = ("bytes".to_owned(), 2);
    (bytes.dims, bytes.int32_data) = (vec![2], vec![200, 100]);
    let nodes = vec![
        node("Add", &["bytes", "bytes"], "sum"),
        node("CastLike", &["sum", "input"], "output"),
    ];
    let folder = Folder::with(&graph(nodes, vec![bytes]));
    assert_eq!(run(&folder, &[0.0]).unwrap(), [144.0, 200.0]);
}
