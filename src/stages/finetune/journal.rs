//! Watches a training for the stage: what the screen shows, the metrics, and the checkpoints that people
//! see while it goes on. Knows nothing of how a step is taken.

use std::{
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use super::{
    drawings::Drawings,
    live::{Live, Place},
    losses::{Losses, Remembered},
};
use crate::{
    base::plural,
    pipeline::{StageError, Warning, Work},
    train::{Moment, Observer, Position, StepMetrics, network::Network},
};

/// Watches the trainer: progress for the screen, one line of metrics per step, checkpoints in the output
/// folder. What goes into the output holds no times, so that equal runs give equal outputs.
pub struct Journal<'a> {
    work: &'a mut dyn Work,
    /// The file of a checkpoint in the output folder, by what stands behind the chosen name.
    published: Box<dyn Fn(&str) -> PathBuf + 'a>,
    /// What takes as long as a step that begins with the sample of this index.
    class: Box<dyn Fn(usize) -> String + 'a>,
    metrics: String,
    losses: Losses,
    drawings: Option<Drawings>,
    live: Live,
    live_failed: bool,
    begun: Option<(Instant, u64)>,
    /// Step and steps of the run, and the last loss on what is held out.
    progress: (u64, u64),
    validation_loss: Option<f64>,
}

impl<'a> Journal<'a> {
    /// Of a training of so many steps.
    pub fn new(
        work: &'a mut dyn Work,
        total: usize,
        live: Place,
        drawings: Option<Drawings>,
        published: impl Fn(&str) -> PathBuf + 'a,
        class: impl Fn(usize) -> String + 'a,
    ) -> Self {
        Self {
            work,
            published: Box::new(published),
            class: Box::new(class),
            metrics: String::new(),
            losses: Losses::default(),
            drawings,
            live: Live::new(live),
            live_failed: false,
            begun: None,
            progress: (0, total as u64),
            validation_loss: None,
        }
    }

    /// The metrics and the losses of samples: JSON lines.
    pub fn finish(mut self) -> (String, String) {
        let written = self.live.finish();
        self.tell_once(written);
        (self.metrics, self.losses.finish())
    }

    /// A training does not end because nobody can follow it.
    fn tell_once(&mut self, written: io::Result<()>) {
        let Err(error) = written else { return };
        if !std::mem::replace(&mut self.live_failed, true) {
            self.work.warn(Warning {
                code: "fluxpipe::finetune::live_metrics".to_owned(),
                message: format!("live metrics cannot be written: {error}"),
                help: Some(
                    "the training goes on; look at the rights and space of the output folder"
                        .to_owned(),
                ),
                items: 0,
                examples: Vec::new(),
            });
        }
    }

    /// What is left at the pace so far, in words.
    fn left(&mut self) -> String {
        let (step, total) = self.progress;
        let (begun, from) = *self.begun.get_or_insert((Instant::now(), step));
        if step <= from {
            return String::new();
        }
        let pace = begun.elapsed().as_secs_f64() / (step - from) as f64;
        let seconds = (pace * total.saturating_sub(step) as f64) as usize;
        let left = match seconds {
            0..60 => plural(seconds, "second"),
            60..3600 => plural(seconds / 60, "minute"),
            _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        };
        format!(", {left} left")
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
        self.losses.add(metrics.epoch, &metrics.samples);
        if let Some(first) = metrics.samples.first() {
            let class = (self.class)(first.appearance.index);
            self.work.took(0, &class, 1, metrics.seconds);
        }
        let written = self.live.step(metrics);
        self.tell_once(written);
        self.progress.0 = metrics.step as u64;
        let loss = self.live.smoothed().unwrap_or(metrics.loss);
        let left = self.left();
        let note = format!("loss {loss:.4}{held_out}, {:.2} s a step{left}", metrics.seconds);
        self.work.step(0, self.progress.0, self.progress.1, &note);
    }

    fn validated(&mut self, epoch: usize, loss: f64) {
        let (step, total) = self.progress;
        let line = serde_json::json!({ "epoch": epoch, "step": step, "validation_loss": loss });
        self.metrics += &format!("{line}\n");
        let written = self.live.validated(epoch, loss);
        self.tell_once(written);
        self.validation_loss = Some(loss);
        self.work.step(0, step, total, &format!("epoch {epoch}: validation loss {loss:.4}"));
    }

    fn moment(&mut self, network: &mut Network, moment: Moment) -> bool {
        let Some(drawings) = &mut self.drawings else { return true };
        drawings.draw(network, moment, self.progress.1, self.work)
    }

    fn remember(&self) -> Vec<u8> {
        let kept = Kept { metrics: self.metrics.clone(), losses: self.losses.remember() };
        serde_json::to_vec(&kept).expect("invariant: texts and numbers are JSON")
    }

    fn recall(&mut self, position: Position, remembered: &[u8]) -> io::Result<()> {
        let kept: Kept = serde_json::from_slice(remembered)?;
        self.metrics = kept.metrics;
        self.losses = Losses::recall(kept.losses)
            .ok_or_else(|| io::Error::other("the state names a sample by no digest"))?;
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

/// What the journal has gathered, between two runs.
#[derive(Serialize, Deserialize)]
struct Kept {
    metrics: String,
    losses: Remembered,
}

fn in_words(error: &StageError) -> io::Error {
    io::Error::other(crate::pipeline::ItemFailure::from(error).message)
}
