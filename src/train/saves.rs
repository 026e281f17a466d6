//! Which checkpoints a training leaves, when each is due, and which of them later ones replace.
//!
//! Names and rules are those of sd-scripts. A checkpoint is known by its step: what it holds depends on
//! nothing else, so one file serves an epoch's end and a round number of steps that meet there.

use std::collections::BTreeSet;

use super::Settings;

/// A checkpoint that a training leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Optimizer steps after which it is due.
    pub steps: usize,
    /// What stands behind the name that the user chose: `-000003`, `-step00000500`, nothing for the result.
    pub suffix: String,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Epochs,
    Steps,
    Result,
}

/// All checkpoints of a training, in the order in which they are due.
#[derive(Clone, Debug)]
pub struct Saves {
    all: Vec<Due>,
    last_n_epochs: Option<usize>,
    last_n_steps: Option<usize>,
}

impl Saves {
    /// Of a training whose epochs end after so many steps.
    #[must_use]
    pub fn new(settings: &Settings, epoch_ends: &[usize]) -> Self {
        let total = epoch_ends.last().copied().unwrap_or_default();
        let mut all = Vec::new();
        let every = settings.save_every_n_steps.unwrap_or(usize::MAX);
        all.extend((1..=total / every).map(|count| count * every).map(|steps| Due {
            steps,
            suffix: format!("-step{steps:08}"),
            rule: Rule::Steps,
        }));
        let every = settings.save_every_n_epochs.unwrap_or(usize::MAX);
        for (epoch, &steps) in (1..).zip(epoch_ends) {
            // The last epoch's is the result itself.
            if epoch % every == 0 && epoch < epoch_ends.len() {
                all.push(Due { steps, suffix: format!("-{epoch:06}"), rule: Rule::Epochs });
            }
        }
        all.push(Due { steps: total, suffix: String::new(), rule: Rule::Result });
        all.sort_by_key(|due| due.steps);
        Self {
            all,
            last_n_epochs: settings.save_last_n_epochs,
            last_n_steps: settings.save_last_n_steps,
        }
    }

    /// Those that are there after so many steps.
    pub fn alive(&self, steps: usize) -> impl Iterator<Item = &Due> {
        let until =
            |rule| self.all.iter().filter(move |due| due.rule == rule && due.steps <= steps);
        // Of the epochs' the last so many; of the steps' those of the last so many steps.
        let epochs = until(Rule::Epochs).count();
        let gone = self.last_n_epochs.map_or(0, |last| epochs.saturating_sub(last));
        let newest = until(Rule::Steps).map(|due| due.steps).max().unwrap_or_default();
        let oldest = self.last_n_steps.map_or(0, |last| newest.saturating_sub(last));
        until(Rule::Epochs)
            .skip(gone)
            .chain(until(Rule::Steps).filter(move |due| due.steps >= oldest))
            .chain(until(Rule::Result))
    }

    /// Those that are there when the training is done.
    pub fn result(&self) -> impl Iterator<Item = &Due> {
        self.alive(usize::MAX)
    }

    /// How many files are there at most at the same time: what is replaced goes after the newer one is
    /// there.
    #[must_use]
    pub fn most(&self) -> usize {
        let mut before = BTreeSet::new();
        let mut most = 0;
        for due in &self.all {
            before.insert(due.steps);
            most = most.max(before.len());
            before = self.alive(due.steps).map(|due| due.steps).collect();
        }
        most
    }

    /// Those that are due after so many steps, kept or not.
    pub fn at(&self, steps: usize) -> impl Iterator<Item = &Due> {
        self.all.iter().filter(move |due| due.steps == steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saves(change: impl FnOnce(&mut Settings), epoch_ends: &[usize]) -> Saves {
        let mut settings = crate::train::finetune::tests::settings();
        settings.save_every_n_epochs = None;
        change(&mut settings);
        Saves::new(&settings, epoch_ends)
    }

    fn names<'a>(due: impl Iterator<Item = &'a Due>) -> Vec<&'a str> {
        due.map(|due| due.suffix.as_str()).collect()
    }

    #[test]
    fn checkpoints_have_the_names_of_the_original() {
        let plain = saves(|_| {}, &[4, 8]);
        assert_eq!(names(plain.result()), [""]);
        let both = saves(
            |settings| {
                settings.save_every_n_epochs = Some(1);
                settings.save_every_n_steps = Some(4);
            },
            &[4, 7],
        );
        assert_eq!(names(both.result()), ["-000001", "-step00000004", ""]);
        assert_eq!(names(both.at(4)), ["-step00000004", "-000001"]);
        assert_eq!(names(both.alive(3)), Vec::<&str>::new());
        // The last epoch's is the result; the last step's has its own name too.
        let last = saves(|settings| settings.save_every_n_steps = Some(4), &[4, 8]);
        assert_eq!(names(last.result()), ["-step00000004", "-step00000008", ""]);
    }

    #[test]
    fn the_last_ones_stay() {
        let ends = (1..=9).map(|epoch| epoch * 10).collect::<Vec<_>>();
        let epochs = saves(
            |settings| {
                settings.save_every_n_epochs = Some(2);
                settings.save_last_n_epochs = Some(2);
            },
            &ends,
        );
        assert_eq!(names(epochs.alive(59)), ["-000002", "-000004"]);
        assert_eq!(names(epochs.alive(60)), ["-000004", "-000006"]);
        assert_eq!(names(epochs.result()), ["-000006", "-000008", ""]);
        // Of the original: after step 80 with 30 to keep, 49 rounded down to 40 goes.
        let steps = saves(
            |settings| {
                settings.save_every_n_steps = Some(20);
                settings.save_last_n_steps = Some(30);
            },
            &ends,
        );
        assert_eq!(names(steps.alive(80)), ["-step00000060", "-step00000080"]);
        assert_eq!(names(steps.alive(60)), ["-step00000040", "-step00000060"]);
    }
}
