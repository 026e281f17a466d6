//! Which samples go together, and in which order.

use std::collections::BTreeMap;

use super::Samples;
use crate::base::{Digest, Stream};

/// One appearance of a sample in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appearance {
    /// Its place in the list of samples.
    pub index: usize,
    /// Its content, which names its random numbers.
    pub content: Digest,
    /// How many times this content appeared before in the epoch.
    pub repeat: u64,
}

/// Appearances of one size, which go through the network together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Height and width of the latents.
    pub size: (usize, usize),
    /// At most `train_batch_size` of them.
    pub appearances: Vec<Appearance>,
}

/// All appearances of an epoch, by size. The order starts from the contents, so neither paths nor the
/// order of the list decide anything.
pub struct Batches {
    by_size: BTreeMap<(usize, usize), Vec<Appearance>>,
    batch_size: usize,
    seed: u64,
}

impl Batches {
    /// Groups `samples`, each as often as it repeats.
    #[must_use]
    pub fn new(samples: &dyn Samples, batch_size: usize, seed: u64) -> Self {
        let mut sorted =
            (0..samples.len()).map(|index| (samples.content(index), index)).collect::<Vec<_>>();
        sorted.sort_unstable();
        let mut by_size = BTreeMap::<_, Vec<Appearance>>::new();
        let (mut last, mut repeat) = (None, 0);
        for (content, index) in sorted {
            // Two samples of equal content still get noise of their own.
            if last.replace(content) != Some(content) {
                repeat = 0;
            }
            for _ in 0..samples.repeats(index) {
                let appearance = Appearance { index, content, repeat };
                by_size.entry(samples.bucket(index)).or_default().push(appearance);
                repeat += 1;
            }
        }
        Self { by_size, batch_size, seed }
    }

    /// How many batches an epoch has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_size.values().map(|all| all.len().div_ceil(self.batch_size)).sum()
    }

    /// Whether an epoch has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of `epoch`, shuffled inside each size and then as a whole.
    #[must_use]
    pub fn epoch(&self, epoch: usize) -> Vec<Batch> {
        let mut order = Stream::new(self.seed, "order", None, &[epoch as u64]);
        let mut batches = Vec::with_capacity(self.len());
        for (&size, all) in &self.by_size {
            let mut all = all.clone();
            order.shuffle(&mut all);
            let batch = |part: &[Appearance]| Batch { size, appearances: part.to_vec() };
            batches.extend(all.chunks(self.batch_size).map(batch));
        }
        order.shuffle(&mut batches);
        batches
    }
}
