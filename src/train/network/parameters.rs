//! The parameters of a part of the network, one after the other: out of a module and into one.
//!
//! All of a module's parameters have a fixed order, that of its fields. So the numbers of a block can lie
//! anywhere, and come back into a module that was emptied. Does not know where they lie.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{DType, Device, FloatDType, Tensor, TensorData},
};

/// Takes the values out of `part`, each handed to `take` with its number; gives the part back empty.
pub(super) fn empty<M: Module>(part: M, take: &mut dyn FnMut(usize, TensorData)) -> M {
    part.map(&mut Empty { next: 0, take })
}

/// Fills an empty `part` on `device`: `give` says what the parameter of each number is.
pub(super) fn fill<M: Module>(
    part: M,
    device: &Device,
    give: &mut dyn FnMut(usize) -> TensorData,
) -> M {
    part.map(&mut Fill { next: 0, device, give })
}

/// The same values in another type.
pub(super) fn cast<M: Module>(part: M, dtype: FloatDType) -> M {
    part.map(&mut Cast(dtype))
}

/// Hands the values of `part` to `read`, each with its number, as `dtype`.
pub(super) fn read<M: Module>(
    part: &M,
    dtype: FloatDType,
    read: &mut dyn FnMut(usize, TensorData),
) {
    part.visit(&mut Read { next: 0, dtype, read });
}

struct Empty<'a> {
    next: usize,
    take: &'a mut dyn FnMut(usize, TensorData),
}

impl ModuleMapper for Empty<'_> {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Taken out of the parameter, so that a value that nobody shares is moved and not copied.
        let (_, value, _) = parameter.consume();
        let options = (value.device(), value.dtype());
        (self.take)(self.next, value.into_data());
        self.next += 1;
        Param::from_tensor(Tensor::zeros([0; D], (&options.0, options.1)))
    }
}

struct Fill<'a> {
    next: usize,
    device: &'a Device,
    give: &'a mut dyn FnMut(usize) -> TensorData,
}

impl ModuleMapper for Fill<'_> {
    fn map_float<const D: usize>(&mut self, _parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let data = (self.give)(self.next);
        self.next += 1;
        let dtype = data.dtype();
        Param::from_tensor(Tensor::from_data(data, (self.device, dtype)))
    }
}

struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (_, value, _) = parameter.consume();
        match value.dtype() == DType::from(self.0) {
            true => Param::from_tensor(value),
            false => Param::from_tensor(value.cast(self.0)),
        }
    }
}

struct Read<'a> {
    next: usize,
    dtype: FloatDType,
    read: &'a mut dyn FnMut(usize, TensorData),
}

impl ModuleVisitor for Read<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        (self.read)(self.next, parameter.val().cast(self.dtype).into_data());
        self.next += 1;
    }
}
