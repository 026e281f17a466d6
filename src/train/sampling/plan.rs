//! Where the blocks of a transformer are while it draws.

use burn::tensor::{Device, FloatDType};

use super::{Drawing, SamplingError};
use crate::{
    device::{is_cpu, memory},
    models::flux::FluxConfig,
    train::memory::{Free, Plan, PlanError, Step, Wishes},
};

/// The quickest plan with which `rows` pictures like `drawing`, whose texts have up to `text_tokens`
/// tokens, can be drawn at once on `device`: so many blocks are swapped as must be. A picture with a
/// negative prompt counts as two. `beside` bytes of the device are left to others.
///
/// # Errors
/// Nothing fits.
pub fn plan(
    config: &FluxConfig,
    drawing: &Drawing,
    (rows, text_tokens): (usize, usize),
    stored: FloatDType,
    device: &Device,
    beside: u64,
) -> Result<Plan, SamplingError> {
    let on_cpu = is_cpu(device);
    let host = memory::free();
    let free = memory::free_on(device).unwrap_or(host).saturating_sub(beside);
    let free = Free { device: free, host };
    let step = Step {
        config: config.clone(),
        batch: rows,
        accumulated: 1,
        picture_tokens: drawing.tokens(),
        text_tokens,
        stored,
        compute: if on_cpu { FloatDType::F32 } else { stored },
        state: 0,
        averages: 0,
        backward: false,
        trained: vec![false; config.depth + config.depth_single_blocks],
        has_memory: !on_cpu,
    };
    // There is no way back for which values could be kept.
    let wishes = Wishes { gradient_checkpointing: Some(true), ..Wishes::default() };
    Plan::choose(&step, wishes, free).map_err(|error| match error {
        PlanError::Device { needed, free, .. } => SamplingError::Memory { needed, free },
        PlanError::Host { needed, free } => SamplingError::HostMemory { needed, free },
        PlanError::Blocks { .. } | PlanError::Setting { .. } => {
            unreachable!("no number of blocks is wished for")
        }
    })
}
