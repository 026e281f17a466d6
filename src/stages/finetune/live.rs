//! What a person can follow while a training runs: JSON lines and events for TensorBoard in the output
//! folder. They hold times, so they are no part of an output.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use burn::tensor::{Device, FloatDType};
use serde_json::json;

use super::events::Events;
use crate::{
    base::{clock, disk},
    device,
    train::StepMetrics,
};

/// So long a training has run before the device's rate is measured, which takes moments.
const WORTHWHILE: f64 = 60.0;
/// Share of a step that waiting may take before it is what limits it.
const LIMITS: f64 = 0.3;
/// How much of itself the smoothed loss keeps at a step.
const SMOOTHING: f64 = 0.98;

/// Where live metrics go, and on what is trained.
pub struct Place {
    /// Of the JSON lines; those of earlier runs stay.
    pub lines: PathBuf,
    /// Of the event files; one for each run.
    pub logs: PathBuf,
    pub device: Device,
    pub weights: FloatDType,
}

/// Live metrics of a run.
pub struct Live {
    place: Place,
    open: Option<(disk::File, Events)>,
    begun: Instant,
    matrix_rate: Option<f64>,
    smoothed: Option<f64>,
    memory_peak: u64,
    /// The losses of the epoch so far: epoch, sum and number.
    epoch: (usize, f64, usize),
}

impl Live {
    pub fn new(place: Place) -> Self {
        let (begun, epoch) = (Instant::now(), (0, 0.0, 0));
        Self { place, open: None, begun, matrix_rate: None, smoothed: None, memory_peak: 0, epoch }
    }

    /// The smoothed loss: a mean of which older steps are forgotten.
    pub fn smoothed(&self) -> Option<f64> {
        self.smoothed
    }

    /// Notes a step.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn step(&mut self, metrics: &StepMetrics) -> io::Result<()> {
        let smoothed = match self.smoothed {
            Some(old) => SMOOTHING * old + (1.0 - SMOOTHING) * metrics.loss,
            None => metrics.loss,
        };
        self.smoothed = Some(smoothed);
        self.memory_peak = self.memory_peak.max(device::memory::own().unwrap_or(0));
        if self.matrix_rate.is_none() && self.begun.elapsed().as_secs_f64() > WORTHWHILE {
            self.matrix_rate = Some(self.measure());
        }
        let rate = metrics.operations / metrics.seconds;
        let share = self.matrix_rate.map(|most| rate / most);
        let samples = metrics.samples.len() as f64 / metrics.seconds;
        let limit = limit(metrics);
        let line = json!({
            "time": clock::now().to_string(), "epoch": metrics.epoch, "step": metrics.step,
            "loss": metrics.loss, "smoothed_loss": smoothed,
            "learning_rate": metrics.learning_rate, "grad_norm": metrics.grad_norm,
            "seconds": metrics.seconds, "seconds_reading": metrics.reading,
            "seconds_swapping": metrics.swapping,
            "samples_per_second": samples, "tflops": rate / 1e12, "share_of_matrix_rate": share,
            "host_memory_peak": self.memory_peak, "limited_by": limit,
        });
        let mut scalars = vec![
            ("loss", metrics.loss),
            ("loss/average", smoothed),
            ("lr/unet", metrics.learning_rate),
            ("speed/seconds_per_step", metrics.seconds),
            ("speed/samples_per_second", samples),
            ("speed/tflops", rate / 1e12),
            ("speed/seconds_reading", metrics.reading),
            ("speed/seconds_swapping", metrics.swapping),
            ("memory/host_peak", self.memory_peak as f64),
        ];
        scalars.extend(metrics.grad_norm.map(|norm| ("grad_norm", norm)));
        scalars.extend(share.map(|share| ("speed/share_of_matrix_rate", share)));
        self.end_epoch_before(metrics)?;
        let (lines, events) = self.files()?;
        lines.write_all(format!("{line}\n").as_bytes())?;
        events.scalars(metrics.step as u64, &scalars)
    }

    /// Notes the loss on what is held out.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn validated(&mut self, epoch: usize, loss: f64) -> io::Result<()> {
        let line = json!({
            "time": clock::now().to_string(), "epoch": epoch, "validation_loss": loss,
        });
        let (lines, events) = self.files()?;
        lines.write_all(format!("{line}\n").as_bytes())?;
        events.scalars(epoch as u64, &[("loss/validation", loss)])
    }

    /// Ends the last epoch.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.end_epoch()
    }

    fn end_epoch_before(&mut self, metrics: &StepMetrics) -> io::Result<()> {
        let (epoch, sum, count) = self.epoch;
        if epoch == metrics.epoch {
            self.epoch = (epoch, sum + metrics.loss, count + 1);
            return Ok(());
        }
        let ended = self.end_epoch();
        self.epoch = (metrics.epoch, metrics.loss, 1);
        ended
    }

    /// Notes the mean loss of an epoch, as far as this run took its steps.
    fn end_epoch(&mut self) -> io::Result<()> {
        let (epoch, sum, count) = self.epoch;
        if count == 0 {
            return Ok(());
        }
        let mean = sum / count as f64;
        self.files()?.1.scalars(epoch as u64, &[("loss/epoch", mean)])
    }

    fn files(&mut self) -> io::Result<&mut (disk::File, Events)> {
        if self.open.is_none() {
            let Place { lines, logs, .. } = &self.place;
            if let Some(folder) = lines.parent() {
                disk::create_folder(folder)?;
            }
            let lines = disk::File::append(lines)?;
            self.open = Some((lines, Events::begin(logs)?));
        }
        self.open.as_mut().ok_or_else(|| io::Error::other("the files are open"))
    }

    fn measure(&self) -> f64 {
        match device::is_cpu(&self.place.device) {
            true => device::rates::matrix_rate(&self.place.device, FloatDType::F32, 1024),
            false => device::rates::matrix_rate(&self.place.device, self.place.weights, 8192),
        }
    }
}

/// What a step mostly waited for: samples to be read, swapped blocks, or its own computation.
fn limit(metrics: &StepMetrics) -> &'static str {
    let StepMetrics { reading, swapping, seconds, .. } = metrics;
    match () {
        () if reading.max(*swapping) < LIMITS * seconds => "compute",
        () if reading > swapping => "reading",
        () => "swapping",
    }
}
