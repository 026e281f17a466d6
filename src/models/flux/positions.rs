//! Where a token stands in the picture (rotary positions) and in time (sinusoids).

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::device::kernels::Rotation;

/// Rotations for tokens at `ids` (axis 0 unused, row, column). `axes` gives the channels that each axis
/// rotates; angles are `position · theta^(-2j/d)`, computed in f64.
#[must_use]
pub fn rotation(ids: &[[f32; 3]], axes: [usize; 3], theta: f64, device: &Device) -> Rotation {
    let pairs = axes.iter().sum::<usize>() / 2;
    let mut cos = Vec::with_capacity(ids.len() * pairs);
    let mut sin = Vec::with_capacity(ids.len() * pairs);
    for id in ids {
        for (&position, width) in id.iter().zip(axes) {
            for j in 0..width / 2 {
                let omega = theta.powf(-2.0 * j as f64 / width as f64);
                let angle = f64::from(position) * omega;
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
    }
    let upload = |values| {
        let data = TensorData::new(values, [ids.len(), pairs]);
        Tensor::from_data(data, (device, DType::F32))
    };
    Rotation { cos: upload(cos), sin: upload(sin) }
}

/// The sinusoidal embedding of `values` in `[0, 1]`: `[B, width]`, cosines first, in f32. Values are
/// scaled by 1000, and everything is rounded to f32 where the published implementation rounds, since
/// an angle near 1000 carries its last bit into the cosine.
#[must_use]
pub fn sinusoid(values: &[f32], width: usize, device: &Device) -> Tensor<2> {
    let half = width / 2;
    let frequency = |i: usize| {
        let exponent = -(10_000_f64.ln() as f32) * i as f32 / half as f32;
        f64::from(exponent).exp() as f32
    };
    let frequencies = (0..half).map(frequency).collect::<Vec<_>>();
    let mut embedding = Vec::with_capacity(values.len() * width);
    for &value in values {
        let angle = |frequency: &f32| f64::from(value * 1000.0 * frequency);
        embedding.extend(frequencies.iter().map(|f| angle(f).cos() as f32));
        embedding.extend(frequencies.iter().map(|f| angle(f).sin() as f32));
    }
    let data = TensorData::new(embedding, [values.len(), width]);
    Tensor::from_data(data, (device, DType::F32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sinusoid_has_the_known_values() {
        let embedding = sinusoid(&[0.25], 256, &Device::flex());
        let found = embedding.try_into_vec_as::<f32>().unwrap();
        let known = [
            (0, 0.240_988_3),
            (1, 0.986_393_87),
            (2, -0.961_381),
            (127, 0.999_639_15),
            (128, -0.970_528),
            (129, 0.164_399_31),
            (255, 0.026_861_96),
        ];
        for (index, expected) in known {
            // Angles up to 250 in f32 are exact to 1.5e-5; the references round alike.
            let difference: f32 = found[index] - expected;
            assert!(difference.abs() < 2e-5, "[{index}] {} is not {expected}", found[index]);
        }
    }

    #[test]
    fn an_axis_of_56_turns_by_the_known_angles() {
        let rope = rotation(&[[0.0, 3.0, 0.0]], [16, 56, 56], 10_000.0, &Device::flex());
        let cos = rope.cos.try_into_vec_as::<f32>().unwrap();
        let sin = rope.sin.try_into_vec_as::<f32>().unwrap();
        let known_cos = [-0.989_992_5, -0.554_914_9, 0.016_953_11, 0.437_231_66];
        for (j, expected) in known_cos.into_iter().enumerate() {
            let difference: f32 = cos[8 + j] - expected;
            assert!(difference.abs() < 1e-7, "{j}: {} is not {expected}", cos[8 + j]);
        }
        assert!((sin[8 + 27] - 0.000_416_85_f32).abs() < 1e-8);
        assert!(cos[..8].iter().all(|&c| c == 1.0), "axis 0 stands still");
    }
}
