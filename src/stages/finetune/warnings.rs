//! What a training is asked for and will not do, since it has too few steps.

use super::{Finetune, notes, settings};
use crate::{
    base::plural,
    manifest::LrScheduler,
    pipeline::{StageError, Upstream, Warning},
    train::{Batches, Settings},
};

/// The warnings of a training on these encodings.
pub fn warnings(stage: &Finetune, upstream: &Upstream<'_>) -> Result<Vec<Warning>, StageError> {
    let settings = settings::of(&stage.config);
    if ![settings.save_every_n_steps, settings.save_last_n_epochs].iter().any(Option::is_some)
        && stage.config.lr_warmup_steps.is_none()
        && stage.config.lr_decay_steps.is_none()
    {
        return Ok(Vec::new());
    }
    let members = notes::members(stage, upstream, &stage.site.store)?;
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let batches = Batches::of(&members, settings.train_batch_size, settings.seed);
    let total = batches.steps(settings.max_train_epochs, settings.gradient_accumulation_steps);
    Ok(told(&stage.config, &settings, total))
}

fn told(config: &crate::manifest::Finetune, settings: &Settings, total: usize) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |code: &str, message: String, help: &str| {
        let (code, help) = (format!("fluxpipe::finetune::{code}"), Some(help.to_owned()));
        warnings.push(Warning { code, message, help, items: 1, examples: Vec::new() });
    };
    let steps = plural(total, "step");
    if let Some(every) = settings.save_every_n_steps.filter(|&every| every > total) {
        let message = format!("`save_every_n_steps = {every}` saves nothing: there are {steps}");
        warn("no_save", message, "lower it, or take it out");
    }
    if let Some(last) = settings.save_last_n_steps.filter(|&last| last >= total) {
        let message = format!("`save_last_n_steps = {last}` keeps every model: there are {steps}");
        warn("all_kept", message, "lower it, or take it out");
    }
    let every = settings.save_every_n_epochs.unwrap_or(1);
    // The last epoch's model is the result.
    let between = settings.max_train_epochs.saturating_sub(1) / every;
    if let Some(last) = settings.save_last_n_epochs.filter(|&last| last >= between) {
        let saved = plural(between, "model");
        let message =
            format!("`save_last_n_epochs = {last}` keeps every model: {saved} between epochs");
        warn("all_kept", message, "lower it, or take it out");
    }
    let warmup = settings.lr_warmup_steps.of(total);
    let decay = match config.lr_scheduler {
        LrScheduler::WarmupStableDecay => settings::steps(&config.lr_decay_steps).of(total),
        _ => 0,
    };
    if warmup >= total {
        let message = format!(
            "the learning rate never reaches its height: it rises for {}, and there are {steps}",
            plural(warmup, "step")
        );
        warn("low_rate", message, "lower `lr_warmup_steps`, or train longer");
    } else if warmup + decay > total {
        let message = format!(
            "the learning rate does not fall to its end: it rises for {warmup} and falls for {decay} \
             of {steps}"
        );
        warn("low_rate", message, "lower `lr_warmup_steps` or `lr_decay_steps`, or train longer");
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Finetune, Steps};

    #[test]
    fn what_a_short_training_cannot_do_is_told() {
        let codes = |config: &Finetune| {
            let told = told(config, &settings::of(config), 8);
            told.iter()
                .map(|warning| warning.code.replace("fluxpipe::finetune::", ""))
                .collect::<Vec<_>>()
        };
        let plain = || Finetune { max_train_epochs: 4, ..Finetune::default() };
        let warm = |steps| Finetune {
            lr_scheduler: LrScheduler::WarmupStableDecay,
            lr_warmup_steps: Steps::Count(steps),
            lr_decay_steps: Steps::Count(4),
            ..plain()
        };
        let saving = |every, last| Finetune {
            save_every_n_steps: Some(every),
            save_last_n_steps: last,
            ..plain()
        };
        assert_eq!(codes(&plain()), [""; 0]);
        assert_eq!(codes(&warm(4)), [""; 0]);
        assert_eq!(codes(&warm(5)), ["low_rate"]);
        assert_eq!(codes(&warm(8)), ["low_rate"]);
        assert_eq!(codes(&saving(8, Some(7))), [""; 0]);
        assert_eq!(codes(&saving(9, Some(8))), ["no_save", "all_kept"]);
        let epochs = |last| Finetune {
            save_every_n_epochs: Some(1),
            save_last_n_epochs: Some(last),
            ..plain()
        };
        assert_eq!(codes(&epochs(2)), [""; 0]);
        assert_eq!(codes(&epochs(3)), ["all_kept"]);
    }
}
