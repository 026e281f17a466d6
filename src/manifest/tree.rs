//! The manifest as a tree of values, each with its place, before it has types.

use std::{collections::BTreeMap, ops::Range};

use serde_json::Value as Json;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::source::{Place, Spans, Text};

/// A value and where it stands. A table stands where its header stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Entries in the order of the text.
    Table(Vec<Entry>),
    List(Vec<Node>),
    /// A text, a finite number, or true or false.
    Scalar(Json),
    /// What no key of a manifest takes, in words: a date, an infinite number.
    Foreign(&'static str),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) key: Place,
    pub(super) value: Node,
}

impl Node {
    /// The tree of `toml`, which is `text` or a copy of the same length.
    pub(super) fn of_table(toml: &DeTable<'_>, text: &Text) -> Self {
        Self { place: Place::new(text, 0..0), content: table(toml, text, 0) }
    }

    /// A value whose text starts at byte `from` of `text`.
    pub(super) fn from_value(
        value: &DeValue<'_>,
        span: Range<usize>,
        text: &Text,
        from: usize,
    ) -> Self {
        let content = match value {
            DeValue::Table(entries) => table(entries, text, from),
            DeValue::Array(values) => Content::List(
                values
                    .iter()
                    .map(|value| Self::from_value(value.get_ref(), value.span(), text, from))
                    .collect(),
            ),
            DeValue::String(text) => Content::Scalar(Json::from(text.as_ref())),
            DeValue::Boolean(value) => Content::Scalar(Json::from(*value)),
            DeValue::Integer(number) => integer(number),
            DeValue::Float(number) => float(number),
            DeValue::Datetime(_) => Content::Foreign("a date"),
        };
        Self { place: Place::new(text, from + span.start..from + span.end), content }
    }

    pub(super) fn entries(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Table(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.entries()?.iter().find(|entry| entry.name == name).map(|entry| &entry.value)
    }

    /// The plain value, for values that have passed the check.
    pub(super) fn json(&self) -> Json {
        match &self.content {
            Content::Table(entries) => entries
                .iter()
                .map(|entry| (entry.name.clone(), entry.value.json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Content::List(nodes) => nodes.iter().map(Self::json).collect(),
            Content::Scalar(value) => value.clone(),
            Content::Foreign(_) => Json::Null,
        }
    }

    /// What it is, in words.
    pub(super) fn words(&self) -> &'static str {
        match &self.content {
            Content::Table(_) => "a table",
            Content::List(_) => "a list",
            Content::Foreign(what) => what,
            Content::Scalar(Json::Bool(true)) => "true",
            Content::Scalar(Json::Bool(false)) => "false",
            Content::Scalar(Json::Number(number)) if number.is_f64() => "a fraction",
            Content::Scalar(Json::Number(_)) => "a whole number",
            Content::Scalar(_) => "a text",
        }
    }
}

fn table(entries: &DeTable<'_>, text: &Text, from: usize) -> Content {
    let mut entries: Vec<Entry> = entries
        .iter()
        .map(|(key, value)| Entry {
            name: key.get_ref().as_ref().to_owned(),
            key: Place::new(text, from + key.span().start..from + key.span().end),
            value: Node::from_value(value.get_ref(), value.span(), text, from),
        })
        .collect();
    // The parser sorts by name; people, and stages, go by the order of the text.
    entries.sort_by_key(|entry| entry.key.range.start);
    Content::Table(entries)
}

fn integer(number: &DeInteger<'_>) -> Content {
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(value) => Content::Scalar(value.into()),
        Err(_) => Content::Foreign("a number beyond 64 bits"),
    }
}

fn float(number: &DeFloat<'_>) -> Content {
    match number.as_str().parse::<f64>() {
        Ok(value) if value.is_finite() => Content::Scalar(value.into()),
        _ => Content::Foreign("infinite or not a number"),
    }
}

/// The place of every value by its dotted path.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(BTreeMap<String, Place>);

impl Places {
    pub(super) fn of(root: &Node) -> Self {
        let mut places = Self::default();
        places.collect(root, String::new());
        places
    }

    fn collect(&mut self, node: &Node, path: String) {
        match &node.content {
            Content::Table(entries) => entries
                .iter()
                .for_each(|entry| self.collect(&entry.value, below(&path, &entry.name))),
            Content::List(nodes) => nodes
                .iter()
                .enumerate()
                .for_each(|(index, node)| self.collect(node, below(&path, &index.to_string()))),
            Content::Scalar(_) | Content::Foreign(_) => {}
        }
        self.0.insert(path, node.place.clone());
    }

    pub(super) fn get(&self, path: &str) -> Option<&Place> {
        self.0.get(path)
    }

    /// Those in the manifest itself.
    pub(super) fn spans(&self, file: &Text) -> Spans {
        let stated = self.0.iter().filter(|(path, place)| !path.is_empty() && place.is_in(file));
        Spans(stated.map(|(path, place)| (path.clone(), place.range.clone())).collect())
    }
}

/// Dotted path of `name` in the table `path`; the root has the empty path.
pub(super) fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
