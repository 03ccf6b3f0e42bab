// SPDX-License-Identifier: GPL-2.0-or-later
//! What an operator asks for: one source, the busiest sources, how many.
//!
//! All of it is read in the asking process, from the live table, without a lock:
//! each line is right for the moment at which it was read.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, TryReserveError};

use crate::limiter::Limiter;
use crate::source::Source;
use crate::sync::Ordering;

/// A source as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceReport {
    // first, since the derived order is by connections
    /// Its connections.
    pub connections: u32,
    /// Rejections since it is in the table.
    pub rejected: u32,
    /// Who it is.
    pub source: Source,
}

/// The table as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Sources with connections.
    pub sources: u64,
    /// Their connections.
    pub connections: u64,
    /// Places for sources.
    pub slots: u64,
}

impl Limiter {
    /// The source's numbers; zeros if it is not in the table.
    pub fn get(&self, source: Source) -> SourceReport {
        while let Some(place) = self.table().find(source) {
            match self.report(place.slot) {
                Some(report) if report.source == source => return report,
                // another process moved it between the two look-ups, once a turn
                _ => continue,
            }
        }
        SourceReport {
            connections: 0,
            rejected: 0,
            source,
        }
    }

    /// All sources that have connections, in no order.
    pub fn sources(&self) -> impl Iterator<Item = SourceReport> + '_ {
        (0..self.table().slots())
            .filter_map(|slot| self.report(slot))
            .filter(|report| report.connections > 0)
    }

    /// The `n` sources with most connections, most first.
    ///
    /// # Errors
    ///
    /// If there is no memory for `n` reports.
    pub fn top(&self, n: usize) -> Result<Vec<SourceReport>, TryReserveError> {
        let n = n.min(self.table().slots());
        let mut top = BinaryHeap::new();
        top.try_reserve(n + 1)?;
        for report in self.sources() {
            top.push(Reverse(report));
            if top.len() > n {
                top.pop();
            }
        }
        let sorted = top.into_sorted_vec();
        Ok(sorted.into_iter().map(|Reverse(report)| report).collect())
    }

    /// Counts sources and connections.
    pub fn occupancy(&self) -> Occupancy {
        let mut occupancy = Occupancy {
            slots: self.table().slots() as u64,
            ..Occupancy::default()
        };
        for report in self.sources() {
            occupancy.sources += 1;
            occupancy.connections += u64::from(report.connections);
        }
        occupancy
    }

    fn report(&self, slot: usize) -> Option<SourceReport> {
        let table = self.table();
        loop {
            let (source, place) = table.source_at(slot)?;
            let detail = table.detail(slot);
            // statistics
            let rejected = if detail.epoch.load(Ordering::Relaxed) == place.control.epoch() {
                detail.rejected.load(Ordering::Relaxed)
            } else {
                0
            };
            let report = SourceReport {
                connections: self.rows().sum(slot, place.control.rows()).unsigned_abs(),
                rejected,
                source,
            };
            // else the numbers may be those of a source that replaced it; each
            // turn takes another process that wanted the slot just then
            if table.held(place).is_some() {
                return Some(report);
            }
        }
    }
}
