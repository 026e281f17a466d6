//! The rules of each kind of `[stages.NAME]`.

use std::path::Component;

use super::{
    super::{Cache, ClipActivation, Existing, Label, Latent, Merge, Tag, TagReplacement},
    Mistake, Rules,
};
use crate::base::did_you_mean;

impl Rules<'_> {
    pub(super) fn cache(&mut self, cache: &Cache) {
        if cache.import_cache && cache.clip_activation != ClipActivation::Gelu {
            let mistake = Mistake::Conflict {
                what: "caches of sd-scripts hold CLIP-L's vectors by the exact GELU".to_owned(),
                help: "say clip_activation = \"gelu\", so that what is encoded anew is of one kind with \
                       them, or take `import_cache` out"
                    .to_owned(),
            };
            let labels = ["takes such caches", "another activation"];
            self.broken(&["import_cache", "clip_activation"], &labels, mistake);
        }
        if cache.import_cache && !cache.attend_padding {
            let mistake = Mistake::Conflict {
                what: "caches of sd-scripts hold T5's states of the padding, which is attended"
                    .to_owned(),
                help: "take `attend_padding` out, or `import_cache`".to_owned(),
            };
            let labels = ["takes such caches", "not attended"];
            self.broken(&["import_cache", "attend_padding"], &labels, mistake);
        }
        if cache.import_cache && cache.latent != Latent::Sample {
            let mistake = Mistake::Conflict {
                what: "caches of sd-scripts hold one draw of each latent, no mean and no deviation"
                    .to_owned(),
                help: "take `latent` out, or `import_cache`".to_owned(),
            };
            self.broken(&["import_cache", "latent"], &["takes such caches", "not a draw"], mistake);
        }
    }

    pub(super) fn label(&mut self, label: &Label) {
        self.sidecar_ending(&label.caption_extension);
        if label.existing == Existing::Append {
            let mistake = Mistake::UnknownValue {
                path: self.of("existing"),
                value: "append".to_owned(),
                help: "a caption is a sentence, and nothing can be appended to one: it can be \"keep\" or \
                       \"overwrite\""
                    .to_owned(),
            };
            self.broken(&["existing"], &["not for captions"], mistake);
        }
        if label.min_length > label.max_length {
            let mistake = Mistake::Conflict {
                what: format!(
                    "a caption cannot have at least {} and at most {} tokens",
                    label.min_length, label.max_length
                ),
                help: "lower `min_length` or raise `max_length`; both count the prompt".to_owned(),
            };
            self.broken(&["min_length", "max_length"], &["at least", "at most"], mistake);
        }
        let (search, draws) = ("say `beam_search = true`", "say `beam_search = false`");
        let (without_effect, reason, otherwise): (&[&str], _, _) = match label.beam_search {
            true => (&["top_p", "top_k", "seed"], "nothing is drawn in a search", draws),
            false => (&["num_beams"], "words are drawn, without beams", search),
        };
        for field in without_effect {
            if self.states(field) {
                let (path, reason) = (self.of(field), reason.to_owned());
                let help = format!("take `{field}` out, or {otherwise}");
                let labels = ["has no effect", "because of this"];
                let mistake = Mistake::NoEffect { path, reason, help };
                self.broken(&[field, "beam_search"], &labels, mistake);
            }
        }
    }

    pub(super) fn tag(&mut self, tag: &Tag) {
        self.sidecar_ending(&tag.caption_extension);
        let kinds = [
            tag.general_threshold,
            tag.character_threshold,
            tag.copyright_threshold,
            tag.meta_threshold,
            tag.model_threshold,
            tag.artist_threshold,
        ];
        if kinds.iter().all(Option::is_some) && self.states("thresh") {
            let reason = "every kind of tags has a threshold of its own";
            self.no_effect("thresh", "general_threshold", reason);
        }
        for (first, last, field, because) in [
            (
                tag.use_rating_tags,
                tag.use_rating_tags_as_last_tag,
                "use_rating_tags_as_last_tag",
                "use_rating_tags",
            ),
            (
                tag.use_quality_tags,
                tag.use_quality_tags_as_last_tag,
                "use_quality_tags_as_last_tag",
                "use_quality_tags",
            ),
        ] {
            if first && last {
                self.no_effect(field, because, "it is written once, at the front");
            }
        }
        self.pairs("tag_replacement", &tag.tag_replacement);
    }

    fn pairs(&mut self, field: &str, pairs: &TagReplacement) {
        if let Err(pair) = pairs.pairs() {
            let mistake = Mistake::UnknownValue {
                path: self.of(field),
                value: pair,
                help: "write pairs, [[\"source\", \"target\"]], or a text \"source,target;source2,target2\" in \
                       which `\\,` and `\\;` stand for a comma and a semicolon inside a tag"
                    .to_owned(),
            };
            self.broken(&[field], &["a pair of a source and a target is wanted"], mistake);
        }
    }

    pub(super) fn merge(&mut self, merge: &Merge) {
        for (field, tags) in
            [("prepend_tags", &merge.prepend_tags), ("append_tags", &merge.append_tags)]
        {
            for (index, tag) in tags.iter().enumerate() {
                if tag.contains(',') || tag.trim().is_empty() {
                    let help = "a comma ends a tag: write several tags as [\"one\", \"two\"]";
                    self.out_of_range(
                        &format!("{field}.{index}"),
                        "one tag, without a comma",
                        help,
                    );
                }
            }
        }
        self.pairs("replace_tags", &merge.replace_tags);
        if merge.template.trim().is_empty() {
            let help = "write {caption} or {tags}, or words that all pictures are trained with";
            self.out_of_range("template", "a text that is not empty", help);
        }
        if let Some((value, help)) = bad_placeholder(&merge.template) {
            let mistake = Mistake::UnknownValue { path: self.of("template"), value, help };
            self.broken(&["template"], &["look at the braces"], mistake);
        }
        let inside = merge.out_json.components().all(|part| matches!(part, Component::Normal(_)));
        let is_json = |ending: &std::ffi::OsStr| ending == "json" || ending == "jsonl";
        if !inside || !merge.out_json.extension().is_some_and(is_json) {
            let help = "it lies in the output folder of the project, such as \"meta_data.json\"";
            self.out_of_range(
                "out_json",
                "the name of a .json or .jsonl file inside the output folder",
                help,
            );
        }
    }

    /// A sidecar must not be taken for a picture, nor lie in another folder.
    pub(super) fn sidecar_ending(&mut self, ending: &str) {
        const PICTURES: [&str; 9] =
            [".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tiff", ".tif"];
        let named = ending.strip_prefix('.').is_some_and(|name| !name.is_empty());
        if !named || ending.contains(['/', '\\']) {
            let help = "it takes the place of the picture's own ending: cat.jpg, cat.txt";
            self.out_of_range("caption_extension", "a dot and letters, such as \".txt\"", help);
        } else if PICTURES.contains(&ending.to_lowercase().as_str()) {
            let help = "the text would be written over the picture itself";
            self.out_of_range("caption_extension", "the ending of a text file", help);
        }
    }
}

/// The first brace of a template that is none of the known placeholders, and what to do about it.
fn bad_placeholder(template: &str) -> Option<(String, String)> {
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let name = rest[at..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let Some((name, after)) = name.filter(|(name, _)| !name.contains('{')) else {
            let help = "write {caption} or {tags}, each with both braces".to_owned();
            return Some((rest[at..].to_owned(), help));
        };
        if !Merge::PLACEHOLDERS.contains(&name) {
            let help = match did_you_mean(name, Merge::PLACEHOLDERS) {
                Some(near) => format!("did you mean {{{near}}}?"),
                None => "write {caption} or {tags}, and no other braces".to_owned(),
            };
            return Some((format!("{{{name}}}"), help));
        }
        rest = after;
    }
    None
}
