//! An optimizer's memory as named tensors, out and in again.

use std::io;

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

use super::{adafactor::AdafactorState, adamw::AdamWState};
use crate::{
    device::kernels::Moments,
    weights::{Checkpoint, Dtype, Entry, WeightsError},
};

pub(super) const STEP: &str = "step";
const ROWS: &str = "exp_avg_sq_row";
const COLUMNS: &str = "exp_avg_sq_col";
const SECOND: &str = "exp_avg_sq";
const FIRST: &str = "exp_avg";

/// One tensor of an optimizer's memory.
pub(super) enum Part<'a> {
    Steps(u32),
    Flat(&'a Tensor<1>),
    Table(&'a Tensor<2>),
}

impl Part<'_> {
    pub fn entry(&self, name: String) -> Entry {
        let (dtype, shape) = match self {
            Self::Steps(_) => (Dtype::I64, vec![1]),
            Self::Flat(tensor) => (Dtype::F32, tensor.dims().to_vec()),
            Self::Table(tensor) => (Dtype::F32, tensor.dims().to_vec()),
        };
        Entry { name, dtype, shape }
    }

    pub fn data(&self) -> io::Result<TensorData> {
        let data = match self {
            Self::Steps(steps) => return Ok(TensorData::new(vec![i64::from(*steps)], [1])),
            Self::Flat(tensor) => (*tensor).clone().try_into_data(),
            Self::Table(tensor) => (*tensor).clone().try_into_data(),
        };
        data.map_err(|error| io::Error::other(format!("a tensor cannot be read back: {error}")))
    }
}

impl AdafactorState {
    pub(super) fn parts(&self) -> Vec<(&'static str, Part<'_>)> {
        let mut parts = vec![(STEP, Part::Steps(self.step))];
        match &self.moments {
            Moments::Factored { rows, columns } => {
                parts.extend([(ROWS, Part::Table(rows)), (COLUMNS, Part::Table(columns))]);
            }
            Moments::Full(full) => parts.push((SECOND, Part::Flat(full))),
        }
        parts.extend(self.first_moment.iter().map(|moment| (FIRST, Part::Flat(moment))));
        parts
    }

    pub(super) fn restore(saved: &Saved<'_>) -> Result<Self, WeightsError> {
        let moments = if saved.has(SECOND) {
            Moments::Full(saved.tensor(SECOND)?)
        } else {
            Moments::Factored { rows: saved.tensor(ROWS)?, columns: saved.tensor(COLUMNS)? }
        };
        let first_moment = saved.has(FIRST).then(|| saved.tensor(FIRST)).transpose()?;
        Ok(Self { step: saved.steps()?, moments, first_moment })
    }
}

impl AdamWState {
    pub(super) fn parts(&self) -> Vec<(&'static str, Part<'_>)> {
        let moments = [(FIRST, Part::Flat(&self.first)), (SECOND, Part::Flat(&self.second))];
        [(STEP, Part::Steps(self.step))].into_iter().chain(moments).collect()
    }

    pub(super) fn restore(saved: &Saved<'_>) -> Result<Self, WeightsError> {
        let (first, second) = (saved.tensor(FIRST)?, saved.tensor(SECOND)?);
        Ok(Self { step: saved.steps()?, first, second })
    }
}

/// What a file holds of one parameter.
pub(super) struct Saved<'a> {
    pub file: &'a Checkpoint,
    pub device: &'a Device,
    /// Name of the parameter.
    pub name: &'a str,
}

impl Saved<'_> {
    fn place(&self, state: &str) -> String {
        format!("{state}:{}", self.name)
    }

    fn has(&self, state: &str) -> bool {
        self.file.info(&self.place(state)).is_some()
    }

    fn steps(&self) -> Result<u32, WeightsError> {
        let bytes = self.file.bytes(&self.place(STEP))?;
        let steps = <[u8; 8]>::try_from(&*bytes).ok().map(i64::from_le_bytes);
        steps
            .and_then(|steps| u32::try_from(steps).ok())
            .ok_or_else(|| self.malformed(STEP, "is not a count"))
    }

    fn tensor<const D: usize>(&self, state: &str) -> Result<Tensor<D>, WeightsError> {
        let place = self.place(state);
        let values = self.file.f32(&place)?;
        let shape = self.file.info(&place).map(|info| info.shape.clone()).unwrap_or_default();
        let shape = <[usize; D]>::try_from(shape)
            .map_err(|_| self.malformed(state, "has another number of axes than is written"))?;
        let data = TensorData::new(values, shape);
        Ok(Tensor::from_data(data, (self.device, DType::from(FloatDType::F32))))
    }

    fn malformed(&self, state: &str, what: &str) -> WeightsError {
        WeightsError::Format {
            path: self.file.path().to_owned(),
            format: "safetensors",
            reason: format!("`{}` {what}", self.place(state)),
        }
    }
}
