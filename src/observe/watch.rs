// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Watch`]: the work that a background process does once a second, so that the process
//! that accepts connections need not do it: it removes the rules that ended, samples the
//! sources and decides what is logged.
//!
//! A rejection only adds to numbers in shared memory. The watch compares these numbers
//! with those that it has logged. So there is no queue that could be full, and rejections
//! cannot flood the log:
//!
//! - the first rejection of a source in an interval has a line of its own
//!   ([`Notice::First`]), for at most [`MAX_FIRST`] sources. The first [`MAX_AT_ONCE`] of
//!   them have it within a second, those with the most rejections first. The others have it
//!   at the end of the interval: those with the most rejections since their last line. So
//!   the worst sources are named however many there are, and a source without a line has
//!   one in a later interval;
//! - one summary at the end of the interval covers all others ([`Notice::Summary`]);
//! - a source that had a line has another one when it is back under its limit
//!   ([`Notice::Released`]), at most one for each first line. At most [`MAX_RELEASED`] have
//!   it in an interval; the others follow in the next ones.
//!
//! In a cluster the same holds for a source that has connections on other nodes only, and is
//! rejected because of these. Its rejections are counted besides those of its slot, if it has
//! one.
//!
//! A ban has a line when it begins ([`Notice::Banned`]) and when it ends
//! ([`Notice::Unbanned`]), at most [`MAX_BANNED`] of each in an interval; the number of
//! others is logged at its end. A command that sets or lifts a ban logs that itself.
//!
//! A change of the level of pressure has a line and so has the reserve when it is needed,
//! then the number of connections that were rejected to keep it in each interval
//! ([`Notice::Load`]).
//!
//! Not logged are the rejections of a source whose slot another source took before the
//! next sample, and those of more than `MAX_KNOWN` sources. The totals of the limiter
//! include them.
//!
//! If connections can be trusted, the watch also reads the records of all connections. The
//! first ones of a source in an interval that were not trusted in time have a line
//! ([`Notice::TimedOut`]), at most [`MAX_TIMED_OUT`]; one line covers the others. If many
//! connections live on and none was ever trusted, one line a day says so.
//!
//! `sample` walks through the table, `log`, `bans`, `load` and `trust` decide what is logged, and
//! [`notices`](crate::observe::notices) words it.

#![forbid(unsafe_code)]

mod bans;
mod floods;
mod load;
mod log;
mod sample;
mod trust;

use crate::limiter::Limiter;
use crate::observe::notices::{Notice, RuleEnded};
use crate::source::Source;
use bans::Bans;
use floods::Floods;
use load::LoadLog;
use log::Log;
use sample::{Found, SLOTS_PER_TICK, Sample, Sampler, publish_occupancy};
use trust::Trust;

pub use bans::MAX_BANNED;
pub use floods::{FloodThreshold, MAX_FLOOD_LINES};
pub use log::{MAX_AT_ONCE, MAX_FIRST, MAX_RELEASED};
pub use trust::MAX_TIMED_OUT;

/// The memory of the background process. There is one in a host.
#[derive(Default)]
pub struct Watch {
    sampler: Sampler,
    log: Log,
    bans: Bans,
    trust: Trust,
    load: LoadLog,
    floods: Floods,
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
    /// Sets the clock of new connections, removes the rules that ended, and counts sources and connections for
    /// [`last_occupancy`](crate::observe::report::Report::last_occupancy). Then samples the
    /// sources, or the next part of a large table, also for
    /// [`Nearness::last`](crate::observe::nearness::Nearness::last). `now` is the host clock, `interval` the
    /// seconds between two summaries. `log` gets what is logged.
    pub fn tick(
        &mut self,
        limiter: &Limiter,
        now: u32,
        interval: u32,
        log: &mut dyn FnMut(Notice),
    ) {
        limiter.set_clock(now);
        let since = *self.since.get_or_insert(now);
        // First, because the host may take long to log the notices.
        publish_occupancy(limiter);
        let mut tick = Tick {
            limiter,
            now,
            interval,
            log,
        };
        end_rules(&mut tick);
        self.load.tick(&mut tick);
        self.sample(SLOTS_PER_TICK, &mut tick);
        self.trust.tick(&mut tick);
        let seconds = now.wrapping_sub(since);
        if seconds >= interval {
            self.log.end_interval(seconds, &mut tick);
            self.bans.end_interval(seconds, &mut tick);
            self.trust.end_interval(seconds, &mut tick);
            self.load.end_interval(seconds, &mut tick);
            self.floods.end_interval();
            self.since = Some(now);
        }
    }

    /// The connections that the host must close, because the last tick found that they were
    /// not trusted in time, see [`Limiter::is_expired`].
    pub fn to_close(&self) -> u32 {
        self.trust.to_close
    }

    /// Lists sources that are rejected more often than this from now on; `None`: none.
    pub fn set_flood_threshold(&mut self, threshold: Option<FloodThreshold>) {
        self.floods.set_threshold(threshold);
    }

    /// Sources whose connections the kernel should drop, unless they are exempt: those with
    /// a ban that the last tick saw, which may have ended meanwhile, and those that flood.
    /// Banned prefixes are not among them.
    pub fn listed(&self) -> (impl Iterator<Item = Source>, impl Iterator<Item = Source>) {
        (self.bans.known(), self.floods.listed())
    }

    /// Samples the next `max` slots, or all if there are fewer.
    fn sample(&mut self, max: usize, tick: &mut Tick<'_>) {
        let (limiter, now) = (tick.limiter, tick.now);
        self.sampler
            .sample(max, limiter, now, &mut |found| match found {
                Found::Rejections(sample) => {
                    // The kernel drops attempts of sources only.
                    if !sample.report.source.is_network() {
                        self.floods.seen(&sample, tick);
                    }
                    self.log.rejections(&sample, tick);
                }
                Found::Banned(report) => self.bans.seen(report, tick),
            });
        if limiter.has_cluster() {
            for sample in Sample::without_own(limiter) {
                self.log.rejections(&sample, tick);
            }
        }
        self.log.end_tick(tick);
        self.bans.end_tick(tick);
        self.floods.end_tick(now);
    }
}

/// Removes the rules that have ended.
fn end_rules(tick: &mut Tick<'_>) {
    // If another process publishes rules now, or there is no memory, the next tick tries
    // again.
    let ended = tick.limiter.end_rules(tick.now).unwrap_or_default();
    for rule in ended {
        let scope = tick.limiter.scope_of_listener(rule.terms.listener);
        let (now, terms) = tick.limiter.rulebook().describe(rule.prefix, scope);
        let limit = terms.limit;
        (tick.log)(Notice::RuleEnded(RuleEnded { rule, now, limit }));
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
