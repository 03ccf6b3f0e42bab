// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Nearness`]: how near the sources are to their limits.

#![forbid(unsafe_code)]

use crate::limiter::Limiter;
use crate::shared::sync::Ordering;
use crate::source::Source;
use crate::table::details::Owner;

/// A source is near its limit if it has at least this share of it, in percent.
pub const NEAR: u32 = 80;

/// How near the sources are to their limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nearness {
    /// The most connections that one source has.
    pub busiest: u32,
    /// The highest share of its limit that a source has reached, in percent. It is above
    /// 100 if a limit was lowered. Sources without a limit do not count, here and below.
    pub highest_share: u32,
    /// The number of sources with at least [`NEAR`] percent of their limits.
    pub near: u32,
}

impl Nearness {
    /// Adds a source with `connections`.
    pub(super) fn add(
        &mut self,
        limiter: &Limiter,
        source: Source,
        owner: Owner,
        connections: u32,
    ) {
        self.busiest = self.busiest.max(connections);
        let checked_from = limiter.settings().checked_from();
        if checked_from > i32::MAX as u32 {
            return; // No source has a limit.
        }
        // No limit is lower, and most sources are far from this one. So few rules are
        // looked up, except while a prefix is banned.
        let share = share(connections, checked_from);
        if share < NEAR && share <= self.highest_share {
            return;
        }
        let detail = limiter.details().own(owner);
        let (_, terms) = limiter
            .rulebook()
            .resolve_cached(source, owner.tag(), detail);
        if terms.limit > 0 {
            self.add_share(self::share(connections, terms.limit.unsigned_abs()));
        }
    }

    fn add_share(&mut self, share: u32) {
        self.highest_share = self.highest_share.max(share);
        self.near = self.near.saturating_add(u32::from(share >= NEAR));
    }

    /// Stores it for [`last`](Self::last).
    pub(super) fn publish(self, limiter: &Limiter) {
        let (busiest, near) = limiter.nearness();
        // Relaxed (statistics), here and below.
        let shared = u64::from(self.busiest) << 32 | u64::from(self.highest_share);
        busiest.store(shared, Ordering::Relaxed);
        near.store(self.near, Ordering::Relaxed);
    }

    /// What [`watch`](crate::observe::watch) sampled last; zeros before its first pass
    /// through the table.
    pub fn last(limiter: &Limiter) -> Nearness {
        let (busiest, near) = limiter.nearness();
        let shared = busiest.load(Ordering::Relaxed);
        Nearness {
            busiest: (shared >> 32) as u32,
            highest_share: shared as u32,
            near: near.load(Ordering::Relaxed),
        }
    }
}

/// The share of `connections` in `limit`, in percent, rounded down.
pub(super) fn share(connections: u32, limit: u32) -> u32 {
    let percent = u64::from(connections) * 100 / u64::from(limit.max(1));
    u32::try_from(percent).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_rounded_down() {
        let shares = [(0, 5), (4, 5), (79, 100), (799, 1000), (3, 2), (1, 1)];
        let percents = shares.map(|(connections, limit)| share(connections, limit));
        assert_eq!(percents, [0, 80, 79, 79, 150, 100]);
        assert_eq!(share(u32::MAX, 1), u32::MAX);
        assert_eq!(share(u32::MAX, u32::MAX), 100);
    }

    #[test]
    fn sources_from_eighty_percent_are_near() {
        let mut nearness = Nearness::default();
        for percent in [0, 79, 80, 100, 81] {
            nearness.add_share(percent);
        }
        assert_eq!((nearness.highest_share, nearness.near), (100, 3));
    }
}
