//! A double and a single block of FLUX.1, forwards and backwards: 512 text tokens and a picture of 256 × 256.

use burn::{
    optim::GradientsParams,
    tensor::{Device, Distribution, FloatDType, Tensor},
};
use fluxpipe::{
    device,
    models::flux::{Block, Flux, FluxConfig, FluxInput, Surroundings, position_ids},
};

use crate::time;

const TEXT: usize = 512;
const SIDE: usize = 16;
const PICTURE: usize = SIDE * SIDE;

pub fn run(hidden_size: usize) {
    let device = device::cpu();
    let config = FluxConfig {
        in_channels: 64,
        out_channels: 64,
        vec_in_dim: 768,
        context_in_dim: 4096,
        hidden_size,
        mlp_size: 4 * hidden_size,
        num_heads: hidden_size / 128,
        depth: 1,
        depth_single_blocks: 1,
        axes_dim: FluxConfig::axes_of_head(128),
        theta: 10_000.0,
        guidance_embed: true,
    };
    let flux = Flux::random(config, 1, &device, FloatDType::F32);
    let input = FluxInput {
        img: random([1, PICTURE, 64], &device),
        txt: random([1, TEXT, 4096], &device),
        y: random([1, 768], &device),
        timesteps: vec![0.5],
        guidance: vec![1.0],
        ids: position_ids(TEXT, 2 * SIDE, 2 * SIDE),
        txt_attention_mask: None,
    };
    let around = flux.surroundings(&input);
    block("double", &flux.double_blocks[0], &[TEXT, PICTURE], hidden_size, &around);
    block("single", &flux.single_blocks[0], &[TEXT + PICTURE], hidden_size, &around);
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn block<B: Block>(name: &str, block: &B, lengths: &[usize], hidden: usize, around: &Surroundings) {
    let device = device::cpu();
    let stream = |&length: &usize| random([1, length, hidden], &device);
    let streams: Vec<_> = lengths.iter().map(stream).collect();
    let d_streams: Vec<_> = lengths.iter().map(stream).collect();
    let vec = random([1, hidden], &device);
    let name = |what: &str| format!("{name} block, width {hidden}, {what}");
    time(&name("forward"), 5, || {
        let _ = block.forward(streams.clone(), vec.clone(), around);
    });
    time(&name("forward and backward"), 5, || {
        let (_, kept) = block.forward_keeping(streams.clone(), vec.clone(), around);
        let (mut gradients, mut d_vec) = (GradientsParams::new(), vec.zeros_like());
        let d = d_streams.clone();
        let _ = block.backward(kept, around, d, &mut d_vec, Some(&mut gradients));
    });
}
