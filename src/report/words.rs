//! Numbers as people read them.

pub use crate::base::bytes;
use crate::base::{Value, clock};

/// `11 901 408 320`: groups of three, by a thin gap that no locale mistakes for a decimal point.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    // Four digits need no help.
    if digits.len() < 5 {
        return digits;
    }
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A value of a key as its user would write it: `1e-4`, where the plain digits are hard to count.
#[must_use]
pub fn value(value: &Value) -> String {
    match value {
        Value::Float(number) if *number != 0.0 && number.abs() < 1e-3 => format!("{number:e}"),
        other => other.to_string(),
    }
}

/// `40 ms`, `0.3 s`, `42 s`, `3 min 05 s`, `2 h 07 min`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if seconds < 0.0995 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// When a run began, and its id: `2026-11-25 03:09 UTC (20261125T030910.508808-14584)`.
#[must_use]
pub fn run_at(id: &str) -> String {
    clock::run_began(id).map_or_else(|| id.to_owned(), |at| format!("{} ({id})", clock::local(at)))
}

/// A run by its time and id: `the run of 2026-11-25 03:09 UTC (20261125T030910.508808-14584)`.
#[must_use]
pub fn run(id: &str) -> String {
    format!("the run of {}", run_at(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_at_their_edges() {
        assert_eq!(grouped(9999), "9999");
        assert_eq!(grouped(11_901_408_320), "11 901 408 320");
        assert_eq!([bytes(1023), bytes(1536), bytes(1 << 20)], ["1023 B", "1.5 KiB", "1.0 MiB"]);
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!([seconds(0.04), seconds(0.1)], ["40 ms", "0.1 s"]);
        assert_eq!([seconds(9.94), seconds(9.96), seconds(59.6)], ["9.9 s", "10 s", "1 min 00 s"]);
        assert_eq!([value(&Value::Float(1e-4)), value(&Value::Float(0.35))], ["1e-4", "0.35"]);
        assert_eq!(seconds(7620.0), "2 h 07 min");
    }
}
