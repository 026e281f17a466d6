//! Exponential moving averages of the trained weights, on the host.
//!
//! In f32 whatever the weights are stored as: with a decay of 0.9999 an average moves by a ten-thousandth
//! of its distance from the weight, far below the spacing of bf16, and would stand still. That is four
//! bytes per weight, 48 GB for all of FLUX.1-dev; where memory has no room for them they lie in a file
//! that is mapped, of which every step reads and writes all.

use std::{collections::BTreeMap, io, ops::Range, path::Path};

use burn::tensor::{Tensor, TensorData};
use memmap2::MmapMut;

use crate::{
    base::disk,
    device::kernels,
    weights::{Checkpoint, Dtype, Entry, WeightsError},
};

/// Before the name of a parameter, in the state of a run.
const PREFIX: &str = "ema:";

/// Averages of the weights: `average ← decay · average + (1 − decay) · weight` after every step.
pub struct Ema {
    decay: f64,
    places: BTreeMap<String, Place>,
    values: Values,
}

struct Place {
    shape: Vec<usize>,
    elements: Range<usize>,
}

enum Values {
    Memory(Vec<f32>),
    Mapped(MmapMut),
}

impl Values {
    fn all(&self) -> &[f32] {
        match self {
            Self::Memory(values) => values,
            Self::Mapped(file) => bytemuck::cast_slice(file),
        }
    }

    fn all_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Memory(values) => values,
            Self::Mapped(file) => bytemuck::cast_slice_mut(file),
        }
    }
}

impl Ema {
    /// Makes room for the averages of the parameters `(name, shape)`, all zero: [`Ema::start`] gives them
    /// their first values. With a `folder` they lie in a file there that has no name, so that nothing is
    /// left of it even after a crash; without, in memory.
    ///
    /// # Errors
    /// The file cannot be made, or the disk has no room for it.
    pub fn new<'a>(
        decay: f64,
        parameters: impl IntoIterator<Item = (&'a str, &'a [usize])>,
        folder: Option<&Path>,
    ) -> io::Result<Self> {
        let mut end = 0;
        let places = parameters.into_iter().map(|(name, shape)| {
            let start = end;
            end += shape.iter().product::<usize>();
            (name.to_owned(), Place { shape: shape.to_vec(), elements: start..end })
        });
        let places = places.collect();
        let values = match folder {
            Some(folder) if end > 0 => {
                let file = disk::unnamed(folder)?;
                file.set_len(end as u64 * 4)?;
                // SAFETY: the file has no name, so no other process changes or cuts it.
                Values::Mapped(unsafe { MmapMut::map_mut(&file)? })
            }
            _ => Values::Memory(vec![0.0; end]),
        };
        Ok(Self { decay, places, values })
    }

    /// How many bytes the averages of so many parameters take.
    #[must_use]
    pub fn bytes(parameters: u64) -> u64 {
        parameters * 4
    }

    /// Whether the averages of so many parameters shall lie in a file, since they would take more than half
    /// of the `free` bytes of memory: the plan counts them, and the loop makes them, by the same rule.
    #[must_use]
    pub fn in_file(parameters: u64, free: u64) -> bool {
        Self::bytes(parameters) > free / 2
    }

    /// Sets the average of `name` to a value. A name without an average is passed over, here and in
    /// [`Ema::follow`].
    pub fn start<const D: usize>(&mut self, name: &str, value: Tensor<D>) {
        if let Some(average) = self.average(name) {
            kernels::blend_onto(average, value, 0.0);
        }
    }

    /// Moves the average of `name` towards its new value.
    pub fn follow<const D: usize>(&mut self, name: &str, value: Tensor<D>) {
        let decay = self.decay;
        if let Some(average) = self.average(name) {
            kernels::blend_onto(average, value, decay);
        }
    }

    fn average(&mut self, name: &str) -> Option<&mut [f32]> {
        let place = self.places.get(name)?;
        Some(&mut self.values.all_mut()[place.elements.clone()])
    }

    /// The average of `name`, row by row, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        let place = self.places.get(name)?;
        Some(&self.values.all()[place.elements.clone()])
    }

    /// Names (`ema:PARAMETER`), types and shapes of what [`Ema::for_each`] gives, in its order.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |(name, place): (&String, &Place)| Entry {
            name: format!("{PREFIX}{name}"),
            dtype: Dtype::F32,
            shape: place.shape.clone(),
        };
        self.places.iter().map(entry).collect()
    }

    /// Gives all averages, tensor by tensor.
    ///
    /// # Errors
    /// What `take` said.
    pub fn for_each(
        &self,
        take: &mut dyn FnMut(&str, TensorData) -> io::Result<()>,
    ) -> io::Result<()> {
        for (name, place) in &self.places {
            let values = self.values.all()[place.elements.clone()].to_vec();
            take(&format!("{PREFIX}{name}"), TensorData::new(values, place.shape.clone()))?;
        }
        Ok(())
    }

    /// Takes up what [`Ema::for_each`] gave; `folder` is as for [`Ema::new`]. Other tensors of the file
    /// are left alone. `Ok(Err(_))` is a file that cannot be used, `Err(_)` a place that cannot be made.
    ///
    /// # Errors
    /// As [`Ema::new`].
    pub fn restore(
        decay: f64,
        file: &Checkpoint,
        folder: Option<&Path>,
    ) -> io::Result<Result<Self, WeightsError>> {
        let names = file.names().filter_map(|name| name.strip_prefix(PREFIX));
        let parameters = names.filter_map(|name| {
            Some((name, file.info(&format!("{PREFIX}{name}"))?.shape.as_slice()))
        });
        let mut ema = Self::new(decay, parameters.collect::<Vec<_>>(), folder)?;
        for (name, place) in &ema.places {
            match file.encoded(&format!("{PREFIX}{name}")) {
                Ok(encoded) => {
                    encoded.decode(0, &mut ema.values.all_mut()[place.elements.clone()]);
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(ema))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, FloatDType};

    use super::*;
    use crate::weights::Writer;

    const DECAY: f64 = 0.75;

    fn value(first: f32) -> Tensor<2> {
        Tensor::from_floats([[first, 2.0, -3.0], [0.5, 0.25, 8.0]], &Device::flex())
    }

    fn made(folder: Option<&Path>) -> Ema {
        let parameters = [("a", &[2, 3][..]), ("b", &[1])];
        let mut ema = Ema::new(DECAY, parameters, folder).unwrap();
        ema.start("a", value(1.0));
        // bf16 weights are averaged in f32.
        ema.follow("a", value(5.0).cast(FloatDType::BF16));
        ema.follow("a", value(-1.0));
        ema.follow("unknown", value(9.0));
        ema
    }

    #[test]
    fn averages_follow_in_memory_and_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for folder in [None, Some(folder.path())] {
            let ema = made(folder);
            // 0.75 · (0.75 · 1 + 0.25 · 5) + 0.25 · -1
            assert_eq!(ema.get("a").unwrap(), [1.25, 2.0, -3.0, 0.5, 0.25, 8.0]);
            assert_eq!(ema.get("b").unwrap(), [0.0]);
            assert!(ema.get("unknown").is_none());
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn what_is_given_is_taken_up_again() {
        let ema = made(None);
        let mut writer = Writer::new(Vec::new(), &ema.entries(), &BTreeMap::new()).unwrap();
        ema.for_each(&mut |_, data| writer.tensor(data.as_bytes())).unwrap();
        let bytes = writer.finish().unwrap();
        let file = Checkpoint::from_bytes(Path::new("state"), bytes).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["ema:a", "ema:b"]);
        let mut again = Ema::restore(DECAY, &file, None).unwrap().unwrap();
        let mut ema = ema;
        for ema in [&mut ema, &mut again] {
            ema.follow("a", value(0.1));
        }
        assert_eq!(ema.get("a"), again.get("a"));
        assert_eq!(ema.entries().len(), again.entries().len());
    }
}
