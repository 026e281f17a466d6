//! Captions of a fixed length, greedy and with three beams.

use burn::tensor::{Distribution, FloatDType, Tensor};
use fluxpipe::{
    device,
    models::{
        blip::{Blip, BlipConfig, GenerateSettings},
        random,
    },
    weights::Loader,
};

use crate::time;

/// The decoder's mark alone, so that every token but the first is generated.
const PROMPT: u32 = 30_522;

pub fn run() {
    let device = device::cpu();
    let file = random::captioner(&BlipConfig::LARGE, 1).expect("weights in memory");
    let loader = Loader::new(&file, "", &device, FloatDType::F32);
    let blip = Blip::load(&loader, &BlipConfig::LARGE).expect("weights of the right shapes");
    drop(file);
    let side = blip.image_size();
    let picture = Tensor::<4>::random([1, 3, side, side], Distribution::Normal(0.0, 1.0), &device);
    time("BLIP-large, looking", 5, || {
        let _ = blip.vision(picture.clone()).into_data();
    });
    for num_beams in [1, 3] {
        for tokens in [20, 74] {
            let length = 1 + tokens;
            let settings = GenerateSettings {
                prompt: vec![PROMPT],
                num_beams,
                min_length: length,
                max_length: length,
                ..GenerateSettings::default()
            };
            time(&format!("BLIP-large, {tokens} tokens, {num_beams} beams"), 5, || {
                let ids = blip.caption(picture.clone(), &settings);
                assert_eq!(ids[0].len(), length);
            });
        }
    }
}
