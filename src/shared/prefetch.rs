// SPDX-License-Identifier: GPL-2.0-or-later
//! Memory that is about to be read.

/// Asks the processor to fetch the cache line of `value`, and does not wait for it. On other
/// processors than x86-64 and AArch64 this does nothing.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    let line = core::ptr::from_ref(value);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction is part of every x86-64 processor, and a prefetch reads nothing
    // that the program could see: it does not fault, whatever its address.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above: PRFM is part of every AArch64 processor, and does not fault.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}
