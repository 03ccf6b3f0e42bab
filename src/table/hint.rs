// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Hints`]: where a thread last found a source.
//!
//! A connection is checked just before it is counted, so `opened` looks there first
//! and rarely searches again. Whether the source is there is seen in the slot.
//!
//! Two threads that accept must not write the same cache line for every connection, so
//! there are several hints, each on a line of its own, and a thread uses the one that
//! the address of its stack selects. That takes four instructions. Thread-local memory
//! would take a call into the dynamic linker, which also allocates at the first access.
//! Two threads with one hint, or a stack that crosses a boundary between the two calls,
//! cost another search.

#![forbid(unsafe_code)]

use crate::shared::sync::{AtomicU32, Ordering};

/// How many hints there are, as a power of two.
const BITS: u32 = 4;

/// Stacks are farther apart than 2 to the power of this, and the frames of `check` and
/// `opened` in one stack rarely are.
const STACK_BITS: u32 = 16;

#[derive(Default)]
#[repr(align(64))]
struct Hint(AtomicU32);

#[derive(Default)]
pub(crate) struct Hints([Hint; 1 << BITS]);

impl Hints {
    #[inline]
    pub(crate) fn get(&self) -> usize {
        // Relaxed, here and below: a hint
        self.own().load(Ordering::Relaxed) as usize
    }

    #[inline]
    pub(crate) fn set(&self, slot: usize) {
        // a table has fewer than 2³² slots, see `Geometry::MAX_CONNECTIONS`
        self.own().store(slot as u32, Ordering::Relaxed);
    }

    #[inline]
    fn own(&self) -> &AtomicU32 {
        let on_the_stack = 0u8;
        let stack = (&raw const on_the_stack).addr() >> STACK_BITS;
        // odd, hence a bijection; its upper bits depend on all bits below
        let spread = (stack as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.0[(spread >> (u64::BITS - BITS)) as usize].0
    }
}
