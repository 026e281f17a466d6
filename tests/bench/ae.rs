//! The autoencoder: pictures of 512² and 1024² to latents, and a latent back to 512².

use burn::tensor::{Distribution, FloatDType, Int, Tensor};
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

/// A picture of `side` × `side` with the first `levels` levels in bands: the memory that it takes, how
/// long, and how far the result is from that without bands.
pub fn bands(levels: usize, side: usize) {
    let device = device::cpu();
    let file = random::full_autoencoder(1).expect("weights in memory");
    let loader = Loader::new(&file, "", &device, FloatDType::F32);
    let encoder = Encoder::load(&loader).expect("weights of the right shapes");
    drop(file);
    device::memory::give_back();
    // Bright above and dark below, waves across, noise that grows to the right.
    let line = Tensor::<1, Int>::arange(0..side as i64, &device).float() / side as f32;
    let (down, across) = (line.clone().reshape([1, side, 1, 1]), line.reshape([1, 1, side, 1]));
    let noise = Tensor::<4>::random([1, side, side, 3], Distribution::Uniform(-1.0, 1.0), &device);
    let picture = noise * across.clone() * 0.5 + (across * 40.0).sin() * 0.3 + (down * -1.0 + 0.5);
    let picture = picture.permute([0, 3, 1, 2]);
    let before = peak_memory().unwrap_or_default();
    let start = std::time::Instant::now();
    let mean = encoder.encode_in_bands(picture.clone(), levels).mean;
    let seconds = start.elapsed().as_secs_f64();
    let peak = peak_memory().unwrap_or_default();
    println!(
        "{levels} levels of {side}² in bands: {seconds:.2} s, {before} MB before, {peak} MB at most"
    );
    if levels > 0 {
        let whole = encoder.encode(picture).mean;
        let largest = |x: Tensor<4>| x.abs().max().into_scalar::<f32>();
        let (apart, size) = (largest(mean - whole.clone()), largest(whole));
        println!("  at most {apart:.1e} from the result without bands, whose largest is {size:.2}");
    }
}

/// The most memory that this process held since it started, in MB, where the system tells it as Linux
/// does.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024)
}
