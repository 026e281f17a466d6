//! How long work took, by what earlier runs of this store noted, and what that says of work to come.
//!
//! A line of the log `rates.log` holds what one run took for one class of work of one recipe on one device.
//! What cannot be read, or not be written, costs the estimate and nothing else.

use std::collections::BTreeMap;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, REST, START};
use crate::{
    base::{Digest, atomic},
    pipeline::{
        Store,
        store::{bodies, read_log, write_line},
    },
};

/// Of a class as many runs count, the newest.
const NEWEST: usize = 20;

/// One figure says little of the next: it may take so much less, or more.
const SINGLE: [f64; 2] = [0.7, 1.5];

/// The same of a few, beside their spread.
const FEW: [f64; 2] = [0.85, 1.2];

/// From so many figures on their own spread says enough.
const MANY: usize = 5;

/// What a run took for work of one class.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rate {
    /// Kind of the stage.
    kind: String,
    /// What of the recipe decides how long it takes.
    of: Digest,
    class: String,
    /// What the device calls itself.
    device: String,
    units: u64,
    seconds: f64,
    run: String,
}

/// A time that is not known exactly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// It will hardly take less, in seconds.
    pub low: f64,
    /// It will hardly take more, in seconds.
    pub high: f64,
    /// How many earlier runs say so, of the class of which the fewest do.
    pub runs: usize,
}

impl Range {
    /// Both one after the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let Self { low, high, runs } = other;
        Self { low: self.low + low, high: self.high + high, runs: self.runs.min(runs) }
    }

    /// Its middle, where factors count and not differences.
    #[must_use]
    pub fn middle(self) -> f64 {
        (self.low * self.high).sqrt()
    }
}

/// All that earlier runs noted.
#[derive(Debug, Default)]
pub struct Rates(Vec<Rate>);

impl Rates {
    /// Reads the log of the store.
    #[must_use]
    pub fn read(store: &Store) -> Self {
        let bytes = read_log(&store.rates_log()).unwrap_or_default();
        Self(bodies(&bytes).filter_map(|body| serde_json::from_slice(body).ok()).collect())
    }

    /// How long these amounts take; `None` where nothing like one of them was done on this device.
    pub(super) fn range(
        &self,
        kind: &str,
        keys: &[Digest],
        device: &str,
        amounts: &[Amount],
    ) -> Option<Range> {
        let of = |recipe: usize| {
            let key = keys.get(recipe);
            let fits = move |rate: &&Rate| rate.kind == kind && rate.device == device;
            self.0.iter().filter(move |rate| fits(rate) && Some(&rate.of) == key)
        };
        let mut total = Range { low: 0.0, high: 0.0, runs: usize::MAX };
        for Amount { recipe, class, units } in amounts {
            let exact = of(*recipe).filter(|rate| rate.class == *class).collect::<Vec<_>>();
            let work = |rate: &&Rate| rate.class != START && rate.class != REST;
            let figures = match exact.is_empty() {
                // Another bucket says something too.
                true => of(*recipe).filter(work).collect(),
                false => exact,
            };
            let each = spread(&figures);
            total = match each {
                Some(Range { low, high, runs }) => {
                    let units = *units as f64;
                    total.and(Range { low: low * units, high: high * units, runs })
                }
                // Steps of which no run came to its end tell nothing of the rest.
                None if class == REST => total,
                None => return None,
            };
        }
        let mut begun = Vec::new();
        for recipe in amounts.iter().map(|amount| amount.recipe) {
            if !begun.contains(&recipe) {
                begun.push(recipe);
                let starts = of(recipe).filter(|rate| rate.class == START).collect::<Vec<_>>();
                total = spread(&starts).map_or(total, |start| total.and(start));
            }
        }
        (total.runs < usize::MAX).then_some(total)
    }
}

/// What a unit takes, by the newest of these figures: their 10th to their 90th percentile, and more where
/// there are few.
fn spread(figures: &[&Rate]) -> Option<Range> {
    let newest = &figures[figures.len().saturating_sub(NEWEST)..];
    let mut each = newest.iter().map(|rate| rate.seconds / rate.units.max(1) as f64);
    let mut each = each.by_ref().collect::<Vec<_>>();
    each.sort_by(f64::total_cmp);
    let (&first, &last) = each.first().zip(each.last())?;
    let runs = each.len();
    let at = |share: f64| {
        let place = share * (runs - 1) as f64;
        let (low, over) = (place.floor() as usize, place.fract());
        each[low] + over * (each[(low + 1).min(runs - 1)] - each[low])
    };
    let (low, high) = match runs {
        1 => (first * SINGLE[0], first * SINGLE[1]),
        2..MANY => (first * FEW[0], last * FEW[1]),
        _ => (at(0.1), at(0.9)),
    };
    Some(Range { low, high, runs })
}

/// What one run of one stage took so far, by recipe and class.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<(usize, String), (u64, f64)>);

impl Tally {
    /// Takes note of work.
    pub fn add(&mut self, recipe: usize, class: &str, units: u64, seconds: f64) {
        let sum = self.0.entry((recipe, class.to_owned())).or_default();
        *sum = (sum.0 + units, sum.1 + seconds);
    }

    /// Appends it to the log of the store, for estimates to come.
    pub fn save(self, store: &Store, kind: &str, keys: &[Digest], device: &str, run: &str) {
        let mut lines = Vec::new();
        for ((recipe, class), (units, seconds)) in self.0 {
            let Some(&of) = keys.get(recipe) else { continue };
            let (kind, device, run) = (kind.to_owned(), device.to_owned(), run.to_owned());
            let rate = Rate { kind, of, class, device, units, seconds, run };
            // Such a line is always JSON.
            let _ = write_line(&mut lines, &rate);
        }
        // Who names no device wants no estimates.
        if !lines.is_empty() && !device.is_empty() {
            let _ = atomic::append(&store.rates_log(), &lines, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(class: &str, units: u64, seconds: f64) -> Rate {
        Rate {
            kind: "cache".to_owned(),
            of: Digest::of(b"network"),
            class: class.to_owned(),
            device: "card".to_owned(),
            units,
            seconds,
            run: String::new(),
        }
    }

    fn amount(class: &str, units: u64) -> Amount {
        Amount { recipe: 0, class: class.to_owned(), units }
    }

    #[test]
    fn nothing_is_said_before_something_like_it_was_done() {
        let keys = [Digest::of(b"network")];
        let rates = Rates(vec![rate("512×512", 10, 20.0), rate(START, 1, 3.0)]);
        let of = |kind, keys: &[Digest], device| {
            rates.range(kind, keys, device, &[amount("512×512", 100)])
        };
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
        let known = of("cache", &keys, "card").unwrap();
        close(known.low, 200.0 * SINGLE[0] + 3.0 * SINGLE[0]);
        close(known.high, 203.0 * SINGLE[1]);
        assert_eq!(known.runs, 1);
        assert_eq!(of("label", &keys, "card"), None);
        assert_eq!(of("cache", &[Digest::of(b"other")], "card"), None);
        assert_eq!(of("cache", &keys, "cpu"), None);
        // What was done at another size says more than nothing, and the start alone says nothing.
        let other = rates.range("cache", &keys, "card", &[amount("256×256", 1)]).unwrap();
        close(other.low, 5.0 * SINGLE[0]);
        let start = Rates(vec![rate(START, 1, 3.0)]);
        assert_eq!(start.range("cache", &keys, "card", &[amount("256×256", 1)]), None);
    }

    #[test]
    fn many_figures_give_their_own_spread() {
        let keys = [Digest::of(b"network")];
        let figures = (0..=10).map(|tenth| rate("step", 10, 10.0 + f64::from(tenth)));
        let range = Rates(figures.collect()).range("cache", &keys, "card", &[amount("step", 10)]);
        let Range { low, high, runs } = range.unwrap();
        assert!((low - 11.0).abs() < 1e-9 && (high - 19.0).abs() < 1e-9, "{low} {high}");
        assert_eq!(runs, 11);
        let two = [rate("step", 1, 1.0), rate("step", 1, 2.0)];
        let range = Rates(two.into()).range("cache", &keys, "card", &[amount("step", 1)]).unwrap();
        assert!(range.low < 1.0 && range.high > 2.0, "{range:?}");
    }
}
