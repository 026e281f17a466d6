//! The work of the stage `sample`: its pictures are drawn, one after the other, and stored.

use std::path::PathBuf;

use image::RgbImage;
use miette::Diagnostic;

use super::{COMPARE, MODEL, PICTURE, Sample, Side, drawn_before};
use crate::stages::{
    pictures::{Drawn, Encoded, Model, Painter, Parameters, png, side_by_side},
    prompts::{Drawable, Prompts},
};
use crate::{
    base::atomic,
    device,
    models::flux::FluxConfig,
    pipeline::{Blob, Draft, StageError, StoreError, Work},
    weights::Checkpoint,
};

/// A picture that is to be drawn.
struct Due {
    item: usize,
    drawable: Drawable,
    /// What the model before drew, where that is asked for.
    before: Option<Blob>,
}

/// Draws the pictures of all items that are to run. What is drawn when the user stops is stored.
pub fn all(stage: &Sample, work: &mut dyn Work) -> Result<(), StageError> {
    let Some(Transformer { flux, drawn_by, takes_guidance }) = Transformer::of(stage, work)? else {
        return Ok(());
    };
    let due = due(stage, work, takes_guidance);
    let Some(first) = due.first().map(|due| due.item) else { return Ok(()) };
    let device = device::choose(&stage.site.device)?.device;
    let (scratch, store) = (scratch(work)?, stage.site.store.clone());
    let mut texts = Vec::new();
    for Due { drawable, .. } in &due {
        texts.push((drawable.prompt.prompt.clone(), drawable.text(&store)?));
        if let (Some(text), Some(negative)) =
            (drawable.prompt.negative(), drawable.negative(&store)?)
        {
            texts.push((text.to_owned(), negative));
        }
    }
    let texts = texts.into_iter().collect::<Encoded>();
    let painter =
        Painter { flux, ae: stage.ae.clone(), device: &device, scratch: &scratch, together: 1 };
    let prompts = due.iter().map(|due| due.drawable.prompt.clone()).collect::<Vec<_>>();
    painter.draw(&prompts, &texts, &mut |told| {
        match told {
            Drawn::Plan(plan) => work.chosen(first, &format!("memory: {plan}")),
            Drawn::Step { first, step, steps, .. } => {
                work.step(due[first].item, step as u64, steps as u64, "");
            }
            Drawn::Picture { index, picture } => {
                let parameters = Parameters {
                    model: Some(drawn_by.model.clone()),
                    epoch: drawn_by.epoch,
                    step: drawn_by.step,
                    ..Parameters::of(&prompts[index], takes_guidance)
                };
                let draft = draft(stage, &due[index], &picture, parameters)?;
                work.commit(due[index].item, draft)?;
            }
        }
        Ok(!work.cancelled())
    })?;
    Ok(())
}

/// The folder for large files in the making: that of the last item, which is there until all are done.
fn scratch(work: &dyn Work) -> Result<PathBuf, StageError> {
    work.scratch(work.items().len().saturating_sub(1))
}

/// The output of one item.
fn draft(
    stage: &Sample,
    due: &Due,
    picture: &RgbImage,
    parameters: Parameters,
) -> Result<Draft, StageError> {
    let draft = Draft::bytes(PICTURE, png(picture, &parameters));
    let Some(before) = &due.before else { return Ok(draft) };
    let file = stage.site.store.read(before)?;
    let model = Parameters::read(&file).and_then(|before| before.model);
    let both = side_by_side(&decoded(&file)?, picture);
    Ok(draft.and(COMPARE, png(&both, &Parameters { before: model, ..parameters })))
}

/// The transformer that draws.
struct Transformer {
    /// Its file.
    flux: PathBuf,
    drawn_by: DrawnBy,
    takes_guidance: bool,
}

/// What the file of a picture says of its transformer: nothing that its bytes do not say themselves.
struct DrawnBy {
    model: Model,
    epoch: Option<usize>,
    step: Option<usize>,
}

impl Transformer {
    /// `None` where there is no trained model.
    fn of(stage: &Sample, work: &dyn Work) -> Result<Option<Self>, StageError> {
        let (flux, digest) = match stage.side {
            Side::Before => (stage.flux.clone(), stage.base()?),
            Side::After => {
                let output = Sample::trained(work.upstream()).and_then(|item| item.output);
                let blob = output.and_then(|output| output.blob(MODEL.0));
                let (Some(blob), true) = (blob, !work.items().is_empty()) else { return Ok(None) };
                // Under a name that says what it is.
                let (object, linked) = (work.store().path(blob)?, scratch(work)?.join(MODEL.0));
                atomic::link(&object, &linked)
                    .map_err(|error| StoreError::write(&linked, error))?;
                (linked, Some(blob.digest))
            }
        };
        let file = Checkpoint::open(&flux)?;
        let takes_guidance = FluxConfig::detect(&file)?.0.guidance_embed;
        let number = |name: &str| file.metadata().get(name)?.parse().ok();
        let name = match stage.side {
            Side::Before => None,
            Side::After => file.metadata().get("modelspec.title").cloned(),
        };
        let plain = if takes_guidance { "FLUX.1-dev" } else { "FLUX.1-schnell" };
        let model = Model {
            name: name.unwrap_or_else(|| plain.to_owned()),
            digest: digest.map(|digest| digest.hex()),
        };
        let drawn_by = match stage.side {
            Side::Before => DrawnBy { model, epoch: Some(0), step: Some(0) },
            Side::After => {
                DrawnBy { model, epoch: number("fluxpipe.epochs"), step: number("fluxpipe.steps") }
            }
        };
        Ok(Some(Self { flux, drawn_by, takes_guidance }))
    }
}

/// The pictures of the items that are to run, in their order.
fn due(stage: &Sample, work: &dyn Work, takes_guidance: bool) -> Vec<Due> {
    let wanted = &stage.prompts.pictures;
    let due = work.items().iter().enumerate().filter_map(|(item, spec)| {
        let wanted = wanted.iter().find(|wanted| Prompts::file_name(wanted) == spec.id)?;
        let before = match stage.side {
            Side::Before => None,
            Side::After => drawn_before(work.upstream(), &spec.id).and_then(|item| item.output),
        };
        Some(Due {
            item,
            drawable: Drawable::of(work.upstream(), wanted, takes_guidance)?,
            before: before.and_then(|output| output.blob(PICTURE)).cloned(),
        })
    });
    due.collect()
}

/// The pixels of a picture of ours.
fn decoded(png: &[u8]) -> Result<RgbImage, StageError> {
    let read = image::load_from_memory_with_format(png, image::ImageFormat::Png);
    Ok(read.map_err(|error| Damaged(error.to_string()))?.into_rgb8())
}

/// A picture in the store cannot be decoded.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("the picture of the model before cannot be read: {0}")]
#[diagnostic(
    code(fluxpipe::sample::before),
    help("run again with `--force` and the name of the stage: the picture is drawn anew")
)]
struct Damaged(String);
