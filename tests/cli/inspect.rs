//! What files and the machine are said to be.

use std::collections::BTreeMap;

use fluxpipe::weights::{Checkpoint, Dtype, Entry, Writer};

use crate::Project;

#[test]
fn networks_are_recognised_by_their_tensors() {
    let project = Project::new();
    fluxpipe::models::random::write_all(&project.path("networks"), 1).unwrap();
    let expected = [
        ("flux1-dev.safetensors", "FLUX.1 dev transformer"),
        ("ae.safetensors", "FLUX.1 autoencoder"),
        ("clip_l.safetensors", "CLIP text encoder"),
        ("t5xxl.safetensors", "T5 encoder"),
        ("blip.safetensors", "BLIP captioner"),
        ("tagger", "WD tagger, by the selected_tags.csv beside it"),
    ];
    for (file, network) in expected {
        let path = format!("networks/{file}");
        let found = project.run(&["inspect", &path, "--json"]).exits(0).json();
        assert_eq!(found["network"], network, "{file}");
        let text = project.run(&["inspect", &path]).exits(0).stdout;
        assert!(text.contains(network), "{text}");
        let counted = match file {
            "tagger" => found["operators"].as_object().unwrap().len() as u64,
            _ => found["parameters"].as_u64().unwrap(),
        };
        assert!(counted > 0, "{file}");
    }
}

#[test]
fn a_file_of_no_kind_is_not_called_damaged_weights() {
    let project = Project::new();
    for name in ["notes.toml", "page.html", "weights.safetensors"] {
        project.file(name, "a text");
        let told = project.run(&["inspect", name]);
        let is_weights = name.ends_with("safetensors");
        assert_eq!(
            told.stderr.contains("fluxpipe::cli::not_known"),
            !is_weights,
            "{}",
            told.stderr
        );
    }
}

#[test]
fn scaled_weights_and_names_that_are_not_read_are_told() {
    let project = Project::new();
    let write = |file: &str, names: &[(&str, Dtype)]| {
        let entry = |&(name, dtype): &(&str, Dtype)| Entry {
            name: name.to_owned(),
            dtype,
            shape: vec![1, 1],
        };
        let entries: Vec<_> = names.iter().map(entry).collect();
        let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).unwrap();
        entries.iter().for_each(|entry| writer.tensor(&vec![0; entry.dtype.size()]).unwrap());
        project.file(file, writer.finish().unwrap());
        project.run(&["inspect", file]).exits(0).stdout
    };
    let q = "encoder.block.0.layer.0.SelfAttention.q";
    let [weight, scale] = ["weight", "scale_weight"].map(|end| format!("{q}.{end}"));
    let text = write("t5.safetensors", &[(&weight, Dtype::F8E4M3), (&scale, Dtype::F32)]);
    assert!(text.contains("T5 encoder") && text.contains("has a scale"), "{text}");
    let text = write("plain.safetensors", &[(&weight, Dtype::F8E4M3)]);
    assert!(text.contains("T5 encoder") && !text.contains("has a scale"), "{text}");
    let names = ["encoder.conv_in.weight", "encoder.mid_block.resnets.0.norm1.weight"];
    let text = write("vae.safetensors", &names.map(|name| (name, Dtype::F32)));
    assert!(text.contains("FLUX.1 autoencoder") && text.contains("not read"), "{text}");
}

#[test]
fn the_machine_is_described_on_any_machine() {
    let project = Project::new();
    let machine = project.run(&["doctor", "--json"]).exits(0).json();
    assert!(machine["threads"].as_u64().unwrap() > 0);
    assert!(machine["disk_free"].as_u64().unwrap() > 0);
    let auto = machine["auto"].as_str().unwrap();
    assert!(auto == "cpu" || auto == "cuda:0", "{auto}");
    assert!(project.run(&["doctor"]).exits(0).stdout.contains(auto));
}

#[test]
fn a_picture_is_described() {
    let project = Project::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pictures");
    let text = |name: &str| {
        let text = project.run(&["inspect", &format!("{folder}/{name}")]).exits(0).stdout;
        text.replace(folder, "[folder]")
    };
    insta::assert_snapshot!(
        "picture",
        text("turned.jpg") + &text("deep_grey.png") + &text("cmyk.tif")
    );
    let json = project.run(&["inspect", &format!("{folder}/turned.jpg"), "--json"]).exits(0).json();
    assert_eq!((&json["format"], &json["orientation"]), (&"JPEG".into(), &6.into()));
    project.file("text.png", "none");
    let refused = project.run(&["inspect", "text.png"]).exits(1);
    assert!(refused.stderr.contains("not_a_picture"), "{}", refused.stderr);
}

/// Fields of a protobuf message: a number by its key, or bytes that are a text, a message or packed.
fn varint(key: u8, value: u64) -> Vec<u8> {
    let (mut bytes, mut rest) = (vec![key << 3], value);
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn field(key: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let length = varint(key, value.len() as u64);
    [&[key << 3 | 2], &length[1..], value].concat()
}

/// A `ValueInfoProto` of a tensor; a size of zero is an open one.
fn port(name: &str, element: u64, sizes: &[u64]) -> Vec<u8> {
    let size = |&size: &u64| field(1, if size == 0 { field(2, "batch") } else { varint(1, size) });
    let shape: Vec<u8> = sizes.iter().flat_map(size).collect();
    let tensor = [varint(1, element), field(2, shape)].concat();
    [field(1, name), field(2, field(1, tensor))].concat()
}

fn node(operator: &str, inputs: &[&str], output: &str, name: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input)).collect();
    [inputs, field(2, output), field(3, name), field(4, operator)].concat()
}

/// A graph of opset 17 that adds its inputs `a` and `b`, and says where the sum is above `b`.
fn graph(operator: &str) -> Vec<u8> {
    graph_of(operator, 17)
}

fn graph_of(operator: &str, opset: u64) -> Vec<u8> {
    let nodes = [
        node(operator, &["a", "b"], "sum", "first"),
        node("Greater", &["sum", "b"], "more", "second"),
    ];
    let body = [
        nodes.iter().flat_map(|node| field(1, node)).collect::<Vec<u8>>(),
        field(2, "graph"),
        field(11, port("a", 1, &[0, 2])),
        field(11, port("b", 1, &[2])),
        field(12, port("sum", 1, &[0, 2])),
        field(12, port("more", 9, &[0, 2])),
    ];
    [varint(1, 8), field(7, body.concat()), field(8, varint(2, opset))].concat()
}

fn tensors(project: &Project, file: &str, tensors: &[(&str, &[usize], &[f32])]) {
    let entry = |(name, shape, _): &(&str, &[usize], &[f32])| Entry {
        name: (*name).to_owned(),
        dtype: Dtype::F32,
        shape: shape.to_vec(),
    };
    let entries: Vec<_> = tensors.iter().map(entry).collect();
    let mut writer = Writer::new(Vec::new(), &entries, &BTreeMap::new()).unwrap();
    for (_, _, data) in tensors {
        let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.tensor(&bytes).unwrap();
    }
    project.file(file, writer.finish().unwrap());
}

const RUN: [&str; 6] =
    ["inspect", "sum.onnx", "--run", "in.safetensors", "--out", "out.safetensors"];

#[test]
fn a_graph_is_computed_on_the_inputs_of_a_file() {
    let project = Project::new();
    project.file("sum.onnx", graph("Add"));
    let rows: (&str, &[usize], &[f32]) = ("a", &[2, 2], &[1.0, 2.0, 3.0, -4.0]);
    tensors(&project, "in.safetensors", &[rows, ("b", &[2], &[0.5, -1.0])]);
    let text = project.run(&RUN).exits(0).stdout;
    assert!(text.contains("sum [2, 2] F32") && text.contains("more [2, 2] BOOL"), "{text}");
    let found = Checkpoint::open(&project.path("out.safetensors")).unwrap();
    assert_eq!(found.f32("sum").unwrap(), [1.5, 1.0, 3.5, -5.0]);
    assert_eq!(*found.bytes("more").unwrap(), [1, 1, 1, 0]);
    let json = project.run(&[&RUN[..], &["--json"]].concat()).exits(0).json();
    assert_eq!(json["outputs"][0]["name"], "more");
}

#[test]
fn inputs_that_are_not_those_of_the_graph_are_all_named() {
    let project = Project::new();
    project.file("sum.onnx", graph("Add"));
    tensors(&project, "in.safetensors", &[("a", &[4], &[0.0; 4]), ("c", &[1], &[0.0])]);
    insta::assert_snapshot!(project.run(&RUN).exits(2).seen());
    assert!(!project.path("out.safetensors").exists());
    // One flag without the other, and a file that is no graph.
    project.run(&RUN[..4]).exits(2);
    let ran = project.run(&[&["inspect", "in.safetensors"], &RUN[2..]].concat()).exits(2);
    assert!(ran.stderr.contains("no_graph"), "{}", ran.stderr);
}

#[test]
fn a_graph_that_runs_is_said_to() {
    let project = Project::new();
    project.file("sum.onnx", graph("Add"));
    insta::assert_snapshot!(project.run(&["inspect", "sum.onnx"]).exits(0).seen());
    // A version that came after the operators were written.
    project.file("sum.onnx", graph_of("Add", 99));
    let text = project.run(&["inspect", "sum.onnx"]).exits(0).stdout;
    assert!(text.contains("note") && text.contains("newer than opset"), "{text}");
}

#[test]
fn a_graph_with_unknown_operators_is_described_and_not_run() {
    let project = Project::new();
    project.file("sum.onnx", graph("Concoct"));
    let found = project.run(&["inspect", "sum.onnx", "--json"]).exits(0).json();
    assert_eq!(found["unsupported"][0], "Concoct at node `first`");
    assert_eq!(found["opset"], 17);
    assert!(found.get("note").is_none());
    let text = project.run(&["inspect", "sum.onnx"]).exits(0).stdout;
    assert!(text.contains("unsupported") && !text.contains("all operators"), "{text}");
    assert_eq!(found["ports"][0], "in  a float [batch, 2]");
    tensors(&project, "in.safetensors", &[("a", &[1, 2], &[0.0; 2]), ("b", &[2], &[0.0; 2])]);
    let ran = project.run(&RUN).exits(3);
    assert!(ran.stderr.contains("fluxpipe::onnx::operator") && ran.stderr.contains("Concoct"));
}
