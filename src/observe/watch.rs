// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Watch`]: what a background process does once a second, so that the process
//! that accepts connections need not: sample the sources, and tell of rejections.
//!
//! A rejection only adds to numbers in shared memory. The watch compares them with
//! what it has told already. So no queue can be full, and the log cannot be flooded:
//!
//! - of each source, the first rejection in an interval is told ([`Notice::First`]),
//!   of [`MAX_FIRST`] sources at the most;
//! - all others are told in one summary at the end of the interval
//!   ([`Notice::Summary`]).
//!
//! What is never told: the rejections of a source whose slot another source took
//! before the next look, and those of more than `MAX_KNOWN` sources. The totals of
//! the limiter have all.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use crate::limiter::Limiter;
use crate::observe::report::SourceReport;
use crate::shared::sync::Ordering;
use crate::source::Source;
use crate::table::details::Owner;

/// Sources whose first rejection in an interval is told.
pub const MAX_FIRST: u32 = 100;

/// Rejected sources that are remembered with what was told of them. Of more, nothing
/// is told; the totals have their rejections.
const MAX_KNOWN: usize = 65_536;

/// Slots looked at in one tick: the whole table, if it is for 5 million connections or
/// fewer. A larger table takes several ticks, at most 20: so many looks take up to 0.2 s,
/// and [`Limiter::last_occupancy`] ages meanwhile. Counting all slots of the largest table
/// takes 0.75 s, and the host waits a second between two ticks: 2 s in all.
const SLOTS_A_TICK: usize = 1 << 24;

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first rejection of a source in an interval.
    First {
        /// The source.
        report: SourceReport,
        /// It would have been one, but for monitor mode.
        would: bool,
    },
    /// The end of an interval in which there were more.
    Summary(Summary),
    /// In the last interval the table had no slot for new sources.
    Full {
        /// Connections of theirs that were admitted uncounted.
        admitted: u64,
        /// Those that were rejected.
        rejected: u64,
    },
    /// In the last interval connections had descriptors that are not tracked.
    Untracked {
        /// Those that were admitted uncounted.
        admitted: u64,
        /// Those that were rejected.
        rejected: u64,
    },
}

/// Rejections that were not told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The source that has most of them.
    pub most: Source,
    /// How many it has.
    pub more: u64,
    /// How many other sources there are.
    pub others: u64,
    /// How many these have.
    pub more_of_others: u64,
    /// Some of all these connections were rejected.
    pub rejected: bool,
    /// Some would have been rejected, in monitor mode.
    pub would_reject: bool,
    /// Seconds that the interval was long.
    pub seconds: u32,
}

/// What was told of a source.
struct Known {
    /// When the source was first seen, and the number of resets. If either changes,
    /// the numbers below started again at 0. A source that moves to another slot keeps
    /// both.
    of: (u32, u32),
    /// Its rejections that are told, or counted in `more`.
    rejected: u32,
    would_reject: u32,
    /// When the first of an interval was told; `None`: not yet.
    told: Option<u32>,
    /// Those not told, in this interval.
    more: u64,
}

/// The memory of the background process. One process has one.
#[derive(Default)]
pub struct Watch {
    known: HashMap<Source, Known>,
    next_slot: usize,
    /// When the interval began; `None` before the first tick.
    since: Option<u32>,
    first_told: u32,
    /// In this interval, some connections without a line of their own were rejected.
    more_rejected: bool,
    /// In this interval, some without a line of their own would have been rejected.
    more_would_reject: bool,
    /// Where the first lines of this interval had run out: the next one begins
    /// there, so that it is not always the same sources that have none.
    ran_out_at: Option<usize>,
    uncounted: Uncounted,
}

/// Connections that could not be counted and were reported, as numbers since the last
/// reset: those admitted and those rejected.
#[derive(Default)]
struct Uncounted {
    /// The number of resets before.
    resets: u32,
    full: [u64; 2],
    untracked: [u64; 2],
}

/// Stores `now` as what is reported. Returns how much was new.
fn report(reported: &mut [u64; 2], now: [u64; 2]) -> [u64; 2] {
    let before = core::mem::replace(reported, now);
    // Fewer than before: they were reset just now.
    [0, 1].map(|index| now[index].saturating_sub(before[index]))
}

impl Watch {
    /// Counts sources and connections for [`Limiter::last_occupancy`], then looks at the
    /// sources, or at the next part of a large table. `now` is the host clock, `interval`
    /// the seconds between two summaries.
    pub fn tick(
        &mut self,
        limiter: &Limiter,
        now: u32,
        interval: u32,
        tell: &mut dyn FnMut(Notice),
    ) {
        let since = *self.since.get_or_insert(now);
        // first: the host may take its time with what it is told
        limiter.publish_occupancy();
        self.look_at_next(SLOTS_A_TICK, limiter, now, interval, tell);
        let seconds = now.wrapping_sub(since);
        if seconds >= interval {
            self.end_interval(limiter, seconds, now, interval, tell);
            self.since = Some(now);
        }
    }

    /// Looks at the next `most` slots, or at all if there are not more.
    fn look_at_next(
        &mut self,
        most: usize,
        limiter: &Limiter,
        now: u32,
        interval: u32,
        tell: &mut dyn FnMut(Notice),
    ) {
        let slots = limiter.table().slots();
        for _ in 0..slots.min(most) {
            if limiter.table().is_in_use(self.next_slot) {
                self.look(limiter, self.next_slot, now, interval, tell);
            }
            self.next_slot += 1;
            if self.next_slot == slots {
                self.next_slot = 0;
            }
        }
    }

    fn look(
        &mut self,
        limiter: &Limiter,
        slot: usize,
        now: u32,
        interval: u32,
        tell: &mut dyn FnMut(Notice),
    ) {
        // before the numbers: if they are reset meanwhile, there are fewer than were
        // told, and not all of them once more
        let resets = limiter.resets();
        let Some((report, at)) = limiter.report(slot) else {
            return;
        };
        let has_rejections = report.rejected > 0 || report.would_reject > 0;
        if report.connections == 0 && !has_rejections {
            return;
        }
        let owner = Owner::of(limiter.table(), report.source, at);
        let first_seen = limiter.details().sample(owner, report.connections, now);
        if !has_rejections {
            return;
        }
        let of = (first_seen, resets);
        if !self.known.contains_key(&report.source)
            && (self.known.len() >= MAX_KNOWN || self.known.try_reserve(1).is_err())
        {
            return;
        }
        let known = self.known.entry(report.source).or_insert(Known {
            of,
            rejected: 0,
            would_reject: 0,
            told: None,
            more: 0,
        });
        if known.of != of {
            (known.of, known.rejected, known.would_reject) = (of, 0, 0);
        }
        // fewer than before: they were reset just now
        let rejected = report.rejected.saturating_sub(known.rejected);
        let would_reject = report.would_reject.saturating_sub(known.would_reject);
        (known.rejected, known.would_reject) = (report.rejected, report.would_reject);
        let [mut rejected, mut would_reject] = [rejected, would_reject].map(u64::from);
        if rejected == 0 && would_reject == 0 {
            return;
        }
        let due = known
            .told
            .is_none_or(|told| now.wrapping_sub(told) >= interval);
        if due && self.first_told < MAX_FIRST {
            self.first_told += 1;
            known.told = Some(now);
            let would = rejected == 0;
            tell(Notice::First { report, would });
            if would {
                would_reject -= 1;
            } else {
                rejected -= 1;
            }
        } else if due {
            self.ran_out_at.get_or_insert(slot);
        }
        let more = rejected + would_reject;
        known.more += more;
        self.more_rejected |= rejected > 0;
        self.more_would_reject |= would_reject > 0;
        // statistics
        limiter.log_suppressed().fetch_add(more, Ordering::Relaxed);
    }

    fn end_interval(
        &mut self,
        limiter: &Limiter,
        seconds: u32,
        now: u32,
        interval: u32,
        tell: &mut dyn FnMut(Notice),
    ) {
        let silent = self.known.iter().filter(|(_, known)| known.more > 0);
        if let Some((source, most)) = silent.clone().max_by_key(|(_, known)| known.more) {
            let (sources, sum) =
                silent.fold((0, 0), |(n, sum), (_, known)| (n + 1, sum + known.more));
            tell(Notice::Summary(Summary {
                most: *source,
                more: most.more,
                others: sources - 1,
                more_of_others: sum - most.more,
                rejected: self.more_rejected,
                would_reject: self.more_would_reject,
                seconds,
            }));
        }
        // A source is remembered for as long as its next rejection would be one of
        // this interval, or its numbers could be taken for new ones.
        self.known.retain(|source, known| {
            known.more = 0;
            let recent = known
                .told
                .is_some_and(|told| now.wrapping_sub(told) < interval);
            recent || limiter.table().find(*source).is_some()
        });
        self.first_told = 0;
        (self.more_rejected, self.more_would_reject) = (false, false);
        if let Some(slot) = self.ran_out_at.take() {
            self.next_slot = slot;
        }
        // in this order, as in `look`
        let resets = limiter.resets();
        let totals = limiter.totals();
        if self.uncounted.resets != resets {
            self.uncounted = Uncounted {
                resets,
                ..Uncounted::default()
            };
        }
        let full = [totals.table_full, totals.full_rejected];
        let [admitted, rejected] = report(&mut self.uncounted.full, full);
        if admitted > 0 || rejected > 0 {
            tell(Notice::Full { admitted, rejected });
        }
        let untracked = [totals.untracked, totals.untracked_rejected];
        let [admitted, rejected] = report(&mut self.uncounted.untracked, untracked);
        if admitted > 0 || rejected > 0 {
            tell(Notice::Untracked { admitted, rejected });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::Worker;
    use crate::source::PrefixLengths;

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
        let mut told = Vec::new();
        let mut tell = |notice| match notice {
            Notice::First { report, .. } => told.push(report.source.octets().0[3]),
            other => panic!("{other:?}"),
        };
        // The last look begins anew at slot 0, where there is nothing new.
        let looks = limiter.table().slots().div_ceil(7);
        for _ in 0..looks {
            watch.look_at_next(7, &limiter, 0, 60, &mut tell);
        }
        told.sort();
        assert_eq!(told, (0..50).collect::<Vec<_>>());
    }
}
