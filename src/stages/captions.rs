//! What each picture is trained with, before or after the stages ran: its words, where they come from,
//! and how many tokens they are. For `fluxpipe captions`; it reads what a plan knows, opens no device
//! and loads no weights.

use std::{path::PathBuf, sync::Arc};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Sample, Site,
    cache::Cache,
    merge::{self, Made, Merge},
    words::{self, Found, Word},
};
use crate::{
    manifest::{self, Params, StageConfig},
    models::tokenizer::{ClipTokenizer, T5Tokenizer, Tokens},
    pipeline::{Output, Plan, StageError},
};

/// The training texts of all pictures.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Captions {
    /// Version of this layout.
    pub version: u32,
    /// The manifest, as the command line names it; filled in by the caller.
    pub manifest: String,
    /// The merge stage that makes the texts.
    pub stage: String,
    /// Tokens that CLIP reads, the marks at both ends counted.
    pub clip_limit: usize,
    /// Tokens that T5 reads, the mark at the end counted.
    pub t5_limit: usize,
    /// Number of pictures of all datasets.
    pub total: usize,
    /// Those that were asked for, in the order of the datasets.
    pub pictures: Vec<Captioned>,
}

/// One picture and its texts.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Captioned {
    /// What `plan` and `run` call it.
    pub item: String,
    /// The picture.
    pub path: PathBuf,
    /// Its words before they are put together: `caption` and `tags`.
    pub words: Vec<Said>,
    /// Keys of the manifest that add to these words or change them.
    pub rules: Vec<String>,
    /// The training texts: one, or as many as are drawn. None while a stage has still to make some of
    /// the words, or where it could not.
    pub texts: Vec<Counted>,
    /// Whether the texts are other ones than those that the last run made, or the first; null where
    /// they are not known yet.
    pub changed: Option<bool>,
}

/// A caption, or the tags.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Said {
    /// `caption` or `tags`.
    pub name: &'static str,
    /// Where they come from.
    pub from: Source,
    /// What they are; null where there are none, or where they have still to be made.
    pub text: Option<String>,
}

/// Where words come from.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A network wrote them.
    Model {
        /// The stage.
        stage: String,
        /// Its network's file.
        model: Option<PathBuf>,
    },
    /// A person did.
    Hand {
        /// The sidecar.
        path: PathBuf,
    },
    /// They stand in the metadata file.
    InJson {
        /// The file.
        path: PathBuf,
    },
    /// A stage has still to make them.
    Pending {
        /// The stage.
        stage: String,
    },
    /// A stage could not make them; the picture is left out.
    LeftOut,
    /// There are none.
    Nothing,
}

/// A text with its lengths.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Counted {
    /// The text.
    pub text: String,
    /// As CLIP reads it.
    pub clip: Count,
    /// As T5 reads it.
    pub t5: Count,
}

/// How long a text is for an encoder.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Count {
    /// Number of tokens, marks at the ends counted, also of those that are not read.
    pub tokens: usize,
    /// The end of the text that is not read; null where all of it is.
    pub cut: Option<String>,
}

/// Lists the training texts of every picture, as the merge stage `stage` makes them (the first one if
/// none is named), given what `plan` knows. `None` where there is no such stage.
///
/// # Errors
/// A sidecar, the metadata file or the store cannot be read.
pub fn captions(
    site: &Arc<Site>,
    plan: &Plan,
    stage: Option<&str>,
) -> Result<Option<Captions>, StageError> {
    let stages = site.manifest.stages.iter();
    let mut merges = stages.filter_map(|declared| match &declared.config {
        StageConfig::Merge(config) => Some((declared.name.as_str(), config)),
        _ => None,
    });
    let found = merges.find(|(name, _)| stage.is_none_or(|stage| stage == *name));
    let Some((name, config)) = found else { return Ok(None) };
    let upstream = plan.upstream(name);
    let rules = site
        .manifest
        .dataset
        .iter()
        .map(|dataset| dataset.caption_rules().into_iter().map(|(name, _)| name).collect());
    let listing = Listing {
        site,
        merge: Merge::new(site, name, config),
        made: merge::made(&upstream),
        t5_limit: t5_limit(site),
        keys: changed_keys(config),
        rules: rules.collect(),
    };
    let ids = site.samples.iter().map(|sample| sample.id.as_str());
    let before = site.store.last_outputs(name, merge::RECIPE, ids)?;
    let pictures = site.samples.par_iter().zip(before);
    let pictures = pictures.map(|(sample, before)| listing.picture(sample, before.as_ref()));
    let pictures = pictures.collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Captions {
        version: 1,
        manifest: String::new(),
        stage: name.to_owned(),
        clip_limit: ClipTokenizer::LENGTH,
        t5_limit: listing.t5_limit,
        total: pictures.len(),
        pictures,
    }))
}

/// What the cache stage lets T5 read.
fn t5_limit(site: &Arc<Site>) -> usize {
    /// What FLUX.1-dev was trained with.
    const USUAL: usize = 512;
    let cache = site.manifest.stages.iter().find_map(|stage| match &stage.config {
        StageConfig::Cache(config) => Cache::new(site, &stage.name, config).ok(),
        _ => None,
    });
    cache.and_then(|cache| cache.t5_length().ok()).unwrap_or(USUAL)
}

/// Keys of `[stages.merge]` that are not at their defaults and change texts.
fn changed_keys(config: &manifest::Merge) -> Vec<String> {
    let defaults = manifest::Merge::default().key_values();
    let changed = config.key_values().into_iter().filter(|value| !defaults.contains(value));
    changed.map(|(name, _)| name).collect()
}

struct Listing<'a> {
    site: &'a Arc<Site>,
    merge: Merge,
    made: Made<'a>,
    t5_limit: usize,
    /// Keys of the stage that change texts.
    keys: Vec<String>,
    /// By dataset: keys that do.
    rules: Vec<Vec<String>>,
}

impl Listing<'_> {
    fn picture(&self, sample: &Sample, before: Option<&Output>) -> Result<Captioned, StageError> {
        let mut said = Vec::new();
        let mut known = true;
        for word in words::WORDS {
            let found = self.merge.find(&self.made, sample, word)?;
            known &= !found.is_pending();
            let text = found.text(word, &self.site.store, sample)?;
            said.push(Said { name: word.name, from: self.source(found, sample, word)?, text });
        }
        let mut texts = Vec::new();
        if known {
            let text = |index: usize| said[index].text.as_deref();
            texts = self.merge.texts(sample, text(0), text(1)).texts;
        }
        let changed = known.then(|| self.is_changed(&texts, before)).transpose()?;
        let has_words =
            said.iter().any(|said| said.text.as_ref().is_some_and(|text| !text.is_empty()));
        // Class tokens stand in where there are no words.
        let rules = self.rules[sample.dataset].iter();
        let rules = rules.filter(|name| *name != "class_tokens" || !has_words).cloned();
        Ok(Captioned {
            item: sample.id.clone(),
            path: sample.file.path.clone(),
            words: said,
            rules: self.keys.iter().cloned().chain(rules).collect(),
            texts: texts.into_iter().map(|text| self.counted(text)).collect(),
            changed,
        })
    }

    fn source(&self, found: Found<'_>, sample: &Sample, word: Word) -> Result<Source, StageError> {
        Ok(match found {
            Found::Made(item) if item.output.is_none() => {
                Source::Pending { stage: item.stage.to_owned() }
            }
            Found::Made(item) => {
                let stage = self.site.manifest.stages.iter().find(|stage| stage.name == item.stage);
                let (extension, model) = match stage.map(|stage| &stage.config) {
                    Some(StageConfig::Label(label)) => {
                        (label.caption_extension.as_str(), &self.site.manifest.models.blip)
                    }
                    Some(StageConfig::Tag(tag)) => {
                        (tag.caption_extension.as_str(), &self.site.manifest.models.tagger)
                    }
                    _ => (word.extension, &None),
                };
                match item.given {
                    true => Source::Hand { path: sample.sidecar(extension)? },
                    false => Source::Model { stage: item.stage.to_owned(), model: model.clone() },
                }
            }
            Found::Hand { path, .. } => Source::Hand { path },
            Found::InJson { path, .. } => Source::InJson { path: path.to_owned() },
            Found::Nothing { .. } => Source::Nothing,
            Found::LeftOut => Source::LeftOut,
        })
    }

    fn is_changed(&self, texts: &[String], before: Option<&Output>) -> Result<bool, StageError> {
        let Some(before) = before else { return Ok(true) };
        for (variant, text) in texts.iter().enumerate() {
            let Some(blob) = before.blob(&words::text_blob(variant)) else { return Ok(true) };
            if self.site.store.read(blob)? != text.as_bytes() {
                return Ok(true);
            }
        }
        Ok(before.blob(&words::text_blob(texts.len())).is_some())
    }

    fn counted(&self, text: String) -> Counted {
        let clip = count(&text, ClipTokenizer::encode);
        let t5 = count(&text, |text| T5Tokenizer::encode(text, self.t5_limit));
        Counted { text, clip, t5 }
    }
}

fn count(text: &str, tokens: impl Fn(&str) -> Tokens) -> Count {
    let whole = tokens(text);
    let cut = (whole.cut > 0).then(|| {
        // The longest beginning that fits: a longer one has no fewer tokens.
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let fitting = ends.partition_point(|&end| tokens(&text[..end]).cut == 0);
        let end = fitting.checked_sub(1).map_or(0, |last| ends[last]);
        text[end..].trim_start().to_owned()
    });
    Count { tokens: whole.real + whole.cut, cut }
}

impl Captioned {
    /// Whether an encoder does not read all of one of its texts.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.texts.iter().any(|text| text.clip.cut.is_some() || text.t5.cut.is_some())
    }

    /// Whether its name or one of its texts contains `text`, in whatever case.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let words = self.words.iter().filter_map(|said| said.text.as_deref());
        let texts = self.texts.iter().map(|counted| counted.text.as_str());
        let all = words.chain(texts).chain([self.item.as_str()]);
        all.into_iter().any(|known| known.to_lowercase().contains(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_where_the_tokens_end() {
        let text = format!("{}cat dog", "a ".repeat(74));
        let counted = count(&text, ClipTokenizer::encode);
        assert_eq!((counted.tokens, counted.cut.as_deref()), (78, Some("dog")));
        let text = "a photograph of a cat";
        let counted = count(text, |text| T5Tokenizer::encode(text, 4));
        let whole = T5Tokenizer::encode(text, 512);
        assert_eq!(counted.tokens, whole.real);
        let cut = counted.cut.unwrap();
        assert!(
            text.ends_with(&cut)
                && T5Tokenizer::encode(&text[..text.len() - cut.len()], 4).cut == 0
        );
        assert!(count("", ClipTokenizer::encode).cut.is_none());
    }
}
