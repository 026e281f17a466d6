//! Patterns over names: `*`, `?`, `[abc]`, `[0-9]`, `[!0-9]`.

/// A pattern, taken apart.
pub(super) struct Pattern(Vec<Piece>);

enum Piece {
    One(char),
    Any,
    Many,
    List { but: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// A list is not closed, in words.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut rest = text.chars();
        let mut pieces = Vec::new();
        while let Some(letter) = rest.next() {
            pieces.push(match letter {
                '*' => Piece::Many,
                '?' => Piece::Any,
                '[' => {
                    let (inside, after) = rest.as_str().split_once(']').ok_or_else(|| {
                        format!("has the pattern `{text}`, whose `[` is not closed")
                    })?;
                    rest = after.chars();
                    list(inside)
                }
                other => Piece::One(other),
            });
        }
        Ok(Self(pieces))
    }

    /// Whether it fits the whole of `name`.
    pub fn fits(&self, name: &str) -> bool {
        fits(&self.0, &name.chars().collect::<Vec<_>>())
    }
}

fn list(inside: &str) -> Piece {
    let (but, inside) = inside.strip_prefix('!').map_or((false, inside), |rest| (true, rest));
    let letters = inside.chars().collect::<Vec<_>>();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        if let [from, '-', to, ..] = letters[at..] {
            ranges.push((from, to));
            at += 3;
        } else {
            ranges.push((letters[at], letters[at]));
            at += 1;
        }
    }
    Piece::List { but, ranges }
}

fn fits(pieces: &[Piece], name: &[char]) -> bool {
    let Some((piece, pieces)) = pieces.split_first() else { return name.is_empty() };
    if let Piece::Many = piece {
        return (0..=name.len()).any(|taken| fits(pieces, &name[taken..]));
    }
    let Some((letter, name)) = name.split_first() else { return false };
    let one = match piece {
        Piece::One(expected) => letter == expected,
        Piece::List { but, ranges } => {
            *but != ranges.iter().any(|(from, to)| (from..=to).contains(&letter))
        }
        Piece::Any | Piece::Many => true,
    };
    one && fits(pieces, name)
}
