//! What a training will take: checkpoints and state on the disk, memory by shapes, steps by size.

use super::{
    Finetune, TEXT_TOKENS,
    notes::{CELL, members},
    settings,
    states::{Line, Start},
};
use crate::{
    device,
    manifest::{self, GradientCheckpointing, Memory},
    models::flux::FluxConfig,
    pipeline::{Amount, Cost, Decision, REST, Smaller, StageError, Store, Upstream},
    stages::sample::largest_png,
    train::{
        self, Batches, Form, Member, Need, Room, Settings, TrainError,
        memory::{Free, Plan},
    },
    weights::{Checkpoint, Dtype},
};

/// Bytes of metrics and losses of a step, and of a sample in an epoch; the state has them once more.
const OF_STEP: u64 = 2 * 130;
const OF_SAMPLE: u64 = 2 * 180;

/// The cost of a training that is to run.
///
/// # Errors
/// No plan of memory fits into what the machine has, or a file cannot be read.
pub fn cost(
    stage: &Finetune,
    decisions: &[Decision],
    upstream: &Upstream<'_>,
    store: &Store,
) -> Result<Cost, StageError> {
    let members = members(stage, upstream, store)?;
    let detected = Checkpoint::open(&stage.model).ok();
    let detected = detected.and_then(|file| FluxConfig::detect(&file).ok());
    let (Some(decision), Some((config, _)), false) =
        (decisions.iter().find(|one| one.runs()), detected, members.is_empty())
    else {
        return Ok(Cost::default());
    };
    let settings = settings::of(&stage.config);
    let line = Line::of(stage, &settings, &decision.spec, &members)?;
    let form = match &line {
        Some(line) => line.place(store).form,
        None => expected_form(stage, &settings),
    };
    let there = line.as_ref().map_or(0, |line| match line.start(store) {
        Start::On(place) => place.folder.size().unwrap_or_default(),
        Start::Anew | Start::Over(_) => 0,
    });
    let need = |settings: &Settings| {
        let ends = epoch_ends(settings, &members);
        let form = Form { dtype: settings.save_precision, ..form.clone() };
        let metrics = OF_STEP * ends.last().copied().unwrap_or_default() as u64
            + OF_SAMPLE * (settings.max_train_epochs * members.len()) as u64;
        Need::of_training(&config, settings, &form, &ends).map(|need| Need {
            peak: need.peak + metrics,
            stays: need.stays + metrics,
            ..need
        })
    };
    let own = need(&settings)?;
    let plan = plan(stage, &config, &settings, &members)?;
    let drawn = drawings(stage, &epoch_ends(&settings, &members));
    let scratch = plan.as_ref().map_or(0, |plan| plan.takes.scratch);
    let on_cpu = on_cpu(stage);
    let smaller = smaller(&settings).into_iter().filter_map(|(setting, settings)| {
        let peak_bytes = need(&settings).ok()?.peak.saturating_sub(there) + drawn + scratch;
        Some(Smaller { setting, peak_bytes })
    });
    let takes = plan.map(|plan| plan.takes);
    Ok(Cost {
        bytes: own.stays.saturating_sub(there) + drawn,
        at_most: drawn > 0,
        peak_bytes: own.peak.saturating_sub(there) + drawn + scratch,
        host_memory: takes.map(|takes| if on_cpu { takes.device } else { takes.host }),
        device_memory: takes.filter(|_| !on_cpu).map(|takes| takes.device),
        smaller: smaller.collect(),
    })
}

fn epoch_ends(settings: &Settings, members: &[Member]) -> Vec<usize> {
    let batches = Batches::of(members, settings.train_batch_size, settings.seed);
    batches.epoch_ends(settings.max_train_epochs, settings.gradient_accumulation_steps)
}

fn on_cpu(stage: &Finetune) -> bool {
    device::choose(&stage.site.device).is_ok_and(|it| device::is_cpu(&it.device))
}

/// The plan that will be chosen, if there is room for it now; else one that fits when others have ended.
/// `None` where nothing is known of the device.
///
/// # Errors
/// Nothing fits into what the machine has.
fn plan(
    stage: &Finetune,
    config: &FluxConfig,
    settings: &Settings,
    members: &[Member],
) -> Result<Option<Plan>, TrainError> {
    let Ok(chosen) = device::choose(&stage.site.device) else { return Ok(None) };
    let Some(total) = device::total_memory(&chosen.device) else { return Ok(None) };
    let on_cpu = device::is_cpu(&chosen.device);
    let host = device::total_memory(&device::cpu()).unwrap_or(u64::MAX);
    let within = |device, host| {
        let room = Room { on_cpu, free: Free { device, host } };
        train::plan_within(config, settings, members, TEXT_TOKENS, room)
    };
    let free = device::memory::free();
    let now = within(if on_cpu { free } else { total }, free);
    now.or_else(|_| within(total, host)).map(Some)
}

/// Header texts of checkpoints whose samples are not made yet, in their length.
pub(super) fn expected_form(stage: &Finetune, settings: &Settings) -> Form {
    let mut texts = settings::metadata(&stage.config);
    let unknown = crate::base::Digest::of(b"").hex();
    for name in ["fluxpipe.base_model", "fluxpipe.samples", "fluxpipe.training"] {
        texts.insert(name.to_owned(), unknown.clone());
    }
    Form { dtype: settings.save_precision, texts }
}

/// Pictures that are drawn while it trains, if they cannot be compressed.
fn drawings(stage: &Finetune, epoch_ends: &[usize]) -> u64 {
    let (Some(config), Some(prompts)) = (&stage.config.samples, &stage.prompts) else { return 0 };
    let each = prompts.pictures.iter().map(|wanted| largest_png(wanted.width, wanted.height));
    super::drawings::times(config, epoch_ends) as u64 * each.sum::<u64>()
}

/// Settings that take less of the disk, the mildest first; each with those before it.
fn smaller(settings: &Settings) -> Vec<(String, Settings)> {
    let (mut all, mut names, mut less) = (Vec::new(), Vec::new(), settings.clone());
    let mut with = |name: &str, settings: &Settings| {
        names.push(name.to_owned());
        all.push((names.join("`, `"), settings.clone()));
    };
    if less.save_every_n_epochs.is_some() && less.save_last_n_epochs != Some(1) {
        less.save_last_n_epochs = Some(1);
        with("save_last_n_epochs = 1", &less);
    }
    if less.save_every_n_steps.is_some() && less.save_last_n_steps.is_none() {
        less.save_last_n_steps = Some(1);
        with("save_last_n_steps = 1", &less);
    }
    if less.save_precision == Dtype::F32 {
        less.save_precision = Dtype::BF16;
        with("save_precision = \"bf16\"", &less);
    }
    if less.keep_state {
        less.keep_state = false;
        with("keep_state = false", &less);
    }
    if less.weights == burn::tensor::FloatDType::F32 {
        less.weights = burn::tensor::FloatDType::BF16;
        with("weights = \"bf16\"", &less);
    }
    all
}

/// What takes equally long: steps over pictures of one size, `(height, width)` in cells of a latent.
pub fn class(config: &manifest::Finetune, (height, width): (usize, usize)) -> String {
    let mut class = format!(
        "{}×{}, {} × {}, {:?}, {:?}",
        width * CELL,
        height * CELL,
        config.train_batch_size,
        config.gradient_accumulation_steps,
        config.weights,
        config.optimizer_type,
    );
    let mut also = |is: bool, text: String| {
        if is {
            class += ", ";
            class += &text;
        }
    };
    also(config.max_grad_norm > 0.0, "clipped".to_owned());
    also(config.ema_decay.is_some(), "averaged".to_owned());
    also(!config.train_blocks.is_empty(), config.train_blocks.join(" "));
    let swapped = config.blocks_to_swap;
    also(swapped.is_some(), format!("{} swapped", swapped.unwrap_or_default()));
    if let GradientCheckpointing::All(all) = config.gradient_checkpointing {
        also(true, format!("checkpointing {all}"));
    }
    if let Memory::Gigabytes(gigabytes) = config.memory {
        also(true, format!("{gigabytes} GB"));
    }
    class
}

/// The steps that are left, by size; an epoch is as the first one is.
pub fn amounts(
    stage: &Finetune,
    decisions: &[Decision],
    upstream: &Upstream<'_>,
    store: &Store,
) -> Result<Vec<Amount>, StageError> {
    let Some(decision) = decisions.iter().find(|one| one.runs()) else { return Ok(Vec::new()) };
    let members = members(stage, upstream, store)?;
    let settings = settings::of(&stage.config);
    let batches = Batches::of(&members, settings.train_batch_size, settings.seed);
    let (epochs, accumulated) = (settings.max_train_epochs, settings.gradient_accumulation_steps);
    let mut amounts = Vec::<Amount>::new();
    for group in batches.epoch(1).chunks(accumulated) {
        let class = class(&stage.config, group[0].size);
        match amounts.iter_mut().find(|amount| amount.class == class) {
            Some(amount) => amount.units += epochs as u64,
            None => amounts.push(Amount { recipe: 0, class, units: epochs as u64 }),
        }
    }
    let line = Line::of(stage, &settings, &decision.spec, &members)?;
    if let Some(line) = line
        && let Start::On(place) = line.start(store)
    {
        let done = place.state.map_or(0, |state| state.position.steps) as u64;
        let total = (line.total() as u64).max(1);
        for amount in &mut amounts {
            amount.units = amount.units * total.saturating_sub(done) / total;
        }
    }
    amounts.push(Amount { recipe: 0, class: REST.to_owned(), units: 1 });
    Ok(amounts)
}
