//! Block-wise backpropagation: the gradients of the whole transformer, one block in memory at a time.
//!
//! 1. Forward without a tape, keeping the inputs of every block.
//! 2. The loss and its gradient at the output.
//! 3. Backwards: each block is run again from its kept inputs, in three parts around its attention and
//!    each part on a tape of its own, pulled back, and its parameters' gradients are handed to a
//!    [`GradientSink`] at once. Gradients of the conditioning vector add up over the blocks; the
//!    embedders come last.
//!
//! Several micro-batches go through one block before it is changed, which is gradient accumulation.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{FloatDType, Gradients, Tensor},
};

use super::error::TrainError;
use crate::models::flux::{
    Block, Embedded, Flux, FluxInput, Projection, Surroundings, attention, attention_backward,
    join_heads, split_heads,
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

/// Gradients at the inputs of the network.
#[derive(Clone, Debug)]
pub struct InputGradients {
    /// `[B, N, 64]`
    pub img: Tensor<3>,
    /// `[B, L, context]`
    pub txt: Tensor<3>,
    /// `[B, vector]`
    pub y: Tensor<2>,
}

/// What the forward pass keeps of one micro-batch, and what the backward pass carries.
struct Kept {
    surroundings: Surroundings,
    vec: Tensor<2>,
    text: usize,
    double_inputs: Vec<Vec<Tensor<3>>>,
    single_inputs: Vec<Vec<Tensor<3>>>,
    last_input: Tensor<3>,
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
    let inputs = backward_embedders(flux, batches, kept, sink);
    Ok(Pass { losses, inputs })
}

/// The forward pass, off the tape.
fn forward(flux: &Flux, input: &FluxInput) -> (Kept, Tensor<3>) {
    let surroundings = flux.surroundings(input);
    let Embedded { img, txt, vec } = flux.embedders.forward(input);
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
    let last_input = x.narrow(1, text, length);
    let output = flux.final_layer.forward(last_input.clone(), vec.clone());
    let d_vec = vec.zeros_like().cast(FloatDType::F32);
    let d_streams = Vec::new();
    let kept = Kept {
        surroundings,
        vec,
        text,
        double_inputs,
        single_inputs,
        last_input,
        d_streams,
        d_vec,
    };
    (kept, output)
}

fn backward_last_layer<S: GradientSink>(flux: &mut Flux, kept: &mut [Kept], sink: &mut S) {
    let layer = flux.final_layer.clone();
    let tracked = layer.clone().train();
    let mut gradients = GradientsParams::new();
    for batch in kept {
        let (x, vec) = (leaf(&batch.last_input), leaf(&batch.vec));
        let output = tracked.forward(x.clone(), vec.clone());
        let mut found = pull(output, batch.d_streams.remove(0)).backward();
        let d_x = taken(&x, &mut found);
        batch.d_vec = batch.d_vec.clone() + taken(&vec, &mut found).cast(FloatDType::F32);
        collect(&tracked, &mut found, &mut gradients);
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
    kept: &mut [Kept],
    inputs: impl Fn(&mut Kept) -> Option<Vec<Tensor<3>>>,
    sink: &mut S,
) -> B {
    let tracked = block.clone().train();
    let mut gradients = GradientsParams::new();
    for batch in kept {
        let streams = inputs(batch).unwrap_or_else(|| unreachable!("one entry per block was kept"));
        pull_back(&tracked, &streams, batch, &mut gradients);
    }
    sink.take(place, block, gradients)
}

/// Pulls one micro-batch's `d_streams` back through a block, from what leaves it to what enters.
fn pull_back<B: Block>(
    block: &B,
    streams: &[Tensor<3>],
    batch: &mut Kept,
    gradients: &mut GradientsParams,
) {
    let Surroundings { rope, masked } = &batch.surroundings;
    // The three parts, each on a tape of its own that begins at fresh leaves.
    let vec = leaf(&batch.vec);
    let modulation = block.modulate(vec.clone());
    let (before, modulation_before) = (leaves(streams), leaves(&modulation));
    let Projection { q, k, v, aside } = block.project(&before, &modulation_before, rope);
    let [q_off, k_off, v_off] = [&q, &k, &v].map(|x| x.clone().inner());
    let attended =
        leaf(&join_heads(attention(q_off.clone(), k_off.clone(), v_off.clone(), masked.as_ref())));
    let (after, modulation_after, aside_after) =
        (leaves(streams), leaves(&modulation), leaves(&aside));
    let outputs =
        block.add(after.clone(), &modulation_after, attended.clone(), aside_after.clone());

    let mut found = pull_all(outputs, std::mem::take(&mut batch.d_streams)).backward();
    let mut d_streams = taken_all(&after, &mut found);
    let mut d_modulation = taken_all(&modulation_after, &mut found);
    let d_aside = taken_all(&aside_after, &mut found);
    let d_attended = split_heads(taken(&attended, &mut found), q.dims()[1]);
    collect(block, &mut found, gradients);

    let [d_q, d_k, d_v] = attention_backward(&q_off, &k_off, &v_off, masked.as_ref(), &d_attended);
    let mut pulled = pull(q, d_q) + pull(k, d_k) + pull(v, d_v);
    if !aside.is_empty() {
        pulled = pulled + pull_all(aside, d_aside);
    }
    let mut found = pulled.backward();
    add_all(&mut d_streams, taken_all(&before, &mut found));
    add_all(&mut d_modulation, taken_all(&modulation_before, &mut found));
    collect(block, &mut found, gradients);

    let mut found = pull_all(modulation, d_modulation).backward();
    batch.d_vec = batch.d_vec.clone() + taken(&vec, &mut found).cast(FloatDType::F32);
    collect(block, &mut found, gradients);
    batch.d_streams = d_streams;
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
    batches: &[(FluxInput, Box<Loss<'_>>)],
    kept: Vec<Kept>,
    sink: &mut S,
) -> Vec<InputGradients> {
    let embedders = flux.embedders.clone();
    let tracked = embedders.clone().train();
    let mut gradients = GradientsParams::new();
    let mut inputs = Vec::with_capacity(batches.len());
    for ((input, _), mut batch) in batches.iter().zip(kept) {
        let (img, txt, y) = (leaf(&input.img), leaf(&input.txt), leaf(&input.y));
        let input = FluxInput { img: img.clone(), txt: txt.clone(), y: y.clone(), ..input.clone() };
        let embedded = tracked.forward(&input);
        let d_vec = batch.d_vec.cast(flux.dtype());
        let d_img = batch.d_streams.remove(1);
        let pulled = pull(embedded.img, d_img)
            + pull(embedded.txt, batch.d_streams.remove(0))
            + pull(embedded.vec, d_vec);
        let mut found = pulled.backward();
        collect(&tracked, &mut found, &mut gradients);
        inputs.push(InputGradients {
            img: taken(&img, &mut found),
            txt: taken(&txt, &mut found),
            y: taken(&y, &mut found),
        });
    }
    flux.embedders = sink.take(&["embedders"], embedders, gradients);
    inputs
}

/// A fresh start of a tape with the value of `x`.
fn leaf<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().inner().autodiff().require_grad()
}

fn leaves<const D: usize>(all: &[Tensor<D>]) -> Vec<Tensor<D>> {
    all.iter().map(leaf).collect()
}

/// A number whose gradient at `y` is `upstream`.
fn pull<const D: usize>(y: Tensor<D>, upstream: Tensor<D>) -> Tensor<1> {
    (y * upstream.autodiff()).sum()
}

fn pull_all<const D: usize>(all: Vec<Tensor<D>>, upstream: Vec<Tensor<D>>) -> Tensor<1> {
    let pulled = all.into_iter().zip(upstream).map(|(y, upstream)| pull(y, upstream));
    pulled.reduce(|a, b| a + b).unwrap_or_else(|| unreachable!("a block has streams"))
}

/// The gradient of a leaf; zero where the part did not use it.
fn taken<const D: usize>(leaf: &Tensor<D>, found: &mut Gradients) -> Tensor<D> {
    leaf.grad_remove(found).unwrap_or_else(|| leaf.clone().inner().zeros_like())
}

fn taken_all<const D: usize>(leaves: &[Tensor<D>], found: &mut Gradients) -> Vec<Tensor<D>> {
    leaves.iter().map(|leaf| taken(leaf, found)).collect()
}

fn add_all(sums: &mut [Tensor<3>], others: Vec<Tensor<3>>) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum = sum.clone() + other;
    }
}

/// Adds what `found` holds for the parameters of `part` to `gradients`.
fn collect<M: Module>(part: &M, found: &mut Gradients, gradients: &mut GradientsParams) {
    part.visit(&mut Collect { found, gradients });
}

struct Collect<'a> {
    found: &'a mut Gradients,
    gradients: &'a mut GradientsParams,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let Some(mut gradient) = parameter.val().grad_remove(self.found) else { return };
        if let Some(earlier) = self.gradients.remove::<D>(parameter.id) {
            gradient = earlier + gradient;
        }
        self.gradients.register(parameter.id, gradient);
    }
}
