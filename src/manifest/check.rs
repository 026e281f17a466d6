//! Holds the tree against the schema of each table and makes typed values of it.
//!
//! Serde would stop at the first mistake of a table. Here every value is looked at by itself; what is
//! wrong is reported and left out, and the rest still becomes a typed table, so that rules between
//! values can be checked as well.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::{
    error::{ManifestError, Mistake},
    foreign::{known_elsewhere, known_value},
    schema,
    source::Place,
    tree::{Content, Entry, Node, Places, below},
    words::{about, expected, quoted, rewritten, words},
};
use crate::base::{did_you_mean, nearest};

/// So many keys of a table are all told to somebody who wrote another one.
const ALL_TOLD: usize = 10;
/// Of more keys, so many.
const NEAREST: usize = 4;

/// The mistakes so far, and where values stand.
pub(super) struct Check {
    pub(super) errors: Vec<ManifestError>,
    pub(super) places: Places,
    /// Dotted paths of values that are wrong or missing: no rule speaks of them again.
    bad: BTreeSet<String>,
}

/// A table to be checked: its node, its dotted path and the words for it, as in `[stages.label]`.
pub(super) struct Table<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
    pub(super) words: String,
}

impl Check {
    pub(super) fn new(root: &Node) -> Self {
        Self { errors: Vec::new(), places: Places::of(root), bad: BTreeSet::new() }
    }

    pub(super) fn report(&mut self, place: &Place, label: impl Into<String>, mistake: Mistake) {
        self.errors.push(ManifestError::at(place, label, mistake));
    }

    pub(super) fn is_bad(&self, path: &str) -> bool {
        self.bad.contains(path)
    }

    /// Checks a table and makes its type of it, with defaults in the place of what is wrong. Keys in
    /// `besides` are somebody else's.
    pub(super) fn table<T>(&mut self, table: &Table<'_>, besides: &[&str]) -> T
    where
        T: JsonSchema + DeserializeOwned + Default + 'static,
    {
        let schema = schema::shared::<T>();
        let Some(entries) = table.node.entries() else {
            self.wrong_type(table.node, &schema, &table.path);
            return T::default();
        };
        let mut good = Map::new();
        for entry in entries.iter().filter(|entry| !besides.contains(&entry.name.as_str())) {
            match schema["properties"].get(&entry.name) {
                None => self.unknown_key(entry, &keys(&schema, besides), &table.words),
                Some(field) => {
                    if self.value(&entry.value, field, &below(&table.path, &entry.name)) {
                        good.insert(entry.name.clone(), entry.value.json());
                    }
                }
            }
        }
        self.required(table, &schema);
        serde_json::from_value(Json::Object(good)).unwrap_or_else(|error| {
            // Schema and type come from one definition, so this is for what a schema cannot say.
            let mistake = Mistake::Conflict {
                what: format!("{} cannot be read: {error}", table.words),
                help: "correct the value that the message names".to_owned(),
            };
            self.report(&table.node.place, "in this table", mistake);
            T::default()
        })
    }

    fn required(&mut self, table: &Table<'_>, schema: &Json) {
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
        for key in required.filter(|key| table.node.get(key).is_none()) {
            let mistake = Mistake::MissingKey {
                table: table.words.clone(),
                key: key.to_owned(),
                help: format!("add `{key} = …`: {}", about(&schema["properties"][key])),
            };
            self.report(&table.node.place, format!("`{key}` belongs here"), mistake);
            self.bad.insert(below(&table.path, key));
        }
    }

    /// Reports a key that is none of `keys`, with what it was likely meant to be.
    pub(super) fn unknown_key(&mut self, entry: &Entry, keys: &[&str], table: &str) {
        let mistake = known_elsewhere(&entry.name, table).unwrap_or_else(|| Mistake::UnknownKey {
            key: entry.name.clone(),
            table: table.to_owned(),
            help: meant(&entry.name, keys),
        });
        let label = match mistake {
            Mistake::IgnoredFlag { .. } => "changes nothing",
            _ => "not a key of this table",
        };
        self.report(&entry.key, label, mistake);
    }

    /// Whether a value fits its schema; what does not is reported.
    pub(super) fn value(&mut self, node: &Node, schema: &Json, path: &str) -> bool {
        let fits = match schema["anyOf"].as_array() {
            Some(choices) => match choices.iter().find(|choice| has_type(node, choice)) {
                Some(choice) => {
                    let mut choice = choice.clone();
                    choice["description"] = schema["description"].clone();
                    self.value(node, &choice, path)
                }
                None => self.wrong_type(node, schema, path),
            },
            None if !has_type(node, schema) => self.wrong_type(node, schema, path),
            None => match &node.content {
                Content::List(nodes) => self.list(node, nodes, schema, path),
                Content::Table(entries) => self.inner_table(entries, schema, path),
                Content::Scalar(Json::String(text)) => self.text(node, text, schema, path),
                Content::Scalar(Json::Number(number)) => {
                    let value = number.as_f64().unwrap_or(f64::NAN);
                    self.in_range(node, value, schema, path)
                }
                _ => true,
            },
        };
        if !fits {
            self.bad.insert(path.to_owned());
        }
        fits
    }

    /// A table that is the value of a key.
    fn inner_table(&mut self, entries: &[Entry], schema: &Json, path: &str) -> bool {
        let mut fit = true;
        for entry in entries {
            match schema["properties"].get(&entry.name) {
                Some(field) => fit &= self.value(&entry.value, field, &below(path, &entry.name)),
                None => {
                    self.unknown_key(entry, &keys(schema, &[]), &format!("`{path}`"));
                    fit = false;
                }
            }
        }
        fit
    }

    fn list(&mut self, node: &Node, nodes: &[Node], schema: &Json, path: &str) -> bool {
        let mut fit = true;
        let mut each = schema["items"].clone();
        // What an item means is said where the list is.
        if each["description"].is_null() {
            each["description"] = schema["description"].clone();
        }
        for (index, item) in nodes.iter().enumerate() {
            fit &= self.value(item, &each, &below(path, &index.to_string()));
        }
        let length = nodes.len() as u64;
        let too_few = schema["minItems"].as_u64().filter(|least| length < *least);
        let too_many = schema["maxItems"].as_u64().filter(|most| length > *most);
        match too_few.or(too_many) {
            Some(_) => self.out_of_range(node, expected(schema), schema, path),
            None => fit,
        }
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Json, path: &str) -> bool {
        if let Some(words) = words(schema) {
            return words.contains(&text) || self.unknown_value(node, text, &words, path);
        }
        let least = schema["minLength"].as_u64().unwrap_or(0);
        if text.chars().count() as u64 >= least {
            return true;
        }
        let rule = match least {
            1 => "a text that is not empty".to_owned(),
            _ => format!("a text of at least {least} letters"),
        };
        self.out_of_range(node, rule, schema, path)
    }

    fn in_range(&mut self, node: &Node, value: f64, schema: &Json, path: &str) -> bool {
        let limit = |name: &str| schema[name].as_f64();
        let widest = (schema["format"] == "uint32").then_some(f64::from(u32::MAX));
        let (min, max) = (limit("minimum"), limit("maximum"));
        let inside = min.is_none_or(|min| value >= min)
            && max.or(widest).is_none_or(|max| value <= max)
            && limit("exclusiveMinimum").is_none_or(|min| value > min)
            && limit("exclusiveMaximum").is_none_or(|max| value < max)
            && limit("multipleOf").is_none_or(|step| value % step == 0.0);
        if inside {
            return true;
        }
        let mut rules = match (min, max.or(widest.filter(|most| value > *most))) {
            (Some(min), Some(max)) => vec![format!("from {min} to {max}")],
            (Some(min), None) => vec![format!("at least {min}")],
            (None, Some(max)) => vec![format!("at most {max}")],
            (None, None) => Vec::new(),
        };
        rules.extend(limit("exclusiveMinimum").map(|min| format!("above {min}")));
        rules.extend(limit("exclusiveMaximum").map(|max| format!("below {max}")));
        rules.extend(limit("multipleOf").map(|step| format!("a multiple of {step}")));
        self.out_of_range(node, rules.join(" and "), schema, path)
    }

    fn out_of_range(&mut self, node: &Node, rule: String, schema: &Json, path: &str) -> bool {
        let label = format!("must be {rule}");
        let help = about(schema);
        let mistake = Mistake::OutOfRange { path: path.to_owned(), rule, help };
        self.report(&node.place, label, mistake);
        false
    }

    fn unknown_value(&mut self, node: &Node, value: &str, words: &[&str], path: &str) -> bool {
        let all = quoted(words);
        let key = path.rsplit('.').next().unwrap_or(path);
        let help = match known_value(key, value) {
            Some(help) => help.to_owned(),
            None => near_word(value, words, &all),
        };
        let (path, value) = (path.to_owned(), value.to_owned());
        let mistake = Mistake::UnknownValue { path, value, help };
        self.report(&node.place, "not a known word", mistake);
        false
    }

    fn wrong_type(&mut self, node: &Node, schema: &Json, path: &str) -> bool {
        let expected = expected(schema);
        let label = format!("must be {expected}");
        let mistake = Mistake::WrongType {
            path: path.to_owned(),
            expected,
            found: node.words().to_owned(),
            help: rewritten(node, schema, path),
        };
        self.report(&node.place, label, mistake);
        self.bad.insert(path.to_owned());
        false
    }
}

fn keys<'a>(schema: &'a Json, besides: &[&'a str]) -> Vec<&'a str> {
    let own = schema["properties"].as_object().into_iter().flat_map(Map::keys);
    own.map(String::as_str).chain(besides.iter().copied()).collect()
}

/// What an unknown key was likely meant to be: a key of another table, a near one, any of this.
fn meant(key: &str, keys: &[&str]) -> String {
    let homes: Vec<&str> = schema::tables()
        .iter()
        .filter(|(_, schema)| schema["properties"].get(key).is_some())
        .map(|(table, _)| table.as_str())
        .collect();
    if !homes.is_empty() {
        return format!("`{key}` belongs in {}", homes.join(" or "));
    }
    match did_you_mean(key, keys.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if keys.len() <= ALL_TOLD => format!("its keys are {}", keys.join(", ")),
        None => {
            let near = nearest(key, keys.iter().copied(), NEAREST).join(", ");
            format!("the nearest of its {} keys are {near}", keys.len())
        }
    }
}

fn near_word(value: &str, words: &[&str], all: &str) -> String {
    match did_you_mean(value, words.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"? It can be {all}"),
        None => format!("it can be {all}"),
    }
}

fn has_type(node: &Node, schema: &Json) -> bool {
    if words(schema).is_some() {
        return matches!(&node.content, Content::Scalar(Json::String(_)));
    }
    match (schema["type"].as_str(), &node.content) {
        (Some("object"), Content::Table(_)) | (Some("array"), Content::List(_)) => true,
        (Some(name), Content::Scalar(value)) => match name {
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => false,
        },
        _ => false,
    }
}
