//! Watches a training for the stage: what the screen shows, the metrics, and the checkpoints that people
//! see while it goes on. Knows nothing of how a step is taken.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    pipeline::{StageError, Work},
    train::{Observer, Position, StepMetrics},
};

/// Watches the trainer: progress for the screen, one line of metrics per step, checkpoints in the output
/// folder. What goes into the output holds no times, so that equal runs give equal outputs.
pub struct Journal<'a> {
    work: &'a mut dyn Work,
    /// The file of a checkpoint in the output folder, by what stands behind the chosen name.
    published: Box<dyn Fn(&str) -> PathBuf + 'a>,
    metrics: String,
    /// Step and steps of the run, and the last loss on what is held out.
    progress: (u64, u64),
    validation_loss: Option<f64>,
}

impl<'a> Journal<'a> {
    /// Of a training of so many steps.
    pub fn new(
        work: &'a mut dyn Work,
        total: usize,
        published: impl Fn(&str) -> PathBuf + 'a,
    ) -> Self {
        Self {
            work,
            published: Box::new(published),
            metrics: String::new(),
            progress: (0, total as u64),
            validation_loss: None,
        }
    }

    /// The metrics: JSON lines.
    pub fn finish(self) -> String {
        self.metrics
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
        self.progress.0 = metrics.step as u64;
        self.work.step(0, self.progress.0, self.progress.1, &note);
    }

    fn validated(&mut self, epoch: usize, loss: f64) {
        let (step, total) = self.progress;
        let line = serde_json::json!({ "epoch": epoch, "step": step, "validation_loss": loss });
        self.metrics += &format!("{line}\n");
        self.validation_loss = Some(loss);
        self.work.step(0, step, total, &format!("epoch {epoch}: validation loss {loss:.4}"));
    }

    fn remember(&self) -> Vec<u8> {
        self.metrics.clone().into_bytes()
    }

    fn recall(&mut self, position: Position, remembered: &[u8]) -> io::Result<()> {
        self.metrics = String::from_utf8(remembered.to_vec()).map_err(io::Error::other)?;
        self.progress.0 = position.steps as u64;
        self.work.resumed(0, self.progress.0, self.progress.1);
        self.work.step(0, self.progress.0, self.progress.1, "");
        Ok(())
    }

    fn checkpoint(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let to = (self.published)(name);
        self.work.show(path, &to).map_err(|error| in_words(&error))
    }

    fn superseded(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let to = (self.published)(name);
        self.work.take_back(path, &to).map_err(|error| in_words(&error))
    }

    fn saved(&mut self, position: Position) {
        self.work.saved(0, position.steps as u64, self.progress.1);
    }

    fn cancelled(&self) -> bool {
        self.work.cancelled()
    }
}

fn in_words(error: &StageError) -> io::Error {
    io::Error::other(crate::pipeline::ItemFailure::from(error).message)
}
