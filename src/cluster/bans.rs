// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Bans`]: the bans of this node that are sent, and those of other nodes that arrived.
//!
//! A ban travels as the time that is left of it, so clocks need not agree. A ban that came
//! from another node is not sent again, unless it was made longer here. So bans end
//! everywhere at about the same time.
//!
//! A ban is repeated once a cycle, and lasts at most [`MAX_BAN_SECONDS`] after that. So a long
//! one ends a day after its node was heard for the last time.

#![forbid(unsafe_code)]

use std::hash::BuildHasher as _;

use super::effects::Effects;
use super::hash::{ByKey, PrefixMap};
use super::record::Record;
use super::{Ban, Config, MAX_BAN_SECONDS};
use crate::source::{Prefix, PrefixLengths};

/// Two ends of a ban that differ by at most this, in ms, are the same: the time that is left
/// is in whole seconds, and messages take time.
const SAME_MS: u64 = 2_500;

/// How often it is sent that a ban was lifted.
const LIFTED_COPIES: u8 = 3;

/// How often a new ban is sent, before it is repeated once a cycle.
const NEW_COPIES: u8 = 2;

/// How long a ban that ended is remembered, in ms, so that a late message does not renew it.
const LATE_MS: u64 = 10_000;

#[derive(Debug)]
struct Sent {
    until: u64,
    pass: u32,
    spread: u32,
    copies: u8,
    is_lifted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Received {
    /// The node, as long as it has not restarted since.
    node: Option<usize>,
    /// The node, also after a restart. `None`: its index was given to another one.
    of: Option<usize>,
    /// The lower half of the sequence number of the message.
    sequence: u32,
    until: u64,
    /// Otherwise it is tried again when the ban is repeated.
    is_applied: bool,
}

/// Numbers of bans since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) refused: u64,
}

/// The bans that are sent and those that arrived.
#[derive(Debug)]
pub(super) struct Bans {
    sent: PrefixMap<Sent>,
    received: PrefixMap<Received>,
    /// How many of those each node sent, and of prefixes that are not sources.
    held: Vec<usize>,
    held_prefixes: usize,
    lengths: PrefixLengths,
    max: usize,
    max_prefixes: usize,
    pass: u32,
    pub(super) counted: Counted,
}

impl Bans {
    pub(super) fn new(hash: ByKey, config: &Config) -> Bans {
        Bans {
            sent: PrefixMap::with_hasher(hash),
            received: PrefixMap::with_hasher(hash),
            held: vec![0; config.max_nodes],
            held_prefixes: 0,
            lengths: config.prefixes,
            max: config.max_bans,
            max_prefixes: config.max_banned_prefixes,
            pass: 0,
            counted: Counted::default(),
        }
    }

    fn is_source(&self, who: Prefix) -> bool {
        who.length == self.lengths.length(who.family)
    }

    /// The bans in effect that a node sent.
    pub(super) fn of_node(&self, node: usize) -> usize {
        let of_node = |ban: &&Received| ban.node == Some(node) && ban.is_applied;
        self.received.values().filter(of_node).count()
    }

    /// Forgets the bans that ended long ago.
    fn expire(&mut self, now: u64) {
        self.received
            .retain(|_, ban| ban.until.saturating_add(LATE_MS) > now);
        self.held.fill(0);
        for ban in self.received.values() {
            if let Some(held) = ban.node.and_then(|node| self.held.get_mut(node)) {
                *held += 1;
            }
        }
        let prefixes = self.received.keys().filter(|who| !self.is_source(**who));
        self.held_prefixes = prefixes.count();
    }

    /// Whether another ban of this node has room.
    fn has_room(&self, node: usize, who: Prefix) -> bool {
        self.held.get(node).is_some_and(|held| *held < self.max)
            && (self.is_source(who) || self.held_prefixes < self.max_prefixes)
    }

    /// Appends what must be sent in this interval.
    pub(super) fn collect(
        &mut self,
        now: u64,
        (round, rounds): (u32, u32),
        bans: impl Iterator<Item = Ban>,
        out: &mut Vec<Record>,
    ) {
        self.pass = self.pass.wrapping_add(1);
        self.expire(now);
        for ban in bans {
            let until = now.saturating_add(u64::from(ban.seconds) * 1_000);
            let received = self.received.get(&ban.who);
            let is_own =
                received.is_none_or(|received| until > received.until.saturating_add(SAME_MS));
            if ban.seconds == 0 {
                continue;
            }
            match is_own {
                true => self.report(ban, until, (round, rounds), out),
                // Another node made it longer, so that one sends it now.
                false => drop(self.sent.remove(&ban.who)),
            }
        }
        let pass = self.pass;
        self.sent.retain(|who, sent| {
            if sent.pass == pass {
                return true;
            }
            if !sent.is_lifted {
                if sent.until <= now.saturating_add(SAME_MS) {
                    // It ends by itself on all nodes.
                    return false;
                }
                (sent.is_lifted, sent.copies) = (true, LIFTED_COPIES);
            }
            out.push(Record::Ban(*who, 0));
            sent.copies = sent.copies.saturating_sub(1);
            sent.copies > 0
        });
    }

    fn report(&mut self, ban: Ban, until: u64, (round, rounds): (u32, u32), out: &mut Vec<Record>) {
        if !self.sent.contains_key(&ban.who) {
            if self.sent.len() >= self.max {
                return;
            }
            self.counted.sent += 1;
        }
        let hash = self.sent.hasher().hash_one(ban.who);
        let sent = self.sent.entry(ban.who).or_insert(Sent {
            until: 0,
            pass: 0,
            spread: (hash >> 32) as u32,
            copies: 0,
            is_lifted: false,
        });
        sent.pass = self.pass;
        if sent.is_lifted || until.abs_diff(sent.until) > SAME_MS {
            (sent.until, sent.copies, sent.is_lifted) = (until, NEW_COPIES, false);
        }
        if sent.copies > 0 || sent.spread % rounds == round % rounds {
            sent.copies = sent.copies.saturating_sub(1);
            out.push(Record::Ban(ban.who, ban.seconds));
        }
    }

    /// Applies a ban of the node `node`.
    pub(super) fn receive(
        &mut self,
        now: u64,
        (node, sequence): (usize, u32),
        (who, seconds): (Prefix, u32),
        effects: &mut impl Effects,
    ) {
        let seconds = seconds.min(MAX_BAN_SECONDS);
        let until = now.saturating_add(u64::from(seconds) * 1_000);
        let Some(before) = self.received.get(&who).copied() else {
            if !self.has_room(node, who) {
                self.counted.refused += u64::from(seconds > 0);
                return;
            }
            // A lifted ban is also remembered, in case that the ban itself arrives late.
            let is_applied = seconds > 0 && effects.ban(node, who, seconds);
            self.count(seconds > 0, is_applied);
            self.held[node] += 1;
            self.held_prefixes += usize::from(!self.is_source(who));
            let new = Received {
                node: Some(node),
                of: Some(node),
                sequence,
                until,
                is_applied,
            };
            self.received.insert(who, new);
            return;
        };
        let mut ban = before;
        let is_new = if ban.node == Some(node) {
            // The lower halves of two numbers that are near each other.
            if (sequence.wrapping_sub(ban.sequence) as i32) < 0 {
                return;
            }
            ban.sequence = sequence;
            let is_same = until.abs_diff(ban.until) <= SAME_MS
                && (seconds == 0) == (ban.until <= now)
                && (seconds == 0 || ban.is_applied);
            if !is_same {
                ban.until = until;
            }
            !is_same && (seconds > 0 || !is_own(&self.sent, who))
        } else {
            // It is this node's from now on, if that may have another one.
            let may_have = self.held.get(node).is_some_and(|held| *held < self.max);
            let is_longer = may_have && until > ban.until.saturating_add(SAME_MS);
            if is_longer {
                self.held[node] += 1;
                (ban.node, ban.of) = (Some(node), Some(node));
                (ban.sequence, ban.until) = (sequence, until);
            }
            is_longer
        };
        if is_new {
            ban.is_applied = effects.ban(node, who, seconds) && seconds > 0;
            // A ban that only lasts longer, or is refused again, was counted.
            let began = before.until <= now || ban.is_applied && !before.is_applied;
            self.count(seconds > 0 && began, ban.is_applied);
        }
        self.received.insert(who, ban);
    }

    /// Counts a ban that began on another node.
    fn count(&mut self, began: bool, is_applied: bool) {
        match is_applied {
            true => self.counted.received += u64::from(began),
            false => self.counted.refused += u64::from(began),
        }
    }

    /// Lifts the bans of a node that is shut out.
    pub(super) fn lift_of_node(&mut self, now: u64, node: usize, effects: &mut impl Effects) {
        let Bans { sent, received, .. } = self;
        for (who, ban) in received {
            if ban.of == Some(node) && ban.is_applied && !is_own(sent, *who) {
                effects.ban(node, *who, 0);
                (ban.until, ban.is_applied) = (now, false);
            }
        }
    }

    /// A node restarted, so the numbers of its messages begin again. Its bans stay until they
    /// end.
    pub(super) fn end_life(&mut self, node: usize) {
        for ban in self.received.values_mut() {
            ban.node = ban.node.filter(|known| *known != node);
        }
    }

    /// The index of a node is given to another one.
    pub(super) fn forget_node(&mut self, node: usize) {
        self.end_life(node);
        for ban in self.received.values_mut() {
            ban.of = ban.of.filter(|known| *known != node);
        }
    }
}

/// Whether this node made a ban of another one longer. It is its own then, and no other node
/// lifts it.
fn is_own(sent: &PrefixMap<Sent>, who: Prefix) -> bool {
    sent.get(&who).is_some_and(|sent| !sent.is_lifted)
}
