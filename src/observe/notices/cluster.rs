// SPDX-License-Identifier: GPL-2.0-or-later
//! The words about a cluster.

#![forbid(unsafe_code)]

use core::fmt;

use super::Connections;
use crate::cluster::{NodeName, NodeState, Rejected};
use crate::observe::report::ClusterSum;
use crate::policy::limit_text::LimitName;
use crate::source::Prefix;

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

/// The state of another node changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeChanged {
    /// Its name.
    pub name: NodeName,
    /// Its new state.
    pub state: NodeState,
    /// Sources of which it reported connections.
    pub sources: usize,
    /// The sum of these connections.
    pub connections: u64,
}

impl fmt::Display for NodeChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.state {
            NodeState::Joining => write!(f, "cluster node {name} is joining"),
            NodeState::Alive => write!(f, "cluster node {name} is alive: its connections count"),
            NodeState::Silent => write!(
                f,
                "cluster node {name} is silent: its connections no longer count; check that it \
                 runs, and the network between the nodes"
            ),
            NodeState::Deaf => write!(
                f,
                "cluster node {name} does not hear this node: its connections no longer count; \
                 check the network between the nodes, and that both have the same keys"
            ),
            NodeState::Left => {
                write!(
                    f,
                    "cluster node {name} has left: its connections no longer count"
                )
            }
            NodeState::Dropped => write!(
                f,
                "cluster node {name} is shut out: its connections no longer count, until \
                 cluster_drop lifts that"
            ),
        }
    }
}

/// A node connects to this one, and its connections are limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLimited {
    /// Its address, or its source if that is not known.
    pub address: Prefix,
}

impl fmt::Display for NodeLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodeLimited { address } = self;
        write!(
            f,
            "a cluster node connects by TCP or TLS from {address}, and these connections are \
             limited; add the rule {address}=unlimited trusted"
        )
    }
}

/// Another node banned a source or a prefix, or lifted that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeBanned {
    /// It is also banned here.
    Began {
        /// The name of the node.
        node: String,
        /// The source or prefix.
        who: Prefix,
        /// How long at most.
        seconds: u32,
    },
    /// It is no longer banned.
    Lifted {
        /// The name of the node.
        node: String,
        /// The prefix.
        who: Prefix,
    },
    /// Bans that began without a line of their own.
    More {
        /// How many.
        bans: u64,
    },
}

impl fmt::Display for NodeBanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeBanned::Began { node, who, seconds } => {
                write!(f, "ban of {who} set for {seconds} s by cluster node {node}")
            }
            NodeBanned::Lifted { node, who } => {
                write!(f, "ban of {who} lifted by cluster node {node}")
            }
            NodeBanned::More { bans } => {
                let plural = if *bans == 1 { "" } else { "s" };
                write!(f, "{bans} more ban{plural} set by cluster nodes")
            }
        }
    }
}

/// Messages of the cluster were rejected that may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRejected {
    /// How many since the last such line.
    pub messages: u64,
    /// Why.
    pub reason: Rejected,
}

impl fmt::Display for ClusterRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ClusterRejected { messages, reason } = self;
        let plural = if *messages == 1 { "" } else { "s" };
        let remedy = match reason {
            Rejected::Signature => "give all nodes the same cluster_key",
            Rejected::Version => "upgrade all nodes to the same version",
            Rejected::Prefixes => "give all nodes the same ipv4_prefix and ipv6_prefix",
            Rejected::TooManyNodes => "use fewer nodes",
            _ => "check what sends them",
        };
        write!(
            f,
            "rejected {messages} message{plural} of the cluster: {reason}; {remedy}"
        )
    }
}
