// SPDX-License-Identifier: GPL-2.0-or-later
//! The rules, and bans of prefixes, which are rules that end. They can change while
//! connections are checked.

#![forbid(unsafe_code)]

use super::Limiter;
use crate::policy::listener::ListenerName;
use crate::policy::origin::BanReason;
use crate::policy::rulebook::ChangeError;
use crate::policy::rules::{Rule, RuleSet};
use crate::policy::terms::Terms;
use crate::source::Prefix;

impl Limiter {
    /// Publishes `rules`: they become active all at once and replace all rules before,
    /// except those of [`set_rule`](Self::set_rule).
    ///
    /// # Errors
    ///
    /// If another process or thread publishes rules now, there is no memory, or there are
    /// too many rules with those that are kept; then no rule has changed.
    pub fn set_rules(&self, rules: &RuleSet) -> Result<(), ChangeError> {
        self.rulebook().publish(rules, &self.rules_gate)
    }

    /// Sets a rule for `prefix`, and for the listener of `terms` if they have one. It takes
    /// precedence over one with the same prefix and listener from a file or a modparam, and
    /// replaces one that was set before. The rule ends after the second `end`
    /// of the host clock, if there is one, when the background process next looks. Returns
    /// the rule that applied to `prefix` itself before.
    ///
    /// # Errors
    ///
    /// As [`set_rules`](Self::set_rules).
    pub fn set_rule(
        &self,
        prefix: Prefix,
        terms: Terms,
        end: Option<u32>,
    ) -> Result<Option<Rule>, ChangeError> {
        self.rulebook().set(prefix, terms, end, &self.rules_gate)
    }

    /// Removes the rule that [`set_rule`](Self::set_rule) set for `prefix` and this listener, or
    /// without one, and returns it.
    ///
    /// # Errors
    ///
    /// If there is no such rule, or as [`set_rules`](Self::set_rules).
    pub fn remove_rule(
        &self,
        prefix: Prefix,
        listener: Option<ListenerName>,
    ) -> Result<Rule, ChangeError> {
        self.rulebook().remove(prefix, listener, &self.rules_gate)
    }

    /// Bans the sources of `prefix`, except those whose rule exempts them, until the second
    /// `end` of the host clock. Replaces the ban of the same prefix, and is kept by
    /// [`set_rules`](Self::set_rules). All other rules stay: they apply to their sources as
    /// if the ban did not exist, and its end needs no other change. No connection is closed.
    /// Returns the ban that the prefix had before.
    ///
    /// # Errors
    ///
    /// If the rule of `prefix` exempts its sources, or as [`set_rules`](Self::set_rules).
    pub fn ban_prefix(
        &self,
        prefix: Prefix,
        end: u32,
        reason: BanReason,
    ) -> Result<Option<Rule>, ChangeError> {
        self.rulebook().ban(prefix, end, reason, &self.rules_gate)
    }

    /// Lifts the ban of `prefix` before its end, and returns it.
    ///
    /// # Errors
    ///
    /// If there is no ban of this prefix, or as [`set_rules`](Self::set_rules).
    pub fn unban_prefix(&self, prefix: Prefix) -> Result<Rule, ChangeError> {
        self.rulebook().unban(prefix, &self.rules_gate)
    }

    /// Lifts the ban of `prefix` if another node set it, and returns it.
    ///
    /// # Errors
    ///
    /// If there is no such ban, or as [`set_rules`](Self::set_rules).
    pub fn unban_prefix_of_node(&self, prefix: Prefix) -> Result<Rule, ChangeError> {
        self.rulebook().unban_of_node(prefix, &self.rules_gate)
    }

    /// Lifts all bans of prefixes, and returns them.
    ///
    /// # Errors
    ///
    /// As [`set_rules`](Self::set_rules).
    pub fn unban_prefixes(&self) -> Result<Vec<Rule>, ChangeError> {
        self.rulebook().unban_all(&self.rules_gate)
    }

    /// Whether an active rule has a rate or a burst of its own, or no rate in any case.
    pub fn has_rated_rules(&self) -> bool {
        self.settings().switches().has_rated_rules()
    }

    /// Removes the rules that have ended at the time `now` of the host clock, and returns
    /// them.
    ///
    /// # Errors
    ///
    /// As [`set_rules`](Self::set_rules).
    pub(crate) fn end_rules(&self, now: u32) -> Result<Vec<Rule>, ChangeError> {
        self.rulebook().end(now, &self.rules_gate)
    }

    /// The number of active rules, without those that another one for the same prefix
    /// replaces.
    pub fn rules_len(&self) -> usize {
        self.rulebook().len()
    }

    /// The number of active rules of [`set_rule`](Self::set_rule), without bans.
    pub fn rules_set(&self) -> usize {
        self.rulebook().set_len()
    }

    /// How often [`set_rules`](Self::set_rules) published rules.
    pub fn rules_loaded(&self) -> u32 {
        self.rulebook().times_published()
    }
}
