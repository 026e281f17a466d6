//! Time: for records and for people, never for keys.

use std::time::{Duration, Instant, SystemTime};

/// The time now.
#[must_use]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A name for something that begins now, that sorts by time and is not used twice on one machine:
/// `20261123T104507.123456-4711`.
#[must_use]
pub fn run_id() -> String {
    format!("{}-{}", now().strftime("%Y%m%dT%H%M%S.%6f"), std::process::id())
}

/// When the run of this id began; `None` where it is none that [`run_id`] made.
#[must_use]
pub fn run_began(id: &str) -> Option<jiff::Timestamp> {
    let (time, _) = id.split_once('-')?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S.%f", time).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// A time as people here write it, with its zone: `2026-11-25 03:09 UTC`.
#[must_use]
pub fn local(time: jiff::Timestamp) -> String {
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// Nanoseconds since 1970 of a file's time; negative before, and at a bound of `i64` beyond the year 2262.
#[must_use]
pub fn nanoseconds(time: SystemTime) -> i64 {
    let count = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => count(since),
        Err(before) => -count(before.duration()),
    }
}

/// Measures time from when it is made.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }

    /// Seconds since the start, and starts anew.
    pub fn lap(&mut self) -> f64 {
        let seconds = self.seconds();
        *self = Self::start();
        seconds
    }
}
