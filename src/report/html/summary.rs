//! What stands on top: what came of the project, in a few numbers, and before and after in pictures.

use std::collections::HashSet;

use super::{Page, text::text};
use crate::{
    base::{clock, plural},
    pipeline::{PastRun, Stopped},
    report::words,
    stages::overview::{Drawn, Moment, Training},
};

/// Prompts that stand on top.
const PROMPTS: usize = 4;

impl Page<'_> {
    pub(super) fn summary(&self) -> String {
        let overview = self.overview;
        let note = overview.note.as_ref();
        let note = note.map(|note| format!("<p class=\"note\">{}</p>\n", text(note)));
        let missing = overview.missing.iter();
        let missing =
            missing.map(|what| format!("<p class=\"bad\">Not shown: {}</p>\n", text(what)));
        format!(
            "<section class=\"summary\">\n{}{}{}<div class=\"figures\">\n{}</div>\n{}</section>\n",
            self.state(),
            note.unwrap_or_default(),
            missing.collect::<String>(),
            self.figures(),
            self.before_and_after(),
        )
    }

    /// How the last run that did something ended, and whether there is work by now.
    fn state(&self) -> String {
        let runs = &self.overview.runs.shown;
        let Some(run) = runs.iter().find(|run| run.worked()).or(runs.first()) else {
            return "<p class=\"state\">Nothing ran yet.</p>\n".to_owned();
        };
        let (class, how) = ended(run);
        let when = run.began.map_or_else(|| run.id.clone(), clock::local);
        let waiting = self.overview.stages.iter().filter(|stage| stage.counts.run > 0);
        let waiting = waiting.map(|stage| stage.name.as_str()).collect::<Vec<_>>();
        let waiting = match waiting[..] {
            [] => String::new(),
            ref names => format!(" Another run would have work in {}.", names.join(", ")),
        };
        format!(
            "<p class=\"state\"><span class=\"pill {class}\">{how}</span> Run of {when}.{}</p>\n",
            text(&waiting)
        )
    }

    fn figures(&self) -> String {
        let overview = self.overview;
        let mut figures = String::new();
        let mut figure = |name: &str, value: String, more: String| {
            figures += &format!(
                "<div class=\"figure\"><span class=\"name\">{name}</span>\
                 <span class=\"value\">{value}</span><span class=\"more\">{more}</span></div>\n"
            );
        };
        let datasets = plural(overview.datasets.len(), "dataset");
        figure("Pictures", words::grouped(overview.pictures as u64), datasets);
        for training in &overview.trainings {
            if let Some((from, to, of)) = losses(training) {
                figure("Loss", format!("{from:.3} → {to:.3}"), of);
            }
            if let (Some(first), Some(last)) =
                (training.validation.first(), training.validation.last())
            {
                let value = format!("{:.3} → {:.3}", first.loss, last.loss);
                figure("Held out", value, format!("epochs {} to {}", first.epoch, last.epoch));
            }
            if let Some(last) = training.points.last() {
                let state = if training.finished { "" } else { ", not finished" };
                let epochs = format!("{}{state}", plural(last.epoch, "epoch"));
                figure("Steps", words::grouped(last.step as u64), epochs);
            }
        }
        if let Some(run) = overview.runs.shown.iter().find(|run| run.worked()) {
            let seconds =
                run.seconds.unwrap_or_else(|| run.stages.iter().map(|it| it.seconds).sum());
            let slowest = run.stages.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
            let slowest = slowest.filter(|stage| stage.seconds > 0.0).map(|stage| {
                format!("{} of it in {}", words::seconds(stage.seconds), text(&stage.name))
            });
            figure("Duration", words::seconds(seconds), slowest.unwrap_or_default());
        }
        let models = overview.trainings.iter().flat_map(|training| &training.checkpoints);
        if let Some(model) = models.clone().find(|model| !is_on_the_way(&model.path)) {
            let all = models.count();
            let more = match all {
                0 | 1 => words::bytes(model.bytes),
                _ => format!("{}, {}", words::bytes(model.bytes), plural(all, "checkpoint")),
            };
            figure("Model", format!("<small>{}</small>", self.file(&model.path)), more);
        }
        figures
    }

    fn before_and_after(&self) -> String {
        let drawn = self.overview.drawn.shown.iter();
        let tells = |drawn: &&Drawn| {
            drawn.moments.len() > 1 || drawn.moments.iter().any(|moment| moment.is_pair)
        };
        // Of one prompt one pair: what it learned shows in many prompts sooner than in many seeds.
        let mut seen = HashSet::new();
        let compared = drawn.filter(tells).filter(|drawn| seen.insert(&drawn.prompt)).take(PROMPTS);
        let pairs = compared.filter_map(|drawn| self.pair(drawn)).collect::<String>();
        match pairs.is_empty() {
            true => pairs,
            false => format!("<div class=\"pairs\">\n{pairs}</div>\n"),
        }
    }

    fn pair(&self, drawn: &Drawn) -> Option<String> {
        let (first, last) = (drawn.moments.first()?, drawn.moments.last()?);
        let picture = |moment: &Moment| {
            let alt = format!("{}, {}", drawn.prompt, moment.when);
            let when = match moment.when.as_str() {
                "" => "after",
                when => when,
            };
            let image = self.pictures.image(moment.thumbnail.as_ref(), &alt);
            format!("<figure>{image}<figcaption>{}</figcaption></figure>", text(when))
        };
        let prompt = super::text::shortened(&drawn.prompt, 160);
        if let Some(pair) = drawn.moments.iter().find(|moment| moment.is_pair) {
            let (picture, prompt) = (picture(pair), text(&prompt));
            return Some(format!(
                "<div class=\"pair\">{picture}<p class=\"prompt\">{prompt}</p></div>\n"
            ));
        }
        Some(format!(
            "<div class=\"pair\"><div class=\"two\">{}{}</div><p class=\"prompt\">{}</p></div>\n",
            picture(first),
            picture(last),
            text(&prompt)
        ))
    }
}

/// Class of the style sheet and a word.
pub(super) fn ended(run: &PastRun) -> (&'static str, &'static str) {
    match (run.seconds, run.stopped) {
        (None, _) => ("busy", "not ended"),
        (Some(_), None) => ("good", "done"),
        (Some(_), Some(Stopped::Failed)) => ("bad", "failed"),
        (Some(_), Some(Stopped::Cancelled)) => ("busy", "stopped"),
    }
}

/// Whether a checkpoint was saved on the way: `-000003`, `-step00000500`.
fn is_on_the_way(path: &std::path::Path) -> bool {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let last = stem.as_deref().and_then(|stem| stem.rsplit_once('-')).map(|(_, last)| last);
    last.is_some_and(|last| {
        let digits = last.strip_prefix("step").unwrap_or(last);
        digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Mean loss of the first and of the last epoch; of a training of one epoch, of its first and last tenth.
fn losses(training: &Training) -> Option<(f64, f64, String)> {
    let points = &training.points;
    let (first, last) = (points.first()?, points.last()?);
    let mean = |losses: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = losses.fold((0.0, 0), |(sum, count), loss| (sum + loss, count + 1));
        sum / f64::from(count.max(1))
    };
    if first.epoch < last.epoch {
        let of = |epoch: usize| {
            mean(&mut points.iter().filter(|point| point.epoch == epoch).map(|point| point.loss))
        };
        let told = "mean of the first and the last epoch".to_owned();
        return Some((of(first.epoch), of(last.epoch), told));
    }
    let tenth = points.len().div_ceil(10);
    let from = mean(&mut points.iter().take(tenth).map(|point| point.loss));
    let to = mean(&mut points.iter().rev().take(tenth).map(|point| point.loss));
    let of = match tenth {
        1 => "mean of the first and of the last step".to_owned(),
        _ => format!("mean of the first and of the last {tenth} steps"),
    };
    Some((from, to, of))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::overview::Point;

    #[test]
    fn the_model_on_top_is_the_last_one() {
        for name in ["a-000003.safetensors", "a-step00000500.safetensors"] {
            assert!(is_on_the_way(name.as_ref()), "{name}");
        }
        for name in ["a.safetensors", "a-ema.safetensors", "my-2024.safetensors"] {
            assert!(!is_on_the_way(name.as_ref()), "{name}");
        }
    }

    #[test]
    fn losses_are_means_of_epochs_or_of_tenths() {
        let point = |epoch, step, loss| Point { epoch, step, loss, learning_rate: 0.0 };
        let mut training = Training {
            points: vec![point(1, 1, 4.0), point(1, 2, 2.0), point(2, 3, 1.0)],
            ..Training::default()
        };
        let (from, to, _) = losses(&training).unwrap();
        assert_eq!((from, to), (3.0, 1.0));
        training.points.pop();
        let (from, to, of) = losses(&training).unwrap();
        assert_eq!((from, to, of.as_str()), (4.0, 2.0, "mean of the first and of the last step"));
        training.points.clear();
        assert!(losses(&training).is_none());
    }
}
