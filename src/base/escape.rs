//! Characters that are none to see but act: on a terminal, on what stands beside them, on a list by lines.

use std::borrow::Cow;

/// Whether a character is none to see and acts: control characters, and those that turn the direction in
/// which the letters around them are shown.
#[must_use]
pub fn acts(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text that somebody else wrote as a part of a line: what acts is written out, as `\u001b`, line ends too.
#[must_use]
pub fn in_line(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len());
    text.chars().for_each(|letter| write_out(letter, &mut line));
    line.into()
}

/// Adds a letter, written out if it acts: four hexadecimal digits, as JSON has it too.
pub fn write_out(letter: char, to: &mut String) {
    if acts(letter) {
        *to += &format!("\\u{:04x}", u32::from(letter));
    } else {
        to.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_written_out() {
        assert!(matches!(in_line("caf\u{e9} \u{1f408} \u{200f}"), Cow::Borrowed(_)));
        assert_eq!(in_line("a\nb\u{1b}[2J\u{9b}\u{202e}"), "a\\u000ab\\u001b[2J\\u009b\\u202e");
    }
}
