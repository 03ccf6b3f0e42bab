// SPDX-License-Identifier: GPL-2.0-or-later
//! Bans that other nodes of the cluster set, and those of this node that they get.
//!
//! A ban of another node does not shorten one of this node, is not sent on, and is lifted by a
//! command here as any other. It never concerns sources that a rule here exempts or trusts.

#![forbid(unsafe_code)]

use crate::cluster::Ban;
use crate::limiter::{BanError, Limiter, Worker};
use crate::observe::report::{PenaltyReport, Report};
use crate::policy::origin::BanReason;
use crate::policy::penalties::Cause;
use crate::policy::settings::Mode;
use crate::source::{Prefix, Source};
use crate::table::details::Owner;

/// What a ban of another node did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromNode {
    /// Nothing: a rule here spares the source or prefix, there is no room, or there is no ban
    /// to lift.
    Nothing,
    /// It is banned from now on.
    Begins,
    /// It was banned before.
    Lasts,
    /// It is no longer banned.
    Ends,
}

impl Limiter {
    /// Applies a ban of the node with this index, for `seconds` from now; 0: the node lifted it.
    /// `now` is the host clock.
    pub fn ban_from_node(
        &self,
        worker: Worker,
        node: u8,
        (who, seconds): (Prefix, u32),
        now: u32,
    ) -> FromNode {
        let source = self.banned_source(who);
        if seconds == 0 {
            let is_lifted = match source {
                Some(source) => self.unban_of_node(source),
                None => self.unban_prefix_of_node(who).is_ok(),
            };
            return match is_lifted {
                true => FromNode::Ends,
                false => FromNode::Nothing,
            };
        }
        let (was_banned, is_banned) = match source {
            Some(source) => (
                Report::of(self).get(source).ban().is_some(),
                self.ban_source_from_node(worker, node, source, seconds)
                    .is_ok(),
            ),
            None => {
                let before = self.rulebook().ban_of(who);
                // The text is checked as one that an operator writes.
                let parsed = Prefix::parse_any(&who.to_string());
                let is_valid = parsed.is_ok_and(|prefix| self.nat64().check(prefix).is_ok());
                let end = now.wrapping_add(seconds);
                let ban = || self.ban_prefix(who, end, BanReason::Cluster { node });
                (
                    before.is_some_and(|ban| ban.prefix == who),
                    is_valid && ban().is_ok(),
                )
            }
        };
        match (is_banned, was_banned) {
            (false, _) => FromNode::Nothing,
            (true, false) => FromNode::Begins,
            (true, true) => FromNode::Lasts,
        }
    }

    /// The source whose addresses have exactly this prefix.
    fn banned_source(&self, who: Prefix) -> Option<Source> {
        let prefixes = self.prefixes();
        if who.length != prefixes.length(who.family) {
            return None;
        }
        let length = who.family.bits() as usize / 8;
        Source::new(who.octets().get(..length)?, prefixes)
    }

    fn ban_source_from_node(
        &self,
        worker: Worker,
        node: u8,
        source: Source,
        seconds: u32,
    ) -> Result<(), BanError> {
        if self.rulebook().spares(source) {
            return Err(BanError::Exempt);
        }
        self.ban(worker, source, seconds, Cause::Cluster)?;
        if let Some(at) = self.table().find(source) {
            let owner = Owner::of(self.table(), source, at);
            self.restraints(owner, at).set_node(node);
        }
        Ok(())
    }

    /// Lifts the ban of `source` if another node set it.
    fn unban_of_node(&self, source: Source) -> bool {
        self.table().find(source).is_some_and(|at| {
            let owner = Owner::of(self.table(), source, at);
            let restraints = self.restraints(owner, at);
            let lifted = restraints.forgive_ban(self.millis(), Cause::Cluster as u8);
            lifted.is_some_and(|ban| ban.banned && ban.reason == Cause::Cluster as u8)
        })
    }

    /// The bans that this node set, in no order. `now` is the host clock. Empty in the modes
    /// monitor and off: a node that rejects no connection must not make other nodes reject one.
    pub(crate) fn bans_in_cluster(&self, now: u32) -> impl Iterator<Item = Ban> + '_ {
        let is_enforced = self.mode() == Mode::Enforce;
        let is_own = |ban: &PenaltyReport| ban.cause != Cause::Cluster;
        let report = Report::of(self);
        let sources = report.banned_sources().filter_map(move |(source, ban)| {
            let ban = Some(ban).filter(is_own)?;
            Some(Ban {
                who: source.prefix(self.prefixes()),
                seconds: ban.seconds_left(),
            })
        });
        // Without memory they are sent as lifted, and again as soon as there is some.
        let prefixes = core::iter::once_with(move || report.banned_prefixes().unwrap_or_default());
        let prefixes = prefixes.flatten().filter_map(move |rule| {
            let ban = PenaltyReport::of_prefix(&rule, now).filter(is_own)?;
            Some(Ban {
                who: rule.prefix,
                seconds: ban.seconds_left(),
            })
        });
        sources.chain(prefixes).filter(move |_| is_enforced)
    }
}
