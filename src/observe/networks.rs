// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Networks`]: how many networks have connections, and the most that one has.

#![forbid(unsafe_code)]

use crate::limiter::Limiter;
use crate::shared::sync::Ordering;

/// The networks with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// How many there are.
    pub networks: u32,
    /// The most connections that one of them has.
    pub busiest: u32,
}

impl Networks {
    /// Adds a network with `connections`.
    pub(super) fn add(&mut self, connections: u32) {
        self.networks = self.networks.saturating_add(1);
        self.busiest = self.busiest.max(connections);
    }

    /// Stores it for [`last`](Self::last).
    pub(super) fn publish(self, limiter: &Limiter) {
        let both = u64::from(self.networks) << 32 | u64::from(self.busiest);
        // Relaxed (statistics), here and below.
        let gauges = limiter.network_settings().gauges();
        gauges.store(both, Ordering::Relaxed);
    }

    /// What [`watch`](crate::observe::watch) sampled last; zeros before its first pass
    /// through the table, and if networks are not counted.
    pub fn last(limiter: &Limiter) -> Networks {
        let both = limiter.network_settings().gauges().load(Ordering::Relaxed);
        Networks {
            networks: (both >> 32) as u32,
            busiest: both as u32,
        }
    }
}
