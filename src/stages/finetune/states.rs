//! From where a training goes on: which folder of the store is its own, and whether the state there fits.
//!
//! The folder is named by all that decides over the steps that were taken, so not by how many are still
//! to come, nor by which of them are saved, and how. Does not know how a state is written.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::json;

use super::{Finetune, notes::CELL, settings};
use crate::{
    base::Digest,
    pipeline::{ItemSpec, KeyPart, StageError, Store, Warning, digest},
    train::{Batches, Form, Found, Member, Place, Role, Settings, StateFolder, Training},
};

/// Parts of the key that change no step that was taken.
const LATER: &[&str] = &[
    "max_train_epochs",
    "save_every_n_epochs",
    "save_every_n_steps",
    "save_last_n_epochs",
    "save_last_n_steps",
    "save_precision",
    "metadata_title",
    "metadata_author",
    "metadata_description",
    "metadata_license",
    "metadata_tags",
];

/// A training, as far as it decides from where it goes on.
pub struct Line<'a> {
    settings: &'a Settings,
    /// Names its folder.
    name: Digest,
    length: Option<usize>,
    /// Why its length decides over its first step, if it does.
    because: String,
    form: Form,
    epoch_ends: Vec<usize>,
}

/// What a training begins with.
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub enum Start {
    /// With the base model.
    Anew,
    /// With the base model, although there is a state: why, in words.
    Over(String),
    /// With a state.
    On(Place),
}

impl<'a> Line<'a> {
    /// The training of `item` on these samples; `None` while one of them has still to be made.
    pub fn of(
        stage: &Finetune,
        settings: &'a Settings,
        item: &ItemSpec,
        members: &[Member],
    ) -> Result<Option<Self>, StageError> {
        let recipe = stage.recipe()?;
        let Some(name) = name(&recipe, item) else { return Ok(None) };
        let batches = Batches::of(members, settings.train_batch_size, settings.seed);
        let (epochs, accumulated) =
            (settings.max_train_epochs, settings.gradient_accumulation_steps);
        let because = depends_on_length(stage, settings);
        Ok(Some(Self {
            settings,
            name,
            length: because.is_some().then_some(epochs),
            because: because.unwrap_or_default(),
            form: Form {
                dtype: settings.save_precision,
                texts: texts(stage, settings, &recipe, item, members, &name),
            },
            epoch_ends: batches.epoch_ends(epochs, accumulated),
        }))
    }

    /// Steps of the whole training.
    pub fn total(&self) -> usize {
        self.epoch_ends.last().copied().unwrap_or_default()
    }

    /// Its folder, from which it does not go on.
    pub fn place(&self, store: &Store) -> Place {
        let folder = StateFolder::new(store.state_folder(&self.name));
        Place { folder, state: None, length: self.length, form: self.form.clone() }
    }

    /// With what it begins, as far as names and sizes of files tell.
    pub fn start(&self, store: &Store) -> Start {
        let place = self.place(store);
        let state = match place.folder.find() {
            Found::Nothing => return Start::Anew,
            Found::Damaged(reason) => return Start::Over(reason),
            Found::State(state) => *state,
        };
        // Its files go once the new training has a state.
        let over = |reason: &str| {
            let steps = state.position.steps;
            Start::Over(format!("{reason}; the state after step {steps} will be thrown away"))
        };
        if state.length != self.length {
            return over(&self.because);
        }
        match state.fits(&self.training()) {
            Ok(()) => Start::On(Place { state: Some(state), ..place }),
            Err(reason) => over(&reason),
        }
    }

    /// The place with a state of which all that is gone on with, or handed out at the end, is what was written.
    /// Reads all of it.
    ///
    /// # Errors
    /// Something that the training needs is not, in words.
    pub fn verified(&self, place: Place) -> Result<Place, String> {
        let Some(state) = place.state else { return Ok(place) };
        place.folder.verify(&state)?;
        let state = place.folder.without_damaged(state);
        state.fits(&self.training())?;
        Ok(Place { state: Some(state), ..place })
    }

    fn training(&self) -> Training {
        Training::new(self.settings, &self.epoch_ends, self.length, &self.form)
    }
}

/// Names the folder of a training's state; `None` while one of its samples has still to be made.
pub fn name(recipe: &[KeyPart], item: &ItemSpec) -> Option<Digest> {
    let earlier = |part: &&KeyPart| !LATER.contains(&part.name.as_str());
    digest(&[Digest::of(b"training")], recipe.iter().chain(item.key_parts()).filter(earlier))
}

/// Folders of states that are not what was written. Reads all of them.
#[must_use]
pub fn damaged(store: &Store) -> Vec<PathBuf> {
    let folders = store.state_names().into_iter().map(|name| store.state_folder(&name));
    let damaged = |path: &PathBuf| {
        let folder = StateFolder::new(path.clone());
        match folder.find() {
            Found::Nothing => false,
            Found::Damaged(_) => true,
            Found::State(state) => {
                folder.verify(&state).is_err()
                    || folder.without_damaged((*state).clone()).checkpoints != state.checkpoints
            }
        }
    };
    folders.filter(damaged).collect()
}

/// From where the training of `item` would go on, in words and for programs; `None` where it has not
/// begun, or where that is not known yet.
pub fn told(
    stage: &Finetune,
    item: &ItemSpec,
    members: &[Member],
    store: &Store,
) -> Result<Option<(String, serde_json::Value)>, StageError> {
    let settings = settings::of(&stage.config);
    let Some(line) = Line::of(stage, &settings, item, members)? else { return Ok(None) };
    let total = line.total();
    Ok(match line.start(store) {
        Start::Anew => None,
        Start::Over(reason) => {
            let data = json!({ "goes_on_from": 0, "steps": total, "reason": reason });
            Some((format!("starts over: {reason}"), data))
        }
        Start::On(Place { state, .. }) => {
            let done = state.map_or(0, |state| state.position.steps);
            let data = json!({ "goes_on_from": done, "steps": total, "reason": null });
            Some((format!("goes on from step {done} of {total}"), data))
        }
    })
}

/// What is told in a run that starts over.
pub fn starts_over(reason: &str) -> Warning {
    Warning {
        code: "fluxpipe::finetune::starts_over".to_owned(),
        message: format!("the training starts over: {reason}"),
        help: None,
        items: 0,
        examples: Vec::new(),
    }
}

/// Why steps before the end of the training depend on its length, if they do.
fn depends_on_length(stage: &Finetune, settings: &Settings) -> Option<String> {
    let epochs = settings.max_train_epochs;
    let parts = stage.config.lr_scheduler;
    if settings.depends_on_length() {
        let name = serde_json::to_value(parts).ok()?;
        let name = name.as_str().unwrap_or_default().to_owned();
        let share = match settings.lr_scheduler.depends_on_length() {
            true => "",
            false => " and a warm-up that is a share of all steps",
        };
        return Some(format!(
            "with {name}{share}, {epochs} epochs have other learning rates from the first step on"
        ));
    }
    let warms_up = |dataset: &crate::manifest::Dataset| dataset.token_warmup_step > 0.0;
    stage.site.manifest.dataset.iter().any(warms_up).then(|| {
        format!("with token_warmup_step, {epochs} epochs show other texts from the first step on")
    })
}

/// What stands in the headers of checkpoints, besides what the trainer knows itself. Nothing in here
/// depends on more than the key, and neither on a clock.
fn texts(
    stage: &Finetune,
    settings: &Settings,
    recipe: &[KeyPart],
    item: &ItemSpec,
    members: &[Member],
    training: &Digest,
) -> BTreeMap<String, String> {
    let mut texts = settings::metadata(&stage.config);
    let trained = members.iter().filter(|member| member.role == Role::Trained);
    // The largest size; of equal ones the widest.
    if let Some((h, w)) = trained.map(|member| member.size).max_by_key(|&(h, w)| (h * w, w)) {
        let text = format!("{}x{}", w * CELL, h * CELL);
        texts.insert("modelspec.resolution".to_owned(), text);
    }
    let range = (settings.min_timestep, settings.max_timestep);
    if range != (0, 1000) {
        texts.insert("modelspec.timestep_range".to_owned(), format!("{},{}", range.0, range.1));
    }
    let digest = |part: &KeyPart| part.value.as_ref().map(|value| value.digest().hex());
    let model = recipe.iter().find(|part| part.name == "flux").and_then(|part| {
        match part.value.as_ref()? {
            crate::base::Value::Digest(digest) => Some(digest.hex()),
            other => Some(other.digest().hex()),
        }
    });
    let named = [
        ("fluxpipe.base_model", model),
        ("fluxpipe.samples", item.parts.first().and_then(digest)),
        ("fluxpipe.training", Some(training.hex())),
    ];
    texts.extend(named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))));
    texts
}
