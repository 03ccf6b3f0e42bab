// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Wishes`]: which sources and prefixes the kernel should drop, by the limiter's bans and
//! rules.
//!
//! The longest rule that contains an address decides whether it is exempt, and so does the
//! longest prefix in the kernel's trie. So the trie has the banned prefixes, and of the rules
//! within them those whose verdict differs from that of what contains them. A source is
//! listed by itself, in the hash; the trie then has the rules for parts of it that are
//! exempt. A rule that trusts its sources counts as one that exempts them.
//!
//! The program is the same on all sockets. So an address that a rule for a listener exempts
//! or trusts is dropped on none of them, also if a longer rule of that listener does not.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashSet};

use crate::limiter::Limiter;
use crate::observe::report::Report;
use crate::policy::rulebook::RuleReport;
use crate::policy::settings::Mode;
use crate::source::{Prefix, PrefixLengths, Source};

/// What the maps should have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Sources to drop.
    pub(super) sources: HashSet<Prefix>,
    /// Prefixes to drop (`true`) or to admit within one that is dropped.
    pub(super) prefixes: BTreeMap<Prefix, bool>,
}

impl Wanted {
    /// How many sources and prefixes should be dropped.
    pub(super) fn drops(&self) -> usize {
        self.sources.len() + self.prefixes.values().filter(|drops| **drops).count()
    }

    /// Whether `admits` holds for each prefix within `entry` that should be admitted.
    pub(super) fn has_all_exceptions(
        &self,
        entry: Prefix,
        admits: impl Fn(Prefix) -> bool,
    ) -> bool {
        // Prefixes within `entry` follow it in their order without a gap.
        self.prefixes
            .range(entry..)
            .take_while(|(prefix, _)| entry.contains(**prefix))
            .all(|(prefix, drops)| *drops || admits(*prefix))
    }
}

/// What the rules say, as of one set of them.
#[derive(Default)]
pub(super) struct Wishes {
    generation: Option<u32>,
    /// The banned prefixes and what differs within them.
    banned: Vec<(Prefix, bool)>,
    /// The rules for parts of sources that differ from a ban of the source.
    hosts: Vec<(Prefix, bool)>,
    /// What rules for listeners exempt or trust.
    spared: Spared,
}

impl Wishes {
    /// What should be listed now. Of the sources only those that are banned at this moment,
    /// or flood, and that no rule exempts or trusts.
    pub(super) fn of(
        &mut self,
        limiter: &Limiter,
        banned: impl Iterator<Item = Source>,
        flooding: impl Iterator<Item = Source>,
    ) -> Wanted {
        if limiter.mode() != Mode::Enforce {
            return Wanted::default();
        }
        self.read_rules(limiter);
        let report = Report::of(limiter);
        let lengths = limiter.prefixes();
        let banned = banned.filter(|source| report.get(*source).ban().is_some());
        let sources = banned.chain(flooding).filter(|source| {
            let (_, terms) = report.terms_of(source.without_scope(), None);
            !terms.is_spared() && !self.spared.contains(source.prefix(lengths))
        });
        let sources: HashSet<Prefix> = sources.map(|source| source.prefix(lengths)).collect();
        let hosts = self.hosts.iter().filter(|(prefix, _)| {
            sources.contains(&prefix.shortened(lengths.length(prefix.family)))
        });
        let prefixes = self.banned.iter().chain(hosts).copied().collect();
        Wanted { sources, prefixes }
    }

    /// Reads the rules again if others were published.
    fn read_rules(&mut self, limiter: &Limiter) {
        let rulebook = limiter.rulebook();
        // Before the rules: if others are published in between, the next call reads again.
        let generation = rulebook.generation();
        if self.generation == Some(generation) {
            return;
        }
        // Without memory the next call tries again, and no prefix is listed meanwhile.
        self.generation = None;
        self.banned.clear();
        self.hosts.clear();
        self.spared = Spared::default();
        if let Ok(rules) = rulebook.all() {
            let rules = rules.as_slice();
            let lengths = limiter.prefixes();
            self.spared = Spared::of(rules);
            self.banned = of_bans(rules, &self.spared);
            self.hosts = of_hosts(rules, &self.spared, lengths);
            self.generation = Some(generation);
        }
    }
}

/// The prefixes that rules for listeners exempt or trust, without those within another one,
/// sorted.
#[derive(Default)]
struct Spared(Vec<Prefix>);

impl Spared {
    fn of(rules: &[RuleReport]) -> Spared {
        let spares = |rule: &&RuleReport| rule.terms.listener.is_some() && rule.terms.is_spared();
        let rules = rules.iter().filter(spares);
        let mut prefixes: Vec<Prefix> = rules.map(|rule| rule.prefix).collect();
        prefixes.sort_unstable();
        // A prefix comes after those that contain it.
        prefixes.dedup_by(|next, kept| kept.contains(*next));
        Spared(prefixes)
    }

    /// Whether one of them contains `prefix`.
    fn contains(&self, prefix: Prefix) -> bool {
        let after = self.0.partition_point(|spared| *spared <= prefix);
        let before = after.checked_sub(1).map(|index| self.0[index]);
        before.is_some_and(|spared| spared.contains(prefix))
    }
}

/// The banned prefixes, and what differs within them: rules, and what is spared.
fn of_bans(rules: &[RuleReport], spared: &Spared) -> Vec<(Prefix, bool)> {
    let verdicts = without_listener(rules).map(|rule| {
        let is_dropped = rule.terms.banned && !rule.terms.is_spared();
        let drops = is_dropped && !spared.contains(rule.prefix);
        (rule.prefix, drops, rule.origin.is_ban() && drops)
    });
    differing(with_spared(verdicts, spared), false)
}

/// What differs for parts of sources, if the source is banned: rules, and what is spared.
fn of_hosts(rules: &[RuleReport], spared: &Spared, lengths: PrefixLengths) -> Vec<(Prefix, bool)> {
    let verdicts = without_listener(rules).map(|rule| {
        let drops = !rule.terms.is_spared() && !spared.contains(rule.prefix);
        (rule.prefix, drops, false)
    });
    let mut verdicts = with_spared(verdicts, spared);
    verdicts.retain(|(prefix, ..)| prefix.length > lengths.length(prefix.family));
    differing(verdicts, true)
}

/// The rules for addresses, without those for a listener.
fn without_listener(rules: &[RuleReport]) -> impl Iterator<Item = &RuleReport> {
    let is_one = |rule: &&RuleReport| !rule.prefix.of_networks && rule.terms.listener.is_none();
    rules.iter().filter(is_one)
}

/// The verdicts, sorted, with those of the spared prefixes.
fn with_spared(
    verdicts: impl Iterator<Item = (Prefix, bool, bool)>,
    spared: &Spared,
) -> Vec<(Prefix, bool, bool)> {
    let spared = spared.0.iter().map(|prefix| (*prefix, false, false));
    // Of a spared prefix and its rule, both admit.
    let mut verdicts: Vec<_> = verdicts.chain(spared).collect();
    verdicts.sort_unstable();
    verdicts
}

/// The prefixes whose verdict is another one than that of the next shorter one, or than
/// `outside` if no other contains them; and those that are kept in any case. They are
/// sorted, so each comes after those that contain it.
fn differing(
    verdicts: impl IntoIterator<Item = (Prefix, bool, bool)>,
    outside: bool,
) -> Vec<(Prefix, bool)> {
    let mut found = Vec::new();
    let mut containing: Vec<(Prefix, bool)> = Vec::new();
    for (prefix, drops, keep) in verdicts {
        while containing
            .pop_if(|(last, _)| !last.contains(prefix))
            .is_some()
        {}
        let before = containing.last().map_or(outside, |(_, drops)| *drops);
        if drops != before || keep {
            found.push((prefix, drops));
            containing.push((prefix, drops));
        }
    }
    found
}
