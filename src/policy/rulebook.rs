// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Rulebook`]: the active rules, in shared memory, replaced while they are read.
//!
//! The memory has two halves. The lowest bit of the generation says which half is active. A
//! writer fills the inactive half, then publishes it by storing the next generation, so all
//! its rules become active at once. A reader loads the generation before and after it reads
//! a half. If the generation has changed, the half may have been written meanwhile, and the
//! reader tries again. Readers never wait for a writer. A word that names the writer at
//! work excludes other writers; one of them takes the word over if that process has died.
//!
//! # Rules set while the server runs
//!
//! A command can set a rule, for some time or until it is removed. Each writer copies such
//! rules from the active half into the other one, so they are kept by a reload, which
//! replaces all other rules, and they need no memory of their own. A rule that is replaced
//! by one with the same prefix stays in the half, and applies again when that is removed,
//! see [`RuleOrigin`]. The background process publishes the rules without those that ended.
//! A writer that is killed has not touched the active half, so no rule is lost.
//!
//! A ban of a prefix is such a rule. [`RuleSet`] works out for each rule whether its sources
//! are banned, so a look-up finds the ban of a shorter prefix without another step. Sources
//! without a slot are looked up only while there is such a ban
//! ([`Settings::checked_from`]).
//!
//! # Which rule a source has
//!
//! A source's rule is looked up once the source has at least as many connections as the
//! lowest limit, and for each connection while a prefix is banned. Its details cache the
//! answer in one word, with 16 bits of the generation and 32 bits that distinguish the source
//! from others (`Owner::tag`). An IPv4 source without a scope therefore never gets the rule
//! of another source. Any other source gets the rule of the previous owner of its slot only
//! if both have the same 32 bits, with a probability of 2⁻³², and only if another process
//! cached that rule while the details changed their owner, since the new owner starts
//! without a cached rule.
//!
//! If there are host rules, whose prefix is longer than a source, then the address of the
//! connection is also looked up. That look-up is not cached.

#![forbid(unsafe_code)]

use core::fmt;
use std::collections::TryReserveError;

use crate::policy::cluster_settings::{self, ClusterSettings};
use crate::policy::listener::ListenerName;
use crate::policy::listeners::{Listeners, TooManyNames};
use crate::policy::network_settings::NetworkSettings;
use crate::policy::origin::{BanReason, RuleOrigin};
use crate::policy::rules::{
    DEFAULT_LIMIT, HostRules, MAX_RULES, Rule, RuleError, RuleKey, RuleSet, find_parent,
    longest_match,
};
use crate::policy::settings::Settings;
use crate::policy::terms::{Rate, RuleRate, Terms};
use crate::shared::layout::{Detail, RuleEntry};
use crate::shared::process::{Entered, OneThread, is_alive, own_number};
use crate::shared::region::Region;
use crate::shared::sync::{Ordering, Statistic32};
use crate::source::{Family, Prefix, PrefixLengths, Scope, Source};

/// How often a reader tries. A try fails only if rules are published during it.
const ATTEMPTS: u32 = 8;

/// The most rules that commands set at a time. As many prefixes may be banned besides.
pub const MAX_RPC_RULES: usize = 1024;

/// The rule that a source has in one generation, or that it has no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleId {
    generation: u16,
    index: Option<u16>,
}

impl RuleId {
    /// Whether there is no rule.
    pub(crate) fn is_default(self) -> bool {
        self.index.is_none()
    }

    /// The word that caches this for the source with this tag:
    ///
    /// ```text
    ///   bits 0–15 index + 1, or 0 │ 16–31 generation │ 32–63 tag
    /// ```
    fn cached_for(self, tag: u32) -> u64 {
        let index = self.index.map_or(0, |index| u64::from(index) + 1);
        u64::from(tag) << 32 | u64::from(self.generation) << 16 | index
    }

    /// The rule that `word` caches, if it does so for the source with this tag.
    fn from_cached(word: u64, tag: u32) -> Option<RuleId> {
        ((word >> 32) as u32 == tag).then_some(RuleId {
            generation: (word >> 16) as u16,
            index: (word as u16).checked_sub(1),
        })
    }
}

/// An active rule and its statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// The sources that have the rule, unless a longer prefix contains them.
    pub prefix: Prefix,
    /// What each source may do.
    pub terms: Terms,
    /// Where the rule comes from.
    pub origin: RuleOrigin,
    /// Rejected connections of its sources.
    pub rejected: u64,
    /// Connections of its sources that would have been rejected, in monitor mode.
    pub would_reject: u64,
    parent: u32,
    scope: u8,
}

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

/// The active rules.
#[derive(Clone, Copy)]
pub(crate) struct Rulebook<'a> {
    region: &'a Region,
    /// The prefix lengths of sources.
    lengths: PrefixLengths,
}

impl<'a> Rulebook<'a> {
    pub(crate) fn new(region: &'a Region, lengths: PrefixLengths) -> Rulebook<'a> {
        Rulebook { region, lengths }
    }

    /// The rule of `source`, and what it may do by it or by default.
    pub(crate) fn resolve(self, source: Source) -> (RuleId, Terms) {
        let default = self.default_limit(source.is_network());
        let found = self.read(|half| {
            let (scope, prefix) = (scope_number(source), source.prefix(self.lengths));
            let index = half.longest_match(scope, prefix);
            let terms = half.terms_in(scope, prefix, index, default);
            let index = index.and_then(|index| u16::try_from(index).ok());
            (index, terms)
        });
        match found {
            Some((generation, (index, terms))) => {
                let generation = generation as u16;
                (RuleId { generation, index }, terms)
            }
            None => (
                RuleId {
                    generation: 0,
                    index: None,
                },
                Terms::of_default(default),
            ),
        }
    }

    /// As [`resolve`](Self::resolve), with the answer that `detail` caches. `tag` has 32
    /// bits that distinguish the source from previous owners of its slot.
    pub(crate) fn resolve_cached(
        self,
        source: Source,
        tag: u32,
        detail: &Detail,
    ) -> (RuleId, Terms) {
        if let Some((generation, true)) = self.read_once(|half| half.count == 0) {
            let generation = generation as u16;
            let default = self.default_limit(source.is_network());
            let none = RuleId {
                generation,
                index: None,
            };
            return (none, Terms::of_default(default));
        }
        // A ban is a rule without a listener, so here two rules apply, which the word cannot
        // hold. A process that sees rules with a ban also sees that each source must be looked up.
        if scope_number(source) != 0 && Settings::of(self.region).checked_from() == 0 {
            return self.resolve(source);
        }
        // Relaxed, here and below: this word stands alone. It has all that is needed to
        // decide whether it is valid.
        if let Some(id) = RuleId::from_cached(detail.rule.load(Ordering::Relaxed), tag)
            && let Some(terms) = self.terms_of(id, self.default_limit(source.is_network()))
        {
            return (id, terms);
        }
        let (id, terms) = self.resolve(source);
        detail.rule.store(id.cached_for(tag), Ordering::Relaxed);
        (id, terms)
    }

    /// Whether a host rule is active.
    pub(crate) fn has_host_rules(self) -> bool {
        self.host_rules() >= HostRules::WithoutRates as u32
    }

    /// Whether an address may have another rate than its source.
    pub(crate) fn has_host_rates(self) -> bool {
        self.host_rules() >= HostRules::WithRates as u32
    }

    fn host_rules(self) -> u32 {
        let host_rules = &self.region.header().settings.host_rules;
        // Relaxed: a writer stores the number before the generation of a set with host rules,
        // so a process that has read a rule of this set (Acquire) sees it here. In all other
        // cases a look-up finds the answer.
        host_rules.load(Ordering::Relaxed)
    }

    /// The host rule of the address `host`, and what the address may do by it, if it has
    /// one. In a scope, any rule of the listener that contains the address is the answer.
    pub(crate) fn resolve_host(
        self,
        host: Source,
        scope: Option<Scope>,
    ) -> Option<(RuleId, Terms)> {
        let (id, _, terms) = self.find_host_rule(host, scope)?;
        Some((id, terms))
    }

    /// The host rule of an address, with its prefix and its terms.
    fn find_host_rule(self, host: Source, scope: Option<Scope>) -> Option<(RuleId, Prefix, Terms)> {
        let default = Settings::of(self.region).limit();
        let source_length = self.lengths.length(host.family());
        let (scope, wanted) = (number_of(scope), Prefix::from(host));
        let (generation, found) = self.read(|half| {
            let index = half.longest_match(scope, wanted)?;
            let entry = half.entry(index);
            let terms = half.terms_in(scope, wanted, Some(index), default);
            Some((index, entry.key(), terms))
        })?;
        let (index, key, terms) =
            found.filter(|(_, key, _)| key.scope != 0 || key.prefix.length > source_length)?;
        let id = RuleId {
            generation: generation as u16,
            index: u16::try_from(index).ok(),
        };
        Some((id, key.prefix, terms))
    }

    /// The ban with the longest prefix that contains `wanted`. Rejections because of it count
    /// for it, whichever rule the source has otherwise.
    pub(crate) fn ban_around(self, wanted: Prefix) -> Option<RuleId> {
        let ban = |half: Half<'_>| half.ban_around(half.longest_match(0, wanted)?);
        let (generation, index) = self.read(ban)?;
        Some(RuleId {
            generation: generation as u16,
            index: Some(u16::try_from(index?).ok()?),
        })
    }

    /// The limit of sources, or of networks, without a rule.
    #[inline]
    fn default_limit(self, of_networks: bool) -> i32 {
        match of_networks {
            true => self.default_limit_of_networks(),
            false => Settings::of(self.region).limit(),
        }
    }

    #[cold]
    fn default_limit_of_networks(self) -> i32 {
        NetworkSettings::of(self.region).limit()
    }

    /// The terms of the rule `id`, if its generation is active.
    fn terms_of(self, id: RuleId, default: i32) -> Option<Terms> {
        let index = id.index.map(usize::from);
        let (generation, terms) = self.read(|half| half.terms(index, default))?;
        (generation as u16 == id.generation && id.generation != 0).then_some(terms)
    }

    /// The rule of `wanted`, a source or a prefix, in this scope, and its terms, for a report.
    /// Sources of a prefix may also have rules with longer prefixes.
    pub(crate) fn describe(self, wanted: Prefix, scope: Option<Scope>) -> (Option<Prefix>, Terms) {
        let default = self.default_limit(wanted.of_networks);
        let scope = number_of(scope);
        let found = self.read(|half| {
            let index = half.longest_match(scope, wanted)?;
            let entry = half.entry(index);
            let terms = half.terms_in(scope, wanted, Some(index), default);
            Some((entry.prefix(), self.with_listener(entry, terms)))
        });
        match found {
            Some((_, Some((prefix, terms)))) => (Some(prefix), terms),
            _ => (None, Terms::of_default(default)),
        }
    }

    /// Whether the kernel must never drop the connection attempts of `source`: its rule without
    /// a listener exempts or trusts it, or any rule for a listener that contains it does.
    pub(crate) fn spares(self, source: Source) -> bool {
        let wanted = source.prefix(self.lengths);
        let (_, terms) = self.describe(wanted, None);
        let listeners = Listeners::of(self.region).count();
        let found = self.read(|half| (1..=listeners).any(|scope| half.spares(scope, wanted)));
        // If rules are published all the time, the source is spared.
        terms.is_spared() || found.is_none_or(|(_, found)| found)
    }

    /// The host rule of the address `host` in this scope, for a report.
    pub(crate) fn describe_host(
        self,
        host: Source,
        scope: Option<Scope>,
    ) -> Option<(Prefix, Terms)> {
        let (id, prefix, terms) = self.find_host_rule(host, scope)?;
        let index = usize::from(id.index?);
        let (_, terms) = self.read(|half| self.with_listener(half.entry(index), terms))?;
        Some((prefix, terms))
    }

    /// `terms` with the listener of the rule, which the entry has as a number.
    fn with_listener(self, entry: &RuleEntry, terms: Terms) -> Terms {
        let number = entry.listener();
        let listener = match number {
            0 => None,
            _ => Listeners::of(self.region).name(number),
        };
        Terms { listener, ..terms }
    }

    fn rule(self, entry: &RuleEntry) -> Rule {
        let rule = entry.rule();
        Rule {
            terms: self.with_listener(entry, rule.terms),
            ..rule
        }
    }

    fn report(self, entry: &RuleEntry, default_limit: i32) -> RuleReport {
        let report = entry.report(default_limit);
        RuleReport {
            terms: self.with_listener(entry, report.terms),
            ..report
        }
    }

    /// The listeners that active rules name but the host does not have, each once. Empty if
    /// the host has not named its own.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub(crate) fn unknown_listeners(self) -> Result<Vec<ListenerName>, TryReserveError> {
        let listeners = Listeners::of(self.region);
        let rules = self.all()?;
        let mut unknown = Vec::new();
        if !listeners.are_known() {
            return Ok(unknown);
        }
        for rule in rules.as_slice() {
            if let Some(name) = rule.terms.listener
                && !listeners.has(name)
                && !unknown.contains(&name)
            {
                unknown.try_reserve(1)?;
                unknown.push(name);
            }
        }
        Ok(unknown)
    }

    /// Publishes the same rules again, because the host has named its listeners.
    ///
    /// # Errors
    ///
    /// If another writer is at work, there is no memory, or there are too many listeners;
    /// then nothing has changed.
    pub(crate) fn publish_again(self, gate: &OneThread) -> Result<(), ChangeError> {
        self.change(gate, |_| true, |_| Ok(()))
    }

    /// The ban with the longest prefix that contains `wanted`, a source, an address or a
    /// prefix, for a report. A rule may exempt it, see [`Terms::banned`].
    pub(crate) fn ban_of(self, wanted: Prefix) -> Option<RuleReport> {
        let default = Settings::of(self.region).limit();
        let (_, found) =
            self.read(|half| half.ban_of(wanted).map(|entry| entry.report(default)))?;
        found
    }

    /// Counts a rejection of a source with this rule, or one that would have happened.
    pub(crate) fn count(self, id: RuleId, rejected: bool) {
        let Some(index) = id.index else {
            let background = &self.region.header().background;
            let number = if rejected {
                &background.default_rejected
            } else {
                &background.default_would_reject
            };
            number.fetch_add(1, Ordering::Relaxed);
            return;
        };
        // Statistics: if rules are published at this moment, the rejection may count for
        // another rule.
        let half = usize::from(id.generation & 1);
        if let Some(entry) = self.region.rules()[half].get(usize::from(index)) {
            let number = if rejected {
                &entry.rejected
            } else {
                &entry.would_reject
            };
            number.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All active rules, sorted by [`Prefix`], without those that another one for the same
    /// prefix replaces.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub(crate) fn all(self) -> Result<Rules, TryReserveError> {
        let default = Settings::of(self.region).limit();
        let mut rules = Vec::new();
        loop {
            rules.clear();
            let stored = self.read(|half| half.len());
            rules.try_reserve(stored.map_or(0, |(_, stored)| stored))?;
            let room = rules.capacity();
            let read = self.read_once(|half| {
                let entries = (0..half.len().min(room)).map(|i| half.entry(i));
                rules.extend(entries.map(|entry| self.report(entry, default)));
                half.len() <= room
            });
            // Otherwise rules were published meanwhile. Each further turn needs another
            // publication at the same moment.
            if let Some((_, true)) = read {
                return Ok(Rules::new(rules, self.lengths));
            }
        }
    }

    /// The rejections of sources without a rule, and their connections that would have been
    /// rejected.
    pub(crate) fn default_numbers(self) -> (u64, u64) {
        let background = &self.region.header().background;
        // Statistics.
        (
            background.default_rejected.load(Ordering::Relaxed),
            background.default_would_reject.load(Ordering::Relaxed),
        )
    }

    /// The number of active rules, without those that another one for the same prefix
    /// replaces.
    pub(crate) fn len(self) -> usize {
        let len = self.read(|half| half.len().saturating_sub(half.replaced()));
        len.map_or(0, |(_, len)| len)
    }

    /// The number of active rules that commands set, without bans.
    pub(crate) fn set_len(self) -> usize {
        let set = self.read(|half| half.set());
        set.map_or(0, |(_, set)| set)
    }

    /// How often [`publish`](Self::publish) succeeded. Wraps around after about 4 billion
    /// times.
    pub(crate) fn times_published(self) -> u32 {
        let loads = &self.region.header().background.rules_loads;
        // Statistics.
        loads.load(Ordering::Relaxed)
    }

    /// The number of the active set of rules.
    pub(crate) fn generation(self) -> u32 {
        let settings = &self.region.header().settings;
        // Relaxed: only statistics, writers and a reader that compares it use it. Only writers
        // store it, and the lock lets a writer see everything that the previous one wrote.
        settings.rules_generation.load(Ordering::Relaxed)
    }

    /// Sets the rejections of all rules to 0.
    pub(crate) fn reset(self) {
        let background = &self.region.header().background;
        // Statistics.
        background.default_rejected.store(0, Ordering::Relaxed);
        background.default_would_reject.store(0, Ordering::Relaxed);
        let half = self.half(self.generation());
        for entry in &half.entries[..half.count] {
            entry.rejected.store(0, Ordering::Relaxed);
            entry.would_reject.store(0, Ordering::Relaxed);
        }
    }

    /// Publishes `rules`: they become active all at once and replace all rules before, except
    /// those that commands set. A rule keeps the statistics of the previous rule for its
    /// prefix. All threads of this process must pass the same `gate`, here and below.
    ///
    /// # Errors
    ///
    /// If another writer is at work, there is no memory, or there are too many rules with
    /// those that are kept; then nothing has changed.
    pub(crate) fn publish(self, rules: &RuleSet, gate: &OneThread) -> Result<(), ChangeError> {
        self.change(gate, RuleOrigin::is_kept, |kept| {
            kept.try_reserve_exact(rules.rules().len())?;
            kept.extend(rules.rules());
            Ok(())
        })?;
        let loads = &self.region.header().background.rules_loads;
        // Statistics.
        loads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Sets a rule for `prefix`, until the second `end` of the host clock if there is one.
    /// It replaces the one that a command set before for the same prefix and listener. Returns
    /// the rule that applied to the prefix itself there before; bans do not count.
    ///
    /// # Errors
    ///
    /// If another writer is at work, there is no memory, or there are too many rules; then
    /// nothing has changed.
    pub(crate) fn set(
        self,
        prefix: Prefix,
        terms: Terms,
        end: Option<u32>,
        gate: &OneThread,
    ) -> Result<Option<Rule>, ChangeError> {
        self.change(
            gate,
            |_| true,
            |rules| {
                let scope = self.scope_of(terms.listener);
                let found = scope.and_then(|scope| last_for(rules, scope, prefix));
                let found = found.map(|index| rules[index]);
                let rule = Rule {
                    prefix,
                    // A negative number stands for the default limit.
                    terms: Terms {
                        limit: terms.limit.max(0),
                        ..terms
                    },
                    origin: RuleOrigin::Rpc { end },
                    parent: None,
                    scope: scope.unwrap_or(NEW_SCOPE),
                };
                put(rules, rule, ChangeError::TooManySet)?;
                Ok(found)
            },
        )
    }

    /// The number of the scope of rules for this listener, or of those without one. `None`: no
    /// rule has named the listener yet.
    pub(crate) fn scope_of(self, listener: Option<ListenerName>) -> Option<u8> {
        match listener {
            None => Some(0),
            Some(name) => Listeners::of(self.region).known_scope(name),
        }
    }

    /// Removes the rule that a command set for `prefix` and this listener, and returns it.
    ///
    /// # Errors
    ///
    /// If there is no such rule, another writer is at work, or there is no memory; then
    /// nothing has changed.
    pub(crate) fn remove(
        self,
        prefix: Prefix,
        listener: Option<ListenerName>,
        gate: &OneThread,
    ) -> Result<Rule, ChangeError> {
        self.change(
            gate,
            |_| true,
            |rules| {
                let scope = self.scope_of(listener);
                let found = scope.and_then(|scope| last_for(rules, scope, prefix));
                let found = found.ok_or(ChangeError::NotSet(None))?;
                if !rules[found].origin.is_rpc() {
                    return Err(ChangeError::NotSet(Some(rules[found].origin)));
                }
                Ok(rules.remove(found))
            },
        )
    }

    /// Bans `prefix` until the second `end` of the host clock. Replaces its ban before, and
    /// returns that.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set), or if the rule that applies to the prefix exempts its sources. A
    /// ban of another node also fails if that rule trusts them, and keeps a ban that ends later.
    pub(crate) fn ban(
        self,
        prefix: Prefix,
        end: u32,
        reason: BanReason,
        gate: &OneThread,
    ) -> Result<Option<Rule>, ChangeError> {
        let rule = Rule {
            prefix,
            // It takes its terms from the other rules.
            terms: Terms::of_default(0),
            origin: RuleOrigin::Ban { end, reason },
            parent: None,
            scope: 0,
        };
        self.change(
            gate,
            |_| true,
            |rules| {
                // Of those with the longest prefix, the last one applies.
                let applies = rules
                    .iter()
                    .filter(|rule| rule.scope == 0 && !rule.origin.is_ban())
                    .filter(|rule| rule.prefix.contains(prefix))
                    .max_by_key(|rule| (rule.prefix.length, rule.origin));
                let from_node = matches!(reason, BanReason::Cluster { .. });
                let is_spared =
                    |rule: &&Rule| rule.terms.exempt || from_node && rule.terms.is_spared();
                if let Some(rule) = applies.filter(is_spared) {
                    return Err(ChangeError::Exempt(rule.prefix, rule.origin));
                }
                let is_ban = |old: &&Rule| old.origin.is_ban() && old.prefix == prefix;
                match rules.iter().find(is_ban).map(|old| old.origin) {
                    // No other node shortens a ban of this one.
                    Some(RuleOrigin::Ban { end: later, .. })
                        if from_node && (later.wrapping_sub(end) as i32) > 0 =>
                    {
                        Ok(None)
                    }
                    _ => put(rules, rule, ChangeError::TooManyBans),
                }
            },
        )
    }

    /// Lifts the ban of `prefix`, and returns it.
    ///
    /// # Errors
    ///
    /// If there is no such ban, another writer is at work, or there is no memory; then
    /// nothing has changed.
    pub(crate) fn unban(self, prefix: Prefix, gate: &OneThread) -> Result<Rule, ChangeError> {
        self.unban_if(prefix, RuleOrigin::is_ban, gate)
    }

    /// The same for a ban of another node.
    ///
    /// # Errors
    ///
    /// As [`unban`](Self::unban).
    pub(crate) fn unban_of_node(
        self,
        prefix: Prefix,
        gate: &OneThread,
    ) -> Result<Rule, ChangeError> {
        let of_node = |origin| {
            matches!(
                origin,
                RuleOrigin::Ban {
                    reason: BanReason::Cluster { .. },
                    ..
                }
            )
        };
        self.unban_if(prefix, of_node, gate)
    }

    fn unban_if(
        self,
        prefix: Prefix,
        is_wanted: impl Fn(RuleOrigin) -> bool,
        gate: &OneThread,
    ) -> Result<Rule, ChangeError> {
        self.change(
            gate,
            |_| true,
            |rules| {
                let mut bans = (0..rules.len()).filter(|index| is_wanted(rules[*index].origin));
                match bans.clone().find(|index| rules[*index].prefix == prefix) {
                    Some(found) => Ok(rules.remove(found)),
                    None => {
                        let around = bans.find(|index| rules[*index].prefix.contains(prefix));
                        Err(ChangeError::NotBanned(
                            around.map(|index| rules[index].prefix),
                        ))
                    }
                }
            },
        )
    }

    /// Lifts all bans, and returns them.
    ///
    /// # Errors
    ///
    /// If another writer is at work, or there is no memory; then nothing has changed.
    pub(crate) fn unban_all(self, gate: &OneThread) -> Result<Vec<Rule>, ChangeError> {
        self.extract(gate, RuleOrigin::is_ban)
    }

    /// Removes the rules that have ended at the time `now` of the host clock, and returns
    /// them.
    ///
    /// # Errors
    ///
    /// If another writer is at work, or there is no memory; then nothing has changed.
    pub(crate) fn end(self, now: u32, gate: &OneThread) -> Result<Vec<Rule>, ChangeError> {
        let has_ended = self.read(|half| {
            half.ending() > 0 && (0..half.len()).any(|i| half.entry(i).origin().has_ended(now))
        });
        // If rules were published meanwhile, the next call looks again.
        if !matches!(has_ended, Some((_, true))) {
            return Ok(Vec::new());
        }
        self.extract(gate, |origin| origin.has_ended(now))
    }

    /// Removes the rules of these origins, which commands set, and returns them.
    fn extract(
        self,
        gate: &OneThread,
        is_wanted: impl Fn(RuleOrigin) -> bool,
    ) -> Result<Vec<Rule>, ChangeError> {
        self.change(
            gate,
            |_| true,
            |rules| {
                let wanted = rules.iter().filter(|rule| is_wanted(rule.origin)).count();
                let mut removed = Vec::new();
                removed.try_reserve_exact(wanted)?;
                removed.extend(rules.extract_if(.., |rule| is_wanted(rule.origin)));
                Ok(removed)
            },
        )
    }

    /// Publishes what `edit` makes of the stored rules whose origin is `wanted`, sorted by
    /// prefix and origin. If `edit` fails, nothing has changed.
    fn change<T>(
        self,
        gate: &OneThread,
        wanted: impl Fn(RuleOrigin) -> bool,
        edit: impl FnOnce(&mut Vec<Rule>) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let _lock = WriterLock::take(self.region, gate, own_number())?;
        // While this writer holds the lock, the active half does not change.
        let half = self.half(self.generation());
        let entries = &half.entries[..half.count];
        let wanted = |entry: &&RuleEntry| wanted(entry.origin());
        let mut rules = Vec::new();
        rules.try_reserve_exact(entries.iter().filter(wanted).count())?;
        rules.extend(entries.iter().filter(wanted).map(|entry| self.rule(entry)));
        let answer = edit(&mut rules)?;
        if rules.len() > MAX_RULES {
            return Err(ChangeError::TooMany);
        }
        if self.region.trusted().is_empty()
            && let Some(rule) = rules.iter().find(|rule| rule.terms.untrusted.is_some())
        {
            return Err(ChangeError::NoTrust(rule.prefix, rule.origin));
        }
        if self.region.moved().0.is_empty()
            && let Some(rule) = rules.iter().find(|rule| rule.terms.proxy)
        {
            return Err(ChangeError::NoMoves(rule.prefix, rule.origin));
        }
        if !Settings::of(self.region).switches().has_cluster()
            && let Some(rule) = rules.iter().find(|rule| rule.terms.cluster.is_some())
        {
            return Err(ChangeError::NoCluster(rule.prefix, rule.origin));
        }
        let listeners = Listeners::of(self.region);
        // Each name must have its number before the scopes are looked up.
        for rule in &rules {
            if let Some(name) = rule.terms.listener {
                listeners.number(name)?;
            }
        }
        for rule in &mut rules {
            rule.scope = match rule.terms.listener {
                None => 0,
                Some(name) => listeners.scope_of(name, listeners.number(name)?),
            };
        }
        self.replace(&RuleSet::new(rules, self.lengths));
        Ok(answer)
    }

    /// Fills the inactive half with `rules` and makes it active. The caller has the
    /// [`WriterLock`].
    fn replace(self, rules: &RuleSet) {
        let settings = &self.region.header().settings;
        let generation = self.generation();
        let mut next = generation.wrapping_add(1);
        if next as u16 & 0x7fff == 0 {
            self.clear_cached();
        }
        if next as u16 == 0 {
            // As 16 bits, 0 stands for unused memory, so it is skipped. Adding 2 keeps the
            // halves alternating.
            next = next.wrapping_add(2);
        }
        let (old, new) = (self.half(generation), self.half(next));
        for (entry, rule) in new.entries.iter().zip(rules.rules()) {
            let listener = rule.terms.listener;
            // It has a number, see `change`.
            let listener = listener.and_then(|name| Listeners::of(self.region).number(name).ok());
            entry.store(rule, listener.unwrap_or(0));
            old.hand_over(rule, entry);
        }
        let host_rules = rules.host_rules() as u32;
        let rules = rules.rules();
        let stored = rules.len().min(new.entries.len()) as u32;
        let half = usize::from(next & 1 != 0);
        settings.rules_count[half].store(stored, Ordering::Release);
        let background = &self.region.header().background;
        let replaced = rules
            .windows(2)
            .filter(|pair| pair[0].key() == pair[1].key());
        background.rules_replaced[half].store(replaced.count() as u32, Ordering::Release);
        let count = |wanted: fn(RuleOrigin) -> bool| {
            rules.iter().filter(|rule| wanted(rule.origin)).count() as u32
        };
        background.rules_ending[half].store(count(RuleOrigin::ends), Ordering::Release);
        background.rules_set[half].store(count(RuleOrigin::is_rpc), Ordering::Release);
        let lowest_of = |of_networks: bool| {
            let rules = rules.iter();
            let rules = rules.filter(|rule| rule.prefix.of_networks == of_networks);
            let checked_from = rules.map(|rule| match rule.terms {
                Terms { banned: true, .. } => 0,
                terms => {
                    let limit = match terms.limit {
                        1.. => terms.limit.unsigned_abs(),
                        _ => u32::MAX,
                    };
                    // A source has at least as many connections as untrusted ones.
                    match terms.untrusted_limit(0) {
                        0 => limit,
                        untrusted => limit.min(untrusted),
                    }
                }
            });
            checked_from.min().unwrap_or(u32::MAX)
        };
        let (lowest, lowest_of_networks) = (lowest_of(false), lowest_of(true));
        let networks = NetworkSettings::of(self.region);
        let has_exceptions = rules.iter().any(|rule| !rule.terms.count_in_network());
        let is_rated = |rule: &Rule| rule.terms.rate != RuleRate::Default;
        let has_rated_rules = rules.iter().any(is_rated);
        // While the generation changes, this is the lower one of the old and the new
        // number. So a connection is admitted without a look-up only if both sets of rules
        // admit it.
        // Relaxed, as for the generation.
        let before = settings.lowest_rule.load(Ordering::Relaxed);
        settings
            .lowest_rule
            .store(before.min(lowest), Ordering::Release);
        networks.set_lowest_rule(networks.lowest_rule().min(lowest_of_networks));
        let cluster = ClusterSettings::of(self.region);
        let lowest_in_cluster = cluster_settings::lowest_of(rules);
        cluster.expect_rules(lowest_in_cluster);
        // A flag is set while the old rules or the new ones need it.
        if has_exceptions {
            networks.set_exceptions(true);
        }
        settings
            .host_rules
            .store(self.host_rules().max(host_rules), Ordering::Release);
        if has_rated_rules {
            Settings::of(self.region).set_rated_rules(true);
        }
        settings.rules_generation.store(next, Ordering::Release);
        settings.host_rules.store(host_rules, Ordering::Release);
        Settings::of(self.region).set_rated_rules(has_rated_rules);
        settings.lowest_rule.store(lowest, Ordering::Release);
        cluster.set_lowest_rule(lowest_in_cluster);
        let scopes = rules.iter().filter_map(|rule| rule.scope.checked_sub(1));
        let scopes = scopes.fold(0, |all, index| all | 1 << index);
        Listeners::of(self.region).activate(scopes);
        networks.set_exceptions(has_exceptions);
        networks.set_lowest_rule(lowest_of_networks);
    }

    /// Clears all cached rules, so that none is mistaken for a rule of a later generation
    /// with the same 16 bits.
    ///
    /// Runs twice in each cycle of these bits. A process that resolves a rule meanwhile may
    /// cache it, for the generation that ends now, after its detail was cleared. The next
    /// clearing removes it: it runs 32,768 generations later, and as many before that
    /// number recurs. Only a process stopped within
    /// [`resolve_cached`](Self::resolve_cached) for that many generations could still cache
    /// a wrong rule.
    fn clear_cached(self) {
        let slots = self
            .region
            .buckets()
            .iter()
            .flat_map(|bucket| &bucket.slots);
        for (slot, detail) in slots.zip(self.region.details()) {
            // Relaxed: the detail of a slot that was never claimed has no cached rule, and
            // is skipped because touching it would allocate memory. A slot that is claimed
            // at this moment caches a rule of this generation or the next.
            if slot.control.load(Ordering::Relaxed) != 0 {
                detail.rule.store(0, Ordering::Relaxed);
            }
        }
    }

    fn half(self, generation: u32) -> Half<'a> {
        let half = usize::from(generation & 1 != 0);
        let settings = &self.region.header().settings;
        let entries = self.region.rules()[half];
        // Acquire: the length is a word of the half, see `read_once`. Everything else in
        // the half is read after it.
        let count = settings.rules_count[half].load(Ordering::Acquire) as usize;
        let background = &self.region.header().background;
        Half {
            entries,
            count: count.min(entries.len()),
            replaced: &background.rules_replaced[half],
            ending: &background.rules_ending[half],
            set: &background.rules_set[half],
        }
    }

    fn read<T>(self, mut look: impl FnMut(Half<'a>) -> T) -> Option<(u32, T)> {
        (0..ATTEMPTS).find_map(|_| self.read_once(&mut look))
    }

    /// The active generation, and what `look` returns for its half; `None` if another
    /// generation was published meanwhile.
    fn read_once<T>(self, look: impl FnOnce(Half<'a>) -> T) -> Option<(u32, T)> {
        let generation = &self.region.header().settings.rules_generation;
        // Acquire: the writer filled the half before it stored this generation.
        let before = generation.load(Ordering::Acquire);
        let seen = look(self.half(before));
        // The half is written again only after the next generation was stored. Its words
        // are stored with Release and loaded with Acquire, so a reader that has read one of
        // the new words sees that generation here.
        (generation.load(Ordering::Acquire) == before).then_some((before, seen))
    }
}

/// In place of the scope of a listener that no rule has named yet: no scope has this number.
/// [`Rulebook::change`] works out the scope of each rule.
const NEW_SCOPE: u8 = u8::MAX;
const _: () = assert!(NEW_SCOPE > Scope::MAX_LISTENERS);

/// The index of the rule that applies to `prefix` itself in a scope if it is not banned. The
/// rules are sorted by origin.
fn last_for(rules: &[Rule], scope: u8, prefix: Prefix) -> Option<usize> {
    let key = RuleKey { scope, prefix };
    rules
        .iter()
        .rposition(|rule| rule.key() == key && !rule.origin.is_ban())
}

/// Adds `rule`, which a command sets, and removes and returns the one of the same kind with
/// the same prefix and scope. `too_many` says that there are [`MAX_RPC_RULES`] of the kind.
fn put(
    rules: &mut Vec<Rule>,
    rule: Rule,
    too_many: ChangeError,
) -> Result<Option<Rule>, ChangeError> {
    let is_same_kind = |other: &Rule| {
        core::mem::discriminant(&other.origin) == core::mem::discriminant(&rule.origin)
    };
    let is_same = |other: &Rule| is_same_kind(other) && other.key() == rule.key();
    let replaced = rules.iter().position(is_same);
    let replaced = replaced.map(|index| rules.remove(index));
    if rules.iter().filter(|other| is_same_kind(other)).count() >= MAX_RPC_RULES {
        return Err(too_many);
    }
    rules.try_reserve(1)?;
    rules.push(rule);
    Ok(replaced)
}

/// Rules that were active at one moment, for reports.
pub(crate) struct Rules {
    rules: Vec<RuleReport>,
    /// The prefix lengths of sources.
    lengths: PrefixLengths,
}

impl Rules {
    /// `rules` has the order of [`RuleSet::rules`]. Only the last one of each prefix and
    /// scope is kept.
    fn new(mut rules: Vec<RuleReport>, lengths: PrefixLengths) -> Rules {
        let mut kept = 0;
        for index in 0..rules.len() {
            let rule = rules[index];
            let next = rules.get(index + 1);
            if next.is_none_or(|next| next.key() != rule.key()) {
                rules[kept] = rule;
                kept += 1;
            }
        }
        rules.truncate(kept);
        let mut rules = Rules { rules, lengths };
        rules.find_parents();
        rules
    }

    /// Keeps only the rules that are `wanted`.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&RuleReport) -> bool) {
        self.rules.retain(wanted);
        self.find_parents();
    }

    fn find_parents(&mut self) {
        let rules = &mut self.rules;
        for index in 0..rules.len() {
            let parent = find_parent(index, |i| rules[i].key(), |i| rules[i].parent());
            // There are at most MAX_RULES.
            rules[index].parent = parent.map_or(0, |parent| parent as u32 + 1);
        }
    }

    pub(crate) fn as_slice(&self) -> &[RuleReport] {
        &self.rules
    }

    /// The index of the rule of `source`.
    pub(crate) fn of(&self, source: Source) -> Option<usize> {
        let prefix = source.prefix(self.lengths);
        match_in(scope_number(source), prefix, |wanted| {
            longest_match(
                self.rules.len(),
                |i| self.rules[i].key(),
                |i| self.rules[i].parent(),
                wanted,
            )
        })
    }
}

/// The scope of a source in [`Rule::scope`].
fn scope_number(source: Source) -> u8 {
    number_of(source.scope())
}

fn number_of(scope: Option<Scope>) -> u8 {
    scope.and_then(Scope::listener).unwrap_or(0)
}

/// What `find` finds for `prefix` among the rules of the scope, else among those without a
/// listener.
fn match_in(scope: u8, prefix: Prefix, find: impl Fn(RuleKey) -> Option<usize>) -> Option<usize> {
    let found = match scope {
        0 => None,
        _ => find(RuleKey { scope, prefix }),
    };
    found.or_else(|| find(RuleKey { scope: 0, prefix }))
}

impl RuleReport {
    fn key(&self) -> RuleKey {
        RuleKey {
            scope: self.scope,
            prefix: self.prefix,
        }
    }

    /// The index of its parent in [`Rules`].
    fn parent(&self) -> Option<usize> {
        (self.parent as usize).checked_sub(1)
    }
}

/// One of the two halves, with the number of its rules.
#[derive(Clone, Copy)]
struct Half<'a> {
    entries: &'a [RuleEntry],
    count: usize,
    replaced: &'a Statistic32,
    ending: &'a Statistic32,
    set: &'a Statistic32,
}

impl<'a> Half<'a> {
    fn len(self) -> usize {
        self.count
    }

    /// The number of rules that another one for the same prefix replaces.
    fn replaced(self) -> usize {
        // Acquire, here and below: words of the half, see `Rulebook::read_once`.
        self.replaced.load(Ordering::Acquire) as usize
    }

    /// The number of rules that end by themselves.
    fn ending(self) -> u32 {
        self.ending.load(Ordering::Acquire)
    }

    /// The number of rules that commands set.
    fn set(self) -> usize {
        self.set.load(Ordering::Acquire) as usize
    }

    /// The entry at `index`, or the last entry if `index` is out of range. That happens only
    /// if rules were published meanwhile, and then the caller discards the answer.
    fn entry(self, index: usize) -> &'a RuleEntry {
        &self.entries[index.min(self.entries.len() - 1)]
    }

    /// The rule of `prefix` in a scope, or without one if that is 0.
    fn longest_match(self, scope: u8, prefix: Prefix) -> Option<usize> {
        match_in(scope, prefix, |wanted| {
            longest_match(
                self.count,
                |i| self.entry(i).key(),
                |i| self.entry(i).parent(),
                wanted,
            )
        })
    }

    /// The terms of the rule at `index`, which [`longest_match`](Self::longest_match) found
    /// for these arguments. A ban has no listener and applies to all of them.
    fn terms_in(
        self,
        scope: u8,
        prefix: Prefix,
        index: Option<usize>,
        default_limit: i32,
    ) -> Terms {
        let terms = self.terms(index, default_limit);
        if scope == 0 || index.is_none_or(|index| self.entry(index).key().scope == 0) {
            return terms;
        }
        let everywhere = self.longest_match(0, prefix);
        // A trusted rule is banned by this node only.
        let banned = everywhere.is_some_and(|index| {
            self.entry(index).terms(0).banned && (!terms.trusted || self.is_banned_here(index))
        });
        Terms {
            banned: banned && !terms.exempt,
            ..terms
        }
    }

    /// Whether a ban that no other node set contains the rule at `index`, or is that rule.
    fn is_banned_here(self, mut index: usize) -> bool {
        loop {
            let entry = self.entry(index);
            match entry.origin() {
                RuleOrigin::Ban {
                    reason: BanReason::Rpc | BanReason::Script,
                    ..
                } => return true,
                RuleOrigin::Ban { .. }
                | RuleOrigin::Modparam(_)
                | RuleOrigin::Line(_)
                | RuleOrigin::Rpc { .. } => {}
            }
            // In memory that is not damaged, a parent comes before its child.
            match entry.parent().filter(|parent| *parent < index) {
                Some(parent) => index = parent,
                None => return false,
            }
        }
    }

    /// The terms of the rule at `index`; `None`: those of sources without a rule.
    fn terms(self, index: Option<usize>, default_limit: i32) -> Terms {
        match index {
            Some(index) => self.entry(index).terms(default_limit),
            None => Terms::of_default(default_limit),
        }
    }

    /// Whether a rule of this scope that contains `wanted` exempts or trusts it.
    fn spares(self, scope: u8, wanted: Prefix) -> bool {
        let wanted = RuleKey {
            scope,
            prefix: wanted,
        };
        let mut next = longest_match(
            self.count,
            |i| self.entry(i).key(),
            |i| self.entry(i).parent(),
            wanted,
        );
        while let Some(index) = next {
            let entry = self.entry(index);
            if entry.terms(DEFAULT_LIMIT).is_spared() {
                return true;
            }
            // In memory that is not damaged, a parent comes before its child.
            next = entry.parent().filter(|parent| *parent < index);
        }
        false
    }

    /// The ban with the longest prefix that contains `wanted`.
    fn ban_of(self, wanted: Prefix) -> Option<&'a RuleEntry> {
        let ban = self.ban_around(self.longest_match(0, wanted)?)?;
        Some(self.entry(ban))
    }

    /// The index of the ban with the longest prefix that contains the rule at `index`, which
    /// may be that rule.
    fn ban_around(self, mut index: usize) -> Option<usize> {
        loop {
            let entry = self.entry(index);
            if entry.origin().is_ban() {
                return Some(index);
            }
            // In memory that is not damaged, a parent comes before its child.
            index = entry.parent().filter(|parent| *parent < index)?;
        }
    }

    /// Copies the statistics of the rule that applies to the prefix of `rule` itself, if
    /// there is one, to `entry`. A ban has its own: they begin when it does, and end with
    /// it. Rejections that are counted before `entry` becomes active are lost.
    fn hand_over(self, rule: &Rule, entry: &RuleEntry) {
        let entries = &self.entries[..self.count];
        // Of several rules with this prefix, the last one that is not a ban applies.
        let after = entries.partition_point(|old| old.key() <= rule.key());
        let old = entries[..after]
            .iter()
            .rev()
            .take_while(|old| old.key() == rule.key())
            .find(|old| old.origin().is_ban() == rule.origin.is_ban());
        if let Some(old) = old {
            // Statistics.
            let rejected = old.rejected.load(Ordering::Relaxed);
            let would_reject = old.would_reject.load(Ordering::Relaxed);
            entry.rejected.store(rejected, Ordering::Relaxed);
            entry.would_reject.store(would_reject, Ordering::Relaxed);
        }
    }
}

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
    fn store(&self, rule: &Rule, listener: u8) {
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

    fn prefix(&self) -> Prefix {
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

    fn key(&self) -> RuleKey {
        RuleKey {
            scope: (self.shape.load(Ordering::Acquire) >> SCOPE) as u8,
            prefix: self.prefix(),
        }
    }

    /// The number of its listener, or 0.
    fn listener(&self) -> u8 {
        (self.parent.load(Ordering::Acquire) >> SCOPE) as u8
    }

    /// The terms without the listener, if sources without a rule have this limit.
    fn terms(&self, default_limit: i32) -> Terms {
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

    fn origin(&self) -> RuleOrigin {
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
    fn parent(&self) -> Option<usize> {
        let parent = self.parent.load(Ordering::Acquire) & PARENT;
        (parent as usize).checked_sub(1)
    }

    fn rule(&self) -> Rule {
        Rule {
            prefix: self.prefix(),
            terms: self.terms(DEFAULT_LIMIT),
            origin: self.origin(),
            parent: None,
            scope: self.key().scope,
        }
    }

    fn report(&self, default_limit: i32) -> RuleReport {
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

/// Held by the one thread that publishes rules.
struct WriterLock<'a> {
    region: &'a Region,
    /// Dropped after `drop` has freed the word in shared memory, so no other
    /// thread with the same number can take the word before.
    _entered: Entered<'a>,
}

impl<'a> WriterLock<'a> {
    /// `own` is [`own_number`]. Without /proc all threads of a process have the same
    /// number, so `gate` keeps a second one of them out.
    fn take(region: &'a Region, gate: &'a OneThread, own: u32) -> Result<WriterLock<'a>, Busy> {
        let Some(entered) = gate.enter() else {
            let process = std::process::id();
            return Err(Busy { process });
        };
        let writer = &region.header().background.rules_writer;
        // Acquire, here and in the exchange: this writer sees everything that the previous
        // one wrote.
        let mut holder = writer.load(Ordering::Acquire);
        loop {
            // A holder with our own number has died, and we got its number: no other thread
            // of this process holds the word, because this one has entered the gate.
            if holder != 0 && holder != own && is_alive(holder) {
                return Err(Busy { process: holder });
            }
            match writer.compare_exchange(holder, own, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    return Ok(WriterLock {
                        region,
                        _entered: entered,
                    });
                }
                Err(now) => holder = now,
            }
        }
    }
}

impl Drop for WriterLock<'_> {
    fn drop(&mut self) {
        let writer = &self.region.header().background.rules_writer;
        // Release: see `take`.
        writer.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::layout::Geometry;

    /// Without /proc, both threads have the number of their process.
    #[test]
    fn second_thread_with_the_same_number_is_busy() {
        let region = Region::create(Geometry::of_buckets(1)).unwrap();
        let gate = OneThread::new();
        let own = std::process::id();
        let take = || WriterLock::take(&region, &gate, own);
        let in_another_thread = || {
            let busy = || take().map(drop).err();
            std::thread::scope(|scope| scope.spawn(busy).join().unwrap())
        };

        let first = take().ok();
        assert!(first.is_some());
        assert_eq!(in_another_thread(), Some(Busy { process: own }));
        drop(first);
        assert_eq!(in_another_thread(), None);
    }

    /// A process that died may have had the number of this one.
    #[test]
    fn word_left_with_our_own_number_is_taken_over() {
        let region = Region::create(Geometry::of_buckets(1)).unwrap();
        let own = std::process::id();
        let writer = &region.header().background.rules_writer;
        writer.store(own, Ordering::Relaxed);
        let gate = OneThread::new();
        drop(WriterLock::take(&region, &gate, own).unwrap());
        assert_eq!(writer.load(Ordering::Relaxed), 0);
    }
}
