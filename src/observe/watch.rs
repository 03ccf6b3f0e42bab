// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Watch`]: the work that a background process does once a second, so that the process
//! that accepts connections need not do it: it samples the sources and decides what is
//! logged.
//!
//! A rejection only adds to numbers in shared memory. The watch compares these numbers
//! with those that it has logged. So there is no queue that could be full, and rejections
//! cannot flood the log:
//!
//! - the first rejection of a source in an interval has a line of its own
//!   ([`Notice::First`]), for at most [`MAX_FIRST`] sources;
//! - one summary at the end of the interval covers all others ([`Notice::Summary`]).
//!
//! Not logged are the rejections of a source whose slot another source took before the
//! next sample, and those of more than `MAX_KNOWN` sources. The totals of the limiter
//! include them.
//!
//! `sample` walks through the table, `log` decides what is logged, and
//! [`notices`](crate::observe::notices) words it.

#![forbid(unsafe_code)]

mod log;
mod sample;

use crate::limiter::Limiter;
use crate::observe::notices::Notice;
use log::Log;
use sample::{SLOTS_PER_TICK, Sampler, publish_occupancy};

pub use log::MAX_FIRST;

/// The memory of the background process. There is one in a host.
#[derive(Default)]
pub struct Watch {
    sampler: Sampler,
    log: Log,
    /// When the interval began; `None` before the first tick.
    since: Option<u32>,
}

/// One call of [`Watch::tick`].
struct Tick<'a> {
    limiter: &'a Limiter,
    /// The host clock.
    now: u32,
    /// Seconds between two summaries.
    interval: u32,
    /// Writes a notice to the host's log.
    log: &'a mut dyn FnMut(Notice),
}

impl Watch {
    /// Counts sources and connections for
    /// [`last_occupancy`](crate::observe::report::Report::last_occupancy), then samples the
    /// sources, or the next part of a large table. `now` is the host clock, `interval` the
    /// seconds between two summaries. `log` gets what is logged.
    pub fn tick(
        &mut self,
        limiter: &Limiter,
        now: u32,
        interval: u32,
        log: &mut dyn FnMut(Notice),
    ) {
        let since = *self.since.get_or_insert(now);
        // First, because the host may take long to log the notices.
        publish_occupancy(limiter);
        let mut tick = Tick {
            limiter,
            now,
            interval,
            log,
        };
        self.sample(SLOTS_PER_TICK, &mut tick);
        let seconds = now.wrapping_sub(since);
        if seconds >= interval {
            if let Some(slot) = self.log.end_interval(seconds, &mut tick) {
                self.sampler.continue_at(slot);
            }
            self.since = Some(now);
        }
    }

    /// Samples the next `max` slots, or all if there are fewer.
    fn sample(&mut self, max: usize, tick: &mut Tick<'_>) {
        let (limiter, now) = (tick.limiter, tick.now);
        self.sampler.sample(max, limiter, now, &mut |sample| {
            self.log.rejections(&sample, tick);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::Worker;
    use crate::source::{PrefixLengths, Source};

    #[test]
    fn several_ticks_cover_a_table_once() {
        let limiter = Limiter::new(100, 1, PrefixLengths::DEFAULT).unwrap();
        for n in 0..50 {
            let source = Source::new(&[10, 0, 0, n], PrefixLengths::DEFAULT).unwrap();
            limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
            let rejection = limiter.check(source).unwrap_err();
            limiter.rejected(Worker::ACCEPTOR, rejection);
        }
        let mut watch = Watch::default();
        let mut reported = Vec::new();
        let mut log = |notice| match notice {
            Notice::First { report, .. } => reported.push(report.source.octets().0[3]),
            other => panic!("{other:?}"),
        };
        let mut tick = Tick {
            limiter: &limiter,
            now: 0,
            interval: 60,
            log: &mut log,
        };
        // The last of them starts again at slot 0, where nothing is new.
        let ticks = limiter.table().slots().div_ceil(7);
        for _ in 0..ticks {
            watch.sample(7, &mut tick);
        }
        reported.sort();
        assert_eq!(reported, (0..50).collect::<Vec<_>>());
    }
}
