// SPDX-License-Identifier: GPL-2.0-or-later
//! [`RuleSet`]: which limit holds for which prefix.
//!
//! A rule is `PREFIX=LIMIT`. Of all rules whose prefix contains a source, the one
//! with the longest prefix holds.
//!
//! # Look-up
//!
//! Two prefixes never overlap in part: one contains the other, or they have no
//! address in common. The rules are sorted by family, network and length, so a
//! prefix comes before all that it contains, and each rule names its parent: the
//! longest other rule that contains it.
//!
//! ```text
//!   10.0.0.0/8          ◀─┐ ◀─┐
//!     10.1.0.0/16       ──┘   │ ◀─┐
//!       10.1.2.0/24           │ ──┘     ◀── the last that is not after 10.1.9.9:
//!     10.2.0.0/16       ──────┘             its parent contains 10.1.9.9
//! ```
//!
//! [`longest_match`] finds the last rule that is not after the address. Any rule
//! that contains the address is not after it either, and so contains the rule
//! found or is the rule found. Hence the first that contains the address, from
//! there up, is the longest one.

#![forbid(unsafe_code)]

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::TryReserveError;

use ipnet::IpNet;

use crate::source::{Family, PrefixLengths, Source};

pub use crate::shared::layout::MAX_RULES;

/// A [`Rule::limit`] that lets any number of connections through.
pub const UNLIMITED: i32 = 0;

/// How many bytes of a wrong rule an error shows.
const SHOWN: usize = 60;

/// The lengths a prefix can have, 0 to 128: as many rules can lie in one another.
const NESTED: usize = 129;

/// A prefix. Sorts by family, network and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// IPv4 or IPv6.
    pub family: Family,
    /// IPv4: the network's address. IPv6: its upper half.
    pub upper: u64,
    /// IPv4: 0. IPv6: the lower half of the network's address.
    pub lower: u64,
    /// How many leading bits of an address make the prefix.
    pub length: u8,
}

impl Prefix {
    fn new(net: IpNet) -> Prefix {
        let (family, upper, lower) = match net.network() {
            IpAddr::V4(address) => (Family::V4, u64::from(address.to_bits()), 0),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                (Family::V6, (bits >> 64) as u64, bits as u64)
            }
        };
        Prefix {
            family,
            upper,
            lower,
            length: net.prefix_len(),
        }
    }

    /// Whether all addresses of `other` are in this prefix.
    #[inline]
    pub fn contains(self, other: Prefix) -> bool {
        // a length too long, from damaged memory, is a whole address
        let host_bits = bits_of(self.family).saturating_sub(u32::from(self.length));
        let difference = (self.bits() ^ other.bits()).checked_shr(host_bits);
        self.family == other.family
            && self.length <= other.length
            // no bit is left of /0 in IPv6
            && difference.unwrap_or(0) == 0
    }

    #[inline]
    fn bits(self) -> u128 {
        match self.family {
            Family::V4 => u128::from(self.upper),
            Family::V6 => u128::from(self.upper) << 64 | u128::from(self.lower),
        }
    }
}

/// The masked address as a whole: the last key of all that contain it.
impl From<Source> for Prefix {
    #[inline]
    fn from(source: Source) -> Prefix {
        Prefix {
            family: source.family(),
            upper: source.upper(),
            lower: source.low(),
            length: bits_of(source.family()) as u8,
        }
    }
}

/// As a source is shown: `192.0.2.1`, `2001:db8::/32`.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            Family::V4 => write!(f, "{}", Ipv4Addr::from_bits(self.upper as u32))?,
            Family::V6 => write!(f, "{}", Ipv6Addr::from_bits(self.bits()))?,
        }
        if u32::from(self.length) < bits_of(self.family) {
            write!(f, "/{}", self.length)?;
        }
        Ok(())
    }
}

#[inline]
fn bits_of(family: Family) -> u32 {
    match family {
        Family::V4 => Ipv4Addr::BITS,
        Family::V6 => Ipv6Addr::BITS,
    }
}

/// A limit for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The prefix.
    pub key: Prefix,
    /// The most connections of one source in it, or [`UNLIMITED`].
    pub limit: i32,
    /// The longest other rule that contains this one; always a smaller number.
    pub parent: Option<u16>,
}

/// Where a rule was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin<'a> {
    /// In the modparam `rule` of this number, from 1.
    Modparam(u32),
    /// In this file, in the line of this number, from 1.
    Line(&'a str, usize),
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Origin::Modparam(number) => write!(f, "modparam rule {number}"),
            Origin::Line(file, line) => {
                file.chars().try_for_each(|c| write_visible(f, c))?;
                write!(f, ":{line}")
            }
        }
    }
}

/// Why there is no [`RuleSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// A rule is wrong: a sentence with its origin, its text and the remedy.
    Wrong(String),
    /// There is no memory for this many rules.
    NoMemory,
}

impl RuleError {
    fn new(origin: Origin<'_>, text: &str, fault: &Fault<'_>) -> RuleError {
        RuleError::Wrong(format!("{origin}: `{}`: {fault}", Shown(text)))
    }
}

impl From<TryReserveError> for RuleError {
    fn from(_: TryReserveError) -> RuleError {
        RuleError::NoMemory
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleError::Wrong(sentence) => f.write_str(sentence),
            RuleError::NoMemory => f.write_str("not enough memory for the rules; use fewer rules"),
        }
    }
}

impl std::error::Error for RuleError {}

/// What is wrong with a rule.
enum Fault<'a> {
    NotText,
    NoEquals,
    NoAddress,
    Length(u32),
    Mapped(Ipv4Addr),
    TooLong(Family, Prefix),
    HostBits(Prefix),
    NoLimit,
    BelowOne,
    TooHigh,
    TooMany,
    Twice(Origin<'a>),
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Fault::NotText => f.write_str("not valid UTF-8; save the file as UTF-8"),
            Fault::NoEquals => {
                f.write_str("`=` is missing; write PREFIX=LIMIT, as in 192.0.2.0/24=100")
            }
            Fault::NoAddress => f.write_str(
                "not an IPv4 or IPv6 prefix; write one like 192.0.2.0/24 or \
                 2001:db8::/32, or a single address",
            ),
            Fault::Length(most) => write!(
                f,
                "the prefix length after `/` must be a number from 0 to {most}",
            ),
            Fault::Mapped(address) => write!(
                f,
                "the prefix is IPv4-mapped IPv6; write it as an IPv4 prefix, with the address \
                 {address}",
            ),
            Fault::TooLong(family, source) => {
                let parameter = match family {
                    Family::V4 => "ipv4_prefix",
                    Family::V6 => "ipv6_prefix",
                };
                write!(
                    f,
                    "the prefix is longer than {parameter}, and a source is a whole /{}; \
                     write {source} or raise {parameter}",
                    source.length,
                )
            }
            Fault::HostBits(network) => write!(
                f,
                "the address has bits set beyond the prefix length; write {network}",
            ),
            Fault::NoLimit => write!(
                f,
                "the limit after `=` must be a number from 1 to {} or `unlimited`",
                i32::MAX,
            ),
            Fault::BelowOne => f.write_str(
                "a limit must be at least 1; write `unlimited` for no limit, \
                 or block the prefix with a firewall",
            ),
            Fault::TooHigh => write!(
                f,
                "a limit must be at most {}; write `unlimited` for no limit",
                i32::MAX,
            ),
            Fault::TooMany => write!(
                f,
                "there are more than {MAX_RULES} rules; merge prefixes into shorter ones",
            ),
            Fault::Twice(first) => write!(
                f,
                "{first} already has a rule for this prefix; remove one of the two",
            ),
        }
    }
}

/// A text fit for a log line: cut, and all characters visible.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = String::new();
        for c in self.0.chars() {
            let before = shown.len();
            write_visible(&mut shown, c)?;
            if shown.len() > SHOWN {
                shown.truncate(before);
                shown.push_str("...");
                break;
            }
        }
        f.write_str(&shown)
    }
}

/// Escapes what would break a log line or what nobody sees, such as a byte order
/// mark.
fn write_visible(to: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        ' '..='~' => to.write_char(c),
        _ => write!(to, "{}", c.escape_debug()),
    }
}

/// A rule before it is sorted in.
struct Draft<'a> {
    key: Prefix,
    limit: i32,
    origin: Origin<'a>,
    text: &'a str,
}

/// Takes rules one by one, and checks them.
pub struct RulesBuilder<'a> {
    prefixes: PrefixLengths,
    drafts: Vec<Draft<'a>>,
}

impl<'a> RulesBuilder<'a> {
    /// The rule `text`.
    ///
    /// # Errors
    ///
    /// If it is wrong by itself, or one too many.
    pub fn add(&mut self, origin: Origin<'a>, text: &'a str) -> Result<(), RuleError> {
        let text = text.trim_ascii();
        let wrong = |fault| RuleError::new(origin, text, &fault);
        let (key, limit) = parse(text, self.prefixes).map_err(wrong)?;
        if self.drafts.len() >= MAX_RULES {
            return Err(wrong(Fault::TooMany));
        }
        self.drafts.try_reserve(1)?;
        self.drafts.push(Draft {
            key,
            limit,
            origin,
            text,
        });
        Ok(())
    }

    /// The rules in a file: one in a line; `#` begins a comment; lines may be empty.
    ///
    /// # Errors
    ///
    /// Those of [`add`](Self::add), for the first line that is wrong.
    pub fn add_file(&mut self, name: &'a str, content: &'a [u8]) -> Result<(), RuleError> {
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let origin = Origin::Line(name, index + 1);
            // before it is read as UTF-8: comments may be in any encoding
            let rule = line.split(|byte| *byte == b'#').next().unwrap_or(line);
            let rule = rule.trim_ascii();
            if rule.is_empty() {
                continue;
            }
            let text = str::from_utf8(rule).map_err(|_| {
                // what is shown of it; the line may be as long as memory
                let start = String::from_utf8_lossy(&rule[..rule.len().min(SHOWN + 1)]);
                RuleError::new(origin, &start, &Fault::NotText)
            })?;
            self.add(origin, text)?;
        }
        Ok(())
    }

    /// All rules, sorted, each with its parent.
    ///
    /// # Errors
    ///
    /// If two rules are for one prefix, or there is no memory.
    pub fn build(mut self) -> Result<RuleSet, RuleError> {
        self.drafts
            .sort_unstable_by_key(|draft| (draft.key, draft.origin));
        let mut rules: Vec<Rule> = Vec::new();
        rules.try_reserve_exact(self.drafts.len())?;
        for (i, draft) in self.drafts.iter().enumerate() {
            // the rule before, or one that contains it
            let mut parent = i.checked_sub(1);
            while let Some(p) = parent
                && !rules[p].key.contains(draft.key)
            {
                parent = rules[p].parent.map(usize::from);
            }
            if let Some(p) = parent
                && rules[p].key == draft.key
            {
                let fault = Fault::Twice(self.drafts[p].origin);
                return Err(RuleError::new(draft.origin, draft.text, &fault));
            }
            rules.push(Rule {
                key: draft.key,
                limit: draft.limit,
                // fits: see MAX_RULES
                parent: parent.map(|p| p as u16),
            });
        }
        Ok(RuleSet { rules })
    }
}

fn parse<'a>(text: &str, prefixes: PrefixLengths) -> Result<(Prefix, i32), Fault<'a>> {
    let (prefix, limit) = text.split_once('=').ok_or(Fault::NoEquals)?;
    let key = parse_prefix(prefix.trim_ascii(), prefixes)?;
    Ok((key, parse_limit(limit.trim_ascii())?))
}

/// The prefix that `text` is.
///
/// # Errors
///
/// A sentence that names the text and the reason.
pub fn prefix(text: &str, prefixes: PrefixLengths) -> Result<Prefix, String> {
    parse_prefix(text, prefixes).map_err(|fault| format!("`{}`: {fault}", Shown(text)))
}

fn parse_prefix<'a>(text: &str, prefixes: PrefixLengths) -> Result<Prefix, Fault<'a>> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    // by std: ipnet takes the octet 010, which others read as 8
    let address: IpAddr = address.trim_ascii().parse().map_err(|_| Fault::NoAddress)?;
    let net = match length {
        None => IpNet::from(address),
        Some(length) => number(length)
            .and_then(|length| IpNet::new(address, length).ok())
            .ok_or(Fault::Length(match address {
                IpAddr::V4(_) => Ipv4Addr::BITS,
                IpAddr::V6(_) => Ipv6Addr::BITS,
            }))?,
    };
    if let IpAddr::V6(address) = address
        && let Some(mapped) = address.to_ipv4_mapped()
    {
        return Err(Fault::Mapped(mapped));
    }
    let key = Prefix::new(net);
    let most = prefixes.length(key.family);
    if key.length > most {
        // not an error: it is shorter than `net`
        let source = IpNet::new(address, most).map_or(key, Prefix::new);
        return Err(Fault::TooLong(key.family, source));
    }
    if net.addr() != net.network() {
        return Err(Fault::HostBits(key));
    }
    Ok(key)
}

fn parse_limit<'a>(text: &str) -> Result<i32, Fault<'a>> {
    if text == "unlimited" {
        return Ok(UNLIMITED);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !is_digits(digits) {
        return Err(Fault::NoLimit);
    }
    match number(digits) {
        _ if negative => Err(Fault::BelowOne),
        Some(0) => Err(Fault::BelowOne),
        Some(limit) => Ok(limit),
        None => Err(Fault::TooHigh),
    }
}

/// Digits only: std takes a plus sign as well.
fn number<T: core::str::FromStr>(text: &str) -> Option<T> {
    is_digits(text).then(|| text.parse().ok())?
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Rules that were checked together.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// No rules yet, for sources of these prefixes.
    pub fn builder<'a>(prefixes: PrefixLengths) -> RulesBuilder<'a> {
        RulesBuilder {
            prefixes,
            drafts: Vec::new(),
        }
    }

    /// The rules, sorted by key, at most [`MAX_RULES`].
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// The number of the rule with the longest prefix that contains `source`, of
/// `count` rules as [`RuleSet::rules`] gives them. Asks only for numbers below
/// `count`, and ends soon whatever the answers are, so that it can look into
/// memory that others write to.
#[inline]
pub fn longest_match(
    count: usize,
    key_at: impl Fn(usize) -> Prefix,
    parent_at: impl Fn(usize) -> Option<usize>,
    source: Source,
) -> Option<usize> {
    let wanted = Prefix::from(source);
    // all rules before `from` are not after the source, all from `to` on are
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
        // a parent comes before its child, in memory that is not damaged
        rule = parent_at(rule).filter(|parent| *parent < rule)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes() -> PrefixLengths {
        PrefixLengths::new(32, 128).unwrap()
    }

    fn set(texts: &[&str]) -> RuleSet {
        let mut builder = RuleSet::builder(prefixes());
        for (text, number) in texts.iter().zip(1..) {
            builder.add(Origin::Modparam(number), text).unwrap();
        }
        builder.build().unwrap()
    }

    fn source(address: &str, prefixes: PrefixLengths) -> Source {
        match address.parse().unwrap() {
            IpAddr::V4(a) => Source::new(&a.octets(), prefixes),
            IpAddr::V6(a) => Source::new(&a.octets(), prefixes),
        }
        .unwrap()
    }

    fn find(set: &RuleSet, source: Source) -> Option<usize> {
        let rules = set.rules();
        longest_match(
            rules.len(),
            |rule| rules[rule].key,
            |rule| rules[rule].parent.map(usize::from),
            source,
        )
    }

    fn found(set: &RuleSet, address: &str) -> Option<(String, i32)> {
        let rule = set.rules()[find(set, source(address, prefixes()))?];
        Some((rule.key.to_string(), rule.limit))
    }

    /// The sentence about a modparam with default prefixes.
    fn error(text: &str) -> String {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        let error = builder.add(Origin::Modparam(3), text).unwrap_err();
        error.to_string()
    }

    /// What follows origin and text in the sentence.
    fn reason(text: &str) -> String {
        let error = error(text);
        let start = format!("modparam rule 3: `{text}`: ");
        error.strip_prefix(&start).expect(&error).to_owned()
    }

    fn file_error(content: &[u8]) -> String {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        let error = builder.add_file("/etc/rules", content).unwrap_err();
        error.to_string()
    }

    #[test]
    fn the_longest_prefix_wins() {
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
    fn a_rule_for_all_is_for_one_family() {
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
    fn a_rule_as_long_as_a_source_holds_for_the_whole_source() {
        let prefixes = PrefixLengths::new(24, 64).unwrap();
        let mut builder = RuleSet::builder(prefixes);
        builder
            .add_file("r", b"192.0.2.0/24=1\n2001:db8::/64=2")
            .unwrap();
        let set = builder.build().unwrap();
        assert_eq!(find(&set, source("192.0.2.77", prefixes)), Some(0));
        assert_eq!(find(&set, source("2001:db8::77", prefixes)), Some(1));
    }

    #[test]
    fn rules_are_sorted_and_know_their_parents() {
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
            .map(|rule| (rule.key.to_string(), rule.parent))
            .collect();
        let expected = [
            ("10.0.0.0/8", None),
            ("10.1.0.0/16", Some(0)),
            ("10.1.2.0/24", Some(1)),
            ("10.2.0.0/16", Some(0)),
            ("::/0", None),
        ];
        assert_eq!(listed, expected.map(|(key, p)| (key.to_owned(), p)));
    }

    #[test]
    fn a_prefix_contains_itself_and_longer_ones() {
        let key = |net: &str| Prefix::new(net.parse().unwrap());
        assert!(key("10.0.0.0/8").contains(key("10.0.0.0/8")));
        assert!(key("10.0.0.0/8").contains(key("10.0.0.0/9")));
        assert!(!key("10.0.0.0/9").contains(key("10.0.0.0/8")));
        assert!(!key("0.0.0.0/0").contains(key("::/0")));
    }

    #[test]
    fn no_memory_is_a_sentence() {
        assert_eq!(
            RuleError::NoMemory.to_string(),
            "not enough memory for the rules; use fewer rules",
        );
    }

    #[test]
    fn a_file_has_comments_blanks_and_empty_lines() {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        let content = b"# head\n\n \t\n10.0.0.0/8=1# no blank\r\n\t192.0.2.1 \t=\t2 # caf\xe9\n\
                        2001:db8::/32 = unlimited";
        builder.add_file("r", content).unwrap();
        let limits: Vec<_> = builder
            .build()
            .unwrap()
            .rules
            .iter()
            .map(|r| r.limit)
            .collect();
        assert_eq!(limits, [1, 2, UNLIMITED]);
    }

    #[test]
    fn wrong_prefixes() {
        for text in [
            "=5",
            "localhost=5",
            "10.0.0/8=5",
            "010.0.0.0/8=5",
            "[2001:db8::]/32=5",
            "fe80::1%eth0=5",
            "/8=5",
        ] {
            assert_eq!(
                reason(text),
                "not an IPv4 or IPv6 prefix; write one like 192.0.2.0/24 or \
                 2001:db8::/32, or a single address",
            );
        }
        for text in [
            "10.0.0.0/33=5",
            "10.0.0.0/=5",
            "10.0.0.0/+8=5",
            "10.0.0.0/-8=5",
            "10.0.0.0/255.0.0.0=5",
            "10.0.0.0/256=5",
        ] {
            assert_eq!(
                reason(text),
                "the prefix length after `/` must be a number from 0 to 32"
            );
        }
        assert_eq!(
            reason("::/129=5"),
            "the prefix length after `/` must be a number from 0 to 128",
        );
        assert_eq!(
            reason("10.1.0.0/8=5"),
            "the address has bits set beyond the prefix length; write 10.0.0.0/8",
        );
        assert_eq!(
            reason("2001:db8:0:1::/32=5"),
            "the address has bits set beyond the prefix length; write 2001:db8::/32",
        );
        for text in ["::ffff:192.0.2.0/120=5", "::ffff:192.0.2.0=5"] {
            assert_eq!(
                reason(text),
                "the prefix is IPv4-mapped IPv6; write it as an IPv4 prefix, with the address \
                 192.0.2.0",
            );
        }
    }

    #[test]
    fn a_prefix_longer_than_a_source() {
        for text in ["2001:db8::1=5", "2001:db8::/65=5"] {
            assert_eq!(
                reason(text),
                "the prefix is longer than ipv6_prefix, and a source is a whole /64; \
                 write 2001:db8::/64 or raise ipv6_prefix",
            );
        }
        let mut builder = RuleSet::builder(PrefixLengths::new(24, 64).unwrap());
        let error = builder.add(Origin::Modparam(1), "192.0.2.7=5").unwrap_err();
        assert_eq!(
            error.to_string(),
            "modparam rule 1: `192.0.2.7=5`: the prefix is longer than ipv4_prefix, \
             and a source is a whole /24; write 192.0.2.0/24 or raise ipv4_prefix",
        );
    }

    #[test]
    fn wrong_limits() {
        for text in ["", "10.0.0.0/8", "# a comment"] {
            assert_eq!(
                reason(text),
                "`=` is missing; write PREFIX=LIMIT, as in 192.0.2.0/24=100",
            );
        }
        for text in ["", "-", "+5", "5=6", "5 6", "many", "Unlimited", "5 # note"] {
            assert_eq!(
                reason(&format!("10.0.0.0/8={text}")),
                "the limit after `=` must be a number from 1 to 2147483647 or `unlimited`",
            );
        }
        for text in ["0", "-1", "-99999999999", "00"] {
            assert_eq!(
                reason(&format!("10.0.0.0/8={text}")),
                "a limit must be at least 1; write `unlimited` for no limit, \
                 or block the prefix with a firewall",
            );
        }
        for text in ["2147483648", "99999999999999999999"] {
            assert_eq!(
                reason(&format!("10.0.0.0/8={text}")),
                "a limit must be at most 2147483647; write `unlimited` for no limit",
            );
        }
        assert_eq!(set(&["10.0.0.0/8=2147483647"]).rules[0].limit, i32::MAX);
    }

    #[test]
    fn a_line_of_a_file() {
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
    fn a_text_is_cut_and_visible() {
        let shown = |text: &str| Shown(text).to_string();
        assert_eq!(shown("a\tb\0c\x1b"), "a\\tb\\0c\\u{1b}");
        assert_eq!(shown("\u{feff}é`\\"), "\\u{feff}é`\\");
        assert_eq!(shown(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(shown(&"x".repeat(61)), "x".repeat(60) + "...");
        assert_eq!(shown(&"é".repeat(31)), "é".repeat(30) + "...");
        assert_eq!(Origin::Line("a\nb", 1).to_string(), "a\\nb:1");
        // a character cut in the middle
        let line = [&[b'x'; 60][..], "é\u{fffd}".as_bytes(), &[0xff]].concat();
        let expected = format!("/etc/rules:1: `{}...`: not valid", "x".repeat(60));
        assert!(file_error(&line).starts_with(&expected));
    }

    #[test]
    fn a_prefix_has_one_rule() {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        builder
            .add_file("r", b"192.0.2.0/24=1\n\n192.0.2.1/32 = 7\n")
            .unwrap();
        builder.add(Origin::Modparam(2), "192.0.2.1=5").unwrap();
        assert_eq!(
            builder.build().unwrap_err().to_string(),
            "r:3: `192.0.2.1/32 = 7`: modparam rule 2 already has a rule for this prefix; \
             remove one of the two",
        );
    }

    #[test]
    fn so_many_rules_and_no_more() {
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
    fn all_lengths_of_one_address() {
        let address = Ipv6Addr::from_bits(u128::MAX);
        let nets = (0..=128).map(|length| IpNet::new(address.into(), length).unwrap());
        let texts: Vec<_> = nets.map(|net| format!("{}=1", net.trunc())).collect();
        let set = set(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(set.rules().len(), NESTED);
        assert_eq!(found(&set, "ffff::").unwrap().0, "ffff::/16");
        // from the deepest rule to the first: the longest way there is
        let rules = set.rules();
        let parent = |rule: usize| rules[rule].parent.map(usize::from);
        let key = |rule: usize| match rule {
            0 => rules[0].key,
            _ => Prefix {
                length: 128,
                lower: rule as u64,
                ..rules[0].key
            },
        };
        let wanted = source("ffff::", prefixes());
        assert_eq!(longest_match(NESTED, key, parent, wanted), Some(0));
    }

    /// Networks that lie in one another: few different bits, any length.
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

    /// At and around the edges of `nets`, and anywhere.
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
        // those are IPv4
        addresses.retain(|address| address.to_canonical() == *address);
        addresses
    }

    fn any_key() -> impl Strategy<Value = Prefix> {
        (any::<bool>(), any::<u64>(), any::<u64>(), any::<u8>()).prop_map(
            |(v6, upper, lower, length)| Prefix {
                family: if v6 { Family::V6 } else { Family::V4 },
                upper,
                lower,
                length,
            },
        )
    }

    proptest! {
        #[test]
        fn as_a_look_at_every_rule(
            mut nets in nets(),
            random in proptest::collection::vec(any::<u128>(), 20),
            lengths in (1..=32u32, 1..=128u32),
        ) {
            nets.retain(|net| match net {
                IpNet::V4(net) => u32::from(net.prefix_len()) <= lengths.0,
                IpNet::V6(net) => {
                    net.addr().to_ipv4_mapped().is_none()
                        && u32::from(net.prefix_len()) <= lengths.1
                }
            });
            nets.sort();
            nets.dedup();
            let prefixes = PrefixLengths::new(lengths.0, lengths.1).unwrap();
            // the order in which they are written does not matter
            let content: String = nets.iter().rev().map(|net| format!("{net}=1\n")).collect();
            let mut builder = RuleSet::builder(prefixes);
            builder.add_file("r", content.as_bytes()).unwrap();
            let set = builder.build().unwrap();
            prop_assert!(set.rules().is_sorted_by(|a, b| a.key < b.key));
            for address in addresses(&nets, &random) {
                let longest = nets
                    .iter()
                    .filter(|net| net.contains(&address))
                    .max_by_key(|net| net.prefix_len());
                let found = find(&set, source(&address.to_string(), prefixes));
                prop_assert_eq!(
                    found.map(|rule| set.rules()[rule].key),
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
        fn nearly_rules_give_rules_or_the_line(
            content in "([0-9a-f:./=# \t\r\n-]|unlimited|=5\n|10\\.|::|/8){0,60}"
        ) {
            check_bytes(content.as_bytes())?;
        }

        #[test]
        fn damaged_memory_is_survived(
            keys in proptest::collection::vec(any_key(), 0..200),
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
            let source = Source::new(&wanted.to_be_bytes(), prefixes()).unwrap();
            let found = longest_match(keys.len(), |rule| keys[rule], parent, source);
            prop_assert!(found.is_none_or(|rule| keys[rule].contains(source.into())));
            prop_assert!(steps.get() <= NESTED);
            for key in keys {
                // must not panic either
                prop_assert!(!key.to_string().is_empty());
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
