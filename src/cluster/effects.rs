// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Effects`]: what the cluster asks of the process that runs it.

#![forbid(unsafe_code)]

use super::name::NodeName;
use super::report::NodeReport;
use crate::source::{Prefix, Source};

/// Receives the effects of a call: messages to send, and what changed.
///
/// The calls come in the order in which the things happened. An implementation must not wait.
pub trait Effects {
    /// Sends a message. It may be lost, late, reordered and repeated.
    fn send(&mut self, to: To<'_>, body: &str);

    /// The connections that a source has on all other nodes together. With 0, what is kept of
    /// it can be removed.
    fn set(&mut self, source: Source, others: u32);

    /// The limit of a source in the cluster on this node; 0: no limit.
    fn limit(&mut self, source: Source) -> u32 {
        let _ = source;
        0
    }

    /// The connections that a source has on one other node, by the index of the node
    /// ([`NodeReport::index`]), at most its [`limit`](Self::limit). It comes before the [`set`](Self::set) that it causes.
    fn set_of_node(&mut self, node: usize, source: Source, count: u32) {
        let _ = (node, source, count);
    }

    /// Only with [`Config::strict`](super::Config::strict): the least connections that the
    /// source had on this node of late. A connection must be rejected unless the own count is
    /// less than `base` + [`strict_share`](super::bound::strict_share)(limit, `base` + others,
    /// [`size`](super::Cluster::size)). The base of a source without a call is 0.
    fn base(&mut self, source: Source, base: u32) {
        let _ = (source, base);
    }

    /// Only with [`Config::bans`](super::Config::bans): another node bans a source or a prefix,
    /// for this many seconds from now. This replaces what other nodes set before, but not a ban
    /// that this node set and that ends later. 0: no other node bans it any more; a ban that this
    /// node set stays. Returns whether it is banned now. Otherwise this is called again when the
    /// node repeats its ban.
    fn ban(&mut self, node: usize, who: Prefix, seconds: u32) -> bool {
        let _ = (node, who, seconds);
        false
    }

    /// The state of a node changed, or it restarted ([`NodeReport::boot`] differs).
    fn changed(&mut self, node: &NodeReport<'_>) {
        let _ = node;
    }
}

/// Which nodes a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// All nodes.
    All,
    /// One node. If it cannot be addressed alone, the message may be sent to all: others
    /// ignore it.
    Node(&'a NodeName),
}
