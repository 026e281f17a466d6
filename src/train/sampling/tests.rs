//! Drawing alone and together, with blocks anywhere.

use burn::tensor::Device;

use super::*;
use crate::{base::Stream, models::flux::Flux, train::memory::Weights, weights::Checkpoint};

fn config(guidance_embed: bool) -> FluxConfig {
    FluxConfig {
        in_channels: 64,
        out_channels: 64,
        vec_in_dim: 6,
        context_in_dim: 10,
        hidden_size: 32,
        mlp_size: 48,
        num_heads: 2,
        depth: 2,
        depth_single_blocks: 3,
        axes_dim: FluxConfig::axes_of_head(16),
        theta: 10_000.0,
        guidance_embed,
    }
}

fn network(guidance_embed: bool) -> Network {
    Network::resident(Flux::random(config(guidance_embed), 3, &Device::flex(), FloatDType::F32))
}

fn text(name: &str, rows: usize, t5_masked: bool) -> Conditioning {
    let numbers = |what: &str, count| Stream::new(1, what, None, &[]).normals(count);
    Conditioning { t5: numbers(name, rows * 10), t5_masked, clip: numbers(name, 6) }
}

const DRAWING: Drawing =
    Drawing { width: 48, height: 32, steps: 3, guidance: 3.5, cfg: 1.0, seed: 5 };

fn draw(
    network: &mut Network,
    drawing: &Drawing,
    text: &Conditioning,
    negative: Option<&Conditioning>,
) -> Vec<f32> {
    let latent = denoise(network, drawing, text, negative, &mut |_, _| true);
    floats(latent.unwrap().unwrap())
}

fn floats(latent: Tensor<4>) -> Vec<f32> {
    latent.try_into_vec_as::<f32>().unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn steps_are_told_and_may_end_early() {
    let (mut network, text) = (network(true), text("cat", 4, false));
    let mut told = Vec::new();
    let latent = denoise(&mut network, &DRAWING, &text, None, &mut |step, steps| {
        told.push((step, steps));
        true
    });
    assert_eq!(latent.unwrap().unwrap().dims(), [1, 16, 4, 6]);
    assert_eq!(told, [(1, 3), (2, 3), (3, 3)]);
    let stopped = denoise(&mut network, &DRAWING, &text, None, &mut |step, _| step < 2);
    assert!(stopped.unwrap().is_none());
}

#[test]
fn guidance_is_told_to_dev_alone() {
    let text = text("cat", 4, false);
    let other = Drawing { guidance: 7.0, ..DRAWING };
    let draw_both = |mut network| [DRAWING, other].map(|it| draw(&mut network, &it, &text, None));
    let [a, b] = draw_both(network(true));
    assert!(largest_difference(&a, &b) > 1e-4);
    let [a, b] = draw_both(network(false));
    assert_eq!(a, b);
}

#[test]
fn a_negative_text_counts_where_cfg_is_not_one() {
    let (mut network, cat, dog) = (network(true), text("cat", 4, false), text("dog", 4, false));
    let alone = draw(&mut network, &DRAWING, &cat, None);
    assert_eq!(alone, draw(&mut network, &DRAWING, &cat, Some(&dog)));
    let stronger = Drawing { cfg: 2.5, ..DRAWING };
    assert_eq!(alone, draw(&mut network, &stronger, &cat, None));
    let pushed = draw(&mut network, &stronger, &cat, Some(&dog));
    assert!(largest_difference(&alone, &pushed) > 1e-4);
    // Against itself, a text changes nothing, whatever the factor.
    let same = draw(&mut network, &stronger, &cat, Some(&cat));
    assert!(largest_difference(&alone, &same) < 1e-4);
    // A factor of 0 draws the negative text.
    let none = draw(&mut network, &Drawing { cfg: 0.0, ..DRAWING }, &cat, Some(&dog));
    assert!(largest_difference(&none, &draw(&mut network, &DRAWING, &dog, None)) < 1e-4);
}

#[test]
fn together_pictures_are_what_they_are_alone() {
    let mut network = network(true);
    let (cat, dog) = (text("cat", 4, true), text("dog", 2, true));
    let other = Drawing { seed: 6, guidance: 2.0, cfg: 3.0, ..DRAWING };
    let wanted = [
        Wanted { drawing: &DRAWING, text: &cat, negative: None },
        Wanted { drawing: &other, text: &dog, negative: Some(&cat) },
    ];
    let together = denoise_together(&mut network, &wanted, &mut |_, _| true).unwrap().unwrap();
    let alone = wanted.map(|it| draw(&mut network, it.drawing, it.text, it.negative));
    for (together, alone) in together.into_iter().zip(&alone) {
        assert!(largest_difference(&floats(together), alone) < 1e-4);
    }
    assert!(largest_difference(&alone[0], &alone[1]) > 0.1);
}

#[test]
fn swapped_blocks_draw_the_same() {
    let mut resident = network(true);
    let text = text("cat", 4, false);
    let known = draw(&mut resident, &DRAWING, &text, None);
    let mut writer =
        crate::weights::Writer::new(Vec::new(), &resident.entries(), &Default::default()).unwrap();
    resident.for_each(&mut |_, data| writer.tensor(data.as_bytes())).unwrap();
    let file = writer.finish().unwrap();
    let file = Checkpoint::from_bytes(std::path::Path::new("network"), file).unwrap();
    let mut plan = crate::train::memory::Plan::resident(5);
    plan.blocks[1..].iter_mut().step_by(2).for_each(|block| block.weights = Weights::Swapped);
    let folder = tempfile::tempdir().unwrap();
    let swapped = Network::load(&file, plan, &Device::flex(), FloatDType::F32, folder.path());
    assert_eq!(known, draw(&mut swapped.unwrap(), &DRAWING, &text, None));
}

#[test]
fn what_cannot_be_drawn_is_said() {
    let mut network = network(true);
    let text = text("cat", 4, false);
    let mut error = |drawing: &Drawing, text: &Conditioning, negative: Option<&Conditioning>| {
        denoise(&mut network, drawing, text, negative, &mut |_, _| true).unwrap_err()
    };
    let odd = Drawing { width: 50, ..DRAWING };
    assert_eq!(error(&odd, &text, None), SamplingError::Size { width: 50, height: 32 });
    assert_eq!(error(&Drawing { steps: 0, ..DRAWING }, &text, None), SamplingError::Steps);
    let short = Conditioning { t5: vec![0.0; 20], ..text.clone() };
    let both = Drawing { cfg: 2.0, ..DRAWING };
    for found in [
        error(&DRAWING, &Conditioning { t5: vec![0.0; 11], ..text.clone() }, None),
        error(&DRAWING, &Conditioning { clip: vec![0.0; 5], ..text.clone() }, None),
        error(&both, &text, Some(&short)),
    ] {
        assert!(matches!(found, SamplingError::Text { .. }), "{found}");
    }
    let broken = Conditioning { clip: vec![f32::NAN; 6], ..text };
    let found = error(&DRAWING, &broken, None);
    assert_eq!(found, SamplingError::NotFinite { step: 1, steps: 3 });
}

#[test]
fn a_small_device_swaps_and_a_tiny_one_is_refused() {
    let drawing = Drawing { width: 1024, height: 1024, ..DRAWING };
    let config = config(true);
    let fits = plan(&config, &drawing, (1, 512), FloatDType::F32, &Device::flex(), 0).unwrap();
    assert_eq!(fits.swapped(), 0);
    let huge = Drawing { width: 160_000, height: 160_000, ..DRAWING };
    let refused = plan(&config, &huge, (64, 512), FloatDType::F32, &Device::flex(), 0);
    assert!(matches!(refused, Err(SamplingError::Memory { .. })));
}
