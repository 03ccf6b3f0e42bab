// SPDX-License-Identifier: GPL-2.0-or-later
//! Huge pages: where a mapping must begin to have them.

use core::ffi::c_void;
use core::ptr::null_mut;

/// Bytes of a huge page if small pages have 4 KiB, on x86-64 and aarch64. With larger small
/// pages, huge pages are also larger, and a mapping might not begin at one.
pub(super) const PAGE: usize = 2 << 20;

/// An address, a multiple of [`PAGE`], from which `bytes` bytes were free just now; null if
/// there is no such address.
///
/// Not every kernel aligns shared mappings, and no kernel does while huge pages are
/// switched off. To map more and trim it would not help: the offset into the shared memory
/// must have the same alignment as the address.
pub(super) fn boundary(bytes: usize) -> *mut c_void {
    let room = bytes + PAGE;
    // SAFETY: a new mapping without MAP_FIXED touches no existing memory.
    let free = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        libc::mmap(null_mut(), room, libc::PROT_NONE, flags, -1, 0)
    };
    if free == libc::MAP_FAILED {
        return null_mut();
    }
    // SAFETY: the range was mapped above, and no reference into it exists.
    unsafe { libc::munmap(free, room) };
    free.wrapping_byte_add(free.addr().next_multiple_of(PAGE) - free.addr())
}
