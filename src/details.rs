// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Details`]: what is known of a source beside its count: rejections, peak, when
//! it was seen.
//!
//! A source's details lie on a cache line of their own, which a check of a source
//! far from its limit does not touch. So a claim does not clear them either: they
//! name their owner, a source and the epoch in which it took the slot, and whoever
//! writes them first for a new owner clears them. All are statistics: an increment
//! that comes while another process clears them may be lost, and so may be what a new
//! owner has by then, if another process still writes for the old one.

#![forbid(unsafe_code)]

use crate::region::{Detail, Region};
use crate::source::Source;
use crate::sync::{Ordering, Statistic32};
use crate::table::{Place, Table};

/// Whose details the details of a slot are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    slot: usize,
    /// 32 bits that tell the source from others, see [`Table::tag`].
    pub(crate) tag: u32,
    /// Those, and the epoch.
    mark: u32,
}

impl Owner {
    /// `source` at `place`.
    pub(crate) fn of(table: Table<'_>, source: Source, place: Place) -> Owner {
        let tag = table.tag(source);
        // an epoch has 12 bits
        let mark = tag ^ place.control.epoch() << 20;
        Owner {
            slot: place.slot,
            tag,
            mark: if mark == NOBODY { !NOBODY } else { mark },
        }
    }
}

/// The numbers are nobody's: untouched, or being cleared.
const NOBODY: u32 = 0;

/// The details of all slots.
#[derive(Clone, Copy)]
pub(crate) struct Details<'a> {
    region: &'a Region,
}

/// The numbers of one source at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) rejected: u32,
    pub(crate) would_reject: u32,
    pub(crate) rejected_at: u32,
    pub(crate) peak: u32,
    pub(crate) first_seen: u32,
    pub(crate) last_seen: u32,
}

impl<'a> Details<'a> {
    pub(crate) fn new(region: &'a Region) -> Details<'a> {
        Details { region }
    }

    /// The details of `owner`, for writing.
    pub(crate) fn own(self, owner: Owner) -> &'a Detail {
        let detail = &self.region.details()[owner.slot];
        // statistics, here and below; but nobody takes the numbers of another source
        // for those of this one: its mark is stored when they are cleared, by Release
        let before = detail.owner.load(Ordering::Relaxed);
        if before != owner.mark {
            let nobody =
                detail
                    .owner
                    .compare_exchange(before, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
            // not if another process was faster; but if one was killed meanwhile
            if nobody.is_ok() {
                for number in detail.numbers() {
                    number.store(0, Ordering::Relaxed);
                }
                detail.owner.store(owner.mark, Ordering::Release);
            }
        }
        detail
    }

    /// The numbers of `owner`; zeros if nobody has written any.
    pub(crate) fn read(self, owner: Owner) -> Numbers {
        let detail = &self.region.details()[owner.slot];
        // Acquire: see `own`
        if detail.owner.load(Ordering::Acquire) != owner.mark {
            return Numbers::default();
        }
        let [
            rejected,
            would_reject,
            rejected_at,
            peak,
            first_seen,
            last_seen,
        ] = detail
            .numbers()
            .map(|number| number.load(Ordering::Relaxed));
        Numbers {
            rejected,
            would_reject,
            rejected_at,
            peak,
            first_seen,
            last_seen,
        }
    }

    /// `owner` has `connections` at the time `now`.
    pub(crate) fn sample(self, owner: Owner, connections: u32, now: u32) {
        let detail = self.own(owner);
        let stamp = stamp(now);
        if detail.first_seen.load(Ordering::Relaxed) == 0 {
            detail.first_seen.store(stamp, Ordering::Relaxed);
        }
        detail.last_seen.store(stamp, Ordering::Relaxed);
        self.peak(owner, connections);
    }

    /// `owner` has `connections`: is this more than ever?
    pub(crate) fn peak(self, owner: Owner, connections: u32) {
        let peak = &self.own(owner).peak;
        // the load spares the atomic maximum nearly always
        if peak.load(Ordering::Relaxed) < connections {
            peak.fetch_max(connections, Ordering::Relaxed);
        }
    }

    /// Forgets the rejections of `owner`; its peak is what it has.
    pub(crate) fn reset(self, owner: Owner, connections: u32) {
        let detail = self.own(owner);
        detail.rejected.store(0, Ordering::Relaxed);
        detail.would_reject.store(0, Ordering::Relaxed);
        detail.rejected_at.store(0, Ordering::Relaxed);
        detail.peak.store(connections, Ordering::Relaxed);
    }
}

impl Detail {
    fn numbers(&self) -> [&Statistic32; 6] {
        [
            &self.rejected,
            &self.would_reject,
            &self.rejected_at,
            &self.peak,
            &self.first_seen,
            &self.last_seen,
        ]
    }
}

/// A time as it is kept: never 0, which means that there is none.
fn stamp(now: u32) -> u32 {
    now.wrapping_add(1).max(1)
}

/// Seconds from a time that was kept until `now`, both of the host clock; `None` if
/// there is none.
pub fn seconds_since(kept: u32, now: u32) -> Option<u32> {
    (kept != 0).then(|| stamp(now).wrapping_sub(kept))
}
