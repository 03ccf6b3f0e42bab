// SPDX-License-Identifier: GPL-2.0-or-later
//! What an operator sees of the cluster: [`NodeReport`], [`Totals`], and why a message is
//! [`Rejected`].

#![forbid(unsafe_code)]

use core::fmt;

use super::name::NodeName;

/// The state of another node, as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Its messages arrive, but it did not answer this node yet. Its counts are not used.
    Joining,
    /// Its counts are used.
    Alive,
    /// It was alive, but not a single message arrived for 3 s, or for three of its intervals
    /// if that is longer. Its counts are not used.
    Silent,
    /// It was alive and its messages arrive, but it does not hear this node any more. Its
    /// counts are not used, because they could be old.
    Deaf,
    /// It said that it ends.
    Left,
    /// An operator shut it out.
    Dropped,
}

impl NodeState {
    /// All states, in the order of their numbers.
    pub const ALL: [NodeState; 6] = [
        NodeState::Joining,
        NodeState::Alive,
        NodeState::Silent,
        NodeState::Deaf,
        NodeState::Left,
        NodeState::Dropped,
    ];

    /// One lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            NodeState::Joining => "joining",
            NodeState::Alive => "alive",
            NodeState::Silent => "silent",
            NodeState::Deaf => "deaf",
            NodeState::Left => "left",
            NodeState::Dropped => "dropped",
        }
    }
}

/// Another node: its state, and figures about its messages.
#[derive(Clone, Copy, Debug)]
pub struct NodeReport<'a> {
    /// Smaller than [`Config::max_nodes`](super::Config::max_nodes). It stays the same while the
    /// node is listed.
    pub index: usize,
    /// Its name.
    pub name: &'a NodeName,
    /// Its boot id, another one after each restart; 0 if it was never alive.
    pub boot: u64,
    /// Its state.
    pub state: NodeState,
    /// How long this state lasts, in ms.
    pub state_ms: u64,
    /// How long ago its last valid message arrived, in ms; `None`: none did.
    pub age_ms: Option<u64>,
    /// The last measured time of a message to it and back, in ms; `None`: not measured yet.
    pub round_trip_ms: Option<u64>,
    /// Sources of which it reported connections.
    pub sources: usize,
    /// The sum of these connections.
    pub connections: u64,
    /// Its messages that were accepted since it was listed.
    pub received: u64,
    /// Its messages to all nodes that did not arrive, since it was listed. A late one counts
    /// as lost until it arrives.
    pub lost: u64,
    /// Its messages that were rejected, by the number of the [`Rejected`].
    pub rejected: [u64; Rejected::ALL.len()],
    /// Counts that were higher than the limit of their source here, or than
    /// [`Config::max_count`](super::Config::max_count).
    pub capped: u64,
    /// Records without room: more than [`Config::max_sources`](super::Config::max_sources).
    pub overflow: u64,
    /// The comparison with its own sums; `None`: not compared yet.
    pub audit: Option<AuditReport>,
}

/// A comparison of what a node has reported with what this node has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// How long ago it was made, in ms.
    pub age_ms: u64,
    /// What differed the last time, a bit for each range of sources.
    pub differing: u64,
    /// What differed the last two times. One difference can be a message on its way.
    pub lasting: u64,
    /// The sum of connections that the node reported, by its own figures.
    pub reported: u64,
    /// The same sum, by what arrived here.
    pub arrived: u64,
}

/// Sums over all nodes, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages sent, once for each call of [`Effects::send`](super::Effects::send).
    pub sent: u64,
    /// The bytes of their bodies.
    pub sent_bytes: u64,
    /// Records in them.
    pub sent_records: u64,
    /// Messages that arrived and were accepted.
    pub received: u64,
    /// Records in them.
    pub received_records: u64,
    /// Messages that did not arrive.
    pub lost: u64,
    /// Messages that were rejected, by the number of the [`Rejected`], also those whose sender
    /// cannot be known.
    pub rejected: [u64; Rejected::ALL.len()],
    /// Sources that this node reports.
    pub reported_sources: u64,
    /// Times that a source was not reported because there were too many.
    pub unreported: u64,
    /// Sources with connections on other nodes.
    pub other_sources: u64,
    /// Bans of this node that were sent. One that is repeated counts once.
    pub bans_sent: u64,
    /// Bans of other nodes that were applied.
    pub bans_received: u64,
    /// Bans of other nodes that were not applied.
    pub bans_refused: u64,
}

/// Why a message was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is not a message of this protocol, or it is truncated.
    Malformed,
    /// It has another version of the protocol.
    Version,
    /// It is signed with none of the keys.
    Signature,
    /// The node has other prefix lengths (`ipv4_prefix`, `ipv6_prefix`).
    Prefixes,
    /// It is from this node itself, or from another one with the same name.
    Own,
    /// It is for another node, which is not an error.
    NotForThisNode,
    /// Its node is shut out.
    Dropped,
    /// There are more nodes than [`Config::max_nodes`](super::Config::max_nodes).
    TooManyNodes,
    /// Its node did not answer this node yet. The first messages of each node are rejected for
    /// this.
    Unproven,
    /// It is from a time before the node restarted, or the node said that it ends.
    OldBoot,
    /// It arrived before.
    Repeated,
    /// It is too late: newer messages of the node arrived long ago.
    Late,
}

impl Rejected {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Rejected; 12] = [
        Rejected::Malformed,
        Rejected::Version,
        Rejected::Signature,
        Rejected::Prefixes,
        Rejected::Own,
        Rejected::NotForThisNode,
        Rejected::Dropped,
        Rejected::TooManyNodes,
        Rejected::Unproven,
        Rejected::OldBoot,
        Rejected::Repeated,
        Rejected::Late,
    ];

    /// A lower-case word, with `_` between its parts.
    pub fn name(self) -> &'static str {
        match self {
            Rejected::Malformed => "malformed",
            Rejected::Version => "version",
            Rejected::Signature => "signature",
            Rejected::Prefixes => "prefixes",
            Rejected::Own => "own",
            Rejected::NotForThisNode => "not_for_this_node",
            Rejected::Dropped => "dropped",
            Rejected::TooManyNodes => "too_many_nodes",
            Rejected::Unproven => "unproven",
            Rejected::OldBoot => "old_boot",
            Rejected::Repeated => "repeated",
            Rejected::Late => "late",
        }
    }

    /// Whether it may come from an attacker or a mistake. The others occur in every cluster,
    /// for example when a node starts.
    pub fn is_suspect(self) -> bool {
        match self {
            Rejected::Malformed
            | Rejected::Version
            | Rejected::Signature
            | Rejected::Prefixes
            | Rejected::TooManyNodes => true,
            Rejected::Own
            | Rejected::NotForThisNode
            | Rejected::Dropped
            | Rejected::Unproven
            | Rejected::OldBoot
            | Rejected::Repeated
            | Rejected::Late => false,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejected::Malformed => "not a message of a node, or truncated",
            Rejected::Version => "another version of the protocol",
            Rejected::Signature => "signed with another key",
            Rejected::Prefixes => "the node has other prefix lengths",
            Rejected::Own => "from this node, or from a node with the same name",
            Rejected::NotForThisNode => "for another node",
            Rejected::Dropped => "the node is shut out",
            Rejected::TooManyNodes => "more nodes than there is room for",
            Rejected::Unproven => "the node did not answer yet",
            Rejected::OldBoot => "from a time before the node restarted or ended",
            Rejected::Repeated => "it arrived before",
            Rejected::Late => "newer messages arrived long before it",
        })
    }
}

impl std::error::Error for Rejected {}

#[cfg(test)]
mod tests {
    use super::{NodeState, Rejected};

    #[test]
    fn numbers_are_those_of_the_lists() {
        for (number, reason) in Rejected::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number, "{}", reason.name());
        }
        for (number, state) in NodeState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number, "{}", state.name());
        }
    }
}
