// SPDX-License-Identifier: GPL-2.0-or-later

//! The memory of one node: what is allocated and freed while it works.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The system's allocator. It counts what [`of_node`] allocates.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// The benchmark has one thread, so no ordering is needed.
static IS_NODE: AtomicBool = AtomicBool::new(false);
static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls are passed to the system's allocator with their arguments, and its
// results are returned. Counting does not change them.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_NODE.load(Ordering::Relaxed) {
            HELD.fetch_add(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if IS_NODE.load(Ordering::Relaxed) {
            HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Counts what `work` allocates and frees as memory of the node.
pub(crate) fn of_node<T>(work: impl FnOnce() -> T) -> T {
    IS_NODE.store(true, Ordering::Relaxed);
    let result = work();
    IS_NODE.store(false, Ordering::Relaxed);
    result
}

/// The bytes that the node holds.
pub(crate) fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}
