//! Events for programs: one JSON object per line.

use crate::pipeline::Event;

/// One line of `run --json`, with its newline.
///
/// # Errors
/// The event holds what JSON cannot say, such as a path that is not UTF-8.
pub fn json_line(event: &Event) -> serde_json::Result<String> {
    Ok(serde_json::to_string(event)? + "\n")
}
