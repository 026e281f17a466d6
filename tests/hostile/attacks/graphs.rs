//! ONNX graphs that want to read elsewhere, and graphs inside of graphs.

use std::path::Path;

use burn::tensor::Device;
use fluxpipe::models::onnx::{Graph, OnnxError, Plan};

use super::{Folder, refused};
use crate::made::{
    onnx::{attribute, elsewhere, model, node, port, tagger},
    protobuf::{Field, field},
};

/// A tagger whose matrix lies in another file.
fn outside(location: &str, others: &[(&str, &str)]) -> Vec<u8> {
    let mut graph = tagger();
    graph[4] = elsewhere("matrix", &[3, 4], &[&[("location", location)], others].concat());
    model(graph)
}

fn open(bytes: &[u8]) -> Result<Graph, OnnxError> {
    Graph::from_bytes(Path::new("models/model.onnx"), bytes)
}

#[test]
fn data_outside_the_folder_is_refused() {
    assert!(
        open(&outside("weights.bin", &[])).is_ok()
            && open(&outside("sub/weights.bin", &[])).is_ok()
    );
    for location in [
        "/etc/passwd",
        "../secret.bin",
        "sub/../../secret.bin",
        "..",
        ".",
        "",
        "./x",
        "sub/../x",
        "/",
    ] {
        refused(
            open(&outside(location, &[])),
            &["models/model.onnx", "`matrix`", "not inside its folder"],
        );
    }
    let told = refused(open(&outside("../\u{1b}[2J", &[])), &["\\u001b[2J"]);
    assert!(!told.contains('\u{1b}'));
    // A graph inside of a node may not do it either.
    let inside = vec![
        node("Identity", &["w"], &["tags"], vec![]),
        field(2, "branch"),
        elsewhere("w", &[1], &[("location", "../x")]),
        port(12, "tags", &[0, 4]),
    ];
    let mut graph = tagger();
    graph[2] = node(
        "If",
        &["logits"],
        &["tags"],
        vec![attribute("then_branch", 6, inside.clone()), attribute("else_branch", 6, inside)],
    );
    refused(open(&model(graph)), &["`w`", "not inside its folder"]);
}

/// Reads the graph of a folder with all its tensors.
fn load(folder: &Folder) -> Result<Plan, OnnxError> {
    Plan::new(Graph::open(&folder.path("model.onnx"))?, &Device::flex())
}

#[test]
fn places_beyond_the_data_file_are_refused() {
    let folder = Folder::new();
    folder.file("weights.bin", [0; 48]);
    folder.file("model.onnx", outside("weights.bin", &[("offset", "0"), ("length", "48")]));
    assert!(load(&folder).is_ok());
    for (offset, length) in [
        ("0", "49"),
        ("48", "1"),
        ("18446744073709551615", "48"),
        ("9223372036854775808", "0"),
        ("-1", "48"),
        ("99999999999999999999", "1"),
        ("8", "48"),
    ] {
        folder
            .file("model.onnx", outside("weights.bin", &[("offset", offset), ("length", length)]));
        refused(load(&folder), &["model.onnx", "matrix"]);
    }
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_as_its_owner_made_it_and_a_pipe_is_not_waited_for() {
    let (folder, other) = (Folder::new(), Folder::new());
    folder.file("model.onnx", outside("weights.bin", &[]));
    let target = other.file("blob", [0; 48]);
    let link = folder.path("weights.bin");
    std::os::unix::fs::symlink(target, &link).unwrap();
    assert!(load(&folder).is_ok(), "model caches keep their files behind links");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&link, &link).unwrap();
    refused(load(&folder), &["weights.bin"]);
    std::fs::remove_file(&link).unwrap();
    super::pipe(&link);
    refused(load(&folder), &["weights.bin", "a pipe or a device"]);
}

#[test]
fn depth_is_limited() {
    let leaf = vec![node("Identity", &["picture"], &["tags"], vec![]), port(12, "tags", &[0, 4])];
    let nest = |inside: Vec<Field>, _| {
        vec![
            node("If", &["picture"], &["tags"], vec![attribute("then_branch", 6, inside)]),
            port(12, "tags", &[0]),
        ]
    };
    let deep = |depth: usize| {
        let mut graph = (0..depth).fold(leaf.clone(), nest);
        graph.push(port(11, "picture", &[0, 8, 8, 3]));
        model(graph)
    };
    assert!(open(&deep(4)).is_ok());
    refused(open(&deep(2000)), &["models/model.onnx"]);
}

#[test]
fn names_that_act_are_refused() {
    let mut graph = tagger();
    graph[2] = node("Sigmoid\n  supported all", &["logits"], &["tags"], vec![]);
    refused(open(&model(graph)), &["Sigmoid\\u000a  supported all", "cannot be shown"]);
}
