//! The transformer while it is trained: blocks that are on the device, and blocks that come when needed.
//!
//! Embedders and last layer are always on the device. A block's weights are **resident** there, or
//! **swapped**: they lie elsewhere ([`shelf`]) and a thread ([`mover`]) brings the next while one is
//! computed. Weights are stored as f32 or bf16 and computed with in that type; on the CPU always as f32,
//! since its products run no faster on less: a bf16 block is decoded when it is fetched, and what is
//! written back is exact, because the optimizer has rounded it. Does not know how it is trained.

mod blocks;
mod error;
mod load;
mod mover;
mod parameters;
mod shelf;
#[cfg(test)]
mod tests;

use std::{io, sync::Arc, time::Duration};

use burn::tensor::{Device, FloatDType, Tensor, TensorData};

pub(super) use self::blocks::{AnyBlock, AnyKept};
pub use self::error::NetworkError;
use self::{mover::Mover, shelf::Shelf};
use super::memory::Plan;
use crate::{
    models::flux::{Embedded, Embedders, FluxConfig, FluxInput, LastLayer, Surroundings},
    weights::{Dtype, Entry},
};

/// A transformer whose blocks need not all be on the device.
pub struct Network {
    /// Sizes.
    pub config: FluxConfig,
    /// Where each block's weights are and what becomes of its values. Weights lie where they lay when the
    /// network was made.
    pub plan: Plan,
    /// In the type that is computed in.
    pub(super) embedders: Embedders,
    /// In the type that is computed in.
    pub(super) last_layer: LastLayer,
    slots: Vec<Slot>,
    swap: Option<Swap>,
    stored: FloatDType,
    compute: FloatDType,
    device: Device,
}

/// Where a block is.
#[expect(clippy::large_enum_variant, reason = "a network has tens of these")]
enum Slot {
    /// On the device, in the storage type; `None` while it is lent.
    Resident(Option<AnyBlock>),
    /// On the shelf, at this place.
    Swapped(usize),
}

struct Swap {
    shelf: Arc<Shelf>,
    mover: Mover,
    /// The block that was used last and is unchanged, kept where the next way begins with it.
    turn: Option<(usize, AnyBlock)>,
}

/// Which way a pass goes through the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Forward,
    /// To the block of this number and no further.
    Backward(usize),
}

impl Network {
    /// The type that weights are rounded to.
    #[must_use]
    pub fn stored(&self) -> FloatDType {
        self.stored
    }

    /// The type that is computed in.
    #[must_use]
    pub fn compute(&self) -> FloatDType {
        self.compute
    }

    /// Where it is computed.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether this is dev, which takes a guidance.
    #[must_use]
    pub fn takes_guidance(&self) -> bool {
        self.config.guidance_embed
    }

    /// How long the computation has waited for swapped blocks since the network was made.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.swap.as_ref().map_or(Duration::ZERO, |swap| swap.mover.waited())
    }

    /// The velocity of the picture's tokens: `[B, N, 64]`.
    #[must_use]
    pub fn forward(&mut self, input: &FluxInput) -> Tensor<3> {
        let surroundings = Surroundings::new(&self.config, input);
        let Embedded { img, txt, vec } = self.embedders.forward(input);
        let text = txt.dims()[1];
        let mut streams = vec![txt, img];
        for index in 0..self.blocks() {
            if index == self.config.depth {
                streams = vec![Tensor::cat(streams, 1)];
            }
            let block = self.lend(index, Way::Forward);
            streams = block.forward(streams, vec.clone(), &surroundings);
            self.give_back(index, block, false);
        }
        let x = Tensor::cat(streams, 1);
        let length = x.dims()[1] - text;
        self.last_layer.forward(x.narrow(1, text, length), vec)
    }

    /// How many blocks there are, double and single.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.slots.len()
    }

    /// The tensors that [`Network::for_each`] gives, in its order, under the published names.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let dtype = if self.stored == FloatDType::BF16 { Dtype::BF16 } else { Dtype::F32 };
        let parameters = self.config.parameters().into_iter();
        parameters.map(|(name, shape)| Entry { name, dtype, shape }).collect()
    }

    /// Hands every tensor to `f`, one at a time, under its published name and in the storage type.
    ///
    /// # Errors
    /// The first that `f` gives.
    pub fn for_each(
        &self,
        f: &mut dyn FnMut(&str, TensorData) -> io::Result<()>,
    ) -> io::Result<()> {
        let names = self.config.parameters();
        let mut names = names.iter().map(|(name, _)| name.as_str());
        let mut outcome = Ok(());
        let mut each = |_, data| {
            let name = names.next().unwrap_or_else(|| unreachable!("a name per parameter"));
            if outcome.is_ok() {
                outcome = f(name, data);
            }
        };
        if let Some(swap) = &self.swap {
            swap.mover.settle();
        }
        parameters::read(&self.embedders, self.stored, &mut each);
        for slot in &self.slots {
            match (slot, &self.swap) {
                (Slot::Resident(Some(block)), _) => block.read(self.stored, &mut each),
                (Slot::Swapped(place), Some(swap)) => {
                    for parameter in 0..swap.shelf.parameters(*place) {
                        each(parameter, swap.shelf.read(*place, parameter, self.stored));
                    }
                }
                _ => unreachable!("no block is lent between steps, and swapped ones have a shelf"),
            }
        }
        parameters::read(&self.last_layer, self.stored, &mut each);
        outcome
    }

    /// Takes a block out, in the type that is computed in, and begins to fetch the one that comes after
    /// it on this way. To be given back before another is taken.
    pub(super) fn lend(&mut self, index: usize, way: Way) -> AnyBlock {
        let block = match (&mut self.slots[index], &mut self.swap) {
            (Slot::Resident(block), _) if self.stored == self.compute => block.take(),
            // A copy in the wider type; the slot keeps what is stored.
            (Slot::Resident(block), _) => block.clone().map(|block| block.cast(self.compute)),
            (Slot::Swapped(place), Some(swap)) => match swap.turn.take() {
                Some((turned, block)) if turned == index => Some(block),
                _ => Some(swap.mover.fetch(*place)),
            },
            (Slot::Swapped(_), None) => None,
        };
        self.fetch_ahead(match way {
            Way::Forward => (index + 1..self.blocks()).find(|&next| self.is_swapped(next)),
            Way::Backward(lowest) => (lowest..index).rev().find(|&next| self.is_swapped(next)),
        });
        block.unwrap_or_else(|| unreachable!("no block is lent twice"))
    }

    /// Puts a block back. What was not `changed` need not be written.
    pub(super) fn give_back(&mut self, index: usize, block: AnyBlock, changed: bool) {
        match (&mut self.slots[index], &mut self.swap) {
            (Slot::Resident(slot), _) if changed || slot.is_none() => {
                *slot = Some(block.cast(self.stored));
            }
            (Slot::Swapped(place), Some(swap)) if changed => swap.mover.store(*place, block),
            // Nothing is on its way: this is the last block of its way, and the next way begins here.
            (Slot::Swapped(_), Some(swap)) if swap.mover.is_idle() => {
                swap.turn = Some((index, block));
            }
            _ => {}
        }
        // The lowest swapped block is what the next forward pass begins with.
        if changed && (0..self.blocks()).find(|&first| self.is_swapped(first)) == Some(index) {
            self.fetch_ahead(Some(index));
        }
    }

    fn is_swapped(&self, index: usize) -> bool {
        matches!(self.slots[index], Slot::Swapped(_))
    }

    fn fetch_ahead(&mut self, index: Option<usize>) {
        let Some(index) = index else { return };
        if let (Slot::Swapped(place), Some(swap)) = (&self.slots[index], &mut self.swap) {
            swap.mover.ahead(*place);
        }
    }
}
