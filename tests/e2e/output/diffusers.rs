//! A checkpoint written by `finetune`, read by diffusers' loader of single files (`from_single_file`).
//!
//! Runs where Python can import torch and diffusers: `FLUXPIPE_PYTHON` names the interpreter (then both
//! must be there), else `python3` is tried, and without them the tests say that they were left out.
//! Passed with torch 2.8.0 and diffusers 0.32.1. `.ci/run` does not install them: torch as pip brings it
//! takes 5.8 GB of disk with its CUDA libraries.

use std::{
    env,
    io::{self, Write},
    process::Command,
};

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use fluxpipe::{
    models::flux::{Flux, FluxConfig, FluxInput, position_ids},
    weights::Checkpoint,
};
use serde_json::json;

use super::{Tuned, Weights};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/output");

/// Two programs that compute in f32 and round in another order, over five blocks: 7e-7 was measured.
const BOUND: f64 = 5e-6;

/// The interpreter; none, and a word about it, where there is no diffusers.
fn python() -> Option<String> {
    let named = env::var("FLUXPIPE_PYTHON").ok().filter(|named| !named.is_empty());
    let python = named.clone().unwrap_or_else(|| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import torch, diffusers"]).output();
    if found.as_ref().is_ok_and(|found| found.status.success()) {
        return Some(python);
    }
    assert!(
        named.is_none(),
        "FLUXPIPE_PYTHON = {python} cannot import torch and diffusers: {found:?}"
    );
    // Past the capture of the test harness, which shows what failed tests print alone.
    let notice =
        "left out: python3 cannot import torch and diffusers (FLUXPIPE_PYTHON names another)\n";
    io::stderr().write_all(notice.as_bytes()).unwrap();
    None
}

fn script(python: &str, args: &[&str]) {
    let script = format!("{FOLDER}/single_file.py");
    let done = Command::new(python).arg(script).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn diffusers_makes_its_full_size_network_of_the_table() {
    let Some(python) = python() else { return };
    script(&python, &["table", &format!("{FOLDER}/flux1.txt")]);
}

#[test]
fn diffusers_reads_a_trained_checkpoint_and_computes_the_same() {
    let Some(python) = python() else { return };
    for dev in [true, false] {
        let tuned = Tuned::new(dev);
        let path = |name: &str| tuned.project.path(name).display().to_string();
        tuned.project.file("config.json", settings(&tuned.config));
        let checkpoint = tuned.path().display().to_string();
        script(&python, &["run", &checkpoint, &path(""), &path("")]);
        let ours = load(&tuned.checkpoint());
        let theirs = load(&Checkpoint::open(path("read.safetensors").as_ref()).unwrap());
        let [our_weights, their_weights] = [&ours, &theirs].map(Weights::of);
        assert!(our_weights.keys().eq(their_weights.keys()));
        for (name, weights) in &our_weights {
            assert!(weights == &their_weights[name], "{name} differs");
        }
        let pass = Checkpoint::open(path("pass.safetensors").as_ref()).unwrap();
        let found = ours.forward(&input(&pass)).try_into_vec_as::<f32>().unwrap();
        let expected = pass.f32("output").unwrap();
        let relative = relative(&found, &expected);
        eprintln!("guidance {dev}: relative difference {relative:.1e}");
        assert!(relative <= BOUND, "guidance {dev}: relative difference {relative}");
    }
}

/// The network as the library describes it.
fn settings(config: &FluxConfig) -> String {
    let settings = json!({
        "_class_name": "FluxTransformer2DModel",
        "patch_size": 1,
        "in_channels": config.in_channels,
        "num_layers": config.depth,
        "num_single_layers": config.depth_single_blocks,
        "attention_head_dim": config.head(),
        "num_attention_heads": config.num_heads,
        "joint_attention_dim": config.context_in_dim,
        "pooled_projection_dim": config.vec_in_dim,
        "guidance_embeds": config.guidance_embed,
        "axes_dims_rope": config.axes_dim,
    });
    settings.to_string()
}

fn load(checkpoint: &Checkpoint) -> Flux {
    Flux::load(checkpoint, &Device::flex(), FloatDType::F32)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn input(pass: &Checkpoint) -> FluxInput {
    let txt = tensor::<3>(pass, "txt");
    let [height, width] =
        ["height", "width"].map(|side| pass.metadata()[side].parse::<usize>().unwrap());
    FluxInput {
        img: tensor(pass, "img"),
        // Two latent pixels a token on each side.
        ids: position_ids(txt.dims()[1], 2 * height, 2 * width),
        txt,
        y: tensor(pass, "y"),
        timesteps: pass.f32("timesteps").unwrap(),
        guidance: pass.f32("guidance").unwrap(),
        txt_attention_mask: None,
    }
}

fn tensor<const D: usize>(file: &Checkpoint, name: &str) -> Tensor<D> {
    let shape: [usize; D] = file.info(name).unwrap().shape.clone().try_into().unwrap();
    let data = TensorData::new(file.f32(name).unwrap(), shape);
    Tensor::from_data(data, (&Device::flex(), DType::F32))
}

/// `‖a − b‖ / ‖b‖`
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let difference =
        a.iter().zip(b).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum::<f64>();
    (difference / b.iter().map(|&b| square(f64::from(b))).sum::<f64>()).sqrt()
}
