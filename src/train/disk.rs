//! Whether the disk has room for what a training will write, asked before its first step.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::FloatDType;

use super::{
    Settings, TrainError, checkpoint::Form, optimizer::OptimizerKind, saves::Saves,
    state::StateFolder, trained::Trained,
};
use crate::{
    base::disk_free,
    models::flux::FluxConfig,
    weights::{Dtype, Entry, file_size},
};

/// What a training writes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Checkpoints that are there at the same time.
    pub checkpoints: u64,
    /// One of them, with its moving average.
    pub checkpoint: u64,
    /// A state. Two are there while the newer one is written.
    pub state: u64,
    /// Of all at the worst moment.
    pub peak: u64,
    /// What is there when it is done, but for metrics.
    pub stays: u64,
}

impl Need {
    /// Of a training of a transformer of these sizes, whose epochs end after so many steps.
    ///
    /// # Errors
    /// A setting does not fit the transformer.
    pub fn of_training(
        config: &FluxConfig,
        settings: &Settings,
        form: &Form,
        epoch_ends: &[usize],
    ) -> Result<Self, TrainError> {
        let dtype = if settings.weights == FloatDType::BF16 { Dtype::BF16 } else { Dtype::F32 };
        let parameters = config.parameters().into_iter();
        let entries = parameters.map(|(name, shape)| Entry { name, dtype, shape });
        let entries = entries.collect::<Vec<_>>();
        let names = entries.iter().map(|entry| entry.name.as_str());
        let trained = Trained::new(&settings.train_blocks, names)?;
        let saves = Saves::new(settings, epoch_ends);
        Ok(Self::of(settings, &saves, form, &entries, &trained))
    }

    /// Of a training of a network with these tensors.
    pub(super) fn of(
        settings: &Settings,
        saves: &Saves,
        form: &Form,
        entries: &[Entry],
        trained: &Trained,
    ) -> Self {
        let stepped = || entries.iter().filter(|entry| trained.contains(&entry.name));
        let none = BTreeMap::new();
        let averages = settings.ema_decay.map_or(0, |_| {
            let name = |entry: &Entry| format!("ema:{}", entry.name);
            let each = |entry: &Entry| Entry {
                name: name(entry),
                dtype: Dtype::F32,
                shape: entry.shape.clone(),
            };
            file_size(&stepped().map(each).collect::<Vec<_>>(), &none)
        });
        let memory = stepped().flat_map(|entry| remembered(&settings.optimizer, entry));
        let optimizer = file_size(&memory.collect::<Vec<_>>(), &none);
        let weights = file_size(entries, &none);
        let copies = 1 + u64::from(settings.ema_decay.is_some());
        let of_form = |entry: &Entry| Entry { dtype: form.dtype, ..entry.clone() };
        let checkpoint =
            copies * file_size(&entries.iter().map(of_form).collect::<Vec<_>>(), &form.texts);
        let checkpoints = saves.most() as u64;
        let state = weights + optimizer + averages;
        // A checkpoint that holds the very weights serves the state that is written with it.
        let exact =
            entries.iter().all(|entry| entry.dtype == Dtype::BF16 || entry.dtype == form.dtype);
        let last = if exact { state - weights } else { state };
        let between = checkpoints.saturating_sub(1) * checkpoint + 2 * state;
        let peak = between.max(checkpoints * checkpoint + state + last);
        let result = saves.result().map(|due| due.steps).collect::<BTreeSet<_>>();
        let kept = if settings.keep_state { last } else { 0 };
        let stays = result.len() as u64 * checkpoint + kept;
        Self { checkpoints, checkpoint, state, peak, stays }
    }

    /// Compares it with what is free where `folder` lies. `there` bytes of it are there already.
    pub(super) fn check(&self, folder: &StateFolder, there: u64) -> Result<(), TrainError> {
        let needed = self.peak.saturating_sub(there);
        match disk_free(folder.path()) {
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

/// What an optimizer remembers of a tensor, as it writes it.
fn remembered(optimizer: &OptimizerKind, entry: &Entry) -> Vec<Entry> {
    let elements = entry.shape.iter().product::<usize>();
    let of =
        |state: &str, dtype, shape| Entry { name: format!("{state}:{}", entry.name), dtype, shape };
    let flat = |state: &str| of(state, Dtype::F32, vec![elements]);
    let mut all = vec![of("step", Dtype::I64, vec![1])];
    match optimizer {
        OptimizerKind::AdamW(_) => all.extend([flat("exp_avg"), flat("exp_avg_sq")]),
        OptimizerKind::Adafactor(adafactor) => {
            match entry.shape[..] {
                [ref stack @ .., rows, columns] => {
                    let stack = stack.iter().product::<usize>();
                    let table = |state: &str, width| of(state, Dtype::F32, vec![stack, width]);
                    all.extend([table("exp_avg_sq_row", rows), table("exp_avg_sq_col", columns)]);
                }
                _ => all.push(flat("exp_avg_sq")),
            }
            all.extend(adafactor.beta1.map(|_| flat("exp_avg")));
        }
    }
    all
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
        // Headers stand before the tensors.
        let plain_file = |dtype| {
            let of = |entry: &Entry| Entry { dtype, ..entry.clone() };
            file_size(&entries.each_ref().map(of), &BTreeMap::new())
        };
        let weights = plain_file(Dtype::BF16);
        assert_eq!(weights - weights % 1000, 401_000);
        let optimizer = need(&plain).state - weights;
        assert!((8000 + 16..8000 + 1000).contains(&optimizer), "{optimizer}");
        let second = optimizer;
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
        assert_eq!(need(&large).checkpoint, 2 * plain_file(Dtype::F32));
        let more = need(&large).state - weights - 12 * 200_000;
        assert!(more < 1000, "{more}");
        assert_eq!(need(&large).stays, need(&large).checkpoint + need(&large).state - weights);
    }

    #[test]
    fn a_full_disk_is_told_with_numbers() {
        let folder = StateFolder::new(std::env::temp_dir().join("states").join("none"));
        let need =
            Need { checkpoints: 2, checkpoint: 1 << 60, state: 1 << 50, peak: 1 << 62, stays: 0 };
        let error = need.check(&folder, 0).unwrap_err().to_string();
        assert!(error.contains("2 checkpoints of 1152921504.6 GB"), "{error}");
        assert!(error.contains("needs 4611686018.4 GB"), "{error}");
        need.check(&folder, 1 << 62).unwrap();
    }
}
