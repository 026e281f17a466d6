//! The plan of a training: what its largest step takes, and what can be had.

use burn::tensor::{Device, FloatDType};

use super::{
    Ema, Member, Settings, TrainError, Trained,
    memory::{Free, Plan, PlanError, Step, Wishes},
    optimizer::OptimizerKind,
    prepare::DRAWS,
};
use crate::{
    base::Stream,
    device::{is_cpu, memory},
    models::flux::FluxConfig,
};

/// The quickest plan with which a training of `config` on these samples, whose texts have up to
/// `text_tokens` tokens, fits on `device`. What the settings say of it is obeyed.
///
/// # Errors
/// Nothing fits, or a setting cannot be obeyed.
pub fn plan(
    config: &FluxConfig,
    settings: &Settings,
    members: &[Member],
    text_tokens: usize,
    device: &Device,
) -> Result<Plan, TrainError> {
    let host = memory::free();
    let free = Free { device: memory::free_on(device).unwrap_or(host), host };
    plan_within(config, settings, members, text_tokens, Room { on_cpu: is_cpu(device), free })
}

/// What a training may take, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Whether the host computes, so that its memory is the device's.
    pub on_cpu: bool,
    /// Bytes that can be had.
    pub free: Free,
}

/// The same for a device that is not asked.
///
/// # Errors
/// As [`plan`].
pub fn plan_within(
    config: &FluxConfig,
    settings: &Settings,
    members: &[Member],
    text_tokens: usize,
    Room { on_cpu, free }: Room,
) -> Result<Plan, TrainError> {
    let parameters = config.parameters();
    let trained =
        Trained::new(&settings.train_blocks, parameters.iter().map(|(name, _)| name.as_str()))?;
    let doubles = (0..config.depth).map(|index| ("double_blocks", index));
    let singles = (0..config.depth_single_blocks).map(|index| ("single_blocks", index));
    let is_trained = |(list, index): (&str, usize)| trained.any_in(&[list, &index.to_string()]);
    let tokens = members.iter().map(|member| (member.size.0 / 2) * (member.size.1 / 2));
    let followed = parameters.iter().filter(|(name, _)| trained.contains(name));
    let followed = followed.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
    let in_memory = settings.ema_decay.is_some() && !Ema::in_file(followed, free.host);
    let averages = if in_memory { Ema::bytes(followed) } else { 0 };
    let step = Step {
        config: config.clone(),
        batch: settings.train_batch_size,
        accumulated: settings.gradient_accumulation_steps,
        picture_tokens: tokens.max().unwrap_or_default(),
        text_tokens,
        stored: settings.weights,
        compute: if on_cpu { FloatDType::F32 } else { settings.weights },
        state: match &settings.optimizer {
            OptimizerKind::AdamW(_) => 8,
            OptimizerKind::Adafactor(adafactor) if adafactor.beta1.is_some() => 4,
            OptimizerKind::Adafactor(_) => 0,
        },
        averages,
        backward: true,
        trained: doubles.chain(singles).map(is_trained).collect(),
        has_memory: !on_cpu,
    };
    let wishes = Wishes {
        memory: settings.memory,
        blocks_to_swap: settings.blocks_to_swap,
        gradient_checkpointing: settings.gradient_checkpointing,
    };
    Ok(Plan::choose(&step, wishes, free)?)
}

/// What of the settings a transformer of `config` cannot obey, whatever it is trained on.
#[must_use]
pub fn refused(config: &FluxConfig, settings: &Settings) -> Vec<TrainError> {
    let blocks = config.depth + config.depth_single_blocks;
    let swapped = settings.blocks_to_swap.filter(|&wanted| wanted > blocks);
    let swapped = swapped.map(|wanted| TrainError::from(PlanError::Blocks { wanted, blocks }));
    let parameters = config.parameters();
    let names = parameters.iter().map(|(name, _)| name.as_str());
    let trained = Trained::new(&settings.train_blocks, names).err();
    let undrawn = (!is_drawn_from(settings)).then(|| settings.no_noise_level());
    swapped.into_iter().chain(trained).chain(undrawn).collect()
}

/// Whether noise levels are drawn inside the range for some size of pictures. A tenth of the training's
/// own draws must do, so that it does not fail at what was let through here.
fn is_drawn_from(settings: &Settings) -> bool {
    [16, 4096, 65_536].into_iter().any(|tokens| {
        let mut stream = Stream::new(settings.seed, "sigma", None, &[]);
        settings.noise_level(&mut stream, tokens, DRAWS / 10).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_transformer_cannot_obey_is_named() {
        let named = |settings: Settings| {
            let refused = refused(&FluxConfig::DEV, &settings);
            refused.iter().filter_map(TrainError::setting).collect::<Vec<_>>()
        };
        let plain = Settings::default;
        assert_eq!(named(plain()), [""; 0]);
        assert_eq!(named(Settings { blocks_to_swap: Some(57), ..plain() }), [""; 0]);
        assert_eq!(named(Settings { blocks_to_swap: Some(58), ..plain() }), ["blocks_to_swap"]);
        let train_blocks = vec!["double_block.*".to_owned()];
        assert_eq!(named(Settings { train_blocks, ..plain() }), ["train_blocks"]);
        assert_eq!(named(Settings { max_timestep: 1, ..plain() }), ["max_timestep"]);
        assert_eq!(named(Settings { min_timestep: 999, ..plain() }), ["min_timestep"]);
        assert_eq!(named(Settings { min_timestep: 900, ..plain() }), [""; 0]);
    }
}
