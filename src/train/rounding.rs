//! How the result of a step is stored: as f32, or as bf16 by chance (`device::kernels::rounded`).

use burn::tensor::{DType, FloatDType};

use crate::base::ElementBits;

/// Names the random bits of one optimizer step, and says what the weights are stored as.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer step, counted from 0.
    pub step: u64,
    /// What new weights are rounded to: bf16, or f32, which is not to round them.
    pub stored: FloatDType,
}

impl Rounding {
    /// The bits for the parameter `name`, which is kept in `dtype`: `None` where nothing is rounded. A
    /// bf16 parameter is stored as bf16 whatever is said.
    #[must_use]
    pub fn bits(&self, name: &str, dtype: DType) -> Option<ElementBits> {
        let rounds = self.stored == FloatDType::BF16 || dtype == DType::BF16;
        rounds.then(|| ElementBits::new(self.seed, &format!("round {name}"), &[self.step]))
    }
}
