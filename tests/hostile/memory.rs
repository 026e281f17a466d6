//! How much memory a case takes: an allocator that counts what each thread asks for.
//!
//! What is asked for counts, whether it is touched or not, so the numbers are upper bounds of what the system
//! gives. Memory that other threads ask for is not seen; no reader here hands work to them before it knows
//! the sizes.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// So much at once is refused within a case, and ends the process as on a machine that has no more.
const MOST: isize = 4 << 30;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static CASE: Cell<Option<(&'static str, u64)>> = const { Cell::new(None) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(unsafe_code, reason = "there is no other way to count allocations")]
// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        counted(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        counted(layout.size(), || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        let new = counted(size, || unsafe { System.realloc(old, layout, size) });
        if !new.is_null() {
            add(-(layout.size() as isize));
        }
        new
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

fn counted(size: usize, allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
    let size = isize::try_from(size).unwrap_or(isize::MAX);
    if let Some((reader, case)) = CASE.get()
        && HELD.get().saturating_add(size) > MOST
    {
        // Nothing may be allocated here, and the process is about to end.
        CASE.set(None);
        eprintln!("{reader}, case {case}: asks for {size} bytes at once");
        return std::ptr::null_mut();
    }
    let made = allocate();
    if !made.is_null() {
        add(size);
    }
    made
}

fn add(size: isize) {
    let held = HELD.get().saturating_add(size);
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

/// What `work` gives, and the bytes that it held at most beyond what was held before.
pub fn measured<T>(reader: &'static str, case: u64, work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    CASE.set(Some((reader, case)));
    let made = work();
    CASE.set(None);
    (made, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

#[test]
fn what_is_held_at_once_is_counted() {
    let ((), peak) = measured("none", 0, || {
        drop(std::hint::black_box(vec![0_u8; 1 << 20]));
        drop(std::hint::black_box(vec![0_u8; 1 << 19]));
    });
    assert!((1 << 20..(1 << 20) + 4096).contains(&peak), "{peak}");
}
