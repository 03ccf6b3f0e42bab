// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Half`]: one of the two sets of rules in shared memory, and look-ups in it.

#![forbid(unsafe_code)]

use super::match_in;
use crate::policy::origin::{BanReason, RuleOrigin};
use crate::policy::rules::{DEFAULT_LIMIT, Rule, RuleKey, longest_match};
use crate::policy::terms::Terms;
use crate::shared::layout::RuleEntry;
use crate::shared::sync::{Ordering, Statistic32};
use crate::source::Prefix;

/// One of the two halves, with the number of its rules.
#[derive(Clone, Copy)]
pub(super) struct Half<'a> {
    pub(super) entries: &'a [RuleEntry],
    pub(super) count: usize,
    pub(super) replaced: &'a Statistic32,
    pub(super) ending: &'a Statistic32,
    pub(super) set: &'a Statistic32,
}

impl<'a> Half<'a> {
    pub(super) fn len(self) -> usize {
        self.count
    }

    /// The number of rules that another one for the same prefix replaces.
    pub(super) fn replaced(self) -> usize {
        // Acquire, here and below: words of the half, see `Rulebook::read_once`.
        self.replaced.load(Ordering::Acquire) as usize
    }

    /// The number of rules that end by themselves.
    pub(super) fn ending(self) -> u32 {
        self.ending.load(Ordering::Acquire)
    }

    /// The number of rules that commands set.
    pub(super) fn set(self) -> usize {
        self.set.load(Ordering::Acquire) as usize
    }

    /// The entry at `index`, or the last entry if `index` is out of range. That happens only
    /// if rules were published meanwhile, and then the caller discards the answer.
    pub(super) fn entry(self, index: usize) -> &'a RuleEntry {
        &self.entries[index.min(self.entries.len() - 1)]
    }

    /// The rule of `prefix` in a scope, or without one if that is 0.
    pub(super) fn longest_match(self, scope: u8, prefix: Prefix) -> Option<usize> {
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
    pub(super) fn terms_in(
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
    pub(super) fn is_banned_here(self, mut index: usize) -> bool {
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
    pub(super) fn terms(self, index: Option<usize>, default_limit: i32) -> Terms {
        match index {
            Some(index) => self.entry(index).terms(default_limit),
            None => Terms::of_default(default_limit),
        }
    }

    /// Whether a rule of this scope that contains `wanted` exempts or trusts it.
    pub(super) fn spares(self, scope: u8, wanted: Prefix) -> bool {
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
    pub(super) fn ban_of(self, wanted: Prefix) -> Option<&'a RuleEntry> {
        let ban = self.ban_around(self.longest_match(0, wanted)?)?;
        Some(self.entry(ban))
    }

    /// The index of the ban with the longest prefix that contains the rule at `index`, which
    /// may be that rule.
    pub(super) fn ban_around(self, mut index: usize) -> Option<usize> {
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
    pub(super) fn hand_over(self, rule: &Rule, entry: &RuleEntry) {
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
