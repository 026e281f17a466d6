//! Tells what happens in a run: at once to whoever watches, and in batches to the run's record.

use std::path::PathBuf;

use crate::{
    base::atomic,
    pipeline::{Event, StoreError},
};

/// Bytes of the record that are kept back at most.
const BATCH: usize = 1 << 16;

/// Passes events on.
pub struct Teller<'a> {
    sink: &'a mut dyn FnMut(Event),
    log: PathBuf,
    lines: Vec<u8>,
}

impl<'a> Teller<'a> {
    pub fn new(sink: &'a mut dyn FnMut(Event), log: PathBuf) -> Self {
        Self { sink, log, lines: Vec::new() }
    }

    /// Tells of an event. Steps are for whoever watches only.
    pub fn tell(&mut self, event: Event) {
        if !matches!(event, Event::Step { .. })
            && serde_json::to_writer(&mut self.lines, &event).is_ok()
        {
            self.lines.push(b'\n');
        }
        (self.sink)(event);
        if self.lines.len() > BATCH {
            // A disk that cannot be written is reported by the next save.
            let _ = self.save();
        }
    }

    /// Writes what is kept back to the record.
    pub fn save(&mut self) -> Result<(), StoreError> {
        atomic::append(&self.log, &self.lines, false)
            .map_err(|error| StoreError::write(&self.log, error))?;
        self.lines.clear();
        Ok(())
    }
}
