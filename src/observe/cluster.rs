// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Node`]: runs this node of the cluster in the background process. It gives the counts of
//! the limiter to [`Cluster`], stores what the other nodes have where checks read it, shows
//! the state of the nodes to all processes ([`board`]), and decides what is logged.

#![forbid(unsafe_code)]

mod bans;
pub mod board;
mod connecting;

use std::time::{Duration, Instant};

use crate::cluster::{
    Cluster, Config, Count, Effects, NodeName, NodeReport, NodeState, Rejected, To,
};
use crate::limiter::cluster_bans::FromNode;
use crate::limiter::{Limiter, Worker};
use crate::observe::notices::{ClusterRejected, NodeBanned, NodeChanged, NodeLimited};
use crate::observe::report::Report;
use crate::source::{Prefix, Source};
use bans::BanLines;
use board::Overview;
use connecting::Connecting;

/// The shortest time between two looks at all sources, in ms.
const LOOK_MS: u64 = crate::cluster::TICK_MS;

/// Looking at all sources takes at most one part in this many of the time, without what is sent
/// then. A large table is looked at less often.
const SHARE: u64 = 20;

/// Messages that may be wrong are logged at most once in this time, in ms.
const LOG_MS: u64 = 60_000;

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub enum ClusterNotice {
    /// The state of a node changed.
    Changed(NodeChanged),
    /// Messages were rejected.
    Rejected(ClusterRejected),
    /// A node connects to this one, and its connections are limited.
    Limited(NodeLimited),
    /// A node banned a source or prefix, or lifted that.
    Banned(NodeBanned),
}

/// What a node does with the host.
pub struct Outside<'a> {
    /// Sends a body to one node, or to all of them.
    pub send: &'a mut dyn FnMut(To<'_>, &str),
    /// Writes a line to the log.
    pub log: &'a mut dyn FnMut(ClusterNotice),
    /// The process that runs the node.
    pub worker: Worker,
    /// The host clock, in seconds.
    pub seconds: u32,
}

/// This node of the cluster.
pub struct Node {
    cluster: Cluster,
    name: NodeName,
    interval_ms: u32,
    strict: bool,
    /// When the sources are looked at next.
    next_look: u64,
    /// Sources for which there was no room.
    no_room: u64,
    logged: Logged,
    ban_lines: BanLines,
    connecting: Connecting,
    /// What the limits of sources depend on, when it was last looked at.
    limits: Option<Limits>,
}

/// The limit of sources without a rule, and the generation of the rules.
type Limits = (u32, u32);

/// The rejected messages that were logged.
struct Logged {
    at: u64,
    rejected: [u64; Rejected::ALL.len()],
}

/// What [`Cluster`] asks for, done with the limiter.
struct Apply<'a, 'b> {
    limiter: &'a Limiter,
    outside: &'a mut Outside<'b>,
    /// Connections on single nodes, which can be stored once their source is.
    of_nodes: Vec<(Source, usize, u32)>,
    no_room: u64,
    /// The time that sending took.
    sending: Duration,
    has_rules: bool,
    ban_lines: &'a mut BanLines,
}

impl Effects for Apply<'_, '_> {
    fn send(&mut self, to: To<'_>, body: &str) {
        let began = Instant::now();
        (self.outside.send)(to, body);
        self.sending += began.elapsed();
    }

    fn set(&mut self, source: Source, others: u32) {
        if !self.limiter.set_others(source, others) {
            self.no_room += 1;
        }
        for (source, node, count) in self.of_nodes.drain(..) {
            self.limiter.set_others_of_node(source, node, count);
        }
    }

    fn limit(&mut self, source: Source) -> u32 {
        match self.has_rules {
            true => self.limiter.cluster_limit_of(source),
            false => self.limiter.cluster_limit(),
        }
    }

    fn ban(&mut self, node: usize, who: Prefix, seconds: u32) -> bool {
        // There are fewer nodes.
        let node = u8::try_from(node).unwrap_or(u8::MAX);
        let Outside {
            worker,
            seconds: now,
            ..
        } = *self.outside;
        let done = self
            .limiter
            .ban_from_node(worker, node, (who, seconds), now);
        if let Some(notice) = self
            .ban_lines
            .line(self.limiter, (node, who, seconds), done)
        {
            (self.outside.log)(ClusterNotice::Banned(notice));
        }
        matches!(done, FromNode::Begins | FromNode::Lasts)
    }

    fn base(&mut self, source: Source, base: u32) {
        if !self.limiter.set_base(source, base) {
            self.no_room += 1;
        }
    }

    fn set_of_node(&mut self, node: usize, source: Source, count: u32) {
        self.of_nodes.push((source, node, count));
    }

    fn changed(&mut self, node: &NodeReport<'_>) {
        (self.outside.log)(ClusterNotice::Changed(NodeChanged {
            name: node.name.clone(),
            state: node.state,
            sources: node.sources,
            connections: node.connections,
        }));
    }
}

impl Node {
    /// The node of this configuration, at the time `now` in ms of a monotonic clock.
    pub fn new(config: Config, now: u64) -> Node {
        Node {
            name: config.node.clone(),
            interval_ms: config.interval_ms,
            strict: config.strict,
            cluster: Cluster::new(config, now),
            next_look: now,
            no_room: 0,
            ban_lines: BanLines::new(now),
            connecting: Connecting::default(),
            limits: None,
            logged: Logged {
                at: now,
                rejected: [0; Rejected::ALL.len()],
            },
        }
    }

    /// Looks at the sources if it is time, and sends what is due. Must be called at least
    /// each 100 ms.
    pub fn tick(&mut self, limiter: &Limiter, now: u64, outside: &mut Outside<'_>) {
        if now < self.next_look {
            return;
        }
        let began = Instant::now();
        let counts = limiter.counts_in_cluster();
        let bans = limiter.bans_in_cluster(outside.seconds);
        let limits = (limiter.cluster_limit(), limiter.rulebook().generation());
        let limits_changed = self.limits.replace(limits) != Some(limits);
        let sending = self.with(limiter, outside, |cluster, effects| {
            if limits_changed {
                cluster.limits_changed(effects);
            }
            cluster.tick(now, counts, bans, effects);
            effects.sending
        });
        if let Some(more) = self.ban_lines.end_interval(now) {
            (outside.log)(ClusterNotice::Banned(more));
        }
        // Much is sent once an interval only: growth must be seen in time after that.
        let looking = began.elapsed().saturating_sub(sending);
        let took = u64::try_from(looking.as_millis()).unwrap_or(u64::MAX);
        self.next_look = now + LOOK_MS.max(took.saturating_mul(SHARE));
        limiter.note_others_updated();
        if self.strict {
            limiter.set_cluster_shares(self.cluster.size());
        }
        self.log_rejected(now, outside);
        self.publish(limiter, now);
    }

    /// Applies a message that arrived. `address` is that of the connection by which it came;
    /// empty: it came by UDP.
    pub fn receive(
        &mut self,
        limiter: &Limiter,
        now: u64,
        (body, address): (&[u8], &[u8]),
        outside: &mut Outside<'_>,
    ) {
        let accepted = self.with(limiter, outside, |cluster, effects| {
            cluster.receive(now, body, effects)
        });
        // A rejection is counted, and logged by `tick`.
        if accepted.is_ok()
            && let Some(limited) = self.connecting.seen(limiter, address)
        {
            (outside.log)(ClusterNotice::Limited(limited));
        }
    }

    /// Sends the others that this node ends.
    pub fn bye(&mut self, limiter: &Limiter, now: u64, outside: &mut Outside<'_>) {
        self.with(limiter, outside, |cluster, effects| {
            cluster.bye(now, effects)
        });
    }

    /// Shuts a node out, or no longer.
    pub fn set_dropped(
        &mut self,
        limiter: &Limiter,
        now: u64,
        node: &NodeName,
        dropped: bool,
        outside: &mut Outside<'_>,
    ) {
        self.with(limiter, outside, |cluster, effects| match dropped {
            // If there are too many nodes, this one is not listed, and its messages are
            // rejected because of that.
            true => drop(cluster.drop_node(now, node, effects)),
            false => {
                cluster.admit_node(now, node, effects);
            }
        });
        self.publish(limiter, now);
    }

    fn with<T>(
        &mut self,
        limiter: &Limiter,
        outside: &mut Outside<'_>,
        work: impl FnOnce(&mut Cluster, &mut Apply<'_, '_>) -> T,
    ) -> T {
        let mut apply = Apply {
            limiter,
            outside,
            of_nodes: Vec::new(),
            no_room: 0,
            sending: Duration::ZERO,
            has_rules: limiter.rules_len() > 0,
            ban_lines: &mut self.ban_lines,
        };
        let result = work(&mut self.cluster, &mut apply);
        self.no_room += apply.no_room;
        result
    }

    fn log_rejected(&mut self, now: u64, outside: &mut Outside<'_>) {
        let passed = now.saturating_sub(self.logged.at);
        let rejected = self.cluster.totals().rejected;
        let new = |reason: Rejected| {
            rejected[reason as usize].saturating_sub(self.logged.rejected[reason as usize])
        };
        let suspect = Rejected::ALL
            .into_iter()
            .filter(|reason| reason.is_suspect());
        let most = suspect.max_by_key(|reason| new(*reason));
        let Some(reason) = most.filter(|reason| new(*reason) > 0) else {
            return;
        };
        // The first ones are logged at once.
        let is_first = self.logged.rejected == [0; Rejected::ALL.len()];
        if !is_first && passed < LOG_MS {
            return;
        }
        let messages = new(reason);
        self.logged = Logged { at: now, rejected };
        (outside.log)(ClusterNotice::Rejected(ClusterRejected {
            messages,
            reason,
        }));
    }

    /// Shows the nodes to all processes.
    fn publish(&self, limiter: &Limiter, now: u64) {
        let Some(board) = limiter.cluster_board() else {
            return;
        };
        let alive = self
            .cluster
            .nodes(now)
            .filter(|node| node.state == NodeState::Alive);
        let overview = Overview {
            name: self.name.as_str().to_owned(),
            learning: self.cluster.is_learning(now),
            alive: alive.count() as u32,
            size: self.cluster.size(),
            interval_ms: self.interval_ms,
            no_room: self.no_room,
            totals: self.cluster.totals(),
        };
        board.set_overview(&overview, now);
        let mut listed = [false; crate::limiter::cluster::MAX_NODES];
        for node in self.cluster.nodes(now) {
            board.set_node(&node, self.cluster.bans_of(node.index), now);
            if let Some(listed) = listed.get_mut(node.index) {
                *listed = true;
            }
        }
        for (index, _) in listed.iter().enumerate().filter(|(_, listed)| !**listed) {
            board.clear_node(index);
        }
    }
}

impl Limiter {
    /// The connections of all sources, with their limits over all nodes, in no order.
    fn counts_in_cluster(&self) -> impl Iterator<Item = Count> + '_ {
        let has_rules = self.rules_len() > 0;
        let default = self.cluster_limit();
        let counts = Report::of(self).counts();
        let counts = counts.filter(|(source, _)| source.scope().is_none());
        counts.map(move |(source, own)| Count {
            source,
            own,
            limit: match has_rules {
                true => self.cluster_limit_of(source),
                false => default,
            },
        })
    }
}
