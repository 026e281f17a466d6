//! UTF-8 that was once read as Windows-1252 (`schÃ¶n` for `schön`), put right.
//!
//! Only the confusion with Windows-1252 and Latin-1 is undone, by far the commonest; mix-ups with
//! Cyrillic or Central European pages stay as they are.

/// The characters of bytes 0x80..=0x9f in Windows-1252; where the page has a hole, the byte itself.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// A control character of Latin-1 as the Windows character that its writer meant.
pub(super) fn readable(c: char) -> char {
    match c {
        '\u{80}'..='\u{9f}' => WINDOWS[c as usize - 0x80],
        _ => c,
    }
}

/// Puts misread UTF-8 right, as often as it was misread.
pub(super) fn repair(text: &str) -> String {
    let mut text = text.to_owned();
    // Each round makes the text shorter.
    while let Some(better) = repair_once(&text) {
        text = better;
    }
    text
}

fn repair_once(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let characters = text.chars().collect::<Vec<_>>();
    let mut repaired = String::with_capacity(text.len());
    let mut guilty = false;
    let mut at = 0;
    while at < characters.len() {
        if let Some((meant, length)) = misread(&characters[at..]) {
            guilty |= is_unlikely(&characters[at..at + length]);
            repaired.push(meant);
            at += length;
        } else {
            repaired.push(characters[at]);
            at += 1;
        }
    }
    // One sequence that nobody writes convicts the text, and then every sequence is one.
    guilty.then_some(repaired)
}

/// The character that the first characters spell as UTF-8 bytes, and how many they are.
fn misread(characters: &[char]) -> Option<(char, usize)> {
    let length = match byte(*characters.first()?)? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let bytes = characters.get(..length)?.iter().map(|&c| byte(c)).collect::<Option<Vec<_>>>()?;
    let meant = str::from_utf8(&bytes).ok()?.chars().next()?;
    Some((meant, length))
}

fn byte(c: char) -> Option<u8> {
    match c {
        '\0'..='\u{ff}' => u8::try_from(u32::from(c)).ok(),
        _ => {
            let at = WINDOWS.iter().position(|&windows| windows == c)?;
            u8::try_from(0x80 + at).ok()
        }
    }
}

/// Whether a person would not have written this: an accented letter with signs at its heels. Letters
/// and the punctuation that may follow any word (`É…`, `é—“`) prove nothing, except after the four
/// capitals that begin most misread Western, Greek and Cyrillic text.
fn is_unlikely(sequence: &[char]) -> bool {
    let suspect = matches!(sequence[0], 'Â' | 'Ã' | 'Î' | 'Ð');
    sequence[1..].iter().any(|&c| match c {
        '…' | '•' | '©' => suspect && c == '©',
        '\u{a0}'
        | '\u{ad}'
        | '·'
        | '´'
        | '–'
        | '—'
        | '‘'..='‚'
        | '“'..='„'
        | '‹'
        | '›'
        | '«'
        | '»' => suspect,
        _ => suspect || !c.is_alphabetic(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misread_text_is_put_right_and_honest_text_left_alone() {
        for (from, to) in [
            ("schÃ¶n", "schön"),
            ("Ã‰tÃ©", "Été"),
            ("â€œxâ€\u{9d}", "“x”"),
            ("æ°´ and 🐱", "水 and 🐱"),
            ("ÃƒÂ©", "é"),
            ("naïve Zürich É… café—“x”", "naïve Zürich É… café—“x”"),
            ("ÀÉÎÕÜ ß ẞ", "ÀÉÎÕÜ ß ẞ"),
            ("Привет 水墨", "Привет 水墨"),
        ] {
            assert_eq!(repair(from), to);
        }
    }
}
