//! Floor 3: fine-tuning a FLUX transformer.
//!
//! [`finetune`] is the loop: batches of cached samples, a flow-matching step ([`flow`]), block-wise
//! backpropagation ([`blockwise`]) that hands each block's gradients to the [`Optimizer`] at once,
//! checkpoints. Every random number is named, not taken in turn, so the result does not depend on the
//! order of work or on a restart. Does not know manifests, the store or the screen.

pub mod blockwise;
pub mod checkpoint;
pub mod flow;
pub mod measure;
pub mod memory;
pub mod network;
pub mod sampling;
pub mod schedule;

mod adafactor;
mod adamw;
mod batches;
mod disk;
mod ema;
mod error;
mod finetune;
mod keeper;
mod optimizer;
mod optimizer_state;
mod planning;
mod prepare;
mod rehearsal;
mod rounding;
mod samples;
mod saves;
mod settings;
mod state;
mod tensors;
mod trained;
mod update;

pub use crate::device::kernels::{Moments, round_stochastically};
pub use adafactor::{Adafactor, AdafactorState};
pub use adamw::{AdamW, AdamWState};
pub use batches::{Appearance, Batch, Batches, Member};
pub use checkpoint::Form;
pub use disk::Need;
pub use ema::Ema;
pub use error::TrainError;
pub use finetune::{Moment, Observer, SampleLoss, StepMetrics, Summary, finetune};
pub use keeper::Place;
pub use optimizer::{Optimizer, OptimizerKind};
pub use planning::{Room, plan, plan_within, refused};
pub use rehearsal::{Rehearsal, RehearsalError};
pub use rounding::Rounding;
pub use samples::{Role, Sample, Samples};
pub use schedule::{LrSchedule, LrScheduler, Steps};
pub use settings::Settings;
pub use state::{Found, Position, State, StateFolder, Training};
pub use trained::Trained;
pub use update::{GradientNorm, Update};
