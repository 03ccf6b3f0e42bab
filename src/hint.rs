// SPDX-License-Identifier: GPL-2.0-or-later
//! The slot in which this thread last found a source.
//!
//! A connection is checked just before it is counted, so `opened` looks there first
//! and rarely searches again. It is a hint: whether the source is there is seen in the
//! slot. Each thread has its own, so two that accept share no cache line by it.
//!
//! Dynamic linkers allocate the thread-local memory of a library that was loaded late
//! at a thread's first access. [`set`] before the server forks takes that out of the
//! way of the first connection.

#![forbid(unsafe_code)]

use core::cell::Cell;

#[cfg(not(loom))]
std::thread_local! {
    static SLOT: Cell<u32> = const { Cell::new(0) };
}

#[cfg(loom)]
loom::thread_local! {
    static SLOT: Cell<u32> = Cell::new(0);
}

#[inline]
pub(crate) fn get() -> usize {
    SLOT.with(Cell::get) as usize
}

#[inline]
pub(crate) fn set(slot: usize) {
    // a table has fewer than 2³² slots, see `Geometry::MAX_CONNECTIONS`
    SLOT.with(|hint| hint.set(slot as u32));
}
