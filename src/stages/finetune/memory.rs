//! What a plan tells of the memory of the training. Does not use a device.

use serde_json::json;

use super::{Finetune, TEXT_TOKENS, settings};
use crate::{
    device,
    models::flux::FluxConfig,
    pipeline::{Note, StageError},
    train::{self, Member, Settings},
    weights::Checkpoint,
};

/// Which blocks are swapped and recomputed. On the CPU it is known before; what is free on a card is asked
/// when the training begins.
///
/// # Errors
/// The manifest allows less than a step needs.
pub fn note(stage: &Finetune, members: &[Member]) -> Result<Note, StageError> {
    let settings = settings::of(&stage.config);
    let on_cpu = device::choose(&stage.site.device).is_ok_and(|it| device::is_cpu(&it.device));
    let planned = if on_cpu { planned(stage, &settings, members)? } else { None };
    let text = format!("memory: {}", planned.unwrap_or_else(|| by_hand(&settings)));
    let data = json!(text);
    Ok(Note { name: "memory", text, details: Vec::new(), data })
}

/// The plan, or why there is none; nothing of a model that cannot be read, which the training tells.
fn planned(
    stage: &Finetune,
    settings: &Settings,
    members: &[Member],
) -> Result<Option<String>, StageError> {
    let detected = Checkpoint::open(&stage.model).ok();
    let detected = detected.and_then(|file| FluxConfig::detect(&file).ok());
    let Some((config, _)) = detected else { return Ok(None) };
    Ok(Some(match train::plan(&config, settings, members, TEXT_TOKENS, &device::cpu()) {
        Ok(plan) => plan.to_string(),
        Err(error) if error.setting() == Some("memory") => return Err(error.into()),
        // There may be more when the training begins.
        Err(error) => error.to_string(),
    }))
}

fn by_hand(settings: &Settings) -> String {
    let swap = settings.blocks_to_swap.map(|blocks| format!("blocks_to_swap = {blocks}"));
    let again =
        settings.gradient_checkpointing.map(|all| format!("gradient_checkpointing = {all}"));
    let set = swap.into_iter().chain(again).collect::<Vec<_>>();
    let chosen = "chosen for the device when the training begins";
    match set.is_empty() {
        true => chosen.to_owned(),
        false => format!("{chosen}, with {}", set.join(", ")),
    }
}
