//! What `fluxpipe bench finetune` is compared with: an ordinary backward pass of Burn's autodiff, which
//! keeps everything: all values of the forward pass and all gradients.

use std::time::Instant;

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Distribution, FloatDType, Tensor},
};
use fluxpipe::{
    device::{self, memory},
    models::flux::{Flux, FluxConfig, FluxInput, position_ids},
};

/// 4 double and 8 single blocks of this width, f32, a picture of `side` × `side` pixels, `text` tokens.
pub fn run(hidden_size: usize, side: usize, text: usize) {
    let device = device::cpu();
    let config = FluxConfig {
        hidden_size,
        mlp_size: 4 * hidden_size,
        num_heads: hidden_size / 128,
        depth: 4,
        depth_single_blocks: 8,
        ..FluxConfig::DEV
    };
    let cells = side / 8;
    let picture = (cells / 2) * (cells / 2);
    let input = FluxInput {
        img: random([1, picture, 64], &device),
        txt: random([1, text, 4096], &device),
        y: random([1, 768], &device),
        timesteps: vec![0.5],
        guidance: vec![1.0],
        ids: position_ids(text, cells, cells),
        txt_attention_mask: None,
    };
    let ((count, seconds), peak) = memory::peak(|| {
        let flux = Flux::random(config, 1, &device, FloatDType::F32).train();
        let start = Instant::now();
        let loss = flux.forward(&input).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &flux);
        (gradients.len(), start.elapsed().as_secs_f64())
    });
    let peak = peak.map_or_else(|| "?".to_owned(), |bytes| format!("{:.3} GB", bytes as f64 / 1e9));
    println!("ordinary backward, width {hidden_size}: {count} gradients, {seconds:.2} s, {peak}");
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}
