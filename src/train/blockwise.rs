//! Block-wise backpropagation: the gradients of the whole transformer, one block in memory at a time.
//!
//! 1. Forward, keeping the inputs of every block.
//! 2. The loss and its gradient at the output.
//! 3. Backwards: each block is run again from its kept inputs, keeping what its backward pass needs, and
//!    is pulled back; its parameters' gradients are handed to a [`GradientSink`] at once. Gradients of the
//!    conditioning vector add up over the blocks; the embedders come last.
//!
//! Several micro-batches go through one block before it is changed, which is gradient accumulation.

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{FloatDType, Tensor},
};

use super::error::TrainError;
pub use crate::models::flux::InputGradients;
use crate::models::flux::{
    Block, Embedded, EmbeddersKept, Flux, FluxInput, LastKept, Surroundings,
};

/// Takes the gradients of one part of the network as soon as they are complete.
pub trait GradientSink {
    /// Takes the `gradients` of `part`, which stands at `place` in the network (`["double_blocks",
    /// "3"]`), and gives the part back, changed or not.
    fn take<M: Module>(&mut self, place: &[&str], part: M, gradients: GradientsParams) -> M;
}

/// The loss of one micro-batch as a function of the network's output `[B, N, 64]`: that of each sample,
/// and the gradient of their mean at the output.
pub type Loss<'a> = dyn Fn(Tensor<3>) -> (Vec<f64>, Tensor<3>) + 'a;

/// What a pass found.
#[derive(Debug)]
pub struct Pass {
    /// The loss of each sample of each micro-batch.
    pub losses: Vec<Vec<f64>>,
    /// Gradients at the inputs of each micro-batch.
    pub inputs: Vec<InputGradients>,
}

/// What the forward pass keeps of one micro-batch, and what the backward pass carries.
struct Kept {
    surroundings: Surroundings,
    vec: Tensor<2>,
    text: usize,
    embedders: EmbeddersKept,
    double_inputs: Vec<Vec<Tensor<3>>>,
    single_inputs: Vec<Vec<Tensor<3>>>,
    last: Option<LastKept>,
    /// Gradient at the streams below the part that was last taken.
    d_streams: Vec<Tensor<3>>,
    d_vec: Tensor<2>,
}

/// Runs the micro-batches forward and backward and hands the gradients of the mean of their mean losses to
/// `sink`, from the last layer to the embedders. What the sink gives back takes the part's place.
///
/// # Errors
/// A loss is not finite; no gradient was handed on, and the network is unchanged.
pub fn backpropagate<S: GradientSink>(
    flux: &mut Flux,
    batches: &[(FluxInput, Box<Loss<'_>>)],
    sink: &mut S,
) -> Result<Pass, TrainError> {
    let mut losses = Vec::with_capacity(batches.len());
    let mut kept = Vec::with_capacity(batches.len());
    for (input, loss) in batches {
        let (mut batch, output) = forward(flux, input);
        let (values, gradient) = loss(output);
        if let Some(&loss) = values.iter().find(|loss| !loss.is_finite()) {
            return Err(TrainError::NotFinite { loss });
        }
        losses.push(values);
        batch.d_streams = vec![gradient / batches.len() as f64];
        kept.push(batch);
    }
    backward_last_layer(flux, &mut kept, sink);
    for index in (0..flux.single_blocks.len()).rev() {
        let block = flux.single_blocks[index].clone();
        let inputs = |batch: &mut Kept| batch.single_inputs.pop();
        let place = ["single_blocks", &index.to_string()];
        flux.single_blocks[index] = backward_block(block, &place, &mut kept, inputs, sink);
    }
    for batch in &mut kept {
        split_streams(batch);
    }
    for index in (0..flux.double_blocks.len()).rev() {
        let block = flux.double_blocks[index].clone();
        let inputs = |batch: &mut Kept| batch.double_inputs.pop();
        let place = ["double_blocks", &index.to_string()];
        flux.double_blocks[index] = backward_block(block, &place, &mut kept, inputs, sink);
    }
    let inputs = backward_embedders(flux, kept, sink);
    Ok(Pass { losses, inputs })
}

/// The forward pass.
fn forward(flux: &Flux, input: &FluxInput) -> (Kept, Tensor<3>) {
    let surroundings = flux.surroundings(input);
    let (Embedded { img, txt, vec }, embedders) = flux.embedders.forward_keeping(input);
    let text = txt.dims()[1];
    let (mut double_inputs, mut single_inputs) = (Vec::new(), Vec::new());
    let mut streams = vec![txt, img];
    for block in &flux.double_blocks {
        double_inputs.push(streams.clone());
        streams = block.forward(streams, vec.clone(), &surroundings);
    }
    let mut streams = vec![Tensor::cat(streams, 1)];
    for block in &flux.single_blocks {
        single_inputs.push(streams.clone());
        streams = block.forward(streams, vec.clone(), &surroundings);
    }
    let x = Tensor::cat(streams, 1);
    let length = x.dims()[1] - text;
    let (output, last) = flux.final_layer.forward_keeping(x.narrow(1, text, length), vec.clone());
    let kept = Kept {
        surroundings,
        d_vec: vec.zeros_like().cast(FloatDType::F32),
        vec,
        text,
        embedders,
        double_inputs,
        single_inputs,
        last: Some(last),
        d_streams: Vec::new(),
    };
    (kept, output)
}

fn backward_last_layer<S: GradientSink>(flux: &mut Flux, kept: &mut [Kept], sink: &mut S) {
    let layer = flux.final_layer.clone();
    let mut gradients = GradientsParams::new();
    for batch in kept {
        let last = batch.last.take().unwrap_or_else(|| unreachable!("taken once"));
        let d_output = batch.d_streams.remove(0);
        let d_x = layer.backward(last, d_output, &mut batch.d_vec, Some(&mut gradients));
        // The text's tokens do not reach the last layer.
        let [rows, _, width] = d_x.dims();
        let zeros = Tensor::zeros([rows, batch.text, width], (&d_x.device(), d_x.dtype()));
        batch.d_streams = vec![Tensor::cat(vec![zeros, d_x], 1)];
    }
    flux.final_layer = sink.take(&["final_layer"], layer, gradients);
}

/// Pulls all micro-batches back through one block.
fn backward_block<B: Block, S: GradientSink>(
    block: B,
    place: &[&str],
    batches: &mut [Kept],
    inputs: impl Fn(&mut Kept) -> Option<Vec<Tensor<3>>>,
    sink: &mut S,
) -> B {
    let mut gradients = GradientsParams::new();
    for batch in batches {
        let streams = inputs(batch).unwrap_or_else(|| unreachable!("one entry per block was kept"));
        let (_, kept) = block.forward_keeping(streams, batch.vec.clone(), &batch.surroundings);
        let d_streams = std::mem::take(&mut batch.d_streams);
        let (around, d_vec) = (&batch.surroundings, &mut batch.d_vec);
        batch.d_streams = block.backward(kept, around, d_streams, d_vec, Some(&mut gradients));
    }
    sink.take(place, block, gradients)
}

/// Takes the gradient of the joint sequence apart into text and picture.
fn split_streams(batch: &mut Kept) {
    let joint = batch.d_streams.remove(0);
    let length = joint.dims()[1] - batch.text;
    let txt = joint.clone().narrow(1, 0, batch.text);
    batch.d_streams = vec![txt, joint.narrow(1, batch.text, length)];
}

fn backward_embedders<S: GradientSink>(
    flux: &mut Flux,
    batches: Vec<Kept>,
    sink: &mut S,
) -> Vec<InputGradients> {
    let embedders = flux.embedders.clone();
    let mut gradients = GradientsParams::new();
    let inputs = batches.into_iter().map(|mut batch| {
        let (img, txt) = (batch.d_streams.remove(1), batch.d_streams.remove(0));
        let d = Embedded { img, txt, vec: batch.d_vec };
        embedders.backward(batch.embedders, d, Some(&mut gradients))
    });
    let inputs = inputs.collect();
    flux.embedders = sink.take(&["embedders"], embedders, gradients);
    inputs
}
