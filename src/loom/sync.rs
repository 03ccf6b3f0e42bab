// SPDX-License-Identifier: GPL-2.0-or-later
//! The atomics under loom. It tries the orders in which threads can take their steps, and
//! the values that the memory model lets each load return.
//!
//! # How `SeqCst` is represented
//!
//! loom supports `SeqCst` only for fences; it treats a `SeqCst` access as `AcqRel`. So here
//! a `SeqCst` access is an `AcqRel` access, and between two of them in one thread there is
//! a `SeqCst` fence. The fence comes as late as possible: before the thread's next `SeqCst`
//! access or its next write, whichever is first. That gives the guarantee of **total
//! order** (`crate::shared::sync`), but not to accesses that do not ask for it: a write
//! before a single `SeqCst` load is not ordered, and a weaker load after a `SeqCst` write
//! is not either.
//!
//! This is slightly stronger than the standard: the fence also orders the earlier
//! operations of the thread. So a `Relaxed` load between two `SeqCst` accesses counts as
//! `Acquire`, and a `Relaxed` write after a fence counts as `Release` of the operations
//! before the fence. An ordering that is too weak exactly there is not found.

#![forbid(unsafe_code)]

use core::cell::Cell;

use super::Ordering;
use crate::shared::process;

loom::thread_local! {
    /// This thread has made a `SeqCst` access, and the fence after it is still due.
    static FENCE_DUE: Cell<bool> = Cell::new(false);
}

/// Must be called before an operation. `None` for a killed thread, which only runs its
/// destructors.
fn before(writes: bool, ordering: Ordering) -> Option<()> {
    process::step()?;
    let now = writes || ordering == Ordering::SeqCst;
    if now && FENCE_DUE.with(|due| due.replace(false)) {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
    Some(())
}

/// Must be called after an operation that was executed.
fn after(ordering: Ordering) {
    if ordering == Ordering::SeqCst {
        FENCE_DUE.with(|due| due.set(true));
    }
}

/// The ordering to pass to loom: `total` if `ordering` is `SeqCst`, else `ordering`.
fn weak(ordering: Ordering, total: Ordering) -> Ordering {
    if ordering == Ordering::SeqCst {
        total
    } else {
        ordering
    }
}

macro_rules! atomic {
    ($name:ident, $number:ident) => {
        /// Stands for the type of this name in [`core::sync::atomic`].
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            word: loom::sync::atomic::$name,
            turn: loom::sync::atomic::AtomicU8,
        }

        // Each width uses only some of these.
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
