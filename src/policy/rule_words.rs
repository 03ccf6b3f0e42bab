// SPDX-License-Identifier: GPL-2.0-or-later
//! The terms of a rule as text, after its `=`: the limit, and words in any order. Commands
//! that set a rule take the same text.
//!
//! ```text
//!   LIMIT [rate=RATE] [burst=BURST] [exempt] [listener=LISTENER] [untrusted=LIMIT] [trusted]
//!         [no_network] [cluster=LIMIT] [proxy]
//! ```
//!
//! Each word is a row of `WORDS`, which says how it is read and shown. Everything else
//! here is the same for all words, so another word is another row, and a part of `Written`.

#![forbid(unsafe_code)]

use core::fmt;

use super::limit_text::{self, LimitName};
use super::listener::{ListenerError, ListenerName};
use super::rate_text::{self, BurstError, RateError, RateName};
use super::terms::{Rate, RuleRate, Terms};
use crate::shared::visible::Excerpt;

/// A word of a rule.
struct Word {
    name: &'static str,
    /// A value as an example; `None`: the word has no value.
    example: Option<&'static str>,
    /// What the word does, in a line for those who write rules.
    help: &'static str,
    /// Takes the value, which is empty if the word has none.
    read: fn(&str, &mut Written) -> Result<(), WordError>,
    /// Writes a blank and the word if the terms need it.
    show: fn(&Terms, &mut fmt::Formatter<'_>) -> fmt::Result,
}

/// All words, in the order in which they are shown.
const WORDS: &[Word] = &[
    Word {
        name: "rate",
        example: Some("10/s"),
        help: "connections a source may open in a time: 1/h to 10000/s, or none",
        read: |value, written| {
            written.rate = Some(rate_text::parse(value).map_err(WordError::Rate)?);
            Ok(())
        },
        show: |terms, f| match terms.rate {
            RuleRate::Own(rate) => write!(f, " rate={}", RateName(rate.interval_us)),
            RuleRate::Default | RuleRate::DefaultWithBurst(_) => Ok(()),
        },
    },
    Word {
        name: "burst",
        example: Some("20"),
        help: "connections it may open at once: 1 to 1000000",
        read: |value, written| {
            written.burst = Some(rate_text::parse_burst(value).map_err(WordError::Burst)?);
            Ok(())
        },
        show: |terms, f| match terms.rate {
            RuleRate::DefaultWithBurst(burst) => write!(f, " burst={burst}"),
            RuleRate::Own(rate) if rate != Rate::with_default_burst(rate.interval_us) => {
                write!(f, " burst={}", rate.burst)
            }
            RuleRate::Own(_) | RuleRate::Default => Ok(()),
        },
    },
    Word {
        name: "exempt",
        example: None,
        help: "no penalties and no bans; an unlimited rule has this by itself",
        read: |_, written| {
            written.exempt = true;
            Ok(())
        },
        show: |terms, f| match terms.exempt && terms.limit > 0 {
            true => f.write_str(" exempt"),
            false => Ok(()),
        },
    },
    Word {
        name: "listener",
        example: Some("192.0.2.1:5060"),
        help: "only for connections there, which are counted apart",
        read: |value, written| {
            let listener = ListenerName::parse(value).map_err(WordError::Listener)?;
            written.listener = Some(listener);
            Ok(())
        },
        show: |terms, f| match terms.listener {
            Some(listener) => write!(f, " listener={listener}"),
            None => Ok(()),
        },
    },
    Word {
        name: "untrusted",
        example: Some("20"),
        help: "untrusted connections of each source, at least 1, or none",
        read: |value, written| {
            written.untrusted = Some(parse_untrusted(value)?);
            Ok(())
        },
        show: |terms, f| match terms.untrusted {
            Some(limit) => write!(f, " untrusted={}", LimitName(limit.cast_signed())),
            None => Ok(()),
        },
    },
    Word {
        name: "trusted",
        example: None,
        help: "its connections are trusted from the start",
        read: |_, written| {
            written.trusted = true;
            Ok(())
        },
        show: |terms, f| match terms.trusted {
            true => f.write_str(" trusted"),
            false => Ok(()),
        },
    },
    Word {
        name: "no_network",
        example: None,
        help: "its connections do not count in their network",
        read: |_, written| {
            written.no_network = true;
            Ok(())
        },
        show: |terms, f| match terms.no_network {
            true => f.write_str(" no_network"),
            false => Ok(()),
        },
    },
    Word {
        name: "cluster",
        example: Some("100"),
        help: "connections of each source on all nodes, at least 1, or none",
        read: |value, written| {
            written.cluster = Some(
                parse_number(value)
                    .ok_or_else(|| WordError::Cluster(Excerpt::of(value.as_bytes())))?,
            );
            Ok(())
        },
        show: |terms, f| match terms.cluster {
            Some(limit) => write!(f, " cluster={}", LimitName(limit.cast_signed())),
            None => Ok(()),
        },
    },
    Word {
        name: "proxy",
        example: None,
        help: "the script may count its connections for their clients",
        read: |_, written| {
            written.proxy = true;
            Ok(())
        },
        show: |terms, f| match terms.proxy {
            true => f.write_str(" proxy"),
            false => Ok(()),
        },
    },
];

/// What the words of a rule say.
#[derive(Default)]
struct Written {
    /// The interval of the rate; 0: no rate.
    rate: Option<u32>,
    burst: Option<u32>,
    exempt: bool,
    listener: Option<ListenerName>,
    /// 0: no limit.
    untrusted: Option<u32>,
    trusted: bool,
    no_network: bool,
    proxy: bool,
    /// 0: no limit.
    cluster: Option<u32>,
}

impl Written {
    fn terms(self, limit: i32) -> Result<Terms, WordError> {
        let rate = match (self.rate, self.burst) {
            (None, None) => RuleRate::Default,
            (None, Some(burst)) => RuleRate::DefaultWithBurst(burst),
            (Some(0), Some(_)) => return Err(WordError::BurstWithoutRate),
            (Some(interval), burst) => {
                let rate = rate_text::rate(interval, burst);
                RuleRate::Own(rate.map_err(WordError::Burst)?)
            }
        };
        if self.trusted && self.untrusted.is_some() {
            return Err(WordError::UntrustedOfTrusted);
        }
        if self.trusted && self.cluster.is_some() {
            return Err(WordError::ClusterOfTrusted);
        }
        if self.listener.is_some() && self.cluster.is_some() {
            return Err(WordError::ClusterOfListener);
        }
        let plain = Terms::of_limit(limit);
        Ok(Terms {
            rate,
            exempt: plain.exempt || self.exempt,
            listener: self.listener,
            untrusted: self.untrusted,
            trusted: self.trusted,
            no_network: self.no_network,
            proxy: self.proxy,
            cluster: self.cluster,
            ..plain
        })
    }
}

/// Reads the terms of a rule: the limit and the words after it. Blanks may be at both ends.
///
/// # Errors
///
/// The first part that is invalid.
pub(super) fn parse(text: &str) -> Result<Terms, WordError> {
    let mut parts = text.split_ascii_whitespace();
    let first = parts.next().unwrap_or_default();
    let limit = parse_limit(first)?;
    let mut written = Written::default();
    let mut seen = [false; WORDS.len()];
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (part, None),
        };
        let index = WORDS.iter().position(|word| word.name == name);
        let index = index.ok_or_else(|| WordError::unknown(name))?;
        let word = &WORDS[index];
        if core::mem::replace(&mut seen[index], true) {
            return Err(WordError::Repeated(word.name));
        }
        let value = match (word.example, value) {
            (Some(example), None | Some("")) => {
                let name = word.name;
                return Err(WordError::NoValue { name, example });
            }
            (None, Some(_)) => return Err(WordError::Surplus(word.name)),
            (_, value) => value.unwrap_or_default(),
        };
        (word.read)(value, &mut written)?;
    }
    written.terms(limit)
}

/// Reads the terms of a rule for networks, which have no other words than `rate` and
/// `burst`.
///
/// # Errors
///
/// The first part that is invalid.
pub(super) fn parse_of_networks(text: &str) -> Result<Terms, WordError> {
    let terms = parse(text)?;
    let is_surplus = |word: &Word| {
        let words = text.split_ascii_whitespace().skip(1);
        !matches!(word.name, "rate" | "burst")
            && words
                .map(|part| part.split('=').next())
                .any(|name| name == Some(word.name))
    };
    match WORDS.iter().find(|word| is_surplus(word)) {
        Some(word) => Err(WordError::NotOfNetworks(word.name)),
        None => Ok(terms),
    }
}

/// Reads the limit of a rule.
fn parse_limit(text: &str) -> Result<i32, WordError> {
    if limit_text::is_none(text) {
        return Ok(super::rules::UNLIMITED);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    // Only digits: `parse` also accepts a plus sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let name = text.split('=').next().unwrap_or_default();
        return Err(match WORDS.iter().find(|word| word.name == name) {
            Some(word) => WordError::LimitMissing(word.name),
            None => WordError::NoLimit,
        });
    }
    match digits.parse() {
        _ if negative => Err(WordError::LimitBelowOne),
        Ok(0) => Err(WordError::LimitBelowOne),
        Ok(limit) => Ok(limit),
        Err(_) => Err(WordError::LimitTooHigh),
    }
}

/// Reads a limit of untrusted connections; 0: no limit.
fn parse_untrusted(text: &str) -> Result<u32, WordError> {
    parse_number(text).ok_or_else(|| WordError::Untrusted(Excerpt::of(text.as_bytes())))
}

/// Reads a limit from 1 to `i32::MAX`; 0: no limit. `None` if it is invalid.
fn parse_number(text: &str) -> Option<u32> {
    if limit_text::is_none(text) {
        return Some(0);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok().filter(|limit| digits && *limit > 0);
    limit.filter(|limit: &u32| *limit <= i32::MAX.cast_unsigned())
}

/// The terms of a rule in the grammar of rules, without what other rules add: a limit and
/// words that `parse` reads.
#[derive(Clone, Copy, Debug)]
pub struct TermsText(pub Terms);

impl fmt::Display for TermsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LimitName(self.0.limit).fmt(f)?;
        WORDS.iter().try_for_each(|word| (word.show)(&self.0, f))
    }
}

/// The grammar of a rule, and a line about each word, for those who write rules.
#[derive(Clone, Copy, Debug)]
pub struct Grammar;

impl fmt::Display for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PREFIX = LIMIT")?;
        let forms = || WORDS.iter().map(Word::form);
        forms().try_for_each(|form| write!(f, " [{form}]"))?;
        let mut line = |form: &str, help: &str| write!(f, "\n  {form:<25}{help}");
        line("PREFIX", "an address, or a network as ADDRESS/LENGTH")?;
        line(
            "",
            "`network PREFIX` is about the networks in PREFIX, each as a whole",
        )?;
        line(
            "LIMIT",
            "connections of each source, at least 1, or unlimited",
        )?;
        for (form, word) in forms().zip(WORDS) {
            line(&form, word.help)?;
        }
        Ok(())
    }
}

impl Word {
    /// `rate=10/s` or `exempt`.
    fn form(&self) -> String {
        match self.example {
            Some(example) => format!("{}={example}", self.name),
            None => self.name.to_owned(),
        }
    }
}

/// Why a text does not grant anything. Its `Display` says the part of the text, the reason
/// and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WordError {
    NoLimit,
    LimitBelowOne,
    LimitTooHigh,
    /// This word comes first.
    LimitMissing(&'static str),
    Unknown {
        name: Excerpt,
        /// The word that was probably meant.
        nearest: Option<&'static str>,
    },
    Repeated(&'static str),
    NoValue {
        name: &'static str,
        example: &'static str,
    },
    Surplus(&'static str),
    Rate(RateError),
    Burst(BurstError),
    BurstWithoutRate,
    Listener(ListenerError),
    Untrusted(Excerpt),
    UntrustedOfTrusted,
    /// A rule for networks has this word.
    NotOfNetworks(&'static str),
    Cluster(Excerpt),
    ClusterOfTrusted,
    ClusterOfListener,
}

impl WordError {
    fn unknown(name: &str) -> WordError {
        WordError::Unknown {
            name: Excerpt::of(name.as_bytes()),
            nearest: nearest(name),
        }
    }
}

impl fmt::Display for WordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WordError::NoLimit => write!(
                f,
                "a limit must be a number from 1 to {} or `unlimited`",
                i32::MAX,
            ),
            WordError::LimitBelowOne => f.write_str(
                "a limit must be at least 1; write `unlimited` for no limit, \
                 or block the prefix with a firewall",
            ),
            WordError::LimitTooHigh => write!(
                f,
                "a limit must be at most {}; write `unlimited` for no limit",
                i32::MAX,
            ),
            WordError::LimitMissing(name) => write!(
                f,
                "the limit is missing; write a number or `unlimited` before `{name}`",
            ),
            WordError::Unknown { name, nearest } => {
                write!(f, "unknown word `{name}`")?;
                if let Some(nearest) = nearest {
                    return write!(f, "; did you mean `{nearest}`?");
                }
                f.write_str("; expected")?;
                let forms = WORDS.iter().map(Word::form);
                (0..).zip(forms).try_for_each(|(index, form)| {
                    let before = match index {
                        0 => "",
                        _ if index + 1 == WORDS.len() => " or",
                        _ => ",",
                    };
                    write!(f, "{before} {form}")
                })
            }
            WordError::Repeated(name) => {
                write!(f, "`{name}` is written twice; remove one of the two")
            }
            WordError::NoValue { name, example } => write!(
                f,
                "`{name}` has no value; write {name}={example}, without blanks"
            ),
            WordError::Surplus(name) => {
                write!(f, "`{name}` takes no value; write only `{name}`")
            }
            WordError::Rate(error) => error.fmt(f),
            WordError::Burst(error) => error.fmt(f),
            WordError::Listener(error) => error.fmt(f),
            WordError::NotOfNetworks(name) => write!(
                f,
                "a rule for networks has no `{name}`; remove it, or write it in a rule for \
                 addresses"
            ),
            WordError::BurstWithoutRate => {
                f.write_str("without a rate there is no burst; remove `rate=none` or `burst`")
            }
            WordError::Untrusted(value) => write!(
                f,
                "invalid limit `{value}` of untrusted connections: expected 1 to {}, or none",
                i32::MAX
            ),
            WordError::UntrustedOfTrusted => f.write_str(
                "the connections of a trusted source are never untrusted; remove `trusted` or \
                 `untrusted`",
            ),
            WordError::Cluster(value) => write!(
                f,
                "invalid limit `{value}` over all nodes: expected 1 to {}, or none",
                i32::MAX
            ),
            WordError::ClusterOfTrusted => f.write_str(
                "a trusted source has no limit over all nodes; remove `trusted` or `cluster`",
            ),
            WordError::ClusterOfListener => f.write_str(
                "the connections of a listener count on this node only; remove `listener` or \
                 `cluster`",
            ),
        }
    }
}

/// The word that `name` was probably meant to be: the one that needs the fewest edits, if
/// these are at most a third of its letters. Letters of either case are the same.
fn nearest(name: &str) -> Option<&'static str> {
    let distances = WORDS.iter().map(|word| (distance(name, word.name), word));
    let (edits, word) = distances.min_by_key(|(edits, _)| *edits)?;
    (edits <= word.name.len().div_ceil(3)).then_some(word.name)
}

/// How many letters must be inserted, removed, replaced, or swapped with the next one to
/// make `other` of `text` (optimal string alignment). The words are few and short, so a
/// library would be more to keep than these lines.
fn distance(text: &str, other: &str) -> usize {
    // A text that is much longer than any word is far from all of them.
    let text: Vec<u8> = text
        .bytes()
        .take(32)
        .map(|b| b.to_ascii_lowercase())
        .collect();
    let other = other.as_bytes();
    // The distances of the beginnings of `text`, before the last two letters of it, before
    // the last one, and now, to each beginning of `other`.
    let mut older = vec![0; other.len() + 1];
    let mut old: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in text.iter().enumerate() {
        let mut now = vec![i + 1; other.len() + 1];
        for (j, wanted) in other.iter().enumerate() {
            let replaced = old[j] + usize::from(letter != wanted);
            now[j + 1] = replaced.min(old[j + 1] + 1).min(now[j] + 1);
            if i > 0 && j > 0 && *letter == other[j - 1] && text[i - 1] == *wanted {
                now[j + 1] = now[j + 1].min(older[j - 1] + 1);
            }
        }
        (older, old) = (old, now);
    }
    old[other.len()]
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::listener::Protocol;

    fn terms(text: &str) -> Terms {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn reason(text: &str) -> String {
        match parse(text) {
            Ok(terms) => panic!("`{text}`: {terms:?}"),
            Err(reason) => reason.to_string(),
        }
    }

    fn shown(text: &str) -> String {
        TermsText(terms(text)).to_string()
    }

    #[test]
    fn words_say_what_the_rule_grants() {
        let own = |interval_us, burst| RuleRate::Own(Rate { interval_us, burst });
        let default = RuleRate::Default;
        for (text, limit, rate, exempt) in [
            ("100", 100, default, false),
            ("unlimited", 0, default, true),
            ("none", 0, default, true),
            ("100 rate=10/s", 100, own(100_000, 10), false),
            ("100 rate=100/m", 100, own(600_000, 5), false),
            ("100 rate=10/s burst=30", 100, own(100_000, 30), false),
            ("100 burst=30 rate=10/s", 100, own(100_000, 30), false),
            ("100 burst=30", 100, RuleRate::DefaultWithBurst(30), false),
            ("100 rate=none", 100, RuleRate::Own(Rate::NONE), false),
            ("100 exempt", 100, default, true),
            ("100 trusted", 100, default, false),
            ("none trusted", 0, default, true),
            ("\t7 \texempt  rate=2/h ", 7, own(1_800_000_000, 5), true),
        ] {
            let expected = Terms {
                limit,
                rate,
                exempt,
                trusted: text.contains("trusted"),
                ..Terms::of_default(limit)
            };
            assert_eq!(terms(text), expected, "{text}");
        }
    }

    #[test]
    fn words_say_whom_the_rule_trusts() {
        for (text, untrusted, trusted) in [
            ("100", None, false),
            ("100 untrusted=20", Some(20), false),
            ("100 untrusted=none", Some(0), false),
            ("none untrusted=2147483647", Some(i32::MAX as u32), false),
            ("100 trusted", None, true),
        ] {
            let terms = terms(text);
            assert_eq!(
                (terms.untrusted, terms.trusted),
                (untrusted, trusted),
                "{text}"
            );
        }
    }

    #[test]
    fn terms_are_shown_in_the_grammar_of_rules() {
        for (text, expected) in [
            ("5 trusted exempt", "5 exempt trusted"),
            ("5 untrusted=unlimited", "5 untrusted=none"),
            ("none untrusted=07", "none untrusted=7"),
            ("5 cluster=unlimited", "5 cluster=none"),
            ("5 cluster=010 exempt", "5 exempt cluster=10"),
            ("007", "7"),
            ("unlimited", "none"),
            ("unlimited exempt", "none"),
            ("5 exempt rate=10/s", "5 rate=10/s exempt"),
            ("5 trusted exempt", "5 exempt trusted"),
            ("5 burst=10 rate=10/s", "5 rate=10/s"),
            ("5 burst=11 rate=10/s", "5 rate=10/s burst=11"),
            ("5 burst=11", "5 burst=11"),
            ("5 rate=unlimited", "5 rate=none"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn invalid_limit_is_rejected() {
        for text in ["", "-", "+5", "5=6", "many", "Unlimited", "# note", "1,5"] {
            assert_eq!(
                reason(text),
                "a limit must be a number from 1 to 2147483647 or `unlimited`"
            );
        }
        for text in ["0", "-1", "-99999999999", "00"] {
            assert_eq!(
                reason(text),
                "a limit must be at least 1; write `unlimited` for no limit, \
                 or block the prefix with a firewall"
            );
        }
        for text in ["2147483648", "99999999999999999999"] {
            assert_eq!(
                reason(text),
                "a limit must be at most 2147483647; write `unlimited` for no limit"
            );
        }
        for text in ["rate=10/s", "rate=10/s 5", "rate"] {
            assert_eq!(
                reason(text),
                "the limit is missing; write a number or `unlimited` before `rate`"
            );
        }
        assert_eq!(terms("2147483647").limit, i32::MAX);
    }

    #[test]
    fn unknown_word_names_the_nearest_one() {
        for (text, nearest) in [
            ("rat=1/s", "rate"),
            ("Rate=1/s", "rate"),
            ("RATE=1/s", "rate"),
            ("arte=1/s", "rate"),
            ("rates", "rate"),
            ("brust=5", "burst"),
            ("bursts=5", "burst"),
            ("exemt", "exempt"),
            ("exmept", "exempt"),
            ("trustd", "trusted"),
            ("untrustd=5", "untrusted"),
            ("network", "no_network"),
            ("proxi", "proxy"),
        ] {
            let name = text.split('=').next().unwrap();
            assert_eq!(
                reason(&format!("5 {text}")),
                format!("unknown word `{name}`; did you mean `{nearest}`?")
            );
        }
        for text in ["6", "=6", "r", "b", "limit=5", "="] {
            let name = text.split('=').next().unwrap();
            assert_eq!(
                reason(&format!("5 {text}")),
                format!(
                    "unknown word `{name}`; expected rate=10/s, burst=20, exempt, \
                     listener=192.0.2.1:5060, untrusted=20, trusted, no_network, cluster=100 \
                     or proxy"
                )
            );
        }
        let long = reason(&format!("5 {}", "x".repeat(100_000)));
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn wrong_word_has_one_clear_error() {
        for (text, expected) in [
            (
                "5 rate=1/s rate=1/s",
                "`rate` is written twice; remove one of the two",
            ),
            (
                "5 exempt exempt",
                "`exempt` is written twice; remove one of the two",
            ),
            (
                "5 rate",
                "`rate` has no value; write rate=10/s, without blanks",
            ),
            (
                "5 rate = 10/s",
                "`rate` has no value; write rate=10/s, without blanks",
            ),
            (
                "5 burst=",
                "`burst` has no value; write burst=20, without blanks",
            ),
            (
                "5 exempt=yes",
                "`exempt` takes no value; write only `exempt`",
            ),
            ("5 exempt=", "`exempt` takes no value; write only `exempt`"),
            (
                "5 rate=10",
                "invalid rate `10`: expected one like 10/s, 100/m or 2/h, or none",
            ),
            ("5 burst=0", "invalid burst `0`: expected 1 to 1000000"),
            (
                "5 rate=1/h burst=73",
                "burst 73 is more than 1/h gives in 3 days: expected at most 72",
            ),
            (
                "5 rate=none burst=5",
                "without a rate there is no burst; remove `rate=none` or `burst`",
            ),
            (
                "5 untrusted=0",
                "invalid limit `0` of untrusted connections: expected 1 to 2147483647, or none",
            ),
            (
                "5 untrusted=+5",
                "invalid limit `+5` of untrusted connections: expected 1 to 2147483647, or none",
            ),
            (
                "5 untrusted=2147483648",
                "invalid limit `2147483648` of untrusted connections: expected 1 to 2147483647, \
                 or none",
            ),
            (
                "5 cluster=0",
                "invalid limit `0` over all nodes: expected 1 to 2147483647, or none",
            ),
            (
                "5 cluster=5 trusted",
                "a trusted source has no limit over all nodes; remove `trusted` or `cluster`",
            ),
            (
                "5 listener=192.0.2.1:5060 cluster=5",
                "the connections of a listener count on this node only; remove `listener` or \
                 `cluster`",
            ),
            (
                "5 untrusted=5 trusted",
                "the connections of a trusted source are never untrusted; remove `trusted` or \
                 `untrusted`",
            ),
        ] {
            assert_eq!(reason(text), expected, "{text}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        for (text, other, edits) in [
            ("", "", 0),
            ("", "rate", 4),
            ("rate", "rate", 0),
            ("arte", "rate", 1),
            ("ate", "rate", 1),
            ("raate", "rate", 1),
            ("rape", "rate", 1),
            ("burst", "rate", 4),
        ] {
            assert_eq!(distance(text, other), edits, "{text} {other}");
        }
    }

    #[test]
    fn grammar_has_all_words() {
        let grammar = Grammar.to_string();
        assert!(
            grammar.starts_with(
                "PREFIX = LIMIT [rate=10/s] [burst=20] [exempt] [listener=192.0.2.1:5060] \
                 [untrusted=20] [trusted] [no_network] [cluster=100] [proxy]\n"
            ),
            "{grammar}"
        );
        assert_eq!(grammar.lines().count(), 1 + 3 + WORDS.len());
        for word in WORDS {
            // Each example is valid.
            terms(&format!("5 {}", word.form()));
        }
    }

    /// Any terms that a text can grant.
    fn any_terms() -> impl Strategy<Value = Terms> {
        let interval = prop_oneof![
            (1..=10_000u32).prop_map(|n| 1_000_000u32.div_ceil(n)),
            (1..=600_000u32).prop_map(|n| 60_000_000u32.div_ceil(n)),
            (1..=36_000_000u32).prop_map(|n| 3_600_000_000u32.div_ceil(n)),
        ];
        let own = (interval, any::<Option<u32>>()).prop_map(|(interval, burst)| {
            let burst = burst.map(|burst| 1 + burst % Rate::max_burst(interval));
            RuleRate::Own(rate_text::rate(interval, burst).unwrap())
        });
        let rate = prop_oneof![
            Just(RuleRate::Default),
            (1..=Rate::MAX_BURST).prop_map(RuleRate::DefaultWithBurst),
            Just(RuleRate::Own(Rate::NONE)),
            own,
        ];
        let limit = prop_oneof![Just(0), 1..=i32::MAX];
        let listener =
            (any::<IpAddr>(), 1u16.., 0..3usize).prop_map(|(address, port, protocol)| {
                let protocol = [None, Some(Protocol::Tcp), Some(Protocol::Tls)][protocol];
                ListenerName {
                    address,
                    port,
                    protocol,
                }
            });
        let listener = proptest::option::of(listener);
        let trust = prop_oneof![
            Just((None, false)),
            Just((None, true)),
            (0..=i32::MAX as u32).prop_map(|untrusted| (Some(untrusted), false)),
        ];
        let flags = any::<(bool, bool, bool)>();
        let cluster = proptest::option::of(0..=i32::MAX as u32);
        let words = (rate, flags, listener, trust, cluster);
        (limit, words).prop_map(
            |(limit, (rate, (exempt, no_network, proxy), listener, trust, cluster))| Terms {
                rate,
                exempt: exempt || limit <= 0,
                listener,
                untrusted: trust.0,
                trusted: trust.1,
                no_network,
                proxy,
                cluster: cluster.filter(|_| !trust.1 && listener.is_none()),
                ..Terms::of_default(limit)
            },
        )
    }

    proptest! {
        #[test]
        fn shown_terms_read_as_the_same_terms(terms in any_terms()) {
            let shown = TermsText(terms).to_string();
            prop_assert_eq!(parse(&shown), Ok(terms), "{}", shown);
        }

        #[test]
        fn almost_valid_words_are_shown_as_they_are_read(
            text in "(5|none)( |rate|burst|exempt|=|[0-9]|/[smh]| rate=[1-9]/s| burst=9| exempt| untrusted=[0-9]| trusted| cluster=[0-9]){0,6}"
        ) {
            match parse(&text) {
                Ok(terms) => {
                    let shown = TermsText(terms).to_string();
                    prop_assert_eq!(parse(&shown), Ok(terms), "{}", text);
                }
                Err(error) => prop_assert!(error.to_string().len() < 200),
            }
        }
    }
}
