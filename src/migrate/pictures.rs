//! `[[dataset]]`: the subsets of the original as folders of pictures, with the defaults of the original.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{
    Surroundings, Verdict,
    argv::Settings,
    datasets::{Stated, Subset},
    defaults::Defaults,
    draft::{Draft, Line},
    finding::Findings,
    flags::{Fate, Flag, Takes, dataset_keys},
    literal::{of_json, quoted},
    paths::Paths,
};

/// Rules that move or drop parts of a caption.
const REARRANGES: [&str; 3] = ["shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step"];
/// Rules that a cached text has never seen.
const NOT_CACHED: [&str; 6] = [
    "caption_prefix",
    "caption_suffix",
    "enable_wildcard",
    "secondary_separator",
    "caption_separator",
    "caption_dropout_every_n_epochs",
];
const FROM: &str = "flux_train.py";

/// What the datasets need to know of the rest.
pub(super) struct Context<'a> {
    pub(super) paths: &'a Paths,
    /// Where paths of the configuration start.
    pub(super) folder: &'a Path,
    pub(super) look: &'a dyn Surroundings,
    /// Whether texts are encoded before the training in the original.
    pub(super) cached: bool,
}

/// Folders of pictures that the command line names instead of a configuration.
pub(super) fn of_flags(
    settings: &Settings,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Vec<Subset> {
    let mut subsets = Vec::new();
    for (name, is_reg) in [("train_data_dir", false), ("reg_data_dir", true)] {
        let Some(given) = settings.get(name) else { continue };
        let folder = given.text();
        let metadata = settings.get("in_json").filter(|_| !is_reg);
        let own = |key: &str, value: Json| (key.to_owned(), Stated { value, id: given.id });
        if let Some(metadata) = metadata {
            let file = Stated { value: Json::from(metadata.text()), id: metadata.id };
            let stated = [own("image_dir", Json::from(folder)), ("metadata_file".to_owned(), file)];
            subsets.push(Subset { dataset: 0, stated: stated.into() });
            continue;
        }
        let full = context.paths.full(context.folder, &folder);
        let inner = context.look.folders(&full);
        let mut found: Vec<Subset> = inner
            .iter()
            .filter_map(|name| {
                let (repeats, words) = name.split_once('_').unwrap_or((name, ""));
                let repeats: i64 = repeats.parse().ok()?;
                let image_dir = format!("{}/{name}", folder.trim_end_matches(['/', '\\']));
                let mut stated = vec![
                    own("image_dir", Json::from(image_dir)),
                    own("num_repeats", Json::from(repeats)),
                ];
                stated.extend((!words.is_empty()).then(|| own("class_tokens", Json::from(words))));
                stated.extend(is_reg.then(|| own("is_reg", Json::Bool(true))));
                Some(Subset { dataset: 0, stated: stated.into_iter().collect() })
            })
            .collect();
        if found.is_empty() {
            findings.remark(given.id, "the original reads the folders `REPEATS_WORDS` in it, which are not there now: write a [[dataset]] for each");
            let mut stated = vec![own("image_dir", Json::from(folder))];
            stated.extend(is_reg.then(|| own("is_reg", Json::Bool(true))));
            found.push(Subset { dataset: 0, stated: stated.into_iter().collect() });
        }
        subsets.extend(found);
    }
    for subset in &mut subsets {
        super::datasets::with_flags(subset, settings);
    }
    subsets
}

/// Leaves out what the original leaves out too: folders that are shown less than once, and a folder that
/// stands in one `[[datasets]]` a second time.
pub(super) fn trained(subsets: Vec<Subset>, findings: &mut Findings) -> Vec<Subset> {
    let mut kept: Vec<Subset> = Vec::new();
    for subset in subsets {
        let never = subset
            .get("num_repeats")
            .is_some_and(|stated| stated.value.as_f64().is_some_and(|count| count < 1.0));
        let folder = subset.text("image_dir");
        let twice = kept.iter().any(|other| {
            folder.is_some()
                && other.dataset == subset.dataset
                && other.text("image_dir") == folder
                && other.text("metadata_file") == subset.text("metadata_file")
        });
        let because = match (never, twice) {
            (true, _) => "a folder with num_repeats below 1 is left out, there too",
            (_, true) => "the original drops a second subset of one folder in one [[datasets]]",
            _ => {
                kept.push(subset);
                continue;
            }
        };
        subset
            .stated
            .values()
            .for_each(|stated| findings.say(stated.id, Verdict::NoEffect, because, ""));
    }
    kept
}

/// Writes one subset as `[[dataset]]` number `index`.
pub(super) fn write(
    index: usize,
    subset: &Subset,
    context: &Context<'_>,
    defaults: &Defaults,
    draft: &mut Draft,
    findings: &mut Findings,
) {
    let table = format!("dataset.{index}");
    draft.table(&table, &[]);
    let rearranges = REARRANGES.iter().any(|key| subset.is(key) || subset.number(key) > 0.0);
    let mut keys = dataset_keys();
    keys.sort_by_key(|flag| flag.name != "image_dir");
    for flag in keys {
        match flag.fate {
            Fate::Key(_) => {
                key(&table, &flag, subset, rearranges, context, defaults, draft, findings)
            }
            // Worked out together with the other tables.
            Fate::Rule(..) => {}
            fate => {
                let Some(stated) = subset.get(flag.name) else { continue };
                let Some((verdict, because, instead)) = fate.known(flag.name) else { continue };
                match stated.value == Json::Bool(false) {
                    true => findings.say(stated.id, Verdict::NoEffect, "it is off", ""),
                    false => findings.say(stated.id, verdict, &because, &instead),
                }
            }
        }
    }
    placeholders(&table, subset, context, draft);
    let write_out = |draft: &mut Draft, key: &str, value: &str, words: &str, because: &str| {
        draft.set(&format!("{table}.{key}"), Line::default(value, FROM, words, because));
    };
    if subset.is("enable_bucket") {
        let because = "by the difference of width / height, as the original chooses buckets; constant_area cuts less";
        write_out(draft, "aspect", "\"linear\"", "which bucket a picture goes to", because);
    }
    let because = "the original takes pixels as they are stored, whatever the camera noted";
    write_out(draft, "exif_orientation", "false", "EXIF orientation", because);
}

#[expect(clippy::too_many_arguments, reason = "one key with all that decides over it")]
fn key(
    table: &str,
    flag: &Flag,
    subset: &Subset,
    rearranges: bool,
    context: &Context<'_>,
    defaults: &Defaults,
    draft: &mut Draft,
    findings: &mut Findings,
) {
    let path = format!("{table}.{}", flag.name);
    let Some(stated) = subset.get(flag.name) else {
        if let Some(value) = defaults.other(flag, &format!("dataset.{}", flag.name)) {
            draft.set(
                &path,
                Line::default(value, FROM, &format!("--{}", flag.name), "the original's default"),
            );
        }
        return;
    };
    if stated.value.as_str() == Some("") {
        findings.say(stated.id, Verdict::NoEffect, "it is empty", "");
        return;
    }
    let here = |what: &str| format!("here it works: say {} in [[dataset]]{what}", flag.name);
    if NOT_CACHED.contains(&flag.name)
        && context.cached
        && !rearranges
        && stated.value != Json::Bool(false)
    {
        let because = "texts are encoded before the training (--cache_text_encoder_outputs), and then as they stand in the file";
        findings.say(stated.id, Verdict::NoEffect, because, &here(""));
        return;
    }
    if flag.name == "keep_tokens_separator" && !rearranges {
        let because = "nothing in a caption moves, and then the original does not look for the mark: it reaches the text encoders";
        findings.say(
            stated.id,
            Verdict::NoEffect,
            because,
            &here(", where it is always taken out of captions"),
        );
        return;
    }
    remark(flag.name, stated, context, findings);
    let value = match (flag.takes, stated.value.as_str()) {
        (Takes::Path, Some(path)) => Ok(quoted(&context.paths.written(context.folder, path))),
        _ => of_json(&stated.value),
    };
    let value = match value {
        Ok(value) => value,
        Err(reason) => {
            findings.say(stated.id, Verdict::NotSupported, &reason, "correct it");
            return;
        }
    };
    let line = Line::of(value, stated.id);
    draft.set(
        &path,
        match flag.name {
            "resolution" => line.fallback("1024"),
            "image_dir" => line.fallback("\"pictures\""),
            _ => line,
        },
    );
}

/// What is to be known about a value that is taken over.
fn remark(key: &str, stated: &Stated, context: &Context<'_>, findings: &mut Findings) {
    let on = stated.value != Json::Bool(false) && stated.value.as_f64() != Some(0.0);
    let because = match key {
        "validation_split" if on => {
            "the original holds these pictures out and never looks at them; here the loss on them is measured"
        }
        "shuffle_caption"
        | "caption_dropout_rate"
        | "caption_tag_dropout_rate"
        | "token_warmup_step"
            if on && context.cached =>
        {
            "the original ends with an error where texts are encoded beforehand; here it works"
        }
        "color_aug" | "random_crop" if on => {
            "the original cannot keep latents with it; here image_variants of each picture are encoded"
        }
        _ => return,
    };
    if findings.get(stated.id).because.is_none() {
        findings.remark(stated.id, because);
    }
}

/// What every `[[dataset]]` has, where the script does not say it.
fn placeholders(table: &str, subset: &Subset, context: &Context<'_>, draft: &mut Draft) {
    let image_dir = format!("{table}.image_dir");
    if draft.get(&image_dir).is_none() {
        // Paths in a metadata file may be full ones.
        let folder = subset.text("metadata_file").map(PathBuf::from);
        let folder = folder.and_then(|file| Some(file.parent()?.to_str()?.to_owned()));
        let folder = folder.filter(|folder| !folder.is_empty());
        let path = folder.map_or_else(
            || "pictures".to_owned(),
            |folder| context.paths.written(context.folder, &folder),
        );
        let because = "the script does not name the folder of the pictures: name it";
        draft.set(&image_dir, Line::default(quoted(&path), FROM, "folder of pictures", because));
    }
    let resolution = format!("{table}.resolution");
    if draft.get(&resolution).is_none() {
        let because =
            "the script does not say it, and the original ends with an error then: look at it";
        draft.set(&resolution, Line::default("1024", FROM, "size of pictures", because));
    }
}

/// Pictures that an epoch shows, where all folders are there.
pub(super) fn shown(subsets: &[Subset], context: &Context<'_>) -> Option<usize> {
    let (mut trained, mut regularised) = (0, false);
    for subset in subsets {
        if subset.is("is_reg") {
            // They are shown as often as all others together.
            regularised = true;
            continue;
        }
        let folder = context.paths.full(context.folder, &subset.text("image_dir")?);
        let repeats =
            subset.get("num_repeats").and_then(|stated| stated.value.as_u64()).unwrap_or(1);
        let count = context.look.pictures(&folder)?;
        trained += count * usize::try_from(repeats).unwrap_or(1);
    }
    Some(trained * if regularised { 2 } else { 1 }).filter(|count| *count > 0)
}
