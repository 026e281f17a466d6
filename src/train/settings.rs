//! What decides how a fine-tuning run goes.

use burn::tensor::FloatDType;

use super::{
    TrainError,
    adafactor::Adafactor,
    flow::{LossType, Objective, PredictionType, TimestepSampling},
    optimizer::OptimizerKind,
    schedule::{LrSchedule, LrScheduler, Steps},
};
use crate::{base::Stream, weights::Dtype};

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
    /// Lowest noise level, in thousandths; what is drawn below is drawn anew.
    pub min_timestep: u32,
    /// Highest noise level, in thousandths; what is drawn above is drawn anew.
    pub max_timestep: u32,
    /// Guidance that dev is told.
    pub guidance_scale: f32,
    /// What the network's output means.
    pub model_prediction_type: PredictionType,
    /// How the difference to the target is measured.
    pub loss_type: LossType,
    /// Share of further noise that the input gets and the target does not; 0 adds none. Held-out
    /// samples never get any.
    pub ip_noise_gamma: f64,
    /// Shape of the learning-rate schedule.
    pub lr_scheduler: LrScheduler,
    /// Steps of its warm-up.
    pub lr_warmup_steps: Steps,
    /// Optimizer and its parameters.
    pub optimizer: OptimizerKind,
    /// Names every random number of the run.
    pub seed: u64,
    /// Writes a checkpoint after every so many epochs; the last epoch's is the result itself.
    pub save_every_n_epochs: Option<usize>,
    /// Writes a checkpoint after every so many optimizer steps.
    pub save_every_n_steps: Option<usize>,
    /// Of the checkpoints between epochs, the last so many are kept.
    pub save_last_n_epochs: Option<usize>,
    /// Of the checkpoints between steps, those of the last so many steps are kept.
    pub save_last_n_steps: Option<usize>,
    /// Keeps the state to go on from after every so many optimizer steps.
    pub save_state_every_n_steps: Option<usize>,
    /// Keeps the state every so many minutes; 0 does not.
    pub save_state_every_n_minutes: u32,
    /// Whether the last state stays when the run is done.
    pub keep_state: bool,
    /// Type of the weights in memory: f32 or bf16. Used by whoever loads the transformer.
    pub weights: FloatDType,
    /// Type of the weights in checkpoints: f32 or bf16.
    pub save_precision: Dtype,
    /// Bytes of the device that the run may take; all that is free where there is none.
    pub memory: Option<u64>,
    /// Blocks whose weights wait in host memory; as many as `memory` asks for where there is none.
    pub blocks_to_swap: Option<usize>,
    /// Whether blocks are computed a second time for the backward pass: all, none, or (`None`) as many
    /// as `memory` asks for.
    pub gradient_checkpointing: Option<bool>,
    /// What a moving average of the weights keeps of itself at each step; none is made without it.
    pub ema_decay: Option<f64>,
    /// Patterns over the names of the parameters that are trained; all are where there is none.
    pub train_blocks: Vec<String>,
}

impl Default for Settings {
    /// Ten epochs, with the defaults of the manifest.
    fn default() -> Self {
        Self {
            learning_rate: 1e-5,
            max_train_epochs: 10,
            train_batch_size: 1,
            gradient_accumulation_steps: 1,
            max_grad_norm: 0.0,
            timestep_sampling: TimestepSampling::Shift {
                sigmoid_scale: 1.0,
                discrete_flow_shift: 3.1582,
            },
            min_timestep: 0,
            max_timestep: 1000,
            guidance_scale: 1.0,
            model_prediction_type: PredictionType::Raw,
            loss_type: LossType::L2,
            ip_noise_gamma: 0.0,
            lr_scheduler: LrScheduler::Constant,
            lr_warmup_steps: Steps::Count(0),
            optimizer: OptimizerKind::Adafactor(Adafactor::default()),
            seed: 42,
            save_every_n_epochs: None,
            save_every_n_steps: None,
            save_last_n_epochs: None,
            save_last_n_steps: None,
            save_state_every_n_steps: None,
            save_state_every_n_minutes: 30,
            keep_state: true,
            weights: FloatDType::BF16,
            save_precision: Dtype::BF16,
            memory: None,
            blocks_to_swap: None,
            gradient_checkpointing: None,
            ema_decay: None,
            train_blocks: Vec::new(),
        }
    }
}

impl Settings {
    /// What turns outputs into losses.
    #[must_use]
    pub fn objective(&self) -> Objective {
        let Self { model_prediction_type, loss_type, .. } = *self;
        Objective { model_prediction_type, loss_type }
    }

    /// A noise level inside the range, for a picture of `tokens` tokens; `None` where so many draws lie
    /// outside.
    pub(super) fn noise_level(
        &self,
        stream: &mut Stream,
        tokens: usize,
        draws: usize,
    ) -> Option<f32> {
        let level = |level: u32| level as f32 / 1000.0;
        let range = level(self.min_timestep)..=level(self.max_timestep);
        let mut levels = (0..draws).map(|_| {
            let draw = self.timestep_sampling.draw(stream);
            self.timestep_sampling.sigma(draw, tokens)
        });
        levels.find(|sigma| range.contains(sigma))
    }

    /// What is wrong with a range that is not drawn from.
    pub(super) fn no_noise_level(&self) -> TrainError {
        let Self { min_timestep, max_timestep, .. } = self;
        // The other one is the default.
        let name = if *min_timestep > 0 { "min_timestep" } else { "max_timestep" };
        let reason = format!(
            "cannot be so: next to no noise level that is drawn lies from {min_timestep} to {max_timestep}"
        );
        TrainError::Setting { name, reason }
    }

    /// The learning rates of a run of `total_steps`.
    #[must_use]
    pub fn schedule(&self, total_steps: usize) -> LrSchedule {
        let warmup_steps = self.lr_warmup_steps.of(total_steps);
        LrSchedule { scheduler: self.lr_scheduler, warmup_steps, total_steps }
    }

    /// Whether the steps already taken would have been others in a longer run.
    #[must_use]
    pub fn depends_on_length(&self) -> bool {
        self.lr_scheduler.depends_on_length() || matches!(self.lr_warmup_steps, Steps::Share(_))
    }

    /// The learning rate of the step after `steps` others: the schedule's, or that of an optimizer that
    /// sets its own.
    pub(super) fn rate(&self, schedule: &LrSchedule, steps: usize) -> f64 {
        let given = schedule.learning_rate(self.learning_rate, steps);
        match &self.optimizer {
            OptimizerKind::Adafactor(adafactor) => adafactor.rate(given, steps as u32 + 1),
            OptimizerKind::AdamW(_) => given,
        }
    }

    fn sets_its_own_rate(&self) -> bool {
        matches!(&self.optimizer, OptimizerKind::Adafactor(adafactor) if adafactor.relative_step)
    }

    /// Refuses what cannot be trained with.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let refuse =
            |name, reason: &str| Err(TrainError::Setting { name, reason: reason.to_owned() });
        let rate = self.learning_rate;
        if !(rate.is_finite() && rate > 0.0 || self.sets_its_own_rate()) {
            return refuse("learning_rate", "must be a number above 0");
        }
        let counts = [
            ("max_train_epochs", self.max_train_epochs),
            ("train_batch_size", self.train_batch_size),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps),
            ("save_every_n_epochs", self.save_every_n_epochs.unwrap_or(1)),
            ("save_every_n_steps", self.save_every_n_steps.unwrap_or(1)),
            ("save_state_every_n_steps", self.save_state_every_n_steps.unwrap_or(1)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return refuse(name, "must be at least 1");
        }
        if self.lr_scheduler == LrScheduler::Constant && self.lr_warmup_steps != Steps::Count(0) {
            return refuse("lr_warmup_steps", "needs `lr_scheduler = \"constant_with_warmup\"`");
        }
        if self.min_timestep >= self.max_timestep || self.max_timestep > 1000 {
            return refuse("max_timestep", "must be above `min_timestep` and at most 1000");
        }
        if !(self.ip_noise_gamma.is_finite() && self.ip_noise_gamma >= 0.0) {
            return refuse("ip_noise_gamma", "must be a number from 0");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optimizer_that_sets_its_own_rate_tells_it() {
        let relative = Adafactor { relative_step: true, ..Adafactor::default() };
        let warming = Adafactor { warmup_init: true, ..relative.clone() };
        let rates = |optimizer| {
            let optimizer = OptimizerKind::Adafactor(optimizer);
            let settings = Settings { learning_rate: 0.0, optimizer, ..Settings::default() };
            [0, 39_999].map(|steps| settings.rate(&settings.schedule(50_000), steps))
        };
        assert_eq!(rates(relative), [0.01, 0.005]);
        assert_eq!(rates(warming), [1e-6, 0.005]);
        let settings = Settings { learning_rate: 3e-5, ..Settings::default() };
        assert_eq!(settings.rate(&settings.schedule(10), 4), 3e-5);
    }
}
