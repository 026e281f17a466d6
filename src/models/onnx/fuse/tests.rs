//! Every pattern, as exporters write it, against the same graph step by step.

use std::fs;

use burn::tensor::Device;
use onnx_ir::{AttributeProto, GraphProto, Message, ModelProto, NodeProto, TensorProto};

use super::super::{Floats, Graph, Host, Plan, Value};

/// `operator inputs -> output`, with `axis` where one is given: `Softmax scores -> weights axis=-1`.
fn node(line: &str) -> NodeProto {
    let mut words = line.split_whitespace();
    let mut node = NodeProto::new();
    node.op_type = words.next().unwrap().to_owned();
    node.input = words.by_ref().take_while(|&word| word != "->").map(str::to_owned).collect();
    node.output = vec![words.next().unwrap().to_owned()];
    node.name = node.output[0].clone();
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        let mut attribute = AttributeProto::new();
        attribute.name = name.to_owned();
        attribute.ints = value.split(',').map(|value| value.parse().unwrap()).collect();
        attribute.i = attribute.ints[0];
        node.attribute.push(attribute);
    }
    node
}

fn tensor(name: &str, dims: &[i64], data: Vec<f32>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        data_type: 1,
        dims: dims.to_vec(),
        float_data: data,
        ..TensorProto::default()
    }
}

/// Numbers between -1 and 1 that look like none.
fn some(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
}

/// A graph from `x` to `y` over the constants that the lines use.
fn graph(lines: &[&str], opset: i64) -> (tempfile::TempDir, Graph) {
    let port = |name: &str| onnx_ir::ValueInfoProto { name: name.to_owned(), ..Default::default() };
    let constants = [
        tensor("weight", &[6, 4], some(24)),
        tensor("back", &[4, 6], some(24)),
        tensor("bias", &[4], some(4)),
        tensor("bias6", &[6], some(6)),
        tensor("matrix", &[6, 6], some(36)),
        tensor("mask", &[5, 5], some(25)),
        tensor("one", &[], vec![1.0]),
        tensor("half", &[], vec![0.5]),
        tensor("root", &[], vec![std::f32::consts::SQRT_2]),
        tensor("inverse", &[], vec![std::f32::consts::FRAC_1_SQRT_2]),
        tensor("quarter", &[1], vec![0.25]),
    ];
    let graph = GraphProto {
        node: lines.iter().map(|line| node(line)).collect(),
        initializer: constants.to_vec(),
        input: vec![port("x")],
        output: vec![port("y")],
        ..GraphProto::default()
    };
    let mut model = ModelProto { graph: Some(graph).into(), ..ModelProto::default() };
    model.opset_import.push(Default::default());
    model.opset_import[0].version = opset;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    fs::write(&path, model.write_to_bytes().unwrap()).unwrap();
    (folder, Graph::open(&path).unwrap())
}

/// The numbers of steps that a graph has as it stands and fused; the results must be the same.
fn steps(lines: &[&str], shape: &[usize]) -> [usize; 2] {
    steps_of(lines, shape, 17)
}

fn steps_of(lines: &[&str], shape: &[usize], opset: i64) -> [usize; 2] {
    let (_folder, graph) = graph(lines, opset);
    let device = Device::flex();
    let plans =
        [false, true].map(|fused| Plan::inside(graph.clone(), &device, &[], fused).unwrap());
    let results = plans.each_ref().map(|plan| {
        let x = Host::new(shape.to_vec(), some(shape.iter().product())).unwrap();
        let x = Value::Floats(Floats::upload(x, &device).unwrap());
        let Value::Floats(y) = plan.run(vec![x]).unwrap().remove(0) else { panic!("no numbers") };
        let y = y.download().unwrap();
        (Value::Reals(y.clone()).shape(), y.into_data())
    });
    assert_eq!(results[0].0, results[1].0);
    for (plain, fused) in results[0].1.iter().zip(&results[1].1) {
        assert!((plain - fused).abs() <= 1e-5, "{plain} and {fused} for {lines:?}");
    }
    plans.each_ref().map(Plan::steps)
}

const GELUS: [&[&str]; 4] = [
    &["Div h root -> a", "Erf a -> b", "Add b one -> c", "Mul h c -> d", "Mul d half -> y"],
    &["Mul h inverse -> a", "Erf a -> b", "Add one b -> c", "Mul c half -> d", "Mul h d -> y"],
    &["Mul h half -> e", "Mul h inverse -> a", "Erf a -> b", "Add b one -> c", "Mul e c -> y"],
    &["Div h root -> a", "Erf a -> b", "Add b one -> c", "Mul half h -> e", "Mul c e -> y"],
];

#[test]
fn written_out_gelus_become_one_step() {
    for gelu in GELUS {
        let lines = [&["Identity x -> h"], gelu].concat();
        assert_eq!(steps(&lines, &[3, 5]), [6, 2], "{gelu:?}");
    }
    // Not a GELU: another number, or a part that somebody else reads.
    let other =
        ["Div x root -> a", "Erf a -> b", "Add b half -> c", "Mul x c -> d", "Mul d half -> y"];
    assert_eq!(steps(&other, &[3, 5]), [5, 5]);
    let read = [
        "Div x root -> a",
        "Erf a -> b",
        "Add b one -> c",
        "Mul x c -> d",
        "Mul d half -> e",
        "Add e b -> y",
    ];
    assert_eq!(steps(&read, &[3, 5]), [6, 6]);
}

#[test]
fn products_take_what_follows_them() {
    for shape in [&[2, 5, 6][..], &[40, 6], &[6]] {
        let bias = ["MatMul x weight -> a", "Add bias a -> y"];
        assert_eq!(steps(&bias, shape), [2, 1]);
        let gelu = [&["MatMul x weight -> a", "Add a bias -> h"], GELUS[0]].concat();
        assert_eq!(steps(&gelu, shape), [7, 1]);
        let residual =
            ["Identity x -> r", "MatMul x matrix -> a", "Add a bias6 -> b", "Add r b -> y"];
        assert_eq!(steps(&residual, shape), [4, 2]);
    }
    // What is added to may be another shape: the sum is then computed apart, within the same step.
    let repeated =
        ["ReduceMean x -> r axes=1", "MatMul x matrix -> a", "Add a bias6 -> b", "Add r b -> y"];
    assert_eq!(steps(&repeated, &[2, 5, 6]), [4, 2]);
    let shared = [
        "MatMul x weight -> a",
        "Add a bias -> b",
        "MatMul b back -> c",
        "Add c bias6 -> d",
        "Add d x -> y",
    ];
    assert_eq!(steps(&shared, &[5, 6]), [5, 2]);
}

#[test]
fn attention_becomes_one_step() {
    let plain = |middle: &[&'static str]| {
        let ends = ["Transpose x -> k perm=0,1,3,2", "MatMul x k -> s"];
        [&ends[..], middle, &["Softmax t -> w axis=-1", "MatMul w x -> y"]].concat()
    };
    let shape = [2, 3, 5, 6];
    assert_eq!(steps(&plain(&["Div s root -> t"]), &shape), [5, 2]);
    assert_eq!(steps(&plain(&["Mul s quarter -> u", "Add u mask -> t"]), &shape), [6, 2]);
    assert_eq!(steps(&plain(&["Add mask s -> t"]), &shape), [5, 2]);
    let before = [
        "Mul x half -> q",
        "Transpose x -> k perm=0,1,3,2",
        "Mul k half -> l",
        "MatMul q l -> s",
        "Softmax s -> w axis=3",
        "MatMul w x -> y",
    ];
    assert_eq!(steps(&before, &shape), [6, 2]);
    // Along another dimension it is no attention, and must come out as it stands.
    let across = [
        "Transpose x -> k perm=0,1,3,2",
        "MatMul x k -> s",
        "Softmax s -> w axis=1",
        "MatMul w x -> y",
    ];
    steps(&across, &shape);
    // Before opset 13 softmax joins all dimensions from its own on, and that is the second if not stated.
    for softmax in ["Softmax s -> w", "Softmax s -> w axis=2", "Softmax s -> w axis=-1"] {
        let old = ["Transpose x -> k perm=0,1,3,2", "MatMul x k -> s", softmax, "MatMul w x -> y"];
        assert_eq!(steps_of(&old, &shape, 11), [4, 2]);
    }
    // Scores that somebody else reads stay.
    let read = [
        "Transpose x -> k perm=0,1,3,2",
        "MatMul x k -> s",
        "Softmax s -> w axis=-1",
        "MatMul w x -> v",
        "MatMul s x -> u",
        "Add u v -> y",
    ];
    assert_eq!(steps(&read, &shape), [6, 6]);
}
