//! The loss of each sample in each epoch, as JSON lines: `losses.jsonl` of an output. A sample is named by
//! what it is, since a name is no part of a model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{base::Digest, train::SampleLoss};

/// A line of `losses.jsonl`: one sample in one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// What the sample is, in hexadecimal digits.
    pub sample: String,
    /// How often it appeared.
    pub appearances: u64,
    /// Mean of its losses.
    pub loss: f64,
    /// Mean of its noise levels.
    pub sigma: f64,
}

/// What is gathered of the epoch in hand: times, and the sums of losses and noise levels.
type Sums = BTreeMap<Digest, (u64, f64, f64)>;

/// Losses as they come.
#[derive(Default)]
pub struct Losses {
    lines: String,
    epoch: usize,
    sums: Sums,
}

impl Losses {
    /// Adds those of one step.
    pub fn add(&mut self, epoch: usize, samples: &[SampleLoss]) {
        if epoch != self.epoch {
            self.end_epoch();
            self.epoch = epoch;
        }
        for sample in samples {
            let sums = self.sums.entry(sample.appearance.content).or_default();
            sums.0 += 1;
            sums.1 += sample.loss;
            sums.2 += f64::from(sample.sigma);
        }
    }

    /// All lines.
    pub fn finish(mut self) -> String {
        self.end_epoch();
        self.lines
    }

    fn end_epoch(&mut self) {
        for (sample, (appearances, loss, sigma)) in std::mem::take(&mut self.sums) {
            let line = serde_json::json!({
                "epoch": self.epoch, "sample": sample.hex(), "appearances": appearances,
                "loss": loss / appearances as f64, "sigma": sigma / appearances as f64,
            });
            self.lines += &format!("{line}\n");
        }
    }

    /// What [`Losses::recall`] needs; sums as bits, since digits could come back as their neighbours.
    pub fn remember(&self) -> Remembered {
        let sum = |(sample, sums): (&Digest, &(u64, f64, f64))| {
            (sample.hex(), sums.0, sums.1.to_bits(), sums.2.to_bits())
        };
        let sums = self.sums.iter().map(sum).collect();
        Remembered { lines: self.lines.clone(), epoch: self.epoch, sums }
    }

    /// Takes back what was gathered; `None` where a name is none.
    pub fn recall(remembered: Remembered) -> Option<Self> {
        let sums = remembered.sums.into_iter().map(|(sample, count, loss, sigma)| {
            let sums = (count, f64::from_bits(loss), f64::from_bits(sigma));
            Some((sample.parse().ok()?, sums))
        });
        let sums = sums.collect::<Option<Sums>>()?;
        Some(Self { lines: remembered.lines, epoch: remembered.epoch, sums })
    }
}

/// [`Losses`] between two runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remembered {
    lines: String,
    epoch: usize,
    sums: Vec<(String, u64, u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Appearance;

    fn seen(number: u8, loss: f64) -> SampleLoss {
        let content = Digest::of(&[number]);
        let appearance = Appearance { index: 0, content, epoch: 1, repeat: 0, turn: 0 };
        SampleLoss { appearance, sigma: 0.5, loss }
    }

    #[test]
    fn a_run_that_was_stopped_within_an_epoch_ends_with_the_same_lines() {
        let steps =
            [(1, seen(1, 0.1)), (1, seen(2, 0.7)), (1, seen(1, 0.2)), (2, seen(2, 1.0 / 3.0))];
        let mut whole = Losses::default();
        steps.iter().for_each(|(epoch, seen)| whole.add(*epoch, &[*seen]));
        let mut first = Losses::default();
        steps[..2].iter().for_each(|(epoch, seen)| first.add(*epoch, &[*seen]));
        let kept = serde_json::to_string(&first.remember()).unwrap();
        let mut second = Losses::recall(serde_json::from_str(&kept).unwrap()).unwrap();
        steps[2..].iter().for_each(|(epoch, seen)| second.add(*epoch, &[*seen]));
        let (whole, second) = (whole.finish(), second.finish());
        assert_eq!(whole, second);
        let lines = whole.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
        let lines = lines.collect::<Vec<_>>();
        assert_eq!(lines.len(), 3);
        let twice = lines.iter().find(|line| line.appearances == 2).unwrap();
        assert!((twice.loss - 0.15).abs() < 1e-12, "{twice:?}");
    }
}
