//! The quickest plan that fits.

use miette::Diagnostic;

use super::{Plan, Step, Takes};
use crate::base::bytes;

/// What is set by hand; the rest is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Bytes of the device that the training may take; all that is free where there is none.
    pub memory: Option<u64>,
    /// How many blocks are swapped.
    pub blocks_to_swap: Option<usize>,
    /// Whether the values of all blocks are computed again, or of none.
    pub gradient_checkpointing: Option<bool>,
}

/// Bytes that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Of the device.
    pub device: u64,
    /// Of the host's memory.
    pub host: u64,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum PlanError {
    /// The step is too large whatever is swapped or computed again.
    #[error("a training step needs {} of device memory, and only {} can be had", bytes(*needed), bytes(*free))]
    #[diagnostic(code(fluxpipe::train::memory), help("{help}"))]
    Device {
        /// What it needs at least, with what was set by hand.
        needed: u64,
        /// What can be had.
        free: u64,
        /// What would fit, in words.
        help: String,
    },
    /// It is larger than it may be.
    #[error("`memory` allows {}, and a training step needs at least {}", bytes(*allowed), bytes(*needed))]
    #[diagnostic(code(fluxpipe::train::memory_setting), help("{help}"))]
    Setting {
        /// What it needs at least, with what was set by hand.
        needed: u64,
        /// What it may take.
        allowed: u64,
        /// What would fit, in words.
        help: String,
    },
    /// The host cannot hold what the device cannot.
    #[error("the blocks that are swapped need {} of memory, {} is free", bytes(*needed), bytes(*free))]
    #[diagnostic(
        code(fluxpipe::train::host_memory),
        help("end other programs, swap fewer blocks, or train with `weights = \"bf16\"`")
    )]
    Host {
        /// What they need.
        needed: u64,
        /// What is free.
        free: u64,
    },
    /// There are not so many blocks.
    #[error("`blocks_to_swap` is {wanted}, but the transformer has {blocks} blocks")]
    #[diagnostic(
        code(fluxpipe::train::blocks_to_swap),
        help("write a number up to {blocks}, or leave it out: `memory` then says how many")
    )]
    Blocks {
        /// What was asked for.
        wanted: usize,
        /// How many there are.
        blocks: usize,
    },
}

impl Plan {
    /// The quickest plan that fits into what is free: everything on the device and all values kept; else
    /// values of so many blocks computed again as must be; else so many blocks swapped as must be. What is
    /// set by hand stays as it is.
    ///
    /// # Errors
    /// Nothing fits, or there are not so many blocks as shall be swapped.
    pub fn choose(step: &Step, wishes: Wishes, free: Free) -> Result<Self, PlanError> {
        let blocks = step.config.depth + step.config.depth_single_blocks;
        if let Some(wanted) = wishes.blocks_to_swap.filter(|&wanted| wanted > blocks) {
            return Err(PlanError::Blocks { wanted, blocks });
        }
        let room = wishes.memory.unwrap_or(free.device).min(free.device);
        let plan = smallest_that_fits(step, wishes, room, blocks);
        let Takes { device, host, .. } = plan.takes;
        if device > room {
            let help = help(step, wishes, room);
            return Err(match wishes.memory {
                Some(allowed) if allowed <= free.device => {
                    PlanError::Setting { needed: device, allowed, help }
                }
                _ => PlanError::Device { needed: device, free: room, help },
            });
        }
        if host > free.host {
            return Err(PlanError::Host { needed: host, free: free.host });
        }
        Ok(plan)
    }

    fn counted(step: &Step, blocks: usize, swapped: usize, kept: usize) -> Self {
        let plan = Self::of(blocks, swapped, kept);
        Self { takes: step.takes(&plan), ..plan }
    }
}

/// The first plan that fits, of all in their order of speed; the last of them where none does.
fn smallest_that_fits(step: &Step, wishes: Wishes, room: u64, blocks: usize) -> Plan {
    let swaps = match wishes.blocks_to_swap {
        Some(set) => set..=set,
        None => 0..=blocks,
    };
    let kept = match wishes.gradient_checkpointing {
        Some(true) => 0..=0,
        Some(false) => blocks..=blocks,
        None => 0..=blocks,
    };
    // To compute a block again takes a third of its time; to fetch it may take none.
    let plans = swaps.flat_map(|swapped| {
        let kept = kept.clone().rev();
        kept.map(move |kept| (swapped, kept))
    });
    let mut last = None;
    for (swapped, kept) in plans {
        let plan = Plan::counted(step, blocks, swapped, kept);
        if plan.takes.device <= room {
            return plan;
        }
        last = Some(plan);
    }
    last.unwrap_or_else(|| unreachable!("both ranges have a member"))
}

/// What would fit into `room`.
fn help(step: &Step, wishes: Wishes, room: u64) -> String {
    let blocks = step.config.depth + step.config.depth_single_blocks;
    let fits = |step: &Step, wishes: Wishes| {
        smallest_that_fits(step, wishes, room, blocks).takes.device <= room
    };
    let free = Wishes::default();
    if wishes != free && fits(step, free) {
        return "`blocks_to_swap` and `gradient_checkpointing` are set by hand: without them it fits"
            .to_owned();
    }
    let smaller = (1..step.batch).rev().find(|&batch| fits(&Step { batch, ..step.clone() }, free));
    if let Some(batch) = smaller {
        return format!(
            "`train_batch_size = {batch}` fits; `gradient_accumulation_steps` makes up for it"
        );
    }
    let sides = [1024, 896, 768, 640, 512, 448, 384, 320, 256, 192, 128, 64_usize];
    let fitting = sides.into_iter().find(|side| {
        let picture_tokens = (side / 16) * (side / 16);
        let is_smaller = picture_tokens < step.picture_tokens;
        is_smaller && fits(&Step { batch: 1, picture_tokens, ..step.clone() }, free)
    });
    match fitting {
        Some(side) => format!("pictures of {side} x {side} pixels with `train_batch_size = 1` fit"),
        None => {
            let step = Step { batch: 1, picture_tokens: 16, ..step.clone() };
            let needed = smallest_that_fits(&step, free, 0, blocks).takes.device;
            format!("the smallest pictures need {}: a device with more memory", bytes(needed))
        }
    }
}
