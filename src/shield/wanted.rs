// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Wishes`]: which sources and prefixes the kernel should drop, by the limiter's bans and
//! rules.
//!
//! The longest rule that contains an address decides whether it is exempt, and so does the
//! longest prefix in the kernel's trie. So the trie has the banned prefixes, and of the rules
//! within them those whose verdict differs from that of what contains them. A source is
//! listed by itself, in the hash; the trie then has the rules for parts of it that are
//! exempt.

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
}

impl Wishes {
    /// What should be listed now. Of the sources only those that are banned at this moment,
    /// or flood, and that are not exempt.
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
            let (_, terms) = report.terms_of(*source, None);
            !terms.exempt
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
        if let Ok(rules) = rulebook.all() {
            let rules = rules.as_slice();
            let lengths = limiter.prefixes();
            self.banned = of_bans(rules);
            self.hosts = of_hosts(rules, lengths);
            self.generation = Some(generation);
        }
    }
}

/// The banned prefixes, and the rules within them whose verdict differs.
fn of_bans(rules: &[RuleReport]) -> Vec<(Prefix, bool)> {
    let verdicts = rules.iter().map(|rule| {
        let is_own = rule.origin.is_ban() && rule.terms.banned;
        (rule.prefix, rule.terms.banned, is_own)
    });
    differing(verdicts, false)
}

/// The rules for parts of sources whose verdict differs, if the source is banned.
fn of_hosts(rules: &[RuleReport], lengths: PrefixLengths) -> Vec<(Prefix, bool)> {
    let parts = rules
        .iter()
        .filter(|rule| rule.prefix.length > lengths.length(rule.prefix.family));
    let verdicts = parts.map(|rule| (rule.prefix, !rule.terms.exempt, false));
    differing(verdicts, true)
}

/// The prefixes whose verdict is another one than that of the next shorter one, or than
/// `outside` if no other contains them; and those that are kept in any case. They are
/// sorted, so each comes after those that contain it.
fn differing(
    verdicts: impl Iterator<Item = (Prefix, bool, bool)>,
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
