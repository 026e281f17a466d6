//! The two streams: results go to stdout, everything else to stderr.
//!
//! Texts are coloured by those who make them; the colours are taken out here where the stream is no
//! terminal or the user set `NO_COLOR`. A reader that hangs up (`fluxpipe plan … | head`) is no error.
//!
//! Captions, tags, names of files and of tensors come from anybody. Of all that acts on a terminal only
//! colours get past this module; the rest is written out, so that no text moves the cursor, hides another
//! one or sets the title of the window.

use std::io::{self, ErrorKind, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};

use crate::base::escape;

/// What the stream at the other end can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether colours are wanted.
    pub colour: bool,
    /// Whether a person reads along on a terminal: box-drawing characters, lines wrapped to its width.
    pub terminal: bool,
}

impl Look {
    /// For files, pipes and tests.
    pub const PLAIN: Self = Self { colour: false, terminal: false };

    /// What stdout shows.
    #[must_use]
    pub fn stdout() -> Self {
        let stream = io::stdout();
        Self { colour: coloured(AutoStream::choice(&stream)), terminal: drawing(&stream) }
    }

    /// What stderr shows.
    #[must_use]
    pub fn stderr() -> Self {
        let stream = io::stderr();
        Self { colour: coloured(AutoStream::choice(&stream)), terminal: drawing(&stream) }
    }
}

fn coloured(choice: ColorChoice) -> bool {
    choice != ColorChoice::Never
}

/// A terminal that can move its cursor.
fn drawing(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes a result.
///
/// # Errors
/// The stream cannot be written, for instance a file on a full disk.
pub fn stdout(text: &str) -> io::Result<()> {
    hung_up_is_fine(write(anstream::stdout(), text))
}

/// Writes a message. Where even that fails there is nobody left to tell.
pub fn stderr(text: &str) {
    let _ = write(anstream::stderr(), text);
}

fn write(mut stream: impl Write, text: &str) -> io::Result<()> {
    stream.write_all(harmless(text).as_bytes())?;
    if !text.ends_with('\n') {
        stream.write_all(b"\n")?;
    }
    stream.flush()
}

/// A text of lines and colours, with all else that acts written out. No colour outlives its line, so that
/// none that came in with a caption reaches the next one.
fn harmless(text: &str) -> String {
    const RESET: &str = "\u{1b}[0m";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_coloured = false;
    while let Some(letter) = rest.chars().next() {
        if let Some(colour) = colour(rest) {
            shown += colour;
            is_coloured = colour != RESET;
            rest = &rest[colour.len()..];
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\n' => {
                if std::mem::take(&mut is_coloured) {
                    shown += RESET;
                }
                shown.push(letter);
            }
            '\t' => shown.push(letter),
            // How lines of a file end that is shown.
            '\r' if rest.starts_with('\n') => {}
            letter => escape::write_out(letter, &mut shown),
        }
    }
    if is_coloured {
        shown += RESET;
    }
    shown
}

/// The colour that a text begins with: a style that is used here or by those who colour diagnostics and logs.
/// None that hides, blinks, or paints what is behind the letters.
fn colour(text: &str) -> Option<&str> {
    let codes = text.strip_prefix("\u{1b}[")?;
    let end = codes.find(|letter: char| !matches!(letter, '0'..='9' | ';'))?;
    if !codes[end..].starts_with('m') {
        return None;
    }
    let mut numbers = codes[..end].split(';').map(|code| code.parse::<u8>().unwrap_or(0));
    while let Some(number) = numbers.next() {
        let others = match number {
            0..=4 | 22..=24 | 30..=37 | 39 | 90..=97 => 0,
            // One of 256 colours, or red, green and blue.
            38 => match numbers.next()? {
                5 => 1,
                2 => 3,
                _ => return None,
            },
            _ => return None,
        };
        (0..others).try_for_each(|_| numbers.next().map(drop))?;
    }
    Some(&text[.."\u{1b}[m".len() + end])
}

fn hung_up_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn colours_get_through_and_nothing_else_that_acts() {
        for text in
            ["a\tb\n", "\u{1b}[1;31mred\u{1b}[0m, \u{1b}[38;2;1;2;3mmixed\u{1b}[0m\n", "{\"a\": 1}"]
        {
            assert_eq!(harmless(text), text);
        }
        for (text, shown) in [
            ("\u{1b}[2J", "\\u001b[2J"),
            ("\u{1b}]0;title\u{7}", "\\u001b]0;title\\u0007"),
            ("\u{1b}[8mhidden", "\\u001b[8mhidden"),
            ("\u{1b}[38;5m", "\\u001b[38;5m"),
            ("\u{9b}31m", "\\u009b31m"),
            ("a\rb\u{8}", "a\\u000db\\u0008"),
            ("one\r\ntwo", "one\ntwo"),
            ("\u{202e}gnp.exe", "\\u202egnp.exe"),
            ("\u{1b}", "\\u001b"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }

    #[test]
    fn no_colour_outlives_its_line() {
        let text = "\u{1b}[32mall is well\nfailed";
        assert_eq!(harmless(text), "\u{1b}[32mall is well\u{1b}[0m\nfailed");
    }
}
