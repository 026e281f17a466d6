//! Which parameters are trained.

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use pattern::Pattern;

use super::TrainError;
use crate::base;

/// The parameters that `train_blocks` names.
#[derive(Clone, Debug)]
pub struct Trained {
    /// `None` stands for all.
    names: Option<BTreeSet<String>>,
    /// Where they stand.
    stations: BTreeSet<Station>,
}

/// Where a parameter stands on the way through the network: in the embedders, a double block, a single
/// block or the last layer.
type Station = (u8, usize);

impl Trained {
    /// All parameters.
    #[must_use]
    pub fn all() -> Self {
        Self { names: None, stations: BTreeSet::from([(0, 0)]) }
    }

    /// The parameters whose checkpoint name fits one of `patterns`; all where there is none. A pattern
    /// fits a whole name, or the name of a part that the parameter is in: `double_blocks.3` is all of
    /// that block. `*` stands for any characters, `?` for one, `[0-7]` for one of a list and `[!0-7]`
    /// for one of no list.
    ///
    /// # Errors
    /// A pattern is not closed, or fits nothing: the error names what is nearest to it.
    pub fn new<'a>(
        patterns: &[String],
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, TrainError> {
        if patterns.is_empty() {
            return Ok(Self::all());
        }
        let all = names.into_iter().collect::<Vec<_>>();
        let mut names = BTreeSet::new();
        for text in patterns {
            let pattern = Pattern::new(text).map_err(refused)?;
            let fitting = all.iter().filter(|name| parts(name).any(|part| pattern.fits(part)));
            let fitting = fitting.map(|&name| name.to_owned()).collect::<Vec<_>>();
            if fitting.is_empty() {
                return Err(refused(nothing_fits(text, &all)));
            }
            names.extend(fitting);
        }
        let stations = names.iter().map(|name| station(name)).collect();
        Ok(Self { names: Some(names), stations })
    }

    /// Whether the parameter of this checkpoint name is trained.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Whether the part at `place` (`["double_blocks", "3"]`, `["embedders"]`, `["final_layer"]`) holds a
    /// parameter that is trained.
    #[must_use]
    pub fn any_in(&self, place: &[&str]) -> bool {
        self.names.is_none() || self.stations.contains(&station(&place.join(".")))
    }

    /// Whether a part that the forward pass comes to before the one at `place` is trained: without one
    /// the backward pass may end here.
    #[must_use]
    pub fn any_below(&self, place: &[&str]) -> bool {
        self.stations.first().is_some_and(|lowest| *lowest < station(&place.join(".")))
    }
}

fn station(name: &str) -> Station {
    let mut segments = name.split('.');
    let first = segments.next().unwrap_or_default();
    let index = segments.next().and_then(|index| index.parse().ok()).unwrap_or(0);
    match first {
        "double_blocks" => (1, index),
        "single_blocks" => (2, index),
        "final_layer" => (3, 0),
        _ => (0, 0),
    }
}

/// `a`, `a.b` and `a.b.c` of `a.b.c`.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    let ends = name.match_indices('.').map(|(place, _)| place);
    ends.chain([name.len()]).map(|end| &name[..end])
}

fn refused(reason: String) -> TrainError {
    TrainError::Setting { name: "train_blocks", reason }
}

fn nothing_fits(pattern: &str, names: &[&str]) -> String {
    let parts = names.iter().flat_map(|name| parts(name)).collect::<BTreeSet<_>>();
    let plain = pattern.trim_end_matches(".*");
    let near = base::nearest(plain, parts, 3);
    format!(
        "has the pattern `{pattern}`, which no parameter fits; nearest are `{}`",
        near.join("`, `")
    )
}
