//! The training in curves and numbers, and the pictures that it found hardest.

use super::{
    Page,
    chart::{Chart, Line, smoothed, span},
    table,
    text::{shortened, text},
};
use crate::{
    base::plural,
    report::words,
    stages::overview::{Hard, Point, Speed, Training},
};

/// Epochs that are marked in a chart.
const EPOCHS: usize = 40;

impl Page<'_> {
    pub(super) fn training(&self) -> String {
        let trainings = &self.overview.trainings;
        let told = trainings.iter().map(|training| {
            let name = match trainings.len() {
                1 => String::new(),
                _ => format!("<h3>{}</h3>\n", text(&training.stage)),
            };
            format!("{name}{}{}", curves(training), self.speed(training))
        });
        told.collect()
    }

    fn speed(&self, training: &Training) -> String {
        let Some(speed) = &training.speed else { return String::new() };
        let chosen = self.overview.runs.shown.iter().flat_map(|run| &run.stages);
        let chosen = chosen.filter(|stage| stage.name == training.stage);
        let chosen = chosen.flat_map(|stage| &stage.chosen).next();
        let rows = facts(speed)
            .into_iter()
            .chain(chosen.map(|chosen| ("Chosen for this machine", text(chosen).to_string())));
        let rows = rows.map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n"));
        format!(
            "<h3>Memory and speed</h3>\n<dl>\n{}</dl>\n{}",
            rows.collect::<String>(),
            pace(speed)
        )
    }

    pub(super) fn hardest(&self) -> String {
        let trainings = self.overview.trainings.iter();
        let told = trainings.filter(|training| !training.hardest.is_empty()).map(|training| {
            let pictures = training.hardest.iter().map(|hard| self.hard(hard));
            format!("<div class=\"hardest\">\n{}</div>\n", pictures.collect::<String>())
        });
        let told = told.collect::<String>();
        if told.is_empty() {
            return told;
        }
        "<p class=\"lead\">The pictures whose losses were largest beside others' at like noise levels: \
         <b>1.30×</b> is 30 % larger. Often a caption does not fit, or there is no other picture like \
         it.</p>\n"
            .to_owned()
            + &told
            + "<p class=\"cap\"><code>fluxpipe losses</code> lists them all.</p>\n"
    }

    fn hard(&self, hard: &Hard) -> String {
        let name = hard.item.as_deref().unwrap_or("not in the manifest any more");
        let caption = hard.caption.as_deref().unwrap_or_default();
        format!(
            "<figure>{}<figcaption><b>{:.2}×</b> <span class=\"faint\">loss {:.3}, {}</span><br>\
             <span class=\"item\">{}</span><br>{}</figcaption></figure>\n",
            self.pictures.image(hard.thumbnail.as_ref(), name),
            hard.relative,
            hard.loss,
            match hard.appearances {
                1 => "once".to_owned(),
                times => format!("{times} times"),
            },
            text(name),
            text(&shortened(caption, 140))
        )
    }
}

/// The losses over the learning rate.
fn curves(training: &Training) -> String {
    let of = |value: fn(&Point) -> f64| {
        let points = training.points.iter().map(|point| (point.step as f64, value(point)));
        points.collect::<Vec<_>>()
    };
    let raw = of(|point| point.loss);
    let over = (raw.len() as f64 / 20.0).clamp(3.0, 100.0).round();
    let smooth = smoothed(&raw, over);
    let held_out = training.validation.iter().map(|it| (it.step as f64, it.loss));
    let held_out = held_out.collect::<Vec<_>>();
    let shown = raw.iter().chain(&smooth).chain(&held_out);
    let (Some(height), Some(range)) = (span(shown), range(&raw)) else { return String::new() };
    let beyond = raw.iter().filter(|(_, loss)| *loss > height.1 || *loss < height.0).count();
    let has_held_out = !held_out.is_empty();
    let lines = [
        Line { class: "raw", points: raw, dots: false },
        Line { class: "smooth", points: smooth, dots: false },
        Line { class: "held-out", points: held_out, dots: true },
    ];
    let chart = Chart {
        title: &format!("loss by step of {}", training.stage),
        across: "step",
        up: "loss",
        range,
        height,
        pixels: 320.0,
        lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
        marks: epochs(&training.points),
    };
    let mut legend = "<span class=\"key raw\">loss of each step</span>".to_owned()
        + &format!("<span class=\"key smooth\">smoothed over {over} steps</span>");
    if has_held_out {
        legend += "<span class=\"key held-out\">held out, after each epoch</span>";
    }
    if beyond > 0 {
        legend +=
            &format!("<span class=\"faint\">{} beyond the axis</span>", plural(beyond, "step"));
    }
    format!(
        "<figure class=\"plot\"><figcaption class=\"legend\">{legend}</figcaption>\n{}</figure>\n{}",
        chart.html(),
        rate(&of(|point| point.learning_rate), range, training)
    )
}

fn rate(rates: &[(f64, f64)], range: (f64, f64), training: &Training) -> String {
    let highest = rates.iter().fold(0.0_f64, |highest, (_, rate)| highest.max(*rate));
    if highest <= 0.0 {
        return String::new();
    }
    let chart = Chart {
        title: &format!("learning rate by step of {}", training.stage),
        across: "step",
        up: "learning rate",
        range,
        height: (0.0, highest * 1.1),
        pixels: 150.0,
        lines: vec![Line { class: "rate", points: rates.to_vec(), dots: false }],
        marks: Vec::new(),
    };
    format!("<figure class=\"plot\">\n{}</figure>\n", chart.html())
}

/// From the first step to the last.
fn range(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    Some((points.first()?.0, points.last()?.0))
}

/// Where epochs end; of many a part.
fn epochs(points: &[Point]) -> Vec<(f64, String)> {
    let ends = points.windows(2).filter(|two| two[0].epoch != two[1].epoch);
    let ends = ends.map(|two| (two[0].step as f64 + 0.5, two[0].epoch)).collect::<Vec<_>>();
    let every = ends.len().div_ceil(EPOCHS).max(1);
    let chosen = ends.into_iter().filter(|(_, epoch)| epoch % every == 0);
    chosen.map(|(place, epoch)| (place, format!("epoch {epoch}"))).collect()
}

fn facts(speed: &Speed) -> Vec<(&'static str, String)> {
    let mut seconds = speed.seconds.iter().map(|(_, seconds)| *seconds).collect::<Vec<_>>();
    seconds.sort_by(f64::total_cmp);
    let total = seconds.iter().sum::<f64>();
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or(0.0);
    let mut facts = vec![
        ("Seconds a step", format!("{median:.3} in the median")),
        ("Time in steps", words::seconds(total)),
        ("Pictures a second", format!("{:.2} in the mean", speed.samples_per_second)),
        ("Arithmetic", format!("{:.3} TFLOP/s in the mean", speed.tflops)),
    ];
    if let Some(share) = speed.share_of_matrix_rate {
        let share = format!("{:.0} % of what this device does in matrix products", 100.0 * share);
        facts.push(("Share of the device", share));
    }
    if speed.host_memory_peak > 0 {
        facts.push((
            "Memory of the host",
            format!("{} at most", words::bytes(speed.host_memory_peak)),
        ));
    }
    let by = ["computation", "reading", "swapping"].iter().zip(speed.limited_by);
    let by = by.filter(|(_, share)| *share > 0.0);
    let by = by.map(|(what, share)| format!("{what} {:.0} % of steps", 100.0 * share));
    let by = by.collect::<Vec<_>>();
    if !by.is_empty() {
        facts.push(("Limited by", by.join(", ")));
    }
    facts
}

/// Seconds of each step: what slows a training down on its way is seen here.
fn pace(speed: &Speed) -> String {
    let points = speed.seconds.iter().map(|(step, seconds)| (*step as f64, *seconds));
    let points = points.collect::<Vec<_>>();
    let (Some((_, high)), Some(range)) = (span(points.iter()), range(&points)) else {
        return String::new();
    };
    if points.len() < 2 {
        return String::new();
    }
    let chart = Chart {
        title: "seconds a step",
        across: "step",
        up: "seconds a step",
        range,
        height: (0.0, high),
        pixels: 150.0,
        lines: vec![Line { class: "rate", points, dots: false }],
        marks: Vec::new(),
    };
    format!("<figure class=\"plot\">\n{}</figure>\n", chart.html())
}

impl Page<'_> {
    /// Warnings and what was left out.
    pub(super) fn warnings(&self) -> String {
        let warnings = self.overview.warnings.iter().map(|(stage, warning)| {
            let names = warning.examples.iter().take(5).map(|name| text(name).to_string());
            let names = names.collect::<Vec<_>>();
            let more = warning.items.saturating_sub(names.len());
            let names = match (names.is_empty(), more) {
                (true, _) => String::new(),
                (false, 0) => format!(": {}", names.join(", ")),
                (false, more) => format!(": {} and {more} more", names.join(", ")),
            };
            let help = warning.help.as_ref().map(|help| format!("<br>{}", text(help)));
            format!(
                "<li><b>{}</b> {}{names}<span class=\"faint\">{}</span></li>\n",
                text(stage),
                text(&warning.message),
                help.unwrap_or_default()
            )
        });
        let warnings = warnings.collect::<String>();
        let warnings = match warnings.is_empty() {
            true => warnings,
            false => format!("<ul class=\"warnings\">\n{warnings}</ul>\n"),
        };
        let failures = &self.overview.failures;
        let rows = failures.shown.iter().map(|(stage, item, failure)| {
            let help = failure.help.as_deref().unwrap_or_default();
            vec![
                format!("<span class=\"item\">{}</span>", text(item)),
                text(stage).to_string(),
                format!(
                    "{}<br><span class=\"faint\">{}</span>",
                    text(&failure.message),
                    text(help)
                ),
            ]
        });
        let rows = table(&["Left out", "Stage", "Why"], rows);
        let cap =
            super::shown_of(failures.shown.len(), failures.total, "items that are left out", "");
        format!("{warnings}{rows}{cap}")
    }
}
