//! What a picture is trained with: the original reads one file beside it, here the stage `merge` puts words
//! together. Which template gives the text of the original follows from the ending that a subset reads and from
//! who writes files of that ending.

use serde_json::Value as Json;

use super::{
    Verdict,
    datasets::Subset,
    draft::{Draft, Line},
    finding::Findings,
    literal::quoted,
    paths::Paths,
};

const FROM: &str = "flux_train.py";

/// From where a subset has its text in the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Metadata,
    Label,
    Tag,
    /// Files that people wrote.
    Own,
}

impl Source {
    fn template(self, separator: &str) -> String {
        match self {
            Self::Metadata => format!("{{caption}}{separator}{{tags}}"),
            Self::Tag => "{tags}".to_owned(),
            Self::Label | Self::Own => "{caption}".to_owned(),
        }
    }
}

/// Writes `template` and what goes with it, and `caption_extension` of the datasets.
pub(super) fn write(
    subsets: &[Subset],
    made: &[String],
    paths: &Paths,
    folder: &std::path::Path,
    draft: &mut Draft,
    findings: &mut Findings,
) {
    let writes = |draft: &Draft, stage: &str, ending: &str| {
        let said = draft
            .get(&format!("stages.{stage}.caption_extension"))
            .map(|text| text.trim_matches('"').to_owned());
        draft
            .has(&format!("stages.{stage}"))
            .then(|| dotted(&said.unwrap_or_else(|| ending.to_owned())))
    };
    let (label, tag) = (writes(draft, "label", ".caption"), writes(draft, "tag", ".txt"));
    let ending = |subset: &Subset| {
        dotted(&subset.text("caption_extension").unwrap_or_else(|| ".caption".to_owned()))
    };
    let source = |subset: &Subset| match ending(subset) {
        _ if subset.get("metadata_file").is_some() => Source::Metadata,
        ending if Some(&ending) == tag.as_ref() => Source::Tag,
        ending if Some(&ending) == label.as_ref() => Source::Label,
        _ => Source::Own,
    };
    let sources: Vec<Source> = subsets.iter().map(source).collect();
    let Some(first) = sources.first().copied() else { return };
    if first == Source::Own && draft.has("stages.label") {
        // A stage `label` would make the captions of all.
        let because = format!(
            "the training reads *{}, which make_captions.py does not write; with a stage `label` its captions would be trained on",
            ending(&subsets[0])
        );
        findings.note("make_captions.py", "stage label is left out", None, &because);
        for id in draft.drop("stages.label") {
            findings.say(id, Verdict::NoEffect, "no training reads these captions", "");
        }
    }
    for (index, (subset, source)) in subsets.iter().zip(&sources).enumerate() {
        extension(index, subset, *source, &ending(subset), first, draft, findings);
        metadata(subset, made, paths, folder, draft, findings);
    }
    let separator = subsets[0].text("caption_separator").unwrap_or_else(|| ",".to_owned());
    let separator = if separator == "," { ", " } else { &separator };
    let because = match first {
        Source::Metadata => "captions and tags of the metadata file".to_owned(),
        Source::Tag if draft.has("stages.label") => "the training reads the tags alone, so the captions have no effect; \"{caption}, {tags}\" uses both".to_owned(),
        Source::Tag => "the training reads the tags".to_owned(),
        Source::Label if draft.has("stages.tag") => "the training reads the captions alone, so the tags have no effect; \"{caption}, {tags}\" uses both".to_owned(),
        Source::Label => "the training reads the captions".to_owned(),
        Source::Own => format!("the training reads *{}, and of it the first line", ending(&subsets[0])),
    };
    let template = quoted(&first.template(separator));
    draft.set(
        "stages.merge.template",
        Line::default(template, FROM, "which words are trained on", &because),
    );
    if matches!(first, Source::Tag | Source::Metadata) {
        let because = "the original trains a tag as often as it stands there";
        draft.set(
            "stages.merge.deduplicate_tags",
            Line::default("false", FROM, "tags that stand twice", because),
        );
    }
}

/// What is said of the ending that a subset reads.
fn extension(
    index: usize,
    subset: &Subset,
    source: Source,
    ending: &str,
    first: Source,
    draft: &mut Draft,
    findings: &mut Findings,
) {
    let path = format!("dataset.{index}.caption_extension");
    let stated = subset.get("caption_extension");
    let sidecar = |source| matches!(source, Source::Own | Source::Label);
    // Without a stage that writes captions, both are captions of people.
    let alike = sidecar(source) && sidecar(first) && !draft.has("stages.label");
    if source != first && !alike {
        let because = format!(
            "[[dataset]] {} reads *{ending}, the first one another text, and one stage `merge` has one template",
            index + 1
        );
        match stated {
            Some(stated) => findings.say(
                stated.id,
                Verdict::NotSupported,
                &because,
                "write a manifest for each, or choose one template",
            ),
            None => findings.note(FROM, "caption_extension", None, &because),
        }
        return;
    }
    match (source, stated) {
        (Source::Own | Source::Label, stated) if !draft.has("stages.label") => match stated {
            Some(stated) if stated.value.is_string() => {
                draft.set(&path, Line::of(quoted(ending), stated.id))
            }
            Some(stated) => {
                findings.say(stated.id, Verdict::NotSupported, "it is no text", "correct it")
            }
            // `.caption` is the default of both.
            None => {}
        },
        (Source::Metadata, Some(stated)) => {
            findings.say(stated.id, Verdict::NoEffect, "texts come from the metadata file", "")
        }
        (_, Some(stated)) => {
            draft.table("stages.merge", &[]);
            findings.say(
                stated.id,
                Verdict::TakenOver,
                "it decides over `template` in [stages.merge]",
                "",
            );
            let template = quoted(&first.template(", "));
            let finding = findings.get_mut(stated.id);
            finding.manifest = vec![format!("stages.merge.template = {template}")];
        }
        (_, None) => {}
    }
}

/// `in_json`, unless the stage makes the file itself.
fn metadata(
    subset: &Subset,
    made: &[String],
    paths: &Paths,
    folder: &std::path::Path,
    draft: &mut Draft,
    findings: &mut Findings,
) {
    let Some(stated) = subset.get("metadata_file") else { return };
    let Json::String(file) = &stated.value else {
        findings.say(stated.id, Verdict::NotSupported, "it is no path", "correct it");
        return;
    };
    if made.contains(&name(file)) {
        let because =
            "the stage `merge` puts these words together from the files beside the pictures";
        findings.say(stated.id, Verdict::AlwaysSo, because, "");
        return;
    }
    let written = quoted(&paths.written(folder, file));
    match draft.get("stages.merge.in_json") {
        Some(other) if other != written => {
            let because = "one stage `merge` reads one metadata file";
            findings.say(
                stated.id,
                Verdict::NotSupported,
                because,
                "put the files together, or write a manifest for each",
            );
        }
        Some(_) => draft.attach("stages.merge.in_json", stated.id),
        None => {
            if findings.get(stated.id).because.is_none() {
                findings.remark(
                    stated.id,
                    "of pictures that have captions or tags beside them, those count",
                );
            }
            draft.set("stages.merge.in_json", Line::of(written, stated.id));
        }
    }
}

/// The last part of a path of either system.
pub(super) fn name(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned()
}

/// The original puts a missing dot in front.
fn dotted(ending: &str) -> String {
    if ending.starts_with('.') { ending.to_owned() } else { format!(".{ending}") }
}
