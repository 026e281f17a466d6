//! The table of what does not fit: tensors that lie alike in numbered blocks and layers share a line.

use std::{collections::BTreeSet, fmt};

use super::Problem;

/// Problems of one sort whose names differ in some segments: together they are all combinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    sort: &'static str,
    /// Expected and found, of those that are misshapen.
    shapes: Option<(Vec<usize>, Vec<usize>)>,
    segments: Vec<BTreeSet<String>>,
}

/// The problems in as few lines as say the same.
pub(super) fn rows(problems: &[Problem]) -> Vec<Row> {
    let mut rows = problems.iter().map(Row::of).collect::<Vec<_>>();
    let longest = rows.iter().map(|row| row.segments.len()).max().unwrap_or(0);
    for place in 0..longest {
        let mut joined: Vec<Row> = Vec::new();
        for row in rows {
            match joined.iter_mut().find(|other| other.differs_at_most_at(&row, place)) {
                Some(other) => other.segments[place].extend(row.segments[place].iter().cloned()),
                None => joined.push(row),
            }
        }
        rows = joined;
    }
    rows
}

impl Row {
    fn of(problem: &Problem) -> Self {
        let (sort, name, shapes) = match problem {
            Problem::Missing(name) => ("missing", name, None),
            Problem::Extra(name) => ("not used", name, None),
            Problem::Shape { name, expected, found } => {
                ("misshapen", name, Some((expected.clone(), found.clone())))
            }
        };
        let segments = name.split('.').map(|segment| BTreeSet::from([segment.to_owned()]));
        Self { sort, shapes, segments: segments.collect() }
    }

    fn differs_at_most_at(&self, other: &Self, place: usize) -> bool {
        let but = |row: &Self| {
            let segments = row.segments.iter().enumerate().filter(|(index, _)| *index != place);
            segments.map(|(_, segment)| segment.clone()).collect::<Vec<_>>()
        };
        self.sort == other.sort
            && self.shapes == other.shapes
            && place < self.segments.len()
            && self.segments.len() == other.segments.len()
            && but(self) == but(other)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = self.segments.iter().map(alternatives).collect::<Vec<_>>();
        write!(f, "{:<11}{}", self.sort, segments.join("."))?;
        let count = self.segments.iter().map(BTreeSet::len).product::<usize>();
        if count > 1 {
            write!(f, " ({count} tensors)")?;
        }
        match &self.shapes {
            Some((expected, found)) => write!(f, ": expected {expected:?}, found {found:?}"),
            None => Ok(()),
        }
    }
}

/// `0`, `{0..23}`, `{k,q,v}`.
fn alternatives(segment: &BTreeSet<String>) -> String {
    let numbers = segment.iter().map(|text| text.parse::<usize>()).collect::<Result<Vec<_>, _>>();
    let mut numbers = numbers.unwrap_or_default();
    numbers.sort_unstable();
    match (&numbers[..], segment.len()) {
        (_, 1) => segment.iter().next().cloned().unwrap_or_default(),
        ([first, .., last], count) if last - first + 1 == count => format!("{{{first}..{last}}}"),
        _ => format!("{{{}}}", segment.iter().cloned().collect::<Vec<_>>().join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_alike_shares_a_line() {
        let mut problems = Vec::new();
        for block in 0..24 {
            for name in ["q", "k"] {
                let name = format!("encoder.block.{block}.layer.0.{name}.weight");
                problems.push(Problem::Missing(name));
            }
            let name = format!("encoder.block.{block}.layer.1.wo.weight");
            let (expected, found) = (vec![8, 4], vec![8, if block == 3 { 5 } else { 6 }]);
            problems.push(Problem::Shape { name, expected, found });
        }
        problems.push(Problem::Extra("shared.bias".to_owned()));
        problems.sort();
        let found = rows(&problems).iter().map(ToString::to_string).collect::<Vec<_>>();
        let others = (0..24).filter(|&block| block != 3).map(|block: usize| block.to_string());
        let others = others.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",");
        assert_eq!(
            found,
            [
                "missing    encoder.block.{0..23}.layer.0.{k,q}.weight (48 tensors)".to_owned(),
                format!(
                    "misshapen  encoder.block.{{{others}}}.layer.1.wo.weight (23 tensors): \
                     expected [8, 4], found [8, 6]"
                ),
                "misshapen  encoder.block.3.layer.1.wo.weight: expected [8, 4], found [8, 5]"
                    .to_owned(),
                "not used   shared.bias".to_owned(),
            ]
        );
    }

    #[test]
    fn no_line_says_more_than_there_is() {
        let names = ["a.0.x", "a.0.y", "a.1.x", "b.2", "c"];
        let problems = names.map(|name| Problem::Missing(name.to_owned()));
        let count = |row: &Row| row.segments.iter().map(BTreeSet::len).product::<usize>();
        assert_eq!(rows(&problems).iter().map(count).sum::<usize>(), names.len());
    }
}
