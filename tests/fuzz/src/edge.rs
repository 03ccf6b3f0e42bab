// SPDX-License-Identifier: GPL-2.0-or-later
//! Memory with an exact end: an access one byte beyond it ends the process. This finds
//! overruns on the stable toolchain, without AddressSanitizer.

use core::ffi::c_void;

const PAGE: usize = 4096;

/// The value that memory has before the tested code writes to it.
const UNTOUCHED: u8 = 0xA5;

/// A page of it. Comparing whole pages is much faster than looking at each byte in code that
/// counts its steps.
const UNTOUCHED_PAGE: [u8; PAGE] = [UNTOUCHED; PAGE];

/// Some pages, followed by a page without access.
pub struct Edge {
    start: *mut u8,
    size: usize,
}

impl Edge {
    /// Maps `pages` pages and a guard page.
    pub fn new(pages: usize) -> Edge {
        let size = pages * PAGE;
        // SAFETY: this maps new memory and touches no other. A failure is checked below.
        let start = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                size + PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED, "no memory");
        let start = start.cast::<u8>();
        // SAFETY: this is the last page of the new mapping.
        let code =
            unsafe { libc::mprotect(start.add(size).cast::<c_void>(), PAGE, libc::PROT_NONE) };
        assert_eq!(code, 0, "no guard page");
        Edge { start, size }
    }

    /// Copies `bytes` to the edge, and returns a pointer to the copy.
    pub fn put(&mut self, bytes: &[u8]) -> *mut u8 {
        let at = self.at(bytes.len());
        // SAFETY: `at` is followed by that many bytes of this memory.
        unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        at
    }

    /// Returns a pointer to `count` values at the edge, all of whose bytes are `UNTOUCHED`.
    pub fn room<T>(&mut self, count: usize) -> *mut T {
        let size = count * size_of::<T>();
        let at = self.at(size);
        // SAFETY: `at` is followed by `size` bytes of this memory.
        unsafe { at.write_bytes(UNTOUCHED, size) };
        // The pointer is aligned: it lies a whole number of values before a page.
        at.cast()
    }

    /// Reads the first `filled` of the `count` values at [`room`](Self::room).
    ///
    /// # Panics
    ///
    /// If the values after them were written.
    ///
    /// # Safety
    ///
    /// The last call of `room` must have been for as many bytes. The type must consist of
    /// integers, and `filled` values must have been written.
    pub unsafe fn read<T>(&self, count: usize, filled: usize) -> Vec<T> {
        assert!(filled <= count, "{filled} of {count} written");
        let at = self.at(count * size_of::<T>());
        // SAFETY: these are the bytes from `at` to the edge, all of which `room` has written.
        let bytes = unsafe { core::slice::from_raw_parts(at, count * size_of::<T>()) };
        let rest = &bytes[filled * size_of::<T>()..];
        assert!(
            rest.chunks(PAGE)
                .all(|chunk| *chunk == UNTOUCHED_PAGE[..chunk.len()]),
            "bytes were written beyond the reported values"
        );
        // SAFETY: the caller guarantees that `filled` values were written. They consist of
        // integers, so copying them is sound.
        (0..filled)
            .map(|i| unsafe { at.cast::<T>().add(i).read() })
            .collect()
    }

    fn at(&self, size: usize) -> *mut u8 {
        assert!(size <= self.size, "{size} bytes do not fit");
        // SAFETY: the assertion above keeps the result within the memory.
        unsafe { self.start.add(self.size - size) }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // SAFETY: `new` mapped this memory, and no reference to it is left.
        unsafe { libc::munmap(self.start.cast(), self.size + PAGE) };
    }
}
