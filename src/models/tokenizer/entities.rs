//! HTML entities back to characters: numbers, the named symbols of HTML 4, and accented letters.

/// Replaces every complete entity (`&eacute;`, `&#233;`, `&#xe9;`) that has a meaning.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain += &rest[..at];
        rest = &rest[at..];
        let entity =
            rest[1..].split_once(';').and_then(|(name, after)| Some((meaning(name)?, after)));
        if let Some((character, after)) = entity {
            plain.push(character);
            rest = after;
        } else {
            plain.push('&');
            rest = &rest[1..];
        }
    }
    plain + rest
}

fn meaning(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        // Numbers of the old Windows page are common mistakes for its characters.
        return char::from_u32(code).map(super::mojibake::readable);
    }
    named(name).or_else(|| {
        // A name shouted in capitals means the capital, as in old forms.
        let quiet = name.to_ascii_lowercase();
        let shouted = name == name.to_ascii_uppercase() && quiet != name;
        named(&quiet).filter(|_| shouted)?.to_uppercase().next()
    })
}

fn named(name: &str) -> Option<char> {
    symbol(name).or_else(|| accented(name))
}

fn accented(name: &str) -> Option<char> {
    const ACCENTS: [(&str, char); 8] = [
        ("grave", '\u{300}'),
        ("acute", '\u{301}'),
        ("circ", '\u{302}'),
        ("tilde", '\u{303}'),
        ("uml", '\u{308}'),
        ("ring", '\u{30a}'),
        ("caron", '\u{30c}'),
        ("cedil", '\u{327}'),
    ];
    let letter = name.chars().next().filter(char::is_ascii_alphabetic)?;
    let (_, accent) = ACCENTS.iter().find(|(accent, _)| *accent == &name[1..])?;
    let mut composed = tokenizers::NormalizedString::from(format!("{letter}{accent}"));
    composed.nfc();
    let mut characters = composed.get().chars();
    characters.next().filter(|_| characters.next().is_none())
}

fn symbol(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "shy" => '\u{ad}',
        "iexcl" => '¡',
        "iquest" => '¿',
        "cent" => '¢',
        "pound" => '£',
        "curren" => '¤',
        "yen" => '¥',
        "euro" => '€',
        "brvbar" => '¦',
        "sect" => '§',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "ordf" => 'ª',
        "ordm" => 'º',
        "laquo" => '«',
        "raquo" => '»',
        "not" => '¬',
        "macr" => '¯',
        "deg" => '°',
        "plusmn" => '±',
        "sup1" => '¹',
        "sup2" => '²',
        "sup3" => '³',
        "acute" => '´',
        "micro" => 'µ',
        "para" => '¶',
        "middot" => '·',
        "cedil" => '¸',
        "uml" => '¨',
        "frac14" => '¼',
        "frac12" => '½',
        "frac34" => '¾',
        "times" => '×',
        "divide" => '÷',
        "szlig" => 'ß',
        "aelig" => 'æ',
        "AElig" => 'Æ',
        "oelig" => 'œ',
        "OElig" => 'Œ',
        "oslash" => 'ø',
        "Oslash" => 'Ø',
        "eth" => 'ð',
        "ETH" => 'Ð',
        "thorn" => 'þ',
        "THORN" => 'Þ',
        "ensp" => '\u{2002}',
        "emsp" => '\u{2003}',
        "thinsp" => '\u{2009}',
        "zwnj" => '\u{200c}',
        "zwj" => '\u{200d}',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "sbquo" => '‚',
        "ldquo" => '“',
        "rdquo" => '”',
        "bdquo" => '„',
        "lsaquo" => '‹',
        "rsaquo" => '›',
        "dagger" => '†',
        "Dagger" => '‡',
        "bull" => '•',
        "hellip" => '…',
        "permil" => '‰',
        "prime" => '′',
        "Prime" => '″',
        "larr" => '←',
        "uarr" => '↑',
        "rarr" => '→',
        "darr" => '↓',
        "harr" => '↔',
        "minus" => '−',
        "ne" => '≠',
        "le" => '≤',
        "ge" => '≥',
        "infin" => '∞',
        "hearts" => '♥',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_replaced_once_and_others_stay() {
        assert_eq!(unescape("&amp;lt; &Uuml;&ccedil; &#x1F431; &NTILDE;"), "&lt; Üç 🐱 Ñ");
        assert_eq!(
            unescape("a & b; &; &#; &#xzz; &xring; R&D"),
            "a & b; &; &#; &#xzz; &xring; R&D"
        );
    }
}
