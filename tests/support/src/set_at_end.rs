// SPDX-License-Identifier: GPL-2.0-or-later
//! Setting a flag at the end of a scope.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets the flag when dropped, so that threads waiting for it also end when the test
/// fails.
pub struct SetAtEnd<'a>(pub &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
