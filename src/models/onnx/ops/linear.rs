//! Matrix products.

use super::{Call, Outcome, one};
use crate::{
    device::kernels::{self, Activation},
    models::onnx::{
        host::{Array, Host, broadcast, elements},
        value::{Floats, Value},
    },
};

pub(super) fn matmul(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    match (call.value(0)?, call.value(1)?) {
        // Exact up to 2^24.
        (Value::Ints(left), Value::Ints(right)) => {
            let real = |host: Host<i64>| Value::Reals(host.map(|value| value as f32));
            let (left, right) = (real(left).floats(call.device)?, real(right).floats(call.device)?);
            one(product(left, right)?.download()?.map(|value| value as i64))
        }
        (left, right) => one(product(left.floats(call.device)?, right.floats(call.device)?)?),
    }
}

/// The product of the last two dimensions, the others being batches; a list is a row on the left and a
/// column on the right, and that dimension is dropped from the result.
pub(super) fn product(left: Floats, right: Floats) -> Outcome<Floats> {
    let (row, column) = (left.rank() == 1, right.rank() == 1);
    let left = if row { with_row(left)? } else { left };
    let right = if column { with_column(right)? } else { right };
    let (a, b) = (left.shape(), right.shape());
    let (Some((&k, _)), Some((&n, rest))) = (a.split_last(), b.split_last()) else {
        return Err("a single number has no matrix product".to_owned());
    };
    if rest.last() != Some(&k) {
        return Err(format!("{a:?} and {b:?} have no matrix product"));
    }
    let (left_batches, right_batches) = (&a[..a.len() - 2], &b[..b.len() - 2]);
    let mut whole = broadcast(left_batches, right_batches)?;
    whole.extend([a[a.len() - 2], n]);
    let result = if elements(&whole)? == 0 || k == 0 {
        // Sums of nothing. Burn (0.22.1) ends the process where no batches meet one.
        left.zeros(&whole)?
    } else if b.len() == 2 && a.len() > 2 {
        // One matrix for all batches: their rows together are one matrix too.
        let mut shape = a;
        *shape.last_mut().ok_or("it has no columns")? = n;
        let weight = right.fixed::<2>()?.transpose();
        let result = kernels::linear(left.rows(k), weight, None, Activation::None);
        Floats::from_tensor(result).reshape(&shape)?
    } else {
        let rank = a.len().max(b.len());
        Floats::new(left.tensor().matmul(right.tensor()), rank)
    };
    let mut shape = result.shape();
    if column {
        shape.pop();
    }
    if row {
        shape.remove(shape.len() - if column { 1 } else { 2 });
    }
    result.reshape(&shape)
}

fn with_row(list: Floats) -> Outcome<Floats> {
    let size = list.shape()[0];
    list.reshape(&[1, size])
}

fn with_column(list: Floats) -> Outcome<Floats> {
    let size = list.shape()[0];
    list.reshape(&[size, 1])
}

/// `alpha * A * B + beta * C`.
pub(super) fn gemm(mut call: Call<'_>) -> Outcome<Vec<Value>> {
    let matrix = |floats: Floats, transposed: i64| {
        floats.fixed::<2>().map(|matrix| if transposed != 0 { matrix.transpose() } else { matrix })
    };
    let a = matrix(call.floats(0)?, call.int("transA", 0))?;
    let b = matrix(call.floats(1)?, call.int("transB", 0))?;
    let (alpha, beta) = (call.float("alpha", 1.0), call.float("beta", 1.0));
    let mut result = a.matmul(b);
    if alpha != 1.0 {
        result = result.mul_scalar(alpha);
    }
    let result = Floats::from_tensor(result);
    match call.optional(2) {
        Some(bias) if beta != 0.0 => {
            let mut bias = bias.floats(call.device)?.tensor();
            if beta != 1.0 {
                bias = bias.mul_scalar(beta);
            }
            one(result.map(|result| result + bias))
        }
        _ => one(result),
    }
}
