//! What a training step takes of the host's memory where the host computes it, moment by moment.
//!
//! The moments are those of the backward pass of one block, in the order in which `backward` of
//! `models/flux/double` and `models/flux/single` makes and lets go of its arrays. The heap of the C library
//! keeps what is let go for the next array, and not every hole fits the next one: what comes and goes takes
//! [`HOLES`] as much as lives at once. Measured with `fluxpipe bench finetune --device cpu`, see
//! `docs/training.md`.

use super::{Plan, Step, Values, Weights, count::size};

/// What arrays that come and go take of the heap, by what of them lives at once.
const HOLES: f64 = 1.5;

/// The program without arrays: code that was relocated, threads, tables.
const PROGRAM: u64 = 20_000_000;

/// Values and gradients of a moment.
#[derive(Clone, Copy)]
struct Moment {
    /// Bytes of values and their gradients.
    values: u64,
    /// Bytes of gradients of weights.
    gradients: u64,
}

impl Step {
    /// Bytes of the host at the peak of the step, with all that stays between steps.
    pub(super) fn takes_of_the_heap(&self, plan: &Plan) -> u64 {
        let peak = (0..plan.blocks.len()).map(|index| {
            let waiting = plan.blocks.iter().enumerate().take(index);
            let waiting = waiting.map(|(index, block)| self.waiting(index, *block)).sum::<u64>();
            let again = plan.blocks[index].values == Values::Recomputed;
            let moments = self.moments(index, again).into_iter();
            let local = moments.map(|Moment { values, gradients }| values + gradients).max();
            waiting + (HOLES * local.unwrap_or_default() as f64) as u64
        });
        let stays = self.weights_on_device(plan) + self.state_bytes() + self.moving(plan);
        PROGRAM + stays + self.samples() + peak.max().unwrap_or_default()
    }

    /// The moments of one block. Widths are in values per token; what else a token of one stream has is
    /// counted for that stream.
    fn moments(&self, index: usize, again: bool) -> Vec<Moment> {
        let (hidden, mlp) = (self.config.hidden_size, self.config.mlp_size);
        let all = |width: usize| self.values(width);
        let of =
            |tokens: usize, width: usize| (self.batch * tokens * width) as u64 * size(self.compute);
        let trained = self.trained.get(index) != Some(&false) && self.backward;
        // A sum over micro-batches is there from the first to the last of them.
        let part = |weights: u64| {
            let weights = if self.accumulated > 1 { self.weights(index) } else { weights };
            u64::from(trained) * weights * size(self.compute)
        };
        let product = |rows: usize, columns: usize| (rows * columns) as u64;
        // Of the other micro-batches the gradients at the streams wait.
        let others = (self.accumulated.saturating_sub(1)) as u64 * self.inputs();
        let moment = |values: u64, gradients: u64| Moment { values: values + others, gradients };
        let square = product(hidden, hidden);
        let mut moments = Vec::new();
        if self.is_double(index) {
            let (text, picture) = (self.text_tokens, self.picture_tokens);
            let forward = moment(all(13 * hidden + mlp), 0);
            if again || !self.backward {
                moments.push(forward);
            }
            if self.backward {
                // Picture's MLP: streams, q k v in both forms; of the text what it hands on.
                let values =
                    all(7 * hidden) + of(text, 2 * hidden) + of(picture, 4 * hidden + 3 * mlp);
                let behind = part(square + 3 * product(hidden, mlp));
                moments.push(moment(values, behind));
                // Attention: gradients of q, k, v beside themselves.
                let behind = part(2 * (square + 2 * product(hidden, mlp)));
                moments.push(moment(all(14 * hidden), behind));
                // Modulation, last.
                moments.push(moment(all(5 * hidden), part(self.weights(index))));
            }
        } else {
            let forward = moment(all(12 * hidden + 2 * mlp), 0);
            if again || !self.backward {
                moments.push(forward);
            }
            if self.backward {
                // The gradient of what leaves the first layer beside its parts and the layer's values.
                let second = product(hidden, hidden + mlp);
                moments.push(moment(all(12 * hidden + 3 * mlp), part(second)));
                let first = product(hidden, 3 * hidden + mlp);
                moments.push(moment(all(6 * hidden + mlp), part(second + first)));
                moments.push(moment(all(4 * hidden), part(self.weights(index))));
            }
        }
        moments
    }

    /// Blocks that are decoded or on their way: two that are swapped, and one that is stored in another type
    /// than is computed in. Room for the largest stays in the heap when a smaller one is at work.
    fn moving(&self, plan: &Plan) -> u64 {
        let of = |kind: Weights| {
            let blocks = plan.blocks.iter().enumerate().filter(move |(_, it)| it.weights == kind);
            let mut sizes = blocks.map(|(index, _)| self.weights(index)).collect::<Vec<_>>();
            sizes.sort_unstable_by(|one, other| other.cmp(one));
            sizes
        };
        let swapped = of(Weights::Swapped).into_iter().take(2).sum::<u64>();
        let decoded = match self.stored == self.compute {
            true => 0,
            false => of(Weights::Resident).first().copied().unwrap_or_default(),
        };
        (swapped + decoded) * size(self.compute)
    }

    /// Samples of the micro-batches, which are f32 until they enter.
    fn samples(&self) -> u64 {
        let config = &self.config;
        let each =
            self.picture_tokens * 2 * config.in_channels + self.text_tokens * config.context_in_dim;
        4 * (self.accumulated * self.batch * each) as u64
    }
}
