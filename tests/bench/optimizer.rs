//! Optimizer steps over matrices of FLUX.1's largest shape: 0.26 thousand million weights.

use burn::tensor::{Distribution, FloatDType, Tensor};
use fluxpipe::{
    device,
    train::{Adafactor, AdamW, Optimizer, OptimizerKind, Rounding},
};

use crate::time;

/// `[out, in]` of `linear1` of a single block.
const SHAPE: [usize; 2] = [21_504, 3072];
const MATRICES: usize = 4;

pub fn run() {
    let device = device::cpu();
    let random = || Tensor::<2>::random(SHAPE, Distribution::Normal(0.0, 0.02), &device);
    let gradient = random();
    let names: Vec<String> = (0..MATRICES).map(|index| format!("{index}.weight")).collect();
    let kinds = [
        ("Adafactor", OptimizerKind::Adafactor(Adafactor::default())),
        ("AdamW", OptimizerKind::AdamW(AdamW::default())),
    ];
    for (name, kind) in kinds {
        for stored in [FloatDType::F32, FloatDType::BF16] {
            let mut optimizer = Optimizer::new(kind.clone());
            let mut weights: Vec<_> = names.iter().map(|_| Some(random())).collect();
            let mut step = 0;
            let count = (SHAPE[0] * SHAPE[1] * MATRICES) as f64 / 1e9;
            time(&format!("{name}, {count:.2}e9 weights, stored as {stored:?}"), 5, || {
                let rounding = Rounding { seed: 1, step, stored };
                step += 1;
                for (name, weight) in names.iter().zip(&mut weights) {
                    let value = weight.take().expect("a weight");
                    let value = optimizer.update(name, 1e-5, value, gradient.clone(), &rounding);
                    *weight = Some(value);
                }
            });
        }
    }
}
