// SPDX-License-Identifier: GPL-2.0-or-later
//! Processes under loom: each thread stands for one. A thread that sees that another one is
//! dead also sees everything the dead one did, as with processes and the kernel.

#![forbid(unsafe_code)]

use core::cell::Cell;
use core::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::shared::sync::Ordering;

loom::lazy_static! {
    /// A bit for each thread that was killed.
    static ref DEAD: loom::sync::atomic::AtomicU32 = loom::sync::atomic::AtomicU32::new(0);
}

/// The number of this thread.
pub(crate) fn own_number() -> u32 {
    let id = format!("{:?}", loom::thread::current().id());
    let digits: String = id.chars().filter(char::is_ascii_digit).collect();
    1 + digits.parse::<u32>().expect("loom numbers its threads")
}

/// Whether the thread of this number was not killed.
pub(crate) fn is_alive(thread: u32) -> bool {
    // Acquire: see the module's documentation.
    DEAD.load(Ordering::Acquire) & 1 << thread == 0
}

loom::thread_local! {
    /// Atomic operations of this thread until it is killed; `None`: it is not killed.
    static STEPS_LEFT: Cell<Option<u32>> = Cell::new(None);
    static KILLED: Cell<bool> = Cell::new(false);
}

/// Runs `work`, and kills the thread after `steps` of its atomic operations: the rest of
/// `work` has no effect. `None` if the thread was killed.
pub fn killed_after<T>(steps: u32, work: impl FnOnce() -> T) -> Option<T> {
    STEPS_LEFT.with(|left| left.set(Some(steps)));
    // Unwind-safe: the values that only this thread had are not used again.
    let done = catch_unwind(AssertUnwindSafe(work));
    STEPS_LEFT.with(|left| left.set(None));
    match done {
        Ok(value) => Some(value),
        Err(_) if KILLED.with(Cell::get) => {
            // Release: see the module's documentation.
            DEAD.fetch_or(1 << own_number(), Ordering::Release);
            None
        }
        Err(panic) => resume_unwind(panic),
    }
}

/// Must be called before each atomic operation of the library. `None` for a killed thread,
/// which only runs its destructors.
pub(crate) fn step() -> Option<()> {
    if KILLED.with(Cell::get) {
        return None;
    }
    STEPS_LEFT.with(|left| {
        if left.get() == Some(0) {
            KILLED.with(|killed| killed.set(true));
            // Not `panic!`, because that would print a message.
            resume_unwind(Box::new("killed"));
        }
        left.set(left.get().map(|steps| steps - 1));
    });
    Some(())
}

/// Always admits a thread, because here each thread stands for a process.
pub(crate) struct OneThread;

/// See [`OneThread`].
pub(crate) struct Entered<'a>(PhantomData<&'a OneThread>);

impl OneThread {
    pub(crate) const fn new() -> OneThread {
        OneThread
    }

    /// Never `None`.
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        Some(Entered(PhantomData))
    }
}
