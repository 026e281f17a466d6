//! Learning-rate schedules: the factor on the learning rate at each optimizer step.

use std::{f64::consts::PI, str::FromStr};

/// The shape of a schedule, under the names that users know from diffusers and sd-scripts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LrScheduler {
    /// Always 1.
    Constant,
    /// A linear warm-up, then 1.
    ConstantWithWarmup,
    /// Warm-up, then a line to 0.
    Linear,
    /// Warm-up, then half a cosine to 0.
    Cosine,
    /// Warm-up, then `num_cycles` times a cosine from 1 to 0.
    CosineWithRestarts {
        /// How many times.
        num_cycles: u32,
    },
    /// Warm-up, then a power of the remaining share, down to a learning rate of 1e-7.
    Polynomial {
        /// 1 is a line.
        power: f64,
    },
    /// Warm-up, then 1, then half a cosine in the last steps.
    WarmupStableDecay {
        /// The last steps.
        decay_steps: Steps,
        /// Where the warm-up begins and the fall ends.
        min_lr_ratio: f64,
    },
}

impl LrScheduler {
    /// Whether the learning rate of a step depends on how many steps there are in all, beside what a
    /// share of them does in the warm-up.
    #[must_use]
    pub fn depends_on_length(&self) -> bool {
        !matches!(self, Self::Constant | Self::ConstantWithWarmup)
    }
}

/// A number of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Steps {
    /// So many.
    Count(usize),
    /// This share of all, rounded down.
    Share(f64),
}

impl Steps {
    /// How many of `total`.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Share(share) => (share * total as f64) as usize,
        }
    }
}

/// A schedule over a known number of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrSchedule {
    /// Its shape.
    pub scheduler: LrScheduler,
    /// Steps over which the factor rises from 0 to 1; the first step then has factor 0.
    pub warmup_steps: usize,
    /// Optimizer steps of the whole run.
    pub total_steps: usize,
}

/// What [`LrScheduler::Polynomial`] ends at.
const POLYNOMIAL_END: f64 = 1e-7;

impl LrSchedule {
    /// The learning rate of step `step`, counted from 0.
    #[must_use]
    pub fn learning_rate(&self, base: f64, step: usize) -> f64 {
        base * self.factor(base, step)
    }

    fn factor(&self, base: f64, step: usize) -> f64 {
        if self.scheduler == LrScheduler::Constant {
            return 1.0;
        }
        if step < self.warmup_steps {
            let risen = step as f64 / self.warmup_steps.max(1) as f64;
            return match self.scheduler {
                LrScheduler::WarmupStableDecay { min_lr_ratio, .. } => above(min_lr_ratio, risen),
                _ => risen,
            };
        }
        let length = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = (step - self.warmup_steps) as f64 / length;
        match self.scheduler {
            LrScheduler::Constant | LrScheduler::ConstantWithWarmup => 1.0,
            LrScheduler::Linear => (1.0 - progress).max(0.0),
            LrScheduler::Cosine => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
            LrScheduler::CosineWithRestarts { .. } if progress >= 1.0 => 0.0,
            LrScheduler::CosineWithRestarts { num_cycles } => {
                let phase = (f64::from(num_cycles) * progress) % 1.0;
                (0.5 * (1.0 + (PI * phase).cos())).max(0.0)
            }
            LrScheduler::Polynomial { .. } if step > self.total_steps => POLYNOMIAL_END / base,
            LrScheduler::Polynomial { power } => {
                let left = (1.0 - progress).max(0.0).powf(power);
                ((base - POLYNOMIAL_END) * left + POLYNOMIAL_END) / base
            }
            LrScheduler::WarmupStableDecay { decay_steps, min_lr_ratio } => {
                let decay = decay_steps.of(self.total_steps);
                let begin = self.total_steps.saturating_sub(decay).max(self.warmup_steps);
                let fallen = step.saturating_sub(begin) as f64 / decay.max(1) as f64;
                above(min_lr_ratio, 0.5 * (1.0 + (PI * fallen.min(1.0)).cos()))
            }
        }
    }
}

/// A factor from `least` to 1.
fn above(least: f64, factor: f64) -> f64 {
    factor * (1.0 - least) + least
}

impl FromStr for LrScheduler {
    type Err = ();

    /// Reads the name that a manifest uses, with the usual values of the further parameters.
    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "constant" => Self::Constant,
            "constant_with_warmup" => Self::ConstantWithWarmup,
            "linear" => Self::Linear,
            "cosine" => Self::Cosine,
            "cosine_with_restarts" => Self::CosineWithRestarts { num_cycles: 1 },
            "polynomial" => Self::Polynomial { power: 1.0 },
            "warmup_stable_decay" => {
                Self::WarmupStableDecay { decay_steps: Steps::Count(0), min_lr_ratio: 0.0 }
            }
            _ => return Err(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates of transformers' schedule of this name, with the same counts.
    #[test]
    fn warmup_stable_decay_takes_the_known_rates() {
        let scheduler =
            LrScheduler::WarmupStableDecay { decay_steps: Steps::Share(0.3), min_lr_ratio: 0.1 };
        let schedule = LrSchedule { scheduler, warmup_steps: 4, total_steps: 20 };
        let known = [
            (0, 0.1),
            (1, 0.325),
            (3, 0.775),
            (4, 1.0),
            (14, 1.0),
            (15, 0.939_711_431_702_997_4),
            (17, 0.55),
            (19, 0.160_288_568_297_002_58),
            (20, 0.1),
            (21, 0.1),
        ];
        for (step, known) in known {
            let found = schedule.learning_rate(1.0, step);
            assert!((found - known).abs() < 1e-12, "{step}: {found} is not {known}");
        }
    }
}
