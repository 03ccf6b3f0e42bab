// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Region`]: the shared mapping, its layout, and all pointer arithmetic.
//!
//! ```text
//! Header                  settings; a Tally per row; which rules are in force
//! Bucket    × buckets     4 slots of 16 bytes: one cache line
//! AtomicI32 × slots       × (ROWS − 1): the cells of every row but the home row
//! Detail    × slots       what only busy sources and reports touch
//! RuleEntry × MAX_RULES   × 2: the rules in force, and those to come
//! ```
//!
//! The mapping is anonymous and shared, made before the server forks, so every
//! process inherits it. It is not reserved in advance: a page takes memory when
//! it is first read or written, and an all-zero page is a valid, empty part of the
//! table, so that creating a region touches the header alone.
//!
//! The size follows from the number of connections the host allows, see
//! [`Geometry`].

use core::fmt;
use core::mem::{align_of, size_of};
use core::ptr::NonNull;

use crate::rules::MAX_RULES;
use crate::sync::{AtomicI32, AtomicU32, AtomicU64};

/// Slots in a bucket: four of 16 bytes fill a cache line of 64 bytes.
pub(crate) const SLOTS_PER_BUCKET: usize = 4;

/// Rows of cells. Workers beyond this number share rows, which costs contention
/// and never a wrong count, since adding to a cell is atomic.
pub(crate) const ROWS: usize = 4;

/// The row whose cells lie in the slots themselves: the row of the worker that
/// accepts the connections.
pub(crate) const HOME_ROW: usize = 0;

/// The place of one source.
#[repr(C)]
pub(crate) struct Slot {
    /// [`Source::word`](crate::source::Source::word) of the source.
    pub(crate) word: AtomicU64,
    /// State, family, generation and rows in use, see [`crate::table`].
    pub(crate) control: AtomicU32,
    /// The source's cell in the home row.
    pub(crate) home_cell: AtomicI32,
}

/// What one look-up reads: a cache line.
#[repr(C, align(64))]
pub(crate) struct Bucket {
    pub(crate) slots: [Slot; SLOTS_PER_BUCKET],
}

/// What a slot's source has beside its key and its count, see [`crate::details`].
#[repr(C)]
pub(crate) struct Detail {
    /// [`Source::low`](crate::source::Source::low) of the source.
    pub(crate) low: AtomicU64,
    /// A source and its rule, see [`crate::rulebook`].
    pub(crate) rule: AtomicU64,
    /// To whom all that follows belongs.
    pub(crate) owner: AtomicU32,
    /// Connections refused.
    pub(crate) rejected: AtomicU32,
    /// Connections that would have been refused, in monitor mode.
    pub(crate) would_reject: AtomicU32,
    /// Its connections when one was last refused, or would have been.
    pub(crate) refused_at: AtomicU32,
    /// Most connections it had at a time.
    pub(crate) peak: AtomicU32,
    /// Host clock plus 1; 0: not yet.
    pub(crate) first_seen: AtomicU32,
    /// As above.
    pub(crate) last_seen: AtomicU32,
}

/// The statistics of one row: its own cache lines, so that workers do not meet.
#[repr(C, align(128))]
pub(crate) struct Tally {
    pub(crate) admitted: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) would_reject: AtomicU64,
    pub(crate) full_rejected: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) table_full: AtomicU64,
    pub(crate) bad_address: AtomicU64,
    pub(crate) stale_token: AtomicU64,
    pub(crate) descriptor_reused: AtomicU64,
}

/// What every check reads and hardly anybody writes.
#[repr(C, align(128))]
pub(crate) struct Settings {
    /// Connections of a source without a rule; 0 or negative: any number.
    pub(crate) limit: AtomicI32,
    /// The lowest limit of the rules in force; 0: none has one.
    pub(crate) lowest_rule: AtomicI32,
    /// See [`Mode`](crate::settings::Mode).
    pub(crate) mode: AtomicU32,
    /// See [`OnFull`](crate::settings::OnFull).
    pub(crate) on_full: AtomicU32,
    /// Counts the sets of rules; the lowest bit tells which half is in force.
    pub(crate) rules_generation: AtomicU32,
    /// Rules in each half.
    pub(crate) rules_count: [AtomicU32; 2],
}

/// What only reports and the background process touch.
#[repr(C, align(128))]
pub(crate) struct Background {
    /// Process that changes rules; 0: none.
    pub(crate) rules_writer: AtomicU32,
    /// Rejections that no line of the log tells of one by one.
    pub(crate) log_suppressed: AtomicU64,
    /// Rejections of sources without a rule.
    pub(crate) default_rejected: AtomicU64,
    /// Connections of sources without a rule that would have been rejected.
    pub(crate) default_would_reject: AtomicU64,
    /// How often the statistics were reset.
    pub(crate) resets: AtomicU32,
    /// What the tallies had in all at the last reset.
    pub(crate) reset_at: Tally,
}

/// The first bytes of the mapping.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) settings: Settings,
    pub(crate) background: Background,
    pub(crate) tallies: [Tally; ROWS],
}

/// A rule in force, see [`crate::rulebook`].
#[repr(C)]
pub(crate) struct RuleEntry {
    pub(crate) upper: AtomicU64,
    pub(crate) lower: AtomicU64,
    /// Rejections of sources of this rule.
    pub(crate) rejected: AtomicU64,
    pub(crate) would_reject: AtomicU64,
    /// Length, and family above it.
    pub(crate) shape: AtomicU32,
    /// Next shorter prefix around it, plus 1; 0: none.
    pub(crate) parent: AtomicU32,
    /// 0: unlimited.
    pub(crate) limit: AtomicI32,
}

/// How many buckets serve how many connections.
///
/// At the worst every connection is a source of its own. Buckets with four slots
/// and two choices then hold 1.22 sources on average. By the fluid limit of the
/// process (M. Mitzenmacher, "The power of two choices in randomized load
/// balancing", 1996; here with the rule of the table's `choose`, and with
/// departures), a source that comes while all connections are in use, each by
/// another source, finds both buckets full with a probability of 1.3·10⁻⁶; at four
/// fifths of that, 2·10⁻⁸. The limiter's policy for a full table covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    buckets: usize,
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
        let buckets = u64::from(max_connections) * 9 / 11 + 16;
        Some(Geometry {
            buckets: usize::try_from(buckets).ok()?,
        })
    }

    /// Exactly `buckets` buckets, for tests that want a table to be full.
    #[cfg(test)]
    pub(crate) fn of_buckets(buckets: usize) -> Geometry {
        Geometry { buckets }
    }

    fn slots(self) -> usize {
        self.buckets * SLOTS_PER_BUCKET
    }

    fn buckets_at(self) -> usize {
        size_of::<Header>().next_multiple_of(align_of::<Bucket>())
    }

    fn cells_at(self) -> usize {
        self.buckets_at() + self.buckets * size_of::<Bucket>()
    }

    fn details_at(self) -> usize {
        let cells = (ROWS - 1) * self.slots() * size_of::<AtomicI32>();
        (self.cells_at() + cells).next_multiple_of(align_of::<Detail>())
    }

    fn rules_at(self) -> usize {
        let end = self.details_at() + self.slots() * size_of::<Detail>();
        end.next_multiple_of(align_of::<RuleEntry>())
    }

    fn bytes(self) -> usize {
        self.rules_at() + 2 * MAX_RULES * size_of::<RuleEntry>()
    }
}

/// Why there is no region: the system refused to map so many bytes.
#[derive(Debug)]
pub(crate) struct RegionError(usize, std::io::Error);

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RegionError(bytes, error) = self;
        write!(f, "cannot map {bytes} bytes of shared memory: {error}")
    }
}

/// A mapping that all processes forked after its creation share.
pub(crate) struct Region {
    base: NonNull<u8>,
    geometry: Geometry,
}

// SAFETY: the mapping belongs to the Region alone; all it hands out are shared
// references to atomics.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    pub(crate) fn create(geometry: Geometry) -> Result<Region, RegionError> {
        let bytes = geometry.bytes();
        // SAFETY: a new anonymous mapping touches no memory of anybody.
        let base = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(RegionError(bytes, std::io::Error::last_os_error()));
        }
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(RegionError(bytes, std::io::ErrorKind::Other.into()));
        };
        Ok(Region { base, geometry })
    }

    /// Bytes of address space for sources, without those for rules.
    pub(crate) fn table_bytes(&self) -> usize {
        self.geometry.rules_at()
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a Header, which consists of atomics, for
        // which zeroed memory is valid.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    #[inline]
    pub(crate) fn buckets(&self) -> &[Bucket] {
        // SAFETY: Bucket consists of atomics, for which zeroed memory is valid.
        unsafe { self.slice(self.geometry.buckets_at(), self.geometry.buckets) }
    }

    /// The cells of a row other than the home row.
    #[inline]
    pub(crate) fn cells(&self, row: usize) -> &[AtomicI32] {
        assert!(row != HOME_ROW && row < ROWS);
        let slots = self.geometry.slots();
        let at = self.geometry.cells_at() + (row - 1) * slots * size_of::<AtomicI32>();
        // SAFETY: AtomicI32 is an atomic, for which zeroed memory is valid.
        unsafe { self.slice(at, slots) }
    }

    #[inline]
    pub(crate) fn details(&self) -> &[Detail] {
        // SAFETY: Detail consists of atomics, for which zeroed memory is valid.
        unsafe { self.slice(self.geometry.details_at(), self.geometry.slots()) }
    }

    /// Both halves of the rules.
    pub(crate) fn rules(&self) -> [&[RuleEntry]; 2] {
        let half = MAX_RULES * size_of::<RuleEntry>();
        [0, half].map(|offset| {
            // SAFETY: RuleEntry consists of atomics, for which zeroed memory is
            // valid.
            unsafe { self.slice(self.geometry.rules_at() + offset, MAX_RULES) }
        })
    }

    /// `count` items of type `T` from byte `at` on.
    ///
    /// # Safety
    ///
    /// `T` consists of atomics for which zeroed memory is valid, and nothing else
    /// is ever made of these bytes: [`Geometry`] gives each array its own.
    #[inline]
    unsafe fn slice<T>(&self, at: usize, count: usize) -> &[T] {
        debug_assert!(at.is_multiple_of(align_of::<T>()));
        debug_assert!(at + count * size_of::<T>() <= self.geometry.bytes());
        // SAFETY: in bounds and aligned by Geometry's arithmetic (asserted above);
        // valid as the caller promises; alive as long as the mapping, which is as
        // long as `self`.
        unsafe { core::slice::from_raw_parts(self.base.add(at).cast::<T>().as_ptr(), count) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: base and length are those that mmap gave to `create`, and no
        // reference into the mapping outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.geometry.bytes()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Ordering;

    #[test]
    fn a_bucket_is_a_cache_line_and_a_slot_a_quarter() {
        assert_eq!(size_of::<Bucket>(), 64);
        assert_eq!(size_of::<Slot>(), 16);
        assert_eq!(size_of::<Detail>(), 48);
    }

    #[test]
    fn at_most_256_bytes_for_a_connection() {
        // below a thousand the header and the few extra buckets weigh more
        for connections in [1_000, 2_048, 35_000, 1_000_000, 100_000_000] {
            let geometry = Geometry::for_connections(connections).unwrap();
            // the rules' part is the same for any number of connections
            let each = geometry.rules_at() as f64 / f64::from(connections);
            assert!(each <= 256.0, "{connections}: {each}");
        }
    }

    #[test]
    fn no_room_for_none_or_too_many() {
        assert_eq!(Geometry::for_connections(0), None);
        assert_eq!(
            Geometry::for_connections(Geometry::MAX_CONNECTIONS + 1),
            None
        );
    }

    #[test]
    fn parts_do_not_overlap() {
        let region = Region::create(Geometry::of_buckets(3)).unwrap();
        for (i, bucket) in region.buckets().iter().enumerate() {
            for slot in &bucket.slots {
                slot.word.store(i as u64, Ordering::Relaxed);
            }
        }
        for row in 1..ROWS {
            for cell in region.cells(row) {
                cell.store(-(row as i32), Ordering::Relaxed);
            }
        }
        for detail in region.details() {
            detail.low.store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!(region.header().settings.limit.load(Ordering::Relaxed), 0);
        assert_eq!(region.buckets().len(), 3);
        assert_eq!(region.details().len(), 12);
        for (i, bucket) in region.buckets().iter().enumerate() {
            for slot in &bucket.slots {
                assert_eq!(slot.word.load(Ordering::Relaxed), i as u64);
                assert_eq!(slot.control.load(Ordering::Relaxed), 0);
            }
        }
        for row in 1..ROWS {
            for cell in region.cells(row) {
                assert_eq!(cell.load(Ordering::Relaxed), -(row as i32));
            }
        }
    }
}
