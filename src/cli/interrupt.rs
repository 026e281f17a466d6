//! Ctrl-C: the first finishes the batch in hand, the second ends the program at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{CliError, Exit};
use crate::report;

/// Starts listening. The flag is raised by the first Ctrl-C (or a polite kill).
pub(super) fn listen() -> Result<Arc<AtomicBool>, CliError> {
    let asked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&asked);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            // Whatever was in flight is lost, and nothing else: outputs are published by rename.
            std::process::exit(i32::from(Exit::Interrupted.number()));
        }
        report::above_bars("stopping after the batch in hand; Ctrl-C again stops at once\n");
    })
    .map_err(CliError::Signal)?;
    Ok(asked)
}
