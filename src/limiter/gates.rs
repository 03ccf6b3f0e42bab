// SPDX-License-Identifier: GPL-2.0-or-later
//! The gates through which a connection of a source must pass, in a fixed order. The first
//! one that does not admit it names the reason.
//!
//! Only a source that remembers something (see [`crate::table`]) or has as many connections
//! as the lowest limit comes here. A gate reads and changes nothing: a rejected connection
//! costs its source nothing of its rate, so a client that tries again gets in as soon as one
//! that waits.

#![forbid(unsafe_code)]

mod ban;
mod limit;
mod rate;
mod room;

use crate::limiter::Limiter;
use crate::policy::rulebook::RuleId;
use crate::policy::terms::Terms;
use crate::source::Source;
use crate::table::SlotRef;
use crate::table::details::{Owner, RejectedFor};
use crate::table::restraints::Restraints;

/// Why a connection should not be admitted.
#[derive(Clone, Copy, Debug)]
pub struct Rejection(pub(super) Reason);

#[derive(Clone, Copy, Debug)]
pub(super) enum Reason {
    /// A gate does not admit its source.
    Source(Rejected),
    /// A gate does not admit its network.
    Network(Rejected),
    /// Its source is at or over the limit that the caller gave.
    OverGiven,
    /// Its source has no slot, and this rule bans its prefix.
    BannedPrefix(RuleId),
    /// The table has no slot for its source.
    Full,
    /// Its descriptor is not tracked.
    Untracked,
}

/// A source that a gate does not admit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rejected {
    pub(super) reason: RejectedFor,
    pub(super) at: SlotRef,
    pub(super) owner: Owner,
    pub(super) connections: i32,
    pub(super) rule: RuleId,
    /// Offences are not charged to the source.
    pub(super) exempt: bool,
}

/// What a gate decides by.
struct Asked<'a> {
    limiter: &'a Limiter,
    source: Source,
    /// What the source owes, if anything is remembered of it.
    owes: Option<Owes<'a>>,
    connections: i32,
    terms: Terms,
}

/// What a source owes at the time `now`, in microseconds.
struct Owes<'a> {
    restraints: Restraints<'a>,
    now: u64,
}

/// The gates in their order: the first that does not admit the source.
#[inline]
fn first_closed(asked: &Asked<'_>) -> Option<RejectedFor> {
    let reject = |admits: bool, reason| (!admits).then_some(reason);
    None.or_else(|| reject(ban::admits(asked), RejectedFor::Ban))
        .or_else(|| reject(rate::admits(asked), RejectedFor::Rate))
        .or_else(|| reject(limit::admits(asked), RejectedFor::Limit))
}

impl Rejection {
    /// A gate does not admit a network.
    pub(super) fn of_network(rejected: Rejected) -> Rejection {
        Rejection(Reason::Network(rejected))
    }

    /// Whether its network was rejected.
    pub fn is_of_network(&self) -> bool {
        matches!(self.0, Reason::Network(_))
    }

    /// Why its source was rejected; `None`: for another reason.
    pub fn reason(&self) -> Option<RejectedFor> {
        match &self.0 {
            Reason::Source(rejected) | Reason::Network(rejected) => Some(rejected.reason),
            Reason::BannedPrefix(_) => Some(RejectedFor::Ban),
            Reason::OverGiven | Reason::Full | Reason::Untracked => None,
        }
    }
}

impl Limiter {
    /// Asks each gate. The source had the slot `at` and this number of connections.
    #[cold]
    pub(super) fn check_gates(
        &self,
        source: Source,
        address: &[u8],
        mut at: SlotRef,
        mut connections: i32,
    ) -> Result<(), Rejection> {
        loop {
            match self.first_closed_gate(source, address, at, connections) {
                None => {
                    self.hints.set(at.slot);
                    return Ok(());
                }
                // Before rejecting, confirm that the numbers were those of this source.
                Some(rejected) if self.table().held(at).is_some() => {
                    return Err(Rejection(Reason::Source(rejected)));
                }
                Some(_) => {}
            }
            // Another source took the slot meanwhile.
            let Some(now) = self.table().find(source) else {
                let checked_from = self.settings().checked_from();
                return self.check_new(source, address, checked_from);
            };
            at = now;
            connections = self.table().connections(at);
        }
    }

    /// The first gate that does not admit the source.
    #[inline(always)]
    pub(super) fn first_closed_gate(
        &self,
        source: Source,
        address: &[u8],
        at: SlotRef,
        connections: i32,
    ) -> Option<Rejected> {
        let owner = Owner::of(self.table(), source, at);
        let (rule, terms) = self.terms(source, address, owner);
        let owes = at.control.remembers().then(|| Owes {
            restraints: self.restraints(owner, at),
            now: self.micros(),
        });
        let reason = first_closed(&Asked {
            limiter: self,
            source,
            owes,
            connections,
            terms,
        })?;
        Some(Rejected {
            reason,
            at,
            owner,
            connections,
            rule,
            exempt: terms.exempt,
        })
    }

    /// The rule and the terms of `address`, or of its source `owner`.
    fn terms(&self, source: Source, address: &[u8], owner: Owner) -> (RuleId, Terms) {
        let of_source = self.terms_of_source(source, owner);
        self.terms_of_host(address).unwrap_or(of_source)
    }

    /// The rule and the terms of `source`, which is `owner`.
    pub(crate) fn terms_of_source(&self, source: Source, owner: Owner) -> (RuleId, Terms) {
        let detail = self.details().own(owner);
        self.rulebook().resolve_cached(source, owner.tag(), detail)
    }

    /// The rule and the terms of `address`, if there is a rule with a prefix longer than its
    /// source.
    pub(super) fn terms_of_host(&self, address: &[u8]) -> Option<(RuleId, Terms)> {
        let rulebook = self.rulebook();
        if !rulebook.has_host_rules() {
            return None;
        }
        rulebook.resolve_host(self.host(address)?)
    }

    /// The check of a source without a slot. `checked_from` is
    /// [`Settings::checked_from`](crate::policy::settings::Settings::checked_from).
    #[inline]
    pub(super) fn check_new(
        &self,
        source: Source,
        address: &[u8],
        checked_from: u32,
    ) -> Result<(), Rejection> {
        if checked_from == 0 {
            self.check_banned_prefix(source, address)?;
        }
        self.check_room(source)
    }

    /// The check of a source without a slot while a prefix is banned.
    #[cold]
    fn check_banned_prefix(&self, source: Source, address: &[u8]) -> Result<(), Rejection> {
        let of_host = self.terms_of_host(address);
        let (rule, terms) = of_host.unwrap_or_else(|| self.rulebook().resolve(source));
        if terms.banned {
            return Err(Rejection(Reason::BannedPrefix(rule)));
        }
        Ok(())
    }
}
