// SPDX-License-Identifier: GPL-2.0-or-later
//! The words about a cluster.

#![forbid(unsafe_code)]

use core::fmt;

use super::Connections;
use crate::observe::report::ClusterSum;
use crate::policy::limit_text::LimitName;

/// The connections of a source on all nodes, and its limit over all of them.
pub(super) struct OverCluster(pub(super) u32, pub(super) ClusterSum);

impl fmt::Display for OverCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OverCluster(connections, sum) = self;
        let connections = Connections(*connections, "");
        let limit = LimitName(sum.limit.cast_signed());
        let others = sum.others;
        write!(
            f,
            "{connections} on all nodes, {others} of them on others, cluster limit {limit}"
        )
    }
}
