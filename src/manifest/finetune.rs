//! `[stages.finetune]`: full fine-tuning of FLUX.1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Dtype, Params};

/// Trains every weight of FLUX.1 on the cached pictures and captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["learning_rate", "max_train_epochs"]))]
pub struct Finetune {
    /// Learning rate; 4e-6 to 1e-5 is usual for a full fine-tuning.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// How often the whole dataset is gone through.
    #[schemars(range(min = 1))]
    pub max_train_epochs: u32,
    /// Pictures per batch; all of one batch are of one bucket.
    #[schemars(range(min = 1))]
    pub train_batch_size: u32,
    /// Batches that are summed up for one update.
    #[schemars(range(min = 1))]
    pub gradient_accumulation_steps: u32,
    /// Optimizer: `adafactor` needs next to no memory, `adamw` two f32 numbers per weight.
    pub optimizer_type: OptimizerType,
    /// How the learning rate goes on: `constant`, `constant_with_warmup`, `linear` or `cosine`.
    pub lr_scheduler: LrScheduler,
    /// Steps in which the learning rate rises from 0.
    pub lr_warmup_steps: u32,
    /// How noise levels are drawn: `shift`, `flux_shift`, `sigmoid`, `uniform` or `sigma`.
    pub timestep_sampling: TimestepSampling,
    /// Shift towards high noise, for `shift` and `sigma`; 3.1582 suits 1024 × 1024 pixels.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub discrete_flow_shift: f64,
    /// Spread of the noise levels, for `sigmoid`, `shift` and `flux_shift`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub sigmoid_scale: f64,
    /// Guidance that dev is told; schnell has none.
    #[schemars(range(min = 0.0))]
    pub guidance_scale: f64,
    /// What the network's answer is taken for; `raw` is what FLUX.1 was trained with.
    pub model_prediction_type: ModelPredictionType,
    /// How the difference to the target is measured: `l2` (its square) or `l1` (its size).
    pub loss_type: LossType,
    /// Number format of the weights while training.
    pub weights: Dtype,
    /// Number format of saved models.
    pub save_precision: Dtype,
    /// Also save a model every so many epochs.
    #[schemars(range(min = 1))]
    pub save_every_n_epochs: Option<u32>,
    /// Name of saved models without ending; the project's name where it is not set.
    #[schemars(length(min = 1))]
    pub output_name: Option<String>,
    /// Seed of order, noise and noise levels.
    pub seed: u64,
    /// Factor on the loss of regularisation pictures (`is_reg` in `[[dataset]]`).
    #[schemars(range(min = 0.0))]
    pub prior_loss_weight: f64,
}

impl Default for Finetune {
    fn default() -> Self {
        Self {
            learning_rate: 0.0,
            max_train_epochs: 0,
            train_batch_size: 1,
            gradient_accumulation_steps: 1,
            optimizer_type: OptimizerType::Adafactor,
            lr_scheduler: LrScheduler::Constant,
            lr_warmup_steps: 0,
            timestep_sampling: TimestepSampling::Shift,
            discrete_flow_shift: 3.1582,
            sigmoid_scale: 1.0,
            guidance_scale: 1.0,
            model_prediction_type: ModelPredictionType::Raw,
            loss_type: LossType::L2,
            weights: Dtype::Bf16,
            save_precision: Dtype::Bf16,
            save_every_n_epochs: None,
            output_name: None,
            seed: 42,
            prior_loss_weight: 1.0,
        }
    }
}

/// A name is no part of a model. `save_every_n_epochs` counts: the models between are outputs too.
/// `prior_loss_weight` is in the key with each regularisation picture.
impl Params for Finetune {
    const NOT_IN_KEY: &'static [&'static str] = &["output_name", "prior_loss_weight"];
}

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
}
