//! Making a network: out of a file, out of random numbers, out of a transformer that is there.

use std::{path::Path, sync::Arc};

use burn::tensor::{Device, FloatDType};

use super::{
    AnyBlock, Network, NetworkError, Slot, Swap,
    mover::{Mover, Workplace},
    parameters::cast,
    shelf::Shelf,
};
use crate::{
    base,
    device::is_cpu,
    models::flux::{Flux, FluxConfig, FluxParts},
    train::memory::{Plan, Weights},
    weights::Checkpoint,
};

impl Network {
    /// Loads the transformer of `checkpoint`, in any of the published layouts, block by block: no more
    /// than one block is in memory besides what `plan` keeps there. Weights are stored as `stored` (f32
    /// or bf16). On the CPU swapped blocks lie in a file in `scratch`.
    ///
    /// # Errors
    /// The file is no FLUX transformer, some of its tensors are missing, misshapen or unknown (all are
    /// named before any work), or there is no room for swapped blocks.
    pub fn load(
        checkpoint: &Checkpoint,
        plan: Plan,
        device: &Device,
        stored: FloatDType,
        scratch: &Path,
    ) -> Result<Self, NetworkError> {
        let parts = FluxParts::open(checkpoint, device, stored)?;
        let network = Self::assemble(&parts, plan, device, stored, scratch)?;
        parts.finish()?;
        Ok(network)
    }

    /// A transformer of these sizes with random weights that repeat, for measurements.
    ///
    /// # Errors
    /// There is no room for swapped blocks.
    pub fn random(
        config: FluxConfig,
        seed: u64,
        plan: Plan,
        device: &Device,
        stored: FloatDType,
        scratch: &Path,
    ) -> Result<Self, NetworkError> {
        let parts = FluxParts::repeating(config, seed, device, stored);
        Self::assemble(&parts, plan, device, stored, scratch)
    }

    /// A transformer that is on its device already, and stays there.
    #[must_use]
    pub fn resident(flux: Flux) -> Self {
        let (device, stored) = flux.options();
        let stored = FloatDType::from(stored);
        let compute = compute(&device, stored);
        let doubles = flux.double_blocks.into_iter().map(AnyBlock::Double);
        let singles = flux.single_blocks.into_iter().map(AnyBlock::Single);
        let slots = doubles.chain(singles).map(|block| Slot::Resident(Some(block)));
        let slots = slots.collect::<Vec<_>>();
        Self {
            plan: Plan::resident(slots.len()),
            embedders: cast(flux.embedders, compute),
            last_layer: cast(flux.final_layer, compute),
            config: flux.config,
            slots,
            swap: None,
            stored,
            compute,
            device,
        }
    }

    /// The whole transformer on the device, in the storage type.
    #[must_use]
    pub fn into_flux(mut self) -> Flux {
        let (mut double_blocks, mut single_blocks) = (Vec::new(), Vec::new());
        for index in 0..self.blocks() {
            match self.lend(index, super::Way::Forward).cast(self.stored) {
                AnyBlock::Double(block) => double_blocks.push(block),
                AnyBlock::Single(block) => single_blocks.push(block),
            }
        }
        Flux {
            embedders: cast(self.embedders, self.stored),
            double_blocks,
            single_blocks,
            final_layer: cast(self.last_layer, self.stored),
            config: self.config,
        }
    }

    /// Takes back what [`Network::for_each`] gave. Blocks stay where the plan has them.
    ///
    /// # Errors
    /// The file is not of a transformer of these sizes, or cannot be read. Weights may then be in part
    /// those of the file.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), NetworkError> {
        let parts = FluxParts::open_as(self.config.clone(), checkpoint, &self.device, self.stored)?;
        self.take_all(&parts);
        Ok(parts.finish()?)
    }

    fn assemble(
        parts: &FluxParts<'_>,
        plan: Plan,
        device: &Device,
        stored: FloatDType,
        scratch: &Path,
    ) -> Result<Self, NetworkError> {
        let compute = compute(device, stored);
        let empty = FluxParts::empty(parts.config.clone());
        let mut swapped = Vec::new();
        let slots = plan.blocks.iter().enumerate().map(|(index, block)| match block.weights {
            Weights::Resident => Slot::Resident(None),
            Weights::Swapped => {
                swapped.push(index);
                Slot::Swapped(swapped.len() - 1)
            }
        });
        let slots = slots.collect();
        let swap = match swapped.is_empty() {
            true => None,
            false => Some(swap(&parts.config, &swapped, device, (stored, compute), scratch)?),
        };
        let mut network = Self {
            config: parts.config.clone(),
            plan,
            embedders: empty.embedders(),
            last_layer: empty.last_layer(),
            slots,
            swap,
            stored,
            compute,
            device: device.clone(),
        };
        network.take_all(parts);
        Ok(network)
    }

    /// Takes the weights of all parts, one part at a time.
    fn take_all(&mut self, parts: &FluxParts<'_>) {
        self.embedders = cast(parts.embedders(), self.compute);
        self.last_layer = cast(parts.last_layer(), self.compute);
        if let Some(swap) = &mut self.swap {
            swap.forget();
        }
        for index in 0..self.blocks() {
            let block = match index.checked_sub(self.config.depth) {
                None => AnyBlock::Double(parts.double_block(index)),
                Some(single) => AnyBlock::Single(parts.single_block(single)),
            };
            match (&mut self.slots[index], &self.swap) {
                (Slot::Resident(slot), _) => *slot = Some(block),
                (Slot::Swapped(place), Some(swap)) => {
                    swap.mover.store(*place, block);
                    // One at a time, or they would wait in memory.
                    swap.mover.settle();
                }
                (Slot::Swapped(_), None) => unreachable!("swapped blocks have a shelf"),
            }
        }
    }
}

impl Swap {
    /// Lets blocks go that were fetched before the shelf changed.
    fn forget(&mut self) {
        self.turn = None;
        self.mover.forget();
    }
}

/// The type that weights stored as `stored` are computed in.
fn compute(device: &Device, stored: FloatDType) -> FloatDType {
    if is_cpu(device) { FloatDType::F32 } else { stored }
}

/// A shelf for the blocks `swapped`, and a thread that moves them.
fn swap(
    config: &FluxConfig,
    swapped: &[usize],
    device: &Device,
    (stored, compute): (FloatDType, FloatDType),
    scratch: &Path,
) -> Result<Swap, NetworkError> {
    let parameters = config.parameters();
    let shapes = |&index: &usize| {
        let prefix = match index.checked_sub(config.depth) {
            None => format!("double_blocks.{index}."),
            Some(single) => format!("single_blocks.{single}."),
        };
        let of_block = parameters.iter().filter(|(name, _)| name.starts_with(&prefix));
        of_block.map(|(_, shape)| shape.clone()).collect::<Vec<_>>()
    };
    let blocks = swapped.iter().map(shapes).collect::<Vec<_>>();
    let shelf = match is_cpu(device) {
        false => Shelf::in_memory(blocks, stored, device),
        true => {
            let bytes = Shelf::bytes(&blocks, stored);
            Shelf::in_file(blocks, stored, device, scratch).map_err(|source| {
                NetworkError::Scratch {
                    folder: scratch.to_owned(),
                    bytes: base::bytes(bytes as u64),
                    source,
                }
            })?
        }
    };
    let shelf = Arc::new(shelf);
    let empty = FluxParts::empty(config.clone());
    let mover = Mover::start(Workplace {
        shelf: shelf.clone(),
        device: device.clone(),
        compute,
        shells: (empty.double_block(0), empty.single_block(0)),
        doubles: swapped.iter().filter(|&&index| index < config.depth).count(),
    });
    Ok(Swap { shelf, mover, turn: None })
}
