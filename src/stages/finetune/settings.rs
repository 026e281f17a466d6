//! From `[stages.finetune]` to the settings of the trainer.

use std::collections::BTreeMap;

use burn::tensor::FloatDType;

use crate::{
    manifest::{self, Eps, OptimizerArgs},
    train::{self, Settings, flow},
};

/// The settings that a manifest asks for.
pub fn of(config: &manifest::Finetune) -> Settings {
    let count = |count: Option<u32>| count.map(|count| count as usize);
    Settings {
        // An Adafactor that sets its own learning rate reads none.
        learning_rate: config.learning_rate.unwrap_or_default(),
        max_train_epochs: config.max_train_epochs as usize,
        train_batch_size: config.train_batch_size as usize,
        gradient_accumulation_steps: config.gradient_accumulation_steps as usize,
        max_grad_norm: config.max_grad_norm,
        timestep_sampling: timestep_sampling(config),
        min_timestep: config.min_timestep,
        max_timestep: config.max_timestep,
        guidance_scale: config.guidance_scale as f32,
        model_prediction_type: prediction_type(config),
        loss_type: loss_type(config),
        ip_noise_gamma: config.ip_noise_gamma,
        lr_scheduler: lr_scheduler(config),
        lr_warmup_steps: steps(&config.lr_warmup_steps),
        optimizer: optimizer(config),
        seed: config.seed,
        save_every_n_epochs: count(config.save_every_n_epochs),
        save_every_n_steps: count(config.save_every_n_steps),
        save_last_n_epochs: count(config.save_last_n_epochs),
        save_last_n_steps: count(config.save_last_n_steps),
        save_state_every_n_steps: count(config.save_state_every_n_steps),
        save_state_every_n_minutes: config.save_state_every_n_minutes,
        keep_state: config.keep_state,
        weights: match config.weights {
            manifest::Dtype::F32 => FloatDType::F32,
            manifest::Dtype::Bf16 => FloatDType::BF16,
        },
        save_precision: match config.save_precision {
            manifest::Dtype::F32 => crate::weights::Dtype::F32,
            manifest::Dtype::Bf16 => crate::weights::Dtype::BF16,
        },
        memory: match config.memory {
            manifest::Memory::Word(_) => None,
            manifest::Memory::Gigabytes(gigabytes) => Some((gigabytes * 1e9) as u64),
        },
        blocks_to_swap: count(config.blocks_to_swap),
        gradient_checkpointing: match config.gradient_checkpointing {
            manifest::GradientCheckpointing::All(all) => Some(all),
            manifest::GradientCheckpointing::Word(_) => None,
        },
        ema_decay: config.ema_decay,
        train_blocks: config.train_blocks.clone(),
    }
}

/// What the manifest says for the headers of saved models, by its names there.
pub fn metadata(config: &manifest::Finetune) -> BTreeMap<String, String> {
    let stated = [
        ("title", &config.metadata_title),
        ("author", &config.metadata_author),
        ("description", &config.metadata_description),
        ("license", &config.metadata_license),
        ("tags", &config.metadata_tags),
    ];
    let stated = stated.into_iter().filter_map(|(name, text)| Some((name, text.clone()?)));
    stated.map(|(name, text)| (format!("modelspec.{name}"), text)).collect()
}

fn timestep_sampling(config: &manifest::Finetune) -> flow::TimestepSampling {
    use manifest::TimestepSampling as Written;
    let manifest::Finetune { sigmoid_scale, discrete_flow_shift, .. } = *config;
    match config.timestep_sampling {
        Written::Sigma => flow::TimestepSampling::Sigma {
            weighting_scheme: weighting_scheme(config),
            discrete_flow_shift,
        },
        Written::Uniform => flow::TimestepSampling::Uniform,
        Written::Sigmoid => flow::TimestepSampling::Sigmoid { sigmoid_scale },
        Written::Shift => flow::TimestepSampling::Shift { sigmoid_scale, discrete_flow_shift },
        Written::FluxShift => flow::TimestepSampling::FluxShift { sigmoid_scale },
    }
}

fn weighting_scheme(config: &manifest::Finetune) -> flow::WeightingScheme {
    use manifest::WeightingScheme as Written;
    let manifest::Finetune { logit_mean, logit_std, mode_scale, .. } = *config;
    match config.weighting_scheme {
        Written::Uniform => flow::WeightingScheme::Uniform,
        Written::SigmaSqrt => flow::WeightingScheme::SigmaSqrt,
        Written::Cosmap => flow::WeightingScheme::Cosmap,
        Written::LogitNormal => flow::WeightingScheme::LogitNormal { logit_mean, logit_std },
        Written::Mode => flow::WeightingScheme::Mode { mode_scale },
    }
}

fn prediction_type(config: &manifest::Finetune) -> flow::PredictionType {
    use manifest::ModelPredictionType as Written;
    match config.model_prediction_type {
        Written::Raw => flow::PredictionType::Raw,
        Written::Additive => flow::PredictionType::Additive,
        Written::SigmaScaled => flow::PredictionType::SigmaScaled(weighting_scheme(config)),
    }
}

fn loss_type(config: &manifest::Finetune) -> flow::LossType {
    let huber = flow::HuberC {
        huber_c: config.huber_c,
        huber_scale: config.huber_scale,
        exponential: config.huber_schedule == manifest::HuberSchedule::Exponential,
    };
    match config.loss_type {
        manifest::LossType::L2 => flow::LossType::L2,
        manifest::LossType::L1 => flow::LossType::L1,
        manifest::LossType::Huber => flow::LossType::Huber(huber),
        manifest::LossType::SmoothL1 => flow::LossType::SmoothL1(huber),
    }
}

fn lr_scheduler(config: &manifest::Finetune) -> train::LrScheduler {
    use manifest::LrScheduler as Written;
    match config.lr_scheduler {
        Written::Constant => train::LrScheduler::Constant,
        Written::ConstantWithWarmup => train::LrScheduler::ConstantWithWarmup,
        Written::Linear => train::LrScheduler::Linear,
        Written::Cosine => train::LrScheduler::Cosine,
        Written::CosineWithRestarts => {
            train::LrScheduler::CosineWithRestarts { num_cycles: config.lr_scheduler_num_cycles }
        }
        Written::Polynomial => train::LrScheduler::Polynomial { power: config.lr_scheduler_power },
        Written::WarmupStableDecay => train::LrScheduler::WarmupStableDecay {
            decay_steps: steps(&config.lr_decay_steps),
            min_lr_ratio: config.lr_scheduler_min_lr_ratio,
        },
    }
}

pub fn steps(written: &manifest::Steps) -> train::Steps {
    match (written, written.share()) {
        (_, Some(share)) => train::Steps::Share(share),
        (manifest::Steps::Count(count), _) => train::Steps::Count(*count as usize),
        // A text that is no share is a mistake of the manifest and never comes here.
        _ => train::Steps::Count(0),
    }
}

fn optimizer(config: &manifest::Finetune) -> train::OptimizerKind {
    let args = OptimizerArgs::of(config);
    match config.optimizer_type {
        manifest::OptimizerType::Adafactor => {
            let plain = train::Adafactor::default();
            let (eps_1, eps_2) = match args.eps {
                Some(Eps::Two([one, two])) => (one, two),
                _ => (plain.eps_1, plain.eps_2),
            };
            train::OptimizerKind::Adafactor(train::Adafactor {
                eps_1,
                eps_2,
                clip_threshold: args.clip_threshold.unwrap_or(plain.clip_threshold),
                decay_rate: args.decay_rate.unwrap_or(plain.decay_rate),
                beta1: args.beta1,
                weight_decay: args.weight_decay.unwrap_or(plain.weight_decay),
                scale_parameter: args.scale_parameter.unwrap_or(plain.scale_parameter),
                relative_step: args.relative_step.unwrap_or(plain.relative_step),
                warmup_init: args.warmup_init.unwrap_or(plain.warmup_init),
            })
        }
        manifest::OptimizerType::AdamW => {
            let plain = train::AdamW::default();
            let [beta1, beta2] = args.betas.unwrap_or([plain.beta1, plain.beta2]);
            train::OptimizerKind::AdamW(train::AdamW {
                beta1,
                beta2,
                eps: match args.eps {
                    Some(Eps::One(eps)) => eps,
                    _ => plain.eps,
                },
                weight_decay: args.weight_decay.unwrap_or(plain.weight_decay),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults of the manifest are those of the trainer.
    #[test]
    fn a_manifest_that_says_nothing_asks_for_the_defaults() {
        let config = manifest::Finetune {
            learning_rate: Some(1e-5),
            max_train_epochs: 10,
            ..manifest::Finetune::default()
        };
        assert_eq!(of(&config), Settings::default());
        let adamw = manifest::Finetune { optimizer_type: manifest::OptimizerType::AdamW, ..config };
        assert_eq!(of(&adamw).optimizer, train::OptimizerKind::AdamW(train::AdamW::default()));
    }
}
