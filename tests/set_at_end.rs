// SPDX-License-Identifier: GPL-2.0-or-later
//! A flag by which threads learn that they are to end.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the flag when it is gone: threads that go on until then end also with a test
/// that fails.
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
