// SPDX-License-Identifier: GPL-2.0-or-later

//! Memory that a process shares with those it forks, in pages of 4 KiB for all subjects.
//! By default shared memory gets no larger pages but private memory may, which would
//! favour a map in private memory. Only the subject that is measured in huge pages has
//! them ([`crate::huge`]).

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use nix::libc;

/// Types for which memory of zeros is a valid value.
///
/// # Safety
///
/// All bytes zero must be a valid value of the type.
pub(crate) unsafe trait Zeroed {}

/// A cache line with a counter.
#[repr(align(64))]
pub(crate) struct Line(pub(crate) AtomicU64);

// SAFETY: it is an atomic integer and padding.
unsafe impl Zeroed for Line {}
// SAFETY: it is an atomic integer.
unsafe impl Zeroed for AtomicU32 {}
// SAFETY: it is an atomic integer.
unsafe impl Zeroed for AtomicU64 {}

/// Returns `count` zeroed values in shared memory, which is never unmapped.
pub(crate) fn zeros<T: Zeroed + Sync>(count: usize) -> io::Result<&'static [T]> {
    let bytes = map(count * size_of::<T>())?;
    // SAFETY: the mapping is large enough, aligned to a page and never unmapped, and
    // zeros are valid for T.
    Ok(unsafe { std::slice::from_raw_parts(bytes.cast().as_ptr(), count) })
}

/// Moves `values` to shared memory, which is never unmapped.
pub(crate) fn store<T>(values: Vec<T>) -> io::Result<&'static [T]> {
    let count = values.len();
    let bytes = map(count * size_of::<T>())?.cast::<T>();
    for (i, value) in values.into_iter().enumerate() {
        // SAFETY: the address is within the mapping, which is aligned to a page and to
        // which there is no other reference.
        unsafe { bytes.add(i).write(value) };
    }
    // SAFETY: all `count` values were written, and the mapping is never unmapped.
    Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr(), count) })
}

fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a new anonymous mapping touches no existing memory.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Disables huge pages for this process and its children.
pub(crate) fn small_pages_only() -> io::Result<()> {
    set_small_pages_only(1)
}

/// Enables huge pages, where the system gives them, for this process and its children.
pub(crate) fn allow_huge_pages() -> io::Result<()> {
    set_small_pages_only(0)
}

fn set_small_pages_only(only: libc::c_ulong) -> io::Result<()> {
    // SAFETY: this prctl() takes integers and touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, only, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
