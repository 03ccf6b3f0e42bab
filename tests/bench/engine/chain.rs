// SPDX-License-Identifier: GPL-2.0-or-later

//! The loop that produces all figures: one step after the other.
//!
//! Modern processors run many iterations of a loop at once, which hides the cost of
//! waiting for memory. A server decides on one connection and waits. So the loop makes
//! each step begin only when the previous one has ended:
//!
//! - The position of the next index depends on the last result. The added value is
//!   always 0, but the compiler cannot prove that.
//! - The processor predicts a result that comes out of a branch (`count < limit`) and
//!   runs ahead of it. A fence that waits for all loads stops that.

use std::hint::black_box;
use std::time::Instant;

/// Returns the nanoseconds per `step`. Its result only orders the steps.
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
    // SAFETY: every x86-64 has this instruction. It has no operands.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::x86_64::_mm_lfence();
    }
    // SAFETY: these instructions change no register and no memory.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!("dsb ld", "isb", options(nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    compile_error!("bench-engine needs a load fence for this processor");
}
