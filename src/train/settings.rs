//! What decides how a fine-tuning run goes.

use burn::tensor::FloatDType;

use super::{
    TrainError,
    flow::{LossType, PredictionType, TimestepSampling},
    optimizer::OptimizerKind,
    schedule::LrScheduler,
};
use crate::weights::Dtype;

/// What decides how a fine-tuning run goes. Names are those of the manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Learning rate before the schedule's factor.
    pub learning_rate: f64,
    /// Passes over all samples.
    pub max_train_epochs: usize,
    /// Samples per micro-batch.
    pub train_batch_size: usize,
    /// Micro-batches per optimizer step; a group ends with its epoch.
    pub gradient_accumulation_steps: usize,
    /// Norm of all gradients together beyond which they are scaled down; 0 never does. Costs a second
    /// pass per step.
    pub max_grad_norm: f64,
    /// How time steps are drawn.
    pub timestep_sampling: TimestepSampling,
    /// Guidance that dev is told.
    pub guidance_scale: f32,
    /// What the network's output means.
    pub model_prediction_type: PredictionType,
    /// How the difference to the target is measured.
    pub loss_type: LossType,
    /// Shape of the learning-rate schedule.
    pub lr_scheduler: LrScheduler,
    /// Steps of its warm-up.
    pub lr_warmup_steps: usize,
    /// Optimizer and its parameters.
    pub optimizer: OptimizerKind,
    /// Names every random number of the run.
    pub seed: u64,
    /// Writes a checkpoint after every so many epochs; the last epoch's is the result itself.
    pub save_every_n_epochs: Option<usize>,
    /// Type of the weights in memory: f32 or bf16. Used by whoever loads the transformer.
    pub weights: FloatDType,
    /// Type of the weights in checkpoints: f32 or bf16.
    pub save_precision: Dtype,
}

impl Settings {
    /// Refuses what cannot be trained with.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let refuse =
            |name, reason: &str| Err(TrainError::Setting { name, reason: reason.to_owned() });
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refuse("learning_rate", "must be a number above 0");
        }
        let counts = [
            ("max_train_epochs", self.max_train_epochs),
            ("train_batch_size", self.train_batch_size),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps),
            ("save_every_n_epochs", self.save_every_n_epochs.unwrap_or(1)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return refuse(name, "must be at least 1");
        }
        if self.lr_scheduler == LrScheduler::Constant && self.lr_warmup_steps > 0 {
            return refuse("lr_warmup_steps", "needs `lr_scheduler = \"constant_with_warmup\"`");
        }
        if self.max_grad_norm.is_nan() || self.max_grad_norm < 0.0 {
            return refuse("max_grad_norm", "must be a number from 0");
        }
        if !matches!(self.save_precision, Dtype::F32 | Dtype::BF16) {
            return refuse("save_precision", "must be f32 or bf16");
        }
        Ok(())
    }
}
