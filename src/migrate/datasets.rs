//! The data configuration: `[general]`, `[[datasets]]`, `[[datasets.subsets]]`, each subset a `[[dataset]]` here.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value as Json};

use super::{
    MigrateError, Verdict,
    argv::Settings,
    finding::{Findings, Id},
    flags::{Level, Takes, dataset_keys, level},
};
use crate::base::did_you_mean;

/// A value that the configuration states, and what is said of it in the listing.
#[derive(Clone, Debug)]
pub(super) struct Stated {
    pub(super) value: Json,
    pub(super) id: Id,
}

/// One folder of pictures with what is said of it, at whichever level.
#[derive(Clone, Debug, Default)]
pub(super) struct Subset {
    /// Of which `[[datasets]]` it is.
    pub(super) dataset: usize,
    pub(super) stated: BTreeMap<String, Stated>,
}

impl Subset {
    pub(super) fn get(&self, key: &str) -> Option<&Stated> {
        self.stated.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key)?.value.as_str().map(str::to_owned)
    }

    pub(super) fn is(&self, key: &str) -> bool {
        self.get(key).is_some_and(|stated| stated.value == Json::Bool(true))
    }

    pub(super) fn number(&self, key: &str) -> f64 {
        self.get(key).and_then(|stated| stated.value.as_f64()).unwrap_or(0.0)
    }
}

/// Reads a configuration; what it does not say the flags say.
///
/// # Errors
/// It is neither TOML nor JSON, or not a configuration of datasets.
pub(super) fn read(
    file: &str,
    text: &str,
    flags: &Settings,
    findings: &mut Findings,
) -> Result<Vec<Subset>, MigrateError> {
    let root = root(file, text)?;
    let shape = |reason: &str| MigrateError::Configuration {
        file: file.to_owned(),
        line: None,
        reason: reason.to_owned(),
        help: "a data configuration has `[[datasets]]`, and in each `[[datasets.subsets]]` with an `image_dir`",
    };
    for name in root.keys().filter(|name| !["general", "datasets"].contains(&name.as_str())) {
        let id = findings.add(file, name, None, None);
        let near = did_you_mean(name, ["general", "datasets"]);
        let instead = near
            .map_or_else(|| "it is left out".to_owned(), |near| format!("did you mean {near}?"));
        findings.say(id, Verdict::Unknown, "the original ends with an error at it", &instead);
    }
    let table = |value: &Json, what: &str| {
        value.as_object().cloned().ok_or_else(|| shape(&format!("{what} is no table")))
    };
    let general = match root.get("general") {
        Some(general) => {
            level_of(file, "[general]", &table(general, "general")?, Place::General, findings)
        }
        None => BTreeMap::new(),
    };
    let datasets = root
        .get("datasets")
        .and_then(Json::as_array)
        .ok_or_else(|| shape("it has no [[datasets]]"))?;
    let mut subsets = Vec::new();
    for (index, dataset) in datasets.iter().enumerate() {
        let mut dataset = table(dataset, "[[datasets]]")?;
        let inner = dataset.remove("subsets").unwrap_or_else(|| Json::Array(Vec::new()));
        let inner = inner.as_array().ok_or_else(|| shape("subsets is no list of tables"))?.clone();
        let number =
            |more: String| if datasets.len() > 1 { format!(" {}{more}", index + 1) } else { more };
        let words = format!("[[datasets]]{}", number(String::new()));
        let own = level_of(file, &words, &dataset, Place::Dataset, findings);
        for (at, subset) in inner.iter().enumerate() {
            let more = if inner.len() > 1 {
                format!("{}{}", if datasets.len() > 1 { "." } else { " " }, at + 1)
            } else {
                String::new()
            };
            let words = format!("[[datasets.subsets]]{}", number(more));
            let subset =
                level_of(file, &words, &table(subset, "a subset")?, Place::Subset, findings);
            let mut stated = general.clone();
            stated.extend(own.clone());
            stated.extend(subset);
            subsets.push(Subset { dataset: index, stated });
        }
    }
    if subsets.is_empty() {
        return Err(shape("it has no [[datasets.subsets]]"));
    }
    for subset in &mut subsets {
        with_flags(subset, flags);
    }
    Ok(subsets)
}

/// Flags of the command line stand in for what the configuration does not say.
pub(super) fn with_flags(subset: &mut Subset, flags: &Settings) {
    for given in flags.iter() {
        let key = match given.flag.name {
            "train_batch_size" => "batch_size",
            "dataset_repeats" => "num_repeats",
            "caption_extention" => "caption_extension",
            name => name,
        };
        let known =
            dataset_keys().iter().any(|flag| flag.name == key) && level(key) != Level::Subset;
        if !known || subset.stated.contains_key(key) && given.flag.name != "caption_extention" {
            continue;
        }
        let value = flag_value(given.flag.takes, &given.text());
        subset.stated.insert(key.to_owned(), Stated { value, id: given.id });
    }
}

/// A flag as the configuration would have it.
fn flag_value(takes: Takes, text: &str) -> Json {
    let sides = || -> Option<Vec<i64>> {
        text.split([',', 'x']).map(|side| side.trim().parse().ok()).collect()
    };
    match takes {
        Takes::Switch => Json::Bool(true),
        Takes::Number => text
            .parse::<i64>()
            .map(Json::from)
            .or_else(|_| text.parse::<f64>().map(Json::from))
            .unwrap_or_else(|_| Json::from(text)),
        Takes::Size => match sides().as_deref() {
            Some([side]) => Json::from(*side),
            Some(sides) => Json::from(sides),
            None => Json::from(text),
        },
        _ => Json::from(text),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    General,
    Dataset,
    Subset,
}

/// The keys of one table that the original takes there.
fn level_of(
    file: &str,
    words: &str,
    table: &Map<String, Json>,
    place: Place,
    findings: &mut Findings,
) -> BTreeMap<String, Stated> {
    let known = dataset_keys();
    let mut stated = BTreeMap::new();
    for (key, value) in table.iter().filter(|(_, value)| !value.is_null()) {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let id = findings.add(file, &format!("{words} {key}"), Some(shown), None);
        let Some(flag) = known.iter().find(|flag| flag.name == key) else {
            let near = did_you_mean(key, known.iter().map(|flag| flag.name));
            let instead = near.map_or_else(
                || "it is left out".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            findings.say(
                id,
                Verdict::Unknown,
                "there is no such key: the original ends with an error",
                &instead,
            );
            continue;
        };
        let fits = match level(key) {
            Level::Any => true,
            Level::Dataset => place != Place::Subset,
            Level::Subset => place == Place::Subset,
        };
        if !fits {
            let where_it_belongs = if place == Place::Subset {
                "move it to [[datasets]]"
            } else {
                "move it to [[datasets.subsets]]"
            };
            findings.say(
                id,
                Verdict::NotSupported,
                "the original ends with an error where it stands",
                where_it_belongs,
            );
            continue;
        }
        stated.insert(flag.name.to_owned(), Stated { value: value.clone(), id });
    }
    stated
}

fn root(file: &str, text: &str) -> Result<Map<String, Json>, MigrateError> {
    let text = text.trim_start_matches('\u{feff}');
    let ends = |ending: &str| {
        Path::new(file).extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
    };
    let is_json = ends("json") || !ends("toml") && text.trim_start().starts_with('{');
    let wrong = |line, reason| MigrateError::Configuration {
        file: file.to_owned(),
        line,
        reason,
        help: "name the file that --dataset_config names, a .toml or .json",
    };
    if is_json {
        return serde_json::from_str(text)
            .map_err(|error| wrong(Some(error.line()), format!("it is not JSON: {error}")));
    }
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.as_bytes().get(..span.start));
        let line = before.map(|before| before.iter().filter(|byte| **byte == b'\n').count() + 1);
        wrong(line, format!("it is not TOML: {}", error.message()))
    })
}
