//! What the trainer reads: encoded samples, and what becomes of each.

use super::Appearance;
use crate::base::Digest;

/// The cached samples to train on. They are read by a thread of their own, ahead of the training.
pub trait Samples: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height and width of the latent; samples of one size share batches.
    fn bucket(&self, index: usize) -> (usize, usize);

    /// What the sample is, whatever it is called: names its random numbers and its place in the order.
    fn content(&self, index: usize) -> Digest;

    /// What people call it.
    fn name(&self, index: usize) -> String {
        format!("sample {index}")
    }

    /// How often it appears in an epoch.
    fn repeats(&self, index: usize) -> u32;

    /// What it is there for.
    fn role(&self, _index: usize) -> Role {
        Role::Trained
    }

    /// Reads the sample as it looks at this appearance.
    ///
    /// # Errors
    /// In words, what went wrong.
    fn load(&self, appearance: &Appearance) -> Result<Sample, String>;
}

/// What a sample is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is trained, as often as it repeats.
    Trained,
    /// It is trained beside the others: all of these together appear as often as all others together.
    Regularisation,
    /// It is never trained; the loss on it is measured after each epoch.
    HeldOut,
}

/// One sample, encoded.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `[channels, h, w]`
    pub latent: Vec<f32>,
    /// T5's hidden states `[L, context]`.
    pub t5: Vec<f32>,
    /// Whether the `L` rows are all that shall be attended to. A shorter text is then padded to the
    /// longest of its batch and the padding masked; else all texts of a batch are of one length.
    pub t5_masked: bool,
    /// CLIP's pooled vector.
    pub clip: Vec<f32>,
    /// How much each cell of the latent counts in the loss, `[h, w]`; all alike where there is none.
    pub mask: Option<Vec<f32>>,
    /// Factor on the loss.
    pub weight: f32,
}
