// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Log`]: decides what is logged, from the sampled numbers and those already logged.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::Tick;
use super::sample::{Sample, Start};
use crate::limiter::RejectedFor;
use crate::observe::notices::{Notice, Summary, Why};
use crate::observe::report::{Report, SourceReport};
use crate::shared::sync::Ordering;
use crate::source::Source;

/// The most sources that have a line for their first rejection in an interval.
pub const MAX_FIRST: usize = 100;

/// Of these, the most that have it at once. The others have it at the end of the interval,
/// so that a source that begins late and is rejected most still has one.
pub const MAX_AT_ONCE: usize = 80;

/// The most sources that are logged as back under their limits in an interval. The others
/// follow in the next intervals.
pub const MAX_RELEASED: usize = 100;

/// The most rejected sources that are remembered with what was logged of them. The
/// rejections of further sources are not logged; the totals include them.
const MAX_KNOWN: usize = 65_536;

/// The rejections that were logged, and those for the next summary.
#[derive(Default)]
pub(super) struct Log {
    known: HashMap<Key, Known>,
    /// Sources rejected since the last tick that may have a line: those with the most
    /// rejections since their last line, at most [`MAX_AT_ONCE`].
    due: BinaryHeap<Reverse<(u64, Key)>>,
    /// First lines in this interval.
    first_lines: usize,
    /// Sources logged as back under their limits in this interval.
    released: usize,
    uncounted: Uncounted,
}

/// A source, and whether these are its rejections while it had no connection on this node of a
/// cluster, which are counted elsewhere.
type Key = (Source, bool);

/// The rejections of a source.
struct Known {
    /// When it changes, the numbers below started at 0 again.
    start: Start,
    /// Its rejections that were logged or are counted in `more`.
    rejected: u32,
    /// The same of connections that would have been rejected.
    would_reject: u32,
    /// Its number of connections at the last of them.
    rejected_at: u32,
    /// Why the last of them was rejected.
    rejected_for: Option<RejectedFor>,
    /// When the last of them was seen.
    seen: u32,
    /// When its last first line was logged; `None`: it had none yet.
    logged: Option<u32>,
    /// It had a first line, and was not yet logged as back under its limit.
    reported: Option<Reported>,
    /// Its rejections since its last first line.
    unlogged: u64,
    /// Its rejections in this interval without a line of their own, and its connections
    /// that would have been rejected.
    more: [u64; 2],
}

/// What a first line reported.
#[derive(Clone, Copy)]
struct Reported {
    /// Why the connection was rejected, or would have been.
    why: Why,
    /// It would have been rejected.
    would: bool,
}

impl Known {
    /// Whether it had no first line in the last interval.
    fn may_have_line(&self, tick: &Tick<'_>) -> bool {
        self.logged
            .is_none_or(|logged| tick.now.wrapping_sub(logged) >= tick.interval)
    }

    /// Its connections in `more`.
    fn sum(&self) -> u64 {
        self.more[0].saturating_add(self.more[1])
    }

    /// Takes one rejection of `source` out of the summary for a line of its own.
    fn first_line(&mut self, source: Source, tick: &Tick<'_>) -> Notice {
        let would = self.more[0] == 0;
        let more = &mut self.more[usize::from(would)];
        *more = more.saturating_sub(1);
        self.unlogged = 0;
        self.logged = Some(tick.now);
        let report = Report::of(tick.limiter);
        let (rule, limit) = report.rule_of(source);
        let now = report.get(source);
        let why = match self.rejected_for {
            Some(RejectedFor::Limit) | None => Why::Limit,
            Some(RejectedFor::Rate) => Why::Rate(report.rate_of(source)),
            Some(RejectedFor::Ban) => Why::Ban(report.ban_in_effect(source, None, tick.now)),
            Some(RejectedFor::Untrusted) => Why::Untrusted(report.untrusted_limit_of(source)),
            Some(RejectedFor::Reserve) => Why::Reserve,
            Some(RejectedFor::Pressure) => Why::Pressure,
            Some(RejectedFor::Cluster) => Why::Cluster(report.sum_of(source)),
        };
        let limit = match why {
            Why::Pressure => report.effective(source),
            _ => limit,
        };
        self.reported = Some(Reported { why, would });
        Notice::First {
            report: SourceReport {
                // Those of the last sample: the source may have lost its slot since.
                rejected: self.rejected,
                would_reject: self.would_reject,
                rejected_at: self.rejected_at,
                rejected_for: self.rejected_for,
                ..now
            },
            rule,
            limit: limit.max(0),
            why,
            would,
        }
    }
}

/// The uncounted connections that were logged, since the last reset: those admitted and
/// those rejected, and those that closed.
#[derive(Default)]
struct Uncounted {
    /// The number of resets before.
    resets: u32,
    full: [u64; 2],
    untracked: [u64; 2],
    stale: [u64; 1],
}

impl Log {
    /// Counts the rejections of a source since its last sample.
    pub(super) fn rejections(&mut self, sample: &Sample, tick: &Tick<'_>) {
        let report = sample.report;
        let key = (report.source, sample.without_own);
        if !self.known.contains_key(&key)
            && (self.known.len() >= MAX_KNOWN || self.known.try_reserve(1).is_err())
        {
            return;
        }
        let known = self.known.entry(key).or_insert(Known {
            start: sample.start,
            rejected: 0,
            would_reject: 0,
            rejected_at: 0,
            rejected_for: None,
            seen: tick.now,
            logged: None,
            reported: None,
            unlogged: 0,
            more: [0; 2],
        });
        if known.start != sample.start {
            (known.start, known.rejected, known.would_reject) = (sample.start, 0, 0);
        }
        // Lower than before if they were reset just now.
        let rejected = report.rejected.saturating_sub(known.rejected);
        let would_reject = report.would_reject.saturating_sub(known.would_reject);
        (known.rejected, known.would_reject) = (report.rejected, report.would_reject);
        if rejected == 0 && would_reject == 0 {
            return;
        }
        known.rejected_at = report.rejected_at;
        known.rejected_for = report.rejected_for;
        known.seen = tick.now;
        known.more[0] += u64::from(rejected);
        known.more[1] += u64::from(would_reject);
        known.unlogged += u64::from(rejected) + u64::from(would_reject);
        let room = MAX_AT_ONCE.saturating_sub(self.first_lines);
        if known.may_have_line(tick) {
            let ranked = (known.unlogged, key);
            keep_highest(&mut self.due, room, ranked);
        }
    }

    /// Logs the first rejections of the sources that [`rejections`](Self::rejections)
    /// found, most rejections first, then the sources that are back under their limits.
    pub(super) fn end_tick(&mut self, tick: &mut Tick<'_>) {
        let due = core::mem::take(&mut self.due);
        self.log_first(due, tick);
        for ((source, _), known) in &mut self.known {
            // A source that was rejected since the last tick was at its limit just now.
            if self.released < MAX_RELEASED
                && known.seen != tick.now
                && let Some(reported) = known.reported
                && let Some(released) = released(*source, reported, tick)
            {
                known.reported = None;
                if let Some(notice) = released {
                    self.released += 1;
                    (tick.log)(notice);
                }
            }
        }
    }

    /// Gives each of these sources a line.
    fn log_first(&mut self, due: BinaryHeap<Reverse<(u64, Key)>>, tick: &mut Tick<'_>) {
        for Reverse((_, key)) in due.into_sorted_vec() {
            if let Some(known) = self.known.get_mut(&key) {
                self.first_lines += 1;
                let notice = known.first_line(key.0, tick);
                (tick.log)(notice);
            }
        }
    }

    /// Logs the worst sources without a line, the summary and the uncounted connections of
    /// an interval that was `seconds` long.
    pub(super) fn end_interval(&mut self, seconds: u32, tick: &mut Tick<'_>) {
        let mut due = BinaryHeap::new();
        let room = MAX_FIRST.saturating_sub(self.first_lines);
        for (key, known) in &self.known {
            // Those that had a line in this interval leave the room to the others.
            let had_line = known
                .logged
                .is_some_and(|logged| tick.now.wrapping_sub(logged) <= seconds);
            if known.sum() > 0 && !had_line {
                keep_highest(&mut due, room, (known.unlogged, *key));
            }
        }
        self.log_first(due, tick);
        if let Some(summary) = self.summary(seconds) {
            let suppressed = tick.limiter.log_suppressed();
            // Relaxed (statistics).
            suppressed.fetch_add(summary.more + summary.more_of_others, Ordering::Relaxed);
            (tick.log)(Notice::Summary(summary));
        }
        // A source is remembered as long as its next rejection would be in the same
        // interval, as long as its numbers could be mistaken for new ones, or until it is
        // logged as back under its limit.
        self.known.retain(|(source, without_own), known| {
            known.more = [0; 2];
            let recent = !known.may_have_line(tick);
            let has_numbers = match without_own {
                true => tick.limiter.others_of(*source).is_some(),
                false => tick.limiter.table().find(*source).is_some(),
            };
            recent || known.reported.is_some() || has_numbers
        });
        self.first_lines = 0;
        self.released = 0;
        self.uncounted.log(tick);
    }

    /// `None` if each rejection in this interval had a line of its own.
    fn summary(&self, seconds: u32) -> Option<Summary> {
        let with_more = self.known.iter().filter(|(_, known)| known.sum() > 0);
        let (source, most) = with_more.clone().max_by_key(|(_, known)| known.sum())?;
        let (mut sources, mut rejected, mut would_reject) = (0, 0, 0);
        for (_, known) in with_more {
            sources += 1;
            rejected += known.more[0];
            would_reject += known.more[1];
        }
        Some(Summary {
            most: source.0,
            more: most.sum(),
            others: sources - 1,
            more_of_others: rejected + would_reject - most.sum(),
            rejected: rejected > 0,
            would_reject: would_reject > 0,
            seconds,
        })
    }
}

/// Whether `source` is no longer rejected for the reason that was reported; `None`: it is.
/// Then the notice of that, except for a ban, whose end has a notice of its own.
fn released(source: Source, reported: Reported, tick: &Tick<'_>) -> Option<Option<Notice>> {
    let report = Report::of(tick.limiter);
    let (rule, limit) = report.rule_of(source);
    let now = report.get(source);
    let (is_back, rate) = match reported.why {
        Why::Ban(_) => {
            let ban = report.ban_in_effect(source, None, tick.now);
            return ban.is_none().then_some(None);
        }
        Why::Rate(_) => {
            let rate = report.rate_of(source);
            (now.owed_us <= rate.tolerance_us(), Some(rate))
        }
        Why::Untrusted(_) => {
            let limit = report.untrusted_limit_of(source);
            let is_back = limit == 0 || now.untrusted() < limit;
            let notice = Notice::TrustedEnough {
                report: now,
                rule,
                limit,
                would: reported.would,
            };
            return is_back.then_some(Some(notice));
        }
        Why::Limit => (limit <= 0 || now.connections < limit.unsigned_abs(), None),
        Why::Pressure => {
            let effective = report.effective(source);
            (
                effective <= 0 || now.connections < effective.unsigned_abs(),
                None,
            )
        }
        Why::Cluster(_) => {
            let sum = report.sum_of(source);
            let notice = Notice::FewerInCluster {
                report: now,
                rule,
                sum,
                would: reported.would,
            };
            let allowed = tick.limiter.allowed_here(source, sum.limit);
            let is_back = sum.limit == 0 || now.connections < allowed;
            return is_back.then_some(Some(notice));
        }
        // That the reserve is no longer needed has a notice of its own.
        Why::Reserve => {
            let is_reserved = tick.limiter.load_report().is_reserved();
            return (!is_reserved).then_some(None);
        }
    };
    is_back.then_some(Some(Notice::Released {
        report: now,
        rule,
        limit: match reported.why {
            Why::Pressure => report.effective(source),
            _ => limit.max(0),
        },
        rate,
        would: reported.would,
    }))
}

/// Adds `item` to `highest`, which keeps the `n` highest. Without memory it is left out.
fn keep_highest<T: Ord>(highest: &mut BinaryHeap<Reverse<T>>, n: usize, item: T) {
    if highest.len() < n {
        if highest.try_reserve(1).is_ok() {
            highest.push(Reverse(item));
        }
    } else if let Some(mut lowest) = highest.peek_mut()
        && lowest.0 < item
    {
        *lowest = Reverse(item);
    }
}

impl Uncounted {
    /// Logs the uncounted connections since the last call.
    fn log(&mut self, tick: &mut Tick<'_>) {
        // Read in this order, as in `sample`.
        let resets = tick.limiter.resets();
        let totals = tick.limiter.totals();
        if self.resets != resets {
            *self = Uncounted {
                resets,
                ..Uncounted::default()
            };
        }
        let full = [totals.table_full, totals.full_rejected];
        let [admitted, rejected] = replace(&mut self.full, full);
        if admitted > 0 || rejected > 0 {
            (tick.log)(Notice::Full { admitted, rejected });
        }
        let untracked = [totals.untracked, totals.untracked_rejected];
        let [admitted, rejected] = replace(&mut self.untracked, untracked);
        if admitted > 0 || rejected > 0 {
            (tick.log)(Notice::Untracked { admitted, rejected });
        }
        let [releases] = replace(&mut self.stale, [totals.stale_token]);
        if releases > 0 {
            (tick.log)(Notice::Stale { releases });
        }
    }
}

/// Stores `now` as what was logged. Returns how much of it is new.
fn replace<const N: usize>(logged: &mut [u64; N], now: [u64; N]) -> [u64; N] {
    let before = core::mem::replace(logged, now);
    // Lower than before if they were reset just now.
    core::array::from_fn(|index| now[index].saturating_sub(before[index]))
}
