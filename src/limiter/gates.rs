// SPDX-License-Identifier: GPL-2.0-or-later
//! The gates through which a connection of a source must pass, in a fixed order. The first
//! one that does not admit it names the reason.
//!
//! Only a source that remembers something (see [`crate::table`]) or has as many connections
//! as the lowest limit comes here, which pressure may have lowered, and each source while only
//! the reserve is left. A gate reads and changes nothing: a rejected connection
//! costs its source nothing of its rate, so a client that tries again gets in as soon as one
//! that waits.

#![forbid(unsafe_code)]

mod ban;
mod cluster;
mod limit;
mod pressure;
mod rate;
mod reserve;
mod room;
mod untrusted;

use crate::limiter::Limiter;
use crate::limiter::load::Scarcity;
use crate::policy::rulebook::RuleId;
use crate::policy::settings::Switches;
use crate::policy::terms::{Rate, Terms};
use crate::shared::sync::Ordering;
use crate::source::{Prefix, Scope, Source};
use crate::table::SlotRef;
use crate::table::details::{Owner, RejectedFor};
use crate::table::others::OthersEntry;
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
    /// Its source has no slot and this rule, and only connections of the reserve are left.
    Reserved(RuleId),
    /// Its source has no slot and this rule, and the other nodes of the cluster have as many
    /// connections of it as the limit over all nodes allows.
    OnlyOthers { entry: OthersEntry, rule: RuleId },
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
    /// The connections that are limited: all, the untrusted ones, or those on all nodes.
    pub(super) number: u32,
    pub(super) rule: RuleId,
    /// Offences are not charged to the source.
    pub(super) exempt: bool,
}

/// What a gate decides by.
struct Asked<'a> {
    limiter: &'a Limiter,
    /// What the source owes, if anything is remembered of it.
    owes: Option<Restraints<'a>>,
    owner: Owner,
    at: SlotRef,
    connections: i32,
    terms: Terms,
    scarcity: Scarcity,
}

impl Asked<'_> {
    /// The untrusted connections of the source.
    fn untrusted(&self) -> u32 {
        let connections = self.connections.unsigned_abs();
        let trusted = self.limiter.count_trusted(self.owner, self.at, connections);
        connections - trusted
    }

    /// Whether a gate `admits` the source now, if it is one that admits a source later
    /// whenever it does so earlier. So the clock is read only if the gate does not admit the
    /// source at a time in the past that is known already.
    #[inline]
    fn at_present(&self, admits: impl Fn(u64) -> bool) -> bool {
        // Relaxed (statistics): any time in the past will do, see `Limiter::present`. It is
        // less than a second old while the background process runs.
        let past = self.limiter.settings().past_micros();
        admits(past.load(Ordering::Relaxed)) || admits(self.limiter.micros())
    }
}

/// The gates in their order: the first that does not admit the source.
#[inline]
fn first_closed(asked: &Asked<'_>) -> Option<RejectedFor> {
    let reject = |admits: bool, reason| (!admits).then_some(reason);
    None.or_else(|| reject(ban::admits(asked), RejectedFor::Ban))
        .or_else(|| {
            reject(
                rate::admits(asked, || asked.limiter.rate()),
                RejectedFor::Rate,
            )
        })
        .or_else(|| reject(limit::admits(asked), RejectedFor::Limit))
        .or_else(|| reject(untrusted::admits(asked), RejectedFor::Untrusted))
        .or_else(|| reject(reserve::admits(asked), RejectedFor::Reserve))
        .or_else(|| reject(pressure::admits(asked), RejectedFor::Pressure))
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
            Reason::Reserved(_) => Some(RejectedFor::Reserve),
            Reason::OnlyOthers { .. } => Some(RejectedFor::Cluster),
            Reason::OverGiven | Reason::Full | Reason::Untracked => None,
        }
    }
}

impl Limiter {
    /// Whether the gates of bans and rates surely admit a source that had the slot `at`, which
    /// remembers something: it is not banned, and owes no more than it may by its rule. So
    /// neither its rule nor the clock need be read. `false` if the gates must be asked.
    /// `default` is the rate of sources, or of networks, without another one.
    #[inline(never)]
    pub(super) fn owes_little(
        &self,
        source: Source,
        at: SlotRef,
        switches: Switches,
        default: Rate,
    ) -> bool {
        let settings = self.settings();
        let most = match switches.has_rated_rules() {
            true => 0,
            false if default.is_none() => u64::MAX,
            false => default.tolerance_us(),
        };
        let owner = Owner::of(self.table(), source, at);
        let restraints = self.restraints(owner, at);
        // Relaxed (statistics): as in `Asked::at_present`.
        let past = settings.past_micros().load(Ordering::Relaxed);
        restraints.owed(past) <= most && restraints.ban(past / 1_000).is_none()
    }

    /// Asks each gate. The source had the slot `at` and this number of connections.
    #[cold]
    pub(super) fn check_gates(
        &self,
        source: Source,
        address: &[u8],
        mut at: SlotRef,
        mut connections: i32,
        scarcity: Scarcity,
    ) -> Result<(), Rejection> {
        loop {
            match self.first_closed_gate(source, address, at, connections, scarcity) {
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
                return self.check_new(source, address, checked_from, scarcity);
            };
            at = now;
            connections = self.table().connections(at);
        }
    }

    /// The first gate that does not admit the source.
    fn first_closed_gate(
        &self,
        source: Source,
        address: &[u8],
        at: SlotRef,
        connections: i32,
        scarcity: Scarcity,
    ) -> Option<Rejected> {
        let owner = Owner::of(self.table(), source, at);
        let (rule, terms) = self.terms(source, address, owner);
        let owes = at.control.remembers();
        let owes = owes.then(|| self.restraints(owner, at));
        let asked = Asked {
            limiter: self,
            owes,
            owner,
            at,
            connections,
            terms,
            scarcity,
        };
        let reason = first_closed(&asked).or_else(|| {
            let limit = match self.has_cluster() {
                true => terms.cluster_limit(self.cluster_limit()),
                false => return None,
            };
            self.closed_by_cluster(source, connections, limit)
        })?;
        let rule = match reason {
            RejectedFor::Ban => self.ban_around(source, address).unwrap_or(rule),
            RejectedFor::Rate
            | RejectedFor::Limit
            | RejectedFor::Untrusted
            | RejectedFor::Reserve
            | RejectedFor::Pressure
            | RejectedFor::Cluster => rule,
        };
        let number = match reason {
            RejectedFor::Untrusted => asked.untrusted(),
            RejectedFor::Cluster => self.in_cluster(source, connections.unsigned_abs()),
            _ => connections.unsigned_abs(),
        };
        Some(Rejected {
            reason,
            at,
            owner,
            connections,
            number,
            rule,
            exempt: terms.exempt,
        })
    }

    /// The first gate that does not admit a network, which has the slot `at` and this number
    /// of connections: its rate or its limit.
    pub(super) fn first_closed_gate_of_network(
        &self,
        network: Source,
        at: SlotRef,
        connections: i32,
    ) -> Option<Rejected> {
        let owner = Owner::of(self.table(), network, at);
        let (rule, terms) = self.terms_of_source(network, owner);
        let owes = at.control.remembers();
        let owes = owes.then(|| self.restraints(owner, at));
        let asked = Asked {
            limiter: self,
            owes,
            owner,
            at,
            connections,
            terms,
            scarcity: Scarcity::NONE,
        };
        let reason = if !rate::admits(&asked, || self.network_rate()) {
            RejectedFor::Rate
        } else if !limit::admits(&asked) {
            RejectedFor::Limit
        } else {
            return None;
        };
        Some(Rejected {
            reason,
            at,
            owner,
            connections,
            number: connections.unsigned_abs(),
            rule,
            exempt: terms.exempt,
        })
    }

    /// The rule and the terms of `address`, or of its source `owner`.
    fn terms(&self, source: Source, address: &[u8], owner: Owner) -> (RuleId, Terms) {
        let of_source = self.terms_of_source(source, owner);
        self.terms_of_host(address, source.scope())
            .unwrap_or(of_source)
    }

    /// The rule and the terms of `source`, which is `owner`.
    pub(crate) fn terms_of_source(&self, source: Source, owner: Owner) -> (RuleId, Terms) {
        let detail = self.details().own(owner);
        self.rulebook().resolve_cached(source, owner.tag(), detail)
    }

    /// The rule and the terms of `address`, if there is a rule with a prefix longer than its
    /// source.
    pub(super) fn terms_of_host(
        &self,
        address: &[u8],
        scope: Option<Scope>,
    ) -> Option<(RuleId, Terms)> {
        let rulebook = self.rulebook();
        if !rulebook.has_host_rules() {
            return None;
        }
        rulebook.resolve_host(self.host(address)?, scope)
    }

    /// The check of a source without a slot. `checked_from` is
    /// [`Settings::checked_from`](crate::policy::settings::Settings::checked_from).
    #[inline]
    pub(super) fn check_new(
        &self,
        source: Source,
        address: &[u8],
        checked_from: u32,
        scarcity: Scarcity,
    ) -> Result<(), Rejection> {
        if checked_from == 0 || scarcity.reserved {
            self.check_new_by_rule(source, address, scarcity)?;
        }
        self.check_room(source)
    }

    /// The check of a source without a slot while a prefix is banned, or while only
    /// connections of the reserve are left.
    #[cold]
    fn check_new_by_rule(
        &self,
        source: Source,
        address: &[u8],
        scarcity: Scarcity,
    ) -> Result<(), Rejection> {
        let of_host = self.terms_of_host(address, source.scope());
        let (rule, terms) = of_host.unwrap_or_else(|| self.rulebook().resolve(source));
        if terms.banned {
            let ban = self.ban_around(source, address).unwrap_or(rule);
            return Err(Rejection(Reason::BannedPrefix(ban)));
        }
        if scarcity.reserved && !terms.trusted {
            return Err(Rejection(Reason::Reserved(rule)));
        }
        Ok(())
    }

    /// The ban of the longest prefix that contains the address, or its source if there is
    /// none.
    fn ban_around(&self, source: Source, address: &[u8]) -> Option<RuleId> {
        let host = self.host(address).map(Prefix::from);
        let wanted = host.unwrap_or_else(|| source.prefix(self.prefixes));
        self.rulebook().ban_around(wanted)
    }
}
