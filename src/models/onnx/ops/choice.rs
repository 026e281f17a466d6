//! Booleans, and what they choose.

use burn::tensor::{Bool, Tensor, TensorData};

use super::{Call, Outcome, one};
use crate::models::onnx::{
    host::{Array, Host, broadcast},
    value::{RANK, Value},
};

pub(super) fn not(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    one(call.value(0)?.bools()?.map(|bit| !bit))
}

pub(super) fn and(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (left, right) = call.pair()?;
    one(left.bools()?.zip(right.bools()?, |a, b| Ok(a && b))?)
}

pub(super) fn or(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let (left, right) = call.pair()?;
    one(left.bools()?.zip(right.bools()?, |a, b| Ok(a || b))?)
}

/// `Where`: the second input where the first holds, else the third.
pub(super) fn choose(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let condition = call.value(0)?.bools()?;
    match (call.value(1)?, call.value(2)?) {
        (Value::Ints(yes), Value::Ints(no)) => one(pick(condition, yes, no)?),
        (Value::Bools(yes), Value::Bools(no)) => one(pick(condition, yes, no)?),
        (Value::Reals(yes), Value::Reals(no)) => one(pick(condition, yes, no)?),
        (yes, no) => {
            let (yes, no) = (yes.floats(call.device)?, no.floats(call.device)?);
            let shape = broadcast(&broadcast(&yes.shape(), &no.shape())?, &condition.shape())?;
            let mut dims = [1; RANK];
            let condition = condition.expand(&shape)?;
            let (yes, no) = (yes.expand(&shape)?, no.expand(&shape)?);
            dims[RANK - shape.len()..].copy_from_slice(&shape);
            let data = TensorData::new(condition.into_data(), dims);
            let mask = Tensor::<RANK, Bool>::from_data(data, call.device);
            let yes = yes.tensor();
            one(no.map(|no| no.mask_where(mask, yes)))
        }
    }
}

fn pick<T: Copy>(condition: Host<bool>, yes: Host<T>, no: Host<T>) -> Outcome<Host<T>> {
    let pairs = yes.zip(no, |yes, no| Ok((yes, no)))?;
    condition.zip(pairs, |bit, (yes, no)| Ok(if bit { yes } else { no }))
}
