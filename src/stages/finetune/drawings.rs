//! Pictures drawn while it trains, by the network as it is between two steps.
//!
//! They look at the weights and leave them as they are, so they are in no key (ADR 17). What is drawn lies
//! with the state of its training, under a name that says all that decides it: a run that goes on draws what
//! is not there. Does not know how a step is taken.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde_json::json;

use super::{Finetune, decoder::Decoder};
use crate::stages::{
    pictures::{Model, Parameters, Prompt, png},
    prompts::{Drawable, Prompts},
};
use crate::{
    base::{Digest, Value, atomic, disk, plural},
    manifest,
    pipeline::{
        ItemFailure, KeyPart, Note, Origin, StageError, Store, StoreError, Warning, Work, digest,
    },
    train::{Moment, Place, network::Network, sampling::denoise},
};

/// Raised with a reason whenever pictures change for equal inputs.
const ALGORITHM: i64 = 1;

/// What is drawn, and when.
pub struct Drawings {
    config: manifest::Samples,
    pictures: Vec<Picture>,
    decoder: Decoder,
    store: Arc<Store>,
    /// Within the folder of the training.
    folder: PathBuf,
    /// Where people look.
    output: PathBuf,
    failed: bool,
}

struct Picture {
    /// Digest of what decides it besides the weights.
    name: String,
    drawable: Drawable,
}

impl Drawings {
    /// Of a training that keeps its state at `place`; `None` where nothing is drawn.
    ///
    /// # Errors
    /// A network's file cannot be read.
    pub fn of(
        stage: &Finetune,
        work: &dyn Work,
        place: &Place,
        takes_guidance: bool,
    ) -> Result<Option<Self>, StageError> {
        let (Some(config), Some(prompts)) = (&stage.config.samples, &stage.prompts) else {
            return Ok(None);
        };
        let ae = stage.site.manifest.models.ae.as_ref().map(|ae| stage.site.resolve(ae));
        let Some(ae) = ae else { return Ok(None) };
        let common = [
            KeyPart::new("algorithm", Value::Int(ALGORITHM), Origin::Code(String::new())),
            stage.site.model("ae", &ae)?,
            // Where the number of epochs decides over the first step, its weights are others.
            KeyPart::new(
                "length",
                place.length.map_or(Value::None, |length| Value::Int(length as i64)),
                Origin::Code(String::new()),
            ),
        ];
        let upstream = work.upstream();
        let picture = |wanted| {
            let parts = prompts.parts(&stage.site, upstream, wanted, takes_guidance);
            let name = digest(&[Digest::of(b"drawing")], common.iter().chain(&parts))?;
            let drawable = Drawable::of(upstream, wanted, takes_guidance)?;
            Some(Picture { name: name.hex()[..16].to_owned(), drawable })
        };
        Ok(Some(Self {
            config: config.clone(),
            pictures: prompts.pictures.iter().filter_map(picture).collect(),
            decoder: Decoder::new(&ae),
            store: stage.site.store.clone(),
            folder: place.folder.path().join("samples"),
            output: stage.site.output().join("samples").join(&stage.name),
            failed: false,
        }))
    }

    /// Forgets what an earlier run drew.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget(&self) -> Result<(), StoreError> {
        match disk::remove_folder(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::write(&self.folder, error))
            }
            _ => Ok(()),
        }
    }

    /// Draws what is due and not there, and shows what is due. Says whether all is drawn: not where the user
    /// asks to stop. A training does not end because a picture cannot be drawn: that is told once.
    pub fn draw(
        &mut self,
        network: &mut Network,
        moment: Moment,
        total: u64,
        work: &mut dyn Work,
    ) -> bool {
        let Some(name) = due(&self.config, moment) else { return true };
        let drawn = self.draw_all(network, moment, total, &name, work);
        self.decoder.rest(network.device());
        match drawn {
            Ok(all) => all,
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    work.warn(cannot(&error));
                }
                true
            }
        }
    }

    fn draw_all(
        &mut self,
        network: &mut Network,
        moment: Moment,
        total: u64,
        name: &str,
        work: &mut dyn Work,
    ) -> Result<bool, StageError> {
        for index in 0..self.pictures.len() {
            let picture = &self.pictures[index];
            let path = self.folder.join(format!("{:08}-{}.png", moment.steps, picture.name));
            if !path.is_file() {
                let Some(bytes) = self.picture(network, index, (moment, total), work)? else {
                    return Ok(false);
                };
                let written =
                    disk::create_folder(&self.folder).and_then(|()| atomic::write(&path, &bytes));
                written.map_err(|error| StoreError::write(&path, error))?;
            }
            work.show(&path, &self.output.join(format!("{name}-{:02}.png", index + 1)))?;
        }
        Ok(true)
    }

    /// The file of one picture; `None` where the user asks to stop.
    fn picture(
        &mut self,
        network: &mut Network,
        index: usize,
        (moment, total): (Moment, u64),
        work: &mut dyn Work,
    ) -> Result<Option<Vec<u8>>, StageError> {
        let (all, drawable) = (self.pictures.len(), &self.pictures[index].drawable);
        let mut step = |done: usize, steps: usize| {
            let note = format!("picture {} of {all}, step {done} of {steps}", index + 1);
            work.step(0, moment.steps as u64, total, &note);
            !work.cancelled()
        };
        let (text, negative) = (drawable.text(&self.store)?, drawable.negative(&self.store)?);
        let Prompt { drawing, .. } = &drawable.prompt;
        let latent = denoise(network, drawing, &text, negative.as_ref(), &mut step)?;
        let Some(latent) = latent else { return Ok(None) };
        let picture = self.decoder.decode(latent, network.device())?;
        let takes_guidance = network.takes_guidance();
        let base = if takes_guidance { "FLUX.1-dev" } else { "FLUX.1-schnell" };
        let parameters = Parameters {
            model: Some(Model { name: format!("{base}, in training"), digest: None }),
            epoch: moment.epoch.or((moment.steps == 0).then_some(0)),
            step: Some(moment.steps),
            ..Parameters::of(&drawable.prompt, takes_guidance)
        };
        Ok(Some(png(&picture, &parameters)))
    }
}

/// What the pictures of this moment are called, if some are due: `e000003`, `s00000500`.
fn due(config: &manifest::Samples, moment: Moment) -> Option<String> {
    let Moment { steps, epoch } = moment;
    let every = |every: Option<u32>, count: usize| {
        every.is_some_and(|every| count.is_multiple_of(every as usize))
    };
    match epoch.filter(|&epoch| every(config.every_n_epochs, epoch)) {
        _ if steps == 0 => config.at_first.then(|| format!("e{:06}", 0)),
        Some(epoch) => Some(format!("e{epoch:06}")),
        None => every(config.every_n_steps, steps).then(|| format!("s{steps:08}")),
    }
}

fn cannot(error: &StageError) -> Warning {
    let failure = ItemFailure::from(error);
    Warning {
        code: "fluxpipe::finetune::samples".to_owned(),
        message: format!("pictures cannot be drawn: {}", failure.message),
        help: Some("the training goes on, and tries again when the next are due".to_owned()),
        items: 0,
        examples: Vec::new(),
    }
}

/// How often is drawn in a training whose epochs end after so many steps.
pub fn times(config: &manifest::Samples, epoch_ends: &[usize]) -> usize {
    let last = epoch_ends.last().copied().unwrap_or_default();
    let ended = epoch_ends.iter().enumerate().map(|(index, &end)| (end, index + 1));
    let ended = ended.collect::<BTreeMap<_, _>>();
    let moment = |steps| Moment { steps, epoch: ended.get(&steps).copied() };
    (0..=last).filter(|&steps| due(config, moment(steps)).is_some()).count()
}

/// What a plan tells of the pictures of a training whose epochs end after so many steps.
pub fn note(config: &manifest::Samples, prompts: &Prompts, epoch_ends: &[usize]) -> Note {
    let times = times(config, epoch_ends);
    let each = prompts.pictures.len();
    let text = format!(
        "draws {} {}",
        plural(each, "picture"),
        match times {
            1 => "once".to_owned(),
            _ => format!("{times} times"),
        }
    );
    let data = json!({ "pictures": each, "times": times });
    Note { name: "samples", text, details: Vec::new(), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_named_by_its_epoch_and_else_by_its_step() {
        let config = manifest::Samples {
            every_n_epochs: Some(2),
            every_n_steps: Some(3),
            at_first: true,
            ..manifest::Samples::default()
        };
        let name = |steps, epoch| due(&config, Moment { steps, epoch });
        assert_eq!(name(0, None).as_deref(), Some("e000000"));
        assert_eq!(name(3, None).as_deref(), Some("s00000003"));
        assert_eq!(name(4, Some(1)), None);
        assert_eq!(name(6, Some(1)).as_deref(), Some("s00000006"));
        assert_eq!(name(6, Some(2)).as_deref(), Some("e000002"));
        let seldom = manifest::Samples { at_first: false, every_n_steps: None, ..config };
        assert_eq!(due(&seldom, Moment { steps: 0, epoch: None }), None);
        assert_eq!(due(&seldom, Moment { steps: 3, epoch: None }), None);
    }
}
