//! Taggers of other forms, and those that cannot be used: told by `check`, and by `run` before any
//! picture.

use onnx_ir::{Message, ModelProto, NodeProto, TensorProto};

use crate::{Project, project::PICTURES};

const MANIFEST: &str = r#"
[project]
name = "small"
output = "out"
device = "cpu"

[models]
blip = "MODELS/blip.safetensors"
tagger = "tagger"

[[dataset]]
image_dir = "pictures"
sidecars = "words"
resolution = 512

[stages.label]
max_length = 8

[stages.tag]
thresh = 0.5
use_rating_tags = true
order = "csv"
"#;

/// A project whose tagger has yet to be placed.
fn project() -> Project {
    let project = Project::with_manifest(MANIFEST);
    for picture in PICTURES {
        project.photograph(picture, &format!("pictures/{picture}"));
    }
    project.file("tagger/selected_tags.csv", list());
    project
}

fn list() -> Vec<u8> {
    Project::network("tagger/selected_tags.csv")
}

fn graph() -> ModelProto {
    ModelProto::parse_from_bytes(&Project::network("tagger/model.onnx")).unwrap()
}

fn place(project: &Project, name: &str, graph: &ModelProto) {
    project.file(&format!("tagger/{name}"), graph.write_to_bytes().unwrap());
}

/// Tags of the pictures, as made by `--only tag`.
fn tags(project: &Project) -> Vec<String> {
    project.call(&["check", "project.toml"]).exits(0);
    project.call(&["run", "project.toml", "--json", "--only", "tag"]).exits(0);
    let words = |picture: &&str| format!("words/{}.txt", picture.split('.').next().unwrap());
    PICTURES.iter().map(|picture| project.read(&words(picture))).collect()
}

/// Those of the demo's tagger as it is.
fn usual() -> Vec<String> {
    let project = project();
    place(&project, "model.onnx", &graph());
    tags(&project)
}

fn set_input(model: &mut ModelProto, sizes: &[i64]) {
    let input = &mut model.graph.as_mut().unwrap().input[0];
    let tensor = input.type_.mut_or_insert_default().mut_tensor_type();
    let dims = &mut tensor.shape.mut_or_insert_default().dim;
    dims.clear();
    for &size in sizes {
        dims.push(Default::default());
        // 0 is left open.
        if size > 0 {
            dims.last_mut().unwrap().set_dim_value(size);
        }
    }
}

/// The same network with its colours first.
fn channels_first(model: &mut ModelProto) {
    let graph = model.graph.as_mut().unwrap();
    let transpose = graph.node.iter().position(|node| node.op_type == "Transpose").unwrap();
    let transpose = graph.node.remove(transpose);
    let next = graph.node.iter_mut().find(|node| node.input[0] == transpose.output[0]).unwrap();
    next.input[0].clone_from(&transpose.input[0]);
    set_input(model, &[0, 3, 64, 64]);
}

/// The same network for colours from -1 to 1, with its sigmoid left to the reader.
fn ends_before_the_sigmoid(model: &mut ModelProto) {
    let graph = model.graph.as_mut().unwrap();
    let sigmoid = graph.node.pop().unwrap();
    assert_eq!(sigmoid.op_type, "Sigmoid");
    graph.node.last_mut().unwrap().output = sigmoid.output;
    let scalar = |name: &str, value: f32| TensorProto {
        name: name.to_owned(),
        dims: vec![1],
        data_type: 1,
        float_data: vec![value],
        ..TensorProto::default()
    };
    // `(x / 127.5 - 1 + 1) * 127.5 / 128` is the `x / 128` of the original.
    graph.initializer.retain(|tensor| tensor.name != "scale");
    graph.initializer.extend([scalar("one", 1.0), scalar("scale", 127.5 / 128.0)]);
    let input = graph.input[0].name.clone();
    graph.node[0].input[0] = "shifted".to_owned();
    let shift = NodeProto {
        op_type: "Add".to_owned(),
        name: "shift".to_owned(),
        input: vec![input, "one".to_owned()],
        output: vec!["shifted".to_owned()],
        ..NodeProto::default()
    };
    graph.node.insert(0, shift);
}

/// The demo's list as a `tag_mapping.json`.
fn mapping() -> String {
    let csv = String::from_utf8(list()).unwrap();
    let rows = csv.lines().skip(1).enumerate().map(|(index, row)| {
        let row: Vec<_> = row.split(',').collect();
        let category = if row[2] == "9" { "Rating" } else { "General" };
        format!(r#""{index}": {{"tag": "{}", "category": "{category}"}}"#, row[1])
    });
    format!("{{{}}}", rows.collect::<Vec<_>>().join(", "))
}

#[test]
fn colours_may_stand_first_or_last() {
    let project = project();
    let mut model = graph();
    channels_first(&mut model);
    place(&project, "model.onnx", &model);
    let (found, usual) = (tags(&project), usual());
    assert_eq!(found, usual);
    assert!(
        usual.iter().any(|text| *text != usual[0]),
        "a network that sees no picture: {usual:?}"
    );
}

#[test]
fn a_batch_may_be_fixed() {
    let project = project();
    let mut model = graph();
    set_input(&mut model, &[3, 64, 64, 3]);
    place(&project, "model.onnx", &model);
    assert_eq!(tags(&project), usual());
}

#[test]
fn the_other_family_has_its_own_list_scale_and_end() {
    for first in [false, true] {
        let project = project();
        project.remove("tagger/selected_tags.csv");
        project.file("tagger/tag_mapping.json", mapping());
        let mut model = graph();
        if first {
            channels_first(&mut model);
        }
        ends_before_the_sigmoid(&mut model);
        place(&project, "model_optimized.onnx", &model);
        assert_eq!(tags(&project), usual());

        // By itself it writes the likeliest first.
        project.replace("order = \"csv\"\n", "");
        let ordered = tags(&project);
        let sorted = |text: &String| {
            let mut tags: Vec<_> = text.trim().split(", ").map(str::to_owned).collect();
            tags.sort();
            tags
        };
        let both =
            [ordered.clone(), usual()].map(|texts| texts.iter().map(sorted).collect::<Vec<_>>());
        assert_eq!(both[0], both[1]);
        assert_ne!(ordered, usual());
    }
}

/// `check` and `run` refuse the project with this code; nothing ran before, though `label` comes first.
#[track_caller]
fn refused(project: &Project, code: &str, words: &[&str]) {
    for command in ["check", "run"] {
        let run = project.call(&[command, "project.toml"]).exits(3);
        assert!(run.stderr.contains(code), "{command}: {}", run.stderr);
        for word in words {
            // A terminal's width may break a line anywhere.
            let told = run.stderr.replace(['\n', '│', ' '], "");
            assert!(told.contains(&word.replace(' ', "")), "{command}: {word}: {}", run.stderr);
        }
        assert!(run.stderr.contains("help:"), "{command}: {}", run.stderr);
    }
    assert!(!project.path("words").exists(), "a stage ran before the tagger was looked at");
}

#[test]
fn an_operator_that_is_not_supported_is_named_with_its_node() {
    let project = project();
    let mut model = graph();
    let nodes = &mut model.graph.as_mut().unwrap().node;
    let relu = nodes.iter_mut().find(|node| node.op_type == "Relu").unwrap();
    relu.op_type = "Frobnicate".to_owned();
    relu.name = "/layer/act".to_owned();
    place(&project, "model.onnx", &model);
    refused(&project, "fluxpipe::onnx::operator", &["Frobnicate at node `/layer/act`"]);
}

#[test]
fn a_list_of_another_length_is_refused() {
    let project = project();
    place(&project, "model.onnx", &graph());
    let shorter = String::from_utf8(list()).unwrap();
    let (shorter, _) = shorter.trim_end().rsplit_once('\n').unwrap();
    project.file("tagger/selected_tags.csv", shorter);
    refused(
        &project,
        "fluxpipe::tagger::signature",
        &["24 numbers per picture, and selected_tags.csv lists 23 tags"],
    );
    project.remove("tagger/selected_tags.csv");
    project.file("tagger/tag_mapping.json", r#"{"0": {"tag": "x", "category": "Rating"}}"#);
    refused(
        &project,
        "fluxpipe::tagger::signature",
        &["24 numbers per picture, and tag_mapping.json lists 1 tags"],
    );
}

#[test]
fn a_quality_that_the_list_has_not_is_asked_for_in_vain() {
    let project = project();
    place(&project, "model.onnx", &graph());
    project.replace("order = \"csv\"", "order = \"csv\"\nuse_quality_tags = true");
    let in_vain = |list: &str| {
        for command in ["check", "plan", "run"] {
            let run = project.call(&[command, "project.toml"]).exits(2);
            for words in ["fluxpipe::manifest::no_effect", list, "use_quality_tags = true"] {
                assert!(run.stderr.contains(words), "{command}: {words}: {}", run.stderr);
            }
        }
    };
    in_vain("selected_tags.csv lists no quality tags");
    project.remove("tagger/selected_tags.csv");
    project.file("tagger/tag_mapping.json", mapping());
    in_vain("tag_mapping.json lists no quality tags");
    project.file("tagger/tag_mapping.json", mapping().replacen("General", "Quality", 1));
    project.call(&["check", "project.toml"]).exits(0);
}

#[test]
fn a_folder_without_its_list_is_refused() {
    let project = project();
    place(&project, "model.onnx", &graph());
    project.remove("tagger/selected_tags.csv");
    refused(&project, "fluxpipe::tags::read", &["selected_tags.csv", "tag_mapping.json"]);
    project.file("tagger/tag_mapping.json", r#"{"0": {"tag": "x", "category": "Mood"}}"#);
    refused(&project, "fluxpipe::tags::mapping", &["category `Mood` of `x` is unknown"]);
}

#[test]
fn a_folder_without_its_graph_is_refused() {
    let project = project();
    refused(&project, "fluxpipe::onnx::read", &["tagger/model.onnx"]);
}

#[test]
fn an_input_of_another_shape_is_refused() {
    let project = project();
    let mut model = graph();
    set_input(&mut model, &[0, 64, 64, 4]);
    place(&project, "model.onnx", &model);
    refused(&project, "fluxpipe::tagger::signature", &["[?, 64, 64, 4]", "[N, S, S, 3]"]);
}

/// The same network with the bytes of one tensor in a file beside the graph.
fn with_data_file(model: &mut ModelProto) -> Vec<u8> {
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    let large = tensors.iter_mut().max_by_key(|tensor| tensor.float_data.len()).unwrap();
    let bytes = large.float_data.iter().flat_map(|value| value.to_le_bytes()).collect();
    // Field 14, `data_location`, set to `EXTERNAL`: its type cannot be named from here.
    let mut outside = TensorProto::parse_from_bytes(&[14 << 3, 1]).unwrap();
    (outside.name, outside.dims) = (large.name.clone(), large.dims.clone());
    outside.data_type = large.data_type;
    outside.external_data.push(Default::default());
    let location = outside.external_data.last_mut().unwrap();
    (location.key, location.value) = ("location".to_owned(), "model.onnx_data".to_owned());
    *large = outside;
    bytes
}

#[test]
fn weights_in_a_file_beside_the_graph_are_in_the_key() {
    let project = project();
    let mut model = graph();
    let mut bytes: Vec<u8> = with_data_file(&mut model);
    place(&project, "model.onnx", &model);
    project.file("tagger/model.onnx_data", &bytes);
    assert_eq!(tags(&project), usual());
    assert!(project.plan().contains("tag.probabilities 0 of 5"), "{}", project.plan());
    // Another weight, in a file that the graph only names.
    bytes[3] ^= 0x80;
    project.file("tagger/model.onnx_data", &bytes);
    assert!(project.plan().contains("tag.probabilities 5 of 5"), "{}", project.plan());
}
