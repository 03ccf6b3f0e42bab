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
//! order** what it promises (`crate::shared::sync`), and not to accesses that do not ask for
//! it: neither a write before a lone `SeqCst` load nor a weaker load after a
//! `SeqCst` write is ordered.
//!
//! It is a little more than the standard gives: the fence also orders what the
//! thread did before it, so that a `Relaxed` load between two `SeqCst` accesses
//! counts as `Acquire`, and a `Relaxed` write that follows a fence as `Release` of
//! what was before the fence. An ordering that is too weak just there is not found.

#![forbid(unsafe_code)]

use core::cell::Cell;

use super::Ordering;
use crate::shared::process;

loom::thread_local! {
    /// A fence is owed to a `SeqCst` access of this thread.
    static FENCE_DUE: Cell<bool> = Cell::new(false);
}

/// Before an operation. `None` for a killed thread, which only runs its destructors.
fn before(writes: bool, ordering: Ordering) -> Option<()> {
    process::step()?;
    let now = writes || ordering == Ordering::SeqCst;
    if now && FENCE_DUE.with(|due| due.replace(false)) {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
    Some(())
}

/// After an operation that took place.
fn after(ordering: Ordering) {
    if ordering == Ordering::SeqCst {
        FENCE_DUE.with(|due| due.set(true));
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
