//! Optimizer steps on tensors of a GPU, in place where nobody else holds them.
//!
//! The kernels do not take an odd number of columns, stacks of matrices, arrays that do not lie in one piece,
//! or other types than f32 and bf16: [`takes_adafactor`] and [`takes_adamw`] tell.
//!
//! Not run on CUDA yet: `docs/adr/0016-steps-on-a-gpu.md` says what was proven, and how.

use burn::{
    backend::{BackendTensor, BackendTypes, Cube, DispatchAutodiffContext, DispatchTensorKind},
    tensor::{DType, Tensor},
};

use super::{
    AdafactorStep, AdamWStep, Moments,
    cubes::STRETCH,
    launch::{self, CUBES, Numbers},
};
use crate::base::ElementBits;

/// What the backend keeps of a tensor.
type Primitive = <Cube as BackendTypes>::FloatTensorPrimitive;

/// The array of a tensor on a GPU, without gradients, whose elements lie one after the other.
fn array<const D: usize>(tensor: Tensor<D>) -> Option<Primitive> {
    let dispatched = tensor.into_dispatch();
    if dispatched.autodiff != DispatchAutodiffContext::Disabled {
        return None;
    }
    match dispatched.kind {
        DispatchTensorKind::Cube(BackendTensor::Float(array))
            // What begins between two words cannot be read by words.
            if array.is_contiguous() && array.handle.offset_start.unwrap_or(0).is_multiple_of(4) =>
        {
            Some(array)
        }
        _ => None,
    }
}

/// An array that one of the functions below told of, and that nobody else holds: this one, or a copy.
fn own<const D: usize>(tensor: Tensor<D>) -> Primitive {
    let array = array(tensor).expect("invariant: an array of a GPU in one piece");
    if array.can_mut() { array } else { array.copy() }
}

fn numbers(array: &Primitive, count: usize) -> Numbers {
    Numbers { handle: array.handle.clone(), count, bf16: array.dtype == DType::BF16 }
}

fn tensor<const D: usize>(array: Primitive) -> Tensor<D> {
    Tensor::from_primitive::<Cube>(array)
}

fn takes<const D: usize>(
    parameter: &Tensor<D>,
    gradient: &Tensor<D>,
    width: usize,
    rounding: Option<ElementBits>,
) -> bool {
    let f32_or_bf16 = |dtype| [DType::F32, DType::BF16].contains(&dtype);
    // Rounding to nearest is not among the kernels.
    let rounds = parameter.dtype() == DType::F32 || rounding.is_some();
    let types = f32_or_bf16(parameter.dtype()) && f32_or_bf16(gradient.dtype()) && rounds;
    let in_pairs = width > 0 && width.is_multiple_of(2);
    types && in_pairs && array(parameter.clone()).is_some() && array(gradient.clone()).is_some()
}

/// Whether [`adafactor`] takes them.
pub(super) fn takes_adafactor<const D: usize>(
    parameter: &Tensor<D>,
    gradient: &Tensor<D>,
    step: &AdafactorStep,
) -> bool {
    let shape = gradient.dims();
    let fits = match D {
        1 => step.beta1.is_none(),
        2 => (1..=CUBES).contains(&shape[0]),
        _ => false,
    };
    fits && takes(parameter, gradient, shape[D - 1], step.rounding)
}

/// A step for a matrix, or for a vector without a first moment.
pub(super) fn adafactor<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Option<Moments>,
    first_moment: Option<Tensor<1>>,
    step: &AdafactorStep,
) -> (Tensor<D>, Moments, Option<Tensor<1>>) {
    let (shape, device) = (gradient.dims(), gradient.device());
    let zeros = |count: usize| Tensor::<1>::zeros([count], (&device, DType::F32));
    let count = shape.iter().product::<usize>();
    let values = own(parameter);
    let gradient = array(gradient).expect("invariant: an array of a GPU in one piece");
    let client = values.client.clone();
    let (given, gradient) = (numbers(&values, count), numbers(&gradient, count));
    if D == 1 {
        let full = own(match moments {
            Some(Moments::Full(full)) => full,
            _ => zeros(count),
        });
        launch::vector(&client, &given, &gradient, full.handle.clone(), step);
        return (tensor(values), Moments::Full(tensor(full)), None);
    }
    let height = shape[0];
    let (rows, columns) = match moments {
        Some(Moments::Factored { rows, columns }) => (rows, columns),
        _ => (zeros(height).unsqueeze(), zeros(count / height).unsqueeze()),
    };
    let (rows, columns) = (own(rows), own(columns));
    let first = step.beta1.map(|_| own(first_moment.unwrap_or_else(|| zeros(count))));
    let moments = [rows.handle.clone(), columns.handle.clone()];
    let first_handle = first.as_ref().map(|first| first.handle.clone());
    launch::matrix(&client, &given, &gradient, moments, first_handle, height, step);
    let moments = Moments::Factored { rows: tensor(rows), columns: tensor(columns) };
    (tensor(values), moments, first.map(tensor))
}

/// Whether [`adamw`] takes them.
pub(super) fn takes_adamw<const D: usize>(
    parameter: &Tensor<D>,
    gradient: &Tensor<D>,
    step: &AdamWStep,
) -> bool {
    let count = gradient.dims().iter().product::<usize>();
    count <= CUBES * STRETCH * 2 && takes(parameter, gradient, count, step.rounding)
}

/// A step of AdamW.
pub(super) fn adamw<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: [Tensor<1>; 2],
    step: &AdamWStep,
) -> (Tensor<D>, [Tensor<1>; 2]) {
    let count = gradient.dims().iter().product::<usize>();
    let values = own(parameter);
    let gradient = array(gradient).expect("invariant: an array of a GPU in one piece");
    let [first, second] = moments.map(own);
    let client = values.client.clone();
    let (given, gradient) = (numbers(&values, count), numbers(&gradient, count));
    let handles = [first.handle.clone(), second.handle.clone()];
    launch::adamw(&client, &given, &gradient, handles, step);
    (tensor(values), [tensor(first), tensor(second)])
}

/// Rounds f32 numbers to those that bf16 holds, if they are an array of a GPU; gives them back if not.
#[expect(clippy::result_large_err, reason = "the tensor is given back, not copied")]
pub(super) fn rounded<const D: usize>(
    value: Tensor<D>,
    bits: ElementBits,
) -> Result<Tensor<D>, Tensor<D>> {
    let count = value.dims().iter().product::<usize>();
    let fits = value.dtype() == DType::F32 && count > 0 && count <= CUBES * STRETCH;
    if !fits || array(value.clone()).is_none() {
        return Err(value);
    }
    let values = own(value);
    launch::round(&values.client.clone(), values.handle.clone(), count, bits);
    Ok(tensor(values))
}
