//! The order in which the kernels of a step run.
//!
//! Knows buffers of a device that CubeCL computes on, not Burn's tensors.

use cubecl::{client::Client, prelude::*, server::Handle};

use super::{
    AdafactorStep, AdamWStep,
    cubes::{self, STRETCH, UNITS},
};
use crate::base::ElementBits;

/// Cubes along one axis that every device takes.
pub(super) const CUBES: usize = 65_535;
/// Rows whose squares are added up before they are written, column by column.
const BLOCK: usize = 128;

/// Numbers on the device, one after the other, an even count of them.
#[derive(Clone)]
pub(super) struct Numbers {
    pub handle: Handle,
    pub count: usize,
    /// bf16, or else f32.
    pub bf16: bool,
}

impl Numbers {
    fn words(&self) -> BufferArg {
        let words = if self.bf16 { self.count / 2 } else { self.count };
        // SAFETY: so many words of four bytes are so many numbers of their type.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), words) }
    }
}

/// f32 numbers on the device.
#[derive(Clone)]
struct Floats {
    handle: Handle,
    count: usize,
}

impl Floats {
    fn empty(client: &Client, count: usize) -> Self {
        Self { handle: client.empty(4 * count), count }
    }

    fn arg(&self) -> BufferArg {
        // SAFETY: made with this length, or vouched for by the caller of a step.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.count) }
    }
}

fn units() -> CubeDim {
    CubeDim::new_1d(UNITS as u32)
}

fn cubes(count: usize) -> CubeCount {
    CubeCount::Static(count as u32, 1, 1)
}

fn key(rounding: Option<ElementBits>) -> [u32; 2] {
    rounding.map_or([0, 0], ElementBits::key)
}

/// One step of Adafactor on a matrix of `height` rows, [`CUBES`] at most. `rows`, `columns` and `moment`
/// are f32 and as long as their name says; the moment is there where the step keeps one.
pub(super) fn matrix(
    client: &Client,
    values: &Numbers,
    gradient: &Numbers,
    [rows, columns]: [Handle; 2],
    moment: Option<Handle>,
    height: usize,
    step: &AdafactorStep,
) {
    let (count, width) = (values.count, values.count / height);
    let (pairs, parts) = (width / 2, height.div_ceil(BLOCK));
    let (eps, decay) = (step.eps_1 as f32, step.decay as f32);
    let share = |count: usize| (step.scale * step.scale / count as f64) as f32;
    let row_sums = Floats::empty(client, height);
    let column_sums = Floats::empty(client, parts * width);
    let row_factors = Floats::empty(client, height);
    let column_factors = Floats::empty(client, width);
    let rates = Floats::empty(client, 2);
    let rows = Floats { handle: rows, count: height };
    let columns = Floats { handle: columns, count: width };
    let squares = |of: &Numbers, sums: &Floats| {
        cubes::row_squares::launch(
            client,
            cubes(height),
            units(),
            of.words(),
            sums.arg(),
            pairs,
            of.bf16,
        );
    };
    squares(gradient, &row_sums);
    cubes::column_squares::launch(
        client,
        CubeCount::Static(pairs.div_ceil(UNITS) as u32, parts as u32, 1),
        units(),
        gradient.words(),
        column_sums.arg(),
        pairs,
        height,
        BLOCK,
        gradient.bf16,
    );
    cubes::row_factors::launch(
        client,
        cubes(1),
        units(),
        row_sums.arg(),
        rows.arg(),
        row_factors.arg(),
        height,
        share(width),
        eps,
        decay,
    );
    cubes::column_factors::launch(
        client,
        cubes(width.div_ceil(UNITS)),
        units(),
        column_sums.arg(),
        columns.arg(),
        column_factors.arg(),
        width,
        parts,
        share(height),
        eps,
        decay,
    );
    let sizes = Floats::empty(client, height);
    cubes::row_sizes::launch(
        client,
        cubes(height),
        units(),
        gradient.words(),
        row_factors.arg(),
        column_factors.arg(),
        sizes.arg(),
        pairs,
        gradient.bf16,
    );
    let own = row_sums;
    if step.eps_2.is_some() {
        squares(values, &own);
    }
    cubes::rates::launch(
        client,
        cubes(1),
        units(),
        sizes.arg(),
        own.arg(),
        rates.arg(),
        height,
        count as f32,
        step.scale as f32,
        step.clip_threshold as f32,
        step.rate as f32,
        step.eps_2.unwrap_or(0.0) as f32,
        step.weight_decay as f32,
        step.eps_2.is_some(),
    );
    let [key_0, key_1] = key(step.rounding);
    // Without a moment any buffer stands in its place, which is then not touched.
    let moment = moment.map_or(sizes, |handle| Floats { handle, count });
    cubes::change::launch(
        client,
        cubes(height),
        units(),
        values.words(),
        gradient.words(),
        moment.arg(),
        row_factors.arg(),
        column_factors.arg(),
        rates.arg(),
        pairs,
        step.beta1.unwrap_or(0.0) as f32,
        key_0,
        key_1,
        step.beta1.is_some(),
        step.rounding.is_some(),
        values.bf16,
        gradient.bf16,
    );
}

/// One step of Adafactor without a first moment on a vector. `moments` are f32 and as many.
pub(super) fn vector(
    client: &Client,
    values: &Numbers,
    gradient: &Numbers,
    moments: Handle,
    step: &AdafactorStep,
) {
    let moments = Floats { handle: moments, count: values.count };
    let [key_0, key_1] = key(step.rounding);
    cubes::vector::launch(
        client,
        cubes(1),
        units(),
        values.words(),
        gradient.words(),
        moments.arg(),
        values.count / 2,
        step.scale as f32,
        step.eps_1 as f32,
        step.decay as f32,
        step.clip_threshold as f32,
        step.rate as f32,
        step.eps_2.unwrap_or(0.0) as f32,
        step.weight_decay as f32,
        key_0,
        key_1,
        step.eps_2.is_some(),
        step.rounding.is_some(),
        values.bf16,
        gradient.bf16,
    );
}

/// One step of AdamW on [`CUBES`] stretches at most. The moments are f32 and as many.
pub(super) fn adamw(
    client: &Client,
    values: &Numbers,
    gradient: &Numbers,
    moments: [Handle; 2],
    step: &AdamWStep,
) {
    let [first, second] = moments.map(|handle| Floats { handle, count: values.count });
    let pairs = values.count / 2;
    let [key_0, key_1] = key(step.rounding);
    cubes::adamw::launch(
        client,
        cubes(pairs.div_ceil(STRETCH)),
        units(),
        values.words(),
        gradient.words(),
        first.arg(),
        second.arg(),
        pairs,
        step.scale as f32,
        step.beta1 as f32,
        step.beta2 as f32,
        step.rate as f32,
        step.root_bias as f32,
        step.eps as f32,
        step.weight_decay as f32,
        key_0,
        key_1,
        step.rounding.is_some(),
        values.bf16,
        gradient.bf16,
    );
}

/// Rounds f32 numbers, in [`CUBES`] stretches at most, to numbers that bf16 holds.
pub(super) fn round(client: &Client, values: Handle, count: usize, bits: ElementBits) {
    let values = Floats { handle: values, count };
    let [key_0, key_1] = bits.key();
    let stretches = cubes(count.div_ceil(STRETCH));
    cubes::round_all::launch(client, stretches, units(), values.arg(), count, key_0, key_1);
}
