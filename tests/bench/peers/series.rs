// SPDX-License-Identifier: GPL-2.0-or-later

//! The series and the comparisons between them.

use serde::{Deserialize, Serialize};

/// A server in one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Series {
    Haproxy,
    HaproxyLimit,
    Nginx,
    NginxLimit,
    /// Kamailio without a limit, in a network without a packet filter.
    NoFilter,
    /// Kamailio without a limit, in a network where the kernel tracks connections.
    Tracking,
    /// Kamailio without a limit, in a network where the kernel tracks and limits them.
    FilterLimit,
    /// Kamailio without a limit.
    Kamailio,
    KamailioLimit,
    Module,
}

/// The groups of series that run at once and take turns.
pub(crate) const GROUPS: [&[Series]; 4] = [
    &[Series::Haproxy, Series::HaproxyLimit],
    &[Series::Nginx, Series::NginxLimit],
    &[Series::NoFilter, Series::Tracking, Series::FilterLimit],
    &[Series::Kamailio, Series::KamailioLimit, Series::Module],
];

impl Series {
    pub(crate) fn has_limit(self) -> bool {
        COMPARISONS.iter().any(|comparison| comparison.on == self)
    }

    /// Returns whether the limit works in the kernel, which charges its work to the process
    /// that sends a packet. Then the client's CPU time also counts.
    pub(crate) fn is_in_kernel(self) -> bool {
        matches!(
            self,
            Series::NoFilter | Series::Tracking | Series::FilterLimit
        )
    }
}

/// Two series that differ only in the limit.
pub(crate) struct Comparison {
    pub(crate) name: &'static str,
    pub(crate) off: Series,
    pub(crate) on: Series,
}

pub(crate) const COMPARISONS: [Comparison; 6] = [
    Comparison {
        name: "HAProxy, conn_cur",
        off: Series::Haproxy,
        on: Series::HaproxyLimit,
    },
    Comparison {
        name: "nginx, limit_conn",
        off: Series::Nginx,
        on: Series::NginxLimit,
    },
    Comparison {
        name: "nftables, ct count",
        off: Series::NoFilter,
        on: Series::FilterLimit,
    },
    Comparison {
        name: "nftables, on top of conntrack",
        off: Series::Tracking,
        on: Series::FilterLimit,
    },
    Comparison {
        name: "Kamailio, its own",
        off: Series::Kamailio,
        on: Series::KamailioLimit,
    },
    Comparison {
        name: "Kamailio, tcp_conn_limit",
        off: Series::Kamailio,
        on: Series::Module,
    },
];
