//! Arrays of the CPU backend, seen as slices.

use burn::{
    backend::{BackendTensor, BackendTypes, DispatchAutodiffContext, DispatchTensorKind, Flex},
    tensor::{DType, Tensor, TensorData},
};

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
                Some(Self(tensor))
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
        let length = self.slice().len();
        if self.0.is_unique() {
            let data = self.0.into_data();
            if let Ok(buffer) = data.try_into_vec::<f32>() {
                debug_assert_eq!(buffer.len(), length);
                return buffer;
            }
            unreachable!("invariant: f32 data");
        }
        self.slice().to_vec()
    }

    /// The elements from the first on, with the step from one to the next along each axis.
    pub fn strided(&self) -> (&[f32], &[isize]) {
        let layout = self.0.layout();
        (&self.0.storage::<f32>()[layout.start_offset()..], layout.strides())
    }
}

/// A tensor on the CPU with these elements.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(Primitive::from_data(TensorData::new(values, shape)))
}
