//! Einstein summation, as transposes around matrix products.

use super::{Call, Outcome, linear, one};
use crate::models::onnx::{
    host::Array,
    value::{Floats, Value},
};

pub(super) fn einsum(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let equation: String = call.text("equation").split_whitespace().collect();
    let unsupported = || format!("the equation {equation} is not supported");
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = inputs.split(',').collect();
    if terms.len() != call.inputs.len() {
        return Err(unsupported());
    }
    let mut operands = Vec::with_capacity(terms.len());
    for (index, term) in terms.iter().enumerate() {
        let array = call.floats(index)?;
        let rank = array.rank();
        let labels = labels(term, rank).ok_or_else(unsupported)?;
        if labels.len() != rank {
            return Err(format!("{equation} does not fit the shape {:?}", array.shape()));
        }
        operands.push(Operand { array, labels }.diagonals()?);
    }
    let dots =
        operands.iter().flat_map(|operand| &operand.labels).filter(|label| label.is_numeric());
    let mut dots: Vec<char> = dots.copied().collect();
    dots.sort_unstable();
    dots.dedup();
    let wanted: Vec<char> = match output {
        Some(output) => match output.split_once("...") {
            Some((before, after)) => {
                before.chars().chain(dots.iter().copied()).chain(after.chars()).collect()
            }
            None => output.chars().collect(),
        },
        None => dots.iter().copied().chain(once(inputs)).collect(),
    };
    let known = |label: &char| operands.iter().any(|operand| operand.labels.contains(label));
    let twice = |(i, label): (usize, &char)| wanted[..i].contains(label);
    if !wanted.iter().all(known) || wanted.iter().enumerate().any(twice) {
        return Err(unsupported());
    }
    let mut rest: std::collections::VecDeque<Operand> = operands.into();
    let mut result = rest.pop_front().ok_or_else(unsupported)?;
    while let Some(next) = rest.pop_front() {
        // What a later operand shares is still needed.
        let later = rest.iter().flat_map(|operand| operand.labels.iter().copied());
        let needed: Vec<char> = wanted.iter().copied().chain(later).collect();
        result = contract(result, next, &needed)?;
    }
    one(result.keep(&wanted)?.arranged(&wanted)?.array)
}

/// A label for each of `rank` dimensions; those of an ellipsis are digits, counted from the last.
fn labels(term: &str, rank: usize) -> Option<Vec<char>> {
    let letters = |text: &str| text.chars().all(|label| label.is_ascii_alphabetic());
    let Some((before, after)) = term.split_once("...") else {
        return letters(term).then(|| term.chars().collect());
    };
    if !letters(before) || !letters(after) {
        return None;
    }
    let dots = rank.checked_sub(before.len() + after.len())? as u32;
    let digits = (10 - dots..10).filter_map(|digit| char::from_digit(digit, 10));
    Some(before.chars().chain(digits).chain(after.chars()).collect())
}

/// Letters that occur just once, in the order of the alphabet: the output where none is stated.
fn once(inputs: &str) -> Vec<char> {
    let letters = inputs.chars().filter(char::is_ascii_alphabetic);
    let mut once: Vec<char> = letters.filter(|&label| inputs.matches(label).count() == 1).collect();
    once.sort_unstable();
    once
}

/// An array with a name for each dimension.
struct Operand {
    array: Floats,
    labels: Vec<char>,
}

impl Operand {
    /// Takes the diagonal where a label occurs twice.
    fn diagonals(mut self) -> Outcome<Self> {
        while let Some((first, second)) = self.doubled() {
            let shape = self.array.shape();
            let size = shape[first];
            if shape[second] != size {
                return Err(format!(
                    "{shape:?} has no diagonal of dimensions {first} and {second}"
                ));
            }
            let rest = (0..shape.len()).filter(|&axis| axis != first && axis != second);
            let order: Vec<usize> = rest.clone().chain([first, second]).collect();
            let mut joined: Vec<usize> = rest.clone().map(|axis| shape[axis]).collect();
            joined.push(size * size);
            let mut labels: Vec<char> = rest.map(|axis| self.labels[axis]).collect();
            labels.push(self.labels[first]);
            let places: Vec<usize> = (0..size).map(|place| place * (size + 1)).collect();
            let array = self.array.permute(&order).reshape(&joined)?;
            self = Self { array: array.select(joined.len() - 1, &places), labels };
        }
        Ok(self)
    }

    fn doubled(&self) -> Option<(usize, usize)> {
        let labels = self.labels.iter().enumerate();
        labels.rev().find_map(|(second, label)| {
            let first = self.labels[..second].iter().position(|other| other == label)?;
            Some((first, second))
        })
    }

    /// Sums over all dimensions but those in `kept`.
    fn keep(self, kept: &[char]) -> Outcome<Self> {
        let mut array = self.array;
        for (axis, label) in self.labels.iter().enumerate() {
            if !kept.contains(label) {
                let place = array.place(axis);
                array = array.map(|tensor| tensor.sum_dim(place));
            }
        }
        let named = self.labels.iter().copied().zip(array.shape());
        let (labels, shape): (Vec<_>, Vec<_>) =
            named.filter(|(label, _)| kept.contains(label)).unzip();
        Ok(Self { array: array.reshape(&shape)?, labels })
    }

    /// Brings the dimensions into this order.
    fn arranged(self, labels: &[char]) -> Outcome<Self> {
        let place = |label: &char| self.labels.iter().position(|own| own == label);
        let order: Option<Vec<usize>> = labels.iter().map(place).collect();
        let order = order.ok_or("a dimension of the result is in no input")?;
        Ok(Self { array: self.array.permute(&order), labels: labels.to_vec() })
    }

    fn sizes(&self, labels: &[char]) -> Vec<usize> {
        let shape = self.array.shape();
        let named = self.labels.iter().zip(shape);
        labels
            .iter()
            .filter_map(|label| named.clone().find(|(own, _)| *own == label).map(|(_, size)| size))
            .collect()
    }
}

/// `[batch, left, shared] x [batch, shared, right]`, each group joined to one dimension.
fn contract(left: Operand, right: Operand, wanted: &[char]) -> Outcome<Operand> {
    let both = |operand: &Operand, other: &Operand| {
        let used = |label: &char| wanted.contains(label) || other.labels.contains(label);
        operand.labels.iter().copied().filter(used).collect::<Vec<char>>()
    };
    let (kept_left, kept_right) = (both(&left, &right), both(&right, &left));
    let (left, right) = (left.keep(&kept_left)?, right.keep(&kept_right)?);
    let (mut batch, mut shared) = (Vec::new(), Vec::new());
    for &label in left.labels.iter().filter(|label| right.labels.contains(label)) {
        if wanted.contains(&label) { batch.push(label) } else { shared.push(label) }
    }
    let own = |operand: &Operand, other: &Operand| {
        let labels = operand.labels.iter().copied();
        labels.filter(|label| !other.labels.contains(label)).collect::<Vec<char>>()
    };
    let (rows, columns) = (own(&left, &right), own(&right, &left));

    let mut shape = left.sizes(&batch);
    shape.extend(left.sizes(&rows));
    shape.extend(right.sizes(&columns));
    let count = |sizes: Vec<usize>| sizes.iter().product::<usize>();
    let batches = count(left.sizes(&batch));
    let (m, k, n) =
        (count(left.sizes(&rows)), count(left.sizes(&shared)), count(right.sizes(&columns)));

    let left = left.arranged(&[&batch[..], &rows, &shared].concat())?.array;
    let right = right.arranged(&[&batch[..], &shared, &columns].concat())?.array;
    let product = if batch.is_empty() {
        linear::product(left.reshape(&[m, k])?, right.reshape(&[k, n])?)?
    } else {
        linear::product(left.reshape(&[batches, m, k])?, right.reshape(&[batches, k, n])?)?
    };
    let labels = [batch, rows, columns].concat();
    Ok(Operand { array: product.reshape(&shape)?, labels })
}
