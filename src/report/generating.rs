//! What `fluxpipe generate` shows while it works: a bar on a terminal, plain lines elsewhere, on stderr.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Look, progress, theme};
use crate::base::plural;

/// Between two plain lines, so that a log can still be read.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How often the spinner turns while nothing else happens.
const TICK: Duration = Duration::from_millis(120);

/// Letters of a prompt that a warning shows.
const LETTERS: usize = 40;

/// Shows how far the drawing is.
pub struct Generating {
    terminal: bool,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl Generating {
    /// For a stream that looks like this.
    #[must_use]
    pub fn new(look: Look) -> Self {
        Self { terminal: look.terminal, bar: None, last_line: None }
    }

    /// Something the user should know.
    pub fn warn(&self, text: &str) {
        progress::above_bars(&format!("{}: {text}", theme::busy("warning")));
    }

    /// A text is longer than the networks read.
    pub fn cut(&self, text: &str, cut: usize, length: usize) {
        let mut shown = text.chars().take(LETTERS).collect::<String>();
        if text.chars().count() > LETTERS {
            shown.push('…');
        }
        let cut = plural(cut, "token");
        self.warn(&format!("`{shown}` is longer than {length} tokens: the last {cut} are cut off"));
    }

    /// Where the transformer will be.
    pub fn plan(&mut self, plan: &str) {
        self.done();
        progress::above_bars(&format!("memory: {plan}"));
    }

    /// A layer of T5 is done.
    pub fn layer(&mut self, layer: usize, layers: usize) {
        self.show("texts", layer, layers, &format!("texts: layer {layer} of {layers}"));
    }

    /// A step of `pictures` pictures from the one of index `first` on, of `all`, is done.
    pub fn step(
        &mut self,
        (first, pictures, all): (usize, usize, usize),
        step: usize,
        steps: usize,
    ) {
        let which = match pictures {
            1 => format!("picture {} of {all}", first + 1),
            _ => format!("pictures {} to {} of {all}", first + 1, first + pictures),
        };
        self.show(&which, step, steps, &format!("{which}: step {step} of {steps}"));
    }

    fn show(&mut self, what: &str, done: usize, total: usize, line: &str) {
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = progress::add(ProgressBar::new(total as u64));
                bar.set_style(style());
                bar.enable_steady_tick(TICK);
                bar
            });
            bar.set_prefix(what.to_owned());
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        } else if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            progress::above_bars(line);
        }
    }

    fn done(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Generating {
    fn drop(&mut self) {
        self.done();
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{spinner} {prefix} {bar:24} {pos}/{len} {elapsed}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▉▊▋▌▍▎▏ ")
}

/// The line on stdout for a picture that was written.
#[must_use]
pub fn picture_written(path: &Path) -> String {
    format!("{}\n", path.display())
}
