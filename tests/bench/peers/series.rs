// SPDX-License-Identifier: GPL-2.0-or-later

//! What is compared with what.

use serde::Serialize;

/// A server in one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Series {
    Haproxy,
    HaproxyLimit,
    Nginx,
    NginxLimit,
    /// Kamailio without limit, in a network without packet filter.
    NoFilter,
    /// The same, where the kernel keeps track of connections.
    Tracking,
    /// The same, where it also limits them.
    FilterLimit,
    /// Kamailio without limit.
    Kamailio,
    KamailioLimit,
    Module,
}

/// Series that run at once and take turns.
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

    /// Whether the limit works in the kernel, on behalf of whoever sends a
    /// packet: then the client's CPU time counts, too.
    pub(crate) fn is_in_kernel(self) -> bool {
        matches!(
            self,
            Series::NoFilter | Series::Tracking | Series::FilterLimit
        )
    }
}

/// Two series that differ in the limit only.
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
        name: "nftables, beside conntrack",
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
