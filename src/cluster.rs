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
//! keys; `sender` decides what is sent when, and `sending` makes messages of it; `peer` is what
//! is known of another node, with its `window` of sequence numbers; `sums` are the sums over the
//! nodes; [`bound`] says how exact they are; `audit` compares what a node sent with what arrived;
//! `bans` are those of this node and of others; [`report`] is what an operator sees.
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
//! - A node with a key can at worst make the others reject sources: its count of a source is
//!   believed up to the limit of that ([`Effects::limit`]), and its bans, if they are received
//!   at all, up to [`Config::max_bans`] and for [`MAX_BAN_SECONDS`] each. It can be shut out
//!   ([`Cluster::drop_node`]).
//! - Without loss, a source never has more connections than [`bound::total`].

#![forbid(unsafe_code)]

mod audit;
mod bans;
pub mod bound;
mod config;
mod effects;
mod hash;
mod message;
mod name;
mod peer;
mod record;
pub mod report;
mod sender;
mod sending;
mod sign;
mod strict;
mod sums;
mod window;

pub use config::Config;
pub use effects::{Effects, To};
pub use name::NodeName;
pub use report::{NodeReport, NodeState, Rejected, Totals};
pub use sign::Keys;

use crate::source::{Family, Prefix, PrefixLengths, Source};
use audit::RangeSums;
use bans::Bans;
use hash::ByKey;
use message::{Echo, Header, Kind};
use peer::{Peer, Pulses};
use record::{Record, Records};
use sender::{Pass, Sender};
use sending::{Dump, DumpFor, Target};
use strict::Strict;
use sums::Sums;

/// The longest time between two calls of [`Cluster::tick`], in ms, if reports should be as
/// fast as [`bound`] says.
pub const TICK_MS: u64 = 100;

/// A ban of another node ends this many seconds after the node repeated it last, if it does not
/// end before.
pub const MAX_BAN_SECONDS: u32 = 24 * 3600;

/// A node that started waits this long until it regards what it knows as complete, in ms.
pub const LEARNING_MS: u64 = 5_000;

/// The connections of a source on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The source. One with a scope is not reported.
    pub source: Source,
    /// Its connections on this node.
    pub own: u32,
    /// Its limit in the cluster; 0: no limit, and it is not reported.
    pub limit: u32,
}

/// A ban that this node set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The source, as the prefix of its addresses, or a prefix.
    pub who: Prefix,
    /// How much longer it lasts.
    pub seconds: u32,
}

/// This node's part of the cluster.
#[derive(Debug)]
pub struct Cluster {
    config: Config,
    hash: ByKey,
    started: u64,
    /// The latest time of a call.
    now: u64,
    /// When the next interval is due.
    due: u64,
    /// When records were sent the last time.
    sent_at: Option<u64>,
    /// The number of the last message, of the last one to all nodes, and of the interval.
    sequence: u64,
    nth: u32,
    round: u32,
    pulses: Pulses,
    sender: Sender,
    bans: Bans,
    strict: Strict,
    dump: Option<Dump>,
    /// Which nodes want the next dump, if one is under way.
    next_dump: Option<DumpFor>,
    /// By index.
    peers: Vec<Option<Box<Peer>>>,
    sums: Sums,
    /// The first peer whose lives are in the echoes of the next pulse.
    echo_from: usize,
    /// The next peer whose counts are swept.
    sweep_from: usize,
    totals: Totals,
    scratch: Scratch,
}

/// Memory that is used again.
#[derive(Debug, Default)]
struct Scratch {
    bytes: Vec<u8>,
    text: Vec<u8>,
    all: Vec<Record>,
    one: Vec<Record>,
}

/// The shortest time between two messages with records that are not due in an interval, in
/// ms. It is a little less than a tick, so that a tick that comes early is not left out.
const EAGER_GAP_MS: u64 = TICK_MS * 9 / 10;

impl Cluster {
    /// A node that starts at the time `now`. Values of the `config` that are out of range
    /// are replaced with the nearest ones within it.
    pub fn new(config: Config, now: u64) -> Cluster {
        let config = config.in_range();
        let hash = ByKey(config.hash_key);
        Cluster {
            hash,
            started: now,
            now,
            due: now,
            sent_at: None,
            sequence: 0,
            nth: 0,
            round: 0,
            pulses: Pulses::default(),
            sender: Sender::new(hash, config.max_sources),
            bans: Bans::new(hash, &config),
            strict: Strict::new(hash, config.max_sources, now),
            dump: None,
            next_dump: None,
            peers: (0..config.max_nodes).map(|_| None).collect(),
            sums: Sums::new(hash),
            echo_from: 0,
            sweep_from: 0,
            totals: Totals::default(),
            scratch: Scratch::default(),
            config,
        }
    }

    /// Sends what is due. `counts` must have each source at most once; it may leave out
    /// sources without connections. `bans` are those that this node set, without those that
    /// [`Effects::ban`] asked for; they are read once an interval.
    pub fn tick(
        &mut self,
        now: u64,
        counts: impl IntoIterator<Item = Count>,
        bans: impl IntoIterator<Item = Ban>,
        effects: &mut impl Effects,
    ) {
        let now = self.advance(now);
        for peer in self.peers.iter_mut().flatten() {
            peer.expire(now, self.config.interval_ms, &mut self.sums, effects);
        }
        self.answer(now, effects);

        let interval = u64::from(self.config.interval_ms);
        let round = (now >= self.due).then(|| {
            // After a stop, intervals that were missed are left out.
            self.due = (self.due + interval).max(now + interval / 2);
            self.round = self.round.wrapping_add(1);
            self.round
        });
        let rounds = sender::rounds(self.config.interval_ms);
        let eager = self.sent_at.is_none_or(|at| now - at >= EAGER_GAP_MS);
        let dump = self
            .dump
            .as_ref()
            .filter(|dump| now >= dump.due)
            .map(|dump| dump.part);
        let pass = Pass {
            round,
            rounds,
            eager,
            dump,
            nodes: self.size(),
            hidden_percent: self.config.hidden_percent,
        };
        let mut all = core::mem::take(&mut self.scratch.all);
        let mut one = core::mem::take(&mut self.scratch.one);
        all.clear();
        one.clear();
        if self.config.strict {
            let strict = &mut self.strict;
            strict.begin(now, self.config.interval_ms);
            let counts = counts
                .into_iter()
                .inspect(|count| strict.see(*count, effects));
            self.sender.collect(pass, counts, &mut all, &mut one);
            strict.end(effects);
        } else {
            self.sender
                .collect(pass, counts.into_iter(), &mut all, &mut one);
        }
        if let Some(round) = round {
            if self.config.bans {
                self.bans
                    .collect(now, (round, rounds), bans.into_iter(), &mut all);
            }
            let echoes = self.echoes(now);
            self.send(now, Kind::Pulse, Target::All, false, &echoes, &all, effects);
            if round % rounds == 0 {
                self.send_audit(now, effects);
            }
            self.sweep(rounds, effects);
        } else if !all.is_empty() {
            self.send(now, Kind::Records, Target::All, false, &[], &all, effects);
        }
        if round.is_some() || !all.is_empty() {
            self.sent_at = Some(now);
        }
        if dump.is_some() {
            self.send_dump(now, &one, effects);
        }
        self.scratch.all = all;
        self.scratch.one = one;
    }

    /// Applies a message that arrived.
    ///
    /// # Errors
    ///
    /// If it is rejected. Then no count has changed, unless the message shows that its node
    /// does not hear this one any more.
    pub fn receive(
        &mut self,
        now: u64,
        body: &[u8],
        effects: &mut impl Effects,
    ) -> Result<(), Rejected> {
        let now = self.advance(now);
        let mut bytes = core::mem::take(&mut self.scratch.bytes);
        let result = match message::open(body, &self.config.keys, &mut bytes) {
            Ok(message) => self.apply(now, message, effects),
            Err(reason) => Err(reason),
        };
        self.scratch.bytes = bytes;
        match result {
            Ok(()) => self.totals.received += 1,
            Err(reason) => self.totals.rejected[reason as usize] += 1,
        }
        result
    }

    /// Sends the others that this node ends, so that its counts are removed at once.
    pub fn bye(&mut self, now: u64, effects: &mut impl Effects) {
        let now = self.advance(now);
        for _ in 0..BYE_COPIES {
            self.send(now, Kind::Bye, Target::All, false, &[], &[], effects);
        }
    }

    /// Shuts a node out until [`admit_node`](Self::admit_node): its counts are removed, its bans
    /// lifted, and its messages rejected. The node need not be listed yet.
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
        let now = self.advance(now);
        let index = self.index_of(now, node).ok_or(TooManyNodes)?;
        if let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) {
            peer.clear(&mut self.sums, effects);
            peer.set_state(NodeState::Dropped, now, effects);
        }
        self.bans.lift_of_node(now, index, effects);
        Ok(())
    }

    /// Ends that. The node is joining then. Returns whether it was shut out.
    pub fn admit_node(&mut self, now: u64, node: &NodeName, effects: &mut impl Effects) -> bool {
        let now = self.advance(now);
        let mut peers = self.peers.iter_mut().flatten();
        let Some(peer) = peers.find(|peer| peer.name == *node) else {
            return false;
        };
        let was_dropped = peer.state == NodeState::Dropped;
        if was_dropped {
            peer.set_state(NodeState::Joining, now, effects);
        }
        was_dropped
    }

    /// Replaces the keys.
    pub fn set_keys(&mut self, keys: Keys) {
        self.config.keys = keys;
    }

    /// To be called after limits of sources changed, with what [`Effects::limit`] says now.
    pub fn limits_changed(&mut self, effects: &mut impl Effects) {
        let caps = self.config.caps();
        for peer in self.peers.iter_mut().flatten() {
            peer.cap_again(caps, &mut self.sums, effects);
        }
    }

    /// Replaces the interval, in ms.
    pub fn set_interval(&mut self, interval_ms: u32) {
        self.config.interval_ms = interval_ms;
        self.config = self.config.clone().in_range();
        self.due = self.due.min(self.now + u64::from(self.config.interval_ms));
    }

    /// The bans in effect here that the node with this index sent.
    pub fn bans_of(&self, node: usize) -> usize {
        self.bans.of_node(node)
    }

    /// Whether this node may still not know all counts of the others, because it started
    /// less than [`LEARNING_MS`] ago.
    pub fn is_learning(&self, now: u64) -> bool {
        now.saturating_sub(self.started) < LEARNING_MS
    }

    /// All other nodes that are listed.
    pub fn nodes(&self, now: u64) -> impl Iterator<Item = NodeReport<'_>> {
        self.peers
            .iter()
            .flatten()
            .map(move |peer| peer.report(now))
    }

    /// The number of nodes that shares are computed with: those that are alive and this one,
    /// at least [`Config::cluster_size`].
    pub fn size(&self) -> u32 {
        let alive = self
            .peers
            .iter()
            .flatten()
            .filter(|peer| peer.state == NodeState::Alive);
        self.config.cluster_size.max(alive.count() as u32 + 1)
    }

    /// The connections that a source has on all other nodes together.
    pub fn others(&self, source: Source) -> u32 {
        self.sums.get(source)
    }

    /// The connections that a source has on each other node, by the node's index. Nodes
    /// without any are left out.
    pub fn of_nodes(&self, source: Source) -> impl Iterator<Item = (usize, u32)> + '_ {
        let peers = self.peers.iter().enumerate();
        peers.filter_map(move |(index, peer)| {
            let count = peer.as_ref()?.get(source);
            (count > 0).then_some((index, count))
        })
    }

    /// All sources with connections on other nodes, in no order, and how many.
    pub fn all_others(&self) -> impl Iterator<Item = (Source, u32)> + '_ {
        self.sums.iter()
    }

    /// Sums over all nodes.
    pub fn totals(&self) -> Totals {
        Totals {
            lost: self.peers.iter().flatten().map(|peer| peer.lost()).sum(),
            reported_sources: self.sender.len() as u64,
            unreported: self.sender.unreported,
            other_sources: self.sums.len() as u64,
            bans_sent: self.bans.counted.sent,
            bans_received: self.bans.counted.received,
            bans_refused: self.bans.counted.refused,
            ..self.totals
        }
    }

    /// Time never goes back.
    fn advance(&mut self, now: u64) -> u64 {
        self.now = self.now.max(now);
        self.now
    }

    /// The index of a node, which is listed if there is room.
    fn index_of(&mut self, now: u64, name: &NodeName) -> Option<usize> {
        let mut free = None;
        for (index, peer) in self.peers.iter().enumerate() {
            match peer {
                Some(peer) if peer.name == *name => return Some(index),
                Some(_) => {}
                None => free = free.or(Some(index)),
            }
        }
        let index = free.or_else(|| {
            let peers = self.peers.iter().enumerate();
            let listed = peers.filter_map(|(index, peer)| Some((index, peer.as_ref()?)));
            let replaceable = listed.filter(|(_, peer)| peer.is_replaceable(now));
            let first = replaceable.min_by_key(|(_, peer)| peer.replacement_order());
            first.map(|(index, _)| index)
        })?;
        self.bans.forget_node(index);
        let peer = Peer::new(index, name.clone(), self.hash, now);
        *self.peers.get_mut(index)? = Some(Box::new(peer));
        Some(index)
    }

    /// Applies a message whose signature is valid.
    fn apply(
        &mut self,
        now: u64,
        message: &[u8],
        effects: &mut impl Effects,
    ) -> Result<(), Rejected> {
        let (header, mut rest) = Header::read(message).ok_or(Rejected::Malformed)?;
        let name = NodeName::new(header.node).ok_or(Rejected::Malformed)?;
        if name == self.config.node {
            return Err(Rejected::Own);
        }
        let echo = match header.kind {
            Kind::Pulse => Echo::find(&mut rest, self.config.boot).ok_or(Rejected::Malformed)?,
            Kind::Records | Kind::Bye | Kind::Audit => None,
        };
        let prefixes = self.config.prefixes;
        let (records, audit) = match header.kind {
            Kind::Pulse | Kind::Records => (Records::new(rest.0, prefixes), None),
            Kind::Bye => (Records::new(&[], prefixes), None),
            Kind::Audit => {
                let sums = RangeSums::read(rest).ok_or(Rejected::Malformed)?;
                (Records::new(&[], prefixes), Some(sums))
            }
        };
        let records = records.ok_or(Rejected::Malformed)?;
        if header.to.is_some_and(|boot| boot != self.config.boot) {
            return Err(Rejected::NotForThisNode);
        }

        let index = self.index_of(now, &name).ok_or(Rejected::TooManyNodes)?;
        let peer = self.peers.get_mut(index).and_then(Option::as_mut);
        let peer = peer.ok_or(Rejected::TooManyNodes)?;
        let boot = peer.boot();
        let accepted = if peer.state == NodeState::Dropped {
            Err(Rejected::Dropped)
        } else if header.prefixes != lengths(prefixes) {
            Err(Rejected::Prefixes)
        } else {
            let interval_ms = self.config.interval_ms;
            peer.accept(
                now,
                interval_ms,
                (&header, echo),
                &self.pulses,
                &mut self.sums,
                effects,
            )
        };
        if peer.boot() != boot {
            self.bans.end_life(index);
        }
        if let Err(reason) = accepted {
            peer.rejected[reason as usize] += 1;
            return Err(reason);
        }

        let caps = self.config.caps();
        let order = (header.sequence, header.round);
        for record in records {
            self.totals.received_records += 1;
            match record {
                Record::Count(source, count) => {
                    peer.count(order, (source, count), caps, &mut self.sums, effects);
                }
                Record::Ban(who, seconds) if self.config.bans => {
                    let from = (index, header.sequence as u32);
                    self.bans.receive(now, from, (who, seconds), effects);
                }
                Record::Ban(..) => {}
            }
        }
        if let Some(sums) = audit {
            peer.compare(now, &sums);
        }
        if header.kind == Kind::Bye {
            peer.end_life(now, self.pulses.newest(), &mut self.sums, effects);
            peer.set_state(NodeState::Left, now, effects);
        }
        if echo.is_some_and(|echo| echo.wants_dump) && peer.takes_dump(now) {
            self.begin_dump(now, (index, header.boot));
        }
        Ok(())
    }

    /// Sweeps the counts of some nodes, so that each has its turn once a cycle.
    fn sweep(&mut self, rounds: u32, effects: &mut impl Effects) {
        let listed = self.peers.len();
        for _ in 0..listed.div_ceil(rounds as usize) {
            self.sweep_from = (self.sweep_from + 1) % listed;
            if let Some(Some(peer)) = self.peers.get_mut(self.sweep_from) {
                peer.sweep(&mut self.sums, effects);
            }
        }
    }
}

/// How often a node says that it ends.
const BYE_COPIES: u8 = 2;

fn lengths(prefixes: PrefixLengths) -> (u8, u8) {
    (prefixes.length(Family::V4), prefixes.length(Family::V6))
}

/// There are more nodes than [`Config::max_nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNodes;
