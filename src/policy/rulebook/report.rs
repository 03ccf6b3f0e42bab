// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Rules`]: the rules that were active at one moment, with their statistics.

#![forbid(unsafe_code)]

use super::{match_in, scope_number};
use crate::policy::origin::RuleOrigin;
use crate::policy::rules::{RuleKey, find_parent, longest_match};
use crate::policy::terms::Terms;
use crate::source::{Prefix, PrefixLengths, Source};

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
    pub(super) parent: u32,
    pub(super) scope: u8,
}

impl RuleReport {
    pub(super) fn key(&self) -> RuleKey {
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

/// Rules that were active at one moment, for reports.
pub(crate) struct Rules {
    rules: Vec<RuleReport>,
    /// The prefix lengths of sources.
    lengths: PrefixLengths,
}

impl Rules {
    /// `rules` has the order of [`RuleSet::rules`](crate::policy::rules::RuleSet::rules). Only the last one of each prefix and
    /// scope is kept.
    pub(super) fn new(mut rules: Vec<RuleReport>, lengths: PrefixLengths) -> Rules {
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
