// SPDX-License-Identifier: GPL-2.0-or-later
//! Per-worker counts: each worker adds to the cells of its own row.
//!
//! A source's count is the sum of its cells over all rows. Readers take no lock
//! and read only rows that were ever written, which is one as long as one
//! process accepts all connections; that row's cells lie in the slots
//! themselves, so the look-up has fetched them already.
//!
//! A connection is taken off the cell it was added to, by whichever process
//! closes it: the token names the cell. Hence every cell for itself is the number
//! of live connections that its worker opened, and never negative. That is what
//! makes the limit hold with several workers: whoever adds to its cell first and
//! sums afterwards sees every connection that was added before its own and still
//! lives. Taking off one's own row instead would let a sum miss an addition here
//! and see the subtraction there.

#![forbid(unsafe_code)]

use crate::region::{HOME_ROW, ROWS, Region, SLOTS_PER_BUCKET};
use crate::sync::{AtomicI32, Ordering};

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
        if row == HOME_ROW {
            let bucket = &self.region.buckets()[slot / SLOTS_PER_BUCKET];
            &bucket.slots[slot % SLOTS_PER_BUCKET].home_cell
        } else {
            &self.region.cells(row)[slot]
        }
    }

    /// One connection more in the cell of `row`.
    #[inline]
    pub(crate) fn add(self, row: usize, slot: usize) {
        let written = &self.region.header().rows_written;
        let bit = 1 << row;
        // total order: the row is known as written before anything is in it
        if written.load(Ordering::SeqCst) & bit == 0 {
            written.fetch_or(bit, Ordering::SeqCst);
        }
        // total order, see crate::sync: the caller looks at the control word next
        self.cell(row, slot).fetch_add(1, Ordering::SeqCst);
    }

    /// One connection less. `false`, and nothing changed, if there was none.
    #[inline]
    pub(crate) fn take_off(self, row: usize, slot: usize) -> bool {
        let cell = self.cell(row, slot);
        // total order: a replacement that sees 0 afterwards is right to see it
        if cell.fetch_sub(1, Ordering::SeqCst) > 0 {
            return true;
        }
        cell.fetch_add(1, Ordering::SeqCst);
        false
    }

    /// The source's connections: the sum over the rows that were ever written.
    #[inline]
    pub(crate) fn sum(self, slot: usize) -> i32 {
        // total order, see crate::sync
        let written = self.region.header().rows_written.load(Ordering::SeqCst);
        if written & !(1 << HOME_ROW) == 0 {
            return self.read(HOME_ROW, slot);
        }
        (0..ROWS)
            .filter(|row| written & (1 << row) != 0)
            .map(|row| self.read(row, slot))
            .fold(0, i32::saturating_add)
    }

    #[inline]
    fn read(self, row: usize, slot: usize) -> i32 {
        // total order: a sum of 0 allows a replacement. Below 0 is a cell for the
        // moment between the two steps of a refused `take_off`.
        self.cell(row, slot).load(Ordering::SeqCst).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Geometry;

    #[test]
    fn sums_over_rows_and_never_goes_below_zero() {
        let region = Region::create(Geometry::of_buckets(2)).unwrap();
        let rows = Rows::new(&region);
        for row in 0..ROWS {
            for _ in 0..=row {
                rows.add(row, 5);
            }
        }
        assert_eq!(rows.sum(5), 36);
        assert_eq!(rows.sum(4), 0);
        for row in 0..ROWS {
            for _ in 0..=row {
                assert!(rows.take_off(row, 5));
            }
            assert!(!rows.take_off(row, 5));
        }
        assert_eq!(rows.sum(5), 0);
    }
}
