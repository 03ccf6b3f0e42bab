// SPDX-License-Identifier: GPL-2.0-or-later
//! [`RuleEntry`]: how a rule is written into the words of shared memory.

#![forbid(unsafe_code)]

use super::report::RuleReport;
use crate::policy::origin::{BanReason, RuleOrigin};
use crate::policy::rules::{DEFAULT_LIMIT, Rule, RuleKey};
use crate::policy::terms::{Rate, RuleRate, Terms};
use crate::shared::layout::RuleEntry;
use crate::shared::sync::Ordering;
use crate::source::{Family, Prefix};

/// Set in [`RuleEntry::shape`] for IPv6. The 8 bits below are the prefix length.
const V6: u32 = 1 << 8;

/// The kind of the origin in [`RuleEntry::shape`]. Its number, or the end of the rule, is
/// in [`RuleEntry::origin`].
const KIND: u32 = 7 << 9;
const MODPARAM: u32 = 0;
const LINE: u32 = 1 << 9;
const RPC: u32 = 2 << 9;
const RPC_WITH_END: u32 = 3 << 9;
const BAN: u32 = 4 << 9;

/// Where the reason of a ban begins in [`RuleEntry::shape`], with its lower 3 bits, and where
/// the 3 bits above them are.
const REASON: u32 = 12;
const UPPER_REASON: u32 = 21;

/// Where the scope begins in [`RuleEntry::shape`], and the number of the listener in
/// [`RuleEntry::parent`].
const SCOPE: u32 = 24;

/// The number of the parent in [`RuleEntry::parent`].
const PARENT: u32 = (1 << SCOPE) - 1;

/// Flags in [`RuleEntry::shape`], see [`Terms`].
const EXEMPT: u32 = 1 << 15;
const BANNED: u32 = 1 << 16;
const TRUSTED: u32 = 1 << 17;
const NO_NETWORK: u32 = 1 << 18;

/// Set in [`RuleEntry::shape`] for the prefix of networks.
const NETWORKS: u32 = 1 << 19;

/// As the flags above.
const PROXY: u32 = 1 << 20;

/// Rates in [`RuleEntry::rate`]:
///
/// ```text
///   bits 0–31 burst, 0: not given │ 32–63 interval, 0: the default rate
/// ```
///
/// This interval, which no rate has, stands for no rate.
const NO_RATE: u32 = u32::MAX;

fn rate_word(rate: RuleRate) -> u64 {
    let (interval, burst) = match rate {
        RuleRate::Default => (0, 0),
        RuleRate::DefaultWithBurst(burst) => (0, burst),
        RuleRate::Own(rate) if rate.is_none() => (NO_RATE, 0),
        RuleRate::Own(rate) => (rate.interval_us, rate.burst),
    };
    u64::from(interval) << 32 | u64::from(burst)
}

fn rate_of(word: u64) -> RuleRate {
    match ((word >> 32) as u32, word as u32) {
        (0, 0) => RuleRate::Default,
        (0, burst) => RuleRate::DefaultWithBurst(burst),
        (NO_RATE, _) => RuleRate::Own(Rate::NONE),
        (interval_us, burst) => RuleRate::Own(Rate { interval_us, burst }),
    }
}

impl RuleEntry {
    /// `listener` is the number of its listener, or 0.
    pub(super) fn store(&self, rule: &Rule, listener: u8) {
        let prefix = rule.prefix;
        let family = match prefix.family {
            Family::V4 => 0,
            Family::V6 => V6,
        };
        // Release: see `Rulebook::read_once`.
        self.upper.store(prefix.upper, Ordering::Release);
        self.lower.store(prefix.lower, Ordering::Release);
        let (kind, origin) = match rule.origin {
            RuleOrigin::Modparam(number) => (MODPARAM, number),
            RuleOrigin::Line(line) => (LINE, line),
            RuleOrigin::Rpc { end: None } => (RPC, 0),
            RuleOrigin::Rpc { end: Some(end) } => (RPC_WITH_END, end),
            RuleOrigin::Ban { end, reason } => {
                let number = reason.number();
                (
                    BAN | (number & 7) << REASON | (number >> 3) << UPPER_REASON,
                    end,
                )
            }
        };
        let terms = rule.terms;
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = flag(terms.exempt, EXEMPT)
            | flag(terms.banned, BANNED)
            | flag(terms.trusted, TRUSTED)
            | flag(terms.no_network, NO_NETWORK)
            | flag(terms.proxy, PROXY)
            | flag(prefix.of_networks, NETWORKS);
        let scope = u32::from(rule.scope) << SCOPE;
        let shape = scope | flags | kind | family | u32::from(prefix.length);
        self.shape.store(shape, Ordering::Release);
        self.origin.store(origin, Ordering::Release);
        let parent = rule.parent.map_or(0, |parent| u32::from(parent) + 1);
        self.parent
            .store(u32::from(listener) << SCOPE | parent, Ordering::Release);
        self.limit.store(terms.limit, Ordering::Release);
        self.rate.store(rate_word(terms.rate), Ordering::Release);
        let untrusted = terms.untrusted.map_or(0, |limit| limit.saturating_add(1));
        self.untrusted.store(untrusted, Ordering::Release);
        let cluster = terms.cluster.map_or(0, |limit| limit.saturating_add(1));
        self.cluster.store(cluster, Ordering::Release);
        self.rejected.store(0, Ordering::Release);
        self.would_reject.store(0, Ordering::Release);
    }

    pub(super) fn prefix(&self) -> Prefix {
        // Acquire, as in the functions below: see `Rulebook::read_once`.
        let shape = self.shape.load(Ordering::Acquire);
        Prefix {
            of_networks: shape & NETWORKS != 0,
            family: if shape & V6 == 0 {
                Family::V4
            } else {
                Family::V6
            },
            upper: self.upper.load(Ordering::Acquire),
            lower: self.lower.load(Ordering::Acquire),
            length: shape as u8,
        }
    }

    pub(super) fn key(&self) -> RuleKey {
        RuleKey {
            scope: (self.shape.load(Ordering::Acquire) >> SCOPE) as u8,
            prefix: self.prefix(),
        }
    }

    /// The number of its listener, or 0.
    pub(super) fn listener(&self) -> u8 {
        (self.parent.load(Ordering::Acquire) >> SCOPE) as u8
    }

    /// The terms without the listener, if sources without a rule have this limit.
    pub(super) fn terms(&self, default_limit: i32) -> Terms {
        let shape = self.shape.load(Ordering::Acquire);
        let limit = self.limit.load(Ordering::Acquire);
        Terms {
            limit: if limit < 0 { default_limit } else { limit },
            rate: rate_of(self.rate.load(Ordering::Acquire)),
            exempt: shape & EXEMPT != 0,
            banned: shape & BANNED != 0,
            listener: None,
            untrusted: self.untrusted.load(Ordering::Acquire).checked_sub(1),
            cluster: self.cluster.load(Ordering::Acquire).checked_sub(1),
            trusted: shape & TRUSTED != 0,
            no_network: shape & NO_NETWORK != 0,
            proxy: shape & PROXY != 0,
        }
    }

    pub(super) fn origin(&self) -> RuleOrigin {
        let number = self.origin.load(Ordering::Acquire);
        let shape = self.shape.load(Ordering::Acquire);
        match shape & KIND {
            LINE => RuleOrigin::Line(number),
            RPC => RuleOrigin::Rpc { end: None },
            RPC_WITH_END => RuleOrigin::Rpc { end: Some(number) },
            BAN => RuleOrigin::Ban {
                end: number,
                reason: BanReason::from_number(
                    shape >> REASON & 7 | (shape >> UPPER_REASON & 7) << 3,
                ),
            },
            _ => RuleOrigin::Modparam(number),
        }
    }

    /// The index of its parent in the half.
    pub(super) fn parent(&self) -> Option<usize> {
        let parent = self.parent.load(Ordering::Acquire) & PARENT;
        (parent as usize).checked_sub(1)
    }

    pub(super) fn rule(&self) -> Rule {
        Rule {
            prefix: self.prefix(),
            terms: self.terms(DEFAULT_LIMIT),
            origin: self.origin(),
            parent: None,
            scope: self.key().scope,
        }
    }

    pub(super) fn report(&self, default_limit: i32) -> RuleReport {
        RuleReport {
            prefix: self.prefix(),
            terms: self.terms(default_limit),
            origin: self.origin(),
            // Statistics.
            rejected: self.rejected.load(Ordering::Relaxed),
            would_reject: self.would_reject.load(Ordering::Relaxed),
            parent: self.parent.load(Ordering::Acquire) & PARENT,
            scope: self.key().scope,
        }
    }
}
