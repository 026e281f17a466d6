//! Diagnostics as a person reads them: the place, what is wrong, what to do.

use std::{fmt, path::Path};

use miette::{Diagnostic, MietteHandler, MietteHandlerOpts, ReportHandler};

use super::Look;
use crate::base::plural;

/// The text of one diagnostic.
#[must_use]
pub fn diagnostic(diagnostic: &dyn Diagnostic, look: Look) -> String {
    let options = MietteHandlerOpts::new()
        .force_graphical(true)
        .terminal_links(false)
        .color(look.colour)
        .unicode(look.terminal)
        .context_lines(1);
    // A log is read by programs too: a path must not be broken in two there.
    let options = if look.terminal { options } else { options.wrap_lines(false).width(UNWRAPPED) };
    let handler = options.build();
    tidy(&Shown { handler: &handler, diagnostic }.to_string())
}

/// Every diagnostic that `all` relates, with a closing line: `5 errors in project.toml`.
#[must_use]
pub fn diagnostics(all: &dyn Diagnostic, path: &Path, look: Look) -> String {
    let mut each = all.related().into_iter().flatten();
    let shown = each.by_ref().take(SHOWN).map(|one| diagnostic(one, look) + "\n");
    let shown = shown.collect::<Vec<_>>();
    let left = each.count();
    let more = match left {
        0 => String::new(),
        left => format!("… and {left} more, of which the first ones may be the cause\n\n"),
    };
    let count = plural(shown.len() + left, "error");
    format!("{}{more}{count} in {}\n", shown.concat(), path.display())
}

/// Diagnostics that are shown in full: another kind of file may give one for each of its lines.
const SHOWN: usize = 50;

/// Wider than any line, so that nothing is wrapped.
const UNWRAPPED: usize = 100_000;

struct Shown<'a> {
    handler: &'a MietteHandler,
    diagnostic: &'a dyn Diagnostic,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handler.debug(self.diagnostic, f)
    }
}

/// No blanks at the ends of lines, no empty lines around, one newline at the end.
fn tidy(text: &str) -> String {
    let lines = text.lines().map(str::trim_end).collect::<Vec<_>>();
    lines.join("\n").trim_matches('\n').to_owned() + "\n"
}
