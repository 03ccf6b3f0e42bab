// SPDX-License-Identifier: GPL-2.0-or-later
//! Memory that ends where it says: whoever reads or writes one byte more ends the
//! process. This finds on the stable toolchain what AddressSanitizer would.

use core::ffi::c_void;

const PAGE: usize = 4096;

/// What is written to memory before others write to it.
const UNTOUCHED: u8 = 0xA5;

/// Some pages, and after them one that nobody may touch.
pub struct Edge {
    start: *mut u8,
    size: usize,
}

impl Edge {
    /// With room for `pages` pages.
    pub fn new(pages: usize) -> Edge {
        let size = pages * PAGE;
        // SAFETY: asks for new memory; a failure is seen below.
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
        // SAFETY: the last page of those just mapped.
        let code =
            unsafe { libc::mprotect(start.add(size).cast::<c_void>(), PAGE, libc::PROT_NONE) };
        assert_eq!(code, 0, "no guard page");
        Edge { start, size }
    }

    /// A copy of `bytes` at the edge.
    pub fn put(&mut self, bytes: &[u8]) -> *mut u8 {
        let at = self.at(bytes.len());
        // SAFETY: `at` is followed by so many bytes of this memory.
        unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        at
    }

    /// Room for `count` values at the edge.
    pub fn room<T>(&mut self, count: usize) -> *mut T {
        let size = count * size_of::<T>();
        let at = self.at(size);
        // SAFETY: as above.
        unsafe { at.write_bytes(UNTOUCHED, size) };
        // aligned: a page is, and so is a whole number of values before its end
        at.cast()
    }

    /// The first `filled` of `count` values for which there was [`room`](Self::room).
    ///
    /// # Panics
    ///
    /// If those after them were touched.
    ///
    /// # Safety
    ///
    /// `filled` values of this type, which is made of integers, were written to what
    /// `room` has returned for the same `count`.
    pub unsafe fn read<T>(&self, count: usize, filled: usize) -> Vec<T> {
        assert!(filled <= count, "{filled} of {count} written");
        let at = self.at(count * size_of::<T>());
        // SAFETY: the bytes from `at` to the edge, all of them written by `room`.
        let bytes = unsafe { core::slice::from_raw_parts(at, count * size_of::<T>()) };
        let rest = &bytes[filled * size_of::<T>()..];
        assert!(
            rest.iter().all(|byte| *byte == UNTOUCHED),
            "more than said was written"
        );
        // SAFETY: so many values, as the caller promises; they are integers and arrays of
        // them, so that a copy does no harm.
        (0..filled)
            .map(|i| unsafe { at.cast::<T>().add(i).read() })
            .collect()
    }

    fn at(&self, size: usize) -> *mut u8 {
        assert!(size <= self.size, "{size} bytes do not fit");
        // SAFETY: within the memory, as was just seen.
        unsafe { self.start.add(self.size - size) }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody else knows of it.
        unsafe { libc::munmap(self.start.cast(), self.size + PAGE) };
    }
}
