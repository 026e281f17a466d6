//! Floor 1: where tensors live. The one place that names a Burn backend.
//!
//! One binary serves the CPU and CUDA. Nothing of CUDA is linked: the driver, the kernel compiler
//! (NVRTC) and its headers are looked for when the program runs, and what is missing is said in words
//! before Burn would panic over it. Does not know what the tensors mean.

mod choice;
mod cuda;
pub mod kernels;
pub mod memory;
pub mod rates;
mod report;

pub use burn::tensor::Device;
pub use choice::{Chosen, DeviceError, choose};
pub use cuda::Toolkit;
pub use report::{CudaDevice, DeviceReport, name, report, title, total_memory};

use burn::tensor::DeviceType;

/// The CPU: Burn's Flex backend.
#[must_use]
pub fn cpu() -> Device {
    Device::flex()
}

/// Whether this is the CPU, where arrays are the program's own memory.
#[must_use]
pub fn is_cpu(device: &Device) -> bool {
    *device == cpu()
}

/// All CUDA devices. Empty without a driver.
fn cuda_devices() -> Vec<Device> {
    Device::enumerate(DeviceType::Cuda).into_iter().collect()
}
