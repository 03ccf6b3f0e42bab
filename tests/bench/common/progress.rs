// SPDX-License-Identifier: GPL-2.0-or-later

//! Progress on standard error.

use std::time::{Duration, Instant};

/// The progress of a run. With an expected time it shows the remaining time, as estimated
/// from the part that is done.
pub(crate) struct Progress {
    start: Instant,
    done: Duration,
    /// Zero if it is not known.
    total: Duration,
}

impl Progress {
    pub(crate) fn start(total: Duration) -> Progress {
        Progress {
            start: Instant::now(),
            done: Duration::ZERO,
            total,
        }
    }

    pub(crate) fn report(&self, step: &str) {
        let elapsed = self.start.elapsed();
        let left = if self.done.is_zero() {
            self.total
        } else {
            (self.total - self.done).mul_f64(elapsed.as_secs_f64() / self.done.as_secs_f64())
        };
        let left = match self.total {
            Duration::ZERO => String::new(),
            _ => format!(" elapsed, about {} left", minutes(left)),
        };
        eprintln!("[{}{left}] {step}", minutes(elapsed));
    }

    /// Counts a step that was expected to take `cost`.
    pub(crate) fn advance(&mut self, cost: Duration) {
        self.done += cost;
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
