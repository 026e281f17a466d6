//! The words of a sample: where its caption and tags come from, and the texts that are made of them.
//! The stage `merge` and `fluxpipe captions` both ask here.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use crate::stages::{Sample, Site, variants};
use crate::{
    base::{Digest, Stream, Value, disk},
    dataset::{self, CaptionRules, MergeRules, Merged, TokenWarmup},
    manifest::{self, Dataset},
    pipeline::{Draft, ItemFailure, KeyPart, Origin, StageError, Store, UpstreamItem},
};

/// A sort of words that goes into the training text.
#[derive(Clone, Copy)]
pub(in crate::stages) struct Word {
    /// Its blob, and its field in a metadata file.
    pub name: &'static str,
    /// Kind of the stage that makes it.
    pub kind: &'static str,
    /// Extension of the sidecar that stands for it where no stage does.
    pub extension: &'static str,
}

/// So many draws that came out as earlier ones mean that there are no other texts: of eight equally
/// likely ones the last is missed once in 4 500 times.
const ATTEMPTS: u64 = 64;

/// A description. A dataset may say another extension.
pub(in crate::stages) const CAPTION: Word =
    Word { name: "caption", kind: "label", extension: ".caption" };

/// All sorts.
pub(in crate::stages) const WORDS: [Word; 2] =
    [CAPTION, Word { name: "tags", kind: "tag", extension: ".txt" }];

/// Where a sample's caption or tags come from.
pub(in crate::stages) enum Found<'a> {
    /// A needed stage made it, or will; or its human gave it to that stage.
    Made(UpstreamItem<'a>),
    /// A sidecar that no stage writes.
    Hand { path: PathBuf, bytes: Vec<u8> },
    /// The metadata file that the manifest names.
    InJson { path: &'a Path, text: &'a str },
    /// There is none; a sidecar would lie there.
    Nothing { path: PathBuf },
    /// A needed stage could not make it.
    LeftOut,
    /// What lies in the place of a sidecar is no file.
    NoFile(ItemFailure),
}

impl Found<'_> {
    /// Whether a stage has still to make it, or could not.
    pub fn is_pending(&self) -> bool {
        match self {
            Self::Made(item) => item.output.is_none(),
            Self::LeftOut => true,
            _ => false,
        }
    }

    /// Why a sidecar is not used: it is no text, or no file.
    pub fn failure(&self) -> Option<ItemFailure> {
        if let Self::NoFile(failure) = self {
            return Some(failure.clone());
        }
        let Self::Hand { path, bytes } = self else { return None };
        dataset::decode_text(bytes, path).err().map(|error| ItemFailure::of(&error))
    }

    /// The key part for it; `None` where the sample is left out.
    pub fn part(self, word: Word) -> Option<KeyPart> {
        Some(match self {
            Self::Made(item) => item.part(word.name, word.name),
            Self::Hand { path, bytes } => {
                KeyPart::new(word.name, Digest::of(&bytes), Origin::File(path))
            }
            Self::InJson { path, text } => {
                let file = Origin::File(path.to_owned());
                KeyPart::new(word.name, Digest::of(text.as_bytes()), file)
            }
            Self::Nothing { path } => KeyPart::new(word.name, Value::None, Origin::File(path)),
            Self::LeftOut | Self::NoFile(_) => return None,
        })
    }

    /// The text, if there is one.
    pub fn text(
        &self,
        word: Word,
        store: &Store,
        sample: &Sample,
    ) -> Result<Option<String>, StageError> {
        Ok(match self {
            Self::Made(item) => {
                let blob = item.output.and_then(|output| output.blob(word.name));
                let Some(blob) = blob else { return Ok(None) };
                Some(dataset::decode_text(&store.read(blob)?, &sample.file.path)?)
            }
            Self::Hand { path, bytes } => Some(dataset::decode_text(bytes, path)?),
            Self::InJson { path, text } => Some(dataset::decode_text(text.as_bytes(), path)?),
            Self::Nothing { .. } | Self::LeftOut | Self::NoFile(_) => None,
        })
    }
}

/// What makes the training texts of one dataset's samples.
pub(in crate::stages) struct Rules {
    merge: MergeRules,
    captions: CaptionRules,
    seed: u64,
    variants: u32,
}

/// The words of one sample after the merge.
pub(in crate::stages) struct Texts {
    /// Caption, tags, and the text before anything is drawn.
    pub merged: Merged,
    /// The training texts; one where nothing is drawn.
    pub texts: Vec<String>,
}

impl Rules {
    /// `tag_separator` is what stands between two tags.
    pub fn new(config: &manifest::Merge, dataset: &Dataset, tag_separator: &str) -> Self {
        let warmup =
            TokenWarmup { min: dataset.token_warmup_min as usize, step: dataset.token_warmup_step };
        let merge = MergeRules {
            clean_captions: config.clean_captions,
            clean_tags: config.clean_tags,
            replace_tags: config.replace_tags.pairs().unwrap_or_default(),
            remove_tags: config.remove_tags.tags(tag_separator),
            deduplicate_tags: config.deduplicate_tags,
            prepend_tags: config.prepend_tags.clone(),
            append_tags: config.append_tags.clone(),
            tag_separator: tag_separator.to_owned(),
            template: config.template.clone(),
            class_tokens: dataset.class_tokens.clone(),
            lines: dataset.enable_wildcard,
        };
        let captions = CaptionRules {
            caption_prefix: dataset.caption_prefix.clone(),
            caption_suffix: dataset.caption_suffix.clone(),
            caption_separator: dataset.caption_separator.clone(),
            secondary_separator: dataset.secondary_separator.clone(),
            shuffle_caption: dataset.shuffle_caption,
            keep_tokens: dataset.keep_tokens as usize,
            keep_tokens_separator: dataset.keep_tokens_separator.clone(),
            enable_wildcard: dataset.enable_wildcard,
            caption_tag_dropout_rate: dataset.caption_tag_dropout_rate,
            token_warmup: (warmup.step > 0.0).then_some(warmup),
        };
        Self { merge, captions, seed: config.seed, variants: dataset.variants() }
    }

    /// Whether a sample with these words is trained on an empty text.
    pub fn is_empty(&self, caption: Option<&str>, tags: Option<&str>) -> bool {
        let added =
            self.captions.caption_prefix.is_some() || self.captions.caption_suffix.is_some();
        !added && dataset::training_caption(caption, tags, &self.merge).text.is_empty()
    }

    /// The texts of a sample. Draws are named by the text that they are made for, the number of the
    /// variant and that of the attempt, so a renamed picture keeps its texts. A text that was drawn
    /// before is drawn again until it is another one, or there seem to be no others. Of a token warm-up, variant `v` of `n` is
    /// the text after the share `v / n` of the training.
    pub fn texts(&self, caption: Option<&str>, tags: Option<&str>) -> Texts {
        let merged = dataset::training_caption(caption, tags, &self.merge);
        let digest = Digest::of(merged.text.as_bytes());
        let text = |variant: u32, attempt: u64| {
            let place = [u64::from(variant), attempt];
            // The first attempt has the name that the variant has alone.
            let place = if attempt == 0 { &place[..1] } else { &place[..] };
            let mut draws = Stream::new(self.seed, "caption", Some(&digest), place);
            let progress = f64::from(variant) / f64::from(self.variants);
            self.captions.apply(&merged.text, progress, &mut draws)
        };
        let mut texts: Vec<String> = Vec::new();
        let mut round = HashSet::new();
        // Where parts are dropped, how often a text comes is what the rule asks for.
        let mut again = self.captions.shuffle_caption || self.captions.enable_wildcard;
        again &= self.captions.caption_tag_dropout_rate == 0.0;
        for variant in 0..self.variants {
            let mut drawn = text(variant, 0);
            if again && round.contains(&drawn) {
                let fresh = (1..ATTEMPTS).map(|attempt| text(variant, attempt));
                match fresh.into_iter().find(|text| !round.contains(text)) {
                    Some(fresh) => drawn = fresh,
                    // There are no others: all of them once more.
                    None => {
                        again = round.len() > 1;
                        round.clear();
                    }
                }
            }
            round.insert(drawn.clone());
            texts.push(drawn);
        }
        Texts { merged, texts }
    }
}

impl Texts {
    /// The output of the stage.
    pub fn draft(self) -> Draft {
        let Self { merged, texts } = self;
        let named = (0..).zip(texts).map(|(variant, text)| (variants::blob(variant), text));
        let draft = named.fold(Draft::default(), |draft, (name, text)| draft.and(&name, text));
        [("caption", merged.caption), ("tags", merged.tags)].into_iter().fold(
            draft,
            |draft, (name, text)| match text {
                Some(text) => draft.and(name, text),
                None => draft,
            },
        )
    }
}

/// Why pictures may have no words: texts lie beside them under other names than are read.
pub(in crate::stages) fn likely_cause(site: &Site, samples: &[&Sample]) -> String {
    /// A folder with one habit shows it in its first pictures.
    const LOOKED_AT: usize = 3;
    let folders = samples.iter().filter_map(|sample| sample.sidecars.as_ref());
    if let Some(folder) = folders.clone().find(|folder| !folder.is_dir()) {
        return format!(
            "there is no folder {}, in which `sidecars` of [[dataset]] says that their texts lie",
            folder.display()
        );
    }
    let captions =
        samples.first().map_or(CAPTION.extension, |one| &site.dataset(one).caption_extension);
    let endings = samples.iter().take(LOOKED_AT);
    let endings: BTreeSet<String> =
        endings.flat_map(|sample| other_endings(sample, captions)).collect();
    let with_tags = captions != WORDS[1].extension;
    if endings.is_empty() {
        let tags = if with_tags { " or tags into a .txt file" } else { "" };
        let place = folders.clone().next().map_or_else(
            || "beside each".to_owned(),
            |folder| format!("for each in {}", folder.display()),
        );
        let help = format!("write a caption into a {captions} file{tags} {place}");
        let has_class = |sample: &&Sample| site.dataset(sample).class_tokens.is_some();
        return match samples.iter().all(has_class) {
            true => help,
            false => help + ", or say `class_tokens` in [[dataset]]",
        };
    }
    let endings: Vec<_> = endings.into_iter().collect();
    let tags = if with_tags { " and tags from .txt" } else { "" };
    format!(
        "beside them lie files that end in {}; captions are read from {captions}{tags}: rename them, or \
         say `caption_extension` in [[dataset]] if they hold captions",
        endings.join(" and ")
    )
}

/// Endings of the files beside a picture that have its name, are no picture and are not read.
fn other_endings(sample: &Sample, captions: &str) -> Vec<String> {
    let Ok(sidecar) = sample.sidecar(WORDS[1].extension) else { return Vec::new() };
    let (Some(folder), Some(stem)) =
        (sidecar.parent(), sidecar.file_stem().and_then(|s| s.to_str()))
    else {
        return Vec::new();
    };
    let names = disk::list(folder).into_iter().flatten().filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let ending = name.strip_prefix(stem)?;
        let known = [captions, WORDS[1].extension].contains(&ending);
        let is_text = ending.starts_with('.') && !known && !dataset::is_picture(Path::new(&name));
        is_text.then(|| ending.to_owned())
    });
    names.collect()
}
