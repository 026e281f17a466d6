//! Functions of two arrays, element by element, with broadcasting.

use burn::tensor::Tensor;

use super::{Call, Outcome, one};
use crate::models::onnx::{
    host::{Array, Host, broadcast},
    value::{Floats, RANK, Value},
};

/// One arithmetic function on every kind of value it is met with.
struct Arithmetic {
    /// `None` where there is no result, such as a division by zero.
    ints: fn(i64, i64) -> Option<i64>,
    reals: fn(f32, f32) -> f32,
    tensors: fn(Tensor<RANK>, Tensor<RANK>) -> Tensor<RANK>,
    /// With a single number on the right, which saves a broadcast.
    number: fn(Tensor<RANK>, f32) -> Tensor<RANK>,
    /// Whether the sides may be swapped, so that `number` serves a single number on the left too.
    commutes: bool,
}

const ADD: Arithmetic = Arithmetic {
    ints: |a, b| Some(a.wrapping_add(b)),
    reals: |a, b| a + b,
    tensors: Tensor::add,
    number: Tensor::add_scalar,
    commutes: true,
};

const SUB: Arithmetic = Arithmetic {
    ints: |a, b| Some(a.wrapping_sub(b)),
    reals: |a, b| a - b,
    tensors: Tensor::sub,
    number: Tensor::sub_scalar,
    commutes: false,
};

const MUL: Arithmetic = Arithmetic {
    ints: |a, b| Some(a.wrapping_mul(b)),
    reals: |a, b| a * b,
    tensors: Tensor::mul,
    number: Tensor::mul_scalar,
    commutes: true,
};

const DIV: Arithmetic = Arithmetic {
    ints: i64::checked_div,
    reals: |a, b| a / b,
    tensors: Tensor::div,
    number: Tensor::div_scalar,
    commutes: false,
};

/// The sign is that of the divisor (`fmod = 0`).
const MOD: Arithmetic = Arithmetic {
    ints: |a, b| {
        a.checked_rem(b)
            .map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
    },
    reals: |a, b| a - b * (a / b).floor(),
    tensors: Tensor::remainder,
    number: Tensor::remainder_scalar,
    commutes: false,
};

/// The sign is that of the dividend (`fmod = 1`).
const FMOD: Arithmetic = Arithmetic {
    ints: i64::checked_rem,
    reals: |a, b| a % b,
    tensors: |a, b| a.clone() - truncated(a / b.clone()) * b,
    number: |a, b| a.clone() - truncated(a / b) * b,
    commutes: false,
};

const POW: Arithmetic = Arithmetic {
    ints: |a, b| Some(a.wrapping_pow(u32::try_from(b).ok()?)),
    reals: f32::powf,
    tensors: Tensor::powf,
    number: Tensor::powf_scalar,
    commutes: false,
};

const MAX: Arithmetic = Arithmetic {
    ints: |a, b| Some(a.max(b)),
    reals: f32::max,
    tensors: Tensor::max_pair,
    number: Tensor::clamp_min,
    commutes: true,
};

const MIN: Arithmetic = Arithmetic {
    ints: |a, b| Some(a.min(b)),
    reals: f32::min,
    tensors: Tensor::min_pair,
    number: Tensor::clamp_max,
    commutes: true,
};

fn truncated(tensor: Tensor<RANK>) -> Tensor<RANK> {
    tensor.clone().sign() * tensor.abs().floor()
}

impl Arithmetic {
    /// All inputs, from the left.
    fn fold(&self, mut call: Call<'_>) -> Outcome<Vec<Value>> {
        if call.inputs.len() == 2 {
            let (left, right) = call.pair()?;
            return one(self.apply(left, right, &call)?);
        }
        let mut result = call.value(0)?;
        for index in 1..call.inputs.len() {
            let next = call.value(index)?;
            result = self.apply(result, next, &call)?;
        }
        one(result)
    }

    fn apply(&self, left: Value, right: Value, call: &Call<'_>) -> Outcome<Value> {
        match (left, right) {
            (Value::Ints(left), Value::Ints(right)) => {
                let number =
                    |a, b| (self.ints)(a, b).ok_or_else(|| format!("no result for {a} and {b}"));
                left.zip(right, number).map(Value::Ints)
            }
            (Value::Reals(left), Value::Reals(right)) => {
                left.zip(right, |a, b| Ok((self.reals)(a, b))).map(Value::Reals)
            }
            (Value::Reals(left), Value::Floats(right)) if self.commutes => {
                self.apply(Value::Floats(right), Value::Reals(left), call)
            }
            (Value::Floats(left), Value::Reals(right))
                if right.single().is_some() && right.shape().len() <= left.rank() =>
            {
                let number = right.data()[0];
                Ok(Value::Floats(left.map(|tensor| (self.number)(tensor, number))))
            }
            (left, right) => {
                let (left, right) = (left.floats(call.device)?, right.floats(call.device)?);
                self.floats(left, right).map(Value::Floats)
            }
        }
    }

    /// Of two arrays, one of which may be repeated along the other.
    fn floats(&self, left: Floats, right: Floats) -> Outcome<Floats> {
        broadcast(&left.shape(), &right.shape())?;
        let rank = left.rank().max(right.rank());
        Ok(Floats::new((self.tensors)(left.tensor(), right.tensor()), rank))
    }
}

/// The sum of two arrays, for fused operators.
pub(super) fn sum_of(left: Floats, right: Floats) -> Outcome<Floats> {
    ADD.floats(left, right)
}

/// The product of two arrays, for fused operators.
pub(super) fn product_of(left: Floats, right: Floats) -> Outcome<Floats> {
    MUL.floats(left, right)
}

pub(super) fn add(call: Call<'_>) -> Outcome<Vec<Value>> {
    ADD.fold(call)
}

pub(super) fn sum(call: Call<'_>) -> Outcome<Vec<Value>> {
    ADD.fold(call)
}

pub(super) fn sub(call: Call<'_>) -> Outcome<Vec<Value>> {
    SUB.fold(call)
}

pub(super) fn mul(call: Call<'_>) -> Outcome<Vec<Value>> {
    MUL.fold(call)
}

pub(super) fn div(call: Call<'_>) -> Outcome<Vec<Value>> {
    DIV.fold(call)
}

pub(super) fn modulo(call: Call<'_>) -> Outcome<Vec<Value>> {
    if call.int("fmod", 0) == 0 { MOD.fold(call) } else { FMOD.fold(call) }
}

/// The exponent may be of another kind than the base, whose kind is that of the result.
pub(super) fn pow(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let as_reals = |host: Host<i64>| Value::Reals(host.map(|value| value as f32));
    match call.pair()? {
        (Value::Ints(base), exponent @ (Value::Floats(_) | Value::Reals(_))) => {
            let result = POW.apply(as_reals(base), exponent, &call)?;
            one(result.reals()?.map(|value| value as i64))
        }
        (base @ (Value::Floats(_) | Value::Reals(_)), Value::Ints(exponent)) => {
            one(POW.apply(base, as_reals(exponent), &call)?)
        }
        (base, exponent) => one(POW.apply(base, exponent, &call)?),
    }
}

pub(super) fn mean(call: Call<'_>) -> Outcome<Vec<Value>> {
    let (count, device) = (call.inputs.len(), call.device);
    let sum = ADD.fold(call)?.into_iter().next().ok_or("it has no inputs")?;
    one(sum.floats(device)?.map(|sum| sum / count as f32))
}

pub(super) fn max(call: Call<'_>) -> Outcome<Vec<Value>> {
    MAX.fold(call)
}

pub(super) fn min(call: Call<'_>) -> Outcome<Vec<Value>> {
    MIN.fold(call)
}
