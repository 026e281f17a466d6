//! The rules of `[stages.finetune]`.

use super::{
    super::{
        Eps, Finetune, GradientCheckpointing, LossType, LrScheduler, ModelPredictionType,
        OptimizerArgs, OptimizerType, Steps, TimestepSampling, WeightingScheme,
    },
    Mistake, Rules,
};

impl Rules<'_> {
    pub(super) fn finetune(&mut self, finetune: &Finetune) {
        if let Some(name) = &finetune.output_name {
            self.file_name("output_name", name);
        }
        self.optimizer(finetune);
        self.learning_rate(finetune);
        self.noise_levels(finetune);
        self.loss(finetune);
        self.saving(finetune);
        self.memory(finetune);
        self.samples(finetune);
    }

    /// A key that is stated although nothing reads it, because of another one.
    fn unread(&mut self, field: &str, is_read: bool, because: &str, reason: &str) {
        if self.states(field) && !is_read {
            self.no_effect(field, because, reason);
        }
    }

    fn optimizer(&mut self, finetune: &Finetune) {
        let args = &finetune.optimizer_args;
        let adafactor = finetune.optimizer_type == OptimizerType::Adafactor;
        for name in OptimizerArgs::ADAFACTOR {
            let field = format!("optimizer_args.{name}");
            self.unread(&field, adafactor, "optimizer_type", "only \"adafactor\" reads it");
        }
        let reason = "only \"adamw\" reads it; Adafactor has `beta1`";
        self.unread("optimizer_args.betas", !adafactor, "optimizer_type", reason);
        match (adafactor, args.eps) {
            (true, Some(Eps::One(_))) => self.out_of_range(
                "optimizer_args.eps",
                "a pair of numbers",
                "Adafactor has two: eps = [1e-30, 1e-3]",
            ),
            (false, Some(Eps::Two(_))) => {
                self.out_of_range("optimizer_args.eps", "one number", "AdamW has one: eps = 1e-8");
            }
            _ => {}
        }
        if args.betas.is_some_and(|betas| betas.iter().any(|beta| *beta >= 1.0)) {
            let help = "a moment that keeps all of itself never learns: betas = [0.9, 0.999]";
            self.out_of_range("optimizer_args.betas", "two numbers below 1", help);
        }
        if args.warmup_init == Some(true) && args.relative_step != Some(true) {
            let mistake = Mistake::Conflict {
                what: "`warmup_init` is a warm-up of `relative_step`, which is off".to_owned(),
                help: "take `warmup_init` out and say `lr_warmup_steps`, or say `relative_step = true`"
                    .to_owned(),
            };
            let fields = ["optimizer_args.warmup_init", "optimizer_args.relative_step"];
            self.broken(&fields, &["this warm-up", "of this"], mistake);
        }
    }

    fn learning_rate(&mut self, finetune: &Finetune) {
        let args = &finetune.optimizer_args;
        let relative =
            finetune.optimizer_type == OptimizerType::Adafactor && args.relative_step == Some(true);
        if relative {
            let reason = "with `relative_step` Adafactor sets the learning rate by itself";
            for field in ["learning_rate", "lr_scheduler", "lr_warmup_steps"] {
                self.unread(field, false, "optimizer_args.relative_step", reason);
            }
        } else if !self.states("learning_rate") {
            let table = format!("[{}]", self.path);
            let help = "add `learning_rate = …`: 4e-6 to 1e-5 is usual for a full fine-tuning";
            let (key, help) = ("learning_rate".to_owned(), help.to_owned());
            let mistake = Mistake::MissingKey { table, key, help };
            let place = self.place.clone();
            self.check.report(&place, "`learning_rate` belongs here", mistake);
        }
        for (field, steps) in [
            ("lr_warmup_steps", &finetune.lr_warmup_steps),
            ("lr_decay_steps", &finetune.lr_decay_steps),
        ] {
            let Steps::Percent(text) = steps else { continue };
            if text.trim().parse::<f64>().is_ok() {
                let help = format!("write it without quotes: `{field} = {}`", text.trim());
                self.out_of_range(field, "a number, or a share such as \"10%\"", &help);
            } else if steps.share().is_none() {
                let help = "a count is written 100, a share 0.1 or \"10%\"";
                self.out_of_range(field, "a number, or a share above 0% and below 100%", help);
            }
        }
        let scheduler = finetune.lr_scheduler;
        if !finetune.lr_warmup_steps.is_none() && scheduler == LrScheduler::Constant && !relative {
            let reason = "a constant learning rate has no warm-up; \"constant_with_warmup\" has";
            self.no_effect("lr_warmup_steps", "lr_scheduler", reason);
        }
        for (field, reader, word) in [
            ("lr_decay_steps", LrScheduler::WarmupStableDecay, "warmup_stable_decay"),
            ("lr_scheduler_num_cycles", LrScheduler::CosineWithRestarts, "cosine_with_restarts"),
            ("lr_scheduler_power", LrScheduler::Polynomial, "polynomial"),
            ("lr_scheduler_min_lr_ratio", LrScheduler::WarmupStableDecay, "warmup_stable_decay"),
        ] {
            let reason = format!("only \"{word}\" reads it");
            self.unread(field, scheduler == reader, "lr_scheduler", &reason);
        }
        if scheduler == LrScheduler::Polynomial
            && finetune.learning_rate.is_some_and(|rate| rate <= 1e-7)
        {
            let mistake = Mistake::Conflict {
                what: "\"polynomial\" falls to a learning rate of 1e-7, and would begin no higher"
                    .to_owned(),
                help: "raise `learning_rate`, or take \"linear\", which falls to 0".to_owned(),
            };
            let fields = ["learning_rate", "lr_scheduler"];
            self.broken(&fields, &["from here", "down to 1e-7"], mistake);
        }
        if scheduler == LrScheduler::WarmupStableDecay && finetune.lr_decay_steps.is_none() {
            let mistake = Mistake::Conflict {
                what: "\"warmup_stable_decay\" without `lr_decay_steps` never falls".to_owned(),
                help: "say `lr_decay_steps`, such as 0.2, or take \"constant_with_warmup\""
                    .to_owned(),
            };
            self.broken(&["lr_scheduler", "lr_decay_steps"], &["this schedule", "none"], mistake);
        }
    }

    fn noise_levels(&mut self, finetune: &Finetune) {
        let sampling = finetune.timestep_sampling;
        let sigma = sampling == TimestepSampling::Sigma;
        let shifts = sigma || sampling == TimestepSampling::Shift;
        let reason = "only \"shift\" and \"sigma\" read it";
        self.unread("discrete_flow_shift", shifts, "timestep_sampling", reason);
        let spreads = !sigma && sampling != TimestepSampling::Uniform;
        let reason = "only \"sigmoid\", \"shift\" and \"flux_shift\" read it";
        self.unread("sigmoid_scale", spreads, "timestep_sampling", reason);
        let scheme = finetune.weighting_scheme;
        let (draws, weighs) = match scheme {
            WeightingScheme::Uniform => (true, true),
            WeightingScheme::SigmaSqrt | WeightingScheme::Cosmap => (false, true),
            WeightingScheme::LogitNormal | WeightingScheme::Mode => (true, false),
        };
        let scaled = finetune.model_prediction_type == ModelPredictionType::SigmaScaled;
        if !(draws && sigma || weighs && scaled) {
            match (draws, weighs) {
                (false, true) => {
                    let reason =
                        "it weighs losses, of which only \"sigma_scaled\" ones are weighed";
                    self.unread("weighting_scheme", false, "model_prediction_type", reason);
                }
                _ => {
                    let reason = "it says where \"sigma\" draws from its table";
                    self.unread("weighting_scheme", false, "timestep_sampling", reason);
                }
            }
        }
        let logit = sigma && scheme == WeightingScheme::LogitNormal;
        let reason = "only \"logit_normal\" reads it";
        self.unread("logit_mean", logit, "weighting_scheme", reason);
        self.unread("logit_std", logit, "weighting_scheme", reason);
        let mode = sigma && scheme == WeightingScheme::Mode;
        self.unread("mode_scale", mode, "weighting_scheme", "only \"mode\" reads it");
        if finetune.min_timestep >= finetune.max_timestep {
            let mistake = Mistake::Conflict {
                what: format!(
                    "there is no noise level from {} to {}",
                    finetune.min_timestep, finetune.max_timestep
                ),
                help: "lower `min_timestep` or raise `max_timestep`".to_owned(),
            };
            self.broken(&["min_timestep", "max_timestep"], &["from", "to"], mistake);
        }
    }

    fn loss(&mut self, finetune: &Finetune) {
        let huber = matches!(finetune.loss_type, LossType::Huber | LossType::SmoothL1);
        for field in ["huber_schedule", "huber_c", "huber_scale"] {
            let reason = "only \"huber\" and \"smooth_l1\" read it";
            self.unread(field, huber, "loss_type", reason);
        }
    }

    fn saving(&mut self, finetune: &Finetune) {
        let (every, epochs) = (finetune.save_every_n_epochs, finetune.max_train_epochs);
        if every.is_some_and(|every| every > epochs) {
            let reason = "the training ends before";
            self.no_effect("save_every_n_epochs", "max_train_epochs", reason);
        }
        let reason = "no models are saved between epochs";
        self.unread("save_last_n_epochs", every.is_some(), "save_every_n_epochs", reason);
        let every = finetune.save_every_n_steps;
        let reason = "no models are saved between steps";
        self.unread("save_last_n_steps", every.is_some(), "save_every_n_steps", reason);
    }

    fn memory(&mut self, finetune: &Finetune) {
        let by_hand = finetune.blocks_to_swap.is_some()
            && matches!(finetune.gradient_checkpointing, GradientCheckpointing::All(_));
        let reason = "both choices that it makes are made by hand";
        self.unread("memory", !by_hand, "blocks_to_swap", reason);
    }
}
