//! Recurrent layers, step by step: what text recognisers read a line with.
//!
//! Formulas and the order of the gates are those of the ONNX text of `RNN`, `GRU` and `LSTM`.

use burn::tensor::{Tensor, TensorData};

use super::{
    Call, Outcome,
    gates::{Activation, activations},
};
use crate::models::onnx::{
    host::{Array, Host},
    value::{Floats, Value},
};

type Matrix = Tensor<2>;

/// The weights of one direction: `W [G H, I]`, `R [G H, H]`, both halves of `B`, for `G` gates.
struct Weights {
    /// Transposed, ready to multiply rows.
    input: Matrix,
    recurrent: Matrix,
    input_bias: Matrix,
    recurrent_bias: Matrix,
    hidden: usize,
}

impl Weights {
    /// Columns of one gate.
    fn gate(&self, all: &Matrix, gate: usize) -> Matrix {
        let start = gate * self.hidden;
        all.clone().slice([0..all.dims()[0], start..start + self.hidden])
    }
}

/// What one step leaves for the next, and gives out.
#[derive(Clone)]
struct State {
    hidden: Matrix,
    /// Of an `LSTM` only.
    cell: Matrix,
}

/// A kind of recurrent layer.
struct Layer {
    gates: usize,
    bytes: bool,
    activations: &'static [&'static str],
    step: fn(&Weights, &Settings, Matrix, &State) -> State,
}

/// What a step needs beside its weights.
struct Settings {
    activations: Vec<Activation>,
    /// Limit of what enters an activation, on both sides.
    clip: Option<f32>,
    linear_before_reset: bool,
    /// Whether what meets the weights goes through 8 bits before.
    bytes: bool,
    /// Weights from the cell to the gates i, o, f of an `LSTM`.
    peepholes: Option<[Matrix; 3]>,
}

impl Settings {
    fn activate(&self, index: usize, x: Matrix) -> Matrix {
        let x = match self.clip {
            Some(clip) => x.clamp(-clip, clip),
            None => x,
        };
        self.activations[index].apply(x)
    }

    /// The weighted cell, where the layer has such weights.
    fn peep(&self, x: Matrix, gate: usize, cell: &Matrix) -> Matrix {
        match &self.peepholes {
            Some(weights) => x + weights[gate].clone() * cell.clone(),
            None => x,
        }
    }
}

/// As unsigned bytes would hold it, by the range of its values and zero.
fn through_bytes(x: Matrix) -> Matrix {
    let low = x.clone().min().into_scalar::<f32>().min(0.0);
    let high = x.clone().max().into_scalar::<f32>().max(0.0);
    let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
    let zero = (-low / scale).clamp(0.0, 255.0).round_ties_even();
    (((x / scale).round() + zero).clamp(0.0, 255.0) - zero) * scale
}

fn rnn_step(weights: &Weights, settings: &Settings, input: Matrix, state: &State) -> State {
    let sum = input + recurrent(weights, settings, &state.hidden);
    State { hidden: settings.activate(0, sum), cell: state.cell.clone() }
}

/// `H R^T + Rb`.
fn recurrent(weights: &Weights, settings: &Settings, hidden: &Matrix) -> Matrix {
    let hidden = hidden.clone();
    let hidden = if settings.bytes { through_bytes(hidden) } else { hidden };
    hidden.matmul(weights.recurrent.clone()) + weights.recurrent_bias.clone()
}

/// Gates z, r, h.
fn gru_step(weights: &Weights, settings: &Settings, input: Matrix, state: &State) -> State {
    let past = recurrent(weights, settings, &state.hidden);
    let sum = |gate: usize| weights.gate(&input, gate) + weights.gate(&past, gate);
    let (update, reset) = (settings.activate(0, sum(0)), settings.activate(0, sum(1)));
    let past = if settings.linear_before_reset {
        reset * weights.gate(&past, 2)
    } else {
        let kept = reset * state.hidden.clone();
        let matrix = weights.gate(&weights.recurrent, 2);
        kept.matmul(matrix) + weights.gate(&weights.recurrent_bias, 2)
    };
    let candidate = settings.activate(1, weights.gate(&input, 2) + past);
    let hidden = (-update.clone() + 1.0) * candidate + update * state.hidden.clone();
    State { hidden, cell: state.cell.clone() }
}

/// Gates i, o, f, c.
fn lstm_step(weights: &Weights, settings: &Settings, input: Matrix, state: &State) -> State {
    let sum = input + recurrent(weights, settings, &state.hidden);
    let gate = |index: usize| weights.gate(&sum, index);
    let enter = settings.activate(0, settings.peep(gate(0), 0, &state.cell));
    let forget = settings.activate(0, settings.peep(gate(2), 2, &state.cell));
    let candidate = settings.activate(1, gate(3));
    let cell = forget * state.cell.clone() + enter * candidate;
    let leave = settings.activate(0, settings.peep(gate(1), 1, &cell));
    let hidden = leave * settings.activations[2].apply(cell.clone());
    State { hidden, cell }
}

pub(super) fn rnn(call: Call<'_>) -> Outcome<Vec<Value>> {
    run(call, &Layer { gates: 1, bytes: false, activations: &["tanh"], step: rnn_step })
}

pub(super) fn gru(call: Call<'_>) -> Outcome<Vec<Value>> {
    let activations = &["sigmoid", "tanh"];
    run(call, &Layer { gates: 3, bytes: false, activations, step: gru_step })
}

const LSTM: Layer =
    Layer { gates: 4, bytes: false, activations: &["sigmoid", "tanh", "tanh"], step: lstm_step };

pub(super) fn lstm(call: Call<'_>) -> Outcome<Vec<Value>> {
    run(call, &LSTM)
}

/// `DynamicQuantizeLSTM` of `com.microsoft`: weights `[D, I, 4 H]` in 8 bits, with scales and zero points
/// of each direction or of each of its columns in inputs 8 to 11.
pub(super) fn quantized_lstm(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    for (index, scale) in [(1, 8), (2, 10)] {
        let stored = call.value(index)?.ints()?;
        let value = Value::Reals(stored.map(|value| value as f32)).floats(call.device)?;
        let laid = |list: Host<f32>| {
            let shape = list.shape();
            let [directions, columns @ ..] = &shape[..] else {
                return Err("a scale is stated for no direction".to_owned());
            };
            let columns: usize = columns.iter().product();
            Value::Reals(list).floats(call.device)?.reshape(&[*directions, 1, columns])
        };
        let scales = laid(
            call.inputs.get_mut(scale).and_then(Option::take).ok_or("it lacks scales")?.reals()?,
        )?;
        let zeros = match call.inputs.get_mut(scale + 1).and_then(Option::take) {
            Some(zeros) => Some(laid(zeros.ints()?.map(|value| value as f32))?.tensor()),
            None => None,
        };
        let scales = scales.tensor();
        let value = value.map(|x| match zeros {
            Some(zeros) => (x - zeros) * scales,
            None => x * scales,
        });
        call.inputs[index] = Some(value.permute(&[0, 2, 1]).into());
    }
    call.inputs.truncate(8);
    run(call, &Layer { bytes: true, ..LSTM })
}

/// Sizes of one layer: steps, samples, width of the input, width of the state.
struct Sizes {
    steps: usize,
    batch: usize,
    width: usize,
    hidden: usize,
}

/// What a layer is given, for all its directions.
struct Inputs {
    /// `[T, N, I]`.
    input: Floats,
    /// `[D, G H, I]` and `[D, G H, H]`.
    weights: [Floats; 2],
    bias: Option<Floats>,
    lengths: Option<Vec<i64>>,
    /// Hidden state and cell at the start, `[D, N, H]`.
    starts: [Option<Floats>; 2],
    peepholes: Option<Floats>,
}

impl Inputs {
    /// Inputs X, W, R, B, sequence_lens, initial_h and, of an `LSTM`, initial_c and P.
    fn take(call: &mut Call<'_>, batch_first: bool) -> Outcome<Self> {
        let swap = |value: Floats| match value.rank() {
            3 if batch_first => value.permute(&[1, 0, 2]),
            _ => value,
        };
        let input = swap(call.floats(0)?);
        let weights = [call.floats(1)?, call.floats(2)?];
        let lengths = call.optional(4).map(|lengths| lengths.ints().map(Host::into_data));
        let lengths = lengths.transpose()?;
        let mut optional =
            |index: usize| call.optional(index).map(|value| value.floats(call.device)).transpose();
        let starts = [optional(5)?.map(swap), optional(6)?.map(swap)];
        Ok(Self { input, weights, bias: optional(3)?, lengths, starts, peepholes: optional(7)? })
    }

    fn sizes(&self) -> Outcome<Sizes> {
        let (&[steps, batch, width], &[_, _, hidden]) =
            (&self.input.shape()[..], &self.weights[1].shape()[..])
        else {
            let found = (self.input.shape(), self.weights[1].shape());
            return Err(format!("{found:?} are not [T, N, I] and [D, G H, H]"));
        };
        if self.lengths.as_ref().is_some_and(|lengths| lengths.len() != batch) {
            return Err("its sequence_lens are not one for each sample".to_owned());
        }
        Ok(Sizes { steps, batch, width, hidden })
    }

    /// The weights of one direction, for so many gates.
    fn weights(&self, call: &Call<'_>, direction: usize, gates: usize) -> Outcome<Weights> {
        let Sizes { width, hidden, .. } = self.sizes()?;
        let rows = gates * hidden;
        let halves = match &self.bias {
            Some(bias) => part(bias, direction, &[1, 2 * rows])?,
            None => zeros(call, 1, 2 * rows)?,
        };
        let half = |start: usize| halves.clone().strided(1, start, rows, 1).fixed::<2>();
        let [input, recurrent] = &self.weights;
        Ok(Weights {
            input: part(input, direction, &[rows, width])?.fixed::<2>()?.transpose(),
            recurrent: part(recurrent, direction, &[rows, hidden])?.fixed::<2>()?.transpose(),
            input_bias: half(0)?,
            recurrent_bias: half(rows)?,
            hidden,
        })
    }

    fn peepholes(&self, direction: usize, hidden: usize) -> Outcome<Option<[Matrix; 3]>> {
        let Some(list) = &self.peepholes else { return Ok(None) };
        let list = part(list, direction, &[1, 3 * hidden])?;
        let gate = |gate: usize| list.clone().strided(1, gate * hidden, hidden, 1).fixed::<2>();
        Ok(Some([gate(0)?, gate(1)?, gate(2)?]))
    }

    fn start(&self, call: &Call<'_>, direction: usize) -> Outcome<State> {
        let Sizes { batch, hidden, .. } = self.sizes()?;
        let start = |given: &Option<Floats>| match given {
            Some(given) => part(given, direction, &[batch, hidden])?.fixed::<2>(),
            None => zeros(call, batch, hidden)?.fixed::<2>(),
        };
        Ok(State { hidden: start(&self.starts[0])?, cell: start(&self.starts[1])? })
    }
}

/// What belongs to one direction.
fn part(value: &Floats, direction: usize, shape: &[usize]) -> Outcome<Floats> {
    if value.shape().first().is_none_or(|&directions| direction >= directions) {
        return Err(format!("{:?} holds no direction {direction}", value.shape()));
    }
    value.clone().strided(0, direction, 1, 1).reshape(shape)
}

fn run(mut call: Call<'_>, layer: &Layer) -> Outcome<Vec<Value>> {
    if call.int("input_forget", 0) != 0 {
        return Err("coupled gates (input_forget) are not supported".to_owned());
    }
    let directions: &[bool] = match call.text("direction") {
        "" | "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(format!("direction {other} is not supported")),
    };
    let batch_first = call.int("layout", 0) != 0;
    let inputs = Inputs::take(&mut call, batch_first)?;
    let sizes = inputs.sizes()?;
    let chosen = activations(&call, layer.activations, directions.len())?;
    let (mut outputs, mut ends) = (Vec::new(), Vec::new());
    for (direction, &reversed) in directions.iter().enumerate() {
        let count = layer.activations.len();
        let settings = Settings {
            activations: chosen[direction * count..][..count].to_vec(),
            clip: call.attribute("clip").map(|attribute| attribute.f),
            bytes: layer.bytes,
            linear_before_reset: call.int("linear_before_reset", 0) != 0,
            peepholes: inputs.peepholes(direction, sizes.hidden)?,
        };
        let weights = inputs.weights(&call, direction, layer.gates)?;
        let walk = Walk { weights, settings, lengths: inputs.lengths.as_deref(), reversed };
        let state = inputs.start(&call, direction)?;
        let (output, end) = walk.run(inputs.input.clone(), state, layer.step, &sizes)?;
        outputs.push(output);
        ends.push(end);
    }
    results(outputs, ends, &sizes, batch_first)
}

fn zeros(call: &Call<'_>, rows: usize, columns: usize) -> Outcome<Floats> {
    Value::Reals(Host::scalar(0.0)).floats(call.device)?.expand(&[rows, columns])
}

/// One direction through a sequence.
struct Walk<'a> {
    weights: Weights,
    settings: Settings,
    lengths: Option<&'a [i64]>,
    reversed: bool,
}

impl Walk<'_> {
    /// All outputs `[T, N, H]`, and the state at the end.
    fn run(
        &self,
        input: Floats,
        mut state: State,
        step: fn(&Weights, &Settings, Matrix, &State) -> State,
        sizes: &Sizes,
    ) -> Outcome<(Floats, State)> {
        let device = state.hidden.device();
        // The inputs of all steps meet their weights at once.
        let rows = input.rows(sizes.width);
        let rows = if self.settings.bytes { through_bytes(rows) } else { rows };
        let all = rows.matmul(self.weights.input.clone());
        let all = all + self.weights.input_bias.clone();
        let columns = all.dims()[1];
        let mut outputs = Vec::with_capacity(sizes.steps);
        for index in 0..sizes.steps {
            let time = if self.reversed { sizes.steps - 1 - index } else { index };
            let rows = time * sizes.batch..(time + 1) * sizes.batch;
            let next =
                step(&self.weights, &self.settings, all.clone().slice([rows, 0..columns]), &state);
            match self.lengths {
                None => {
                    outputs.push(next.hidden.clone());
                    state = next;
                }
                Some(lengths) => {
                    // Behind its end a sequence keeps its state and gives zeros.
                    let goes_on =
                        lengths.iter().map(|&length| f32::from(u8::from((time as i64) < length)));
                    let goes_on: Vec<f32> = goes_on.collect();
                    let goes_on = TensorData::new(goes_on, [sizes.batch, 1]);
                    let goes_on = Tensor::<2>::from_data(goes_on, &device);
                    let rests = -goes_on.clone() + 1.0;
                    let mix =
                        |new: Matrix, old: Matrix| new * goes_on.clone() + old * rests.clone();
                    outputs.push(next.hidden.clone() * goes_on.clone());
                    state = State {
                        hidden: mix(next.hidden, state.hidden),
                        cell: mix(next.cell, state.cell),
                    };
                }
            }
        }
        if self.reversed {
            outputs.reverse();
        }
        if outputs.is_empty() {
            let start = Floats::from_tensor(state.hidden.clone());
            return Ok((start.zeros(&[0, sizes.batch, sizes.hidden])?, state));
        }
        Ok((stacked(outputs)?, state))
    }
}

/// Matrices of one shape as an array, one after the other.
fn stacked(matrices: Vec<Matrix>) -> Outcome<Floats> {
    let widen = |matrix: Matrix| {
        let [rows, columns] = matrix.dims();
        Floats::from_tensor(matrix).reshape(&[1, rows, columns])
    };
    Ok(Floats::concat(matrices.into_iter().map(widen).collect::<Outcome<_>>()?, 0))
}

/// `Y [T, D, N, H]`, `Y_h` and `Y_c [D, N, H]`, with the samples first where the layout says so.
fn results(
    outputs: Vec<Floats>,
    ends: Vec<State>,
    sizes: &Sizes,
    batch_first: bool,
) -> Outcome<Vec<Value>> {
    let (steps, batch, hidden) = (sizes.steps, sizes.batch, sizes.hidden);
    let widen = |output: Floats| output.reshape(&[steps, 1, batch, hidden]);
    let all = Floats::concat(outputs.into_iter().map(widen).collect::<Outcome<_>>()?, 1);
    let last = |part: fn(&State) -> &Matrix| {
        let ends: Vec<Matrix> = ends.iter().map(|end| part(end).clone()).collect();
        stacked(ends)
    };
    let (hidden, cell) = (last(|end| &end.hidden)?, last(|end| &end.cell)?);
    Ok(if batch_first {
        let order = [1, 0, 2];
        vec![
            all.permute(&[2, 0, 1, 3]).into(),
            hidden.permute(&order).into(),
            cell.permute(&order).into(),
        ]
    } else {
        vec![all.into(), hidden.into(), cell.into()]
    })
}
