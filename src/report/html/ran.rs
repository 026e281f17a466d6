//! What ran, how long it took, and why: the last run that did something, stage by stage, and the runs
//! before it.

use serde_json::Value;

use super::{Page, shown_of, summary::ended, table, text::text};
use crate::{
    base::{clock, plural},
    pipeline::{Cause, Origin, PastReason, PastRun, PastStage},
    report::words,
    stages::overview::StageNow,
};

/// Reasons of one stage that are listed.
const REASONS: usize = 8;
/// Names of items beside a reason.
const EXAMPLES: usize = 3;

impl Page<'_> {
    pub(super) fn ran(&self) -> String {
        let runs = &self.overview.runs;
        let Some(run) = runs.shown.iter().find(|run| run.worked()) else { return String::new() };
        let rows = run.stages.iter().map(|stage| self.stage(stage));
        let stages = table(&["Stage", "Items", "Time", "Why"], rows);
        format!("{}{stages}{}", timeline(run), self.runs())
    }

    fn stage(&self, stage: &PastStage) -> Vec<String> {
        let now = self.overview.stages.iter().find(|now| now.name == stage.name);
        let time = match stage.seconds > 0.0 {
            true => words::seconds(stage.seconds),
            false => String::new(),
        };
        vec![format!("<b>{}</b>", text(&stage.name)), items(stage), time, why(stage, now)]
    }

    fn runs(&self) -> String {
        let runs = &self.overview.runs;
        if runs.total < 2 {
            return String::new();
        }
        let row = |run: &PastRun| {
            let (class, how) = ended(run);
            let made = |stage: &PastStage| {
                let made = stage.tally.map_or(0, |tally| tally.run);
                (made > 0).then(|| format!("{} {made}", text(&stage.name)))
            };
            let made = run.stages.iter().filter_map(made).collect::<Vec<_>>();
            let made = if made.is_empty() { "nothing".to_owned() } else { made.join(", ") };
            vec![
                run.began.map_or_else(|| text(&run.id).to_string(), clock::local),
                format!("<span class=\"pill {class}\">{how}</span>"),
                run.seconds.map(words::seconds).unwrap_or_default(),
                made,
            ]
        };
        let rows = table(&["Began", "Ended", "Time", "Items made"], runs.shown.iter().map(row));
        let cap = shown_of(runs.shown.len(), runs.total, "runs", ", the latest first");
        format!(
            "<details><summary>{}</summary>\n{rows}{cap}</details>\n",
            plural(runs.total, "run")
        )
    }
}

/// Bars from the beginning of the run to its end.
fn timeline(run: &PastRun) -> String {
    let working = run.stages.iter().map(|stage| stage.seconds).sum::<f64>();
    let total = run.seconds.unwrap_or(working).max(working);
    if total <= 0.0 {
        return String::new();
    }
    let mut begin = 0.0;
    let mut rows = String::new();
    for stage in run.stages.iter().filter(|stage| stage.seconds > 0.0) {
        let (left, width) = (100.0 * begin / total, 100.0 * stage.seconds / total);
        begin += stage.seconds;
        // What had nothing to do took no time worth a bar.
        if stage.decided.run == 0 && stage.error.is_none() {
            continue;
        }
        let class = if stage.error.is_some() { " bad" } else { "" };
        rows += &format!(
            "<div class=\"row\"><span class=\"name\">{}</span><span class=\"track\">\
             <span class=\"bar{class}\" style=\"left:{left:.2}%;width:{width:.2}%\"></span></span>\
             <span class=\"time\">{}</span></div>\n",
            text(&stage.name),
            words::seconds(stage.seconds)
        );
    }
    format!(
        "<div class=\"timeline\" role=\"img\" aria-label=\"time line of the stages\">\n{rows}</div>\n"
    )
}

/// What became of the items, in words.
fn items(stage: &PastStage) -> String {
    if let Some(because) = &stage.skipped {
        return format!("skipped, since {} failed", text(because));
    }
    let Some(tally) = stage.tally else {
        let decided = stage.decided;
        return format!("{} of {} to run, not ended", decided.run, decided.total);
    };
    let counts = [
        (tally.run, "made"),
        (tally.reused, "reused"),
        (tally.kept, "kept, edited by hand"),
        (tally.failed, "left out"),
        (tally.left, "not reached"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts = counts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>();
    if counts.is_empty() { "no items".to_owned() } else { counts.join("<br>") }
}

fn why(stage: &PastStage, now: Option<&StageNow>) -> String {
    let mut lines = Vec::new();
    if let Some(error) = &stage.error {
        let help = error.help.as_ref().map(|help| format!("<br>{}", text(help)));
        let (message, help) = (text(&error.message), help.unwrap_or_default());
        lines.push(format!("<span class=\"bad\">{message}</span>{help}"));
    }
    if let Some((done, total)) = stage.resumed {
        lines.push(format!("went on from step {done} of {total}"));
    }
    let is_new = stage.decided.run == stage.decided.total;
    let mut reasons = stage.reasons.iter().filter_map(|reason| because(reason, is_new));
    lines.extend(reasons.by_ref().take(REASONS));
    let more = reasons.count() + stage.more_reasons;
    if more > 0 {
        lines.push(format!("and {}", plural(more, "more reason")));
    }
    if stage.decided.run > 0 && lines.is_empty() {
        lines.push("for the first time".to_owned());
    }
    let told = stage.chosen.iter().map(String::as_str);
    let notes = now.into_iter().flat_map(|now| &now.notes);
    let notes = notes.filter(|note| !super::dataset::NOTES.contains(&note.name));
    let told = told.chain(notes.map(|note| note.text.as_str()));
    lines.extend(told.map(|told| format!("<span class=\"faint\">{}</span>", text(told))));
    lines.join("<br>\n")
}

/// `None` where it says no more than that the items are new, as all of the stage are.
fn because(reason: &PastReason, is_new: bool) -> Option<String> {
    let named = || {
        let names = reason.examples.iter().take(EXAMPLES).map(|name| text(name).to_string());
        let names = names.collect::<Vec<_>>();
        let more = reason.items.saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        names.join(", ") + &more
    };
    let part = text(&reason.part);
    let changed = match (&reason.old, &reason.new) {
        (Value::Null, Value::Null) => part.to_string(),
        (old, new) => format!("{part} <code>{}</code> → <code>{}</code>", value(old), value(new)),
    };
    let items = plural(reason.items, "item");
    Some(match (reason.origin, &reason.at) {
        (Cause::New, _) if is_new => return None,
        (Cause::New, _) => format!("new: {}", named()),
        (Cause::Lost, _) => format!("gone from the store: {}", named()),
        (Cause::Forced, _) => "asked for (<code>--force</code>)".to_owned(),
        (Cause::Manifest, Some(Origin::Manifest { path, .. })) => {
            format!("{changed} <span class=\"faint\">({}, {items})</span>", text(path))
        }
        (Cause::Manifest, _) => format!("{changed} <span class=\"faint\">({items})</span>"),
        (Cause::File, Some(Origin::File(path))) if reason.items == 1 => {
            format!("another {part}: {}", text(&path.display().to_string()))
        }
        (Cause::File, _) => format!("another {part}: {}", named()),
        (Cause::Model, Some(Origin::Model(path))) => {
            format!("another network: {}", text(&path.display().to_string()))
        }
        (Cause::Model, _) => format!("another network: {part}"),
        (Cause::Code, Some(Origin::Code(why))) if !why.is_empty() => {
            format!("fluxpipe does it otherwise: {}", text(why))
        }
        (Cause::Code, _) => "fluxpipe does it otherwise".to_owned(),
        (Cause::Upstream | Cause::Follows, Some(Origin::Upstream { stage, .. })) => {
            format!("{} made another {part} <span class=\"faint\">({items})</span>", text(stage))
        }
        (Cause::Upstream | Cause::Follows, _) => format!("another {part}"),
    })
}

/// A value of a key, as its user would write it; digests by their first digits.
fn value(value: &Value) -> String {
    let told = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(small) if number.is_f64() && small.abs() < 1e-3 => super::axis::small(small),
            _ => number.to_string(),
        },
        other => other.to_string(),
    };
    text(&super::text::shortened(&told, 40)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(origin: Cause, at: Option<Origin>, old: Value, new: Value) -> PastReason {
        let examples = vec!["a<b>.png".to_owned()];
        PastReason { part: "learning_rate".to_owned(), origin, old, new, items: 5, at, examples }
    }

    #[test]
    fn a_reason_names_what_changed_and_escapes_it() {
        let path = "stages.finetune.learning_rate".to_owned();
        let at = Some(Origin::Manifest { path, span: None });
        let told = because(&reason(Cause::Manifest, at, 5e-5.into(), 1e-4.into()), false).unwrap();
        assert!(told.contains("<code>5e-5</code> → <code>1e-4</code>"), "{told}");
        assert!(told.contains("stages.finetune.learning_rate, 5 items"), "{told}");
        let new = reason(Cause::New, None, Value::Null, Value::Null);
        assert_eq!(because(&new, false).unwrap(), "new: a&lt;b&gt;.png and 4 more");
        assert!(because(&new, true).is_none());
    }

    #[test]
    fn a_stage_without_an_end_says_so() {
        let mut stage = PastStage::default();
        (stage.decided.run, stage.decided.total) = (3, 5);
        assert_eq!(items(&stage), "3 of 5 to run, not ended");
        assert_eq!(why(&stage, None), "for the first time");
    }
}
