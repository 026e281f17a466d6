//! What a schema says, in words for a person.

use serde_json::Value as Json;

use super::tree::{Content, Node};

/// The words that a value is one of, if it is one of several words.
pub(super) fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(Json::as_str).collect();
    }
    let choices = schema["oneOf"].as_array()?;
    choices.iter().map(|choice| choice["const"].as_str()).collect()
}

/// `"a", "b" or "c"`.
pub(super) fn quoted(words: &[&str]) -> String {
    one_of(&words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>())
}

fn one_of(choices: &[String]) -> String {
    match choices.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => choices.concat(),
    }
}

/// The type that a schema asks for.
pub(super) fn expected(schema: &Json) -> String {
    if let Some(choices) = schema["anyOf"].as_array() {
        return one_of(&choices.iter().map(expected).collect::<Vec<_>>());
    }
    if let Some(words) = words(schema) {
        return quoted(&words);
    }
    let name = match schema["type"].as_str() {
        Some("object") => "a table",
        Some("array") => match (schema["items"]["type"].as_str(), schema["maxItems"].as_u64()) {
            (Some("integer"), Some(count)) => return format!("a list of {count} whole numbers"),
            (Some("number"), Some(2)) => "a pair of numbers",
            (Some("string"), Some(2)) => "a pair of two texts",
            (Some("string"), _) => "a list of texts",
            (Some("array"), _) => "a list of pairs",
            (Some("object"), _) => "a list of tables",
            _ => "a list",
        },
        Some("string") => "a text",
        Some("boolean") => "true or false",
        Some("integer") => "a whole number",
        _ => "a number",
    };
    name.to_owned()
}

/// How a value of the wrong type would be written rightly, where that can be seen; else what its key
/// means.
pub(super) fn rewritten(node: &Node, schema: &Json, path: &str) -> String {
    let key = path.rsplit('.').next().unwrap_or(path);
    // An item of a list is not written by its number.
    if key.parse::<usize>().is_ok() {
        return about(schema);
    }
    let written = node.place.written().trim();
    let bare = written.trim_matches(['"', '\'']);
    let schema_type = schema["anyOf"][0]["type"].as_str().or(schema["type"].as_str());
    match (&node.content, schema_type) {
        (Content::Scalar(Json::String(_)), Some("integer" | "number" | "boolean")) => {
            let right: Option<Json> = serde_json::from_str(bare).ok();
            if right.is_some_and(|value| value.is_number() || value.is_boolean()) {
                return format!("write it without quotes: `{key} = {bare}`");
            }
        }
        (Content::Scalar(_), Some("string")) => return format!("write `{key} = \"{bare}\"`"),
        (Content::Scalar(Json::String(_)), Some("array")) => {
            return format!("write `{key} = [{written}]`");
        }
        (Content::List(items), Some("object")) => {
            let pairs = items.iter().filter_map(|item| match &item.content {
                Content::Scalar(Json::String(text)) => text.split_once('='),
                _ => None,
            });
            // Python writes True and False.
            let pairs = pairs.map(|(name, value)| {
                format!("{} = {}", name.trim(), value.trim().to_ascii_lowercase())
            });
            let pairs = pairs.collect::<Vec<_>>();
            if !pairs.is_empty() && pairs.len() == items.len() {
                return format!("write `{key} = {{ {} }}`", pairs.join(", "));
            }
        }
        (Content::Table(_), Some("array")) => return format!("write `[[{key}]]`"),
        _ => {}
    }
    about(schema)
}

/// What a key means, from its own documentation, with its default.
pub(super) fn about(schema: &Json) -> String {
    let description = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    match &schema["default"] {
        Json::Null if description.is_empty() => "correct the value".to_owned(),
        Json::Null => description,
        default => format!("{description} The default is {default}.").trim().to_owned(),
    }
}
