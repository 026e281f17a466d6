//! Whether the disk has room for what a training will write, asked before its first step.

use super::{
    Adafactor, Settings, TrainError, checkpoint::Form, ema::Ema, optimizer::OptimizerKind,
    saves::Saves, state::StateFolder, trained::Trained,
};
use crate::{
    device,
    weights::{Dtype, Entry},
};

/// What a training writes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// Checkpoints that are there at the same time.
    pub checkpoints: u64,
    /// One of them.
    pub checkpoint: u64,
    /// A state. Two are there while the newer one is written.
    pub state: u64,
    /// Of all at the worst moment.
    pub peak: u64,
}

impl Need {
    /// Of a training of a network with these tensors.
    pub fn of(
        settings: &Settings,
        saves: &Saves,
        form: &Form,
        entries: &[Entry],
        trained: &Trained,
    ) -> Self {
        let elements = |entry: &Entry| entry.shape.iter().product::<usize>() as u64;
        let all = entries.iter().map(elements).sum::<u64>();
        let stepped = entries.iter().filter(|entry| trained.contains(&entry.name));
        let count = stepped.clone().map(elements).sum::<u64>();
        let averages = settings.ema_decay.map_or(0, |_| Ema::bytes(count));
        let optimizer = match &settings.optimizer {
            OptimizerKind::AdamW(_) => 8 * count,
            OptimizerKind::Adafactor(adafactor) => {
                stepped.map(|entry| moments(adafactor, entry)).sum()
            }
        };
        let weights =
            entries.iter().map(|entry| elements(entry) * entry.dtype.size() as u64).sum::<u64>();
        let copies = 1 + u64::from(settings.ema_decay.is_some());
        let checkpoint = copies * all * form.dtype.size() as u64;
        let checkpoints = saves.most() as u64;
        let state = weights + optimizer + averages;
        // A checkpoint that holds the very weights serves the state that is written with it.
        let exact =
            entries.iter().all(|entry| entry.dtype == Dtype::BF16 || entry.dtype == form.dtype);
        let last = if exact { state - weights } else { state };
        let between = checkpoints.saturating_sub(1) * checkpoint + 2 * state;
        let peak = between.max(checkpoints * checkpoint + state + last);
        Self { checkpoints, checkpoint, state, peak }
    }

    /// Compares it with what is free where `folder` lies. `there` bytes of it are there already.
    pub fn check(&self, folder: &StateFolder, there: u64) -> Result<(), TrainError> {
        let needed = self.peak.saturating_sub(there);
        match device::disk_free(folder.path()) {
            Some(free) if free < needed => Err(TrainError::Disk {
                folder: folder.path().parent().unwrap_or(folder.path()).to_owned(),
                needed: gigabytes(needed),
                free: gigabytes(free),
                what: format!(
                    "{} of {}, and a state of {} twice while it is replaced",
                    crate::base::plural(self.checkpoints as usize, "checkpoint"),
                    gigabytes(self.checkpoint),
                    gigabytes(self.state),
                ),
            }),
            _ => Ok(()),
        }
    }
}

/// Bytes of what Adafactor remembers of a tensor.
fn moments(adafactor: &Adafactor, entry: &Entry) -> u64 {
    let elements = entry.shape.iter().product::<usize>() as u64;
    let first = if adafactor.beta1.is_some() { elements } else { 0 };
    let second = match entry.shape[..] {
        [.., rows, columns] => elements / columns.max(1) as u64 + elements / rows.max(1) as u64,
        _ => elements,
    };
    4 * (first + second)
}

fn gigabytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes < 1e8 { format!("{:.1} MB", bytes / 1e6) } else { format!("{:.1} GB", bytes / 1e9) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::train::AdamW;

    #[test]
    fn the_worst_moment_is_counted() {
        let entry = |name: &str, shape: &[usize]| Entry {
            name: name.to_owned(),
            dtype: Dtype::BF16,
            shape: shape.to_vec(),
        };
        let entries = [entry("double_blocks.0.w", &[1000, 200]), entry("img_in.b", &[800])];
        let need = |settings: &Settings| {
            let form = Form { dtype: settings.save_precision, texts: BTreeMap::new() };
            let saves = Saves::new(settings, &[10, 20, 30, 40]);
            let names = entries.iter().map(|entry| entry.name.as_str());
            let trained = Trained::new(&settings.train_blocks, names).unwrap();
            Need::of(settings, &saves, &form, &entries, &trained)
        };
        let plain = Settings::default();
        let (weights, second) = (401_600, 4 * (1000 + 200 + 800));
        // One checkpoint, which also is the weights of the last state: two states are the most.
        let one = need(&plain);
        assert_eq!((one.checkpoints, one.checkpoint, one.state), (1, weights, weights + second));
        assert_eq!(one.peak, 2 * (weights + second));
        // Of the last two epochs' the oldest goes once the newest is there.
        let kept =
            Settings { save_every_n_epochs: Some(1), save_last_n_epochs: Some(2), ..plain.clone() };
        assert_eq!(need(&kept).checkpoints, 3);
        assert_eq!(need(&kept).peak, 2 * weights + 2 * (weights + second));
        let large = Settings {
            optimizer: OptimizerKind::AdamW(AdamW::default()),
            ema_decay: Some(0.9),
            save_precision: Dtype::F32,
            train_blocks: vec!["double_blocks".to_owned()],
            ..plain
        };
        assert_eq!(need(&large).checkpoint, 2 * 2 * weights);
        assert_eq!(need(&large).state, weights + 12 * 200_000);
    }

    #[test]
    fn a_full_disk_is_told_with_numbers() {
        let folder = StateFolder::new(std::env::temp_dir().join("states").join("none"));
        let need = Need { checkpoints: 2, checkpoint: 1 << 60, state: 1 << 50, peak: 1 << 62 };
        let error = need.check(&folder, 0).unwrap_err().to_string();
        assert!(error.contains("2 checkpoints of 1152921504.6 GB"), "{error}");
        assert!(error.contains("needs 4611686018.4 GB"), "{error}");
        need.check(&folder, 1 << 62).unwrap();
    }
}
