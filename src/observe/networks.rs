// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Networks`]: how many networks have connections, the most that one has, and how many are
//! near their limits.

#![forbid(unsafe_code)]

use crate::limiter::Limiter;
use crate::observe::nearness::{NEAR, share};
use crate::shared::sync::Ordering;
use crate::source::Source;
use crate::table::details::Owner;

/// The networks with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// How many there are.
    pub networks: u32,
    /// The most connections that one of them has.
    pub busiest: u32,
    /// How many have at least [`NEAR`] percent of their limits.
    pub near: u32,
}

impl Networks {
    /// Adds a network with `connections`.
    pub(super) fn add(
        &mut self,
        limiter: &Limiter,
        network: Source,
        owner: Owner,
        connections: u32,
    ) {
        self.networks = self.networks.saturating_add(1);
        self.busiest = self.busiest.max(connections);
        let checked_from = limiter.network_settings().checked_from();
        // No limit is lower, so few rules are looked up.
        if checked_from > i32::MAX as u32 || share(connections, checked_from) < NEAR {
            return;
        }
        let (_, terms) = limiter.terms_of_source(network, owner);
        let is_near = terms.limit > 0 && share(connections, terms.limit.unsigned_abs()) >= NEAR;
        self.near = self.near.saturating_add(is_near.into());
    }

    /// Stores it for [`last`](Self::last).
    pub(super) fn publish(self, limiter: &Limiter) {
        let both = u64::from(self.networks) << 32 | u64::from(self.busiest);
        // Relaxed (statistics), here and below.
        let gauges = limiter.network_settings().gauges();
        gauges.store(both, Ordering::Relaxed);
        let near = limiter.network_settings().near();
        near.store(self.near, Ordering::Relaxed);
    }

    /// What [`watch`](crate::observe::watch) sampled last; zeros before its first pass
    /// through the table, and if networks are not counted.
    pub fn last(limiter: &Limiter) -> Networks {
        let both = limiter.network_settings().gauges().load(Ordering::Relaxed);
        Networks {
            networks: (both >> 32) as u32,
            busiest: both as u32,
            near: limiter.network_settings().near().load(Ordering::Relaxed),
        }
    }
}
