// SPDX-License-Identifier: GPL-2.0-or-later
//! The threads of a model as its processes. What a thread did before it was killed
//! has happened for whoever sees that it is dead, as with processes and the kernel.

#![forbid(unsafe_code)]

use core::marker::PhantomData;

use crate::sync::Ordering;

loom::lazy_static! {
    /// A bit for each thread that was killed.
    static ref DEAD: loom::sync::atomic::AtomicU32 = loom::sync::atomic::AtomicU32::new(0);
}

/// The number of this thread.
pub(crate) fn own_number() -> u32 {
    let id = format!("{:?}", loom::thread::current().id());
    let digits: String = id.chars().filter(char::is_ascii_digit).collect();
    1 + digits.parse::<u32>().expect("loom numbers its threads")
}

/// Whether the thread of this number was not killed.
pub(crate) fn is_alive(thread: u32) -> bool {
    // Acquire: see the module's documentation
    DEAD.load(Ordering::Acquire) & 1 << thread == 0
}

/// Notes that this thread was killed.
pub(crate) fn died() {
    // Release: as above
    DEAD.fetch_or(1 << own_number(), Ordering::Release);
}

/// Always open: each thread is a process of its own here.
pub(crate) struct OneThread;

/// See [`OneThread`].
pub(crate) struct Entered<'a>(PhantomData<&'a OneThread>);

impl OneThread {
    pub(crate) const fn new() -> OneThread {
        OneThread
    }

    /// Never `None`.
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        Some(Entered(PhantomData))
    }
}
