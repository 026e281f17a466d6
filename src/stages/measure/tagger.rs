//! A tagger's graph: pictures to probabilities.

use std::path::Path;

use burn::tensor::Device;

use super::MeasureError;
use crate::{
    device::rates::{self, Seconds},
    models::onnx::{Floats, Graph, Host, Plan, Value},
    pipeline::StageError,
};

/// Runs a graph whose only input is `[N, S, S, 3]` (or `[N, 3, S, S]`) on a batch of pictures, and waits
/// for its output. Gives the number of its steps, and how long it took.
///
/// # Errors
/// The graph cannot be read, has another input, or uses operators that are not supported.
pub fn tags(
    graph: &Path,
    device: &Device,
    batch: usize,
    samples: usize,
) -> Result<(usize, Seconds), StageError> {
    let graph = Graph::open(graph)?;
    let path = graph.path().to_owned();
    let unfit = |found: String| MeasureError::Graph { path: path.clone(), found };
    let shapes = graph.inputs.iter().map(|input| input.shape.as_deref()).collect::<Vec<_>>();
    let [Some(&[fixed, Some(a), Some(b), Some(c)])] = shapes[..] else {
        return Err(unfit(format!("{shapes:?}")).into());
    };
    let shape = vec![fixed.unwrap_or(batch), a, b, c];
    let plan = Plan::new(graph, device)?;
    let pixels = (0..shape.iter().product()).map(|place: usize| (place % 251) as f32);
    let pictures = Host::new(shape, pixels.collect()).map_err(unfit)?;
    let pictures = Floats::upload(pictures, device).map_err(unfit)?;
    let mut outcome = Ok(Vec::new());
    let seconds = rates::seconds(device, samples, || {
        outcome = plan.run(vec![Value::Floats(pictures.clone())]);
    });
    outcome?;
    Ok((plan.steps(), seconds))
}
