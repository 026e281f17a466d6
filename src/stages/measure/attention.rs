//! Attention over the tokens of a picture and its text, as the blocks of FLUX.1 call it.

use burn::tensor::{Device, Tensor};

use super::Float;
use crate::{
    device::{
        kernels::attention_backward,
        rates::{self, Seconds},
    },
    models::flux::attention,
};

/// Its sizes.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Pictures.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// Tokens of picture and text together.
    pub tokens: usize,
    /// Channels of a head.
    pub head: usize,
}

/// How long it took.
#[derive(Clone, Copy, Debug)]
pub struct AttentionTaken {
    /// Forwards alone.
    pub forward: Seconds,
    /// Forwards and then backwards to queries, keys and values.
    pub train: Seconds,
}

impl Attention {
    /// Additions and multiplications of the forward pass; backwards there are twice as many, not counting
    /// scores that are computed again.
    #[must_use]
    pub fn operations(&self) -> f64 {
        4.0 * (self.batch * self.heads * self.tokens * self.tokens * self.head) as f64
    }

    /// Measures it on random numbers.
    #[must_use]
    pub fn measure(&self, device: &Device, float: Float, samples: usize) -> AttentionTaken {
        let shape = [self.batch, self.heads, self.tokens, self.head];
        let [q, k, v, d_out]: [Tensor<4>; 4] =
            [0, 1, 2, 3].map(|_| rates::normal(shape, 1.0, float.into(), device));
        let forward = || attention(q.clone(), k.clone(), v.clone(), None);
        AttentionTaken {
            forward: rates::seconds(device, samples, || drop(forward())),
            train: rates::seconds(device, samples, || {
                let _ = forward();
                let _ = attention_backward(&q, &k, &v, None, &d_out);
            }),
        }
    }
}
