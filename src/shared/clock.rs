// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Clock`]: the time of rates, penalties and bans.

#![forbid(unsafe_code)]

use std::time::Instant;

/// Microseconds since the clock was created, by CLOCK_MONOTONIC, so that all processes
/// forked since then read the same time and a change of the system's time has no effect. A
/// read takes no lock, allocates nothing and, on Linux, usually makes no system call (vDSO).
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    /// Replaces the system's clock in tests.
    read: Option<fn() -> u64>,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock {
            start: Instant::now(),
            read: None,
        }
    }

    /// The clock that shows what `read` returns.
    pub(crate) fn of(read: fn() -> u64) -> Clock {
        Clock {
            read: Some(read),
            ..Clock::new()
        }
    }

    /// Microseconds.
    #[inline]
    pub(crate) fn micros(&self) -> u64 {
        match self.read {
            // 2⁶⁴ µs are 584,000 years.
            None => self.start.elapsed().as_micros() as u64,
            Some(read) => read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clock_counts_microseconds_since_its_creation() {
        let clock = Clock::new();
        std::thread::sleep(Duration::from_millis(5));
        let passed = clock.micros();
        assert!((5_000..60_000_000).contains(&passed), "{passed}");
        assert!(clock.micros() >= passed);
        assert_eq!(Clock::of(|| 7).micros(), 7);
    }
}
