//! Pictures that are read, decoded and prepared ahead of the network, in order and with bounded memory.
//!
//! Threads of their own prepare the next pictures while the network works on those before. How far
//! they run ahead is bounded twice: by a number of prepared pictures that wait, and by the bytes of
//! decoded ones that are in their hands. So the peak does not grow with the number of pictures.
//! Knows no network and no store.

use std::{
    collections::BTreeMap,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use rayon::ThreadPoolBuilder;

use crate::{
    dataset::{DatasetError, Encoded, Picture},
    pipeline::StageError,
};

/// Bytes of files and decoded pictures that are in hand at a time. A picture that alone takes more
/// is decoded alone.
const DECODED_BYTES: usize = 512 << 20;

/// A picture to be read.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The file.
    pub path: &'a Path,
    /// Whether it is turned as its EXIF orientation says.
    pub upright: bool,
}

/// Prepares the pictures of `jobs` and hands each to `take`, in their order, with its index. `ahead`
/// is how many prepared pictures may wait for `take`. What `prepare` gets is the decoded picture and
/// its index.
///
/// # Errors
/// Whatever `take` returns; then, and where `take` says [`Flow::Stop`], the rest is given up.
///
/// # Panics
/// Where `prepare` does: on the thread of the caller, once the threads are at an end.
pub fn prepared<T: Send>(
    jobs: &[Job<'_>],
    ahead: usize,
    prepare: impl Fn(usize, Picture) -> Result<T, DatasetError> + Sync,
    mut take: impl FnMut(usize, Result<T, DatasetError>) -> Result<Flow, StageError>,
) -> Result<(), StageError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(jobs.len());
    // The resamplers split their work too. In a pool of their own it waits for no network.
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().ok();
    let queue = Queue::new(jobs.len(), threads + ahead);
    let one = |index: usize| {
        let encoded = Encoded::read(jobs[index].path)?;
        let _held = queue.hold(encoded.memory());
        let picture = encoded.decode(jobs[index].upright)?;
        drop(encoded);
        match &pool {
            Some(pool) => pool.install(|| prepare(index, picture)),
            None => prepare(index, picture),
        }
    };
    thread::scope(|scope| {
        // Also where `take` panics, nobody is left waiting.
        let _stop = Stop(&queue);
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(index) = queue.begin() {
                    let outcome = catch_unwind(AssertUnwindSafe(|| one(index)));
                    queue.end(index, outcome);
                }
            });
        }
        for index in 0..jobs.len() {
            match queue.wait_for(index) {
                Ok(outcome) => match take(index, outcome)? {
                    Flow::GoOn => {}
                    Flow::Stop => break,
                },
                Err(panic) => resume_unwind(panic),
            }
        }
        Ok(())
    })
}

/// Whether the caller of [`prepared`] wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next one.
    GoOn,
    /// No more.
    Stop,
}

/// What comes of a picture: it is prepared, or broken, or there was a panic.
type Outcome<T> = thread::Result<Result<T, DatasetError>>;

/// Who waits for what, behind one lock.
struct Queue<T> {
    state: Mutex<State<T>>,
    /// A picture is prepared.
    ready: Condvar,
    /// A place or bytes became free.
    freed: Condvar,
    count: usize,
    window: usize,
}

struct State<T> {
    /// The next one to begin.
    next: usize,
    /// The next one to be taken.
    taken: usize,
    done: BTreeMap<usize, Outcome<T>>,
    bytes: usize,
    stopped: bool,
}

impl<T> Queue<T> {
    /// For `count` pictures of which `window` may be begun and not yet taken.
    fn new(count: usize, window: usize) -> Self {
        let done = BTreeMap::new();
        let state = State { next: 0, taken: 0, done, bytes: 0, stopped: false };
        let (ready, freed) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::new(state), ready, freed, count, window }
    }

    /// Nothing that can panic runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of the next picture, once there is a place for it; none where all are begun.
    fn begin(&self) -> Option<usize> {
        let full = |state: &mut State<T>| {
            !state.stopped && state.next < self.count && state.next >= state.taken + self.window
        };
        let state = self.freed.wait_while(self.lock(), full);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.stopped || state.next == self.count {
            return None;
        }
        state.next += 1;
        Some(state.next - 1)
    }

    fn end(&self, index: usize, outcome: Outcome<T>) {
        self.lock().done.insert(index, outcome);
        self.ready.notify_all();
    }

    /// Waits until the bytes may be used; they are given back when the returned value is dropped.
    fn hold(&self, bytes: usize) -> Held<'_, T> {
        // One picture is always let through, however large: it is the only one then.
        let full = |state: &mut State<T>| {
            !state.stopped && state.bytes > 0 && state.bytes + bytes > DECODED_BYTES
        };
        let state = self.freed.wait_while(self.lock(), full);
        state.unwrap_or_else(PoisonError::into_inner).bytes += bytes;
        Held { queue: self, bytes }
    }

    /// What came of the picture `index`, which is the next one to be taken.
    fn wait_for(&self, index: usize) -> Outcome<T> {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = state.done.remove(&index) {
                state.taken = index + 1;
                drop(state);
                self.freed.notify_all();
                return outcome;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Held<'a, T> {
    queue: &'a Queue<T>,
    bytes: usize,
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        self.queue.lock().bytes -= self.bytes;
        self.queue.freed.notify_all();
    }
}

/// Ends the threads when it is dropped: each finishes the picture in its hands.
struct Stop<'a, T>(&'a Queue<T>);

impl<T> Drop for Stop<'_, T> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests;
