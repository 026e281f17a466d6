//! What the colours mean, in one place.

use std::fmt::Display;

use owo_colors::OwoColorize;

/// Names and headings.
pub(super) fn strong(text: impl Display) -> String {
    text.bold().to_string()
}

/// What matters less.
pub(super) fn faint(text: impl Display) -> String {
    text.dimmed().to_string()
}

/// Done, unchanged.
pub(super) fn good(text: impl Display) -> String {
    text.green().to_string()
}

/// Work to do, something to notice.
pub(super) fn busy(text: impl Display) -> String {
    text.yellow().to_string()
}

/// Something new.
pub(super) fn fresh(text: impl Display) -> String {
    text.cyan().to_string()
}

/// Failed.
pub(super) fn bad(text: impl Display) -> String {
    text.red().to_string()
}

/// A text in the colour of a stage's state.
pub(super) fn state(word: &str, text: impl Display) -> String {
    match word {
        "fresh" => good(text),
        "new" => fresh(text),
        "partial" | "stale" => busy(text),
        _ => bad(text),
    }
}
