// SPDX-License-Identifier: GPL-2.0-or-later
//! [`NetworkSettings`]: the limit and the rate of networks without a rule.
//!
//! Whether networks are counted is decided when the limiter is created, because their slots
//! and cells need memory. A switch says so to each check. The other words are read only then.

#![forbid(unsafe_code)]

use super::settings::{Settings, Switches, rate_of};
use super::terms::Rate;
use crate::shared::layout::HISTOGRAM_RANGES;
use crate::shared::region::Region;
use crate::shared::sync::{Ordering, Statistic32, Statistic64};

/// The settings about networks in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct NetworkSettings<'a> {
    words: &'a crate::shared::layout::NetworkSettings,
    settings: Settings<'a>,
}

impl<'a> NetworkSettings<'a> {
    #[inline]
    pub(crate) fn of(region: &'a Region) -> NetworkSettings<'a> {
        NetworkSettings {
            words: &region.header().networks,
            settings: Settings::of(region),
        }
    }

    /// The words of a region without rules. `counts`: networks are counted.
    pub(crate) fn init(self, counts: bool) {
        // Relaxed, here and below: each setting stands alone, as in `Settings`.
        self.words.lowest_rule.store(u32::MAX, Ordering::Relaxed);
        if counts {
            self.settings.switch(Switches::NETWORKS, Switches::NETWORKS);
        }
    }

    /// The limit of a network without a rule; 0: no limit.
    pub(crate) fn limit(self) -> i32 {
        self.words
            .limit
            .load(Ordering::Relaxed)
            .cast_signed()
            .max(0)
    }

    /// 0 or less: no limit.
    pub(crate) fn set_limit(self, limit: i32) {
        let limit = limit.max(0).unsigned_abs();
        self.words.limit.store(limit, Ordering::Relaxed);
    }

    /// The rate of a network without another one.
    pub(crate) fn rate(self) -> Rate {
        rate_of(self.words.rate.load(Ordering::Relaxed))
    }

    pub(crate) fn set_rate(self, rate: Rate) {
        let word = &self.words.rate;
        self.settings.store_rate(word, rate, Switches::NETWORK_RATE);
    }

    /// A network with fewer connections may have another, whatever its rule. Above
    /// `i32::MAX` if no network has a limit.
    #[inline]
    pub(crate) fn checked_from(self) -> u32 {
        // Acquire: as in `Settings::checked_from`.
        let rules = self.words.lowest_rule.load(Ordering::Acquire);
        match self.words.limit.load(Ordering::Relaxed) {
            0 => rules,
            limit => limit.min(rules),
        }
    }

    /// The lowest limit of the active rules for networks.
    pub(super) fn lowest_rule(self) -> u32 {
        self.words.lowest_rule.load(Ordering::Relaxed)
    }

    /// Stores what [`lowest_rule`](Self::lowest_rule) returns. Only a writer of rules may.
    pub(super) fn set_lowest_rule(self, lowest: u32) {
        // Release: as for the rules of sources, see `Rulebook::replace`.
        self.words.lowest_rule.store(lowest, Ordering::Release);
    }

    /// Whether an active rule keeps its connections out of their networks.
    #[inline]
    pub(crate) fn has_exceptions(self) -> bool {
        // Relaxed: a look-up finds the answer. A process that does not see the flag yet
        // behaves as if it had looked before the rules were published.
        self.words.exceptions.load(Ordering::Relaxed) != 0
    }

    pub(super) fn set_exceptions(self, any: bool) {
        // Release: see `Rulebook::replace`.
        self.words.exceptions.store(any.into(), Ordering::Release);
    }

    /// The numbers of [`Debts`](crate::observe::debts) of networks.
    pub(crate) fn debts(self) -> &'a [Statistic32; HISTOGRAM_RANGES] {
        &self.words.debts
    }

    /// How many networks are near their limits, as last sampled.
    pub(crate) fn near(self) -> &'a Statistic32 {
        &self.words.near
    }

    /// What the background process sampled last.
    pub(crate) fn gauges(self) -> &'a Statistic64 {
        &self.words.gauges
    }
}
