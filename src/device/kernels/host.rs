//! Arrays of the CPU backend, seen as slices.

use std::mem::MaybeUninit;

use burn::{
    backend::{BackendTensor, BackendTypes, DispatchAutodiffContext, DispatchTensorKind, Flex},
    tensor::{DType, Tensor, TensorData},
};

use super::product::Strided;

/// What the CPU backend keeps of a tensor: shared bytes, a shape, strides.
type Primitive = <Flex as BackendTypes>::FloatTensorPrimitive;

/// An f32 array on the CPU, without gradients.
pub(super) struct Host(Primitive);

impl Host {
    /// The array of a tensor, if it is one that the functions here compute on.
    pub fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        let dispatched = tensor.clone().into_dispatch();
        if dispatched.autodiff != DispatchAutodiffContext::Disabled {
            return None;
        }
        match dispatched.kind {
            DispatchTensorKind::Flex(BackendTensor::Float(tensor))
                if tensor.dtype() == DType::F32 =>
            {
                // What is read backwards is turned round first: steps are forwards here.
                let backwards = tensor.layout().strides().iter().any(|&step| step < 0);
                Some(Self(if backwards { tensor.to_contiguous() } else { tensor }))
            }
            _ => None,
        }
    }

    /// The same with its elements one after the other; copies them only if they are not.
    pub fn dense(self) -> Self {
        if self.0.as_slice::<f32>().is_some() { self } else { Self(self.0.to_contiguous()) }
    }

    /// The elements of a [`dense`](Self::dense) array.
    pub fn slice(&self) -> &[f32] {
        self.0.as_slice().expect("invariant: dense")
    }

    /// The elements of an array that nobody else holds, for use as a buffer; else a copy.
    pub fn into_buffer(mut self) -> Vec<f32> {
        self = self.dense();
        if self.0.is_unique() {
            self.0.into_data().try_into_vec().expect("invariant: f32 data")
        } else {
            self.slice().to_vec()
        }
    }

    /// Whether all elements lie one after the other.
    pub fn is_dense(&self) -> bool {
        self.0.as_slice::<f32>().is_some()
    }

    /// The elements from the first on, with the step from one to the next along each axis.
    pub fn strided(&self) -> (&[f32], &[isize]) {
        let layout = self.0.layout();
        (&self.0.storage::<f32>()[layout.start_offset()..], layout.strides())
    }
}

/// An array as rows of its last axis, the step from one to the next the same for all.
pub(super) struct Rows {
    array: Host,
    pub count: usize,
    pub width: usize,
    step: usize,
}

impl Rows {
    /// The rows of a tensor, if it is one that the functions here compute on; copied only if they do not
    /// lie evenly. A part of the columns of an array does, and so do neighbouring rows.
    pub fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        let array = Host::of(tensor)?;
        let shape = tensor.dims();
        let (count, width) = (shape[..D - 1].iter().product(), shape[D - 1]);
        let (array, step) = match even_step(&shape, array.0.layout().strides()) {
            Some(step) => (array, step),
            None => (array.dense(), width),
        };
        Some(Self { array, count, width, step })
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.array.strided().0[index * self.step..][..self.width]
    }

    /// All of them.
    pub fn matrix(&self) -> Strided<'_> {
        let (values, _) = self.array.strided();
        Strided { values, row: self.step as isize, column: 1 }
    }
}

/// The step from each row of the last axis to the next, if it is the same for all.
fn even_step(shape: &[usize], steps: &[isize]) -> Option<usize> {
    let (&width, lead) = shape.split_last()?;
    if width != 1 && steps.last() != Some(&1) {
        return None;
    }
    let mut even: Option<(isize, isize)> = None;
    for (&size, &step) in lead.iter().zip(steps).rev().filter(|&(&size, _)| size != 1) {
        let (first, span) = even.unwrap_or((step, step));
        if step != span {
            return None;
        }
        even = Some((first, span * size as isize));
    }
    usize::try_from(even.map_or(width as isize, |(first, _)| first)).ok()
}

/// An array whose elements `fill` writes, every one of them. Not zeroed first: that would take as long
/// as some of the functions here.
///
/// # Safety
/// `fill` initialises the whole slice.
pub(super) unsafe fn filled(length: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    fill(&mut values.spare_capacity_mut()[..length]);
    // SAFETY: the capacity is there, and the caller vouches for the elements.
    unsafe { values.set_len(length) };
    values
}

/// Numbers as a place to write numbers to.
pub(super) fn writable(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: of one layout; nothing here writes anything but numbers through it.
    unsafe { std::mem::transmute::<&mut [f32], &mut [MaybeUninit<f32>]>(values) }
}

/// A tensor on the CPU with these elements.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(Primitive::from_data(TensorData::new(values, shape)))
}
