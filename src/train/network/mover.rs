//! The thread that moves swapped blocks: it fetches the next while one is computed, and puts away what
//! was changed.
//!
//! At most one block is fetched ahead and one is being put away, so besides the block at work two are on
//! the device. Jobs are done in order: a block that was put away before it is fetched again comes back
//! changed. Does not know which block is wanted when.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use burn::tensor::{Device, FloatDType};

use super::{
    blocks::AnyBlock,
    parameters::{empty, fill},
    shelf::Shelf,
};
use crate::models::flux::{DoubleBlock, SingleBlock};

/// Moves blocks between a [`Shelf`] and a device.
pub(super) struct Mover {
    jobs: Option<Sender<Job>>,
    fetched: Receiver<AnyBlock>,
    thread: Option<JoinHandle<()>>,
    /// The block that is on its way.
    ahead: Option<usize>,
    waited: Duration,
}

/// What the thread needs to make a block out of what lies on the shelf.
pub(super) struct Workplace {
    pub shelf: Arc<Shelf>,
    pub device: Device,
    /// The type that blocks are computed in.
    pub compute: FloatDType,
    /// Blocks without values.
    pub shells: (DoubleBlock, SingleBlock),
    /// How many of the shelf's blocks are double blocks: they lie first.
    pub doubles: usize,
}

enum Job {
    Fetch(usize),
    Store(usize, Box<AnyBlock>),
    /// Answer when all jobs before this one are done.
    Settle(Sender<()>),
}

impl Mover {
    pub fn start(workplace: Workplace) -> Self {
        let (jobs, received) = channel();
        let (send, fetched) = channel();
        let thread = thread::spawn(move || workplace.work(&received, &send));
        Self {
            jobs: Some(jobs),
            fetched,
            thread: Some(thread),
            ahead: None,
            waited: Duration::ZERO,
        }
    }

    /// Begins to fetch the block, unless one is on its way already.
    pub fn ahead(&mut self, block: usize) {
        if self.ahead.is_none() {
            self.send(Job::Fetch(block));
            self.ahead = Some(block);
        }
    }

    /// The block, waiting for it where it is not here yet.
    pub fn fetch(&mut self, block: usize) -> AnyBlock {
        if self.ahead.is_some_and(|ahead| ahead != block) {
            self.forget();
        }
        self.ahead(block);
        self.receive()
    }

    /// Puts a changed block away.
    pub fn store(&self, block: usize, changed: AnyBlock) {
        self.send(Job::Store(block, Box::new(changed)));
    }

    /// Waits until everything that was put away lies on the shelf.
    pub fn settle(&self) {
        let (answer, settled) = channel();
        self.send(Job::Settle(answer));
        // The thread ends early only by a panic, which whoever asks it next for a block sees.
        let _ = settled.recv();
    }

    /// Whether no block is on its way.
    pub fn is_idle(&self) -> bool {
        self.ahead.is_none()
    }

    /// Lets the block that is on its way go.
    pub fn forget(&mut self) {
        if self.ahead.is_some() {
            drop(self.receive());
        }
    }

    /// How long the computation waited for blocks, altogether.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn receive(&mut self) -> AnyBlock {
        let begun = Instant::now();
        let block = self.fetched.recv();
        self.waited += begun.elapsed();
        self.ahead = None;
        block.unwrap_or_else(|_| self.carry_on_panic())
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Fails only after a panic of the thread; see `receive`.
            let _ = jobs.send(job);
        }
    }

    fn carry_on_panic(&mut self) -> ! {
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            _ => unreachable!("the thread ends when its last job was sent"),
        }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic was its own message; there is nothing to save here.
            let _ = thread.join();
        }
    }
}

impl Workplace {
    fn work(&self, jobs: &Receiver<Job>, fetched: &Sender<AnyBlock>) {
        for job in jobs {
            match job {
                Job::Fetch(block) => {
                    if fetched.send(self.fetch(block)).is_err() {
                        return;
                    }
                }
                Job::Store(block, changed) => self.store(block, *changed),
                Job::Settle(answer) => drop(answer.send(())),
            }
        }
    }

    /// Makes the block `block` of the shelf.
    pub fn fetch(&self, block: usize) -> AnyBlock {
        let mut give = |parameter| self.shelf.read(block, parameter, self.compute);
        match block < self.doubles {
            true => AnyBlock::Double(fill(self.shells.0.clone(), &self.device, &mut give)),
            false => AnyBlock::Single(fill(self.shells.1.clone(), &self.device, &mut give)),
        }
    }

    /// Puts `changed` down as the block `block` of the shelf.
    pub fn store(&self, block: usize, changed: AnyBlock) {
        let mut take = |parameter, data| self.shelf.write(block, parameter, data);
        match changed {
            AnyBlock::Double(changed) => drop(empty(changed, &mut take)),
            AnyBlock::Single(changed) => drop(empty(changed, &mut take)),
        }
    }
}
