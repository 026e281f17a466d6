//! The log for those who look for a fault: off unless `FLUXPIPE_LOG` asks for it.

use std::io;

use tracing_subscriber::{EnvFilter, fmt};

use crate::report;

/// Sends log lines to stderr, above the progress bars. `FLUXPIPE_LOG` takes `info`, `debug`,
/// `fluxpipe::pipeline=trace` and the like; without it, warnings are shown.
pub(super) fn install() {
    let filter = EnvFilter::builder()
        .with_env_var("FLUXPIPE_LOG")
        .with_default_directive(tracing::level_filters::LevelFilter::WARN.into())
        .from_env_lossy();
    let look = report::Look::stderr();
    let subscriber = fmt()
        .with_env_filter(filter)
        .with_ansi(look.colour)
        .with_writer(|| LogLine)
        .without_time()
        .finish();
    // It fails only where a log is set up already, as in a test; that one is as good.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct LogLine;

impl io::Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        report::above_bars(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
