//! Watches a training for the stage: what the screen shows, the metrics, and where checkpoints go. Knows
//! nothing of how a step is taken.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    base::Digest,
    pipeline::{Draft, StageError, Work},
    train::{CheckpointPlace, Observer, StepMetrics},
};

/// Watches the trainer: progress for the screen, one line of metrics per step, places for
/// checkpoints. What goes into the output holds no times, so that equal runs give equal outputs.
pub struct Journal<'a> {
    work: &'a mut dyn Work,
    folder: PathBuf,
    provenance: BTreeMap<String, String>,
    metrics: String,
    checkpoints: Vec<(String, PathBuf)>,
    epochs: usize,
    /// Step and steps of the run, and the last loss on what is held out.
    progress: (u64, u64),
    validation_loss: Option<f64>,
}

impl<'a> Journal<'a> {
    /// `metadata` goes into the headers of all checkpoints.
    pub fn new(
        work: &'a mut dyn Work,
        model: Digest,
        metadata: BTreeMap<String, String>,
        epochs: usize,
    ) -> Result<Self, StageError> {
        let folder = work.scratch(0)?;
        let samples = work.items().first().and_then(|item| item.parts.first()?.value.clone());
        let samples = samples.map(|list| ("fluxpipe.samples".to_owned(), list.digest().hex()));
        let mut provenance = metadata;
        provenance.insert("fluxpipe.base_model".to_owned(), model.hex());
        provenance.extend(samples);
        Ok(Self {
            work,
            folder,
            provenance,
            metrics: String::new(),
            checkpoints: Vec::new(),
            epochs,
            progress: (0, 0),
            validation_loss: None,
        })
    }

    pub fn finish(self) -> Draft {
        let draft = Draft::bytes("metrics.jsonl", self.metrics);
        self.checkpoints.into_iter().fold(draft, |draft, (name, path)| draft.and_file(&name, path))
    }
}

impl Observer for Journal<'_> {
    fn step(&mut self, metrics: &StepMetrics) {
        let line = serde_json::json!({
            "epoch": metrics.epoch, "step": metrics.step, "loss": metrics.loss,
            "learning_rate": metrics.learning_rate, "grad_norm": metrics.grad_norm,
        });
        self.metrics += &format!("{line}\n");
        let held_out = self.validation_loss.map(|loss| format!(" (validation {loss:.4})"));
        let held_out = held_out.unwrap_or_default();
        let note = format!("loss {:.4}{held_out}, {:.2} s a step", metrics.loss, metrics.seconds);
        self.progress = (metrics.step as u64, metrics.total_steps as u64);
        self.work.step(0, self.progress.0, self.progress.1, &note);
    }

    fn validated(&mut self, epoch: usize, loss: f64) {
        let (step, total) = self.progress;
        let line = serde_json::json!({ "epoch": epoch, "step": step, "validation_loss": loss });
        self.metrics += &format!("{line}\n");
        self.validation_loss = Some(loss);
        self.work.step(0, step, total, &format!("epoch {epoch}: validation loss {loss:.4}"));
    }

    fn checkpoint(&mut self, epoch: usize) -> Result<Option<CheckpointPlace>, std::io::Error> {
        let name = match epoch == self.epochs {
            true => "model.safetensors".to_owned(),
            false => format!("model-{epoch:06}.safetensors"),
        };
        let path = self.folder.join(&name);
        self.checkpoints.push((name, path.clone()));
        Ok(Some(CheckpointPlace { path, provenance: self.provenance.clone() }))
    }

    fn cancelled(&self) -> bool {
        self.work.cancelled()
    }
}
