// SPDX-License-Identifier: GPL-2.0-or-later

//! Waiting for a condition instead of a fixed time.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Long enough for a loaded machine and for a server under valgrind. Only a failing test
/// reaches it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Calls `probe` until it returns something, and returns that. `None` when the deadline
/// passes.
pub fn poll<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
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

/// Waits until `condition` is true. Panics with `what` if it is not in time.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    if poll(|| condition().then_some(())).is_none() {
        panic!("not within {DEADLINE:?}: {what}");
    }
}
