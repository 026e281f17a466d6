//! Single operators in tiny graphs, against the outputs that the ONNX project publishes with them.

use fluxpipe::{
    models::onnx::{Element, Graph, Plan, Value},
    weights::{Checkpoint, Dtype},
};
use serde_json::Value as Json;

use super::{
    device::device,
    pack::{Pack, assert_close},
};

const KIND: &str = "onnx_nodes";

fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F32 => Element::F32,
        Dtype::I64 => Element::I64,
        Dtype::I32 => Element::I32,
        Dtype::I8 => Element::I8,
        Dtype::U8 => Element::U8,
        Dtype::Bool => Element::Bool,
        other => panic!("no case uses {}", other.name()),
    }
}

fn value(file: &Checkpoint, name: &str) -> (Element, Value) {
    let info = file.info(name).unwrap_or_else(|| panic!("the pack lacks {name}"));
    let element = element(info.dtype);
    let value = Value::decode(element, info.shape.clone(), &file.bytes(name).unwrap());
    (element, value.unwrap())
}

fn names(list: &Json) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap())
}

#[test]
fn operators_give_the_published_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    for pack in Pack::of_kind(KIND) {
        let file = pack.tensors("nodes.safetensors");
        let tolerance = pack.manifest["tolerance"].as_f64().unwrap();
        let cases = pack.manifest["cases"].as_object().unwrap();
        assert!(!cases.is_empty());
        for (name, case) in cases {
            std::fs::write(&path, &*file.bytes(&format!("{name}/model")).unwrap()).unwrap();
            let graph = Graph::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            let inputs = graph.inputs.iter();
            let inputs = inputs.map(|port| value(&file, &format!("{name}/in/{}", port.name)).1);
            let inputs = inputs.collect();
            let plan = Plan::new(graph, &device());
            let plan = plan.unwrap_or_else(|error| panic!("{name}: {error}"));
            let outputs = plan.run(inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
            let declared = plan.elements().to_vec();
            for ((output, found), declared) in names(&case["outputs"]).zip(outputs).zip(declared) {
                let label = format!("{name}: {output}");
                let (element, expected) = value(&file, &format!("{name}/out/{output}"));
                assert_eq!(declared, Some(element), "{label}");
                assert_eq!(found.shape(), expected.shape(), "{label}");
                let (found, expected) =
                    (found.encode(element).unwrap(), expected.encode(element).unwrap());
                if element == Element::F32 {
                    let floats = |bytes: &[u8]| Dtype::F32.decode(bytes);
                    assert_close(&label, &floats(&found), &floats(&expected), tolerance, tolerance);
                } else {
                    assert_eq!(found, expected, "{label}");
                }
            }
        }
    }
}
