// SPDX-License-Identifier: GPL-2.0-or-later
//! The cluster: the limit of a source holds for all nodes together.
//!
//! Each node sends the others how many connections its busy sources have, and adds up what
//! the others sent. A check then compares the sum of the own count and this number with the
//! limit of the cluster.
//!
//! This part has no sockets, no clock and no shared memory. A process that runs it calls
//! [`Cluster::tick`] at least each [`TICK_MS`] with the counts of this node, passes each
//! message that arrives to [`Cluster::receive`], and does what [`Effects`] asks. Times are
//! in milliseconds of a monotonic clock of the node. Random numbers are given in [`Config`].
//! It allocates memory, at most for the numbers of nodes and sources in [`Config`], so it must
//! not run in the process that accepts connections.
//!
//! ```text
//!   counts of this node ──▶ sender ──▶ message ──▶ sign ──▶ Effects::send
//!
//!   receive ──▶ sign ──▶ message ──▶ peers ──▶ sums ──▶ Effects::set
//! ```
//!
//! `name` is how a node is called; `record` and `message` are what is sent; `sign` are the
//! keys; `sender` decides what is sent when; `peer` is what is known of another node, with its
//! `window` of sequence numbers; `sums` are the sums over the nodes; [`bound`] says how exact
//! they are; `audit` compares what a node sent with what arrived; `bans` are those of other
//! nodes; [`report`] is what an operator sees.
//!
//! What holds, whatever is lost, late, reordered, repeated or forged:
//!
//! - Counts are absolute and those of the sender alone, never differences or sums. So a lost
//!   or repeated message does no lasting harm.
//! - A message is applied only if it is signed, was not applied before, and was made by a
//!   process that is alive: each node repeats in its messages the boot id and the sequence
//!   number that it last received from each other node. A message that was recorded before
//!   this node started cannot contain its boot id. One that is held back for long contains an
//!   old sequence number.
//! - The counts of a node are used only while its messages arrive (at most 3 s, or three
//!   intervals, after the last one). Clocks of different nodes are never compared.
//! - A node with a key can at worst make the others reject sources, for as many connections as
//!   [`Config::max_count`]. It can be shut out ([`Cluster::drop_node`]).
//! - Without loss, a source never has more connections than [`bound::total`].

#![forbid(unsafe_code)]

pub mod bound;
mod effects;
mod name;
pub mod report;
mod sign;

pub use effects::{Effects, To};
pub use name::NodeName;
pub use report::{NodeReport, NodeState, Rejected, Totals};
pub use sign::Keys;

use crate::source::{PrefixLengths, Source};

/// The longest time between two calls of [`Cluster::tick`], in ms, if reports should be as
/// fast as [`bound`] says.
pub const TICK_MS: u64 = 100;

/// A node that started waits this long until it regards what it knows as complete, in ms.
pub const LEARNING_MS: u64 = 5_000;

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
    /// Whether [`Effects::allow`] is called.
    pub strict: bool,
}

impl Config {
    /// The shortest limit of the body of a message.
    pub const MIN_BODY: usize = 400;

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
            strict: false,
        }
    }
}

/// The connections of a source on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The source. One with a scope is not reported.
    pub source: Source,
    /// Its connections on this node.
    pub own: u32,
    /// Its limit in the cluster; 0: it has none and is not reported.
    pub limit: u32,
}

/// A ban of a source on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The source.
    pub source: Source,
    /// How much longer it lasts.
    pub seconds: u32,
}

/// This node's part of the cluster.
#[derive(Debug)]
pub struct Cluster {
    config: Config,
    started: u64,
}

impl Cluster {
    /// A node that starts at the time `now`. Values of the `config` that are out of range
    /// are replaced with the nearest ones within it.
    pub fn new(config: Config, now: u64) -> Cluster {
        Cluster {
            config,
            started: now,
        }
    }

    /// Sends what is due. `counts` must have each source at most once; it may leave out
    /// sources without connections. `bans` are those in effect on this node, also those that
    /// [`Effects::ban`] asked for.
    pub fn tick(
        &mut self,
        now: u64,
        counts: impl IntoIterator<Item = Count>,
        bans: impl IntoIterator<Item = Ban>,
        effects: &mut impl Effects,
    ) {
        let _ = (now, counts.into_iter(), bans.into_iter(), effects);
    }

    /// Applies a message that arrived.
    ///
    /// # Errors
    ///
    /// If it is rejected. Then nothing has changed but counters.
    pub fn receive(
        &mut self,
        now: u64,
        body: &[u8],
        effects: &mut impl Effects,
    ) -> Result<(), Rejected> {
        let _ = (now, body, effects);
        Err(Rejected::Malformed)
    }

    /// Sends the others that this node ends, so that its counts are removed at once.
    pub fn bye(&mut self, now: u64, effects: &mut impl Effects) {
        let _ = (now, effects);
    }

    /// Shuts a node out until [`admit_node`](Self::admit_node): its counts are removed, and
    /// its messages rejected. The node need not be listed yet.
    ///
    /// # Errors
    ///
    /// If there are too many nodes.
    pub fn drop_node(
        &mut self,
        now: u64,
        node: &NodeName,
        effects: &mut impl Effects,
    ) -> Result<(), TooManyNodes> {
        let _ = (now, node, effects);
        Ok(())
    }

    /// Ends that. Returns whether the node was shut out.
    pub fn admit_node(&mut self, now: u64, node: &NodeName, effects: &mut impl Effects) -> bool {
        let _ = (now, node, effects);
        false
    }

    /// Replaces the keys.
    pub fn set_keys(&mut self, keys: Keys) {
        self.config.keys = keys;
    }

    /// Replaces the interval, in ms.
    pub fn set_interval(&mut self, interval_ms: u32) {
        self.config.interval_ms = interval_ms;
    }

    /// Whether this node may still not know all counts of the others, because it started
    /// less than [`LEARNING_MS`] ago.
    pub fn is_learning(&self, now: u64) -> bool {
        now.saturating_sub(self.started) < LEARNING_MS
    }

    /// All other nodes that are listed.
    pub fn nodes(&self, now: u64) -> impl Iterator<Item = NodeReport<'_>> {
        let _ = now;
        std::iter::empty()
    }

    /// The number of nodes that shares are computed with: those that are alive and this one,
    /// at least [`Config::cluster_size`].
    pub fn size(&self) -> u32 {
        1
    }

    /// The connections that a source has on all other nodes together.
    pub fn others(&self, source: Source) -> u32 {
        let _ = source;
        0
    }

    /// The connections that a source has on each other node, by the node's index. Nodes
    /// without any are left out.
    pub fn of_nodes(&self, source: Source) -> impl Iterator<Item = (usize, u32)> + '_ {
        let _ = source;
        std::iter::empty()
    }

    /// All sources with connections on other nodes, in no order, and how many.
    pub fn all_others(&self) -> impl Iterator<Item = (Source, u32)> + '_ {
        std::iter::empty()
    }

    /// Sums over all nodes.
    pub fn totals(&self) -> Totals {
        Totals::default()
    }
}

/// There are more nodes than [`Config::max_nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNodes;
