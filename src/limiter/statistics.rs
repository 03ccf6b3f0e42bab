// SPDX-License-Identifier: GPL-2.0-or-later
//! Statistics: totals, and what the background process samples.

#![forbid(unsafe_code)]

use super::Limiter;
use super::totals::{self, Totals};
use crate::shared::layout::{HISTOGRAM_RANGES, ShieldNumbers};
use crate::shared::sync::{Ordering, Statistic32, Statistic64};
use crate::table::details::Owner;

impl Limiter {
    /// Resets all statistics: totals and the rejections of sources and rules to 0, and
    /// each peak to the current count. Counts of connections do not change.
    pub fn reset_stats(&self) {
        let header = self.region.header();
        let background = &header.background;
        totals::reset(&background.reset_at, &header.tallies);
        background.log_suppressed.store(0, Ordering::Relaxed);
        for number in self.shield_numbers().totals() {
            number.store(0, Ordering::Relaxed);
        }
        for slot in 0..self.table().slots() {
            if let Some((source, at)) = self.table().source_at(slot) {
                let connections = self.rows().sum(slot, at.control.rows());
                let owner = Owner::of(self.table(), source, at);
                self.details().reset(owner, connections.unsigned_abs());
            }
        }
        self.rulebook().reset();
        // Release: a reader that sees this number also sees everything reset before.
        background.resets.fetch_add(1, Ordering::Release);
    }

    /// The totals since the start or the last reset.
    pub fn totals(&self) -> Totals {
        let header = self.region.header();
        Totals::since(&header.background.reset_at, &header.tallies)
    }

    /// How often the statistics were reset. Statistics that are read after this number
    /// cover the time since that reset or a later one.
    pub(crate) fn resets(&self) -> u32 {
        let resets = &self.region.header().background.resets;
        // Acquire: see `reset_stats`.
        resets.load(Ordering::Acquire)
    }

    /// The counter of rejections logged only in a summary line.
    pub(crate) fn log_suppressed(&self) -> &Statistic64 {
        &self.region.header().background.log_suppressed
    }

    /// The last sampled numbers of sources and connections, see
    /// [`Report::last_occupancy`](crate::observe::report::Report::last_occupancy).
    pub(crate) fn gauges(&self) -> &Statistic64 {
        &self.region.header().background.gauges
    }

    /// The words of the last sampled [`Nearness`](crate::observe::nearness::Nearness).
    pub(crate) fn nearness(&self) -> (&Statistic64, &Statistic32) {
        let background = &self.region.header().background;
        (&background.busiest, &background.near)
    }

    /// The numbers of [`Debts`](crate::observe::debts).
    pub(crate) fn debts(&self) -> &[Statistic32; HISTOGRAM_RANGES] {
        &self.region.header().background.debts
    }

    /// The numbers of trusted and of untrusted connections that were last sampled.
    pub(crate) fn trust_gauges(&self) -> (&Statistic64, &Statistic64) {
        let background = &self.region.header().background;
        (&background.trusted, &background.untrusted)
    }

    /// The number of banned sources that was last sampled.
    pub(crate) fn banned(&self) -> &Statistic32 {
        &self.region.header().background.banned
    }

    /// The numbers of the kernel shield.
    pub(crate) fn shield_numbers(&self) -> &ShieldNumbers {
        &self.region.header().background.shield
    }
}
