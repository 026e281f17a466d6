//! `optimizer_args` of `[stages.finetune]`: what the optimizers know besides the learning rate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finetune, OptimizerType};

/// Parameters of the optimizers, under the names of transformers and PyTorch. What is not set has the
/// optimizer's default; Adafactor's three switches are off, so that the schedule decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerArgs {
    /// Adafactor: the learning rate is `1/√step`, at most 0.01, whatever `learning_rate` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_step: Option<bool>,
    /// Adafactor: the learning rate of each tensor is multiplied by the root mean square of its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_parameter: Option<bool>,
    /// Adafactor: `relative_step` starts with a warm-up of 1e-6 per step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_init: Option<bool>,
    /// Adafactor: largest root mean square of a step before the learning rate.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_threshold: Option<f64>,
    /// Adafactor: second moments forget like `1 - step^decay_rate`.
    #[schemars(extend("exclusiveMaximum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_rate: Option<f64>,
    /// Adafactor: decay of a first moment, which takes one f32 number per weight; none is kept without it.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// AdamW: decays of the first and second moment.
    #[schemars(inner(range(min = 0.0)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// A number that keeps divisors from 0. Adafactor has two: one for squared gradients, and the least
    /// size of a tensor for `scale_parameter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eps: Option<Eps>,
    /// Share of each weight that a step takes away, times the learning rate.
    #[schemars(range(min = 0.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

/// What keeps divisors from 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Eps {
    /// AdamW's.
    One(#[schemars(range(min = 0.0))] f64),
    /// Adafactor's.
    Two(#[schemars(inner(range(min = 0.0)))] [f64; 2]),
}

impl OptimizerArgs {
    /// What Adafactor reads and AdamW does not.
    pub const ADAFACTOR: [&'static str; 6] = [
        "relative_step",
        "scale_parameter",
        "warmup_init",
        "clip_threshold",
        "decay_rate",
        "beta1",
    ];

    /// The parameters that this stage's optimizer reads, with its defaults written out.
    #[must_use]
    pub fn of(stage: &Finetune) -> Self {
        let stated = &stage.optimizer_args;
        match stage.optimizer_type {
            OptimizerType::Adafactor => Self {
                relative_step: Some(stated.relative_step.unwrap_or(false)),
                scale_parameter: Some(stated.scale_parameter.unwrap_or(false)),
                warmup_init: Some(stated.warmup_init.unwrap_or(false)),
                clip_threshold: Some(stated.clip_threshold.unwrap_or(1.0)),
                decay_rate: Some(stated.decay_rate.unwrap_or(-0.8)),
                beta1: stated.beta1,
                eps: Some(match stated.eps {
                    // The second one is read for `scale_parameter` alone.
                    Some(Eps::Two([one, _])) if stated.scale_parameter != Some(true) => {
                        Eps::Two([one, 1e-3])
                    }
                    eps => eps.unwrap_or(Eps::Two([1e-30, 1e-3])),
                }),
                weight_decay: Some(stated.weight_decay.unwrap_or(0.0)),
                betas: None,
            },
            OptimizerType::AdamW => Self {
                betas: Some(stated.betas.unwrap_or([0.9, 0.999])),
                eps: Some(stated.eps.unwrap_or(Eps::One(1e-8))),
                weight_decay: Some(stated.weight_decay.unwrap_or(0.01)),
                ..Self::default()
            },
        }
    }
}
