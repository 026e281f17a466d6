//! What each picture is trained with, before or after the stages ran: its words, where they come from,
//! and how many tokens they are. For `fluxpipe captions`; it reads what a plan knows, opens no device
//! and loads no weights.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Sample, Site,
    cache::Cache,
    merge::{
        self, Made, Merge,
        words::{self, Found, Rules, Word},
    },
    variants,
};
use crate::{
    manifest::{self, Params, StageConfig},
    models::tokenizer::{ClipTokenizer, T5Tokenizer, Tokens},
    pipeline::{ItemState, Output, Plan, StageError},
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
    /// Keys of the manifest without which the texts would be other ones; none while there are no texts.
    pub rules: Vec<String>,
    /// The training texts: one, or as many as are drawn. None while a stage has still to make some of
    /// the words, or where it could not.
    pub texts: Vec<Counted>,
    /// Whether the texts are other ones than those that the last run made, or the first; null where
    /// they are not known yet.
    pub changed: Option<bool>,
    /// Whether a run made texts of it before.
    pub made: bool,
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
    /// Why the picture is left out, such as a file that is no text; null where it is not.
    pub problem: Option<String>,
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
    // Filled in by `Captions::tell_cuts`.
    pub cut: Option<String>,
}

/// Which pictures are asked for: those for which all of this holds.
#[derive(Debug, Default)]
pub struct Asked {
    /// Their texts are not those of the last run, or not known yet.
    pub changed: bool,
    /// Their name, words or texts contain this, in whatever case.
    pub filter: Option<String>,
    /// An encoder does not read all of one of their texts.
    pub cut: bool,
    /// They are among these items; whoever shows a few of many does not wait for all.
    pub among: Option<HashSet<String>>,
}

/// Lists the training texts of the pictures that are asked for, as the merge stage `stage` makes them
/// (the first one if none is named), given what `plan` knows. `None` where there is no such stage.
///
/// # Errors
/// A sidecar, the metadata file or the store cannot be read.
pub fn captions(
    site: &Arc<Site>,
    plan: &Plan,
    stage: Option<&str>,
    asked: &Asked,
) -> Result<Option<Captions>, StageError> {
    let stages = site.manifest.stages.iter();
    let mut merges = stages.filter_map(|declared| match &declared.config {
        StageConfig::Merge(config) => Some((declared.name.as_str(), config)),
        _ => None,
    });
    let found = merges.find(|(name, _)| stage.is_none_or(|stage| stage == *name));
    let Some((name, config)) = found else { return Ok(None) };
    let upstream = plan.upstream(name);
    let merge = Merge::new(site, name, config);
    let keys = changed_keys(config);
    let without = site.manifest.dataset.iter().enumerate().map(|(index, dataset)| {
        let rules = dataset.caption_rules().into_iter().map(|(name, _)| name);
        // A number of texts changes none.
        let rules = rules.filter(|name| name != "caption_variants");
        merge.without_each(index, &keys.iter().cloned().chain(rules).collect::<Vec<_>>())
    });
    let without = without.collect();
    let listing = Listing {
        site,
        plan,
        merge,
        made: merge::made(&upstream),
        t5_limit: t5_limit(site),
        without,
        asked,
        filter: asked.filter.as_ref().map(|text| text.to_lowercase()),
    };
    let ids = site.samples.iter().map(|sample| sample.id.as_str());
    let before = site.store.last_outputs(name, merge::RECIPE, ids)?;
    let is_among = |sample: &Sample| match &asked.among {
        Some(among) => among.contains(&sample.id),
        None => true,
    };
    let pictures = site.samples.par_iter().zip(before).filter(|(sample, _)| is_among(sample));
    let pictures = pictures.map(|(sample, before)| listing.picture(sample, before.as_ref()));
    let pictures = pictures.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Captions {
        version: 1,
        manifest: String::new(),
        stage: name.to_owned(),
        clip_limit: ClipTokenizer::LENGTH,
        t5_limit: listing.t5_limit,
        total: site.samples.len(),
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
    plan: &'a Plan,
    merge: Merge,
    made: Made<'a>,
    t5_limit: usize,
    /// By dataset: keys that may change texts, and the rules without each.
    without: Vec<Vec<(String, Rules)>>,
    asked: &'a Asked,
    /// In lower case.
    filter: Option<String>,
}

impl Listing<'_> {
    /// `None` where it is not asked for.
    fn picture(
        &self,
        sample: &Sample,
        before: Option<&Output>,
    ) -> Result<Option<Captioned>, StageError> {
        let mut said = Vec::new();
        let mut known = true;
        for word in words::WORDS {
            let found = self.merge.find(&self.made, sample, word)?;
            let problem = match found {
                Found::LeftOut => self.problem(sample, word),
                _ => found.failure().map(|failure| failure.message),
            };
            known &= !found.is_pending() && problem.is_none();
            let text = match problem {
                Some(_) => None,
                None => found.text(word, &self.site.store, sample)?,
            };
            let from = self.source(found, sample, word)?;
            said.push(Said { name: word.name, from, text, problem });
        }
        let mut texts = Vec::new();
        if known {
            let text = |index: usize| said[index].text.as_deref();
            texts = self.merge.texts(sample, text(0), text(1)).texts;
        }
        let changed = known.then(|| self.is_changed(&texts, before)).transpose()?;
        if (self.asked.changed && changed == Some(false)) || !self.contains(sample, &said, &texts) {
            return Ok(None);
        }
        let rules = if known { self.rules(sample, &said, &texts) } else { Vec::new() };
        let texts: Vec<_> = texts.into_iter().map(|text| self.counted(text)).collect();
        let is_cut = |text: &Counted| {
            text.clip.tokens > ClipTokenizer::LENGTH || text.t5.tokens > self.t5_limit
        };
        if self.asked.cut && !texts.iter().any(is_cut) {
            return Ok(None);
        }
        Ok(Some(Captioned {
            item: sample.id.clone(),
            path: sample.file.path.clone(),
            words: said,
            rules,
            texts,
            changed,
            made: before.is_some(),
        }))
    }

    /// Why a stage that makes these words leaves the sample out.
    fn problem(&self, sample: &Sample, word: Word) -> Option<String> {
        let stages = self.plan.stages.iter().filter(|stage| stage.kind == word.kind);
        let mut decisions = stages.flat_map(|stage| &stage.decisions);
        decisions.find_map(|decision| match &decision.state {
            ItemState::Failed(failure) if decision.spec.id == sample.id => {
                Some(failure.message.clone())
            }
            _ => None,
        })
    }

    /// Keys without which these texts would be other ones.
    fn rules(&self, sample: &Sample, said: &[Said], texts: &[String]) -> Vec<String> {
        let text = |index: usize| said[index].text.as_deref();
        let without = self.without[sample.dataset].iter();
        // Without a draw there is one text, which may be the same as all of those that are drawn.
        let distinct = |texts: &[String]| texts.iter().cloned().collect::<HashSet<_>>();
        let texts = distinct(texts);
        let counting =
            without.filter(|(_, rules)| distinct(&rules.texts(text(0), text(1)).texts) != texts);
        counting.map(|(key, _)| key.clone()).collect()
    }

    fn contains(&self, sample: &Sample, said: &[Said], texts: &[String]) -> bool {
        let Some(wanted) = &self.filter else { return true };
        let words = said.iter().filter_map(|said| said.text.as_ref());
        let mut all = words.chain(texts).chain([&sample.id]);
        all.any(|known| known.to_lowercase().contains(wanted))
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
            Found::LeftOut | Found::NoFile(_) => Source::LeftOut,
        })
    }

    fn is_changed(&self, texts: &[String], before: Option<&Output>) -> Result<bool, StageError> {
        let Some(before) = before else { return Ok(true) };
        for (variant, text) in (0..).zip(texts) {
            let Some(blob) = before.blob(&variants::blob(variant)) else { return Ok(true) };
            if self.site.store.read(blob)? != text.as_bytes() {
                return Ok(true);
            }
        }
        Ok(before.blob(&variants::blob(texts.len() as u32)).is_some())
    }

    fn counted(&self, text: String) -> Counted {
        let count = |tokens: Tokens| Count { tokens: tokens.real + tokens.cut, cut: None };
        let clip = count(ClipTokenizer::encode(&text));
        let t5 = count(T5Tokenizer::encode(&text, self.t5_limit));
        Counted { text, clip, t5 }
    }
}

impl Captions {
    /// Fills in what the encoders do not read, for the first `count` pictures: to find the place costs
    /// several times what counting does.
    pub fn tell_cuts(&mut self, count: usize) {
        let (clip_limit, t5_limit) = (self.clip_limit, self.t5_limit);
        self.pictures.par_iter_mut().take(count).for_each(|picture| {
            for Counted { text, clip, t5 } in &mut picture.texts {
                if clip.tokens > clip_limit {
                    clip.cut = Some(cut_off(text, ClipTokenizer::encode));
                }
                if t5.tokens > t5_limit {
                    t5.cut = Some(cut_off(text, |text| T5Tokenizer::encode(text, t5_limit)));
                }
            }
        });
    }
}

/// What is left of a text behind the longest beginning that fits: a longer one has no fewer tokens.
fn cut_off(text: &str, tokens: impl Fn(&str) -> Tokens) -> String {
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let fitting = ends.partition_point(|&end| tokens(&text[..end]).cut == 0);
    let end = fitting.checked_sub(1).map_or(0, |last| ends[last]);
    text[end..].trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_where_the_tokens_end() {
        let text = format!("{}cat dog", "a ".repeat(74));
        assert_eq!(cut_off(&text, ClipTokenizer::encode), "dog");
        let (text, tokens) = ("a photograph of a cat", |text: &str| T5Tokenizer::encode(text, 4));
        let cut = cut_off(text, tokens);
        assert!(text.ends_with(&cut) && !cut.is_empty());
        assert_eq!(tokens(&text[..text.len() - cut.len()]).cut, 0);
    }
}
