// SPDX-License-Identifier: GPL-2.0-or-later
//! The atomics under loom, which tries the orders in which threads can take their
//! steps, and the values that the memory model lets each load return.
//!
//! # What stands for `SeqCst`
//!
//! loom knows `SeqCst` as a fence only; an access it takes for `AcqRel`. So a
//! `SeqCst` access is an `AcqRel` one here, and between two of them in one thread
//! there is a `SeqCst` fence, which comes as late as it may: before the thread's
//! next `SeqCst` access or its next write, whichever is first. That gives **total
//! order** what it promises (`crate::sync`), and not to accesses that do not ask for
//! it: neither a write before a lone `SeqCst` load nor a weaker load after a
//! `SeqCst` write is ordered.
//!
//! It is a little more than the standard gives: the fence also orders what the
//! thread did before it, so that a `Relaxed` load between two `SeqCst` accesses
//! counts as `Acquire`, and a `Relaxed` write that follows a fence as `Release` of
//! what was before the fence. An ordering that is too weak just there is not found.

#![forbid(unsafe_code)]

use core::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Ordering;
use crate::process;

/// What a thread is about.
struct Thread {
    /// A fence is owed to a `SeqCst` access.
    fence_due: Cell<bool>,
    /// Steps until it is killed.
    left: Cell<Option<u32>>,
    killed: Cell<bool>,
}

loom::thread_local! {
    static THREAD: Thread = Thread {
        fence_due: Cell::new(false),
        left: Cell::new(None),
        killed: Cell::new(false),
    };
}

/// Runs `work`, and kills the thread after so many of its atomic operations: what it
/// has not done by then it never does. `None` if it came to that.
pub fn killed_after<T>(steps: u32, work: impl FnOnce() -> T) -> Option<T> {
    THREAD.with(|thread| thread.left.set(Some(steps)));
    // nobody uses what the thread alone had in hand
    let done = catch_unwind(AssertUnwindSafe(work));
    let killed = THREAD.with(|thread| {
        thread.left.set(None);
        thread.killed.get()
    });
    match done {
        Ok(value) => Some(value),
        Err(_) if killed => {
            process::died();
            None
        }
        Err(panic) => resume_unwind(panic),
    }
}

/// Before an operation. `None` for a killed thread, which only runs its destructors.
fn before(writes: bool, ordering: Ordering) -> Option<()> {
    let fence = THREAD.with(|thread| {
        if thread.killed.get() {
            return None;
        }
        match thread.left.get() {
            Some(0) => {
                thread.killed.set(true);
                // not panic!: nothing is to be printed
                resume_unwind(Box::new("killed"));
            }
            left => thread.left.set(left.map(|left| left - 1)),
        }
        let now = writes || ordering == Ordering::SeqCst;
        Some(now && thread.fence_due.replace(false))
    })?;
    if fence {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
    Some(())
}

/// After an operation that took place.
fn after(ordering: Ordering) {
    if ordering == Ordering::SeqCst {
        THREAD.with(|thread| thread.fence_due.set(true));
    }
}

/// What loom is to take `ordering` for, if `total` is what it takes for `SeqCst`.
fn weak(ordering: Ordering, total: Ordering) -> Ordering {
    if ordering == Ordering::SeqCst {
        total
    } else {
        ordering
    }
}

macro_rules! atomic {
    ($name:ident, $number:ident) => {
        /// As the one of this name in [`core::sync::atomic`].
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            word: loom::sync::atomic::$name,
            turn: loom::sync::atomic::AtomicU8,
        }

        // each width is used with some of these only
        #[allow(dead_code)]
        impl $name {
            #[track_caller]
            pub(crate) fn load(&self, ordering: Ordering) -> $number {
                if before(false, ordering).is_none() {
                    return 0;
                }
                self.turn.store(0, Ordering::Relaxed);
                let value = self.word.load(weak(ordering, Ordering::Acquire));
                after(ordering);
                value
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $number, ordering: Ordering) {
                if before(true, ordering).is_some() {
                    self.word.store(value, weak(ordering, Ordering::Release));
                    after(ordering);
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $number, ordering: Ordering) -> $number {
                if before(true, ordering).is_none() {
                    return 0;
                }
                let before = self.word.swap(value, weak(ordering, Ordering::AcqRel));
                after(ordering);
                before
            }

            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $number, ordering: Ordering) -> $number {
                if before(true, ordering).is_none() {
                    return 0;
                }
                let before = self.word.fetch_add(value, weak(ordering, Ordering::AcqRel));
                after(ordering);
                before
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, value: $number, ordering: Ordering) -> $number {
                if before(true, ordering).is_none() {
                    return 0;
                }
                let before = self.word.fetch_sub(value, weak(ordering, Ordering::AcqRel));
                after(ordering);
                before
            }

            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                change: impl Fn($number) -> Option<$number>,
            ) -> Result<$number, $number> {
                let mut now = self.load(failure);
                while let Some(next) = change(now) {
                    match self.compare_exchange(now, next, success, failure) {
                        Ok(before) => return Ok(before),
                        Err(other) => now = other,
                    }
                }
                Err(now)
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                from: $number,
                to: $number,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$number, $number> {
                if before(true, success).is_none() {
                    return Err(0);
                }
                let result = self.word.compare_exchange(
                    from,
                    to,
                    weak(success, Ordering::AcqRel),
                    weak(failure, Ordering::Acquire),
                );
                after(if result.is_ok() { success } else { failure });
                result
            }
        }
    };
}

atomic!(AtomicI32, i32);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
