//! ONNX graphs, with the numbers that `onnx.proto` gives its fields.

use super::protobuf::{Field, Value, encode, field};

/// A model of operator set 17 with this graph.
pub fn model(graph: Vec<Field>) -> Vec<u8> {
    encode(&[field(1, 8), field(8, vec![field(2, 17)]), field(7, graph)])
}

/// A node; attributes come behind.
pub fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<Field>) -> Field {
    let mut fields: Vec<Field> = inputs.iter().map(|name| field(1, *name)).collect();
    fields.extend(outputs.iter().map(|name| field(2, *name)));
    fields.push(field(4, operator));
    fields.extend(attributes);
    field(1, fields)
}

/// An attribute: `kind` is the number of the field that holds it.
pub fn attribute(name: &str, kind: u64, value: impl Into<Value>) -> Field {
    // AttributeProto.AttributeType of a number, a text, a tensor, a graph and a list of numbers.
    let stated = match kind {
        3 => 2,
        4 => 3,
        5 => 4,
        6 => 5,
        _ => 7,
    };
    field(5, vec![field(1, name), field(kind, value), field(20, stated)])
}

/// A stored tensor of floats, as field `number` of what it is in.
pub fn tensor(number: u64, name: &str, shape: &[u64], values: &[f32]) -> Field {
    let mut fields: Vec<Field> = shape.iter().map(|&size| field(1, size)).collect();
    fields.extend([field(2, 1), field(8, name)]);
    let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    fields.push(Field(9, Value::Bytes(raw)));
    field(number, fields)
}

/// A tensor of floats in another file.
pub fn elsewhere(name: &str, shape: &[u64], entries: &[(&str, &str)]) -> Field {
    let mut fields: Vec<Field> = shape.iter().map(|&size| field(1, size)).collect();
    fields.extend([field(2, 1), field(8, name)]);
    let entry = |(key, value): &(&str, &str)| field(13, vec![field(1, *key), field(2, *value)]);
    fields.extend(entries.iter().map(entry));
    fields.push(field(14, 1));
    field(5, fields)
}

/// An input (11) or output (12) of floats; a size of 0 is left open.
pub fn port(number: u64, name: &str, shape: &[u64]) -> Field {
    let size = |&size: &u64| match size {
        0 => field(1, vec![field(2, "N")]),
        size => field(1, vec![field(1, size)]),
    };
    let shape: Vec<Field> = shape.iter().map(size).collect();
    let tensor = vec![field(1, 1), field(2, shape)];
    field(11.max(number), vec![field(1, name), field(2, vec![field(1, tensor)])])
}

/// A tagger of four tags: the mean colour of a picture times a matrix.
pub fn tagger() -> Vec<Field> {
    let matrix: Vec<f32> = (0..12).map(|value| value as f32 / 8.0).collect();
    vec![
        node(
            "ReduceMean",
            &["picture"],
            &["mean"],
            vec![attribute("axes", 8, Value::Bytes(vec![1, 2])), attribute("keepdims", 3, 0)],
        ),
        node("MatMul", &["mean", "matrix"], &["logits"], vec![]),
        node("Sigmoid", &["logits"], &["tags"], vec![]),
        field(2, "tagger"),
        tensor(5, "matrix", &[3, 4], &matrix),
        port(11, "picture", &[0, 8, 8, 3]),
        port(12, "tags", &[0, 4]),
    ]
}

/// The same with a graph inside a node.
pub fn branching() -> Vec<Field> {
    let branch = |name: &str| {
        vec![
            node("Sigmoid", &["logits"], &[name], vec![]),
            field(2, "branch"),
            port(12, name, &[0, 4]),
        ]
    };
    let mut graph = tagger();
    graph[2] = node(
        "If",
        &["holds"],
        &["tags"],
        vec![
            attribute("then_branch", 6, branch("one")),
            attribute("else_branch", 6, branch("other")),
        ],
    );
    let holds = vec![field(2, 9), field(8, "holds"), Field(9, Value::Bytes(vec![1]))];
    graph.push(field(5, holds));
    graph
}
