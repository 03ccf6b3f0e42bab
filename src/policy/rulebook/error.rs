// SPDX-License-Identifier: GPL-2.0-or-later
//! [`ChangeError`]: why the active rules were not changed.

#![forbid(unsafe_code)]

use core::fmt;
use std::collections::TryReserveError;

use super::MAX_RPC_RULES;
use crate::policy::listeners::TooManyNames;
use crate::policy::origin::RuleOrigin;
use crate::policy::rules::{MAX_RULES, RuleError};
use crate::source::{Prefix, Scope};

/// Another process that is alive, or another thread of this process, publishes rules at
/// this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The number of that process, or of its thread.
    pub process: u32,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Busy { process } = self;
        write!(
            f,
            "process {process} is loading rules; try again when it is done"
        )
    }
}

impl std::error::Error for Busy {}

/// Why the active rules were not changed. Its `Display` says the reason and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// Another writer is at work.
    Busy(Busy),
    /// There is not enough memory for a copy of the rules.
    NoMemory,
    /// There would be more than [`MAX_RULES`], including those that commands set.
    TooMany,
    /// There would be more than [`MAX_RPC_RULES`] that commands set.
    TooManySet,
    /// There would be more than [`MAX_RPC_RULES`] bans.
    TooManyBans,
    /// Rules would have named more than [`Scope::MAX_LISTENERS`] listeners since the start.
    TooManyListeners,
    /// The sources of the prefix are exempt by this rule.
    Exempt(Prefix, RuleOrigin),
    /// The prefix is not banned. If it lies in a banned prefix, that is this one.
    NotBanned(Option<Prefix>),
    /// No command set a rule for the prefix. If it has another one, that is its origin.
    NotSet(Option<RuleOrigin>),
    /// The rule of the prefix from this origin limits untrusted connections, and the limiter
    /// was created without trust.
    NoTrust(Prefix, RuleOrigin),
    /// The rule of the prefix from this origin is for a proxy, and the limiter was created
    /// without moves.
    NoMoves(Prefix, RuleOrigin),
    /// The rule of the prefix from this origin has a limit over all nodes, and there is no
    /// cluster.
    NoCluster(Prefix, RuleOrigin),
}

impl From<Busy> for ChangeError {
    fn from(busy: Busy) -> ChangeError {
        ChangeError::Busy(busy)
    }
}

impl From<TooManyNames> for ChangeError {
    fn from(_: TooManyNames) -> ChangeError {
        ChangeError::TooManyListeners
    }
}

impl From<TryReserveError> for ChangeError {
    fn from(_: TryReserveError) -> ChangeError {
        ChangeError::NoMemory
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::Busy(busy) => busy.fmt(f),
            ChangeError::NoMemory => RuleError::NoMemory.fmt(f),
            ChangeError::TooMany => write!(
                f,
                "there are more than {MAX_RULES} rules, including those set by RPC; merge \
                 prefixes into shorter ones, or remove rules with del_rule"
            ),
            ChangeError::TooManySet => write!(
                f,
                "there are already {MAX_RPC_RULES} rules set by RPC; remove some with \
                 del_rule, or write them into the rules file"
            ),
            ChangeError::TooManyBans => write!(
                f,
                "there are already {MAX_RPC_RULES} bans of prefixes; ban shorter prefixes, or \
                 lift some of the bans"
            ),
            ChangeError::TooManyListeners => write!(
                f,
                "rules name more than {} different listeners, including those named since the \
                 start of the server; remove some, and restart the server if it still has the \
                 numbers of old ones",
                Scope::MAX_LISTENERS
            ),
            ChangeError::Exempt(prefix, origin) => write!(
                f,
                "the rule {prefix} from {origin} exempts its sources from bans; change that \
                 rule first"
            ),
            ChangeError::NotBanned(None) => f.write_str("this prefix is not banned"),
            ChangeError::NotBanned(Some(banned)) => write!(
                f,
                "this prefix is not banned by itself, but is in {banned}, which is; lift that \
                 ban"
            ),
            ChangeError::NoTrust(prefix, origin) => write!(
                f,
                "the rule {prefix} from {origin} has the word `untrusted`, but trust is off; \
                 set the modparam untrusted_limit (0: no limit by default) and restart the \
                 server, or remove the word"
            ),
            ChangeError::NoCluster(prefix, origin) => write!(
                f,
                "the rule {prefix} from {origin} has the word `cluster`, but this server is not \
                 a node of a cluster; set the modparam cluster and restart the server, or \
                 remove the word"
            ),
            ChangeError::NoMoves(prefix, origin) => write!(
                f,
                "the rule {prefix} from {origin} has the word `proxy`, but the server started \
                 without such a rule; write it into the rules and restart the server, or remove \
                 the word"
            ),
            ChangeError::NotSet(None) => f.write_str("there is no rule for this prefix"),
            ChangeError::NotSet(Some(origin)) => write!(
                f,
                "the rule for this prefix comes from {origin}; remove it there, or replace \
                 it with set_rule"
            ),
        }
    }
}

impl std::error::Error for ChangeError {}
