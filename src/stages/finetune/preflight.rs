//! Before a run: the training takes one step, saves once and loads what it saved, before hours go into what
//! it will read. What was tried with a model, size, device and settings is not tried again.

use super::{
    Finetune, TEXT_TOKENS, cost,
    notes::{CELL, members},
    settings,
    states::{Line, Start},
};
use crate::{
    base::{Digest, Value, bytes, clock::Stopwatch},
    device,
    models::flux::FluxConfig,
    pipeline::{Decision, Preflight, StageError, Store, Upstream},
    train::{self, Member, Need, Rehearsal, RehearsalError, Settings, TrainError},
    weights::Checkpoint,
};

/// The fact that a training was rehearsed.
const REHEARSED: &str = "rehearsed";

/// Rehearses the training that is to run, unless it goes on from a state.
///
/// # Errors
/// The training would fail.
pub fn preflight(
    stage: &Finetune,
    decisions: &[Decision],
    upstream: &Upstream<'_>,
    store: &Store,
    look: &mut dyn Preflight,
) -> Result<(), StageError> {
    let Some(decision) = decisions.iter().find(|one| one.runs()) else { return Ok(()) };
    let members = members(stage, upstream, store)?;
    let sizes = members.iter().map(|member| member.size);
    let Some(size) = sizes.max_by_key(|&(height, width)| (height * width, width)) else {
        return Ok(());
    };
    let settings = settings::of(&stage.config);
    let line = Line::of(stage, &settings, &decision.spec, &members)?;
    if line.is_some_and(|line| matches!(line.start(store), Start::On(_))) {
        return Ok(());
    }
    let chosen = device::choose(&stage.site.device)?;
    let key = key(stage, size, &device::title(&chosen))?;
    match store.fact(REHEARSED, &key, || rehearse(stage, &members, &settings, size, &key, look)) {
        // What was tried is a fact also where the rest of the run fails.
        Ok(_) => Ok(store.save_facts()?),
        Err(Failed::Cancelled) => Ok(()),
        Err(Failed::With(error)) => Err(error),
    }
}

/// Why there is no fact.
enum Failed {
    Cancelled,
    With(StageError),
}

impl<E: Into<StageError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::With(error.into())
    }
}

/// Takes the step; how many seconds all of it took.
fn rehearse(
    stage: &Finetune,
    members: &[Member],
    settings: &Settings,
    size: (usize, usize),
    key: &Digest,
    look: &mut dyn Preflight,
) -> Result<Vec<u64>, Failed> {
    let device = device::choose(&stage.site.device)?.device;
    let model = Checkpoint::open(&stage.model)?;
    let (config, _) = FluxConfig::detect(&model)?;
    let plan = train::plan(&config, settings, members, TEXT_TOKENS, &device)?;
    let form = cost::expected_form(stage, settings);
    let saved = Need::of_training(&config, settings, &form, &[1])?;
    let files = Checkpoint::files(&stage.model)?.into_iter();
    let loaded = files.filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len());
    look.tell(&format!(
        "one training step at {}×{}: loads {}, saves {} and reads that again, once for this model, \
         size and device (`--no-preflight` or `preflight = false` leave it out)",
        size.1 * CELL,
        size.0 * CELL,
        bytes(loaded.sum()),
        bytes(saved.state.max(saved.checkpoint)),
    ));
    let clock = Stopwatch::start();
    let rehearsal = Rehearsal {
        model: &model,
        config: &config,
        settings,
        size,
        text_tokens: TEXT_TOKENS,
        plan,
        device: &device,
        cancelled: &|| look.cancelled(),
    };
    match rehearsal.run(&stage.site.store.state_folder(key)) {
        Err(RehearsalError::Training(TrainError::Cancelled { .. })) => {
            return Err(Failed::Cancelled);
        }
        outcome => outcome?,
    }
    device::memory::give_back();
    let seconds = clock.seconds();
    look.tell(&format!("the training step, its save and its reload took {seconds:.1} s"));
    Ok(vec![seconds.ceil() as u64])
}

/// What decides whether the step works: the network, what it is asked to do, and where.
fn key(stage: &Finetune, size: (usize, usize), device: &str) -> Result<Digest, StageError> {
    let model = stage.site.model("flux", &stage.model)?.value.unwrap_or(Value::None);
    let class = cost::class(&stage.config, size);
    let saved = format!("{:?}", stage.config.save_precision);
    let texts = [class.as_str(), &saved, device].map(|text| Value::Text(text.to_owned()));
    Ok(Value::List([vec![model], texts.to_vec()].concat()).digest())
}
