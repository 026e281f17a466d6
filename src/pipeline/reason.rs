//! Reasons: the differences of many items, drawn together for a reader.

use std::collections::HashMap;

use super::{Cause, Decision, Difference, ItemState, Origin, Reason};
use crate::base::Value;

/// More reasons than this are counted and not listed: a trained model can have one per picture.
const LISTED: usize = 24;

/// A part that took more values than this, or a digest among several, is told without values.
const VALUES: usize = 4;

/// Item ids named per reason.
const EXAMPLES: usize = 5;

/// Why the items of a stage run, root causes first; and how many reasons are not listed.
#[must_use]
pub fn reasons<'d>(decisions: impl IntoIterator<Item = &'d Decision>) -> (Vec<Reason>, usize) {
    let mut drawn = Drawn::default();
    for decision in decisions.into_iter().filter(|decision| decision.runs()) {
        drawn.item += 1;
        drawn.take(decision);
    }
    drawn.finish()
}

/// Reasons by cause and part, in order of appearance.
#[derive(Default)]
struct Drawn {
    /// Number of the item that is taken in.
    item: usize,
    groups: Vec<Group>,
    places: HashMap<(Cause, String), usize>,
}

/// The reasons of one cause and part.
struct Group {
    /// All of them as one.
    whole: Counted,
    /// One per pair of values, as long as they are few.
    values: Vec<Counted>,
}

/// A reason, and the number of the item that was counted last: an item counts once, also where it
/// follows several items of one stage.
#[derive(Clone)]
struct Counted {
    reason: Reason,
    last: usize,
}

impl Drawn {
    fn take(&mut self, decision: &Decision) {
        let ItemState::Run { cause, differences, follows } = &decision.state else { return };
        let id = &decision.spec.id;
        match cause {
            Cause::Forced => self.add(Cause::Forced, "--force", id, None),
            Cause::New => self.add(Cause::New, "item", id, None),
            Cause::Lost => self.add(Cause::Lost, "output", id, None),
            _ => {}
        }
        // A new item reads what is new upstream; to say so twice explains nothing.
        for upstream in follows.iter().filter(|_| *cause != Cause::New) {
            let (stage, item) = (upstream.stage.clone(), upstream.item.clone());
            let part = upstream.stage.clone();
            let origin = Origin::Upstream { stage, item };
            let follows = Difference { part, origin, old: None, new: None, pending: true };
            self.add(Cause::Follows, &upstream.stage, id, Some(&follows));
        }
        for difference in differences {
            self.add(Cause::of(&difference.origin), &difference.part, id, Some(difference));
        }
    }

    fn add(&mut self, cause: Cause, part: &str, id: &str, difference: Option<&Difference>) {
        let (old, new) = difference.map_or((None, None), |d| (d.old.clone(), d.new.clone()));
        let reason = Reason {
            part: part.to_owned(),
            origin: cause,
            old,
            new,
            items: 0,
            at: difference.map(|difference| difference.origin.clone()),
            examples: Vec::new(),
        };
        let blank = Counted { reason, last: 0 };
        let place = *self.places.entry((cause, part.to_owned())).or_insert(self.groups.len());
        if place == self.groups.len() {
            let whole = Reason { old: None, new: None, ..blank.reason.clone() };
            self.groups
                .push(Group { whole: Counted { reason: whole, last: 0 }, values: Vec::new() });
        }
        let group = &mut self.groups[place];
        group.whole.count(self.item, id);
        let same = |value: &Counted| {
            value.reason.old == blank.reason.old && value.reason.new == blank.reason.new
        };
        let known = group.values.iter().position(same).unwrap_or_else(|| {
            group.values.push(blank);
            group.values.len() - 1
        });
        group.values[known].count(self.item, id);
        // One more than is told apart is enough to know that there are too many.
        group.values.truncate(VALUES + 1);
    }

    fn finish(self) -> (Vec<Reason>, usize) {
        let mut reasons: Vec<Reason> = self.groups.into_iter().flat_map(Group::finish).collect();
        reasons.sort_by_key(|reason| reason.origin);
        let more = reasons.len().saturating_sub(LISTED);
        reasons.truncate(LISTED);
        (reasons, more)
    }
}

impl Group {
    fn finish(self) -> Vec<Reason> {
        let digest = |value: &Option<Value>| matches!(value, Some(Value::Digest(_)));
        let plain = |value: &Counted| !digest(&value.reason.old) && !digest(&value.reason.new);
        let few =
            self.values.len() == 1 || self.values.len() <= VALUES && self.values.iter().all(plain);
        let told = if few { self.values } else { vec![self.whole] };
        told.into_iter().map(|counted| counted.reason).collect()
    }
}

impl Counted {
    fn count(&mut self, item: usize, id: &str) {
        if self.last != item {
            self.last = item;
            self.reason.items += 1;
            if self.reason.examples.len() < EXAMPLES {
                self.reason.examples.push(id.to_owned());
            }
        }
    }
}
