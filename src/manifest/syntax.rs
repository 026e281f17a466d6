//! Reads TOML past its errors, so that one broken line does not hide the mistakes of the others.
//!
//! The parser gives up or guesses after an error. Here the broken line is blanked out and the rest is
//! read anew, until what is left is sound. Bytes keep their places.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::{
    error::{ManifestError, Mistake},
    source::{Place, Text},
    tree::Node,
};

/// More broken lines than this are another kind of file.
const MOST: usize = 20;

/// A manifest as far as it is TOML.
pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) errors: Vec<ManifestError>,
    /// Stretches of the text of which nothing more can be said.
    pub(super) unsure: Vec<Range<usize>>,
}

pub(super) fn parse(text: &Text) -> Parsed {
    let mut left = text.inner().to_string();
    let (mut errors, mut unsure) = (Vec::new(), Vec::new());
    let mut brackets = false;
    loop {
        let (toml, found) = DeTable::parse_recoverable(&left);
        let first = found.iter().min_by_key(|error| start(error, &left));
        let Some(first) = first else {
            return Parsed { root: Node::of_table(toml.get_ref(), text), errors, unsure };
        };
        // Of brackets that never close, the first error tells all there is to tell.
        let stretch =
            if brackets || errors.len() + 1 >= MOST { 0..left.len() } else { broken(&left, first) };
        if !brackets {
            errors.push(diagnostic(text, first));
        }
        brackets |= in_brackets(first);
        left = blanked(&left, &stretch);
        unsure.push(stretch);
    }
}

fn start(error: &Error, text: &str) -> usize {
    text.floor_char_boundary(error.span().map_or(text.len(), |span| span.start))
}

/// What an error makes unreadable: its line; all up to the next table if it is a header, since the
/// keys below it have lost their table; all that follows if it is inside brackets, since nobody knows
/// where they were to end.
fn broken(text: &str, error: &Error) -> Range<usize> {
    let at = start(error, text);
    let from = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let to = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    if in_brackets(error) || text[from..to].trim().is_empty() {
        from..text.len()
    } else if text[from..to].trim_start().starts_with('[') {
        from..text[to..].find("\n[").map_or(text.len(), |header| to + header)
    } else {
        from..to
    }
}

fn in_brackets(error: &Error) -> bool {
    ["array", "inline table", "multi-line"].iter().any(|what| error.message().contains(what))
}

fn blanked(text: &str, stretch: &Range<usize>) -> String {
    let blank = text[stretch.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' });
    let (before, after) = (&text[..stretch.start], &text[stretch.end..]);
    before.chars().chain(blank).chain(after.chars()).collect()
}

fn diagnostic(text: &Text, error: &Error) -> ManifestError {
    let end = text.inner().len();
    let span = error.span().unwrap_or(end..end);
    let place = Place::new(text, span.start.min(end)..span.end.min(end));
    let message = error.message().to_owned();
    let (label, help) = if message.starts_with("duplicate key") {
        ("stands here again", "a table or a key can stand only once: put both together")
    } else if message.contains("escape") {
        let help =
            "a backslash in double quotes is written twice; in single quotes it is a backslash";
        ("behind a backslash", help)
    } else if in_brackets(error) {
        ("here at the latest", "look at the bracket or quotes that open above: they do not close")
    } else {
        ("here", "a line is `key = value`, `[table]` or `# comment`; texts stand in double quotes")
    };
    ManifestError::at(&place, label, Mistake::Syntax { message, help })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use miette::NamedSource;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Parsed {
        parse(&Arc::new(NamedSource::new("test", Arc::from(text))))
    }

    #[test]
    fn what_is_sound_is_read() {
        let parsed = read("[a]\nx 3\nz = 4\n[b\ny = 1\n[c]\nv = fast\nw = 2\n");
        assert_eq!(parsed.errors.len(), 3);
        let json = parsed.root.json();
        assert_eq!(json, serde_json::json!({ "a": { "z": 4 }, "c": { "w": 2 } }));
    }

    #[test]
    fn a_backslash_is_told_how_to_be_written() {
        let told = read(r#"x = "a\,b,c""#).errors.remove(0);
        let help = miette::Diagnostic::help(&told).unwrap().to_string();
        assert!(help.contains("written twice"), "{help}");
        assert!(
            read(r#"x = "a\\,b,c""#).errors.is_empty() && read(r"x = 'a\,b'").errors.is_empty()
        );
    }

    #[test]
    fn an_open_bracket_is_one_error() {
        assert_eq!(read("[a]\nz = [1, 2\n[b]\ny = 1\n").errors.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_is_too_broken(text in "[\\[\\]{}=\"'a-c0-9.,#\n é-]{0,60}") {
            let parsed = read(&text);
            prop_assert!(parsed.errors.len() <= MOST);
            prop_assert_eq!(parsed.errors.is_empty(), text.parse::<toml::Table>().is_ok());
        }
    }
}
