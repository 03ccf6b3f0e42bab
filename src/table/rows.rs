// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Rows`]: counts per worker; each worker adds to the cells of its own row.
//!
//! A source's count is the sum of its cells over the rows in which it was counted since it
//! took its slot; the slot names these rows ([`RowSet`]). Readers take no lock. If one
//! process accepts all connections, only the acceptor row is used. Its cells lie in the
//! slots themselves, so the look-up has already fetched them. The cells of each other row
//! are contiguous, so workers with different rows hardly ever share a cache line.
//!
//! A connection is released from the cell it was added to, whichever process closes it:
//! the token names the cell. Hence each cell is the number of live connections that the
//! workers of its row opened, and it is never negative. This makes the limit hold with several workers:
//! a worker that first adds to its cell and then sums sees every connection that was added
//! before its own and still lives. If a worker decremented its own row instead, a sum could
//! miss an addition in one row and see the matching subtraction in another.

#![forbid(unsafe_code)]

use crate::shared::layout::{ACCEPTOR_ROW, Bucket, ROWS, SLOTS_PER_BUCKET, Slot};
use crate::shared::region::Region;
use crate::shared::sync::{AtomicI32, Ordering};

/// A set of rows, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowSet(pub(crate) u32);

impl RowSet {
    pub(crate) const ALL: RowSet = RowSet((1 << ROWS) - 1);
    pub(crate) const ACCEPTOR: RowSet = RowSet(1 << ACCEPTOR_ROW);

    pub(crate) fn of(row: usize) -> RowSet {
        RowSet(1 << row)
    }

    #[inline]
    pub(crate) fn is_one(self) -> bool {
        self.0.is_power_of_two()
    }
}

/// The cells of all rows.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    region: &'a Region,
    buckets: &'a [Bucket],
}

impl<'a> Rows<'a> {
    #[inline]
    pub(crate) fn new(region: &'a Region) -> Rows<'a> {
        Rows::among(region, region.buckets())
    }

    /// As [`new`](Self::new), for a caller that has the buckets of the region.
    #[inline]
    pub(super) fn among(region: &'a Region, buckets: &'a [Bucket]) -> Rows<'a> {
        Rows { region, buckets }
    }

    #[inline(always)]
    fn cell(self, row: usize, slot: usize) -> &'a AtomicI32 {
        if row == ACCEPTOR_ROW {
            let bucket = &self.buckets[slot / SLOTS_PER_BUCKET];
            &bucket.slots[slot % SLOTS_PER_BUCKET].acceptor_cell
        } else {
            &self.region.cells(row)[slot]
        }
    }

    /// The cell of a slot that may be out of range, because a record names it.
    #[inline(always)]
    fn any_cell(self, row: usize, slot: usize) -> Option<&'a AtomicI32> {
        if row == ACCEPTOR_ROW {
            let bucket = self.buckets.get(slot / SLOTS_PER_BUCKET)?;
            Some(&bucket.slots[slot % SLOTS_PER_BUCKET].acceptor_cell)
        } else {
            self.region.cells(row).get(slot)
        }
    }

    /// Adds a connection to the cell of `row`, which must be entered in the slot. Returns
    /// the new value of the cell.
    #[inline(always)]
    pub(crate) fn add(self, row: usize, slot: usize) -> i32 {
        // total order, see crate::shared::sync: the caller reads the control word next.
        let before = self.cell(row, slot).fetch_add(1, Ordering::SeqCst);
        before.saturating_add(1)
    }

    /// Subtracts a connection from the cell. `false` if the cell had none, or there is no such
    /// slot, as in damaged memory; then nothing has changed.
    #[inline]
    pub(crate) fn release(self, row: usize, slot: usize) -> bool {
        // One atomic step, because a process killed between two steps would leave the cell
        // wrong until the restart. The loop repeats only if another process changed the
        // cell at that moment.
        //
        // Success is total order: a replacement that reads 0 afterwards may rely on it.
        // Failure is Relaxed: the token's holder added to this cell and is the only one
        // who may subtract that unit, so it always reads a value above 0.
        let less = |connections: i32| (connections > 0).then(|| connections - 1);
        self.any_cell(row, slot).is_some_and(|cell| {
            cell.fetch_update(Ordering::SeqCst, Ordering::Relaxed, less)
                .is_ok()
        })
    }

    /// The source's connections in the rows of `set`.
    #[inline]
    pub(crate) fn sum(self, slot: usize, set: RowSet) -> i32 {
        if set == RowSet::ACCEPTOR {
            return self.read(ACCEPTOR_ROW, slot);
        }
        sum_of_many(self.region, slot, set)
    }

    /// As [`sum`](Self::sum), for a caller that has the entry of the slot.
    #[inline]
    pub(super) fn sum_in(self, entry: &Slot, slot: usize, set: RowSet) -> i32 {
        if set == RowSet::ACCEPTOR {
            return value_of(&entry.acceptor_cell);
        }
        sum_of_many(self.region, slot, set)
    }

    /// Like `sum`, but returns the acceptor cell for an empty set. Nearly all sets are the
    /// acceptor row alone or, in an empty slot, empty. A caller that distinguishes these
    /// two by other means saves a branch.
    #[inline]
    pub(crate) fn sum_or_acceptor(self, slot: usize, set: RowSet) -> i32 {
        if set.0 & !RowSet::ACCEPTOR.0 == 0 {
            return self.read(ACCEPTOR_ROW, slot);
        }
        self.sum(slot, set)
    }

    #[inline]
    fn read(self, row: usize, slot: usize) -> i32 {
        value_of(self.cell(row, slot))
    }
}

#[inline]
fn value_of(cell: &AtomicI32) -> i32 {
    // total order: a sum of 0 allows a replacement. A cell is below 0 only in damaged memory.
    cell.load(Ordering::SeqCst).max(0)
}

/// The sum of several rows. A function of its own, so that callers inline only the single
/// load of the usual case. It takes the region, because `Rows` does not fit into registers.
#[inline(never)]
fn sum_of_many(region: &Region, slot: usize, set: RowSet) -> i32 {
    let rows = Rows::new(region);
    (0..ROWS)
        .filter(|row| set.0 & (1 << row) != 0)
        .map(|row| rows.read(row, slot))
        .fold(0, i32::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::layout::Geometry;
    use crate::shared::sync::{AtomicBool, AtomicU32};

    #[test]
    fn sum_covers_rows_and_stays_above_zero() {
        let region = Region::create(Geometry::of_buckets(2)).unwrap();
        let rows = Rows::new(&region);
        for row in 0..ROWS {
            for _ in 0..=row {
                rows.add(row, 5);
            }
        }
        assert_eq!(rows.sum(5, RowSet::ALL), 10);
        assert_eq!(rows.sum(5, RowSet::of(2)), 3);
        assert_eq!(rows.sum(4, RowSet::ALL), 0);
        for row in 0..ROWS {
            for _ in 0..=row {
                assert!(rows.release(row, 5));
            }
            assert!(!rows.release(row, 5));
        }
        assert_eq!(rows.sum(5, RowSet::ALL), 0);
    }

    /// A failed release never changes the cell, not even for a moment in which another
    /// process could see it or its own process could be killed.
    #[test]
    fn failed_release_never_changes_the_cell() {
        let region = Region::create(Geometry::of_buckets(2)).unwrap();
        let rows = Rows::new(&region);
        let (refused, done) = (AtomicU32::new(0), AtomicBool::new(false));
        // Relaxed, here and below: these publish no other memory.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(!rows.release(1, 5));
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
            // The number of looks at the cell while another release was under way.
            let (mut looks, mut seen, mut before) = (0, 0, 0);
            while looks < 20_000 {
                seen += u32::from(rows.cell(1, 5).load(Ordering::SeqCst) != 0);
                let now = refused.load(Ordering::Relaxed);
                looks += u32::from(now != before);
                before = now;
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(seen, 0, "looks that saw another value than 0");
        });
    }
}
