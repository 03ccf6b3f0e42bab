// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes of the active rules: from files and parameters, by commands, and their ends. Each
//! fills the inactive half and publishes it.

#![forbid(unsafe_code)]

use super::error::ChangeError;
use super::lock::WriterLock;
use super::{MAX_RPC_RULES, Rulebook};
use crate::policy::cluster_settings::{self, ClusterSettings};
use crate::policy::listener::ListenerName;
use crate::policy::listeners::Listeners;
use crate::policy::network_settings::NetworkSettings;
use crate::policy::origin::{BanReason, RuleOrigin};
use crate::policy::rules::{MAX_RULES, Rule, RuleKey, RuleSet};
use crate::policy::settings::Settings;
use crate::policy::terms::{RuleRate, Terms};
use crate::shared::layout::RuleEntry;
use crate::shared::process::{OneThread, own_number};
use crate::shared::sync::Ordering;
use crate::source::{Prefix, Scope};

impl Rulebook<'_> {
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
    /// ban of another node also fails if that rule trusts them, and keeps a ban of this node that
    /// ends later.
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
                    Some(RuleOrigin::Ban {
                        end: later,
                        reason: of,
                    }) if from_node
                        && !matches!(of, BanReason::Cluster { .. })
                        && (later.wrapping_sub(end) as i32) > 0 =>
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
    pub(super) fn change<T>(
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
