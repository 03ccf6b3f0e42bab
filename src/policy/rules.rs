// SPDX-License-Identifier: GPL-2.0-or-later
//! [`RuleSet`]: which prefix has which limit.
//!
//! If the prefixes of several rules contain a source, the rule with the longest one
//! applies to it. Of several rules with the same prefix, the one with the greatest
//! [`RuleOrigin`] applies. A *host rule* has a prefix longer than a source: it is an
//! exception for a part of a source, usually for one host of a network. Its connections are
//! counted with those of the whole source, but checked against the limit of the host rule.
//!
//! A rule with a *listener* applies only to connections that were accepted there, and takes
//! precedence over any rule without one. The rules of a listener are a group of their own:
//! the look-up below finds a rule among those with one scope.
//!
//! A *ban* is a rule that a command set for some time. It changes nothing about what its
//! sources may do except that they are banned, so it takes its terms from the rule that
//! applies without it. A rule for a longer prefix within a banned one is banned as well:
//! only a rule that exempts its sources keeps them out of a ban.
//!
//! # Look-up
//!
//! Two prefixes never overlap in part: one contains the other, or they have no address in
//! common. The rules are sorted by family, network, length and origin, so a prefix comes
//! before all that it contains, and the last rule of a prefix is the one that applies. Each
//! rule names its parent: the rule that applies to the longest other prefix that contains
//! it.
//!
//! ```text
//!   10.0.0.0/8          ◀─┐ ◀─┐
//!     10.1.0.0/16       ──┘   │ ◀─┐
//!       10.1.2.0/24           │ ──┘     ◀── the last one that is not after 10.1.9.9:
//!     10.2.0.0/16       ──────┘             its parent contains 10.1.9.9
//! ```
//!
//! [`longest_match`] finds the last rule that is not after the address. A rule that
//! contains the address is not after it either, so it is the rule found or contains the
//! rule found. Therefore the first rule that contains the address, going from the rule
//! found to its parents, is the longest one. The same holds for the prefix of a source
//! instead of an address: no rule is found that is longer than the source.

#![forbid(unsafe_code)]

use core::fmt;
use core::net::IpAddr;
use std::collections::TryReserveError;

mod check;

use super::listener::ListenerName;
use super::origin::{BanReason, RuleOrigin};
use super::rule_text::{Reason, RuleText};
use super::rule_words::TermsText;
use super::terms::{RuleRate, Terms};
use super::{file_end, rules_file};
use crate::source::{Nat64, Prefix, PrefixLengths};

pub use super::rule_text::{
    InvalidRule, NoNetwork, Origin, UNLIMITED, check_rule, rules_have_networks, rules_have_proxies,
};
pub use crate::shared::layout::MAX_RULES;
pub use check::Faults;

/// The limit of a ban if no other rule applies to its sources: the default limit, which may
/// change while the ban lasts.
pub const DEFAULT_LIMIT: i32 = i32::MIN;

/// The number of prefix lengths, 0 to 128. At most this many rules contain one another.
const NESTED: usize = 129;

/// What the sources of a prefix may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The sources that have the rule, unless a longer prefix contains them.
    pub prefix: Prefix,
    /// What they may do. In a [`RuleSet`], a limit of [`DEFAULT_LIMIT`] stands for the
    /// default limit.
    pub terms: Terms,
    /// Where the rule comes from.
    pub origin: RuleOrigin,
    /// The index of the rule that applies to the longest other prefix that contains this
    /// one. It is smaller than the index of this rule.
    pub parent: Option<u16>,
    /// Rules of different listeners have different numbers here, and those without a
    /// listener have 0.
    pub scope: u8,
}

/// A key of rules: a set of sources that contains others or has no source in common with
/// them.
pub trait Key: Copy + Ord {
    /// Whether all sources of `other` are in this set.
    fn contains(self, other: Self) -> bool;
}

impl Key for Prefix {
    #[inline]
    fn contains(self, other: Prefix) -> bool {
        Prefix::contains(self, other)
    }
}

/// A prefix in a scope. Rules are sorted by it, so those without a listener come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RuleKey {
    pub(super) scope: u8,
    pub(super) prefix: Prefix,
}

impl Key for RuleKey {
    #[inline]
    fn contains(self, other: RuleKey) -> bool {
        self.scope == other.scope && self.prefix.contains(other.prefix)
    }
}

impl Rule {
    pub(super) fn key(&self) -> RuleKey {
        RuleKey {
            scope: self.scope,
            prefix: self.prefix,
        }
    }
}

/// A rule as a line of a rules file, with its origin as a comment.
#[derive(Clone, Copy, Debug)]
pub struct RuleLine<'a>(pub &'a Rule);

impl fmt::Display for RuleLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule {
            prefix,
            terms,
            origin,
            ..
        } = self.0;
        write!(f, "{prefix} = {} # {origin}", TermsText(*terms))
    }
}

/// Why there is no [`RuleSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// A rule is invalid.
    Invalid(InvalidRule),
    /// There is not enough memory for the rules.
    NoMemory,
}

impl From<TryReserveError> for RuleError {
    fn from(_: TryReserveError) -> RuleError {
        RuleError::NoMemory
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleError::Invalid(rule) => rule.fmt(f),
            RuleError::NoMemory => f.write_str("not enough memory for the rules; use fewer rules"),
        }
    }
}

impl std::error::Error for RuleError {}

/// A rule that has no index yet.
struct Draft<'a> {
    rule: RuleText,
    origin: Origin<&'a str>,
    text: &'a str,
}

impl Draft<'_> {
    /// What no other rule of the same kind of origin has.
    fn key(&self) -> (Option<(IpAddr, u16)>, Prefix) {
        let listener = self.rule.terms.listener.map(ListenerName::endpoint);
        (listener, self.rule.prefix)
    }

    fn invalid(&self, reason: Reason) -> RuleError {
        invalid(self.origin, self.text.as_bytes(), reason)
    }
}

fn invalid(origin: Origin<&str>, text: &[u8], reason: Reason) -> RuleError {
    RuleError::Invalid(InvalidRule::new(origin, text, reason))
}

/// Takes rules one by one, and checks them.
pub struct RulesBuilder<'a> {
    lengths: PrefixLengths,
    nat64: Nat64,
    drafts: Vec<Draft<'a>>,
}

impl<'a> RulesBuilder<'a> {
    /// With these translators, whose clients are IPv4 sources.
    pub fn with_nat64(self, nat64: Nat64) -> RulesBuilder<'a> {
        RulesBuilder { nat64, ..self }
    }

    /// Adds the rule `text`.
    ///
    /// # Errors
    ///
    /// If the rule is invalid by itself, or there are already [`MAX_RULES`], or there is no
    /// memory.
    pub fn add(&mut self, origin: Origin<&'a str>, text: &'a str) -> Result<(), RuleError> {
        let text = text.trim_ascii();
        let invalid = |reason| invalid(origin, text.as_bytes(), reason);
        let rule = RuleText::parse(text).map_err(invalid)?;
        let checked = self.nat64.check(rule.prefix);
        checked.map_err(|error| invalid(Reason::Prefix(error)))?;
        if rule.terms.listener.is_some() && !self.lengths.leave_room_for_scopes() {
            return Err(invalid(Reason::ListenerWithLongSources));
        }
        let checked = NoNetwork::check(rule.prefix, self.lengths);
        checked.map_err(|error| invalid(Reason::NoNetwork(error)))?;
        if self.drafts.len() >= MAX_RULES {
            return Err(invalid(Reason::TooManyRules));
        }
        self.drafts.try_reserve(1)?;
        self.drafts.push(Draft { rule, origin, text });
        Ok(())
    }

    /// Adds the rules in the file `name`: one in each line; `#` begins a comment; lines may
    /// be empty. The comments `# begin` and `# end` show that the file is complete.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add), for the first line that is invalid, or if the file is
    /// incomplete.
    pub fn add_file(&mut self, name: &'a str, content: &'a [u8]) -> Result<(), RuleError> {
        file_end::check(content)
            .map_err(|(line, text, reason)| invalid(Origin::Line(name, line), text, reason))?;
        for (line, text) in rules_file::texts(content) {
            let origin = Origin::Line(name, line);
            let text = str::from_utf8(text).map_err(|_| invalid(origin, text, Reason::NotUtf8))?;
            self.add(origin, text)?;
        }
        Ok(())
    }

    /// Sorts all rules and finds the parent of each.
    ///
    /// # Errors
    ///
    /// If two modparams or two lines of the file have the same prefix, or there is no
    /// memory.
    pub fn build(mut self) -> Result<RuleSet, RuleError> {
        self.drafts
            .sort_unstable_by_key(|draft| (draft.key(), draft.origin));
        for pair in self.drafts.windows(2) {
            if let [first, second] = pair
                && first.key() == second.key()
                && first.origin.is_same_kind(&second.origin)
            {
                let first = first.origin.into_owned();
                return Err(second.invalid(Reason::Duplicate(first)));
            }
        }
        let mut rules: Vec<Rule> = Vec::new();
        rules.try_reserve_exact(self.drafts.len())?;
        let mut scope = 0;
        for drafts in self.drafts.chunk_by(|a, b| a.key().0 == b.key().0) {
            // There may be more, but they cannot be published.
            scope = match drafts[0].rule.terms.listener {
                None => 0,
                Some(_) => u8::saturating_add(scope, 1),
            };
            rules.extend(drafts.iter().map(|draft| Rule {
                prefix: draft.rule.prefix,
                terms: draft.rule.terms,
                origin: draft.origin.of_rule(),
                parent: None,
                scope,
            }));
        }
        Ok(RuleSet::new(rules, self.lengths))
    }
}

/// Whether rules have a prefix longer than a source, as it is stored in shared memory. A
/// higher number needs all that a lower one needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostRules {
    /// All addresses of a source have the same rule.
    #[default]
    None = 0,
    /// There is such a rule, but all rules have the default rate.
    WithoutRates = 1,
    /// There is such a rule, and a rule with a word about its rate. So the addresses of a
    /// source may have different rates.
    WithRates = 2,
}

/// Valid rules, sorted, with at most one for each prefix and kind of origin.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    host_rules: HostRules,
}

impl RuleSet {
    /// A builder without rules, for sources of these prefix lengths.
    pub fn builder<'a>(lengths: PrefixLengths) -> RulesBuilder<'a> {
        RulesBuilder {
            lengths,
            nat64: Nat64::default(),
            drafts: Vec::new(),
        }
    }

    /// A set of `rules`, whose parents are still unknown. There are at most
    /// [`MAX_RULES`], and at most one for each prefix and kind of origin. Sources have the
    /// prefix lengths `lengths`.
    pub(super) fn new(mut rules: Vec<Rule>, lengths: PrefixLengths) -> RuleSet {
        rules.sort_unstable_by_key(|rule| (rule.key(), rule.origin));
        for index in 0..rules.len() {
            let key_at = |i: usize| rules[i].key();
            let parent = find_parent(index, key_at, |i| rules[i].parent.map(usize::from));
            // The index fits 16 bits, see MAX_RULES.
            rules[index].parent = parent.map(|parent| parent as u16);
        }
        apply_bans(&mut rules);
        let is_for_host = |rule: &Rule| {
            let prefix = rule.prefix;
            prefix.length > lengths.length(prefix.family) && !prefix.of_networks
        };
        let has_rate = |rule: &Rule| rule.terms.rate != RuleRate::Default;
        let host_rules = match (rules.iter().any(is_for_host), rules.iter().any(has_rate)) {
            (false, _) => HostRules::None,
            (true, false) => HostRules::WithoutRates,
            (true, true) => HostRules::WithRates,
        };
        RuleSet { rules, host_rules }
    }

    /// The rules, sorted by scope and prefix, then by origin. Of those with the same scope
    /// and prefix, the last one applies. There are at most [`MAX_RULES`].
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that apply, one for each prefix, sorted by prefix.
    pub fn applying(&self) -> impl Iterator<Item = &Rule> {
        let last_of_prefix = self.rules.chunk_by(|a, b| a.key() == b.key());
        last_of_prefix.filter_map(<[Rule]>::last)
    }

    /// Whether a rule has a prefix longer than a source.
    pub(crate) fn host_rules(&self) -> HostRules {
        self.host_rules
    }
}

/// Gives each ban the terms of the rule that applies without it, and marks the rules whose
/// sources are banned. The rules have the order of [`RuleSet::rules`] and their parents.
fn apply_bans(rules: &mut [Rule]) {
    for index in 0..rules.len() {
        let Rule {
            prefix,
            mut terms,
            origin,
            parent,
            scope,
        } = rules[index];
        // Both come before this rule, so their terms are complete.
        let parent = parent.map(|parent| rules[usize::from(parent)].terms);
        if origin.is_ban() {
            let replaced = index.checked_sub(1).map(|before| &rules[before]);
            let replaced = replaced.filter(|rule| rule.prefix == prefix && rule.scope == scope);
            let without = replaced.map(|rule| rule.terms).or(parent);
            terms = without.unwrap_or(Terms::of_default(DEFAULT_LIMIT));
        }
        // Exempt rules are marked in this pass: a rule within one may not be exempt.
        terms.banned = origin.is_ban() || parent.is_some_and(|parent| parent.banned);
        rules[index].terms = terms;
    }
    for index in 0..rules.len() {
        let terms = rules[index].terms;
        let is_banned = terms.banned && !terms.exempt;
        // A trusted rule is banned by this node only.
        rules[index].terms.banned = is_banned && (!terms.trusted || is_banned_here(rules, index));
    }
}

/// Whether a ban that no other node set contains the rule at `index`.
fn is_banned_here(rules: &[Rule], mut index: usize) -> bool {
    loop {
        let rule = &rules[index];
        if let RuleOrigin::Ban { reason, .. } = rule.origin
            && !matches!(reason, BanReason::Cluster { .. })
        {
            return true;
        }
        match rule.parent {
            Some(parent) => index = parent.into(),
            None => return false,
        }
    }
}

/// The parent of the rule at `index`, among rules in the order of [`RuleSet::rules`].
/// `parent_at` has the parents of those before it.
///
/// Ends after a bounded number of steps whatever the answers are.
pub(super) fn find_parent<K: Key>(
    index: usize,
    key_at: impl Fn(usize) -> K,
    parent_at: impl Fn(usize) -> Option<usize>,
) -> Option<usize> {
    let key = key_at(index);
    // The previous rule, or a rule that contains it.
    let mut parent = index.checked_sub(1)?;
    for _ in 0..NESTED {
        let candidate = key_at(parent);
        if candidate != key && candidate.contains(key) {
            return Some(parent);
        }
        parent = parent_at(parent)?;
    }
    None
}

/// The index of the rule that applies to `wanted`, a source or a prefix: of the rules with
/// the longest prefix that contains it, the last one. There are `count` rules in the order
/// of [`RuleSet::rules`].
///
/// Asks only for indices below `count`, and ends after a bounded number of steps whatever
/// the answers are. So it can read memory that other processes write.
#[inline]
pub fn longest_match<K: Key>(
    count: usize,
    key_at: impl Fn(usize) -> K,
    parent_at: impl Fn(usize) -> Option<usize>,
    wanted: K,
) -> Option<usize> {
    // No rule before `from` is after `wanted`, and all rules from `to` on are.
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from + (to - from) / 2;
        if key_at(middle) <= wanted {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    let mut rule = from.checked_sub(1)?;
    for _ in 0..NESTED {
        if key_at(rule).contains(wanted) {
            return Some(rule);
        }
        // In memory that is not damaged, a parent comes before its child.
        rule = parent_at(rule).filter(|parent| *parent < rule)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use ipnet::IpNet;
    use proptest::prelude::*;

    use super::*;
    use crate::source::{Family, Source};

    fn lengths() -> PrefixLengths {
        PrefixLengths::new(32, 128).unwrap()
    }

    fn set(texts: &[&str]) -> RuleSet {
        let mut builder = RuleSet::builder(lengths());
        for (text, number) in texts.iter().zip(1..) {
            builder.add(Origin::Modparam(number), text).unwrap();
        }
        builder.build().unwrap()
    }

    fn source(address: &str, lengths: PrefixLengths) -> Source {
        match address.parse().unwrap() {
            IpAddr::V4(a) => Source::new(&a.octets(), lengths),
            IpAddr::V6(a) => Source::new(&a.octets(), lengths),
        }
        .unwrap()
    }

    fn find(set: &RuleSet, source: Source) -> Option<usize> {
        let rules = set.rules();
        longest_match(
            rules.len(),
            |rule| rules[rule].prefix,
            |rule| rules[rule].parent.map(usize::from),
            source.into(),
        )
    }

    fn found(set: &RuleSet, address: &str) -> Option<(String, i32)> {
        let rule = set.rules()[find(set, source(address, lengths()))?];
        Some((rule.prefix.to_string(), rule.terms.limit))
    }

    fn file_error(content: &[u8]) -> String {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        let error = builder.add_file("/etc/rules", content).unwrap_err();
        error.to_string()
    }

    #[test]
    fn longest_prefix_wins() {
        let set = set(&[
            "10.1.0.0/16=16",
            "10.0.0.0/8=8",
            "2001:db8::/32=32",
            "10.1.2.0/24=24",
            "10.2.0.0/16 = unlimited",
            "2001:db8:0:1::/64=64",
            "192.0.2.1=1",
            "2001:db8::1=128",
        ]);
        let some = |prefix: &str, limit| Some((prefix.to_owned(), limit));
        assert_eq!(found(&set, "10.1.2.3"), some("10.1.2.0/24", 24));
        assert_eq!(found(&set, "10.1.9.9"), some("10.1.0.0/16", 16));
        assert_eq!(found(&set, "10.2.0.0"), some("10.2.0.0/16", UNLIMITED));
        assert_eq!(found(&set, "10.255.255.255"), some("10.0.0.0/8", 8));
        assert_eq!(found(&set, "192.0.2.1"), some("192.0.2.1", 1));
        assert_eq!(found(&set, "192.0.2.2"), None);
        assert_eq!(found(&set, "9.255.255.255"), None);
        assert_eq!(found(&set, "2001:db8::1"), some("2001:db8::1", 128));
        assert_eq!(found(&set, "2001:db8::2"), some("2001:db8::/32", 32));
        let net = "2001:db8:0:1::/64";
        assert_eq!(found(&set, "2001:db8:0:1:ffff::"), some(net, 64));
        assert_eq!(found(&set, "2001:db9::"), None);
        assert_eq!(found(&set, "::ffff:10.1.2.3"), some("10.1.2.0/24", 24));
    }

    #[test]
    fn rule_for_all_addresses_covers_one_family() {
        let v4 = set(&["0.0.0.0/0=4"]);
        assert_eq!(found(&v4, "255.255.255.255"), Some(("0.0.0.0/0".into(), 4)));
        assert_eq!(found(&v4, "0.0.0.0"), Some(("0.0.0.0/0".into(), 4)));
        assert_eq!(found(&v4, "::"), None);
        let v6 = set(&["::/0=6"]);
        assert_eq!(found(&v6, "ffff::ffff"), Some(("::/0".into(), 6)));
        assert_eq!(found(&v6, "::"), Some(("::/0".into(), 6)));
        assert_eq!(found(&v6, "192.0.2.1"), None);
        assert_eq!(found(&set(&[]), "192.0.2.1"), None);
    }

    #[test]
    fn rule_as_long_as_a_source_covers_the_whole_source() {
        let lengths = PrefixLengths::new(24, 64).unwrap();
        let mut builder = RuleSet::builder(lengths);
        builder
            .add_file("r", b"192.0.2.0/24=1\n2001:db8::/64=2")
            .unwrap();
        let set = builder.build().unwrap();
        assert_eq!(find(&set, source("192.0.2.77", lengths)), Some(0));
        assert_eq!(find(&set, source("2001:db8::77", lengths)), Some(1));
    }

    #[test]
    fn rule_longer_than_a_source_covers_a_part_of_it() {
        let lengths = PrefixLengths::DEFAULT;
        let build = |content: &'static [u8]| {
            let mut builder = RuleSet::builder(lengths);
            builder.add_file("r", content).unwrap();
            builder.build().unwrap()
        };
        // The network's own address is also the address of a host.
        let set = build(b"2001:db8::/64=2\n2001:db8::/128=7\n2001:db8::8:0/112=9\n");
        let match_of = |wanted: Prefix| {
            let rules = set.rules();
            let parent = |rule: usize| rules[rule].parent.map(usize::from);
            let found = longest_match(rules.len(), |rule| rules[rule].prefix, parent, wanted);
            found.map(|rule| rules[rule].terms.limit)
        };
        let of_source = |address| match_of(source(address, lengths).prefix(lengths));
        let of_host = |address| match_of(source(address, PrefixLengths::HOST).into());
        for address in ["2001:db8::", "2001:db8::1", "2001:db8::8:1"] {
            assert_eq!(of_source(address), Some(2), "{address}");
        }
        assert_eq!(of_host("2001:db8::"), Some(7));
        assert_eq!(of_host("2001:db8::1"), Some(2));
        assert_eq!(of_host("2001:db8::8:1"), Some(9));
        assert_eq!(of_host("2001:db8:0:1::"), None);
        assert_eq!(set.host_rules(), HostRules::WithoutRates);
        for (text, expected) in [
            (
                &b"2001:db8::/64=2 rate=1/s\n192.0.2.1=3"[..],
                HostRules::None,
            ),
            (
                b"2001:db8::1=2\n192.0.2.1=3 exempt",
                HostRules::WithoutRates,
            ),
            (b"2001:db8::1=2 rate=1/s", HostRules::WithRates),
            (
                b"2001:db8::1=2\n2001:db8::/64=2 rate=none",
                HostRules::WithRates,
            ),
            (b"2001:db8::1=2\n192.0.2.1=3 burst=9", HostRules::WithRates),
        ] {
            assert_eq!(build(text).host_rules(), expected);
        }
    }

    #[test]
    fn rules_are_sorted_and_have_parents() {
        let set = set(&[
            "::/0=1",
            "10.2.0.0/16=1",
            "10.1.2.0/24=1",
            "10.0.0.0/8=1",
            "10.1.0.0/16=1",
        ]);
        let listed: Vec<_> = set
            .rules()
            .iter()
            .map(|rule| (rule.prefix.to_string(), rule.parent))
            .collect();
        let expected = [
            ("10.0.0.0/8", None),
            ("10.1.0.0/16", Some(0)),
            ("10.1.2.0/24", Some(1)),
            ("10.2.0.0/16", Some(0)),
            ("::/0", None),
        ];
        assert_eq!(listed, expected.map(|(prefix, p)| (prefix.to_owned(), p)));
    }

    #[test]
    fn error_without_memory_has_a_remedy() {
        assert_eq!(
            RuleError::NoMemory.to_string(),
            "not enough memory for the rules; use fewer rules",
        );
    }

    #[test]
    fn file_may_have_comments_blanks_and_empty_lines() {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        let content = b"# head\n\n \t\n10.0.0.0/8=1# no blank\r\n\t192.0.2.1 \t=\t2 # caf\xe9\n\
                        2001:db8::/32 = unlimited";
        builder.add_file("r", content).unwrap();
        let limits: Vec<_> = builder
            .build()
            .unwrap()
            .rules
            .iter()
            .map(|r| r.terms.limit)
            .collect();
        assert_eq!(limits, [1, 2, UNLIMITED]);
    }

    #[test]
    fn error_in_a_file_names_its_line() {
        assert_eq!(
            file_error(b"# rules\n10.0.0.0/8=1\n  10.0.0.0 # no limit\n"),
            "/etc/rules:3: `10.0.0.0`: `=` is missing; \
             write PREFIX=LIMIT, as in 192.0.2.0/24=100",
        );
        assert_eq!(
            file_error(b"\n10.0.0.0/8=\xff\n"),
            "/etc/rules:2: `10.0.0.0/8=\u{fffd}`: not valid UTF-8; save the file as UTF-8",
        );
    }

    #[test]
    fn second_rule_for_a_prefix_is_rejected() {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        builder
            .add_file("r", b"192.0.2.0/24=1\n192.0.2.1=5\n\n192.0.2.1/32 = 7\n")
            .unwrap();
        assert_eq!(
            builder.build().unwrap_err().to_string(),
            "r:4: `192.0.2.1/32 = 7`: r:2 already has a rule for this prefix; \
             remove one of the two",
        );
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        builder.add(Origin::Modparam(1), "192.0.2.1=5").unwrap();
        builder.add(Origin::Modparam(2), "192.0.2.1=6").unwrap();
        assert_eq!(
            builder.build().unwrap_err().to_string(),
            "modparam rule 2: `192.0.2.1=6`: modparam rule 1 already has a rule for this \
             prefix; remove one of the two",
        );
    }

    /// The order in which they are added does not matter.
    #[test]
    fn rule_in_the_file_replaces_a_modparam() {
        let file: &[u8] = b"10.1.0.0/16=2\n\n10.0.0.0/8=3";
        let modparams = ["10.0.0.0/8=4", "10.1.2.0/24=5", "10.1.0.0/16=6"];
        for file_first in [true, false] {
            let mut builder = RuleSet::builder(lengths());
            if file_first {
                builder.add_file("r", file).unwrap();
            }
            for (number, text) in (1..).zip(modparams) {
                builder.add(Origin::Modparam(number), text).unwrap();
            }
            if !file_first {
                builder.add_file("r", file).unwrap();
            }
            let set = builder.build().unwrap();
            let rule = |address: &str| {
                let rule = set.rules()[find(&set, source(address, lengths())).unwrap()];
                (rule.terms.limit, rule.origin)
            };
            assert_eq!(set.rules().len(), 5);
            assert_eq!(rule("10.9.9.9"), (3, RuleOrigin::Line(3)));
            assert_eq!(rule("10.1.0.0"), (2, RuleOrigin::Line(1)));
            assert_eq!(rule("10.1.255.255"), (2, RuleOrigin::Line(1)));
            assert_eq!(rule("10.1.2.3"), (5, RuleOrigin::Modparam(2)));
        }
    }

    #[test]
    fn applying_rules_are_lines_of_a_rules_file() {
        let mut builder = RuleSet::builder(lengths());
        let file = b"10.1.0.0/16=2 exempt burst=7\n\n10.0.0.0/8=none rate=1/s";
        builder.add_file("r", file).unwrap();
        builder.add(Origin::Modparam(1), "10.0.0.0/8=4").unwrap();
        builder
            .add(Origin::Modparam(2), "10.1.2.0/24=4 rate=none")
            .unwrap();
        let set = builder.build().unwrap();
        let lines: Vec<_> = set
            .applying()
            .map(|rule| RuleLine(rule).to_string())
            .collect();
        assert_eq!(
            lines,
            [
                "10.0.0.0/8 = none rate=1/s # file:3",
                "10.1.0.0/16 = 2 burst=7 exempt # file:1",
                "10.1.2.0/24 = 4 rate=none # modparam 2",
            ]
        );
        let content = lines.join("\n");
        let mut again = RuleSet::builder(lengths());
        again.add_file("r", content.as_bytes()).unwrap();
        let again = again.build().unwrap();
        let terms = |rule: &Rule| (rule.prefix, rule.terms);
        assert!(again.applying().map(terms).eq(set.applying().map(terms)));
    }

    #[test]
    fn one_rule_more_than_the_maximum_is_rejected() {
        let mut content = String::new();
        for n in 0..MAX_RULES as u32 {
            content += &format!("{}=1\n", Ipv4Addr::from_bits(n << 8));
        }
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        builder.add_file("r", content.as_bytes()).unwrap();
        let more = Origin::Line("r", 65_536);
        assert_eq!(
            builder.add(more, "192.0.2.1=1").unwrap_err().to_string(),
            "r:65536: `192.0.2.1=1`: there are more than 65535 rules; \
             merge prefixes into shorter ones",
        );
        let set = builder.build().unwrap();
        assert_eq!(set.rules().len(), MAX_RULES);
        let last = source("0.255.254.0", PrefixLengths::DEFAULT);
        assert_eq!(find(&set, last), Some(MAX_RULES - 1));
    }

    #[test]
    fn rules_of_all_lengths_may_be_nested() {
        let address = Ipv6Addr::from_bits(u128::MAX);
        let nets = (0..=128).map(|length| IpNet::new(address.into(), length).unwrap());
        let texts: Vec<_> = nets.map(|net| format!("{}=1", net.trunc())).collect();
        let set = set(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(set.rules().len(), NESTED);
        assert_eq!(found(&set, "ffff::").unwrap().0, "ffff::/16");
        // The look-up goes from the deepest rule to the first, which takes the most steps.
        let rules = set.rules();
        let parent = |rule: usize| rules[rule].parent.map(usize::from);
        let prefix = |rule: usize| match rule {
            0 => rules[0].prefix,
            _ => Prefix {
                length: 128,
                lower: rule as u64,
                ..rules[0].prefix
            },
        };
        let wanted = source("ffff::", lengths());
        assert_eq!(
            longest_match(NESTED, prefix, parent, wanted.into()),
            Some(0)
        );
    }

    /// Networks that contain one another: few bits differ, and any length occurs.
    fn nets() -> impl Strategy<Value = Vec<IpNet>> {
        let v4 = (0..4u32, 0..4u32, 0..=32u8).prop_map(|(high, low, length)| {
            let address = Ipv4Addr::from_bits(high << 30 | 0x0012_3400 | low);
            IpNet::new(address.into(), length).unwrap().trunc()
        });
        let v6 = (0..4u128, 0..4u128, 0..4u128, 0..=128u8).prop_map(|(high, middle, low, n)| {
            let address = Ipv6Addr::from_bits(high << 126 | 0x55 << 100 | middle << 63 | low);
            IpNet::new(address.into(), n).unwrap().trunc()
        });
        proptest::collection::vec(prop_oneof![v4, v6], 0..80)
    }

    /// Addresses at and next to the edges of `nets`, and random ones.
    fn addresses(nets: &[IpNet], random: &[u128]) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for net in nets {
            for edge in [net.network(), net.broadcast()] {
                addresses.extend(match edge {
                    IpAddr::V4(a) => [-1, 0, 1].map(|step| {
                        IpAddr::from(Ipv4Addr::from_bits(a.to_bits().wrapping_add_signed(step)))
                    }),
                    IpAddr::V6(a) => [-1, 0, 1].map(|step| {
                        IpAddr::from(Ipv6Addr::from_bits(a.to_bits().wrapping_add_signed(step)))
                    }),
                });
            }
        }
        for bits in random {
            addresses.push(Ipv4Addr::from_bits(*bits as u32).into());
            addresses.push(Ipv6Addr::from_bits(*bits).into());
        }
        // An IPv4-mapped address is an IPv4 source.
        addresses.retain(|address| address.to_canonical() == *address);
        addresses
    }

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        (any::<bool>(), any::<u64>(), any::<u64>(), any::<u8>()).prop_map(
            |(v6, upper, lower, length)| Prefix {
                of_networks: lower & 1 != 0,
                family: if v6 { Family::V6 } else { Family::V4 },
                upper,
                lower,
                length,
            },
        )
    }

    proptest! {
        #[test]
        fn longest_match_agrees_with_a_scan_of_all_rules(
            mut nets in nets(),
            random in proptest::collection::vec(any::<u128>(), 20),
            (v4, v6) in (1..=32u32, 1..=128u32),
        ) {
            nets.retain(|net| match net {
                IpNet::V4(net) => u32::from(net.prefix_len()) <= v4,
                IpNet::V6(net) => {
                    net.addr().to_ipv4_mapped().is_none()
                        && u32::from(net.prefix_len()) <= v6
                }
            });
            nets.sort();
            nets.dedup();
            let lengths = PrefixLengths::new(v4, v6).unwrap();
            // The order in the file does not matter.
            let content: String = nets.iter().rev().map(|net| format!("{net}=1\n")).collect();
            let mut builder = RuleSet::builder(lengths);
            builder.add_file("r", content.as_bytes()).unwrap();
            let set = builder.build().unwrap();
            prop_assert!(set.rules().is_sorted_by(|a, b| a.prefix < b.prefix));
            for address in addresses(&nets, &random) {
                let longest = nets
                    .iter()
                    .filter(|net| net.contains(&address))
                    .max_by_key(|net| net.prefix_len());
                let found = find(&set, source(&address.to_string(), lengths));
                prop_assert_eq!(
                    found.map(|rule| set.rules()[rule].prefix),
                    longest.map(|net| Prefix::new(*net)),
                    "{} of {}", address, content,
                );
            }
        }

        #[test]
        fn any_bytes_give_rules_or_the_line(content in any::<Vec<u8>>()) {
            check_bytes(&content)?;
        }

        #[test]
        fn almost_valid_rules_give_rules_or_the_line(
            content in "([0-9a-f:./=# \t\r\n-]|unlimited|=5\n|10\\.|::|/8){0,60}"
        ) {
            check_bytes(content.as_bytes())?;
        }

        #[test]
        fn longest_match_survives_damaged_memory(
            prefixes in proptest::collection::vec(any_prefix(), 0..200),
            parents in proptest::collection::vec(any::<Option<usize>>(), 200),
            near in any::<bool>(),
            wanted in any::<u128>(),
        ) {
            let steps = core::cell::Cell::new(0);
            let parent = |rule: usize| {
                steps.set(steps.get() + 1);
                match near {
                    true => rule.checked_sub(1),
                    false => parents[rule],
                }
            };
            let source = Source::new(&wanted.to_be_bytes(), lengths()).unwrap();
            let found = longest_match(prefixes.len(), |rule| prefixes[rule], parent, source.into());
            prop_assert!(found.is_none_or(|rule| prefixes[rule].contains(source.into())));
            prop_assert!(steps.get() <= NESTED);
            for prefix in prefixes {
                // This must not panic either.
                prop_assert!(!prefix.to_string().is_empty());
            }
        }
    }

    fn check_bytes(content: &[u8]) -> Result<(), TestCaseError> {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        let result = builder.add_file("r", content);
        if let Err(error) = result.and_then(|()| builder.build().map(drop)) {
            let sentence = error.to_string();
            let line = sentence
                .strip_prefix("r:")
                .and_then(|s| s.split(':').next());
            let line = line.and_then(|line| line.parse::<usize>().ok());
            let lines = content.split(|byte| *byte == b'\n').count();
            prop_assert!(
                line.is_some_and(|n| (1..=lines).contains(&n)),
                "{}",
                sentence
            );
            prop_assert!(!sentence.contains(char::is_control), "{:?}", sentence);
        }
        Ok(())
    }
}
