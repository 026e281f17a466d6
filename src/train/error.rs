//! Why a fine-tuning run ends early.

use std::path::PathBuf;

use miette::Diagnostic;

use super::memory::PlanError;

/// Why a fine-tuning run ends early.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum TrainError {
    /// A loss, or a gradient, is infinite or not a number. The weights before this step are intact.
    #[error("the {what} is {value}")]
    #[diagnostic(
        code(fluxpipe::train::not_finite),
        help("the weights have diverged: lower `learning_rate`, or train in f32")
    )]
    NotFinite {
        /// `loss` or `norm of all gradients`.
        what: &'static str,
        /// What it is.
        value: f64,
        /// Which of the step's samples it is the loss of.
        sample: Option<usize>,
    },
    /// The loss of a sample is infinite or not a number, or the gradient of a step is.
    #[error("step {step} of epoch {epoch} failed: the {what} is {value}{}", told(samples))]
    #[diagnostic(
        code(fluxpipe::train::not_finite),
        help(
            "the last state before this step is kept; lower `learning_rate`, or train in f32. If it is the first steps that fail, look at the pictures: encode them again, or take them out"
        )
    )]
    Diverged {
        /// Optimizer step, counted from 1.
        step: usize,
        /// Epoch, counted from 1.
        epoch: usize,
        /// `loss` or `norm of all gradients`.
        what: &'static str,
        /// What it is.
        value: f64,
        /// Names of the samples that may be at fault, and their noise levels.
        samples: Vec<(String, f32)>,
    },
    /// A step could not be taken.
    #[error("step {step} of epoch {epoch} failed: {source}")]
    #[diagnostic(
        code(fluxpipe::train::step),
        help(
            "the last checkpoint before this step is intact; lower `learning_rate`, or train in f32, if the loss is not finite"
        )
    )]
    Step {
        /// Optimizer step, counted from 1.
        step: usize,
        /// Epoch, counted from 1.
        epoch: usize,
        /// What went wrong.
        #[source]
        source: Box<TrainError>,
    },
    /// A sample does not fit the transformer or its batch.
    #[error("sample {index} does not fit: {reason}")]
    #[diagnostic(
        code(fluxpipe::train::sample),
        help("encode it again with the text encoders and autoencoder of this model")
    )]
    Sample {
        /// Its place in the list of samples.
        index: usize,
        /// What does not fit, in words.
        reason: String,
    },
    /// A sample could not be read.
    #[error("sample {index} cannot be read: {reason}")]
    #[diagnostic(
        code(fluxpipe::train::load),
        help("the cache may be damaged: run the cache stage again")
    )]
    Load {
        /// Its place in the list of samples.
        index: usize,
        /// What went wrong, in words.
        reason: String,
    },
    /// There is nothing to train on.
    #[error("there is no sample to train on")]
    #[diagnostic(
        code(fluxpipe::train::no_samples),
        help("put pictures into the folders of the manifest's [[dataset]] tables")
    )]
    NoSamples,
    /// A setting cannot be used.
    #[error("`{name}` {reason}")]
    #[diagnostic(code(fluxpipe::train::setting), help("change `{name}` in the finetune stage"))]
    Setting {
        /// Its name in the manifest.
        name: &'static str,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// A checkpoint cannot be written.
    #[error("cannot write {path}: {source}")]
    #[diagnostic(
        code(fluxpipe::train::checkpoint),
        help("check the free space and the rights of the output folder, then run again")
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Weights or what the optimizer remembers are infinite or not numbers. Nothing was written over.
    #[error(
        "`{tensor}` holds numbers that are not finite, so no state and no checkpoint is made of it"
    )]
    #[diagnostic(
        code(fluxpipe::train::not_finite),
        help(
            "the last state before is kept: run again to go on from it, with a lower `learning_rate` or in f32"
        )
    )]
    Broken {
        /// Its name.
        tensor: String,
    },
    /// The disk has no room for what the training will write.
    #[error("the training needs {needed} of free disk, and {free} are free: {what}, in {folder}")]
    #[diagnostic(
        code(fluxpipe::train::disk),
        help(
            "free some, keep fewer checkpoints (`save_last_n_epochs`, `save_last_n_steps`), or remove folders of trainings there that shall not go on"
        )
    )]
    Disk {
        /// Where states and checkpoints lie, a folder for each training.
        folder: PathBuf,
        /// Room that is needed, in words.
        needed: String,
        /// Room that there is, in words.
        free: String,
        /// What takes it, in words.
        what: String,
    },
    /// A state to go on from cannot be read.
    #[error("cannot go on from the state in {path}: {source}")]
    #[diagnostic(
        code(fluxpipe::train::state),
        help("mend what the system says, or remove the folder to start over")
    )]
    State {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Weights of a state cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Weights(#[from] crate::weights::WeightsError),
    /// The training does not fit into memory.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Memory(#[from] PlanError),
    /// A picture cannot be drawn.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Sampling(#[from] super::sampling::SamplingError),
    /// The observer asked to stop.
    #[error("stopped after step {steps} of {total}")]
    #[diagnostic(code(fluxpipe::train::cancelled), help("run again to go on from there"))]
    Cancelled {
        /// Optimizer steps taken.
        steps: usize,
        /// Optimizer steps of the whole run.
        total: usize,
    },
}

impl TrainError {
    /// The setting that it is about, by its name in the manifest.
    #[must_use]
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Setting { name, .. } => Some(name),
            Self::Memory(PlanError::Blocks { .. }) => Some("blocks_to_swap"),
            Self::Memory(PlanError::Setting { .. }) => Some("memory"),
            _ => None,
        }
    }
}

/// `: cat.jpg at noise level 0.731, dog.jpg at noise level 0.120`
fn told(samples: &[(String, f32)]) -> String {
    let all = samples.iter().map(|(name, sigma)| format!("{name} at noise level {sigma:.3}"));
    format!(": {}", all.collect::<Vec<_>>().join(", "))
}
