//! Which samples go together, and in which order.

use std::collections::BTreeMap;

use super::{Role, Samples};
use crate::base::{Digest, Stream};

/// One appearance of a sample in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appearance {
    /// Its place in the list of samples.
    pub index: usize,
    /// Its content, which names its random numbers.
    pub content: Digest,
    /// The epoch, counted from 1; 0 for a sample that is held out.
    pub epoch: usize,
    /// How many times this content appeared before in the epoch.
    pub repeat: u64,
    /// How many times it appeared before in the whole training.
    pub turn: u64,
}

impl Appearance {
    /// Whether the sample only measures the loss.
    #[must_use]
    pub fn is_held_out(&self) -> bool {
        self.epoch == 0
    }
}

/// Appearances of one size, which go through the network together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Height and width of the latents.
    pub size: (usize, usize),
    /// At most `train_batch_size` of them.
    pub appearances: Vec<Appearance>,
}

impl Batch {
    /// Whether its samples only measure the loss.
    #[must_use]
    pub fn is_held_out(&self) -> bool {
        self.appearances.iter().any(Appearance::is_held_out)
    }
}

/// What decides where a sample appears.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Height and width of the latent.
    pub size: (usize, usize),
    /// What the sample is.
    pub content: Digest,
    /// How often it appears in an epoch.
    pub repeats: u32,
    /// What it is there for.
    pub role: Role,
}

/// A sample as often as it appears in an epoch.
#[derive(Clone, Copy, Debug)]
struct Slot {
    size: (usize, usize),
    index: usize,
    content: Digest,
    repeat: u64,
    /// How often this content appears in an epoch.
    times: u64,
}

/// All appearances of an epoch, by size. The order starts from the contents, so neither paths nor the
/// order of the list decide anything.
pub struct Batches {
    trained: Vec<Slot>,
    regularisation: Vec<Slot>,
    held_out: Vec<Slot>,
    batch_size: usize,
    seed: u64,
}

impl Batches {
    /// Groups `samples`, each as often as it repeats.
    #[must_use]
    pub fn new(samples: &dyn Samples, batch_size: usize, seed: u64) -> Self {
        let member = |index| Member {
            size: samples.bucket(index),
            content: samples.content(index),
            repeats: samples.repeats(index),
            role: samples.role(index),
        };
        Self::of(&(0..samples.len()).map(member).collect::<Vec<_>>(), batch_size, seed)
    }

    /// The same of samples that need not be there yet.
    #[must_use]
    pub fn of(members: &[Member], batch_size: usize, seed: u64) -> Self {
        let slots = |role| slots(members, role);
        Self {
            trained: slots(Role::Trained),
            regularisation: slots(Role::Regularisation),
            held_out: slots(Role::HeldOut),
            batch_size,
            seed,
        }
    }

    /// Whether there is nothing to train on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trained.is_empty()
    }

    /// Optimizer steps of a training over so many epochs, each over `accumulated` batches.
    #[must_use]
    pub fn steps(&self, epochs: usize, accumulated: usize) -> usize {
        self.epoch_ends(epochs, accumulated).last().copied().unwrap_or_default()
    }

    /// After how many of them each epoch ends.
    #[must_use]
    pub fn epoch_ends(&self, epochs: usize, accumulated: usize) -> Vec<usize> {
        let steps = |epoch| {
            let sizes = self.by_size(epoch).into_values();
            let batches: usize = sizes.map(|all| all.len().div_ceil(self.batch_size)).sum();
            batches.div_ceil(accumulated)
        };
        // Without regularisation samples all epochs are alike.
        let alike = self.regularisation.is_empty().then(|| steps(1));
        let ends = (1..=epochs).scan(0, |end, epoch| {
            *end += alike.unwrap_or_else(|| steps(epoch));
            Some(*end)
        });
        ends.collect()
    }

    /// The batches of `epoch`, shuffled inside each size and then as a whole.
    #[must_use]
    pub fn epoch(&self, epoch: usize) -> Vec<Batch> {
        let mut order = Stream::new(self.seed, "order", None, &[epoch as u64]);
        let mut batches = Vec::new();
        for (size, mut all) in self.by_size(epoch) {
            order.shuffle(&mut all);
            batches.extend(self.cut(size, &all));
        }
        order.shuffle(&mut batches);
        batches
    }

    /// The batches of what is held out, in an order that is always the same.
    #[must_use]
    pub fn held_out(&self) -> Vec<Batch> {
        let mut by_size = BTreeMap::<_, Vec<_>>::new();
        for slot in &self.held_out {
            by_size.entry(slot.size).or_default().push(slot.appearance(0, slot.repeat, 0));
        }
        by_size.into_iter().flat_map(|(size, all)| self.cut(size, &all)).collect()
    }

    fn cut(&self, size: (usize, usize), all: &[Appearance]) -> Vec<Batch> {
        let batch = |part: &[Appearance]| Batch { size, appearances: part.to_vec() };
        all.chunks(self.batch_size).map(batch).collect()
    }

    /// What appears in an epoch. There are as many regularisation samples as others: they are gone
    /// through round after round, and the next epoch goes on where the last one ended.
    fn by_size(&self, epoch: usize) -> BTreeMap<(usize, usize), Vec<Appearance>> {
        let mut by_size = BTreeMap::<_, Vec<_>>::new();
        let before = epoch as u64 - 1;
        for slot in &self.trained {
            let turn = before * slot.times + slot.repeat;
            by_size.entry(slot.size).or_default().push(slot.appearance(epoch, slot.repeat, turn));
        }
        let count = self.trained.len() as u64;
        let rounds = self.regularisation.len() as u64;
        let places = if rounds == 0 { 0..0 } else { before * count..epoch as u64 * count };
        for place in places {
            let slot = &self.regularisation[(place % rounds) as usize];
            let turn = place / rounds * slot.times + slot.repeat;
            // The turn tells an appearance from all others, also in an epoch of several rounds.
            by_size.entry(slot.size).or_default().push(slot.appearance(epoch, turn, turn));
        }
        by_size
    }
}

impl Slot {
    fn appearance(&self, epoch: usize, repeat: u64, turn: u64) -> Appearance {
        Appearance { index: self.index, content: self.content, epoch, repeat, turn }
    }
}

/// The samples of one role by their contents, each as often as it appears in an epoch.
fn slots(members: &[Member], role: Role) -> Vec<Slot> {
    let all = members.iter().enumerate().filter(|(_, member)| member.role == role);
    let mut sorted = all.map(|(index, member)| (member.content, index)).collect::<Vec<_>>();
    sorted.sort_unstable();
    let mut slots = Vec::new();
    // Two samples of equal content still get noise of their own.
    for alike in sorted.chunk_by(|one, other| one.0 == other.0) {
        let begin = slots.len();
        for &(content, index) in alike {
            let Member { size, repeats, .. } = members[index];
            for _ in 0..repeats {
                let repeat = (slots.len() - begin) as u64;
                slots.push(Slot { size, index, content, repeat, times: 0 });
            }
        }
        let times = (slots.len() - begin) as u64;
        slots[begin..].iter_mut().for_each(|slot| slot.times = times);
    }
    slots
}
