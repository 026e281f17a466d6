//! The autoencoder: pictures of 512² and 1024² to latents, and a latent back to 512².

use burn::tensor::{Distribution, FloatDType, Tensor};
use fluxpipe::{
    device,
    models::{
        autoencoder::{Decoder, Encoder},
        random,
    },
    weights::Loader,
};

use crate::time;

pub fn run() {
    let device = device::cpu();
    let file = random::full_autoencoder(1).expect("weights in memory");
    let loader = || Loader::new(&file, "", &device, FloatDType::F32);
    let encoder = Encoder::load(&loader()).expect("weights of the right shapes");
    for side in [512, 1024] {
        let picture =
            Tensor::<4>::random([1, side, side, 3], Distribution::Uniform(-1.0, 1.0), &device);
        let picture = picture.permute([0, 3, 1, 2]);
        time(&format!("autoencoder, {side}² to a latent"), 3, || {
            let _ = encoder.encode(picture.clone()).mean.into_data();
        });
        if let Some(peak) = peak_memory() {
            println!("  most memory so far: {peak} MB");
        }
    }
    let decoder = Decoder::load(&loader()).expect("weights of the right shapes");
    let latent = Tensor::<4>::random([1, 16, 64, 64], Distribution::Normal(0.0, 1.0), &device);
    time("autoencoder, a latent to 512²", 3, || {
        let _ = decoder.decode(latent.clone()).into_data();
    });
}

/// The most memory that this process held since it started, in MB, where the system tells it as Linux
/// does.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024)
}
