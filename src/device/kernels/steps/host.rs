//! Optimizer steps on arrays of the CPU, in place where nobody else holds them.
//!
//! Sums are made in f32 over a task of some rows and in f64 over the tasks, in order: the number of
//! threads changes no bit.

use burn::tensor::Tensor;
use pulp::Arch;
use rayon::prelude::*;

use super::{
    super::host::{self, Host},
    AdafactorStep, AdamWStep, Moments, passes,
};

/// So many elements are worth a task of their own: a tenth of a millisecond of reading.
const TASK: usize = 256 * 1024;

/// Whether both are f32 arrays of the CPU, without gradients.
pub(super) fn holds<const D: usize>(parameter: &Tensor<D>, gradient: &Tensor<D>) -> bool {
    Host::of(parameter).is_some() && Host::of(gradient).is_some()
}

/// The sum of the squares of all elements, if it is such an array.
pub(super) fn sum_of_squares<const D: usize>(x: &Tensor<D>) -> Option<f64> {
    let array = Host::of(x)?.dense();
    Some(sum(array.slice()))
}

fn sum(values: &[f32]) -> f64 {
    let parts = values.par_chunks(TASK);
    let parts = parts.map(|values| Arch::new().dispatch(passes::Sum { values }));
    parts.collect::<Vec<_>>().into_iter().sum()
}

/// The elements of an array that [`holds`] told of.
fn buffer<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    let array = Host::of(&x).expect("invariant: f32 on the CPU");
    drop(x);
    array.into_buffer()
}

/// One step for a matrix or a stack of them.
pub(super) fn adafactor<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Option<Moments>,
    first_moment: Option<Tensor<1>>,
    step: &AdafactorStep,
) -> (Tensor<D>, Moments, Option<Tensor<1>>) {
    let shape = parameter.dims();
    let (height, width) = (shape[D - 2], shape[D - 1]);
    let stack = shape[..D - 2].iter().product::<usize>();
    let gradient = Host::of(&gradient).expect("invariant: f32 on the CPU").dense();
    let gradient = gradient.slice();
    let mut values = buffer(parameter);
    let (mut rows, mut columns) = match moments {
        Some(Moments::Factored { rows, columns }) => (buffer(rows), buffer(columns)),
        _ => (vec![0.0; stack * height], vec![0.0; stack * width]),
    };
    let mut first_moment =
        step.beta1.map(|_| first_moment.map_or_else(|| vec![0.0; values.len()], buffer));
    if !values.is_empty() {
        let mut all = Matrices { height, width, values: &mut values, gradient, step };
        let factors = all.moments(&mut rows, &mut columns);
        all.change(&factors, first_moment.as_deref_mut());
    }
    let moments = Moments::Factored {
        rows: host::tensor(rows, [stack, height]),
        columns: host::tensor(columns, [stack, width]),
    };
    let length = values.len();
    let first_moment = first_moment.map(|moment| host::tensor(moment, [length]));
    (host::tensor(values, shape), moments, first_moment)
}

/// A stack of matrices, one after the other, row by row.
struct Matrices<'a> {
    height: usize,
    width: usize,
    values: &'a mut [f32],
    gradient: &'a [f32],
    step: &'a AdafactorStep,
}

/// What a gradient is multiplied by, by its row and its column.
struct Factors {
    /// Of all rows of all matrices.
    rows: Vec<f32>,
    /// `[stack, columns]`
    columns: Vec<f32>,
}

impl Matrices<'_> {
    fn rows_per_task(&self) -> usize {
        (TASK / self.width).max(1)
    }

    /// Brings the second moments up to date: the first pass.
    fn moments(&self, rows: &mut [f32], columns: &mut [f32]) -> Factors {
        let mut factors = Factors { rows: rows.to_vec(), columns: columns.to_vec() };
        let matrices = self.gradient.chunks_exact(self.height * self.width);
        for (index, gradient) in matrices.enumerate() {
            let of_rows = index * self.height..(index + 1) * self.height;
            let of_columns = index * self.width..(index + 1) * self.width;
            let (rows, columns) = (&mut rows[of_rows.clone()], &mut columns[of_columns.clone()]);
            let (row_sums, column_sums) = self.sums(gradient);
            self.blend(rows, row_sums.into_iter().map(f64::from), self.width);
            self.blend(columns, column_sums.into_iter(), self.height);
            // The row factor is normalised first: the product of two small moments could underflow.
            let mean = rows.iter().map(|&x| f64::from(x)).sum::<f64>() / self.height as f64;
            for (factor, &moment) in factors.rows[of_rows].iter_mut().zip(&*rows) {
                *factor = 1.0 / (moment / mean as f32).sqrt();
            }
            for (factor, &moment) in factors.columns[of_columns].iter_mut().zip(&*columns) {
                *factor = 1.0 / moment.sqrt();
            }
        }
        factors
    }

    /// The sums of squares of one gradient over each row, and over each column.
    fn sums(&self, gradient: &[f32]) -> (Vec<f32>, Vec<f64>) {
        let mut row_sums = vec![0.0; self.height];
        let task = self.rows_per_task();
        let tasks = gradient.par_chunks(task * self.width).zip(row_sums.par_chunks_mut(task));
        let parts = tasks.map(|(gradient, rows)| {
            let mut columns = vec![0.0_f32; self.width];
            Arch::new().dispatch(passes::Squares { gradient, rows, columns: &mut columns });
            columns
        });
        let mut column_sums = vec![0.0_f64; self.width];
        for part in parts.collect::<Vec<_>>() {
            for (sum, part) in column_sums.iter_mut().zip(part) {
                *sum += f64::from(part);
            }
        }
        (row_sums, column_sums)
    }

    fn blend(&self, moments: &mut [f32], sums: impl Iterator<Item = f64>, count: usize) {
        let AdafactorStep { scale, eps_1, decay, .. } = *self.step;
        for (moment, sum) in moments.iter_mut().zip(sums) {
            let mean = sum / count as f64 * scale * scale + eps_1;
            *moment = (f64::from(*moment) * decay + mean * (1.0 - decay)) as f32;
        }
    }

    /// Takes the change away: the second pass finds its size, the third writes.
    fn change(&mut self, factors: &Factors, first_moment: Option<&mut [f32]>) {
        let AdafactorStep { scale, clip_threshold, eps_2, weight_decay, .. } = *self.step;
        let count = self.values.len() as f64;
        let size = scale * (self.size(factors) / count).sqrt();
        let own = |least: f64| (sum(self.values) / count).sqrt().max(least);
        let rate = self.step.rate * eps_2.map_or(1.0, own);
        let change = passes::Change {
            factor: (scale * rate / (size / clip_threshold).max(1.0)) as f32,
            lost: (rate * weight_decay) as f32,
            beta1: self.step.beta1.unwrap_or(0.0) as f32,
            rounding: self.step.rounding,
        };
        let (height, width, task) = (self.height, self.width, self.rows_per_task());
        let moments: Vec<Option<&mut [f32]>> = match first_moment {
            Some(moment) => moment
                .chunks_mut(height * width)
                .flat_map(|matrix| matrix.chunks_mut(task * width).map(Some))
                .collect(),
            None => (0..count as usize / width).map(|_| None).collect(),
        };
        let values = self.values.chunks_mut(height * width);
        let tasks = values.zip(self.gradient.chunks(height * width)).enumerate();
        let tasks = tasks.flat_map(|(index, (values, gradient))| {
            let parts = values.chunks_mut(task * width).zip(gradient.chunks(task * width));
            parts.enumerate().map(move |(part, parts)| (index, part * task, parts))
        });
        let tasks: Vec<_> = tasks.zip(moments).collect();
        tasks.into_par_iter().for_each(|((index, row, (values, gradient)), moment)| {
            Arch::new().dispatch(passes::Rows {
                change,
                values,
                gradient,
                moment,
                rows: &factors.rows[index * height + row..],
                columns: &factors.columns[index * width..][..width],
                first: ((index * height + row) * width) as u32,
            });
        });
    }

    /// The sum of the squares of the gradient, each element times its factors.
    fn size(&self, factors: &Factors) -> f64 {
        let (height, width, task) = (self.height, self.width, self.rows_per_task());
        let matrices = self.gradient.chunks(height * width).enumerate();
        let of_one = matrices.map(|(index, gradient)| {
            let parts = gradient.par_chunks(task * width).enumerate().map(|(part, gradient)| {
                let rows = &factors.rows[index * height + part * task..];
                let columns = &factors.columns[index * width..][..width];
                Arch::new().dispatch(passes::Size { gradient, rows, columns })
            });
            parts.collect::<Vec<_>>().into_iter().sum::<f64>()
        });
        of_one.sum()
    }
}

/// One pass over everything.
pub(super) fn adamw<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    [first, second]: [Tensor<1>; 2],
    step: &AdamWStep,
) -> (Tensor<D>, [Tensor<1>; 2]) {
    let shape = parameter.dims();
    let gradient = Host::of(&gradient).expect("invariant: f32 on the CPU").dense();
    let (mut values, mut first, mut second) = (buffer(parameter), buffer(first), buffer(second));
    let moments = first.par_chunks_mut(TASK).zip(second.par_chunks_mut(TASK));
    let tasks = values.par_chunks_mut(TASK).zip(gradient.slice().par_chunks(TASK)).zip(moments);
    tasks.enumerate().for_each(|(task, ((values, gradient), (first, second)))| {
        let place = (task * TASK) as u32;
        Arch::new().dispatch(passes::AdamW { step, values, gradient, first, second, place });
    });
    let length = values.len();
    let moments = [first, second].map(|moment| host::tensor(moment, [length]));
    (host::tensor(values, shape), moments)
}

/// `average ← decay · average + (1 − decay) · value`, on the host: the value is copied there if it is
/// elsewhere, or of another type than f32.
pub fn blend_onto<const D: usize>(average: &mut [f32], value: Tensor<D>, decay: f64) {
    let copied;
    let array = Host::of(&value).map(Host::dense);
    let values = match &array {
        Some(array) => array.slice(),
        None => {
            copied = value.into_data().iter::<f32>().collect::<Vec<_>>();
            &copied
        }
    };
    let (old, new) = (decay as f32, (1.0 - decay) as f32);
    let parts = average.par_chunks_mut(TASK).zip(values.par_chunks(TASK));
    parts.for_each(|(average, values)| {
        Arch::new().dispatch(passes::Blend { average, values, old, new })
    });
}
