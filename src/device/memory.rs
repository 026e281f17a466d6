//! How the allocator treats large arrays, and how much memory the program has.

use std::{sync::mpsc, time::Duration};

use burn::tensor::Device;

/// How often [`peak`] looks.
const TICK: Duration = Duration::from_millis(10);

/// Lets freed arrays stay with the program, for the next ones.
///
/// A network allocates arrays of the same few sizes over and over. The allocator of the GNU C library
/// gives each back to the system when it is freed and gets it again page by page, which takes longer
/// than filling it: measured in `docs/benchmarks.md`. [`give_back`] returns what is free when a network
/// is done. With other allocators this does nothing. Call it once, before
/// any network runs.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: sets two numbers of the allocator; under the allocator's own locks.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
    }
}

/// Lets freed arrays of a megabyte and more go back to the system, the opposite of [`keep`]. Otherwise
/// the allocator keeps them among the small ones once it has seen some; a plan of 100 000 pictures then
/// takes 80 MB more. Call it once, where no network runs.
pub fn return_large() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: sets a number of the allocator; under the allocator's own locks.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20) };
    }
}

/// Returns memory that nobody uses to the system.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: touches free memory only, under the allocator's own locks.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Bytes of memory that the machine could give to programs now.
#[must_use]
pub fn free() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    system.available_memory()
}

/// Bytes that could be taken on `device` now: of the machine's memory where it is the CPU, else what the
/// driver says. `None` where that cannot be asked.
#[must_use]
pub fn free_on(device: &Device) -> Option<u64> {
    if super::is_cpu(device) {
        return Some(free());
    }
    let index = super::cuda_devices().iter().position(|other| other == device)?;
    let context = cudarc::driver::CudaContext::new(index).ok()?;
    let (free, _total) = context.mem_get_info().ok()?;
    Some(free as u64)
}

/// Bytes of memory that are the program's own just now: without the pages of files that are mapped, which
/// the system can take back at any time. `None` where the system does not tell.
#[must_use]
pub fn own() -> Option<u64> {
    // Of Linux. See proc_pid_status(5): in KiB.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Does `work` and says how much memory was the program's own at most: looked at every ten milliseconds.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, Option<u64>) {
    let (stop, stopped) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let mut most = own();
        // Ends when the sender is dropped, also if the work panics.
        while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
            most = most.max(own());
        }
        most.max(own())
    });
    let made = work();
    drop(stop);
    (made, watch.join().unwrap_or(None))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_array_that_is_written_counts_while_it_lives() {
        let before = own().unwrap();
        let (sum, most) = peak(|| {
            let array = std::hint::black_box(vec![1_u8; 200_000_000]);
            std::thread::sleep(3 * TICK);
            array.iter().map(|&one| u64::from(one)).sum::<u64>()
        });
        assert_eq!(sum, 200_000_000);
        assert!(most.unwrap() > before + 150_000_000, "{before} {most:?}");
    }
}
