//! A graph of the taggers' kind, `[N, S, S, 3]` in, at batch 1 and 8.

use std::path::Path;

use fluxpipe::{
    device,
    models::onnx::{Floats, Graph, Host, Plan, Value},
};

use crate::time;

pub fn run(graph: &Path) {
    let device = device::cpu();
    let graph = Graph::open(graph).expect("a readable graph");
    let shape = graph.inputs[0].shape.clone().expect("a stated input");
    let [_, Some(height), Some(width), Some(channels)] = shape[..] else {
        panic!("an input [N, S, S, 3], not {shape:?}");
    };
    let plan = Plan::new(graph, &device).expect("supported operators");
    println!("{} nodes", plan.steps());
    for batch in [1, 8] {
        let count = batch * height * width * channels;
        let pixels: Vec<f32> = (0..count).map(|place| (place % 251) as f32).collect();
        let pictures = Host::new(vec![batch, height, width, channels], pixels).expect("pixels");
        let pictures = Floats::upload(pictures, &device).expect("pictures on the device");
        time(&format!("tagger, batch {batch}"), 5, || {
            let outputs = plan.run(vec![Value::Floats(pictures.clone())]).expect("an output");
            assert_eq!(outputs[0].shape()[0], batch);
        });
    }
}
