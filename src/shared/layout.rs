// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Region`]: the shared mapping, its layout, and all pointer arithmetic.
//!
//! ```text
//! Header                  settings; a Tally per row; which rules are in force
//! Bucket    × buckets     4 slots of 16 bytes: one cache line
//! AtomicI32 × slots       × (ROWS − 1): the cells of every row but the acceptor row
//! Detail    × slots       what only busy sources and reports touch
//! RuleEntry × MAX_RULES   × 2: the rules in force, and those to come
//! ```
//!
//! The mapping is anonymous and shared, made before the server forks, so every
//! process inherits it. An all-zero page is a valid, empty part of the table, so
//! creating a region touches the header alone. [`Region::populate`] then allocates the
//! buckets in the process that accepts; any other page takes memory when it is first
//! read or written.
//!
//! The system accounts for the whole mapping when it is made (no `MAP_NORESERVE`). So a
//! table larger than the machine's memory is an error at the start, and no page is
//! refused later: the answer to that would be SIGBUS.
//!
//! The size follows from the number of connections the host allows, see
//! [`Geometry`].

use crate::shared::sync::{AtomicI32, AtomicU32, AtomicU64, Statistic32, Statistic64};

/// The most rules there can be: a rule's number fits 16 bits.
pub const MAX_RULES: usize = 65_535;

/// Slots in a bucket: four of 16 bytes fill a cache line of 64 bytes. In models
/// there are as few as show what can happen, here and below.
pub(crate) const SLOTS_PER_BUCKET: usize = if cfg!(loom) { 1 } else { 4 };

/// Rows of cells. Workers beyond this number share rows, which costs contention
/// and never a wrong count, since adding to a cell is atomic.
pub(crate) const ROWS: usize = if cfg!(loom) { 2 } else { 4 };

/// The row whose cells lie in the slots themselves: the row of the worker that
/// accepts the connections.
pub(crate) const ACCEPTOR_ROW: usize = 0;

/// The place of one source.
#[repr(C)]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Slot {
    /// [`Source::word`](crate::source::Source::word) of the source.
    pub(crate) word: AtomicU64,
    /// State, family, epoch, stamp and rows in use, see [`crate::table`].
    pub(crate) control: AtomicU32,
    /// The source's cell in the acceptor row.
    pub(crate) acceptor_cell: AtomicI32,
}

/// What one look-up reads: a cache line.
#[repr(C, align(64))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Bucket {
    pub(crate) slots: [Slot; SLOTS_PER_BUCKET],
}

/// What a slot's source has beside its key and its count, see [`crate::table::details`].
///
/// What a rejection touches comes first, so that it is mostly on one cache line.
#[repr(C)]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Detail {
    /// A source and its rule, see [`crate::policy::rulebook`].
    pub(crate) rule: AtomicU64,
    /// The source that all but the rule and `low` belong to, see [`crate::table::details`].
    pub(crate) owner: Statistic64,
    /// Connections rejected.
    pub(crate) rejected: Statistic32,
    /// Its connections when one was last rejected, or would have been.
    pub(crate) rejected_at: Statistic32,
    /// Most connections it had at a time.
    pub(crate) peak: Statistic32,
    /// Connections that would have been rejected, in monitor mode.
    pub(crate) would_reject: Statistic32,
    /// Host clock plus 1; 0: not yet.
    pub(crate) first_seen: Statistic32,
    /// Host clock plus 1; 0: not yet.
    pub(crate) last_seen: Statistic32,
    /// [`Source::low`](crate::source::Source::low) of the source.
    pub(crate) low: AtomicU64,
}

/// The statistics of one row: its own cache lines, so that workers do not meet.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Tally {
    pub(crate) admitted: Statistic64,
    pub(crate) rejected: Statistic64,
    pub(crate) would_reject: Statistic64,
    pub(crate) full_rejected: Statistic64,
    pub(crate) untracked_rejected: Statistic64,
    pub(crate) panics: Statistic64,
    pub(crate) table_full: Statistic64,
    pub(crate) untracked: Statistic64,
    pub(crate) bad_address: Statistic64,
    pub(crate) stale_token: Statistic64,
    pub(crate) descriptor_reused: Statistic64,
}

/// What every check reads and hardly anybody writes.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Settings {
    /// Connections of a source without a rule; 0 or negative: any number.
    pub(crate) limit: AtomicI32,
    /// The lowest limit of the rules in force; 0: none has one.
    pub(crate) lowest_rule: AtomicI32,
    /// See [`Mode`](crate::policy::settings::Mode).
    pub(crate) mode: AtomicU32,
    /// See [`OnFull`](crate::policy::settings::OnFull).
    pub(crate) on_full: AtomicU32,
    /// Counts the sets of rules; the lowest bit tells which half is in force.
    pub(crate) rules_generation: AtomicU32,
    /// Rules in each half.
    pub(crate) rules_count: [AtomicU32; 2],
}

/// What only reports and the background process touch.
#[repr(C, align(128))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Background {
    /// Process that changes rules; 0: none.
    pub(crate) rules_writer: AtomicU32,
    /// Rejections that no line of the log tells of one by one.
    pub(crate) log_suppressed: Statistic64,
    /// Rejections of sources without a rule.
    pub(crate) default_rejected: Statistic64,
    /// Connections of sources without a rule that would have been rejected.
    pub(crate) default_would_reject: Statistic64,
    /// Sources with connections in the upper half, their connections in the lower
    /// one, as the background process counted them last: one word, so that a reader
    /// gets both of the same count.
    pub(crate) gauges: Statistic64,
    /// How often the statistics were reset.
    pub(crate) resets: Statistic32,
    /// What the tallies had in all at the last reset.
    pub(crate) reset_at: Tally,
}

/// The first bytes of the mapping.
#[repr(C)]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Header {
    pub(crate) settings: Settings,
    pub(crate) background: Background,
    pub(crate) tallies: [Tally; ROWS],
}

/// A rule in force, see [`crate::policy::rulebook`].
#[repr(C)]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct RuleEntry {
    pub(crate) upper: AtomicU64,
    pub(crate) lower: AtomicU64,
    /// Rejections of sources of this rule.
    pub(crate) rejected: Statistic64,
    pub(crate) would_reject: Statistic64,
    /// Length, and family above it.
    pub(crate) shape: AtomicU32,
    /// Next shorter prefix around it, plus 1; 0: none.
    pub(crate) parent: AtomicU32,
    /// 0: unlimited.
    pub(crate) limit: AtomicI32,
}

/// How many buckets serve how many connections.
///
/// At worst every connection is a source of its own. Buckets with four slots and two
/// choices then hold 1.14 sources on average. A source that is new to the table while
/// all connections are in use, each by another source, finds both its buckets full
/// with a probability below 3·10⁻⁶, and below 5·10⁻⁷ while four fifths are in use:
/// measured with fleets of 1.2 to 4 times as many sources that come and go, in random
/// order, first in first out, and with structured addresses (`make bench`). Two choices
/// make it fall faster than exponentially with more buckets (M. Mitzenmacher, "The power
/// of two choices in randomized load balancing", 1996). The limiter's policy for a full
/// table covers these cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(super) buckets: usize,
}

impl Geometry {
    /// Beyond this number of connections a region is refused.
    pub(crate) const MAX_CONNECTIONS: u32 = 100_000_000;

    /// Room for `max_connections` connections, each of another source.
    pub(crate) fn for_connections(max_connections: u32) -> Option<Geometry> {
        if max_connections == 0 || max_connections > Self::MAX_CONNECTIONS {
            return None;
        }
        // a few more, so that chance does not fill a tiny table
        let buckets = u64::from(max_connections) * 7 / 8 + 16;
        Some(Geometry {
            buckets: usize::try_from(buckets).ok()?,
        })
    }

    /// Exactly `buckets` buckets, for tests that want a table to be full.
    #[cfg(any(test, loom))]
    pub(crate) fn of_buckets(buckets: usize) -> Geometry {
        Geometry { buckets }
    }

    pub(super) fn slots(self) -> usize {
        self.buckets * SLOTS_PER_BUCKET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_cache_line_and_a_slot_a_quarter() {
        assert_eq!(size_of::<Bucket>(), 64);
        assert_eq!(size_of::<Slot>(), 16);
        assert_eq!(size_of::<Detail>(), 48);
    }

    #[test]
    fn no_room_for_none_or_too_many() {
        assert_eq!(Geometry::for_connections(0), None);
        assert_eq!(
            Geometry::for_connections(Geometry::MAX_CONNECTIONS + 1),
            None
        );
    }
}
