// SPDX-License-Identifier: GPL-2.0-or-later

//! The loop that all figures come from: one step after the other.
//!
//! Modern processors run many iterations of a loop at once, which hides what
//! waiting for memory costs. A server has one connection to decide on and waits.
//! So each step is made to begin when the one before has ended:
//!
//! - The next index is read at a place to which the last result is added. It is
//!   always 0, which the compiler cannot know.
//! - A result that comes out of a branch (`count < limit`) is predicted, and the
//!   processor runs ahead of it. A fence that waits for all loads stops that.

use std::hint::black_box;
use std::time::Instant;

/// Nanoseconds for each `step`, of which the result is not used for anything.
#[inline]
pub(crate) fn chain(indices: &[u32], mut step: impl FnMut(u32) -> u64) -> f64 {
    let zero = black_box(0);
    let mut last = 0;
    let start = Instant::now();
    for i in 0..indices.len() {
        last = (step(indices[i + last]) & zero) as usize;
        wait_for_loads();
    }
    let elapsed = start.elapsed();
    black_box(last);
    elapsed.as_nanos() as f64 / indices.len() as f64
}

#[inline]
fn wait_for_loads() {
    // SAFETY: an instruction that every x86-64 has, without operands.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::x86_64::_mm_lfence();
    }
    // SAFETY: instructions without operands, which change no register and no
    // memory.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!("dsb ld", "isb", options(nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    compile_error!("bench-engine needs a load fence for this processor");
}
