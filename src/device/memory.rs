//! How the allocator treats large arrays.

/// Lets freed arrays stay with the program, for the next ones.
///
/// A network allocates arrays of the same few sizes over and over. The allocator of the GNU C library
/// gives each back to the system when it is freed and gets it again page by page, which takes longer
/// than filling it: measured in `docs/benchmarks.md`. [`give_back`] returns what is free when a network
/// is done. With other allocators this does nothing. Call it once, when the program starts.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: sets two numbers of the allocator; no other thread runs yet that could allocate.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
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
