//! The training texts of pictures, for people.

use std::collections::HashSet;

use super::{theme, words};
use crate::{
    base::plural,
    stages::captions::{Captioned, Captions, Count, Counted, Said, Source},
};

/// Texts of one picture that are shown; `--json` has all.
const VARIANTS: usize = 3;

/// Characters of a line, behind its indent.
const WIDTH: usize = 96;

/// A few lines per picture, at most `limit` pictures, and what they come to at the end.
#[must_use]
pub fn captions(captions: &Captions, limit: usize) -> String {
    let shown = captions.pictures.iter().take(limit);
    let mut text: String = shown.map(|picture| self::picture(picture, captions) + "\n").collect();
    let count = captions.pictures.len();
    if count > limit {
        let shown = format!("the first {limit} of {} are shown; ", plural(count, "picture"));
        text += &theme::faint(shown + "--limit shows more, --filter others\n");
    }
    text + &summary(captions) + "\n"
}

fn picture(picture: &Captioned, captions: &Captions) -> String {
    let state = match picture.changed {
        Some(true) if picture.made => theme::busy("  changed"),
        Some(true) => theme::faint("  not made yet"),
        Some(false) => String::new(),
        None if is_left_out(picture) => theme::bad("  left out"),
        None => theme::faint("  not known yet"),
    };
    let mut text = format!("{}{state}\n", theme::strong(&picture.item));
    // Draws may come out equal.
    let mut seen = HashSet::new();
    let texts: Vec<_> = picture.texts.iter().filter(|text| seen.insert(&text.text)).collect();
    let count = texts.len();
    for (index, counted) in texts.iter().take(VARIANTS).enumerate() {
        let number = if count > 1 { format!("{}. ", index + 1) } else { String::new() };
        let words = match counted.text.is_empty() {
            true => theme::busy("(empty)"),
            false => counted.text.clone(),
        };
        text += &wrapped(&format!("{number}{words}"), |line| line);
        for (encoder, cut) in [("CLIP", &counted.clip.cut), ("T5", &counted.t5.cut)] {
            if let Some(cut) = cut {
                let cut = cut.trim_start_matches([',', ' ']);
                text += &wrapped(&format!("{encoder} does not read: {cut}"), theme::busy);
            }
        }
    }
    if count > VARIANTS {
        text += &theme::faint(format!("  and {} more\n", count - VARIANTS));
    }
    for said in picture.words.iter().filter(|_| picture.texts.is_empty()) {
        if let Some(known) = &said.text {
            text += &wrapped(&format!("{}: {known}", said.name), |line| line);
        }
    }
    facts(picture, captions).iter().fold(text, |text, fact| text + &wrapped(fact, theme::faint))
}

/// Indented lines of at most [`WIDTH`] characters, each in the style; a longer word has a line of its
/// own, and so has each line of the text.
fn wrapped(text: &str, style: impl Fn(String) -> String) -> String {
    let mut lines = String::new();
    for text in text.split('\n') {
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
                lines += &format!("  {}\n", style(std::mem::take(&mut line)));
            } else if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        lines += &format!("  {}\n", style(line));
    }
    lines
}

/// Where the words come from, what changes them, and how long they are.
fn facts(picture: &Captioned, captions: &Captions) -> Vec<String> {
    let mut facts: Vec<String> = picture.words.iter().filter_map(source).collect();
    if facts.is_empty() {
        facts.push("no caption and no tags".to_owned());
    }
    let mut facts = vec![facts.join(" · ")];
    if !picture.rules.is_empty() {
        facts.push(format!("by {}", picture.rules.join(", ")));
    }
    let longest =
        |count: fn(&Counted) -> &Count| picture.texts.iter().map(|text| count(text).tokens).max();
    if let (Some(clip), Some(t5)) = (longest(|text| &text.clip), longest(|text| &text.t5)) {
        let (clip_limit, t5_limit) = (captions.clip_limit, captions.t5_limit);
        facts.push(format!("CLIP {clip} of {clip_limit}, T5 {t5} of {t5_limit} tokens"));
    }
    facts
}

/// Where words come from; `None` where there are none.
pub(super) fn source(said: &Said) -> Option<String> {
    if let Some(problem) = &said.problem {
        return Some(format!("left out: {problem}"));
    }
    let from = match &said.from {
        Source::Model { stage, model } => {
            let model = model.as_ref().and_then(|model| model.file_name());
            let model = model.map(|model| format!(" ({})", model.display())).unwrap_or_default();
            format!("from {stage}{model}")
        }
        Source::Hand { path } => format!("by hand in {}", path.display()),
        Source::InJson { path } => format!("from {}", path.display()),
        Source::Pending { stage } => format!("to be made by {stage}"),
        Source::LeftOut => "not made: left out".to_owned(),
        Source::Nothing => return None,
    };
    Some(format!("{} {from}", said.name))
}

fn is_left_out(picture: &Captioned) -> bool {
    picture.words.iter().any(|said| said.problem.is_some())
}

fn summary(captions: &Captions) -> String {
    let count = |test: fn(&Captioned) -> bool| {
        captions.pictures.iter().filter(|picture| test(picture)).count()
    };
    let with = |test: &dyn Fn(&Counted) -> bool| {
        captions.pictures.iter().filter(|picture| picture.texts.iter().any(test)).count()
    };
    let mut said = vec![match captions.pictures.len() == captions.total {
        true => plural(captions.total, "picture"),
        false => format!("{} of {}", captions.pictures.len(), plural(captions.total, "picture")),
    }];
    let facts = [
        (count(|picture| !picture.made && picture.changed.is_some()), "not made yet"),
        (
            count(|picture| picture.made && picture.changed == Some(true)),
            "changed since the last run",
        ),
        (count(|picture| picture.changed.is_none() && !is_left_out(picture)), "wait for a stage"),
        (count(is_left_out), "left out"),
        (with(&|text| text.text.is_empty()), "with an empty text"),
        (with(&|text| text.clip.tokens > captions.clip_limit), "longer than CLIP reads"),
        (with(&|text| text.t5.tokens > captions.t5_limit), "longer than T5 reads"),
    ];
    let facts = facts.into_iter().filter(|(count, _)| *count > 0);
    said.extend(facts.map(|(count, what)| format!("{} {what}", words::grouped(count as u64))));
    said.join(" · ")
}
