//! Operators with graphs inside: a branch, and loops.

use super::{Call, Outcome, axis, each, layout};
use crate::models::onnx::{
    host::{Array, Host},
    plan::Plan,
    value::Value,
};

/// Most rounds of one loop. Recurrent networks make one per time step; a graph that asks for more than
/// this is broken or means harm.
const ROUNDS: i64 = 100_000;

/// Takes what the graphs inside use from outside; the node's own inputs stay.
fn captured(call: &mut Call<'_>) -> Vec<Value> {
    let own = call.node.input.len().min(call.inputs.len());
    call.inputs.split_off(own).into_iter().flatten().collect()
}

fn run(body: &Plan, inputs: Vec<Value>) -> Outcome<Vec<Value>> {
    body.run(inputs).map_err(|error| error.to_string())
}

fn truth(value: Value) -> Outcome<bool> {
    value.bools()?.single().ok_or_else(|| "its condition is not a single boolean".to_owned())
}

/// `If`: the results of one of two graphs.
pub(super) fn branch(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let outer = captured(&mut call);
    let holds = truth(call.value(0)?)?;
    let branch = call.bodies.get(usize::from(!holds)).ok_or("it lacks a branch")?;
    run(branch, outer)
}

/// `Loop`: a graph that gets the round, a condition and what the round before left; its further results
/// are stacked.
pub(super) fn repeat(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let outer = captured(&mut call);
    let limit = call.optional(0).map(|value| value.ints().map(|host| host.single().unwrap_or(0)));
    let limit = limit.transpose()?.unwrap_or(i64::MAX);
    let mut goes_on = call.optional(1).map(truth).transpose()?.unwrap_or(true);
    let mut state = call.inputs.drain(2.min(call.inputs.len())..).flatten().collect::<Vec<_>>();
    let body = call.bodies.first().ok_or("it lacks a body")?;
    let mut stacks = Vec::new();
    let mut round = 0;
    while round < limit && goes_on {
        if round == ROUNDS {
            return Err(format!("it has made {ROUNDS} rounds, the most that are allowed"));
        }
        let carried = state.len();
        let given = [Host::scalar(round).into(), Host::scalar(true).into()];
        let mut results =
            run(body, given.into_iter().chain(state).chain(outer.iter().cloned()).collect())?;
        if results.len() <= carried {
            return Err("its body gives too few results".to_owned());
        }
        goes_on = truth(results.remove(0))?;
        let rows = results.split_off(carried);
        state = results;
        stacks.resize_with(rows.len(), Vec::new);
        for (stack, row) in stacks.iter_mut().zip(rows) {
            stack.push(row);
        }
        round += 1;
    }
    // Without a round nothing tells the shape of what would have been stacked: a list of none.
    stacks.resize_with(call.node.output.len().saturating_sub(state.len()), Vec::new);
    for stack in stacks {
        state.push(stacked(&call, stack, 0)?);
    }
    Ok(state)
}

/// `Scan` (opset 9 and later): a graph that gets, round by round, slices of its last inputs.
pub(super) fn scan(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    if call.opset < 9 {
        return Err("the form of opset 8 is not supported".to_owned());
    }
    let outer = captured(&mut call);
    let scanned = usize::try_from(call.int("num_scan_inputs", 1)).unwrap_or(0);
    let mut state: Vec<Value> = std::mem::take(&mut call.inputs).into_iter().flatten().collect();
    let carried = state.len().checked_sub(scanned).ok_or("it has too few inputs")?;
    let sequences = state.split_off(carried);
    let number = |name: &str, index: usize| {
        let list = call.attribute(name).map(|attribute| attribute.ints.as_slice());
        list.and_then(|list| list.get(index).copied()).unwrap_or(0)
    };
    let mut places = Vec::with_capacity(scanned);
    for (index, sequence) in sequences.iter().enumerate() {
        places.push(axis(number("scan_input_axes", index), sequence.shape().len())?);
    }
    let rounds = sequences.first().map(|sequence| sequence.shape()[places[0]]).unwrap_or(0);
    if sequences.iter().zip(&places).any(|(sequence, &at)| sequence.shape()[at] != rounds) {
        return Err("its inputs are not of one length".to_owned());
    }
    let body = call.bodies.first().ok_or("it lacks a body")?;
    let mut stacks = vec![Vec::new(); call.node.output.len().saturating_sub(carried)];
    for round in 0..rounds {
        for (index, (sequence, &at)) in sequences.iter().zip(&places).enumerate() {
            let backwards = number("scan_input_directions", index) != 0;
            let place = if backwards { rounds - 1 - round } else { round };
            state.push(slice(sequence.clone(), at, place)?);
        }
        state.extend(outer.iter().cloned());
        let mut results = run(body, state)?;
        if results.len() < carried {
            return Err("its body gives too few results".to_owned());
        }
        let rows = results.split_off(carried);
        state = results;
        for (stack, row) in stacks.iter_mut().zip(rows) {
            stack.push(row);
        }
    }
    for (index, mut stack) in stacks.into_iter().enumerate() {
        if number("scan_output_directions", index) != 0 {
            stack.reverse();
        }
        state.push(stacked(&call, stack, number("scan_output_axes", index))?);
    }
    Ok(state)
}

/// One place of a dimension, which is dropped.
fn slice(value: Value, at: usize, place: usize) -> Outcome<Value> {
    let mut shape = value.shape();
    shape.remove(at);
    each!(value, array => Ok(array.strided(at, place, 1, 1).reshape(&shape)?.into()))
}

/// Joined along a new dimension.
fn stacked(call: &Call<'_>, rows: Vec<Value>, at: i64) -> Outcome<Value> {
    let Some(first) = rows.first() else { return Ok(Host::<f32>::list(Vec::new()).into()) };
    let mut shape = first.shape();
    let at = axis(at, shape.len() + 1)?;
    shape.insert(at, 1);
    let widened = |row: Value| each!(row, array => Ok(array.reshape(&shape)?.into()));
    let rows = rows.into_iter().map(widened).collect::<Outcome<Vec<Value>>>()?;
    layout::joined(rows, at, call.device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_lose_their_dimension() {
        let grid = Host::new(vec![2, 3], vec![0, 1, 2, 3, 4, 5]).unwrap();
        let column = slice(grid.into(), 1, 2).unwrap();
        assert_eq!((column.shape(), column.ints().unwrap().into_data()), (vec![2], vec![2, 5]));
    }
}
