//! What a plan tells of the training: its steps, what appears in an epoch, what is held out.
//!
//! The batches are those of the training itself ([`Batches`]). Where encodings have still to be made,
//! the bytes of pictures stand for them: only which regularisation pictures an epoch takes is then
//! another question.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    Finetune, drawings, memory,
    samples::{Cached, cached},
    states,
};
use crate::{
    base::plural,
    pipeline::{Decision, Note, StageError, Store, Upstream},
    stages::cache::notes::placed,
    train::{Batches, Member, Role},
};

/// Pixels of a cell of a latent.
pub const CELL: usize = 8;

/// The notes of a training on these encodings.
pub fn notes(
    stage: &Finetune,
    decisions: &[Decision],
    upstream: &Upstream<'_>,
    store: &Store,
) -> Result<Vec<Note>, StageError> {
    let listed = listed(stage, upstream, store)?;
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let mut notes = Vec::new();
    if let Some(decision) = decisions.iter().find(|decision| decision.runs()) {
        let members = listed.iter().map(|(_, member)| *member).collect::<Vec<_>>();
        let told = states::told(stage, &decision.spec, &members, store)?;
        notes.extend(told.map(|(text, data)| Note {
            name: "state",
            text,
            details: Vec::new(),
            data,
        }));
    }
    notes.push(steps(stage, &listed));
    if decisions.iter().any(Decision::runs) {
        let members = listed.iter().map(|(_, member)| *member).collect::<Vec<_>>();
        notes.push(memory::note(stage, &members)?);
    }
    notes.extend(held_out(&listed));
    if let (Some(config), Some(prompts)) = (&stage.config.samples, &stage.prompts) {
        let settings = super::settings::of(&stage.config);
        let members = listed.iter().map(|(_, member)| *member).collect::<Vec<_>>();
        let batches = Batches::of(&members, settings.train_batch_size, settings.seed);
        let (epochs, together) = (settings.max_train_epochs, settings.gradient_accumulation_steps);
        notes.push(drawings::note(config, prompts, &batches.epoch_ends(epochs, together)));
    }
    Ok(notes)
}

/// What decides where each sample appears in the training.
pub fn members(
    stage: &Finetune,
    upstream: &Upstream<'_>,
    store: &Store,
) -> Result<Vec<Member>, StageError> {
    Ok(listed(stage, upstream, store)?.into_iter().map(|(_, member)| member).collect())
}

type Listed<'a> = (Cached<'a>, Member);

fn listed<'a>(
    stage: &'a Finetune,
    upstream: &Upstream<'a>,
    store: &Store,
) -> Result<Vec<Listed<'a>>, StageError> {
    let cached = cached(&stage.site, upstream);
    let samples = cached.iter().map(|cached| cached.sample).collect::<Vec<_>>();
    // A picture without a readable header is left out by the cache.
    let sizes = placed(&stage.site, &samples, store)?
        .into_iter()
        .map(|placed| (std::ptr::from_ref(placed.sample), placed.placement.bucket))
        .collect::<BTreeMap<_, _>>();
    let listed = cached.into_iter().filter_map(|cached| {
        let (width, height) = *sizes.get(&std::ptr::from_ref(cached.sample))?;
        let member = Member {
            size: (height / CELL, width / CELL),
            content: cached.content_digest().unwrap_or(cached.sample.digest),
            repeats: cached.repeats(),
            role: cached.role(),
        };
        Some((cached, member))
    });
    Ok(listed.collect())
}

fn steps(stage: &Finetune, listed: &[Listed<'_>]) -> Note {
    let settings = super::settings::of(&stage.config);
    let members = listed.iter().map(|(_, member)| *member).collect::<Vec<_>>();
    let batches = Batches::of(&members, settings.train_batch_size, settings.seed);
    let pictures = |role| members.iter().filter(|member| member.role == role).count();
    let regularisation = pictures(Role::Regularisation);
    // The order of those is that of their encodings.
    let known = listed.iter().all(|(cached, _)| cached.content_digest().is_some());
    let exact = regularisation == 0 || known;
    let accumulated = settings.gradient_accumulation_steps;
    let epoch = batches.epoch(1);
    let of_epoch = epoch.len().div_ceil(accumulated);
    let total = batches.steps(settings.max_train_epochs, accumulated);
    let (mut shown, mut by_size) = ([0_usize; 2], BTreeMap::<_, (usize, usize)>::new());
    for batch in &epoch {
        let (appearances, number) = by_size.entry((batch.size.1, batch.size.0)).or_default();
        *appearances += batch.appearances.len();
        *number += 1;
        for appearance in &batch.appearances {
            shown[usize::from(members[appearance.index].role == Role::Regularisation)] += 1;
        }
    }
    let about = if exact { "" } else { "about " };
    let mut text = format!(
        "{about}{} in {}; an epoch shows {} {}",
        plural(total, "step"),
        plural(settings.max_train_epochs, "epoch"),
        plural(pictures(Role::Trained), "picture"),
        times(shown[0]),
    );
    if regularisation > 0 {
        let of = plural(regularisation, "regularisation picture");
        text += &format!(" and {of} {}", times(shown[1]));
    }
    let first = if regularisation == 0 { "each epoch" } else { "the first epoch" };
    let mut details = vec![format!("{first}: {about}{}", plural(of_epoch, "step"))];
    details.extend(by_size.iter().map(|((width, height), (appearances, batches))| {
        format!(
            "{}×{}: {about}{} in {}",
            width * CELL,
            height * CELL,
            plural(*appearances, "appearance"),
            plural(*batches, "batch")
        )
    }));
    let buckets = by_size.iter().map(|((width, height), (appearances, batches))| {
        json!({
            "width": width * CELL, "height": height * CELL,
            "appearances": appearances, "batches": batches,
        })
    });
    let data = json!({
        "steps": total, "epochs": settings.max_train_epochs, "first_epoch_steps": of_epoch,
        "exact": exact,
        "pictures": pictures(Role::Trained), "appearances": shown[0],
        "regularisation_pictures": regularisation, "regularisation_appearances": shown[1],
        "first_epoch": buckets.collect::<Vec<_>>(),
    });
    Note { name: "steps", text, details, data }
}

/// `once`, `22 times`: all together.
fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times in all") }
}

fn held_out(listed: &[Listed<'_>]) -> Option<Note> {
    let names = listed.iter().filter(|(cached, _)| cached.role() == Role::HeldOut);
    let names = names.map(|(cached, _)| cached.sample.id.clone()).collect::<Vec<_>>();
    if names.is_empty() {
        return None;
    }
    let text = format!(
        "held out, to measure the loss after each epoch: {}",
        plural(names.len(), "picture")
    );
    let data = json!(names);
    Some(Note { name: "held_out", text, details: names, data })
}
