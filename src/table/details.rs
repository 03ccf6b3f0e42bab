// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Details`]: the statistics of a source besides its count: its rejections, its peak,
//! and when it was seen.
//!
//! The details of a source are stored apart from its slot, so that a check of a source far
//! from its limit does not touch them: they occupy one more cache line. A claim
//! does not clear them for the same reason. The details name their owner, which is a
//! source and the epoch in which it took the slot, and the first writer for a new owner
//! clears them. All are statistics: an increment may be lost if another process clears the
//! details at the same time. The statistics of a new owner may also be lost if another
//! process still writes for the old one.

#![forbid(unsafe_code)]

use crate::shared::layout::Detail;
use crate::shared::region::Region;
use crate::shared::sync::{Ordering, Statistic32};
use crate::source::Source;
use crate::table::tagged::Tag;
use crate::table::{SlotRef, Table};

/// The source that the details of a slot belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    slot: usize,
    /// The source and its epoch in one word:
    ///
    /// ```text
    ///   bit 0: 1 │ 1–12 epoch │ 13–63 Table::identity
    /// ```
    ///
    /// So no two IPv4 addresses share a mark. Two sources with hashed identities, of IPv6 or
    /// of a scope, that take the same slot in the same epoch share a mark only if they share
    /// an identity, see [`Table::identity`].
    mark: u64,
}

impl Owner {
    const EPOCH_SHIFT: u32 = 1;
    const IDENTITY_SHIFT: u32 = 13;

    /// The owner that `source` is while it has the slot `at`.
    pub(crate) fn of(table: Table<'_>, source: Source, at: SlotRef) -> Owner {
        let epoch = u64::from(at.control.epoch());
        let identity = table.identity(source);
        Owner {
            slot: at.slot,
            mark: identity << Self::IDENTITY_SHIFT | epoch << Self::EPOCH_SHIFT | 1,
        }
    }

    /// The tag of its words in [`crate::table::restraints`].
    pub(crate) fn restraint_tag(self) -> Tag {
        let epoch = (self.mark >> Self::EPOCH_SHIFT) as u32;
        Tag::new(epoch, self.mark >> Self::IDENTITY_SHIFT)
    }

    /// 32 bits that distinguish the source from others. IPv4: the whole address. Sources of
    /// IPv6 or of a scope are hashed, so two of one slot share a tag with a probability of
    /// about 2⁻³².
    pub(crate) fn tag(self) -> u32 {
        let identity = self.mark >> Self::IDENTITY_SHIFT;
        (identity ^ identity >> 32) as u32
    }
}

/// Why a connection was rejected, or would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectedFor {
    /// Its source was at its limit.
    Limit = 1,
    /// Its source was over its rate.
    Rate = 2,
    /// Its source was banned.
    Ban = 3,
    /// Its source was at its limit of untrusted connections.
    Untrusted = 4,
    /// Only connections of the reserve were left.
    Reserve = 8,
    /// Its source was at its effective limit under pressure.
    Pressure = 9,
    /// Its source was at its limit over all nodes of the cluster.
    Cluster = 10,
}

impl RejectedFor {
    /// The name in events and answers.
    pub fn name(self) -> &'static str {
        match self {
            RejectedFor::Limit => "limit",
            RejectedFor::Rate => "rate",
            RejectedFor::Ban => "ban",
            RejectedFor::Untrusted => "untrusted",
            RejectedFor::Reserve => "reserve",
            RejectedFor::Pressure => "pressure",
            RejectedFor::Cluster => "cluster",
        }
    }
}

/// The connections of a source when one was last rejected, or only the untrusted ones if
/// those were too many, and why:
///
/// ```text
///   bits 0–27 connections │ 28–31 reason, or 0
/// ```
///
/// So the two are of the same rejection. 28 bits hold the connections of the largest table.
pub(crate) struct RejectedAt;

impl RejectedAt {
    const SHIFT: u32 = 28;
    const CONNECTIONS: u32 = (1 << Self::SHIFT) - 1;

    pub(crate) fn word(connections: u32, reason: RejectedFor) -> u32 {
        connections.min(Self::CONNECTIONS) | (reason as u32) << Self::SHIFT
    }

    fn parts(word: u32) -> (u32, Option<RejectedFor>) {
        let reason = match word >> Self::SHIFT {
            1 => Some(RejectedFor::Limit),
            2 => Some(RejectedFor::Rate),
            3 => Some(RejectedFor::Ban),
            4 => Some(RejectedFor::Untrusted),
            8 => Some(RejectedFor::Reserve),
            9 => Some(RejectedFor::Pressure),
            10 => Some(RejectedFor::Cluster),
            _ => None,
        };
        (word & Self::CONNECTIONS, reason)
    }
}

/// The mark of details without an owner: never used, or being cleared.
const NO_OWNER: u64 = 0;

/// The details of all slots.
#[derive(Clone, Copy)]
pub(crate) struct Details<'a> {
    region: &'a Region,
}

/// The statistics of one source at one moment, with the units of [`Detail`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) rejected: u32,
    pub(crate) would_reject: u32,
    pub(crate) rejected_at: u32,
    pub(crate) rejected_for: Option<RejectedFor>,
    pub(crate) peak: u32,
    pub(crate) first_seen: u32,
    pub(crate) last_seen: u32,
}

impl<'a> Details<'a> {
    pub(crate) fn new(region: &'a Region) -> Details<'a> {
        Details { region }
    }

    /// The details of `owner`, for writing. Clears them first if they belong to another
    /// owner.
    pub(crate) fn own(self, owner: Owner) -> &'a Detail {
        let detail = &self.region.details()[owner.slot];
        // Relaxed (statistics), here and below. A reader never takes the numbers of the
        // previous owner for those of this one: the mark is stored with Release after they
        // are cleared.
        let before = detail.owner.load(Ordering::Relaxed);
        if before != owner.mark {
            let cleared_here = detail.owner.compare_exchange(
                before,
                NO_OWNER,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            // This fails if another process began to clear them first. If that process is
            // killed before it stores the mark, the next call clears them again.
            if cleared_here.is_ok() {
                for number in detail.numbers() {
                    number.store(0, Ordering::Relaxed);
                }
                // Relaxed: the tag in the word already distinguishes the rule from that of
                // another source. Clearing the word makes a mistake by equal tags rarer.
                detail.rule.store(0, Ordering::Relaxed);
                detail.owner.store(owner.mark, Ordering::Release);
            }
        }
        detail
    }

    /// Copies the history of a source that moved: its owner was `from` and is now `to`.
    #[cold]
    pub(crate) fn carry(self, from: Owner, to: Owner) {
        // Read before `own`, since it may be the same slot.
        let history = self.read(from);
        let detail = self.own(to);
        // Added, since another process may have counted for the new owner already.
        let rejected = [
            (&detail.rejected, history.rejected),
            (&detail.would_reject, history.would_reject),
        ];
        for (number, before) in rejected {
            number.fetch_add(before, Ordering::Relaxed);
        }
        detail.peak.fetch_max(history.peak, Ordering::Relaxed);
        let rejected_at = history
            .rejected_for
            .map_or(0, |reason| RejectedAt::word(history.rejected_at, reason));
        let kept = [
            (&detail.rejected_at, rejected_at),
            (&detail.first_seen, history.first_seen),
            (&detail.last_seen, history.last_seen),
        ];
        for (number, before) in kept {
            number.store(before, Ordering::Relaxed);
        }
    }

    /// The statistics of `owner`; zeros if none were written for it.
    pub(crate) fn read(self, owner: Owner) -> Numbers {
        let detail = &self.region.details()[owner.slot];
        // Acquire: see `own`.
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
        let (rejected_at, rejected_for) = RejectedAt::parts(rejected_at);
        Numbers {
            rejected,
            would_reject,
            rejected_at,
            rejected_for,
            peak,
            first_seen,
            last_seen,
        }
    }

    /// Records that `owner` was seen with `connections` at the time `now`, in seconds of
    /// the host clock. A source that is seen for the first time without connections had
    /// some since the last sample. Returns when it was first seen, for [`seconds_since`].
    pub(crate) fn sample(self, owner: Owner, connections: u32, now: u32) -> u32 {
        let detail = self.own(owner);
        let stamp = stamp(now);
        let mut first_seen = detail.first_seen.load(Ordering::Relaxed);
        if first_seen == 0 {
            first_seen = stamp;
            detail.first_seen.store(stamp, Ordering::Relaxed);
            detail.last_seen.store(stamp, Ordering::Relaxed);
        }
        if connections > 0 {
            detail.last_seen.store(stamp, Ordering::Relaxed);
            self.peak(owner, connections);
        }
        first_seen
    }

    /// Raises the peak of `owner` to `connections` if that is higher.
    pub(crate) fn peak(self, owner: Owner, connections: u32) {
        let peak = &self.own(owner).peak;
        // The load nearly always saves the atomic maximum.
        if peak.load(Ordering::Relaxed) < connections {
            peak.fetch_max(connections, Ordering::Relaxed);
        }
    }

    /// Resets the rejections of `owner` to 0 and its peak to `connections`.
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

/// A time as it is stored: never 0, because 0 means that there is no time.
fn stamp(now: u32) -> u32 {
    now.wrapping_add(1).max(1)
}

/// Seconds from the stored time `kept` until `now`, both of the host clock. `None` if no
/// time was stored.
pub fn seconds_since(kept: u32, now: u32) -> Option<u32> {
    (kept != 0).then(|| stamp(now).wrapping_sub(kept))
}
