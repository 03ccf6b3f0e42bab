// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Sampler`]: walks through the table and records what it sees of each source: its peak
//! and the time; and how near all are to their limits.

#![forbid(unsafe_code)]

use crate::limiter::{Limiter, RejectedFor};
use crate::observe::debts::Debts;
use crate::observe::nearness::Nearness;
use crate::observe::networks::Networks;
use crate::observe::report::{Of, Report, SourceReport};
use crate::shared::sync::Ordering;
use crate::table::details::Owner;

/// Slots sampled in one tick: the whole table if it is sized for 5 million connections or
/// fewer. A larger table takes several ticks, at most 20: one tick of this many slots takes
/// up to 0.2 s, and [`Report::last_occupancy`] ages meanwhile. Counting all slots of the
/// largest table takes 0.75 s, and the host waits a second between two ticks: 2 s in all.
pub(super) const SLOTS_PER_TICK: usize = 1 << 24;

/// A source that has rejections.
pub(super) struct Sample {
    pub(super) report: SourceReport,
    pub(super) start: Start,
    /// These are the rejections of a source while only other nodes of the cluster had
    /// connections of it.
    pub(super) without_own: bool,
}

impl Sample {
    /// All sources with such rejections.
    pub(super) fn without_own(limiter: &Limiter) -> impl Iterator<Item = Sample> + '_ {
        let others = limiter.all_others();
        let rejected = others.filter(|others| others.rejected > 0 || others.would_reject > 0);
        rejected.map(|others| Sample {
            report: SourceReport {
                rejected: others.rejected,
                would_reject: others.would_reject,
                rejected_at: others.connections,
                rejected_for: Some(RejectedFor::Cluster),
                ..Report::of(limiter).get(others.source)
            },
            // If the numbers start at 0 again, they are lower than those that were logged.
            start: Start {
                first_seen: 0,
                resets: 0,
            },
            without_own: true,
        })
    }
}

/// Identifies when the numbers of a source started at 0. A source that moves to another
/// slot keeps it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// When the source was first seen.
    first_seen: u32,
    /// The number of resets.
    resets: u32,
}

/// What a sample found.
pub(super) enum Found {
    /// A source that has rejections.
    Rejections(Sample),
    /// A banned source.
    Banned(SourceReport),
}

/// The position in the table.
#[derive(Default)]
pub(super) struct Sampler {
    next_slot: usize,
    /// The sources before that slot.
    nearness: Nearness,
    /// The networks before that slot.
    networks: Networks,
    /// The banned sources before that slot.
    banned: u32,
    /// The trusted connections of the sources before that slot, and the others.
    trusted: [u64; 2],
    debts: Debts,
    network_debts: Debts,
}

impl Sampler {
    /// Samples the next `max` slots, or all if there are fewer, at the time `now` of the
    /// host clock. `found` gets the sources that have rejections, and those that are banned.
    /// Slots whose sources have paid what they owed forget it.
    pub(super) fn sample(
        &mut self,
        max: usize,
        limiter: &Limiter,
        now: u32,
        found: &mut dyn FnMut(Found),
    ) {
        let slots = limiter.table().slots();
        for _ in 0..slots.min(max) {
            let slot = self.next_slot;
            if limiter.table().remembers(slot)
                && let Some(report) = self.settle(limiter, slot)
            {
                self.banned = self.banned.saturating_add(1);
                found(Found::Banned(report));
            }
            if limiter.table().is_in_use(slot)
                && let Some(sample) = self.sample_slot(limiter, slot, now)
            {
                found(Found::Rejections(sample));
            }
            self.next_slot += 1;
            if self.next_slot == slots {
                self.next_slot = 0;
                core::mem::take(&mut self.nearness).publish(limiter);
                core::mem::take(&mut self.networks).publish(limiter);
                self.debts.publish(limiter, Of::Sources);
                self.network_debts.publish(limiter, Of::Networks);
                let banned = core::mem::take(&mut self.banned);
                // Relaxed (statistics).
                limiter.banned().store(banned, Ordering::Relaxed);
                let [trusted, untrusted] = core::mem::take(&mut self.trusted);
                let gauges = limiter.trust_gauges();
                // Relaxed (statistics).
                gauges.0.store(trusted, Ordering::Relaxed);
                gauges.1.store(untrusted, Ordering::Relaxed);
            }
        }
    }

    /// Lets `slot` forget what is paid off, and adds what is owed to the debts. Returns its
    /// source if that is banned.
    fn settle(&mut self, limiter: &Limiter, slot: usize) -> Option<SourceReport> {
        let (report, at) = Report::of(limiter).slot(slot)?;
        let debts = match report.source.is_network() {
            true => &mut self.network_debts,
            false => &mut self.debts,
        };
        debts.add(limiter, &report);
        let owner = Owner::of(limiter.table(), report.source, at);
        limiter.restraints(owner, at).settle(limiter.micros());
        report.ban().is_some().then_some(report)
    }

    /// Samples the source or network in `slot`. `None` if it has no rejections.
    fn sample_slot(&mut self, limiter: &Limiter, slot: usize, now: u32) -> Option<Sample> {
        // Read before the numbers: if they are reset in between, they are lower than those
        // that were logged, and nothing is logged twice.
        let resets = limiter.resets();
        let (report, at) = Report::of(limiter).slot(slot)?;
        if limiter.has_trust() && !report.source.is_network() {
            self.trusted[0] += u64::from(report.trusted);
            self.trusted[1] += u64::from(report.untrusted());
        }
        let has_rejections = report.rejected > 0 || report.would_reject > 0;
        // A source that came and went since the last sample is also recorded, once.
        let is_known = report.first_seen != 0;
        if report.connections == 0 && !has_rejections && is_known {
            return None;
        }
        let owner = Owner::of(limiter.table(), report.source, at);
        let first_seen = limiter.details().sample(owner, report.connections, now);
        if report.connections > 0 {
            match report.source.is_network() {
                true => (self.networks).add(limiter, report.source, owner, report.connections),
                false => (self.nearness).add(limiter, report.source, owner, report.connections),
            }
        }
        has_rejections.then_some(Sample {
            report,
            start: Start { first_seen, resets },
            without_own: false,
        })
    }
}

/// Counts sources and connections for [`Report::last_occupancy`].
pub(super) fn publish_occupancy(limiter: &Limiter) {
    let gauges = Report::of(limiter).occupancy().to_gauges();
    // Relaxed (statistics).
    limiter.gauges().store(gauges, Ordering::Relaxed);
}
