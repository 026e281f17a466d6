//! `fluxpipe bench finetune`: a training step of a transformer with random weights.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    super::Outcome,
    on::{On, Place, Type, done},
};
use crate::{
    models::flux::FluxConfig,
    train::{
        measure::{Measurement, Taken},
        memory::Wishes,
    },
};

/// Measure a training step of FLUX.1, all parameters trained with Adafactor
///
/// Makes a transformer of random weights, trains it for a few steps on random numbers, and prints one line
/// of JSON: seconds per step, arithmetic per second and its share of what a product of matrices reaches in
/// the same run, the plan, the peak of memory, and how long was waited for swapped blocks. On the CPU
/// swapped blocks lie in a scratch file of their size, which is removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  fluxpipe bench finetune --device cuda --steps 10
  fluxpipe bench finetune --device cuda --blocks-to-swap 35
  fluxpipe bench finetune --shape mid --device cpu --dtype f32 --resolution 256 --steps 3
  fluxpipe bench finetune --shape tiny --device cpu")]
pub struct Finetune {
    /// Sizes of the transformer
    #[arg(long, value_enum, default_value_t = Shape::FluxDev)]
    shape: Shape,

    /// Width of the streams instead of the shape's; the MLPs are four times as wide
    #[arg(long, value_name = "N")]
    hidden: Option<usize>,

    /// Attention heads instead of the shape's
    #[arg(long, value_name = "N")]
    heads: Option<usize>,

    /// Double blocks instead of the shape's
    #[arg(long, value_name = "N")]
    depth: Option<usize>,

    /// Single blocks instead of the shape's
    #[arg(long, value_name = "N")]
    depth_single: Option<usize>,

    /// Height and width of the pictures, in pixels
    #[arg(long, value_name = "R", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=8192))]
    resolution: u32,

    /// Pictures per batch
    #[arg(long, value_name = "B", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,

    /// Tokens of each text
    #[arg(long, value_name = "L", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=512))]
    text_tokens: u32,

    /// Gigabytes of the device that may be taken; all that is free if it is not given
    #[arg(long, value_name = "GB")]
    memory: Option<f64>,

    /// How many blocks are swapped; as many as must be if it is not given
    #[arg(long, value_name = "N")]
    blocks_to_swap: Option<usize>,

    /// Whether all blocks are computed again on the way back, or none; as many as must be if it is not given
    #[arg(long, value_name = "true|false")]
    gradient_checkpointing: Option<bool>,

    /// Number format of the weights
    #[arg(long, value_enum, default_value_t = Type::Bf16)]
    dtype: Type,

    /// Measured steps
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    steps: u32,

    /// Steps before those that are measured
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    warmup: u32,

    /// Where swapped blocks lie on the CPU; the system's folder for such files if it is not given
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    #[command(flatten)]
    on: On,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shape {
    FluxDev,
    FluxSchnell,
    /// About a billion parameters
    Mid,
    Tiny,
}

impl Shape {
    fn config(self) -> (&'static str, FluxConfig) {
        let smaller = |hidden: usize, heads: usize, depth: usize, single: usize| FluxConfig {
            hidden_size: hidden,
            mlp_size: 4 * hidden,
            num_heads: heads,
            depth,
            depth_single_blocks: single,
            axes_dim: FluxConfig::axes_of_head(hidden / heads),
            ..FluxConfig::DEV
        };
        match self {
            Self::FluxDev => ("flux-dev", FluxConfig::DEV),
            Self::FluxSchnell => {
                ("flux-schnell", FluxConfig { guidance_embed: false, ..FluxConfig::DEV })
            }
            Self::Mid => ("mid", smaller(1536, 12, 8, 16)),
            Self::Tiny => ("tiny", smaller(128, 2, 1, 2)),
        }
    }
}

/// The line that is printed.
#[derive(Debug, Serialize)]
struct Measured {
    bench: &'static str,
    #[serde(flatten)]
    place: Place,
    shape: &'static str,
    dtype: &'static str,
    batch: u32,
    resolution: u32,
    tokens: usize,
    hidden: usize,
    heads: usize,
    depth: usize,
    depth_single: usize,
    parameters: u64,
    /// Of making the weights up: no part of the other times.
    make_seconds: f64,
    steps: u32,
    step_s_median: f64,
    step_s_min: f64,
    step_s_max: f64,
    model_tflop_per_step: f64,
    tflop_per_s: f64,
    /// Of a product of square matrices, the better of before and after the steps.
    matrix_tflop_per_s: f64,
    share_of_matrix_rate: f64,
    plan: String,
    blocks: usize,
    swapped: usize,
    kept: usize,
    /// What the plan counted, in bytes.
    planned_device_bytes: u64,
    planned_host_bytes: u64,
    planned_scratch_bytes: u64,
    /// On the CPU what was the program's own (`RssAnon`): mapped files are not.
    peak_own_memory_bytes: Option<u64>,
    device_reserved_bytes: Option<u64>,
    /// For swapped blocks, per step.
    waited_s_per_step: f64,
    loss_first: f64,
    loss_last: f64,
}

impl Finetune {
    pub(super) fn run(self) -> Outcome {
        let (chosen, place) = self.on.choose()?;
        let system = std::env::temp_dir();
        let scratch = self.folder.as_ref().unwrap_or(&system);
        let float = Type::or_usual(Some(self.dtype), &chosen);
        let (shape, config) = self.config()?;
        let measurement = Measurement {
            config,
            resolution: self.resolution as usize,
            batch: self.batch as usize,
            text_tokens: self.text_tokens as usize,
            stored: float.into(),
            wishes: Wishes {
                memory: self.memory.map(|gigabytes| (gigabytes * 1e9) as u64),
                blocks_to_swap: self.blocks_to_swap,
                gradient_checkpointing: self.gradient_checkpointing,
            },
            steps: self.steps as usize,
            warmup: self.warmup as usize,
        };
        let taken = measurement.run(&chosen.device, scratch)?;
        done(&self.line(place, (shape, float.name()), &measurement, taken))
    }

    fn config(&self) -> miette::Result<(&'static str, FluxConfig)> {
        let (name, shape) = self.shape.config();
        let hidden = self.hidden.unwrap_or(shape.hidden_size);
        let heads = self.heads.unwrap_or(shape.num_heads);
        let is_whole =
            heads > 0 && hidden.is_multiple_of(heads) && (hidden / heads).is_multiple_of(4);
        if !is_whole || hidden / heads < 8 {
            miette::bail!(
                code = "fluxpipe::bench::heads",
                help = "a head has at least 8 channels and a multiple of 4: FLUX.1 has 24 heads of 128",
                "a width of {hidden} cannot be shared by {heads} heads"
            );
        }
        let depth = self.depth.unwrap_or(shape.depth);
        let config = FluxConfig {
            hidden_size: hidden,
            mlp_size: 4 * hidden,
            num_heads: heads,
            depth,
            depth_single_blocks: self.depth_single.unwrap_or(shape.depth_single_blocks),
            axes_dim: FluxConfig::axes_of_head(hidden / heads),
            ..shape
        };
        Ok((name, config))
    }

    fn line(
        &self,
        place: Place,
        (shape, dtype): (&'static str, &'static str),
        measurement: &Measurement,
        taken: Taken,
    ) -> Measured {
        let mut seconds = taken.seconds;
        seconds.sort_unstable_by(f64::total_cmp);
        let median = f64::midpoint(seconds[(seconds.len() - 1) / 2], seconds[seconds.len() / 2]);
        let rate = taken.matrix_rates[0].max(taken.matrix_rates[1]);
        let reached = taken.operations / median;
        let config = &measurement.config;
        let (resolution, side) = (self.resolution, measurement.resolution / 16);
        Measured {
            bench: "finetune",
            place,
            shape,
            dtype,
            batch: self.batch,
            resolution,
            tokens: side * side + measurement.text_tokens,
            hidden: config.hidden_size,
            heads: config.num_heads,
            depth: config.depth,
            depth_single: config.depth_single_blocks,
            parameters: taken.parameters,
            make_seconds: taken.make_seconds,
            steps: self.steps,
            step_s_median: median,
            step_s_min: seconds[0],
            step_s_max: seconds[seconds.len() - 1],
            model_tflop_per_step: taken.operations / 1e12,
            tflop_per_s: reached / 1e12,
            matrix_tflop_per_s: rate / 1e12,
            share_of_matrix_rate: reached / rate,
            plan: taken.plan.to_string(),
            blocks: taken.plan.blocks.len(),
            swapped: taken.plan.swapped(),
            kept: taken.plan.kept(),
            planned_device_bytes: taken.plan.takes.device,
            planned_host_bytes: taken.plan.takes.host,
            planned_scratch_bytes: taken.plan.takes.scratch,
            peak_own_memory_bytes: taken.peak_host,
            device_reserved_bytes: taken.device_reserved,
            waited_s_per_step: taken.waited / f64::from(self.steps),
            loss_first: taken.losses[0],
            loss_last: taken.losses[1],
        }
    }
}
