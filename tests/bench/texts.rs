//! The text encoders: one layer of T5-XXL at 512 tokens, and CLIP-L at 77.

use burn::tensor::FloatDType;
use fluxpipe::{
    device,
    models::{
        clip::{ClipConfig, ClipText},
        random::{self, ClipShape, T5Shape},
        t5::{T5Stream, T5Text},
    },
    weights::Loader,
};

use crate::time;

/// Reading and laying out the weights is part of each run: what is left for one text of four is the layer.
pub fn t5() {
    let device = device::cpu();
    let file = random::t5(T5Shape { layers: 1, ..T5Shape::XXL }, 1).expect("weights in memory");
    let t5 = T5Stream::open(Loader::new(&file, "", &device, FloatDType::F32)).expect("a T5");
    let ids: Vec<u32> = (0..512).map(|place| place * 31 % 32_000).collect();
    let texts = vec![T5Text { ids, attend: None }; 4];
    for count in [1, 4] {
        time(&format!("T5-XXL layer, {count} × 512 tokens, loading too"), 5, || {
            let encoded =
                t5.encode(&texts[..count], |_, _| true).expect("encodings").expect("all layers");
            assert_eq!(encoded[count - 1].dims(), [512, 4096]);
        });
    }
}

pub fn clip() {
    let device = device::cpu();
    let file = random::clip(ClipShape::LARGE, 1).expect("weights in memory");
    let loader = Loader::new(&file, "", &device, FloatDType::F32);
    let clip = ClipText::load(&loader, ClipConfig::detect(&loader)).expect("a CLIP");
    let ids: Vec<u32> = (0..77).map(|place| place * 31 % 49_408).collect();
    for count in [1, 8] {
        let ids = vec![ids.clone(); count];
        time(&format!("CLIP-L, {count} × 77 tokens"), 5, || {
            let _ = clip.forward(&ids).pooled.into_data();
        });
    }
}
