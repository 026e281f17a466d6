//! Which pictures a trained model finds hardest: the losses that a training noted, with names and
//! captions. For `fluxpipe losses`; it reads what a plan knows, opens no device and loads no weights.

use std::{collections::HashMap, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Site, captions,
    finetune::{losses::Line, sample_names},
};
use crate::{
    manifest::StageConfig,
    pipeline::{Plan, StageError},
};

/// Noise levels of one sort, whose losses are compared with each other.
const LEVELS: usize = 10;

/// The losses of a training, by pictures.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Losses {
    /// Version of this layout.
    pub version: u32,
    /// The manifest, as the command line names it; filled in by the caller.
    pub manifest: String,
    /// The finetune stage.
    pub stage: String,
    /// The epochs that count.
    pub epochs: Vec<usize>,
    /// How many samples they trained.
    pub total: usize,
    /// The pictures, the hardest first.
    pub pictures: Vec<Hard>,
}

/// A picture and its losses.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Hard {
    /// What `plan` and `run` call it; null where no picture of the manifest is this sample any more.
    pub item: Option<String>,
    /// What was trained, in hexadecimal digits.
    pub sample: String,
    /// Its training text, or the first of them; null where there is none now.
    pub caption: Option<String>,
    /// How often it appeared.
    pub appearances: u64,
    /// Mean of its losses.
    pub loss: f64,
    /// Mean of its noise levels.
    pub sigma: f64,
    /// Its losses by what all samples have at like noise levels: above 1 it is harder than they are.
    pub relative: f64,
}

/// What [`losses`] finds.
pub enum Found {
    /// There is no finetune stage, or none of this name.
    NoStage,
    /// No training has come to its end yet.
    NotTrained,
    /// The losses.
    Losses(Losses),
}

/// The losses of the last training of the finetune stage `stage` (the first one if none is named), in one
/// epoch or in all.
///
/// # Errors
/// The store or a sidecar cannot be read.
pub fn losses(
    site: &Arc<Site>,
    plan: &Plan,
    stage: Option<&str>,
    epoch: Option<usize>,
) -> Result<Found, StageError> {
    let mut found = without_captions(site, plan, stage, epoch)?;
    if let Found::Losses(losses) = &mut found {
        let captions = captions::captions(site, plan, None, &captions::Asked::default())?;
        let captions = captions.into_iter().flat_map(|all| all.pictures);
        let captions = captions.filter_map(|picture| {
            let text = picture.texts.into_iter().next()?.text;
            Some((picture.item, text))
        });
        let captions = captions.collect::<HashMap<_, _>>();
        for picture in &mut losses.pictures {
            picture.caption = picture.item.as_ref().and_then(|item| captions.get(item).cloned());
        }
    }
    Ok(found)
}

/// The same without captions, for whoever has them.
pub(super) fn without_captions(
    site: &Site,
    plan: &Plan,
    stage: Option<&str>,
    epoch: Option<usize>,
) -> Result<Found, StageError> {
    let stages = site.manifest.stages.iter();
    let mut trainings = stages
        .filter(|stage| matches!(stage.config, StageConfig::Finetune(_)))
        .map(|declared| declared.name.as_str());
    let Some(name) = trainings.find(|name| stage.is_none_or(|stage| stage == *name)) else {
        return Ok(Found::NoStage);
    };
    let last = site.store.last_outputs(name, "model", std::iter::once("model"))?;
    let blob = last.first().and_then(|output| output.as_ref()?.blob("losses.jsonl"));
    let Some(blob) = blob else { return Ok(Found::NotTrained) };
    let bytes = site.store.read(blob)?;
    let lines = String::from_utf8_lossy(&bytes).into_owned();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let lines = lines.filter(|line| epoch.is_none_or(|epoch| epoch == line.epoch));
    let lines = lines.collect::<Vec<_>>();
    let mut epochs = lines.iter().map(|line| line.epoch).collect::<Vec<_>>();
    epochs.sort_unstable();
    epochs.dedup();
    let names = sample_names(site, &plan.upstream(name));
    let pictures = by_sample(&lines).into_iter().map(|picture| {
        let item = names.get(&picture.sample).cloned();
        Hard { item, ..picture }
    });
    let pictures = pictures.collect::<Vec<_>>();
    Ok(Found::Losses(Losses {
        version: 1,
        manifest: String::new(),
        stage: name.to_owned(),
        epochs,
        total: pictures.len(),
        pictures,
    }))
}

/// Samples with the means of their lines, the hardest first. A loss says little by itself, since it
/// depends on the noise level that was drawn: it is compared with those at like levels.
fn by_sample(lines: &[Line]) -> Vec<Hard> {
    let level = |line: &Line| ((line.sigma * LEVELS as f64) as usize).min(LEVELS - 1);
    let mut usual = [(0.0, 0); LEVELS];
    for line in lines {
        let usual = &mut usual[level(line)];
        *usual = (usual.0 + line.loss, usual.1 + 1);
    }
    let mut samples: HashMap<&str, Vec<&Line>> = HashMap::new();
    lines.iter().for_each(|line| samples.entry(&line.sample).or_default().push(line));
    let all = samples.into_iter().map(|(sample, lines)| {
        let appearances = lines.iter().map(|line| line.appearances).sum::<u64>();
        let mean = |value: &dyn Fn(&Line) -> f64| {
            let sum = lines.iter().map(|line| value(line) * line.appearances as f64).sum::<f64>();
            sum / appearances as f64
        };
        let relative = |line: &Line| {
            let (sum, count) = usual[level(line)];
            if sum > 0.0 { line.loss * f64::from(count) / sum } else { 1.0 }
        };
        Hard {
            item: None,
            sample: sample.to_owned(),
            caption: None,
            appearances,
            loss: mean(&|line| line.loss),
            sigma: mean(&|line| line.sigma),
            relative: mean(&relative),
        }
    });
    let mut all = all.collect::<Vec<_>>();
    all.sort_by(|a, b| b.relative.total_cmp(&a.relative).then(a.sample.cmp(&b.sample)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_hard_by_what_others_have_at_its_noise_level() {
        let line = |epoch, sample: &str, loss, sigma| {
            let sample = sample.to_owned();
            Line { epoch, sample, appearances: 1, loss, sigma }
        };
        // `b` has the larger losses, and only because much noise was drawn for it.
        let lines = [
            line(1, "a", 0.4, 0.15),
            line(1, "b", 0.8, 0.95),
            line(2, "c", 0.2, 0.12),
            line(2, "c", 0.8, 0.91),
        ];
        let found = by_sample(&lines);
        let order = found.iter().map(|hard| hard.sample.as_str()).collect::<Vec<_>>();
        assert_eq!(order, ["a", "b", "c"]);
        assert!((found[0].relative - 4.0 / 3.0).abs() < 1e-12);
        assert_eq!(found[2].appearances, 2);
        assert!((found[2].loss - 0.5).abs() < 1e-12);
    }
}
