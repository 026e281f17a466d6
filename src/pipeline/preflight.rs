//! Before a run: what would else fail after hours is tried out first, stage by stage
//! ([`Stage::preflight`](super::Stage::preflight)). Knows no concrete stage.

use std::collections::HashSet;

use super::Warning;

/// What a stage sees while it tries things out. Nothing is committed.
pub trait Preflight {
    /// Tells what is tried, or what came of it.
    fn tell(&mut self, text: &str);

    /// Tells of something that the user should know.
    fn warn(&mut self, warning: Warning);

    /// Whether this is asked for the first time in this run: stages that read the same picture need not
    /// all look at it.
    fn is_first(&mut self, what: String) -> bool;

    /// Whether one bad item ends the run.
    fn fail_fast(&self) -> bool;

    /// Whether the user asked to stop.
    fn cancelled(&self) -> bool;
}

/// What the stages of one run have looked at.
pub(super) type Seen = HashSet<String>;
