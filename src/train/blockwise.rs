//! Block-wise backpropagation: the gradients of the whole transformer, those of one block in memory at a
//! time.
//!
//! 1. Forward, block by block. Of each block is kept what its backward pass needs, or only its inputs, as
//!    the network's plan says.
//! 2. The loss and its gradient at the output.
//! 3. Backwards: a block of which only the inputs were kept is run again from them, each is pulled back,
//!    and its parameters' gradients are handed to a [`GradientSink`] at once. Gradients of the conditioning
//!    vector add up over the blocks; the embedders come last.
//!
//! All micro-batches go through one block before the next, both ways: a block is fetched and changed once
//! per step, and gradients are accumulated on the way. Below the lowest part that is trained nothing is
//! kept, and the backward pass ends there. What is kept or computed again has the same bits, so the plan
//! changes no gradient.

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{FloatDType, Tensor},
};

use super::{
    error::TrainError,
    memory::Values,
    network::{AnyBlock, AnyKept, Network, Way},
};
pub use crate::models::flux::InputGradients;
use crate::models::flux::{
    Embedded, Embedders, EmbeddersKept, Flux, FluxInput, LastKept, LastLayer, Surroundings,
};

/// Takes the gradients of one part of the network as soon as they are complete.
pub trait GradientSink {
    /// Takes the `gradients` of `part`, which stands at `place` in the network (`["double_blocks",
    /// "3"]`), and gives the part back, changed or not.
    fn take<M: Module>(&mut self, place: &[&str], part: M, gradients: GradientsParams) -> M;

    /// Whether gradients of the part at `place` are wanted. Others are not computed.
    fn wants(&self, _place: &[&str]) -> bool {
        true
    }

    /// Whether parts are given back changed.
    fn changes(&self) -> bool {
        true
    }
}

/// What can be trained: a [`Network`], or a transformer that is whole on its device.
pub trait AsNetwork {
    /// Does `work` on it as a network.
    fn with_network<T>(&mut self, work: impl FnOnce(&mut Network) -> T) -> T;
}

impl AsNetwork for Network {
    fn with_network<T>(&mut self, work: impl FnOnce(&mut Network) -> T) -> T {
        work(self)
    }
}

impl AsNetwork for Flux {
    fn with_network<T>(&mut self, work: impl FnOnce(&mut Network) -> T) -> T {
        let mut network = Network::resident(self.clone());
        let done = work(&mut network);
        *self = network.into_flux();
        done
    }
}

/// The loss of one micro-batch as a function of the network's output `[B, N, 64]`: that of each sample,
/// and the gradient of their mean at the output.
pub type Loss<'a> = dyn Fn(Tensor<3>) -> (Vec<f64>, Tensor<3>) + 'a;

/// What a pass found.
#[derive(Debug)]
pub struct Pass {
    /// The loss of each sample of each micro-batch.
    pub losses: Vec<Vec<f64>>,
    /// Gradients at the inputs of each micro-batch; none where the embedders are not trained.
    pub inputs: Vec<InputGradients>,
}

/// Runs the micro-batches forward and backward and hands the gradients of the mean of their mean losses to
/// `sink`, from the last layer to the embedders. What the sink gives back takes the part's place.
///
/// # Errors
/// A loss is not finite; no gradient was handed on, and the network is unchanged.
pub fn backpropagate<S: GradientSink>(
    network: &mut impl AsNetwork,
    batches: &[(FluxInput, Box<Loss<'_>>)],
    sink: &mut S,
) -> Result<Pass, TrainError> {
    network.with_network(|network| pass(network, batches, sink))
}

fn pass<S: GradientSink>(
    network: &mut Network,
    batches: &[(FluxInput, Box<Loss<'_>>)],
    sink: &mut S,
) -> Result<Pass, TrainError> {
    let goal = Goal::of(network, sink);
    let mut under_way = forward(network, batches, goal);
    let mut losses = Vec::with_capacity(batches.len());
    for (batch, (_, loss)) in under_way.iter_mut().zip(batches) {
        let output = batch.streams.remove(0);
        let (values, gradient) = loss(output);
        if let Some(at) = values.iter().position(|loss| !loss.is_finite()) {
            let sample = Some(losses.iter().map(Vec::len).sum::<usize>() + at);
            return Err(TrainError::NotFinite { what: "loss", value: values[at], sample });
        }
        losses.push(values);
        let gradient = gradient.cast(network.compute()) / batches.len() as f64;
        batch.streams = vec![gradient];
    }
    let layer = network.last_layer.clone();
    network.last_layer = backward_last_layer(layer, &mut under_way, sink);
    let (blocks, doubles) = (network.blocks(), network.config.depth);
    for index in (goal.lowest..blocks).rev() {
        if index + 1 == doubles {
            under_way.iter_mut().for_each(Batch::split);
        }
        let block = network.lend(index, Way::Backward(goal.lowest));
        let place = Place::of(network, index);
        let (block, changed) = backward_block(block, &place, &mut under_way, sink);
        network.give_back(index, block, changed);
    }
    if !goal.embedders {
        return Ok(Pass { losses, inputs: Vec::new() });
    }
    if doubles == 0 {
        under_way.iter_mut().for_each(Batch::split);
    }
    let embedders = network.embedders.clone();
    let (embedders, inputs) = backward_embedders(embedders, under_way, sink);
    network.embedders = embedders;
    Ok(Pass { losses, inputs })
}

/// How far the way back goes.
#[derive(Clone, Copy)]
struct Goal {
    /// The lowest block that is passed; the number of blocks where none is.
    lowest: usize,
    /// Whether the embedders are reached.
    embedders: bool,
}

impl Goal {
    fn of<S: GradientSink>(network: &Network, sink: &S) -> Self {
        let embedders = sink.wants(&["embedders"]);
        let wanted = |&index: &usize| sink.wants(&Place::of(network, index).segments());
        let lowest = match embedders {
            true => 0,
            false => (0..network.blocks()).find(wanted).unwrap_or(network.blocks()),
        };
        Self { lowest, embedders }
    }
}

/// Where a block stands.
struct Place {
    kind: &'static str,
    index: String,
}

impl Place {
    fn of(network: &Network, index: usize) -> Self {
        match index.checked_sub(network.config.depth) {
            None => Self { kind: "double_blocks", index: index.to_string() },
            Some(single) => Self { kind: "single_blocks", index: single.to_string() },
        }
    }

    fn segments(&self) -> [&str; 2] {
        [self.kind, &self.index]
    }
}

/// A micro-batch on its way.
struct Batch {
    around: Surroundings,
    vec: Tensor<2>,
    text: usize,
    embedders: Option<EmbeddersKept>,
    /// Of each block that was passed, the last of them last.
    blocks: Vec<Waiting>,
    last: Option<LastKept>,
    /// Forwards, what has left the part that was passed last; backwards, the gradients there.
    streams: Vec<Tensor<3>>,
    /// The gradient at `vec`, f32.
    d_vec: Tensor<2>,
}

/// What waits of a block for its backward pass.
enum Waiting {
    Kept(AnyKept),
    Inputs(Vec<Tensor<3>>),
}

/// The forward pass of all micro-batches; the network's output is the only stream that is left.
fn forward(
    network: &mut Network,
    batches: &[(FluxInput, Box<Loss<'_>>)],
    goal: Goal,
) -> Vec<Batch> {
    let enter = |(input, _): &(FluxInput, _)| Batch::enter(network, input, goal);
    let mut under_way = batches.iter().map(enter).collect::<Vec<_>>();
    for index in 0..network.blocks() {
        if index == network.config.depth {
            under_way.iter_mut().for_each(Batch::join);
        }
        let block = network.lend(index, Way::Forward);
        let values = (index >= goal.lowest).then(|| network.plan.blocks[index].values);
        under_way.iter_mut().for_each(|batch| batch.through(&block, values));
        network.give_back(index, block, false);
    }
    for batch in &mut under_way {
        let x = Tensor::cat(std::mem::take(&mut batch.streams), 1);
        let length = x.dims()[1] - batch.text;
        let x = x.narrow(1, batch.text, length);
        let (output, last) = network.last_layer.forward_keeping(x, batch.vec.clone());
        (batch.streams, batch.last) = (vec![output], Some(last));
    }
    under_way
}

impl Batch {
    fn enter(network: &Network, input: &FluxInput, goal: Goal) -> Self {
        let (Embedded { img, txt, vec }, kept) = network.embedders.forward_keeping(input);
        Self {
            around: Surroundings::new(&network.config, input),
            text: txt.dims()[1],
            d_vec: vec.zeros_like().cast(FloatDType::F32),
            vec,
            embedders: goal.embedders.then_some(kept),
            blocks: Vec::new(),
            last: None,
            streams: vec![txt, img],
        }
    }

    /// Forward through a block. `None` stands for a block that nobody comes back to.
    fn through(&mut self, block: &AnyBlock, values: Option<Values>) {
        let streams = std::mem::take(&mut self.streams);
        match values {
            None => self.streams = block.forward(streams, self.vec.clone(), &self.around),
            Some(Values::Recomputed) => {
                self.blocks.push(Waiting::Inputs(streams.clone()));
                self.streams = block.forward(streams, self.vec.clone(), &self.around);
            }
            Some(Values::Kept) => {
                let (streams, kept) =
                    block.forward_keeping(streams, self.vec.clone(), &self.around);
                self.blocks.push(Waiting::Kept(kept));
                self.streams = streams;
            }
        }
    }

    /// Back through the block that was passed last.
    fn back(&mut self, block: &AnyBlock, gradients: Option<&mut GradientsParams>) {
        let kept = match self.blocks.pop() {
            Some(Waiting::Kept(kept)) => kept,
            Some(Waiting::Inputs(streams)) => {
                block.forward_keeping(streams, self.vec.clone(), &self.around).1
            }
            None => unreachable!("something waits of each block that is passed back"),
        };
        let d_streams = std::mem::take(&mut self.streams);
        self.streams = block.backward(kept, &self.around, d_streams, &mut self.d_vec, gradients);
    }

    /// Text and picture become one sequence.
    fn join(&mut self) {
        self.streams = vec![Tensor::cat(std::mem::take(&mut self.streams), 1)];
    }

    /// And apart again.
    fn split(&mut self) {
        let joint = self.streams.remove(0);
        let length = joint.dims()[1] - self.text;
        let txt = joint.clone().narrow(1, 0, self.text);
        self.streams = vec![txt, joint.narrow(1, self.text, length)];
    }
}

fn backward_last_layer<S: GradientSink>(
    layer: LastLayer,
    batches: &mut [Batch],
    sink: &mut S,
) -> LastLayer {
    let place = ["final_layer"];
    let mut gradients = sink.wants(&place).then(GradientsParams::new);
    for batch in batches {
        let last = batch.last.take().unwrap_or_else(|| unreachable!("taken once"));
        let d_output = batch.streams.remove(0);
        let d_x = layer.backward(last, d_output, &mut batch.d_vec, gradients.as_mut());
        // The text's tokens do not reach the last layer.
        let [rows, _, width] = d_x.dims();
        let zeros = Tensor::zeros([rows, batch.text, width], (&d_x.device(), d_x.dtype()));
        batch.streams = vec![Tensor::cat(vec![zeros, d_x], 1)];
    }
    match gradients {
        Some(gradients) => sink.take(&place, layer, gradients),
        None => layer,
    }
}

/// Pulls all micro-batches back through one block. Also says whether the block was changed.
fn backward_block<S: GradientSink>(
    block: AnyBlock,
    place: &Place,
    batches: &mut [Batch],
    sink: &mut S,
) -> (AnyBlock, bool) {
    let mut gradients = sink.wants(&place.segments()).then(GradientsParams::new);
    for batch in batches {
        batch.back(&block, gradients.as_mut());
    }
    match gradients {
        Some(gradients) => (block.hand_to(sink, &place.segments(), gradients), sink.changes()),
        None => (block, false),
    }
}

fn backward_embedders<S: GradientSink>(
    embedders: Embedders,
    batches: Vec<Batch>,
    sink: &mut S,
) -> (Embedders, Vec<InputGradients>) {
    let mut gradients = GradientsParams::new();
    let inputs = batches.into_iter().map(|mut batch| {
        let (img, txt) = (batch.streams.remove(1), batch.streams.remove(0));
        let d = Embedded { img, txt, vec: batch.d_vec };
        let kept = batch.embedders.unwrap_or_else(|| unreachable!("they are the goal"));
        embedders.backward(kept, d, Some(&mut gradients))
    });
    let inputs = inputs.collect();
    (sink.take(&["embedders"], embedders, gradients), inputs)
}

#[cfg(test)]
mod tests;
