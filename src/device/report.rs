//! What this machine offers, for `doctor`.

use std::thread;

use burn::tensor::Device;
use sysinfo::{CpuRefreshKind, System};

use super::{Chosen, Toolkit, cuda_devices};

/// What this machine offers.
#[derive(Clone, Debug)]
pub struct DeviceReport {
    /// The processor as it names itself.
    pub cpu: String,
    /// Threads that may run at once.
    pub threads: usize,
    /// Bytes of memory that the machine has.
    pub memory_total: u64,
    /// Bytes of it that could be taken now.
    pub memory_free: u64,
    /// What of CUDA was found.
    pub toolkit: Toolkit,
    /// The cards that the driver offers.
    pub cuda: Vec<CudaDevice>,
}

/// A card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaDevice {
    /// The number for `cuda:N`.
    pub index: usize,
    /// What the driver calls it.
    pub name: String,
}

/// What a device calls itself: the processor's name, or the card's.
#[must_use]
pub fn name(device: &Device) -> String {
    let name = match super::is_cpu(device) {
        true => processor(),
        false => device.identity().map(|found| found.name),
    };
    name.unwrap_or_else(|| "unknown".to_owned())
}

/// What a chosen device calls itself, for what is kept of times: with its threads, where it is the
/// processor. Opens no device.
#[must_use]
pub fn title(chosen: &Chosen) -> String {
    if super::is_cpu(&chosen.device) {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        return format!("{}, {}", name(&chosen.device), crate::base::plural(threads, "thread"));
    }
    card(&chosen.device).map_or_else(|| chosen.name.clone(), |(name, _)| name)
}

/// Bytes that a device has in all, of which others may have taken a part. Opens no device.
#[must_use]
pub fn total_memory(device: &Device) -> Option<u64> {
    if super::is_cpu(device) {
        let mut system = System::new();
        system.refresh_memory();
        return Some(system.total_memory());
    }
    card(device).map(|(_, bytes)| bytes)
}

/// What the driver says of a card: its name, and the bytes of its memory.
fn card(device: &Device) -> Option<(String, u64)> {
    use cudarc::driver::result;
    let index = cuda_devices().iter().position(|other| other == device)?;
    result::init().ok()?;
    let card = result::device::get(i32::try_from(index).ok()?).ok()?;
    // SAFETY: the driver gave this number of a card.
    #[expect(unsafe_code, reason = "the library has no other call for this")]
    let bytes = unsafe { result::device::total_mem(card) }.ok()?;
    Some((result::device::get_name(card).ok()?, bytes as u64))
}

fn processor() -> Option<String> {
    let mut system = System::new();
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    let name = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
    name.filter(|name| !name.is_empty())
}

/// Looks at the machine. Opens every card, so call it once.
#[must_use]
pub fn report() -> DeviceReport {
    let mut system = System::new();
    system.refresh_memory();
    let cuda = cuda_devices()
        .into_iter()
        .enumerate()
        .map(|(index, device)| CudaDevice { index, name: name(&device) });
    DeviceReport {
        cpu: name(&super::cpu()),
        threads: thread::available_parallelism().map_or(1, usize::from),
        memory_total: system.total_memory(),
        memory_free: system.available_memory(),
        toolkit: Toolkit::find(),
        cuda: cuda.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_described() {
        let report = report();
        assert!(report.threads >= 1);
        assert!(report.memory_free <= report.memory_total && report.memory_total > 0);
        assert!(report.cuda.is_empty() || report.toolkit.driver.is_some());
    }
}
