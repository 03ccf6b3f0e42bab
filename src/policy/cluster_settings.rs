// SPDX-License-Identifier: GPL-2.0-or-later
//! [`ClusterSettings`]: the limits over all nodes of a cluster. As for the other
//! [settings](crate::policy::settings), any process may store them.

#![forbid(unsafe_code)]

use crate::policy::rules::Rule;
use crate::shared::layout::Cluster;
use crate::shared::region::Region;
use crate::shared::sync::Ordering;

/// What the other nodes have does not count if it is older, in microseconds.
const STALE_US: u64 = 5_000_000;

/// The settings in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct ClusterSettings<'a>(&'a Cluster);

impl<'a> ClusterSettings<'a> {
    #[inline]
    pub(crate) fn of(region: &'a Region) -> ClusterSettings<'a> {
        ClusterSettings(&region.header().cluster)
    }

    /// The words of a region without rules. Zeros would mean that each source must be
    /// compared with its rule, which is right but slow.
    pub(crate) fn init(self) {
        self.0.lowest_rule.store(u32::MAX, Ordering::Relaxed);
        self.set_limit(0);
    }

    /// The limit of a source without a rule; 0: no limit.
    pub(crate) fn limit(self) -> u32 {
        // Relaxed, here and below: the setting stands alone.
        match self.0.limit.load(Ordering::Relaxed) {
            limit if limit > i32::MAX as u32 => 0,
            limit => limit,
        }
    }

    /// 0, or a number above `i32::MAX`: no limit.
    pub(crate) fn set_limit(self, limit: u32) {
        let limit = if limit == 0 { u32::MAX } else { limit };
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Over how many nodes the rest of a limit is shared; 0: it is not.
    pub(crate) fn shares(self) -> u32 {
        self.0.shares.load(Ordering::Relaxed)
    }

    pub(crate) fn set_shares(self, shares: u32) {
        self.0.shares.store(shares, Ordering::Relaxed);
    }

    /// Says that what the other nodes have is up to date at this time.
    pub(crate) fn set_updated(self, micros: u64) {
        self.0.updated.store(micros.max(1), Ordering::Relaxed);
    }

    /// Whether what the other nodes have was not brought up to date for long, because the
    /// process that does so is stuck. `past` is a time that is not after the present.
    pub(crate) fn is_stale(self, past: u64) -> bool {
        let updated = self.0.updated.load(Ordering::Relaxed);
        updated != 0 && past.saturating_sub(updated) > STALE_US
    }

    /// A source with fewer connections on all nodes may open another, whatever its rule.
    /// Above `i32::MAX` if no source has a limit.
    #[inline]
    pub(crate) fn checked_from(self) -> u32 {
        // Acquire: as in `Settings::checked_from`.
        let rules = self.0.lowest_rule.load(Ordering::Acquire);
        self.0.limit.load(Ordering::Relaxed).min(rules)
    }

    /// While rules are published, the lower one of the old and the new number applies, see
    /// [`Rulebook`](crate::policy::rulebook::Rulebook).
    pub(crate) fn expect_rules(self, lowest: u32) {
        let before = self.0.lowest_rule.load(Ordering::Relaxed);
        self.0
            .lowest_rule
            .store(before.min(lowest), Ordering::Release);
    }

    /// `lowest` is that of the rules that were published.
    pub(crate) fn set_lowest_rule(self, lowest: u32) {
        self.0.lowest_rule.store(lowest, Ordering::Release);
    }
}

/// The lowest limit over all nodes of these rules; `u32::MAX`: none has one.
pub(crate) fn lowest_of(rules: &[Rule]) -> u32 {
    let limits = rules.iter().map(|rule| rule.terms.cluster_limit(0));
    limits.filter(|limit| *limit > 0).min().unwrap_or(u32::MAX)
}
