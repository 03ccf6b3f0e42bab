// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Config`]: what a cluster is made with.

#![forbid(unsafe_code)]

use super::name::NodeName;
use super::peer::Caps;
use super::sign::Keys;
use crate::source::PrefixLengths;

/// What a cluster is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of this node.
    pub node: NodeName,
    /// Random, another number at each start.
    pub boot: u64,
    /// Random, so that clients cannot choose sources that collide.
    pub hash_key: [u64; 2],
    /// The keys of all nodes.
    pub keys: Keys,
    /// What a source is. It must be the same on all nodes.
    pub prefixes: PrefixLengths,
    /// The time between two reports, in ms: 100 to 10,000.
    pub interval_ms: u32,
    /// ε: the part of a limit that all other nodes together may hide, in percent.
    pub hidden_percent: u32,
    /// The longest body of a message, in bytes, at least [`MIN_BODY`](Self::MIN_BODY).
    pub body_bytes: usize,
    /// How many nodes there are at least, this one included; 0: as many as are alive.
    pub cluster_size: u32,
    /// How many other nodes there can be, at most [`MAX_NODES`](Self::MAX_NODES).
    pub max_nodes: usize,
    /// How many sources each node can report.
    pub max_sources: usize,
    /// The most connections that another node is believed to have of one source.
    pub max_count: u32,
    /// Whether bans are sent and received.
    pub bans: bool,
    /// How many bans each other node can have here, and how many are sent.
    pub max_bans: usize,
    /// How many bans of prefixes that are not sources the other nodes can have here together.
    pub max_banned_prefixes: usize,
    /// Whether [`Effects::base`](super::Effects::base) is called.
    pub strict: bool,
}

impl Config {
    /// The shortest limit of the body of a message.
    pub const MIN_BODY: usize = 800;

    /// The most nodes that [`max_nodes`](Self::max_nodes) can be.
    pub const MAX_NODES: usize = 255;

    /// The defaults: a report each second, 10 % hidden, bodies of 1,200 bytes, 64 nodes with
    /// 100,000 sources each.
    pub fn new(node: NodeName, boot: u64, hash_key: [u64; 2], keys: Keys) -> Config {
        Config {
            node,
            boot,
            hash_key,
            keys,
            prefixes: PrefixLengths::DEFAULT,
            interval_ms: 1_000,
            hidden_percent: 10,
            body_bytes: 1_200,
            cluster_size: 0,
            max_nodes: 64,
            max_sources: 100_000,
            max_count: 65_535,
            bans: false,
            max_bans: 10_000,
            max_banned_prefixes: 512,
            strict: false,
        }
    }

    pub(super) fn caps(&self) -> Caps {
        Caps {
            sources: self.max_sources,
            count: self.max_count,
        }
    }

    pub(super) fn in_range(self) -> Config {
        Config {
            interval_ms: self.interval_ms.clamp(100, 10_000),
            hidden_percent: self.hidden_percent.min(100),
            body_bytes: self.body_bytes.max(Self::MIN_BODY),
            max_nodes: self.max_nodes.clamp(1, Self::MAX_NODES),
            ..self
        }
    }
}
