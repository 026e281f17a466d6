//! A training step of a transformer with random weights, measured.
//!
//! The step is the real one: forward, loss, block-wise backpropagation, Adafactor with all weights trained.
//! Only what goes in is made up. Does not know how results are shown.

use std::{path::Path, time::Duration};

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

use super::{
    Adafactor, Optimizer, OptimizerKind, Rounding, TrainError, Trained, Update,
    blockwise::{Loss, backpropagate},
    memory::{Free, Plan, PlanError, Step, Wishes},
    network::{Network, NetworkError},
};
use crate::{
    base::{Stream, clock::Stopwatch},
    device::{is_cpu, memory, rates},
    models::flux::{FluxConfig, FluxInput, position_ids},
};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Sizes of the transformer.
    pub config: FluxConfig,
    /// Height and width of the pictures.
    pub resolution: usize,
    /// Pictures of a step.
    pub batch: usize,
    /// Tokens of each text.
    pub text_tokens: usize,
    /// The type that weights are stored in.
    pub stored: FloatDType,
    /// What is set by hand of the plan.
    pub wishes: Wishes,
    /// Steps that are measured.
    pub steps: usize,
    /// Steps before them.
    pub warmup: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Taken {
    /// How many weights there are.
    pub parameters: u64,
    /// Of making the weights up: no part of the other times.
    pub make_seconds: f64,
    /// Of each measured step.
    pub seconds: Vec<f64>,
    /// Floating-point operations of a step, without what is computed again.
    pub operations: f64,
    /// Operations per second of a product of square matrices in the same type, before and after.
    pub matrix_rates: [f64; 2],
    /// The plan.
    pub plan: Plan,
    /// Seconds waited for swapped blocks in the measured steps.
    pub waited: f64,
    /// Bytes that were the program's own at most, from the making of the weights on.
    pub peak_host: Option<u64>,
    /// Bytes of the device that the program held in the end.
    pub device_reserved: Option<u64>,
    /// Loss of the first and of the last step.
    pub losses: [f64; 2],
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum MeasureError {
    /// Nothing fits.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Plan(#[from] PlanError),
    /// The network cannot be made.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Network(#[from] NetworkError),
    /// A step failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Step(#[from] TrainError),
}

impl Measurement {
    /// Does the steps on `device`. Swapped blocks may lie in a file in `scratch`.
    ///
    /// # Errors
    /// There is no plan, no room for swapped blocks, or a loss is not finite.
    pub fn run(&self, device: &Device, scratch: &Path) -> Result<Taken, MeasureError> {
        let plan = self.plan(device)?;
        let rate = || {
            let (dtype, size) = match is_cpu(device) {
                true => (FloatDType::F32, 1024),
                false => (self.stored, 8192),
            };
            rates::matrix_rate(device, dtype, size)
        };
        let before = rate();
        let (taken, peak_host) = memory::peak(|| self.steps(plan, device, scratch));
        let taken = taken?;
        memory::give_back();
        Ok(Taken { peak_host, matrix_rates: [before, rate()], ..taken })
    }

    fn plan(&self, device: &Device) -> Result<Plan, PlanError> {
        let side = self.resolution / 16;
        let host = memory::free();
        let free = Free { device: memory::free_on(device).unwrap_or(host), host };
        let step = Step {
            config: self.config.clone(),
            batch: self.batch,
            accumulated: 1,
            picture_tokens: side * side,
            text_tokens: self.text_tokens,
            stored: self.stored,
            compute: if is_cpu(device) { FloatDType::F32 } else { self.stored },
            state: 0,
            averages: 0,
            backward: true,
            trained: vec![true; self.config.depth + self.config.depth_single_blocks],
            has_memory: !is_cpu(device),
        };
        Plan::choose(&step, self.wishes, free)
    }

    fn steps(&self, plan: Plan, device: &Device, scratch: &Path) -> Result<Taken, MeasureError> {
        let clock = Stopwatch::start();
        let config = self.config.clone();
        let mut network = Network::random(config, 1, plan, device, self.stored, scratch)?;
        let make_seconds = clock.seconds();
        let batch = [self.batch(device)];
        let mut optimizer = Optimizer::new(OptimizerKind::Adafactor(Adafactor::default()));
        let trained = Trained::all();
        let (mut seconds, mut losses) = (Vec::new(), Vec::new());
        let mut waited = Duration::ZERO;
        for step in 0..self.warmup + self.steps {
            if step == self.warmup {
                waited = network.waited();
            }
            let clock = Stopwatch::start();
            let mut update = Update {
                optimizer: &mut optimizer,
                learning_rate: 1e-5,
                scale: 1.0,
                rounding: Rounding { seed: 1, step: step as u64, stored: self.stored },
                trained: &trained,
                ema: None,
            };
            let pass = backpropagate(&mut network, &batch, &mut update)?;
            // An error of the device shows itself in the next step.
            let _ = device.sync();
            seconds.push(clock.seconds());
            losses.push(pass.losses.concat().iter().sum::<f64>() / self.batch as f64);
        }
        let side = self.resolution / 16;
        let usage = device.memory_pool_usage();
        Ok(Taken {
            parameters: self.parameters(),
            make_seconds,
            seconds: seconds.split_off(self.warmup),
            operations: self.config.operations(self.batch, side * side, self.text_tokens),
            matrix_rates: [0.0; 2],
            waited: (network.waited() - waited).as_secs_f64(),
            plan: network.plan,
            peak_host: None,
            device_reserved: usage.filter(|_| !is_cpu(device)).map(|usage| usage.bytes_reserved),
            losses: [losses[0], losses[losses.len() - 1]],
        })
    }

    fn parameters(&self) -> u64 {
        let all = self.config.parameters().into_iter();
        all.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    }

    /// Random numbers in the shapes of a batch, and the squared distance to others.
    fn batch(&self, device: &Device) -> (FluxInput, Box<Loss<'static>>) {
        let side = self.resolution / 16;
        let FluxConfig { in_channels, out_channels, context_in_dim, vec_in_dim, .. } = self.config;
        let numbers = |name: &str, rows: usize, width: usize| {
            let shape = [self.batch, rows, width];
            let values = Stream::new(1, name, None, &[]).normals(shape.iter().product());
            Tensor::<3>::from_data(TensorData::new(values, shape), (device, DType::F32))
        };
        let input = FluxInput {
            img: numbers("img", side * side, in_channels),
            txt: numbers("txt", self.text_tokens, context_in_dim),
            y: numbers("y", 1, vec_in_dim).squeeze_dim(1),
            timesteps: vec![0.5; self.batch],
            guidance: vec![1.0; self.batch],
            ids: position_ids(self.text_tokens, 2 * side, 2 * side),
            txt_attention_mask: None,
        };
        let target = numbers("target", side * side, out_channels);
        let loss = move |output: Tensor<3>| {
            let difference = output.cast(FloatDType::F32) - target.clone();
            let count = difference.dims().iter().product::<usize>() / difference.dims()[0];
            let each = difference.clone().square().flatten::<2>(1, 2).mean_dim(1);
            let each = each.into_data().iter::<f64>().collect::<Vec<_>>();
            let factor = 2.0 / (count * each.len()) as f64;
            (each, difference * factor)
        };
        (input, Box::new(loss))
    }
}
