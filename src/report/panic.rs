//! What the user sees of a bug: a short message instead of a backtrace.
//!
//! Some panics are caught and become errors (a stage, a parser of foreign files), so the hook prints
//! nothing; it remembers, and whoever ends the program over a panic asks for the text.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::PanicHookInfo,
    sync::{Mutex, PoisonError},
};

struct Remembered {
    message: String,
    place: String,
    trace: Option<String>,
}

static LAST: Mutex<Option<Remembered>> = Mutex::new(None);

/// Puts the quiet hook in place of the noisy one.
pub fn install() {
    std::panic::set_hook(Box::new(remember));
}

fn remember(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("no message").to_owned();
    let place = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    tracing::debug!(%message, %place, "panic");
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    let remembered = Remembered { message, place, trace };
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(remembered);
}

/// The message about the last panic: what to report, and where.
#[must_use]
pub fn message() -> String {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (what, trace) = match last {
        Some(last) => (format!("{}, at {}", last.message, last.place), last.trace),
        None => ("no message".to_owned(), None),
    };
    let trace = match trace {
        Some(trace) => format!("\n{trace}"),
        None => "  RUST_BACKTRACE=1 shows where it came from.\n".to_owned(),
    };
    format!(
        "fluxpipe {} met a bug of its own: {what}\n\
         \x20 What was finished is kept: `fluxpipe run` goes on from there.\n\
         \x20 Please report this message to the project's issue tracker, with your command line and manifest.\n\
         {trace}",
        env!("CARGO_PKG_VERSION"),
    )
}
