//! Pictures with the texts that they are trained on, and where each word of these comes from.

use std::{collections::HashSet, sync::Arc};

use rayon::prelude::*;

use super::{Jpeg, thumbnails};
use crate::{
    pipeline::{Plan, StageError},
    stages::{
        Sample, Site,
        captions::{self, Asked, Said, Source},
    },
};

/// Pictures that are decoded at a time: a large one takes hundreds of megabytes.
const AT_A_TIME: usize = 4;

/// A picture and its training texts.
#[derive(Debug)]
pub struct Captioned {
    /// The picture, where its words come from, and how long its texts are.
    pub listed: captions::Captioned,
    /// A small copy; `None` where it cannot be decoded.
    pub thumbnail: Option<Jpeg>,
    /// The texts of `listed`, in pieces.
    pub texts: Vec<Vec<Piece>>,
    /// Whether an encoder does not read all of one of the texts.
    pub is_cut: bool,
    /// Whether it is one of those that stand for the dataset.
    pub is_chosen: bool,
}

/// A piece of a text, all of which comes from one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What stands there.
    pub text: String,
    /// Where it comes from.
    pub from: WordOrigin,
}

/// Where a piece of a training text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WordOrigin {
    /// A network wrote a caption.
    Captioner,
    /// A network gave a tag.
    Tagger,
    /// A person wrote it.
    Hand,
    /// The metadata file has it.
    Metadata,
    /// It is in neither the caption nor the tags: the rules of the manifest put it there, or changed it.
    Rules,
    /// What stands between words.
    Between,
}

impl Captioned {
    /// Its first training text.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        self.listed.texts.first().map(|text| text.text.clone())
    }
}

/// `most` pictures that stand for all, evenly taken, and beside them those of `also`. None where no stage
/// makes training texts.
///
/// # Errors
/// A sidecar, the metadata file or the store cannot be read.
pub fn captioned(
    site: &Arc<Site>,
    plan: &Plan,
    also: &HashSet<String>,
    most: usize,
) -> Result<Vec<Captioned>, StageError> {
    let chosen = evenly(site.samples.len(), most).map(|at| site.samples[at].id.clone());
    let chosen = chosen.collect::<HashSet<_>>();
    let among = chosen.union(also).cloned().collect();
    let asked = Asked { among: Some(among), ..Asked::default() };
    let Some(found) = captions::captions(site, plan, None, &asked)? else { return Ok(Vec::new()) };
    let (clip_limit, t5_limit) = (found.clip_limit, found.t5_limit);
    let thumbnails = thumbnails_of(site, &found.pictures);
    let pictures = found.pictures.into_iter().zip(thumbnails);
    let captioned = pictures.map(|(listed, thumbnail)| Captioned {
        texts: listed.texts.iter().map(|text| pieces(&text.text, &listed.words)).collect(),
        is_cut: listed
            .texts
            .iter()
            .any(|text| text.clip.tokens > clip_limit || text.t5.tokens > t5_limit),
        is_chosen: chosen.contains(&listed.item),
        listed,
        thumbnail,
    });
    Ok(captioned.collect())
}

fn thumbnails_of(site: &Site, pictures: &[captions::Captioned]) -> Vec<Option<Jpeg>> {
    let samples = site.samples.iter().map(|sample| (sample.id.as_str(), sample));
    let samples = samples.collect::<std::collections::HashMap<_, _>>();
    let thumbnail = |sample: &Sample| {
        let upright = site.dataset(sample).exif_orientation;
        let (path, digest) = (&sample.file.path, &sample.digest);
        thumbnails::thumbnail(&site.store, path, digest, upright, thumbnails::OF_DATASET)
    };
    let batches = pictures.chunks(AT_A_TIME);
    let of = |picture: &captions::Captioned| thumbnail(samples.get(picture.item.as_str())?);
    batches.flat_map(|batch| batch.par_iter().map(of).collect::<Vec<_>>()).collect()
}

/// Places of at most `most` of `total` things, as far from each other as can be.
pub fn evenly(total: usize, most: usize) -> impl Iterator<Item = usize> {
    let count = total.min(most);
    (0..count).map(move |index| index * total / count.max(1))
}

/// Cuts a training text where the origin of its words changes: the caption is looked for as a whole, tags
/// one by one. What is found nowhere was put there, or changed, by the rules of the manifest.
fn pieces(text: &str, words: &[Said]) -> Vec<Piece> {
    let said = |name: &str| words.iter().find(|said| said.name == name);
    let caption =
        said("caption").and_then(|said| Some((said.text.as_deref()?.trim(), origin(said))));
    let tags = said("tags").map_or((Vec::new(), WordOrigin::Rules), |said| {
        let tags = said.text.as_deref().unwrap_or_default().split(',').map(str::trim);
        (tags.filter(|tag| !tag.is_empty()).collect(), origin(said))
    });
    let mut pieces = Vec::new();
    let whole = caption.filter(|(caption, _)| !caption.is_empty());
    match whole.and_then(|(caption, from)| Some((text.find(caption)?, caption, from))) {
        Some((at, caption, from)) => {
            tagged(&text[..at], &tags, &mut pieces);
            push(&mut pieces, caption, from);
            tagged(&text[at + caption.len()..], &tags, &mut pieces);
        }
        None => tagged(text, &tags, &mut pieces),
    }
    pieces
}

/// Adds what stands between commas, each by where it comes from.
fn tagged(text: &str, (tags, from): &(Vec<&str>, WordOrigin), pieces: &mut Vec<Piece>) {
    for part in text.split_inclusive(',') {
        let word = part.trim_end_matches(',').trim();
        let Some(at) = part.find(word).filter(|_| !word.is_empty()) else {
            push(pieces, part, WordOrigin::Between);
            continue;
        };
        push(pieces, &part[..at], WordOrigin::Between);
        push(pieces, word, if tags.contains(&word) { *from } else { WordOrigin::Rules });
        push(pieces, &part[at + word.len()..], WordOrigin::Between);
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str, from: WordOrigin) {
    if !text.is_empty() {
        pieces.push(Piece { text: text.to_owned(), from });
    }
}

fn origin(said: &Said) -> WordOrigin {
    match (&said.from, said.name) {
        (Source::Hand { .. }, _) => WordOrigin::Hand,
        (Source::InJson { .. }, _) => WordOrigin::Metadata,
        (Source::Model { .. }, "tags") => WordOrigin::Tagger,
        (Source::Model { .. }, _) => WordOrigin::Captioner,
        (Source::Pending { .. } | Source::LeftOut | Source::Nothing, _) => WordOrigin::Rules,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &'static str, from: Source, text: &str) -> Said {
        Said { name, from, text: Some(text.to_owned()), problem: None }
    }

    #[test]
    fn each_word_knows_where_it_comes_from() {
        let model = Source::Model { stage: "label".to_owned(), model: None };
        let words = [
            said("caption", model, "a red, round ball\n"),
            said("tags", Source::Hand { path: "a.txt".into() }, "ball, red"),
        ];
        let text = "sks, a red, round ball, ball, red, best, , end";
        let found = pieces(text, &words);
        let all = found.iter().map(|piece| piece.text.as_str()).collect::<String>();
        assert_eq!(all, text, "no letter is lost");
        let of = |from: WordOrigin| {
            let of = found.iter().filter(|piece| piece.from == from);
            of.map(|piece| piece.text.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of(WordOrigin::Captioner), ["a red, round ball"]);
        assert_eq!(of(WordOrigin::Hand), ["ball", "red"]);
        assert_eq!(of(WordOrigin::Rules), ["sks", "best", "end"]);
        assert_eq!(pieces("", &words), []);
    }

    #[test]
    fn pictures_that_stand_for_all_are_evenly_taken() {
        assert_eq!(evenly(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
        assert_eq!(evenly(3, 4).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(evenly(0, 4).count(), 0);
    }
}
