//! The two streams: results go to stdout, everything else to stderr.
//!
//! Texts are coloured by those who make them; the colours are taken out here where the stream is no
//! terminal or the user set `NO_COLOR`. A reader that hangs up (`fluxpipe plan … | head`) is no error.

use std::io::{self, ErrorKind, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};

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
    stream.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stream.write_all(b"\n")?;
    }
    stream.flush()
}

fn hung_up_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
