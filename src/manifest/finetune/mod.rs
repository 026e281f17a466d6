//! `[stages.finetune]`: full fine-tuning of FLUX.1.

mod choices;
mod optimizer_args;
mod params;
mod samples;
mod steps;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use choices::{
    GradientCheckpointing, HuberSchedule, LossType, LrScheduler, Memory, ModelPredictionType,
    OptimizerType, TimestepSampling, WeightingScheme,
};
pub use optimizer_args::{Eps, OptimizerArgs};
pub use samples::Samples;
pub use steps::Steps;

use super::Dtype;

/// Trains every weight of FLUX.1 on the cached pictures and captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["max_train_epochs"]))]
pub struct Finetune {
    /// Learning rate; 4e-6 to 1e-5 is usual for a full fine-tuning. Must be said, but for an Adafactor
    /// that sets its own (`relative_step`).
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: Option<f64>,
    /// How often the whole dataset is gone through.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_train_epochs: u32,
    /// Pictures per batch; all of one batch are of one bucket.
    #[schemars(range(min = 1))]
    pub train_batch_size: u32,
    /// Batches that are summed up for one update.
    #[schemars(range(min = 1))]
    pub gradient_accumulation_steps: u32,
    /// Norm of all gradients together beyond which they are scaled down; 0 never does. Costs a second
    /// pass through the network for each step.
    #[schemars(range(min = 0.0))]
    pub max_grad_norm: f64,
    /// Optimizer: `adafactor` needs next to no memory, `adamw` two f32 numbers per weight.
    pub optimizer_type: OptimizerType,
    /// Further parameters of the optimizer, such as `{ weight_decay = 0.01 }`.
    pub optimizer_args: OptimizerArgs,
    /// How the learning rate goes on: `constant`, `constant_with_warmup`, `linear`, `cosine`,
    /// `cosine_with_restarts`, `polynomial` or `warmup_stable_decay`.
    pub lr_scheduler: LrScheduler,
    /// Steps in which the learning rate rises from 0: a count, or a share of all steps (`0.1`, `"10%"`).
    pub lr_warmup_steps: Steps,
    /// Last steps, in which `warmup_stable_decay` lets the learning rate fall: a count or a share.
    pub lr_decay_steps: Steps,
    /// How many times `cosine_with_restarts` falls.
    #[schemars(range(min = 1))]
    pub lr_scheduler_num_cycles: u32,
    /// Power of `polynomial`; 1 is a line.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub lr_scheduler_power: f64,
    /// Share of the learning rate at which `warmup_stable_decay` begins and ends.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub lr_scheduler_min_lr_ratio: f64,
    /// How noise levels are drawn: `shift`, `flux_shift`, `sigmoid`, `uniform` or `sigma`.
    pub timestep_sampling: TimestepSampling,
    /// Shift towards high noise, for `shift` and `sigma`; 3.1582 suits 1024 × 1024 pixels.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub discrete_flow_shift: f64,
    /// Spread of the noise levels, for `sigmoid`, `shift` and `flux_shift`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub sigmoid_scale: f64,
    /// Where `sigma` draws from its table, and how much losses of `sigma_scaled` weigh: `uniform`,
    /// `logit_normal`, `mode`, `cosmap` or `sigma_sqrt`.
    pub weighting_scheme: WeightingScheme,
    /// Mean of the normal number of `logit_normal`.
    pub logit_mean: f64,
    /// Standard deviation of the normal number of `logit_normal`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub logit_std: f64,
    /// How much more often `mode` draws the middle of the table (or, below 0, its ends).
    pub mode_scale: f64,
    /// Lowest noise level that is trained, in thousandths. Others are drawn anew.
    #[schemars(range(max = 1000))]
    pub min_timestep: u32,
    /// Highest noise level that is trained, in thousandths. Others are drawn anew.
    #[schemars(range(max = 1000))]
    pub max_timestep: u32,
    /// Guidance that dev is told; schnell has none.
    #[schemars(range(min = 0.0))]
    pub guidance_scale: f64,
    /// What the network's answer is taken for; `raw` is what FLUX.1 was trained with.
    pub model_prediction_type: ModelPredictionType,
    /// How the difference to the target is measured: `l2` (its square), `l1` (its size), `huber` or
    /// `smooth_l1` (a square where it is small, its size where it is large).
    pub loss_type: LossType,
    /// Whether the bound of `huber` and `smooth_l1` is the same at all noise levels (`constant`) or rises
    /// to 1 as the noise falls (`exponential`).
    pub huber_schedule: HuberSchedule,
    /// The difference at which `huber` and `smooth_l1` go over from a square to a line.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub huber_c: f64,
    /// Factor on that difference, whatever the schedule.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub huber_scale: f64,
    /// Share of further noise that the input gets and the target does not; 0.1 is usual, 0 adds none.
    #[schemars(range(min = 0.0))]
    pub ip_noise_gamma: f64,
    /// Number format of the weights while training.
    pub weights: Dtype,
    /// Number format of saved models.
    pub save_precision: Dtype,
    /// Also save a model every so many epochs.
    #[schemars(range(min = 1))]
    pub save_every_n_epochs: Option<u32>,
    /// Also save a model every so many steps.
    #[schemars(range(min = 1))]
    pub save_every_n_steps: Option<u32>,
    /// Keep of the models saved between epochs only the last so many.
    #[schemars(range(min = 1))]
    pub save_last_n_epochs: Option<u32>,
    /// Keep of the models saved between steps only those of the last so many steps.
    #[schemars(range(min = 1))]
    pub save_last_n_steps: Option<u32>,
    /// Also keep the state of the training, to go on from, every so many steps.
    #[schemars(range(min = 1))]
    pub save_state_every_n_steps: Option<u32>,
    /// Also keep the state of the training every so many minutes; 0 does not.
    pub save_state_every_n_minutes: u32,
    /// Keep the last state when the training is done, so that a longer one can go on from it.
    pub keep_state: bool,
    /// Name of saved models without ending; the project's name where it is not set.
    #[schemars(length(min = 1))]
    pub output_name: Option<String>,
    /// Title in the header of saved models; `FLUX.1-dev, fine-tuned` where it is not set, since a name is
    /// no part of a model.
    #[schemars(length(min = 1))]
    pub metadata_title: Option<String>,
    /// Author in the header of saved models.
    #[schemars(length(min = 1))]
    pub metadata_author: Option<String>,
    /// Description in the header of saved models.
    #[schemars(length(min = 1))]
    pub metadata_description: Option<String>,
    /// Licence in the header of saved models.
    #[schemars(length(min = 1))]
    pub metadata_license: Option<String>,
    /// Tags in the header of saved models, with commas between them.
    #[schemars(length(min = 1))]
    pub metadata_tags: Option<String>,
    /// Seed of order, noise and noise levels.
    pub seed: u64,
    /// Factor on the loss of regularisation pictures (`is_reg` in `[[dataset]]`).
    #[schemars(range(min = 0.0))]
    pub prior_loss_weight: f64,
    /// Memory of the device that the training may take: what is free (`auto`), or so many gigabytes.
    pub memory: Memory,
    /// Blocks whose weights wait in main memory. Where it is not set, as many as `memory` asks for.
    pub blocks_to_swap: Option<u32>,
    /// Whether blocks are computed a second time for the backward pass instead of keeping what they
    /// computed: all (`true`), none (`false`), or as many as `memory` asks for (`auto`).
    pub gradient_checkpointing: GradientCheckpointing,
    /// Also keep a moving average of the weights, which keeps this share of itself at each step; 0.999
    /// is usual.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub ema_decay: Option<f64>,
    /// Which weights are trained: patterns over their names, such as `double_blocks.*`; all where
    /// there is none.
    #[schemars(inner(length(min = 1)))]
    pub train_blocks: Vec<String>,
    /// Pictures that are drawn while it trains.
    pub samples: Option<Samples>,
}

impl Default for Finetune {
    fn default() -> Self {
        Self {
            learning_rate: None,
            max_train_epochs: 0,
            train_batch_size: 1,
            gradient_accumulation_steps: 1,
            max_grad_norm: 0.0,
            optimizer_type: OptimizerType::Adafactor,
            optimizer_args: OptimizerArgs::default(),
            lr_scheduler: LrScheduler::Constant,
            lr_warmup_steps: Steps::Count(0),
            lr_decay_steps: Steps::Count(0),
            lr_scheduler_num_cycles: 1,
            lr_scheduler_power: 1.0,
            lr_scheduler_min_lr_ratio: 0.0,
            timestep_sampling: TimestepSampling::Shift,
            discrete_flow_shift: 3.1582,
            sigmoid_scale: 1.0,
            weighting_scheme: WeightingScheme::Uniform,
            logit_mean: 0.0,
            logit_std: 1.0,
            mode_scale: 1.29,
            min_timestep: 0,
            max_timestep: 1000,
            guidance_scale: 1.0,
            model_prediction_type: ModelPredictionType::Raw,
            loss_type: LossType::L2,
            huber_schedule: HuberSchedule::Constant,
            huber_c: 0.1,
            huber_scale: 1.0,
            ip_noise_gamma: 0.0,
            weights: Dtype::Bf16,
            save_precision: Dtype::Bf16,
            save_every_n_epochs: None,
            save_every_n_steps: None,
            save_last_n_epochs: None,
            save_last_n_steps: None,
            save_state_every_n_steps: None,
            save_state_every_n_minutes: 30,
            keep_state: true,
            output_name: None,
            metadata_title: None,
            metadata_author: None,
            metadata_description: None,
            metadata_license: None,
            metadata_tags: None,
            seed: 42,
            prior_loss_weight: 1.0,
            memory: Memory::AUTO,
            blocks_to_swap: None,
            gradient_checkpointing: GradientCheckpointing::Word(choices::Auto::Auto),
            ema_decay: None,
            train_blocks: Vec::new(),
            samples: None,
        }
    }
}
