//! Position embeddings for pictures of another size than the network was trained on.

use burn::tensor::{DType, Tensor, TensorData};

/// Brings `[1, from² + 1, width]`, the class token's position first, to `[1, to² + 1, width]`: the
/// grid is resampled by cubic convolution (Keys, a = −0.75) with pixel centres at halves and the
/// border repeated, not widened when the grid shrinks. So does PyTorch's `interpolate` in the mode
/// `bicubic` without `align_corners` and `antialias`, by which the reference resizes them.
pub(super) fn resample(positions: Tensor<3>, from: usize, to: usize) -> Tensor<3> {
    if from == to {
        return positions;
    }
    let (device, dtype) = (positions.device(), positions.dtype());
    let width = positions.dims()[2];
    let values = positions.into_data_as::<f32>();
    let values: Vec<f32> = values.try_to_vec().expect("invariant: just read as f32");
    let (class, grid) = values.split_at(width);
    let rows = taps(from, to);
    let mut resampled = Vec::with_capacity((to * to + 1) * width);
    resampled.extend_from_slice(class);
    for down in &rows {
        for right in &rows {
            resampled.extend((0..width).map(|channel| {
                let value = |y: usize, x: usize| f64::from(grid[(y * from + x) * width + channel]);
                let row = |y: usize| right.iter().map(|&(x, w)| w * value(y, x)).sum::<f64>();
                down.iter().map(|&(y, w)| w * row(y)).sum::<f64>() as f32
            }));
        }
    }
    let data = TensorData::new(resampled, [1, to * to + 1, width]);
    Tensor::<3>::from_data(data, (&device, DType::F32)).cast(dtype)
}

/// For each place of the new axis the four old places that it is made of, with their weights.
fn taps(from: usize, to: usize) -> Vec<[(usize, f64); 4]> {
    let scale = from as f64 / to as f64;
    let taps = |place: usize| {
        let centre = (place as f64 + 0.5) * scale - 0.5;
        [-1.0, 0.0, 1.0, 2.0].map(|step| {
            let at = centre.floor() + step;
            (at.clamp(0.0, (from - 1) as f64) as usize, weight(centre - at))
        })
    };
    (0..to).map(taps).collect()
}

/// The kernel of cubic convolution with a = −0.75.
fn weight(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let x = distance.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
