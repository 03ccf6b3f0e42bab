// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Log`]: decides what is logged, from the sampled numbers and those already logged.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::Tick;
use super::sample::{Sample, Start};
use crate::observe::notices::{Notice, Summary};
use crate::observe::report::Report;
use crate::shared::sync::Ordering;
use crate::source::Source;

/// The most sources that have a line for their first rejection in an interval.
pub const MAX_FIRST: u32 = 100;

/// The most rejected sources that are remembered with what was logged of them. The
/// rejections of further sources are not logged; the totals include them.
const MAX_KNOWN: usize = 65_536;

/// The rejections that were logged, and those for the next summary.
#[derive(Default)]
pub(super) struct Log {
    known: HashMap<Source, Known>,
    /// First lines in this interval.
    first_lines: u32,
    /// In this interval, some connections without a line of their own were rejected.
    more_rejected: bool,
    /// In this interval, some without a line of their own would have been rejected.
    more_would_reject: bool,
    /// The slot of the first source that had no first line because [`MAX_FIRST`] others
    /// had one. The next interval starts there, so that it is not always the same sources
    /// that have none.
    ran_out_at: Option<usize>,
    uncounted: Uncounted,
}

/// The rejections of a source.
struct Known {
    /// When it changes, the numbers below started at 0 again.
    start: Start,
    /// Its rejections that were logged or are counted in `more`.
    rejected: u32,
    /// The same of connections that would have been rejected.
    would_reject: u32,
    /// When its last first line was logged; `None`: it had none yet.
    logged: Option<u32>,
    /// Its rejections in this interval without a line of their own.
    more: u64,
}

/// The uncounted connections that were logged, since the last reset: those admitted and
/// those rejected.
#[derive(Default)]
struct Uncounted {
    /// The number of resets before.
    resets: u32,
    full: [u64; 2],
    untracked: [u64; 2],
}

impl Log {
    /// Logs the first rejection of a source in an interval, and counts all others for the
    /// summary.
    pub(super) fn rejections(&mut self, sample: &Sample, tick: &mut Tick<'_>) {
        let report = sample.report;
        if !self.known.contains_key(&report.source)
            && (self.known.len() >= MAX_KNOWN || self.known.try_reserve(1).is_err())
        {
            return;
        }
        let known = self.known.entry(report.source).or_insert(Known {
            start: sample.start,
            rejected: 0,
            would_reject: 0,
            logged: None,
            more: 0,
        });
        if known.start != sample.start {
            (known.start, known.rejected, known.would_reject) = (sample.start, 0, 0);
        }
        // Lower than before if they were reset just now.
        let rejected = report.rejected.saturating_sub(known.rejected);
        let would_reject = report.would_reject.saturating_sub(known.would_reject);
        (known.rejected, known.would_reject) = (report.rejected, report.would_reject);
        let [mut rejected, mut would_reject] = [rejected, would_reject].map(u64::from);
        if rejected == 0 && would_reject == 0 {
            return;
        }
        let due = known
            .logged
            .is_none_or(|logged| tick.now.wrapping_sub(logged) >= tick.interval);
        if due && self.first_lines < MAX_FIRST {
            self.first_lines += 1;
            known.logged = Some(tick.now);
            let would = rejected == 0;
            let (rule, limit) = Report::of(tick.limiter).rule_of(report.source);
            (tick.log)(Notice::First {
                report,
                rule,
                limit: limit.max(0),
                would,
            });
            if would {
                would_reject -= 1;
            } else {
                rejected -= 1;
            }
        } else if due {
            self.ran_out_at.get_or_insert(sample.slot);
        }
        let more = rejected + would_reject;
        known.more += more;
        self.more_rejected |= rejected > 0;
        self.more_would_reject |= would_reject > 0;
        let suppressed = tick.limiter.log_suppressed();
        // Relaxed (statistics).
        suppressed.fetch_add(more, Ordering::Relaxed);
    }

    /// Logs the summary and the uncounted connections of an interval that was `seconds`
    /// long. Returns the slot at which the next samples start, if it matters.
    pub(super) fn end_interval(&mut self, seconds: u32, tick: &mut Tick<'_>) -> Option<usize> {
        if let Some(summary) = self.summary(seconds) {
            (tick.log)(Notice::Summary(summary));
        }
        // A source is remembered as long as its next rejection would be in the same
        // interval, or as long as its numbers could be mistaken for new ones.
        self.known.retain(|source, known| {
            known.more = 0;
            let recent = known
                .logged
                .is_some_and(|logged| tick.now.wrapping_sub(logged) < tick.interval);
            recent || tick.limiter.table().find(*source).is_some()
        });
        self.first_lines = 0;
        (self.more_rejected, self.more_would_reject) = (false, false);
        self.uncounted.log(tick);
        self.ran_out_at.take()
    }

    /// `None` if each rejection in this interval had a line of its own.
    fn summary(&self, seconds: u32) -> Option<Summary> {
        let with_more = self.known.iter().filter(|(_, known)| known.more > 0);
        let (source, most) = with_more.clone().max_by_key(|(_, known)| known.more)?;
        let (sources, sum) =
            with_more.fold((0, 0), |(n, sum), (_, known)| (n + 1, sum + known.more));
        Some(Summary {
            most: *source,
            more: most.more,
            others: sources - 1,
            more_of_others: sum - most.more,
            rejected: self.more_rejected,
            would_reject: self.more_would_reject,
            seconds,
        })
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
    }
}

/// Stores `now` as what was logged. Returns how much of it is new.
fn replace(logged: &mut [u64; 2], now: [u64; 2]) -> [u64; 2] {
    let before = core::mem::replace(logged, now);
    // Lower than before if they were reset just now.
    [0, 1].map(|index| now[index].saturating_sub(before[index]))
}
