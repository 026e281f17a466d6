//! Einstein summation of one or two arrays, as transposes around one matrix product.

use super::{Call, Outcome, linear, one};
use crate::models::tagger::{
    host::Array,
    value::{Floats, Value},
};

pub(super) fn einsum(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let equation: String = call.text("equation").split_whitespace().collect();
    let unsupported = || format!("the equation {equation} is not supported");
    let (inputs, output) = equation.split_once("->").ok_or_else(unsupported)?;
    let terms: Vec<&str> = inputs.split(',').collect();
    if terms.len() != call.inputs.len()
        || [&terms[..], &[output]].concat().iter().any(|t| !plain(t))
    {
        return Err(unsupported());
    }
    let mut operands = Vec::with_capacity(terms.len());
    for (index, term) in terms.iter().enumerate() {
        let array = call.floats(index)?;
        if array.rank() != term.len() {
            return Err(format!("{equation} does not fit the shape {:?}", array.shape()));
        }
        operands.push(Operand { array, labels: term.chars().collect() });
    }
    let wanted: Vec<char> = output.chars().collect();
    if !wanted.iter().all(|label| operands.iter().any(|operand| operand.labels.contains(label))) {
        return Err(unsupported());
    }
    let mut operands = operands.into_iter();
    let result = match (operands.next(), operands.next(), operands.next()) {
        (Some(only), None, None) => only.keep(&wanted)?,
        (Some(left), Some(right), None) => contract(left, right, &wanted)?,
        _ => return Err(unsupported()),
    };
    one(result.arranged(&wanted)?.array)
}

/// Letters only, each once.
fn plain(term: &str) -> bool {
    let labels: Vec<char> = term.chars().collect();
    let once = |(i, label): (usize, &char)| !labels[..i].contains(label);
    labels.iter().all(char::is_ascii_alphabetic) && labels.iter().enumerate().all(once)
}

/// An array with a name for each dimension.
struct Operand {
    array: Floats,
    labels: Vec<char>,
}

impl Operand {
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
