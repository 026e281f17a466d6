//! Words that keys of `[stages.finetune]` can be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerType {
    /// Factored second moments.
    Adafactor,
    /// Two moments per weight.
    AdamW,
}

/// How the learning rate goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LrScheduler {
    /// It stays.
    Constant,
    /// It rises for `lr_warmup_steps` steps, then stays.
    ConstantWithWarmup,
    /// It falls to 0 along a line.
    Linear,
    /// It falls to 0 along half a cosine.
    Cosine,
    /// It falls to 0 along half a cosine, `lr_scheduler_num_cycles` times.
    CosineWithRestarts,
    /// It falls to 1e-7 as the `lr_scheduler_power`-th power of what is left.
    Polynomial,
    /// It rises, stays, and falls in the last `lr_decay_steps` steps.
    WarmupStableDecay,
}

/// How noise levels are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSampling {
    /// From a table of 1000 shifted levels.
    Sigma,
    /// Evenly.
    Uniform,
    /// The logistic function of a normal number.
    Sigmoid,
    /// The same, shifted by `discrete_flow_shift`.
    Shift,
    /// The same, shifted by what suits the size of the picture.
    FluxShift,
}

/// Where `sigma` draws from its table, and how much losses of `sigma_scaled` weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightingScheme {
    /// Evenly; all weigh alike.
    Uniform,
    /// Evenly; losses weigh `1/σ²`.
    SigmaSqrt,
    /// Evenly; losses of middle levels weigh most.
    Cosmap,
    /// The logistic function of a normal number; all weigh alike.
    LogitNormal,
    /// More often in the middle; all weigh alike.
    Mode,
}

/// What the network's answer is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelPredictionType {
    /// The velocity from picture to noise.
    Raw,
    /// The velocity less the noisy latent.
    Additive,
    /// The noisy latent less the noise level times the answer.
    SigmaScaled,
}

/// How the difference to the target is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Its square.
    L2,
    /// Its size.
    L1,
    /// Its square near 0, its size times `2c` beyond `c`.
    Huber,
    /// Its square by `c` near 0, twice its size beyond `c`.
    SmoothL1,
}

/// How the bound between square and line depends on the noise level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HuberSchedule {
    /// Not at all.
    Constant,
    /// It is `huber_c` at pure noise and 1 without noise.
    Exponential,
}

/// The word for what the program decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// As the memory asks for.
    Auto,
}

/// Memory of the device that the training may take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Memory {
    /// What is free.
    Word(Auto),
    /// So many gigabytes (10⁹ bytes).
    Gigabytes(#[schemars(extend("exclusiveMinimum" = 0))] f64),
}

impl Memory {
    /// What is free.
    pub const AUTO: Self = Self::Word(Auto::Auto);
}

/// Which blocks are computed a second time for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GradientCheckpointing {
    /// All or none.
    All(bool),
    /// As many as the memory asks for.
    Word(Auto),
}
