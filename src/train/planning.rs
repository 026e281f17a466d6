//! The plan of a training: what its largest step takes, and what can be had.

use burn::tensor::{Device, FloatDType};

use super::{
    Ema, Member, Settings, TrainError, Trained,
    memory::{Free, Plan, Step, Wishes},
    optimizer::OptimizerKind,
};
use crate::{
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
    let parameters = config.parameters();
    let trained =
        Trained::new(&settings.train_blocks, parameters.iter().map(|(name, _)| name.as_str()))?;
    let doubles = (0..config.depth).map(|index| ("double_blocks", index));
    let singles = (0..config.depth_single_blocks).map(|index| ("single_blocks", index));
    let is_trained = |(list, index): (&str, usize)| trained.any_in(&[list, &index.to_string()]);
    let tokens = members.iter().map(|member| (member.size.0 / 2) * (member.size.1 / 2));
    let on_cpu = is_cpu(device);
    let host = memory::free();
    let followed = parameters.iter().filter(|(name, _)| trained.contains(name));
    let followed = followed.map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
    let in_memory = settings.ema_decay.is_some() && !Ema::in_file(followed, host);
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
    let free = Free { device: memory::free_on(device).unwrap_or(host), host };
    Ok(Plan::choose(&step, wishes, free)?)
}
