//! The cleaning of text before CLIP's vocabulary sees it.
//!
//! CLIP was trained on text repaired by the ftfy library; these are its repairs, in its order, as far
//! as they can reach a caption. Applied line by line until nothing changes, then spaces are joined
//! and everything is lower-cased.

use tokenizers::NormalizedString;

use super::{entities, mojibake};

/// Repairs `text`, joins runs of white space to one space, and lower-cases.
pub(super) fn clean(text: &str) -> String {
    // From the first line with a `<` on, the text is taken for HTML, where `&lt;` must stay.
    let mut plain = true;
    let mut repaired = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        plain &= !line.contains('<');
        repaired += &repair(line, plain);
    }
    let words = repaired.split_whitespace().collect::<Vec<_>>();
    words.join(" ").to_lowercase()
}

fn repair(line: &str, plain: bool) -> String {
    // Each repair makes the text simpler, so this ends; the bound is against mistakes in that claim.
    const ROUNDS: usize = 16;
    let mut text = line.to_owned();
    for _ in 0..ROUNDS {
        let before = text.clone();
        if plain && !text.contains('<') {
            text = entities::unescape(&text);
        }
        text = mojibake::repair(&text);
        text = text.chars().map(mojibake::readable).collect();
        text = simplify(&text);
        text = drop_terminal_escapes(&text);
        text.retain(|c| !is_control(c));
        let mut composed = NormalizedString::from(text);
        composed.nfc();
        text = composed.get().to_owned();
        if text == before {
            break;
        }
    }
    text
}

/// Ligatures become letters, full- and half-width forms ordinary ones, curled quotes straight.
fn simplify(text: &str) -> String {
    let mut simple = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2bc}' | '\u{2018}'..='\u{201b}' => simple.push('\''),
            '\u{201c}'..='\u{201f}' => simple.push('"'),
            // Here compatibility would give an s; the reference keeps the long one.
            'ſ' => simple.push('ſ'),
            'ﬅ' => simple.push_str("ſt"),
            'Ĳ'
            | 'ĳ'
            | 'ŉ'
            | 'Ǆ'..='ǌ'
            | 'Ǳ'..='ǳ'
            | 'ﬀ'..='ﬆ'
            | '\u{3000}'
            | '！'..='\u{ffef}' => {
                let mut compatible = NormalizedString::from(c.to_string());
                compatible.nfkc();
                simple.push_str(compatible.get());
            }
            _ => simple.push(c),
        }
    }
    simple
}

/// Removes the colour codes of terminals: escape, `[`, digits and semicolons, one letter.
fn drop_terminal_escapes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        let after = rest[at + 2..].trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        if after.starts_with(|c: char| c.is_ascii_alphabetic()) {
            kept += &rest[..at];
            rest = &after[1..];
        } else {
            kept += &rest[..at + 2];
            rest = &rest[at + 2..];
        }
    }
    kept + rest
}

/// Characters without a look of their own: controls that are not white space, old shaping controls,
/// the byte order mark, interlinear marks.
fn is_control(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}'
        | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_repaired_as_the_training_data_was() {
        for (from, to) in [
            ("  A\t\u{a0}b\r\nC ", "a b c"),
            ("“curly” ‘quotes’ ﬁne ＡＢＣ，", "\"curly\" 'quotes' fine abc,"),
            ("&lt;b&gt; &eacute; &#233; &nope;", "<b> é é &nope;"),
            ("<b> &amp;", "<b> &amp;"),
            ("schÃ¶n â€œsmartâ€\u{9d}", "schön \"smart\""),
            ("e\u{301}", "é"),
            ("\u{1b}[36mblue\u{1b}[0m\u{feff}", "blue"),
            ("Σας ΟΔΟΣ", "σας οδος"),
        ] {
            assert_eq!(clean(from), to, "{from:?}");
        }
    }
}
