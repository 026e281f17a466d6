//! The dataset: its buckets, and its pictures with the texts that they are trained on.

use std::collections::BTreeSet;

use super::{
    Page, shown_of,
    text::{shortened, text},
};
use crate::{
    base::plural,
    stages::overview::{Bucket, Captioned, Piece, WordOrigin},
};

/// Notes of stages that stand with the buckets.
pub(super) const NOTES: [&str; 4] = ["buckets", "crops", "enlarged", "records"];
/// Buckets that are shown.
const BUCKETS: usize = 32;
/// Texts of one picture that are shown.
const TEXTS: usize = 3;
/// Letters of a piece of a text.
const LETTERS: usize = 1200;

impl Page<'_> {
    pub(super) fn buckets(&self) -> String {
        let buckets = &self.overview.buckets;
        let Some(most) = buckets.iter().map(|bucket| bucket.pictures).max() else {
            return String::new();
        };
        let rows = buckets.iter().take(BUCKETS).map(|bucket| row(bucket, most));
        let datasets = self.overview.datasets.iter().map(|dataset| {
            let repeats = match dataset.repeats {
                1 => String::new(),
                repeats => format!(", each {repeats} times in an epoch"),
            };
            let role = if dataset.is_reg { ", for regularisation" } else { "" };
            format!(
                "<li><span class=\"item\">{}</span>: {}{repeats}{role}</li>\n",
                text(&dataset.folder.display().to_string()),
                plural(dataset.pictures, "picture")
            )
        });
        let notes = self.overview.stages.iter().flat_map(|stage| &stage.notes);
        let notes = notes.filter(|note| note.name != "buckets" && NOTES.contains(&note.name));
        let notes = notes.map(|note| format!("<li>{}</li>\n", text(&note.text)));
        format!(
            "<div class=\"buckets\">\n{}</div>\n{}<ul class=\"facts\">\n{}{}</ul>\n",
            rows.collect::<String>(),
            shown_of(BUCKETS.min(buckets.len()), buckets.len(), "buckets", ", the fullest"),
            datasets.collect::<String>(),
            notes.collect::<String>()
        )
    }

    pub(super) fn captions(&self) -> String {
        let captioned = &self.overview.captioned;
        if captioned.shown.is_empty() {
            return String::new();
        }
        let all = captioned.shown.iter().flat_map(|picture| &picture.texts).flatten();
        let mut known = all.map(|piece| piece.from).collect::<BTreeSet<_>>();
        known.remove(&WordOrigin::Between);
        let keys = known.iter().map(|from| {
            format!(
                "<span class=\"key\"><span class=\"word {}\">{}</span></span>",
                class(*from),
                name(*from)
            )
        });
        let cards = captioned.shown.iter().map(|picture| self.card(picture));
        let how = ", evenly taken; <code>fluxpipe captions</code> lists them all";
        format!(
            "<p class=\"legend\">{}</p>\n<div class=\"cards\">\n{}</div>\n{}",
            keys.collect::<String>(),
            cards.collect::<String>(),
            shown_of(captioned.shown.len(), captioned.total, "pictures", how)
        )
    }

    fn card(&self, picture: &Captioned) -> String {
        let listed = &picture.listed;
        let mut texts = Vec::<String>::new();
        for pieces in &picture.texts {
            let html = pieces.iter().map(piece).collect::<String>();
            // Draws may come out equal.
            if !texts.contains(&html) {
                texts.push(html);
            }
        }
        let more = match texts.len().saturating_sub(TEXTS) {
            0 => String::new(),
            more => format!("<p class=\"faint\">and {}</p>", plural(more, "more text")),
        };
        let shown = texts.iter().take(TEXTS).map(|html| match html.is_empty() {
            true => "<p class=\"faint\">an empty text</p>".to_owned(),
            false => format!("<p class=\"text\" dir=\"auto\">{html}</p>"),
        });
        let facts = listed.words.iter().filter_map(super::super::captions::source);
        let mut facts = facts.map(|fact| text(&fact).to_string()).collect::<Vec<_>>();
        if !listed.rules.is_empty() {
            facts.push(format!("by {}", text(&listed.rules.join(", "))));
        }
        if picture.is_cut {
            facts.push("<span class=\"bad\">longer than an encoder reads</span>".to_owned());
        }
        if listed.texts.is_empty() {
            facts.push("no training text yet".to_owned());
        }
        format!(
            "<article class=\"card\"><div class=\"frame\">{}</div><div><h4 class=\"item\">{}</h4>{}{more}\
             <p class=\"faint\">{}</p></div></article>\n",
            self.pictures.image(picture.thumbnail.as_ref(), &listed.item),
            text(&listed.item),
            shown.collect::<String>(),
            facts.join(" · ")
        )
    }
}

/// A bar with the proportions of its bucket beside it.
fn row(bucket: &Bucket, most: usize) -> String {
    let Bucket { width, height, pictures } = bucket;
    let longer = (*width).max(*height).max(1) as f64;
    let side = |side: usize| 18.0 * side as f64 / longer;
    format!(
        "<div class=\"row\"><span class=\"name\"><span class=\"shape\" \
         style=\"width:{:.0}px;height:{:.0}px\"></span>{width}×{height}</span><span class=\"track\">\
         <span class=\"bar\" style=\"left:0;width:{:.2}%\"></span></span>\
         <span class=\"time\">{pictures}</span></div>\n",
        side(*width),
        side(*height),
        100.0 * *pictures as f64 / most.max(1) as f64
    )
}

fn piece(piece: &Piece) -> String {
    let shown = shortened(&piece.text, LETTERS);
    match piece.from {
        WordOrigin::Between => text(&shown).to_string(),
        from => format!(
            "<span class=\"word {}\" title=\"{}\">{}</span>",
            class(from),
            name(from),
            text(&shown)
        ),
    }
}

fn class(from: WordOrigin) -> &'static str {
    match from {
        WordOrigin::Captioner => "captioner",
        WordOrigin::Tagger => "tagger",
        WordOrigin::Hand => "hand",
        WordOrigin::Metadata => "metadata",
        WordOrigin::Rules => "rules",
        WordOrigin::Between => "between",
    }
}

fn name(from: WordOrigin) -> &'static str {
    match from {
        WordOrigin::Captioner => "a captioner wrote it",
        WordOrigin::Tagger => "a tagger gave it",
        WordOrigin::Hand => "written by hand",
        WordOrigin::Metadata => "from a metadata file",
        WordOrigin::Rules => "put there or changed by rules of the manifest",
        WordOrigin::Between => "",
    }
}
