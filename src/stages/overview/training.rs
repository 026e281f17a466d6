//! How a training went: its losses by steps, its speed, the checkpoints that it left, the pictures that it
//! found hardest.

use std::{path::PathBuf, sync::Arc};

use serde::Deserialize;

use super::Jpeg;
use crate::{
    base::{Digest, disk},
    manifest::{self, StageConfig},
    pipeline::{ItemFailure, Output, Plan, StageError},
    stages::{
        Site,
        losses::{self, Found},
    },
};

/// Hardest pictures that are shown.
const HARDEST: usize = 16;

/// A training.
#[derive(Debug, Default)]
pub struct Training {
    /// Name of its stage.
    pub stage: String,
    /// Whether it came to its end with the manifest and pictures as they are now.
    pub finished: bool,
    /// Its steps.
    pub points: Vec<Point>,
    /// Losses on what is held out.
    pub validation: Vec<Validation>,
    /// How fast it was; `None` where nothing is noted of that.
    pub speed: Option<Speed>,
    /// The checkpoints of its output; none before it is finished.
    pub checkpoints: Vec<Checkpoint>,
    /// The pictures with the largest losses beside others', the hardest first.
    pub hardest: Vec<Hard>,
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Step, counted from 1.
    pub step: usize,
    /// The loss of its batch.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
}

/// A loss on what is held out.
#[derive(Clone, Copy, Debug)]
pub struct Validation {
    /// Epoch after which it was measured.
    pub epoch: usize,
    /// Step after which it was measured.
    pub step: usize,
    /// The loss.
    pub loss: f64,
}

/// How fast a training was, by its live metrics.
#[derive(Clone, Debug, Default)]
pub struct Speed {
    /// Step and seconds that it took.
    pub seconds: Vec<(usize, f64)>,
    /// Mean of samples per second.
    pub samples_per_second: f64,
    /// Mean of 10¹² operations per second.
    pub tflops: f64,
    /// Mean share of what the device does at most in matrix products, where it was measured.
    pub share_of_matrix_rate: Option<f64>,
    /// Bytes of memory of the host that were taken at most.
    pub host_memory_peak: u64,
    /// Share of steps that waited for their own computation, for reading, for swapping.
    pub limited_by: [f64; 3],
}

/// A trained model.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where people find it.
    pub path: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// A picture that the model found hard.
#[derive(Debug)]
pub struct Hard {
    /// Its name; `None` where no picture of the manifest is this sample any more.
    pub item: Option<String>,
    /// Its losses by what others have at like noise levels.
    pub relative: f64,
    /// Mean of its losses.
    pub loss: f64,
    /// How often it appeared.
    pub appearances: u64,
    /// Its training text.
    pub caption: Option<String>,
    /// A small copy.
    pub thumbnail: Option<Jpeg>,
}

/// All trainings of which something is known; what cannot be read is named in `missing`.
pub fn trainings(
    site: &Arc<Site>,
    plan: Option<&Plan>,
    missing: &mut Vec<String>,
) -> Vec<Training> {
    let mut trainings = Vec::new();
    for stage in &site.manifest.stages {
        let StageConfig::Finetune(config) = &stage.config else { continue };
        match training(site, plan, &stage.name, config) {
            Ok(training) if training.points.is_empty() => {}
            Ok(training) => trainings.push(training),
            Err(error) => {
                let message = ItemFailure::from(&error).message;
                missing.push(format!("the training {}: {message}", stage.name));
            }
        }
    }
    trainings
}

fn training(
    site: &Arc<Site>,
    plan: Option<&Plan>,
    stage: &str,
    config: &manifest::Finetune,
) -> Result<Training, StageError> {
    let name = config.output_name.as_deref().unwrap_or(&site.manifest.project.name);
    let live = site.output().join("logs").join(name).join("training.jsonl");
    let live = lines(&disk::read_to_string(&live).unwrap_or_default());
    let last = site.store.last_outputs(stage, "model", std::iter::once("model"))?;
    let last = last.into_iter().next().flatten();
    let now = plan.and_then(|plan| plan.stages.iter().find(|now| now.name == stage));
    let finished = last.is_some() && now.is_none_or(|now| now.counts.run == 0);
    let metrics = match last.as_ref().and_then(|output| output.blob("metrics.jsonl")) {
        // What goes on, or broke off, is in the live metrics alone.
        Some(blob) if finished || live.is_empty() => {
            lines(&String::from_utf8_lossy(&site.store.read(blob)?))
        }
        _ => live.clone(),
    };
    let (points, validation) = curve(&metrics);
    let checkpoints = match &last {
        Some(output) if finished => checkpoints(site, name, output),
        _ => Vec::new(),
    };
    let mut training = Training {
        stage: stage.to_owned(),
        finished,
        points,
        validation,
        speed: speed(&live),
        checkpoints,
        hardest: Vec::new(),
    };
    if let Some(plan) = plan.filter(|_| finished)
        && let Found::Losses(found) = losses::without_captions(site, plan, Some(stage), None)?
    {
        let hard = |hard: losses::Hard| Hard {
            item: hard.item,
            relative: hard.relative,
            loss: hard.loss,
            appearances: hard.appearances,
            caption: None,
            thumbnail: None,
        };
        // The others are easier than their like.
        let hardest = found.pictures.into_iter().take_while(|hard| hard.relative > 1.0);
        training.hardest = hardest.take(HARDEST).map(hard).collect();
    }
    Ok(training)
}

fn checkpoints(site: &Site, name: &str, output: &Output) -> Vec<Checkpoint> {
    let models = output.blobs.iter().filter_map(|blob| {
        let rest = blob.name.strip_prefix("model")?.strip_suffix(".safetensors")?;
        let path = site.output().join(format!("{name}{rest}.safetensors"));
        Some(Checkpoint { path, bytes: blob.size, digest: blob.digest })
    });
    models.collect()
}

/// A line of the metrics: a step, or a loss on what is held out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    epoch: usize,
    step: Option<usize>,
    loss: Option<f64>,
    validation_loss: Option<f64>,
    learning_rate: Option<f64>,
    seconds: Option<f64>,
    samples_per_second: Option<f64>,
    tflops: Option<f64>,
    share_of_matrix_rate: Option<f64>,
    host_memory_peak: Option<u64>,
    limited_by: Option<String>,
}

/// The lines of the last training in a log to which every run adds its own: one that goes on from a state
/// takes steps again that were lost, and a new one begins at its first.
fn lines(text: &str) -> Vec<Line> {
    let mut kept = Vec::<Line>::new();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    for mut line in lines {
        let last = kept.last().and_then(|last| last.step);
        match (line.step, line.loss, line.validation_loss) {
            (Some(step), Some(_), _) => {
                if last.is_some_and(|last| step <= last) {
                    let before = |kept: &Line| kept.step.is_some_and(|known| known < step);
                    kept.truncate(kept.partition_point(before));
                }
                kept.push(line);
            }
            (_, _, Some(_)) => {
                line.step = line.step.or(last).or(Some(0));
                kept.push(line);
            }
            _ => {}
        }
    }
    kept
}

fn curve(lines: &[Line]) -> (Vec<Point>, Vec<Validation>) {
    let point = |line: &Line| {
        Some(Point {
            epoch: line.epoch,
            step: line.step?,
            loss: line.loss?,
            learning_rate: line.learning_rate.unwrap_or(0.0),
        })
    };
    let validation = |line: &Line| {
        let (step, loss) = (line.step?, line.validation_loss?);
        Some(Validation { epoch: line.epoch, step, loss })
    };
    (lines.iter().filter_map(point).collect(), lines.iter().filter_map(validation).collect())
}

fn speed(lines: &[Line]) -> Option<Speed> {
    let steps = lines.iter().filter(|line| line.loss.is_some()).collect::<Vec<_>>();
    let mean = |value: fn(&Line) -> Option<f64>| {
        let values = steps.iter().filter_map(|line| value(line)).collect::<Vec<_>>();
        let sum = values.iter().sum::<f64>();
        (!values.is_empty()).then(|| sum / values.len() as f64)
    };
    let seconds = steps.iter().filter_map(|line| Some((line.step?, line.seconds?)));
    let seconds = seconds.collect::<Vec<_>>();
    if seconds.is_empty() {
        return None;
    }
    let limited = |by: &str| {
        let limited = steps.iter().filter(|line| line.limited_by.as_deref() == Some(by)).count();
        limited as f64 / steps.len() as f64
    };
    Some(Speed {
        samples_per_second: mean(|line| line.samples_per_second).unwrap_or(0.0),
        tflops: mean(|line| line.tflops).unwrap_or(0.0),
        share_of_matrix_rate: mean(|line| line.share_of_matrix_rate),
        host_memory_peak: steps.iter().filter_map(|line| line.host_memory_peak).max().unwrap_or(0),
        limited_by: ["compute", "reading", "swapping"].map(limited),
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, loss: f64) -> String {
        format!("{{\"epoch\":1,\"step\":{step},\"loss\":{loss},\"seconds\":0.5}}\n")
    }

    #[test]
    fn the_last_training_of_a_log_is_told() {
        let validated = "{\"epoch\":1,\"validation_loss\":0.7}\n";
        let first = step(1, 9.0) + &step(2, 8.0);
        let second = step(1, 4.0) + &step(2, 3.0) + validated + &step(3, 2.0);
        // It goes on from its second step, before which nothing is lost.
        let resumed = step(3, 2.5) + "no json\n" + &step(4, 1.5);
        let lines = lines(&(first + &second + &resumed));
        let (points, validation) = curve(&lines);
        let losses = points.iter().map(|point| point.loss).collect::<Vec<_>>();
        assert_eq!(losses, [4.0, 3.0, 2.5, 1.5]);
        assert_eq!(validation.iter().map(|it| (it.step, it.loss)).collect::<Vec<_>>(), [(2, 0.7)]);
        let speed = speed(&lines).unwrap();
        assert_eq!(speed.seconds.len(), 4);
        assert_eq!(speed.limited_by, [0.0; 3]);
        assert!(super::speed(&[]).is_none());
    }
}
