// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Bans`]: the bans of this node that are sent, and those of other nodes that arrived.
//!
//! Each node sends the bans that it set, and no others. A ban travels as the time that is left
//! of it, so clocks need not agree. What arrived is kept for each node, and the longest of these
//! bans applies. So a node that lifts or shortens its ban ends that one alone, and two nodes may
//! ban the same source at the same time.
//!
//! A ban is repeated once a cycle, and lasts at most [`MAX_BAN_SECONDS`] after that. So a long
//! one ends a day after its node was heard for the last time. That a ban was lifted is also
//! repeated once a cycle, until the ban would have ended, for nodes that missed it.

#![forbid(unsafe_code)]

use std::collections::hash_map::Entry;
use std::hash::BuildHasher as _;

use super::effects::Effects;
use super::hash::{ByKey, PrefixMap};
use super::record::Record;
use super::{Ban, Config, MAX_BAN_SECONDS};
use crate::source::{Prefix, PrefixLengths};

/// Two ends of a ban that differ by at most this, in ms, are the same: the time that is left
/// is in whole seconds, and messages take time.
const SAME_MS: u64 = 2_500;

/// How often it is sent that a ban was lifted, before it is repeated once a cycle.
const LIFTED_COPIES: u8 = 3;

/// How often a new ban is sent, before it is repeated once a cycle.
const NEW_COPIES: u8 = 2;

/// How long a ban that ended is remembered, in ms, so that a late message does not renew it.
const LATE_MS: u64 = 10_000;

#[derive(Debug)]
struct Sent {
    until: u64,
    /// The latest end that another node can have, which is later if this node made it shorter.
    longest: u64,
    pass: u32,
    spread: u32,
    copies: u8,
    is_lifted: bool,
}

/// The last record of a node about a source or prefix.
#[derive(Clone, Copy, Debug)]
struct OfNode {
    node: usize,
    /// The node restarted since, or another node has its index.
    is_past: bool,
    /// Another node has its index.
    is_gone: bool,
    /// The lower half of the sequence number of the message.
    sequence: u32,
    /// When the ban ends or was lifted.
    until: u64,
}

/// The bans of a source or prefix by other nodes.
#[derive(Debug, Default)]
struct Received {
    of_nodes: Vec<OfNode>,
    /// The node whose ban applies. `None`: it restarted since, or there is no ban.
    node: Option<usize>,
    /// The end of the ban that [`Effects::ban`] applied last, or could have.
    until: u64,
    /// Otherwise it is tried again when the ban is repeated.
    is_applied: bool,
}

impl Received {
    /// Applies the longest ban, after the node `node` sent or lifted one. `own` is the ban that
    /// this node sent.
    fn settle(
        &mut self,
        now: u64,
        (node, who): (usize, Prefix),
        own: Option<&Sent>,
        counted: &mut Counted,
        effects: &mut impl Effects,
    ) {
        let Some(longest) = self.of_nodes.iter().max_by_key(|known| known.until) else {
            return;
        };
        let (of, until) = (longest.node, longest.until);
        self.node = (!longest.is_past).then_some(of);
        let was_banned = self.until > now;
        // At most `MAX_BAN_SECONDS`.
        let left = (until.saturating_sub(now) / 1_000) as u32;
        if left == 0 {
            if was_banned {
                effects.ban(node, who, 0);
            }
            (self.until, self.is_applied) = (now, false);
            return;
        }
        let was_applied = was_banned && self.is_applied;
        if was_applied && until.abs_diff(self.until) <= SAME_MS {
            return;
        }
        // If this node set one that lasts as long, that one stays: of two nodes, each would
        // otherwise replace its own ban with that of the other one, and then lift it.
        let is_covered = own.is_some_and(|own| own.until.saturating_add(SAME_MS) >= until);
        self.is_applied = is_covered || effects.ban(of, who, left);
        // If it is refused, the one before stays.
        self.until = match self.is_applied {
            true => until,
            false => until.max(self.until),
        };
        // A ban that only lasts longer, or is refused again, was counted.
        match self.is_applied {
            true => counted.received += u64::from(!was_applied),
            false => counted.refused += u64::from(!was_banned),
        }
    }
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
    /// How many of those each node sent, how many are of nodes that restarted since, and how
    /// many prefixes that are not sources are among them.
    held: Vec<usize>,
    held_past: usize,
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
            held_past: 0,
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
        self.held.fill(0);
        self.held_past = 0;
        self.received.retain(|_, ban| {
            ban.of_nodes
                .retain(|of_node| of_node.until.saturating_add(LATE_MS) > now);
            for of_node in &ban.of_nodes {
                match self.held.get_mut(of_node.node) {
                    Some(held) if !of_node.is_past => *held += 1,
                    _ => self.held_past += 1,
                }
            }
            !ban.of_nodes.is_empty()
        });
        let prefixes = self.received.keys().filter(|who| !self.is_source(**who));
        self.held_prefixes = prefixes.count();
    }

    /// Appends what must be sent in this interval. `bans` are those that this node set.
    pub(super) fn collect(
        &mut self,
        now: u64,
        (round, rounds): (u32, u32),
        bans: impl Iterator<Item = Ban>,
        out: &mut Vec<Record>,
    ) {
        self.pass = self.pass.wrapping_add(1);
        self.expire(now);
        for ban in bans.filter(|ban| ban.seconds > 0) {
            self.report(now, ban, (round, rounds), out);
        }
        let pass = self.pass;
        let is_full = self.sent.len() >= self.max;
        self.sent.retain(|who, sent| {
            if sent.pass == pass {
                return true;
            }
            if !sent.is_lifted {
                if sent.longest <= now.saturating_add(SAME_MS) {
                    // It ends by itself on all nodes.
                    return false;
                }
                (sent.is_lifted, sent.copies) = (true, LIFTED_COPIES);
            }
            if sent.copies > 0 || sent.spread % rounds == round % rounds {
                sent.copies = sent.copies.saturating_sub(1);
                out.push(Record::Ban(*who, 0));
            }
            // A new ban needs the room more.
            sent.copies > 0 || sent.longest > now && !is_full
        });
    }

    /// Appends a ban of this node if it must be sent in this interval.
    fn report(&mut self, now: u64, ban: Ban, (round, rounds): (u32, u32), out: &mut Vec<Record>) {
        let end_after = |seconds| now.saturating_add(u64::from(seconds) * 1_000);
        let until = end_after(ban.seconds);
        let known = self.sent.get(&ban.who);
        if known.is_none() && self.sent.len() >= self.max {
            return;
        }
        self.counted.sent += u64::from(known.is_none_or(|sent| sent.is_lifted));
        let hash = self.sent.hasher().hash_one(ban.who);
        let sent = self.sent.entry(ban.who).or_insert(Sent {
            until: 0,
            longest: 0,
            pass: 0,
            spread: (hash >> 32) as u32,
            copies: 0,
            is_lifted: false,
        });
        sent.pass = self.pass;
        if sent.is_lifted || until.abs_diff(sent.until) > SAME_MS {
            (sent.until, sent.copies, sent.is_lifted) = (until, NEW_COPIES, false);
        }
        let longest = end_after(ban.seconds.min(MAX_BAN_SECONDS));
        sent.longest = sent.longest.max(longest);
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
        let has_room = self.held.get(node).is_some_and(|held| *held < self.max);
        let is_source = self.is_source(who);
        let has_prefix_room = is_source || self.held_prefixes < self.max_prefixes;
        // What this node sent, so up to an interval old.
        let own = self.sent.get(&who).filter(|sent| !sent.is_lifted);
        let ban = match self.received.entry(who) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if has_room && has_prefix_room => {
                self.held_prefixes += usize::from(!is_source);
                entry.insert(Received::default())
            }
            Entry::Vacant(_) => {
                self.counted.refused += u64::from(seconds > 0);
                return;
            }
        };
        let mut of_nodes = ban.of_nodes.iter_mut();
        match of_nodes.find(|known| known.node == node && !known.is_past) {
            // The lower halves of two numbers that are near each other.
            Some(known) if (sequence.wrapping_sub(known.sequence) as i32) < 0 => return,
            Some(known) => (known.sequence, known.until) = (sequence, until),
            None if !has_room => {
                self.counted.refused += u64::from(seconds > 0);
                return;
            }
            // A lifted ban is also remembered, in case that the ban itself arrives late.
            None => {
                self.held[node] += 1;
                ban.of_nodes.push(OfNode {
                    node,
                    is_past: false,
                    is_gone: false,
                    sequence,
                    until,
                });
            }
        }

        ban.settle(now, (node, who), own, &mut self.counted, effects);
    }

    /// Lifts the bans of a node that is shut out, also those from before a restart.
    pub(super) fn lift_of_node(&mut self, now: u64, node: usize, effects: &mut impl Effects) {
        for (who, ban) in &mut self.received {
            let mut is_changed = false;
            let is_of = |known: &&mut OfNode| known.node == node && !known.is_gone;
            for known in ban.of_nodes.iter_mut().filter(is_of) {
                known.until = known.until.min(now);
                is_changed = true;
            }
            if is_changed {
                let own = self.sent.get(who).filter(|sent| !sent.is_lifted);
                ban.settle(now, (node, *who), own, &mut self.counted, effects);
            }
        }
    }

    /// The index of a node is given to another one. Its bans stay until they end.
    pub(super) fn forget_node(&mut self, node: usize) {
        self.end_life(node);
        let of_nodes = self.received.values_mut().flat_map(|ban| &mut ban.of_nodes);
        for known in of_nodes.filter(|known| known.node == node) {
            known.is_gone = true;
        }
    }

    /// A node restarted, so the numbers of its messages begin again. Its bans stay until they
    /// end.
    pub(super) fn end_life(&mut self, node: usize) {
        let (held_past, max) = (&mut self.held_past, self.max);
        for ban in self.received.values_mut() {
            ban.node = ban.node.filter(|known| *known != node);
            let is_of = |known: &&OfNode| known.node == node;
            let Some(longest) = ban.of_nodes.iter().filter(is_of).max_by_key(|of| of.until) else {
                continue;
            };
            let past = OfNode {
                is_past: true,
                ..*longest
            };
            let had_past = ban.of_nodes.iter().any(|of| of.node == node && of.is_past);
            ban.of_nodes.retain(|known| known.node != node);
            // Without room it also stays until it ends, but another one may replace it.
            if had_past || *held_past < max {
                *held_past += usize::from(!had_past);
                ban.of_nodes.push(past);
            }
        }
        if let Some(held) = self.held.get_mut(node) {
            *held = 0;
        }
    }
}
