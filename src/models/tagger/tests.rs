//! Graphs that are taggers, and that are not.

use std::fs;

use burn::tensor::Device;
use miette::Diagnostic;
use onnx_ir::ModelProto;

use super::*;
use crate::models::onnx::tests::{Folder, graph, node};

fn assert_signature(error: &TaggerError) {
    assert_eq!(error.code().unwrap().to_string(), "fluxpipe::tagger::signature", "{error}");
}

/// A graph that gives the three bytes of a picture of one pixel; a size of 0 is left open.
fn pixel_graph(batch: i64, columns: i64) -> ModelProto {
    let mut model = graph(vec![node("Flatten", &["input"], "output")], vec![]);
    let graph = model.graph.as_mut().unwrap();
    let ports =
        [(&mut graph.input[0], vec![batch, 1, 1, 3]), (&mut graph.output[0], vec![batch, columns])];
    for (port, sizes) in ports {
        let tensor = port.type_.mut_or_insert_default().mut_tensor_type();
        let dims = &mut tensor.shape.mut_or_insert_default().dim;
        for size in sizes {
            dims.push(Default::default());
            if size > 0 {
                dims.last_mut().unwrap().set_dim_value(size);
            }
        }
    }
    model
}

fn open_with_tags(model: &ModelProto, tags: usize) -> Result<Tagger, TaggerError> {
    let folder = Folder::with(model);
    let rows: String = (0..tags).map(|tag| format!("{tag},tag_{tag},0\n")).collect();
    fs::write(folder.0.path().join(TagTable::FILE), format!("tag_id,name,category\n{rows}"))
        .unwrap();
    Tagger::open(folder.0.path(), &Device::flex())
}

#[test]
fn a_fixed_batch_is_filled_up() {
    let pictures = [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8, 9]];
    for batch in [0, 1, 2, 5] {
        let tagger = open_with_tags(&pixel_graph(batch, 3), 3).unwrap();
        assert_eq!(tagger.batch(), usize::try_from(batch).ok().filter(|&batch| batch > 0));
        let found = tagger.probabilities(&pictures).unwrap();
        assert_eq!(found, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]);
        assert_eq!(tagger.probabilities(&[]).unwrap().len(), 0);
        assert_signature(&tagger.probabilities(&[vec![0; 4]]).unwrap_err());
    }
}

#[test]
fn a_list_of_another_tagger_is_refused() {
    let stated = open_with_tags(&pixel_graph(0, 3), 4).err().unwrap();
    assert_signature(&stated);
    let open = open_with_tags(&pixel_graph(0, 0), 4).unwrap();
    assert_signature(&open.probabilities(&[vec![0; 3]]).unwrap_err());
}

#[test]
fn a_graph_that_is_no_tagger_is_refused() {
    let relu = graph(vec![node("Relu", &["input"], "output")], vec![]);
    assert_signature(&open_with_tags(&relu, 3).err().unwrap());
}

#[test]
fn a_tagger_without_its_list_is_refused() {
    let folder = Folder::with(&pixel_graph(0, 3));
    let error = Tagger::open(&folder.graph(), &Device::flex()).err().unwrap();
    assert_eq!(error.code().unwrap().to_string(), "fluxpipe::tags::read");
}
