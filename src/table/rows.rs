// SPDX-License-Identifier: GPL-2.0-or-later
//! Per-worker counts: each worker adds to the cells of its own row.
//!
//! A source's count is the sum of its cells over the rows in which it was ever
//! counted, which its slot names ([`RowSet`]). Readers take no lock. One process
//! that accepts all connections makes that one row, and its cells lie in the slots
//! themselves, so the look-up has fetched them already. Cells of other rows lie
//! close together by row, so that workers with different sources do not meet.
//!
//! A connection is taken off the cell it was added to, by whichever process
//! closes it: the token names the cell. Hence every cell for itself is the number
//! of live connections that its worker opened, and never negative. That is what
//! makes the limit hold with several workers: whoever adds to its cell first and
//! sums afterwards sees every connection that was added before its own and still
//! lives. Taking off one's own row instead would let a sum miss an addition here
//! and see the subtraction there.

#![forbid(unsafe_code)]

use crate::shared::layout::{ACCEPTOR_ROW, ROWS, SLOTS_PER_BUCKET};
use crate::shared::region::Region;
use crate::shared::sync::{AtomicI32, Ordering};

/// Some of the rows, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowSet(pub(crate) u32);

impl RowSet {
    pub(crate) const ALL: RowSet = RowSet((1 << ROWS) - 1);
    const ACCEPTOR: RowSet = RowSet(1 << ACCEPTOR_ROW);

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
}

impl<'a> Rows<'a> {
    pub(crate) fn new(region: &'a Region) -> Rows<'a> {
        Rows { region }
    }

    #[inline]
    fn cell(self, row: usize, slot: usize) -> &'a AtomicI32 {
        if row == ACCEPTOR_ROW {
            let bucket = &self.region.buckets()[slot / SLOTS_PER_BUCKET];
            &bucket.slots[slot % SLOTS_PER_BUCKET].acceptor_cell
        } else {
            &self.region.cells(row)[slot]
        }
    }

    /// One connection more in the cell of `row`, which the slot names; how many
    /// there are then in this cell.
    #[inline]
    pub(crate) fn add(self, row: usize, slot: usize) -> i32 {
        // total order, see crate::shared::sync: the caller looks at the control word next
        let before = self.cell(row, slot).fetch_add(1, Ordering::SeqCst);
        before.saturating_add(1)
    }

    /// One connection less. `false`, and nothing changed, if there was none.
    #[inline]
    pub(crate) fn release(self, row: usize, slot: usize) -> bool {
        // One step: a process killed between two would leave the cell wrong for ever.
        // Run again only because another process changed the cell just then.
        //
        // Success: total order, a replacement that sees 0 afterwards is right to see
        // it. Failure, Relaxed: who holds a token added to this cell before, and
        // nobody takes that off but him, so he reads more than 0 whenever he reads.
        let less = |connections: i32| (connections > 0).then(|| connections - 1);
        let cell = self.cell(row, slot);
        cell.fetch_update(Ordering::SeqCst, Ordering::Relaxed, less)
            .is_ok()
    }

    /// The source's connections in the rows of `set`.
    #[inline]
    pub(crate) fn sum(self, slot: usize, set: RowSet) -> i32 {
        if set == RowSet::ACCEPTOR {
            return self.read(ACCEPTOR_ROW, slot);
        }
        self.sum_of_many(slot, set)
    }

    /// Apart, so that a caller has only the one load of the usual case in its code.
    #[inline(never)]
    fn sum_of_many(self, slot: usize, set: RowSet) -> i32 {
        (0..ROWS)
            .filter(|row| set.0 & (1 << row) != 0)
            .map(|row| self.read(row, slot))
            .fold(0, i32::saturating_add)
    }

    /// As `sum`, but of no rows it is the acceptor cell: nearly all sets are the acceptor row
    /// alone or, in an empty slot, no row, and a caller that tells them apart by other
    /// means saves a branch.
    #[inline]
    pub(crate) fn sum_or_acceptor(self, slot: usize, set: RowSet) -> i32 {
        if set.0 & !RowSet::ACCEPTOR.0 == 0 {
            return self.read(ACCEPTOR_ROW, slot);
        }
        self.sum(slot, set)
    }

    #[inline]
    fn read(self, row: usize, slot: usize) -> i32 {
        // total order: a sum of 0 allows a replacement. Below 0 is a cell only in
        // memory that was damaged.
        self.cell(row, slot).load(Ordering::SeqCst).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::layout::Geometry;
    use crate::shared::sync::{AtomicBool, AtomicU32};

    #[test]
    fn sums_over_rows_and_never_goes_below_zero() {
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

    /// A refused release is nothing that anybody could see, or that a process could
    /// be killed in the middle of: it is not there.
    #[test]
    fn a_refusal_changes_nothing_for_a_moment() {
        let region = Region::create(Geometry::of_buckets(2)).unwrap();
        let rows = Rows::new(&region);
        let (refused, done) = (AtomicU32::new(0), AtomicBool::new(false));
        // Relaxed, in all that follows: nothing else is told by these
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(!rows.release(1, 5));
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            });
            // so often was it looked at while another one was under way
            let (mut looks, mut seen, mut before) = (0, 0, 0);
            while looks < 20_000 {
                seen += u32::from(rows.cell(1, 5).load(Ordering::SeqCst) != 0);
                let now = refused.load(Ordering::Relaxed);
                looks += u32::from(now != before);
                before = now;
            }
            done.store(true, Ordering::Relaxed);
            assert_eq!(seen, 0, "times there was a number");
        });
    }
}
