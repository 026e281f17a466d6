//! Lists of tags and pairs of tags: as TOML lists, or as one text in the notation of the public tagger
//! script.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Some tags: a list, or a text in which the stage's `caption_separator` stands between two of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TagList {
    /// `["1girl", "solo"]`
    Tags(#[schemars(inner(length(min = 1)))] Vec<String>),
    /// `"1girl, solo"`
    Text(String),
}

impl Default for TagList {
    fn default() -> Self {
        Self::Tags(Vec::new())
    }
}

impl TagList {
    /// The tags, without blanks around them. The script separates its lists by the separator of the
    /// text, without its blanks.
    #[must_use]
    pub fn tags(&self, caption_separator: &str) -> Vec<String> {
        let separator = match caption_separator.trim() {
            "" => caption_separator,
            stripped => stripped,
        };
        let tags: Vec<&str> = match self {
            Self::Tags(tags) => tags.iter().map(String::as_str).collect(),
            Self::Text(text) => text.split(separator).collect(),
        };
        let tags = tags.into_iter().map(str::trim).filter(|tag| !tag.is_empty());
        tags.map(str::to_owned).collect()
    }
}

/// What is written for some tags: a list of pairs, or a text `source,target;source2,target2` in which
/// `\,` and `\;` stand for the characters themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TagReplacement {
    /// `[["1girl", "woman"]]`
    Pairs(Vec<[String; 2]>),
    /// `"1girl,woman"`
    Text(String),
}

impl Default for TagReplacement {
    fn default() -> Self {
        Self::Pairs(Vec::new())
    }
}

impl TagReplacement {
    /// Source and target of each.
    ///
    /// # Errors
    /// The first pair that has not exactly one comma, or names no source.
    pub fn pairs(&self) -> Result<Vec<[String; 2]>, String> {
        match self {
            Self::Pairs(pairs) => {
                let trimmed =
                    pairs.iter().map(|pair| pair.each_ref().map(|tag| tag.trim().to_owned()));
                match pairs.iter().find(|[source, _]| source.trim().is_empty()) {
                    Some([source, target]) => Err(format!("{source},{target}")),
                    None => Ok(trimmed.collect()),
                }
            }
            Self::Text(text) => {
                let pairs = split(text, ';').into_iter().filter(|pair| !pair.trim().is_empty());
                pairs.map(|pair| parse_pair(&pair).ok_or(pair)).collect()
            }
        }
    }
}

fn parse_pair(pair: &str) -> Option<[String; 2]> {
    let plain = |side: &str| side.replace("\\,", ",").replace("\\;", ";").trim().to_owned();
    match &split(pair, ',')[..] {
        [source, target] if !source.trim().is_empty() => Some([plain(source), plain(target)]),
        _ => None,
    }
}

/// Splits at the separators that no backslash precedes.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for character in text.chars() {
        if character == separator && !escaped {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
        escaped = character == '\\';
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_separated_as_the_text_is() {
        let text = TagList::Text(" 1girl ,solo,, ^_^".to_owned());
        assert_eq!(text.tags(", "), ["1girl", "solo", "^_^"]);
        assert_eq!(TagList::Text("a, b | c".to_owned()).tags(" | "), ["a, b", "c"]);
        assert_eq!(TagList::Text("a b".to_owned()).tags(" "), ["a", "b"]);
        let list = TagList::Tags(vec!["a, b".to_owned(), " c".to_owned()]);
        assert_eq!(list.tags(", "), ["a, b", "c"]);
    }

    #[test]
    fn pairs_are_read_with_their_escapes() {
        let pairs = |text: &str| TagReplacement::Text(text.to_owned()).pairs();
        let found = pairs(r"1girl,woman; \;),wink;a\,b,c").unwrap();
        assert_eq!(found, [["1girl", "woman"], [";)", "wink"], ["a,b", "c"]]);
        assert_eq!(pairs("").unwrap(), Vec::<[String; 2]>::new());
        for text in ["a", "a,b,c", ",b"] {
            assert_eq!(pairs(&format!("x,y;{text}")), Err(text.to_owned()));
        }
    }

    #[test]
    fn a_pair_in_a_list_needs_a_source() {
        let pair = |source: &str| TagReplacement::Pairs(vec![[source.to_owned(), "b".to_owned()]]);
        assert_eq!(pair(" a").pairs().unwrap(), [["a", "b"]]);
        assert_eq!(pair(" ").pairs(), Err(" ,b".to_owned()));
    }
}
