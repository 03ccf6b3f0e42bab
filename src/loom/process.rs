// SPDX-License-Identifier: GPL-2.0-or-later
//! The threads of a model as its processes. What a thread did before it was killed
//! has happened for whoever sees that it is dead, as with processes and the kernel.

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
    // Acquire: see the module's documentation
    DEAD.load(Ordering::Acquire) & 1 << thread == 0
}

loom::thread_local! {
    /// Atomic operations of this thread until it is killed; `None`: it is not.
    static STEPS_LEFT: Cell<Option<u32>> = Cell::new(None);
    static KILLED: Cell<bool> = Cell::new(false);
}

/// Runs `work`, and kills the thread after `steps` of its atomic operations: what it has
/// not done by then it never does. `None` if it was killed.
pub fn killed_after<T>(steps: u32, work: impl FnOnce() -> T) -> Option<T> {
    STEPS_LEFT.with(|left| left.set(Some(steps)));
    // nothing uses what the thread alone had in hand
    let done = catch_unwind(AssertUnwindSafe(work));
    STEPS_LEFT.with(|left| left.set(None));
    match done {
        Ok(value) => Some(value),
        Err(_) if KILLED.with(Cell::get) => {
            // Release: see the module's documentation
            DEAD.fetch_or(1 << own_number(), Ordering::Release);
            None
        }
        Err(panic) => resume_unwind(panic),
    }
}

/// Called before each atomic operation of the library. `None` for a killed thread, which
/// only runs its destructors.
pub(crate) fn step() -> Option<()> {
    if KILLED.with(Cell::get) {
        return None;
    }
    STEPS_LEFT.with(|left| {
        if left.get() == Some(0) {
            KILLED.with(|killed| killed.set(true));
            // not panic!: nothing is printed
            resume_unwind(Box::new("killed"));
        }
        left.set(left.get().map(|steps| steps - 1));
    });
    Some(())
}

/// Always open: each thread is a process of its own here.
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
