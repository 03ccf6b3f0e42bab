// SPDX-License-Identifier: GPL-2.0-or-later
//! The text of a rule: its grammar, and why a text is not a rule.
//!
//! ```text
//!   PREFIX = LIMIT [rate=RATE] [burst=BURST] [exempt] [listener=LISTENER] [untrusted=LIMIT]
//!                  [trusted] [no_network] [cluster=LIMIT] [proxy]
//!   network PREFIX = LIMIT [rate=RATE] [burst=BURST]
//!
//!   PREFIX   an address, or a network as ADDRESS/LENGTH
//!   LIMIT    a number from 1 to 2147483647, or unlimited, or none, which is the same
//! ```
//!
//! Blanks may be at both ends, around the first `=` and around the address. For the words
//! after the limit see [`rule_words`](super::rule_words).

#![forbid(unsafe_code)]

use core::fmt;

use super::listener::NoListener;
use super::origin::RuleOrigin;
use super::rule_words::{self, WordError};
use super::rules_file;
use super::terms::Terms;
use crate::shared::layout::MAX_RULES;
use crate::shared::visible::{Excerpt, Visible};
use crate::source::{Family, Nat64, Prefix, PrefixError, PrefixLengths};

/// A [`Terms::limit`] that admits any number of connections.
pub const UNLIMITED: i32 = 0;

/// The parts of a rule's text.
pub(super) struct RuleText {
    pub(super) prefix: Prefix,
    pub(super) terms: Terms,
}

impl RuleText {
    /// Parses a text without blanks at its ends.
    pub(super) fn parse(text: &str) -> Result<RuleText, Reason> {
        let (prefix, terms) = text.split_once('=').ok_or(Reason::NoEquals)?;
        let prefix = parse_prefix(prefix.trim_ascii())?;
        let terms = match prefix.of_networks {
            true => rule_words::parse_of_networks(terms),
            false => rule_words::parse(terms),
        };
        let terms = terms.map_err(Reason::Word)?;
        Ok(RuleText { prefix, terms })
    }
}

fn parse_prefix(text: &str) -> Result<Prefix, Reason> {
    // Prefixes of translators are checked with the others, which are known there.
    Prefix::parse_of_rule(text, &Nat64::default()).map_err(|error| {
        // In `10.0.0.0/8 5 rate=10/s` the first `=` is that of a word.
        match text.split_once(|c: char| c.is_ascii_whitespace()) {
            Some((first, rest))
                if Prefix::parse_any(first).is_ok() && !rest.trim_ascii().starts_with('/') =>
            {
                Reason::NoEquals
            }
            _ => Reason::Prefix(error),
        }
    })
}

/// Checks a rule by itself, not among others.
///
/// # Errors
///
/// The text of the rule, the reason and the remedy.
pub fn check_rule(text: &str) -> Result<(), String> {
    let text = text.trim_ascii();
    match RuleText::parse(text) {
        Ok(_) => Ok(()),
        Err(reason) => Err(format!("`{}`: {reason}", Excerpt::of(text.as_bytes()))),
    }
}

/// Where a rule was written. `File` is the name of a file, borrowed or owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin<File> {
    /// In the modparam `rule` with this number, from 1.
    Modparam(u32),
    /// In this file, in the line with this number, from 1.
    Line(File, usize),
}

impl<File> Origin<File> {
    /// Whether both are modparams, or both are lines.
    pub(super) fn is_same_kind(&self, other: &Self) -> bool {
        core::mem::discriminant(self) == core::mem::discriminant(other)
    }

    /// The same for an active rule, without the name of the file.
    pub(super) fn of_rule(&self) -> RuleOrigin {
        match *self {
            Origin::Modparam(number) => RuleOrigin::Modparam(number),
            // The size of a file limits its lines.
            Origin::Line(_, line) => RuleOrigin::Line(u32::try_from(line).unwrap_or(u32::MAX)),
        }
    }
}

impl Origin<&str> {
    pub(super) fn into_owned(self) -> Origin<String> {
        match self {
            Origin::Modparam(number) => Origin::Modparam(number),
            Origin::Line(file, line) => Origin::Line(file.to_owned(), line),
        }
    }
}

impl<File: AsRef<str>> fmt::Display for Origin<File> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Modparam(number) => write!(f, "modparam rule {number}"),
            Origin::Line(file, line) => write!(f, "{}:{line}", Visible(file.as_ref())),
        }
    }
}

/// An invalid rule. Its `Display` says its origin, its text, the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRule {
    origin: Origin<String>,
    text: Excerpt,
    reason: Reason,
}

impl InvalidRule {
    pub(super) fn new(origin: Origin<&str>, text: &[u8], reason: Reason) -> InvalidRule {
        InvalidRule {
            origin: origin.into_owned(),
            text: Excerpt::of(text),
            reason,
        }
    }
}

impl fmt::Display for InvalidRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidRule {
            origin,
            text,
            reason,
        } = self;
        write!(f, "{origin}: `{text}`: {reason}")
    }
}

impl std::error::Error for InvalidRule {}

/// Why a rule is invalid, by itself or among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    NotUtf8,
    NoEquals,
    Prefix(PrefixError),
    /// The limit or a word after it.
    Word(WordError),
    TooManyRules,
    /// IPv6 sources leave no bits for a listener.
    ListenerWithLongSources,
    /// The rule is for networks, and these are not counted, or are larger than its prefix.
    NoNetwork(NoNetwork),
    /// A file that begins with `# begin` does not end with `# end`.
    EndMissing,
    /// A rule comes after the `# end` in this line.
    AfterEnd(usize),
    /// The `# end` has another number of rules than the file.
    EndCount(usize),
    /// The rule at this origin has the same prefix.
    Duplicate(Origin<String>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotUtf8 => f.write_str("not valid UTF-8; save the file as UTF-8"),
            Reason::NoEquals => {
                f.write_str("`=` is missing; write PREFIX=LIMIT, as in 192.0.2.0/24=100")
            }
            Reason::Prefix(error) => error.fmt(f),
            Reason::Word(error) => error.fmt(f),
            Reason::NoNetwork(error) => error.fmt(f),
            Reason::TooManyRules => write!(
                f,
                "there are more than {MAX_RULES} rules; merge prefixes into shorter ones",
            ),
            Reason::ListenerWithLongSources => NoListener::LongSources.fmt(f),
            Reason::EndMissing => f.write_str(
                "the first line is `# begin`, but the last one is not `# end`, so the file may \
                 be cut off; write the whole file again",
            ),
            Reason::AfterEnd(line) => write!(
                f,
                "the rule is after `# end` in line {line}; move that line to the end of the \
                 file",
            ),
            Reason::EndCount(found) => {
                let plural = if *found == 1 { "" } else { "s" };
                write!(
                    f,
                    "the file has {found} rule{plural}; correct the number, or write the \
                     whole file again",
                )
            }
            Reason::Duplicate(first) => write!(
                f,
                "{first} already has a rule for this prefix; remove one of the two",
            ),
        }
    }
}

/// Whether one of these texts, or of the lines of a rules file, is a rule for networks. Those
/// that are invalid are skipped.
pub fn rules_have_networks(texts: &[impl AsRef<str>], file: &[u8]) -> bool {
    any_rule(texts, file, |rule| rule.prefix.of_networks)
}

/// The same for rules for proxies.
pub fn rules_have_proxies(texts: &[impl AsRef<str>], file: &[u8]) -> bool {
    any_rule(texts, file, |rule| rule.terms.proxy)
}

fn any_rule(texts: &[impl AsRef<str>], file: &[u8], wanted: impl Fn(&RuleText) -> bool) -> bool {
    let is_one = |text: &str| {
        let rule = RuleText::parse(text.trim_ascii());
        rule.is_ok_and(|rule| wanted(&rule))
    };
    let mut lines = rules_file::texts(file).filter_map(|(_, text)| str::from_utf8(text).ok());
    texts.iter().any(|text| is_one(text.as_ref())) || lines.any(is_one)
}

/// A rule for networks would apply to no network. Its `Display` says why, and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoNetwork {
    /// Networks are not counted.
    Off,
    /// Networks of this family have this prefix length.
    Length(Family, u8),
}

impl NoNetwork {
    /// Checks the prefix of a rule.
    ///
    /// # Errors
    ///
    /// If the rule is for networks, but would apply to no network.
    pub(crate) fn check(prefix: Prefix, lengths: PrefixLengths) -> Result<(), NoNetwork> {
        if !prefix.is_within_a_network(lengths) {
            return Ok(());
        }
        Err(match lengths.networks().map(|n| n.length(prefix.family)) {
            Some(length) => NoNetwork::Length(prefix.family, length),
            None => NoNetwork::Off,
        })
    }
}

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoNetwork::Off => f.write_str(
                "networks have not been counted since the start; set the modparam \
                 network_limit (0: no limit) and restart the server",
            ),
            NoNetwork::Length(family, length) => {
                let number = match family {
                    Family::V4 => 4,
                    Family::V6 => 6,
                };
                write!(
                    f,
                    "a network is a /{length}; write a prefix of at most {length} bits, or \
                     raise the modparam ipv{number}_network"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RuleText, Reason> {
        RuleText::parse(text)
    }

    /// The reason why a text is not a rule.
    fn reason(text: &str) -> String {
        match parse(text) {
            Ok(_) => panic!("`{text}` is a rule"),
            Err(reason) => reason.to_string(),
        }
    }

    #[test]
    fn blanks_are_ignored() {
        for text in ["10.0.0.0/8=5", "10.0.0.0 /8 = 5", "10.0.0.0/8\t=\t5"] {
            let rule = parse(text).ok().unwrap();
            assert_eq!(rule.prefix.to_string(), "10.0.0.0/8");
            assert_eq!(rule.terms, Terms::of_limit(5));
        }
    }

    #[test]
    fn invalid_prefix_is_rejected_with_its_reason() {
        for text in ["=5", "localhost=5", "10.0.0/8=5"] {
            assert_eq!(reason(text), PrefixError::Address.to_string());
        }
        assert_eq!(
            reason("10.1.0.0/8=5"),
            "the address has bits set beyond the prefix length; write 10.0.0.0/8",
        );
    }

    #[test]
    fn text_without_equals_is_rejected() {
        for text in ["", "10.0.0.0/8", "# a comment"] {
            assert_eq!(
                reason(text),
                "`=` is missing; write PREFIX=LIMIT, as in 192.0.2.0/24=100",
            );
        }
    }

    #[test]
    fn words_come_after_the_limit() {
        let rule = parse("10.0.0.0/8 = 5 rate=10/s burst=20 exempt")
            .ok()
            .unwrap();
        let terms = rule_words::parse("5 rate=10/s burst=20 exempt").unwrap();
        assert_eq!(rule.terms, terms);
        assert_eq!(
            reason("10.0.0.0/8 = 5 rat=10/s"),
            "unknown word `rat`; did you mean `rate`?"
        );
        // The first `=` is that of the rule.
        let prefix = "the prefix length after `/` must be a number from 0 to 32";
        assert_eq!(reason("10.0.0.0 /99 = 5"), prefix);
        for text in ["10.0.0.0/8 5 rate=10/s", "10.0.0.0/8 rate=10/s"] {
            assert_eq!(
                reason(text),
                "`=` is missing; write PREFIX=LIMIT, as in 192.0.2.0/24=100"
            );
        }
    }

    #[test]
    fn invalid_rule_shows_origin_text_and_reason() {
        let error = |origin, text: &str| {
            let reason = parse(text).err().unwrap();
            InvalidRule::new(origin, text.as_bytes(), reason).to_string()
        };
        assert_eq!(
            error(Origin::Modparam(3), "10.0.0.0"),
            "modparam rule 3: `10.0.0.0`: `=` is missing; \
             write PREFIX=LIMIT, as in 192.0.2.0/24=100",
        );
        assert_eq!(
            error(Origin::Line("a\nb", 1), "2001:db8::1/64=5"),
            "a\\nb:1: `2001:db8::1/64=5`: the address has bits set beyond the prefix length; \
             write 2001:db8::/64",
        );
    }
}
