// SPDX-License-Identifier: GPL-2.0-or-later
//! The limit over all nodes of the cluster: the connections of a source here and on the
//! other nodes. What the other nodes have is as old as their last message, so this limit is
//! approximate, while all other gates are exact. Therefore a rejection by it is not an
//! offence. A source without a slot is checked in [`crate::limiter::cluster`].
//!
//! With `cluster_strict` a node may use only its share of what is left of the limit, so that all
//! nodes together stay near it, at the price of rejections that would not be needed.
//!
//! It is the last gate, and is not a part of [`first_closed`](super::first_closed), so that the
//! others are as fast as without it.

#![forbid(unsafe_code)]

use crate::limiter::{Limiter, RejectedFor};
use crate::source::Source;

impl Limiter {
    /// Whether this gate does not admit `source`, which has this many connections here. Must be
    /// called only in a cluster; `limit` is the one over all nodes, 0: no limit.
    #[inline(never)]
    pub(super) fn closed_by_cluster(
        &self,
        source: Source,
        connections: i32,
        limit: u32,
    ) -> Option<RejectedFor> {
        let own = connections.unsigned_abs();
        let is_closed = limit > 0 && own >= self.allowed_here(source, limit);
        is_closed.then_some(RejectedFor::Cluster)
    }
}
