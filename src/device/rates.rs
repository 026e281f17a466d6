//! How fast a device is, measured on it: the yardstick for everything else that is timed.
//!
//! What a data sheet promises is reached by no program. So a step is held against a plain product of
//! square matrices on the same device in the same minutes: a share of that says how much of the time
//! is anything but products. Does not know what is multiplied, nor who asks.

use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor};

use crate::base::clock::Stopwatch;

/// A sample shorter than this is made of several calls, so that the clock and the waiting for the
/// device do not show.
const SAMPLE: f64 = 0.02;

/// How long a call took, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds {
    /// Of the middle sample.
    pub median: f64,
    /// Of the quickest one.
    pub least: f64,
    /// Of the slowest one.
    pub most: f64,
}

/// Measures calls of `work`, which may leave the device busy: `samples` samples (at least one) after a
/// first call that is not counted, in which a device may compile and choose its kernels. The device is
/// idle before and after each sample.
pub fn seconds(device: &Device, samples: usize, mut work: impl FnMut()) -> Seconds {
    work();
    let mut sample = |calls: usize| {
        idle(device);
        let clock = Stopwatch::start();
        for _ in 0..calls {
            work();
        }
        idle(device);
        clock.seconds() / calls as f64
    };
    let once = sample(1);
    let calls = (SAMPLE / once.max(1e-9)).ceil().clamp(1.0, 1000.0) as usize;
    let mut taken = if calls == 1 { vec![once] } else { Vec::new() };
    while taken.len() < samples.max(1) {
        taken.push(sample(calls));
    }
    taken.sort_by(f64::total_cmp);
    Seconds { median: taken[taken.len() / 2], least: taken[0], most: taken[taken.len() - 1] }
}

/// Waits until the device has done all that it was given. An error shows where a result is read.
fn idle(device: &Device) {
    let _ = device.sync();
}

/// A tensor of normal numbers with this deviation, in `dtype`. Numbers and not zeros: a device that
/// multiplies zeros draws less power and can run faster.
#[must_use]
pub fn normal<const D: usize>(
    shape: [usize; D],
    deviation: f64,
    dtype: FloatDType,
    device: &Device,
) -> Tensor<D> {
    let distribution = Distribution::Normal(0.0, deviation);
    Tensor::<D>::random(shape, distribution, (device, DType::F32)).cast(dtype)
}

/// Additions and multiplications per second of a product of two matrices of `size` × `size` in `dtype`,
/// the best of five samples. A device that computes bf16 in f32, as the CPU does, is best asked for f32;
/// 1024 is enough for some cores, a large card wants 8192.
///
/// The product is that of the backend, not that of [`kernels`](super::kernels).
#[must_use]
pub fn matrix_rate(device: &Device, dtype: FloatDType, size: usize) -> f64 {
    let [a, b] = [0, 1].map(|_| normal([size, size], 1.0, dtype, device));
    let taken = seconds(device, 5, || {
        let _ = a.clone().matmul(b.clone());
    });
    2.0 * (size as f64).powi(3) / taken.least
}

/// Bytes per second that the device writes and reads in its own memory, where an array of `bytes` bytes
/// (at least four) is written from another one; the best of five samples.
#[must_use]
pub fn memory_rate(device: &Device, bytes: usize) -> f64 {
    let elements = (bytes / 4).max(1);
    let array = normal([elements], 1.0, FloatDType::F32, device);
    let taken = seconds(device, 5, || {
        let _ = array.clone() + 1.0;
    });
    2.0 * (elements * 4) as f64 / taken.least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    #[test]
    fn a_sample_holds_as_many_calls_as_it_needs_and_counts_one() {
        let calls = std::cell::Cell::new(0);
        let taken = seconds(&cpu(), 3, || {
            calls.set(calls.get() + 1);
            std::thread::sleep(std::time::Duration::from_millis(5));
        });
        // One to warm up, one to see how long it takes, three samples of four calls or fewer.
        assert!((5..=14).contains(&calls.get()), "{}", calls.get());
        assert!(taken.least >= 0.005 && taken.least <= taken.median, "{taken:?}");
        assert!(taken.median <= taken.most, "{taken:?}");
    }

    #[test]
    fn a_long_call_is_a_sample_of_its_own() {
        let calls = std::cell::Cell::new(0);
        let nap = std::time::Duration::from_millis(25);
        seconds(&cpu(), 2, || {
            calls.set(calls.get() + 1);
            std::thread::sleep(nap);
        });
        assert_eq!(calls.get(), 3);
    }

    #[test]
    fn rates_are_those_of_a_machine() {
        // A processor of ten years ago does 10 GFLOP/s, the largest cards 10 PFLOP/s.
        let rate = matrix_rate(&cpu(), FloatDType::F32, 256);
        assert!((1e9..1e16).contains(&rate), "{rate}");
        let rate = memory_rate(&cpu(), 1 << 20);
        assert!((1e8..1e14).contains(&rate), "{rate}");
    }

    #[test]
    fn random_numbers_have_the_type_and_size_that_were_asked_for() {
        let tensor = normal([64, 64], 0.02, FloatDType::BF16, &cpu());
        assert_eq!(tensor.dtype(), DType::BF16);
        let values = tensor.try_into_vec_as::<half::bf16>().unwrap();
        let square = values.iter().map(|x| f64::from(x.to_f32()).powi(2)).sum::<f64>();
        let deviation = (square / 4096.0).sqrt();
        assert!((0.018..0.022).contains(&deviation), "{deviation}");
    }
}
