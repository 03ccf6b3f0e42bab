// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Bans`]: the bans of this node that are sent, and those of other nodes that arrived.
//!
//! A ban travels as the time that is left of it, so clocks need not agree. A ban that came
//! from another node is not sent again, unless it was made longer here. So bans end
//! everywhere at about the same time.

#![forbid(unsafe_code)]

use std::hash::BuildHasher as _;

use super::Ban;
use super::effects::Effects;
use super::hash::{ByKey, Map};
use super::record::Record;
use crate::source::Source;

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

#[derive(Debug)]
struct Received {
    /// `None`: it restarted since.
    node: Option<usize>,
    /// The lower half of the sequence number of the message.
    sequence: u32,
    until: u64,
}

/// The bans that are sent and those that arrived.
#[derive(Debug)]
pub(super) struct Bans {
    sent: Map<Sent>,
    received: Map<Received>,
    max: usize,
    pass: u32,
}

impl Bans {
    pub(super) fn new(hash: ByKey, max: usize) -> Bans {
        Bans {
            sent: Map::with_hasher(hash),
            received: Map::with_hasher(hash),
            max,
            pass: 0,
        }
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
        self.received
            .retain(|_, ban| ban.until.saturating_add(LATE_MS) > now);
        for ban in bans {
            let until = now.saturating_add(u64::from(ban.seconds) * 1_000);
            let received = self.received.get(&ban.source);
            let is_own =
                received.is_none_or(|received| until > received.until.saturating_add(SAME_MS));
            if ban.seconds == 0 || ban.source.scope().is_some() {
                continue;
            }
            match is_own {
                true => self.report(ban, until, (round, rounds), out),
                // Another node made it longer, so that one sends it now.
                false => drop(self.sent.remove(&ban.source)),
            }
        }
        let pass = self.pass;
        self.sent.retain(|source, sent| {
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
            out.push(Record::Ban(*source, 0));
            sent.copies = sent.copies.saturating_sub(1);
            sent.copies > 0
        });
    }

    fn report(&mut self, ban: Ban, until: u64, (round, rounds): (u32, u32), out: &mut Vec<Record>) {
        if !self.sent.contains_key(&ban.source) && self.sent.len() >= self.max {
            return;
        }
        let hash = self.sent.hasher().hash_one(ban.source);
        let sent = self.sent.entry(ban.source).or_insert(Sent {
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
            out.push(Record::Ban(ban.source, ban.seconds));
        }
    }

    /// Applies a ban of the node `node`. Returns whether there was room for it.
    pub(super) fn receive(
        &mut self,
        now: u64,
        (node, sequence): (usize, u32),
        (source, seconds): (Source, u32),
        effects: &mut impl Effects,
    ) -> bool {
        let until = now.saturating_add(u64::from(seconds) * 1_000);
        let Some(ban) = self.received.get_mut(&source) else {
            if self.received.len() >= self.max {
                return false;
            }
            // A lifted ban is remembered too, in case that the ban itself arrives late.
            let new = Received {
                node: Some(node),
                sequence,
                until,
            };
            self.received.insert(source, new);
            if seconds > 0 {
                effects.ban(node, source, seconds);
            }
            return true;
        };
        if ban.node == Some(node) {
            // The lower halves of two numbers that are near each other.
            if (sequence.wrapping_sub(ban.sequence) as i32) < 0 {
                return true;
            }
            ban.sequence = sequence;
            let differs = until.abs_diff(ban.until) > SAME_MS;
            if !differs && (seconds == 0) == (ban.until <= now) {
                return true;
            }
            ban.until = until;
            // A ban that this node made longer is its own: no other node lifts it.
            let is_own = self.sent.get(&source).is_some_and(|sent| !sent.is_lifted);
            if seconds > 0 || !is_own {
                effects.ban(node, source, seconds);
            }
        } else if until > ban.until.saturating_add(SAME_MS) {
            *ban = Received {
                node: Some(node),
                sequence,
                until,
            };
            effects.ban(node, source, seconds);
        }
        true
    }

    /// A node restarted, so the numbers of its messages begin again, or its index is given to
    /// another node. Its bans stay until they end.
    pub(super) fn forget_node(&mut self, node: usize) {
        for ban in self.received.values_mut() {
            ban.node = ban.node.filter(|known| *known != node);
        }
    }
}
