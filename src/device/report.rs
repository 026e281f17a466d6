//! What this machine offers, for `doctor`.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use burn::tensor::Device;
use sysinfo::{CpuRefreshKind, System};

use super::{Toolkit, cuda_devices};

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

/// Bytes that can still be written below `path`, which need not exist yet. `None` where the system
/// does not tell.
#[must_use]
pub fn disk_free(path: &Path) -> Option<u64> {
    let path = existing(path)?;
    room(&path)
}

/// What the file system says that holds `path`. A list of disks would lack those in memory, on the network
/// and of containers.
#[cfg(target_os = "linux")]
fn room(path: &Path) -> Option<u64> {
    use std::{ffi::CString, mem::MaybeUninit, os::unix::ffi::OsStrExt};
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in a zero, and where the call tells of success it has filled `found`.
    #[expect(unsafe_code, reason = "the library has no call for this")]
    let found = unsafe {
        match libc::statvfs(path.as_ptr(), found.as_mut_ptr()) {
            0 => found.assume_init(),
            _ => return None,
        }
    };
    Some(found.f_bavail * found.f_frsize)
}

#[cfg(not(target_os = "linux"))]
fn room(path: &Path) -> Option<u64> {
    let disks = sysinfo::Disks::new_with_refreshed_list();
    // Mounts may lie inside each other: the longest mount point is the one that holds the path.
    let holding = disks.iter().filter(|disk| path.starts_with(disk.mount_point()));
    holding
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        .map(sysinfo::Disk::available_space)
}

/// The nearest folder above `path` that exists, in full.
fn existing(path: &Path) -> Option<PathBuf> {
    let full = std::path::absolute(path).ok()?;
    full.ancestors().find_map(|ancestor| fs::canonicalize(ancestor).ok())
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

    #[cfg(target_os = "linux")]
    #[test]
    fn free_space_is_known_where_no_disk_is_listed() {
        // A file system in memory, which lists of disks leave out.
        let shared = Path::new("/dev/shm");
        assert!(!shared.is_dir() || disk_free(shared).is_some());
        // Nothing can be written below /proc, whatever the disk under `/` has.
        assert_eq!(disk_free(Path::new("/proc")), Some(0));
    }

    #[test]
    fn free_space_is_known_for_a_folder_that_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        assert!(disk_free(&folder.path().join("a/b")).is_some_and(|bytes| bytes > 0));
    }
}
