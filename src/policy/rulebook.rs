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
//!
//! [`RuleOrigin`]: crate::policy::origin::RuleOrigin
//! [`RuleSet`]: crate::policy::rules::RuleSet

#![forbid(unsafe_code)]

mod changes;
mod entry;
mod error;
mod half;
mod lock;
mod report;

pub use error::{Busy, ChangeError};
pub use report::RuleReport;
pub(crate) use report::Rules;

use std::collections::TryReserveError;

use crate::policy::listener::ListenerName;
use crate::policy::listeners::Listeners;
use crate::policy::network_settings::NetworkSettings;
use crate::policy::rules::{HostRules, Rule, RuleKey};
use crate::policy::settings::Settings;
use crate::policy::terms::Terms;
use crate::shared::layout::{Detail, RuleEntry};
use crate::shared::process::OneThread;
use crate::shared::region::Region;
use crate::shared::sync::Ordering;
use crate::source::{Prefix, PrefixLengths, Scope, Source};
use half::Half;

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
