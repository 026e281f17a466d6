//! The notation of tag replacements: `source,target;source2,target2`.

use super::error::TagsError;

/// Reads pairs of source and target; `\,` and `\;` stand for the characters themselves.
///
/// # Errors
/// A pair has not exactly one comma, or names no source.
pub fn parse_replacements(text: &str) -> Result<Vec<(String, String)>, TagsError> {
    let pairs = split(text, ';').into_iter().filter(|pair| !pair.trim().is_empty());
    pairs.map(|pair| parse_pair(&pair)).collect()
}

fn parse_pair(pair: &str) -> Result<(String, String), TagsError> {
    let sides = split(pair, ',');
    let plain = |side: &str| side.replace("\\,", ",").replace("\\;", ";").trim().to_owned();
    match &sides[..] {
        [source, target] if !source.trim().is_empty() => Ok((plain(source), plain(target))),
        _ => Err(TagsError::Replacement { pair: pair.to_owned() }),
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

    fn pair(source: &str, target: &str) -> (String, String) {
        (source.to_owned(), target.to_owned())
    }

    #[test]
    fn pairs_are_read_with_their_escapes() {
        let found = parse_replacements(r"1girl,woman; \;),wink;a\,b,c").unwrap();
        assert_eq!(found, [pair("1girl", "woman"), pair(";)", "wink"), pair("a,b", "c")]);
        assert_eq!(parse_replacements("").unwrap(), []);
    }

    #[test]
    fn a_pair_needs_one_comma() {
        for text in ["a", "a,b,c", ",b"] {
            assert!(parse_replacements(text).is_err(), "{text}");
        }
    }
}
