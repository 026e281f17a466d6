//! The blocks' backward passes, against Burn's differentiation of their forward passes.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Bool, Device, FloatDType, Gradients, Tensor, TensorData},
};

use super::*;
use crate::base::Stream;

const TEXT: usize = 5;
const PICTURE: usize = 6;
const HIDDEN: usize = 48;
const BATCH: usize = 2;

fn flux() -> Flux {
    let config = FluxConfig {
        in_channels: 16,
        out_channels: 12,
        vec_in_dim: 6,
        context_in_dim: 10,
        hidden_size: HIDDEN,
        mlp_size: 80,
        num_heads: 3,
        depth: 1,
        depth_single_blocks: 1,
        axes_dim: FluxConfig::axes_of_head(HIDDEN / 3),
        theta: 10_000.0,
        guidance_embed: true,
    };
    Flux::random(config, 3, &Device::flex(), FloatDType::F32)
}

fn random<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let values = Stream::new(1, name, None, &[]).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn input(masked: bool) -> FluxInput {
    let real = [true, true, true, false, false, true, true, true, true, false];
    let real = TensorData::new(real.to_vec(), [BATCH, TEXT]);
    FluxInput {
        img: random("img", [BATCH, PICTURE, 16]),
        txt: random("txt", [BATCH, TEXT, 10]),
        y: random("y", [BATCH, 6]),
        timesteps: vec![0.3, 0.9],
        guidance: vec![1.0, 3.5],
        ids: position_ids(TEXT, 4, 6),
        txt_attention_mask: masked.then(|| Tensor::<2, Bool>::from_data(real, &Device::flex())),
    }
}

fn streams(name: &str, lengths: &[usize]) -> Vec<Tensor<3>> {
    let stream = |&length| random(&format!("{name}{length}"), [BATCH, length, HIDDEN]);
    lengths.iter().map(stream).collect()
}

/// A fresh start of a tape.
fn leaf<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().autodiff().require_grad()
}

/// A number whose gradient at `y` is `upstream`.
fn pull<const D: usize>(y: Tensor<D>, upstream: &Tensor<D>) -> Tensor<1> {
    (y * upstream.clone().autodiff()).sum()
}

fn close<const D: usize>(what: &str, found: Tensor<D>, expected: Tensor<D>) {
    let difference = relative_difference(found, expected);
    // f32 sums in other orders, of at most 80 terms each and some fifteen layers deep.
    assert!(difference < 1e-6, "{what}: {difference}");
}

/// Gradients of the parameters: ours against those on a tape.
struct Parameters {
    ours: GradientsParams,
    tape: Gradients,
    seen: usize,
}

impl ModuleVisitor for Parameters {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let ours = self.ours.remove::<D>(parameter.id).expect("a gradient for every parameter");
        let expected = parameter.val().grad_remove(&mut self.tape).expect("the same on the tape");
        close(&format!("{:?}", parameter.dims()), ours, expected);
        self.seen += 1;
    }
}

fn check_parameters<M: Module>(tracked: &M, ours: GradientsParams, tape: Gradients, count: usize) {
    let mut parameters = Parameters { ours, tape, seen: 0 };
    tracked.visit(&mut parameters);
    assert_eq!(parameters.seen, count);
}

fn check_block<B: Block>(block: &B, lengths: &[usize], masked: bool, parameters: usize) {
    let around = flux().surroundings(&input(masked));
    let (x, vec) = (streams("x", lengths), random("vec", [BATCH, HIDDEN]));
    let d_out = streams("d", lengths);

    let tracked = block.clone().train();
    let (leaves, vec_leaf) = (x.iter().map(leaf).collect::<Vec<_>>(), leaf(&vec));
    let out = tracked.forward(leaves.clone(), vec_leaf.clone(), &around);
    let (ours, kept) = block.forward_keeping(x, vec.clone(), &around);
    for (ours, expected) in ours.into_iter().zip(&out) {
        close("the streams that leave", ours, expected.clone().inner());
    }
    let loss = out.into_iter().zip(&d_out).map(|(out, d)| pull(out, d)).reduce(|a, b| a + b);
    let mut tape = loss.unwrap().backward();

    let (mut gradients, mut d_vec) = (GradientsParams::new(), vec.zeros_like());
    let d_x = block.backward(kept, &around, d_out, &mut d_vec, Some(&mut gradients));
    for (ours, leaf) in d_x.into_iter().zip(leaves) {
        close("the streams that enter", ours, leaf.grad_remove(&mut tape).unwrap());
    }
    close("the conditioning", d_vec, vec_leaf.grad_remove(&mut tape).unwrap());
    check_parameters(&tracked, gradients, tape, parameters);
}

#[test]
fn a_double_block_goes_back_as_burn_does() {
    let flux = flux();
    for masked in [false, true] {
        check_block(&flux.double_blocks[0], &[TEXT, PICTURE], masked, 2 * 12);
    }
}

#[test]
fn a_single_block_goes_back_as_burn_does() {
    let flux = flux();
    for masked in [false, true] {
        check_block(&flux.single_blocks[0], &[TEXT + PICTURE], masked, 8);
    }
}

#[test]
fn the_last_layer_goes_back_as_burn_does() {
    let layer = flux().final_layer;
    let (x, vec) = (random("x", [BATCH, PICTURE, HIDDEN]), random("vec", [BATCH, HIDDEN]));
    let d_out = random("d", [BATCH, PICTURE, 12]);
    let tracked = layer.clone().train();
    let (x_leaf, vec_leaf) = (leaf(&x), leaf(&vec));
    let out = tracked.forward(x_leaf.clone(), vec_leaf.clone());
    let mut tape = pull(out.clone(), &d_out).backward();
    let (ours, kept) = layer.forward_keeping(x, vec.clone());
    close("the output", ours, out.inner());
    // What was there before is added to.
    let (mut gradients, mut d_vec) = (GradientsParams::new(), vec.ones_like());
    let d_x = layer.backward(kept, d_out, &mut d_vec, Some(&mut gradients));
    close("the stream", d_x, x_leaf.grad_remove(&mut tape).unwrap());
    close("the conditioning", d_vec - 1.0, vec_leaf.grad_remove(&mut tape).unwrap());
    check_parameters(&tracked, gradients, tape, 4);
}

#[test]
fn the_embedders_go_back_as_burn_does() {
    let embedders = flux().embedders;
    let d = Embedded {
        img: random("d_img", [BATCH, PICTURE, HIDDEN]),
        txt: random("d_txt", [BATCH, TEXT, HIDDEN]),
        vec: random("d_vec", [BATCH, HIDDEN]),
    };
    let input = input(false);
    let tracked = embedders.clone().train();
    let (img, txt, y) = (leaf(&input.img), leaf(&input.txt), leaf(&input.y));
    let leaves = FluxInput { img: img.clone(), txt: txt.clone(), y: y.clone(), ..input.clone() };
    let out = tracked.forward(&leaves);
    let loss = pull(out.img, &d.img) + pull(out.txt, &d.txt) + pull(out.vec, &d.vec);
    let mut tape = loss.backward();
    let (_, kept) = embedders.forward_keeping(&input);
    let mut gradients = GradientsParams::new();
    let found = embedders.backward(kept, d, Some(&mut gradients));
    close("the picture", found.img, img.grad_remove(&mut tape).unwrap());
    close("the text", found.txt, txt.grad_remove(&mut tape).unwrap());
    close("the pooled text", found.y, y.grad_remove(&mut tape).unwrap());
    check_parameters(&tracked, gradients, tape, 4 + 3 * 4);
}

/// All bits of a block's gradients: parameters, streams, conditioning.
fn bits<B: Block>(block: &B, lengths: &[usize], runs: usize, frozen: bool) -> Vec<TensorData> {
    struct Bits<'a>(&'a mut GradientsParams, &'a mut Vec<TensorData>);
    impl ModuleVisitor for Bits<'_> {
        fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
            self.1.extend(self.0.remove::<D>(parameter.id).map(Tensor::into_data));
        }
    }
    let around = flux().surroundings(&input(true));
    let (x, vec) = (streams("x", lengths), random("vec", [BATCH, HIDDEN]));
    let mut kept = None;
    for _ in 0..runs {
        kept = Some(block.forward_keeping(x.clone(), vec.clone(), &around).1);
    }
    let (mut gradients, mut d_vec) = (GradientsParams::new(), vec.zeros_like());
    let taken = (!frozen).then_some(&mut gradients);
    let d_out = streams("d", lengths);
    let d_x = block.backward(kept.unwrap(), &around, d_out, &mut d_vec, taken);
    let mut bits = d_x.into_iter().map(Tensor::into_data).collect::<Vec<_>>();
    bits.push(d_vec.into_data());
    block.visit(&mut Bits(&mut gradients, &mut bits));
    bits
}

#[test]
fn a_block_that_is_run_again_has_the_same_gradients_to_the_bit() {
    let flux = flux();
    let (double, single) = (&flux.double_blocks[0], &flux.single_blocks[0]);
    assert_eq!(bits(double, &[TEXT, PICTURE], 1, false).len(), 2 + 1 + 24);
    assert!(bits(double, &[TEXT, PICTURE], 1, false) == bits(double, &[TEXT, PICTURE], 2, false));
    let joint = &[TEXT + PICTURE];
    assert!(bits(single, joint, 1, false) == bits(single, joint, 2, false));
}

#[test]
fn a_frozen_block_has_no_gradients_of_its_own_and_passes_on_the_same() {
    let flux = flux();
    let (double, single) = (&flux.double_blocks[0], &flux.single_blocks[0]);
    let frozen = bits(double, &[TEXT, PICTURE], 1, true);
    assert!(frozen == bits(double, &[TEXT, PICTURE], 1, false)[..3]);
    let frozen = bits(single, &[TEXT + PICTURE], 1, true);
    assert!(frozen == bits(single, &[TEXT + PICTURE], 1, false)[..2]);
}
