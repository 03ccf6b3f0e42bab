// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Hints`]: where a thread last found a source.
//!
//! A connection is checked just before it is counted, so `opened` looks in that slot first
//! and rarely searches again. The slot itself shows whether the source is still there.
//!
//! Two threads that accept must not write the same cache line for every connection, so
//! there are several hints, each on its own line, and the address of a thread's stack
//! selects the hint that the thread uses. That takes four instructions. Thread-local
//! memory would need a call into the dynamic linker, which also allocates at the first
//! access. Two threads that share a hint, or a stack that crosses a boundary between the
//! two calls, only cost another search.

#![forbid(unsafe_code)]

use crate::shared::sync::{AtomicU32, Ordering};

/// The number of hints is 2 to the power of this.
const BITS: u32 = 4;

/// Stacks are more than 2 to the power of this bytes apart. The frames of `check` and
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
        // Relaxed, here and below: a hint.
        self.own().load(Ordering::Relaxed) as usize
    }

    #[inline]
    pub(crate) fn set(&self, slot: usize) {
        // A table has fewer than 2³² slots, see `Geometry::MAX_CONNECTIONS`.
        self.own().store(slot as u32, Ordering::Relaxed);
    }

    #[inline]
    fn own(&self) -> &AtomicU32 {
        let on_the_stack = 0u8;
        let stack = (&raw const on_the_stack).addr() >> STACK_BITS;
        // The factor is odd, hence this is a bijection. Its upper bits depend on all bits
        // of `stack`.
        let spread = (stack as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.0[(spread >> (u64::BITS - BITS)) as usize].0
    }
}
