// SPDX-License-Identifier: GPL-2.0-or-later

//! Waiting for a condition instead of for a time.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine, and for a server under valgrind; reached only by
/// a test that fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Returns what `probe` finds as soon as it finds something, or `None` when
/// the deadline passes.
pub(crate) fn poll<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Waits until `condition` holds; panics with `what` when it does not in time.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    if poll(|| condition().then_some(())).is_none() {
        panic!("not within {DEADLINE:?}: {what}");
    }
}
