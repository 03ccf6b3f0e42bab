// SPDX-License-Identifier: GPL-2.0-or-later
//! A flag that tells threads to end.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the flag when dropped, so that threads waiting for it also end when the test
/// fails.
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
