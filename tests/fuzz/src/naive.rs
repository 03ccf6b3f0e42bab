// SPDX-License-Identifier: GPL-2.0-or-later
//! Addresses and rules as the documentation describes them, bit by bit.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

use crate::settings;

/// The number of leading bits that identify a source, for IPv4 and IPv6.
pub type Lengths = (u32, u32);

/// The prefix of translated IPv4 addresses, 64:ff9b::/96.
const WELL_KNOWN: [u8; 12] = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];

/// Prefixes of other translators, each as the bits of an address and a length.
static TRANSLATORS: OnceLock<Vec<(u128, u32)>> = OnceLock::new();

/// Makes IPv4 of the addresses behind these translators, from now on in this process.
pub fn set_translators(texts: &[&str]) {
    let prefix = |text: &&str| {
        let net = Net::of_rule(text).expect("a prefix");
        (net.address.bits, net.length)
    };
    let prefixes = texts.iter().map(prefix).collect();
    assert_eq!(TRANSLATORS.set(prefixes), Ok(()));
}

/// The IPv4 address in an IPv6 address behind one of the translators (RFC 6052, 2.2): after the
/// prefix, and around octet 8, which is 0.
fn behind_translator(octets: &[u8]) -> Option<Vec<u8>> {
    let address = Address::raw(octets);
    let translators = TRANSLATORS.get()?.iter();
    let mut translators = translators.filter(|(bits, length)| {
        (0..*length).all(|i| address.bit(i) == (bits >> (127 - i) & 1 == 1))
    });
    let length = translators.next()?.1;
    if length == 96 {
        return Some(octets[12..].to_vec());
    }
    let after = octets.iter().enumerate().skip(length as usize / 8);
    let without_8 = after.filter(|(at, _)| *at != 8).map(|(_, octet)| *octet);
    (octets[8] == 0).then(|| without_8.take(4).collect())
}

/// An address. IPv4-mapped and IPv4-translated IPv6 is stored as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// 32 or 128.
    width: u32,
    /// The bits of the address, from the highest bit down.
    bits: u128,
}

impl Address {
    /// The address with these octets, if they are one.
    pub fn of_octets(octets: &[u8]) -> Option<Address> {
        let octets = match octets.len() {
            4 => octets,
            16 if octets[..10] == [0; 10] && octets[10..12] == [0xff; 2] => &octets[12..],
            16 if octets[..12] == WELL_KNOWN => &octets[12..],
            16 => {
                return Some(Address::raw(
                    &behind_translator(octets).unwrap_or(octets.into()),
                ));
            }
            _ => return None,
        };
        Some(Address::raw(octets))
    }

    /// The address with these 4 or 16 octets, as they are.
    fn raw(octets: &[u8]) -> Address {
        let mut bits = 0;
        for (octet, index) in octets.iter().zip((0..16).rev()) {
            bits |= u128::from(*octet) << (8 * index);
        }
        let width = 8 * octets.len() as u32;
        Address { width, bits }
    }

    /// Parses an address.
    pub fn of_text(text: &str) -> Option<Address> {
        match text.parse().ok()? {
            IpAddr::V4(address) => Address::of_octets(&address.octets()),
            IpAddr::V6(address) => Address::of_octets(&address.octets()),
        }
    }

    /// The 4 or 16 octets of the address.
    pub fn octets(self) -> Vec<u8> {
        self.bits.to_be_bytes()[..self.width as usize / 8].to_vec()
    }

    /// The address with all bits after the first `length` set to `bit`.
    pub fn filled(self, length: u32, bit: bool) -> Address {
        let mut filled = self;
        for i in length..self.width {
            let mask = 1 << (127 - i);
            filled.bits = filled.bits & !mask | if bit { mask } else { 0 };
        }
        filled
    }

    /// The next or the previous address; it wraps around.
    pub fn neighbour(self, after: bool) -> Address {
        let one = 1u128 << (128 - self.width);
        let bits = match after {
            true => self.bits.wrapping_add(one),
            false => self.bits.wrapping_sub(one),
        };
        Address { bits, ..self }
    }

    /// Parses an address, perhaps with a zone.
    fn of_zoned(text: &str) -> Option<Address> {
        match text.find('%') {
            Some(at) if at + 1 < text.len() && text[..at].contains(':') => {
                Address::of_text(&text[..at])
            }
            Some(_) => None,
            None => Address::of_text(text),
        }
    }

    /// Parses an address, perhaps in brackets, with a zone or a port.
    fn of_form(text: &str) -> Option<Address> {
        let colons = text.bytes().filter(|byte| *byte == b':').count();
        let (address, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let at = rest.find(']')?;
                if !rest[..at].contains(':') {
                    return None;
                }
                match &rest[at + 1..] {
                    "" => (&rest[..at], None),
                    after => (&rest[..at], Some(after.strip_prefix(':')?)),
                }
            }
            None if colons == 1 => {
                let at = text.find(':')?;
                (&text[..at], Some(&text[at + 1..]))
            }
            None => (text, None),
        };
        if let Some(port) = port {
            digits_of(port, u16::MAX.into())?;
        }
        Address::of_zoned(address)
    }

    /// The source that a text names: an address, or a network whose addresses all belong to
    /// it.
    pub fn source_of_text(text: &str, lengths: Lengths) -> Option<Net> {
        let text = text.trim_ascii();
        let Some(at) = text.find('/') else {
            return Some(Address::of_form(text)?.source(lengths));
        };
        let address = Address::of_zoned(&text[..at])?;
        let net = address.source(lengths);
        let width = if text[..at].contains(':') { 128 } else { 32 };
        let length = digits_of(&text[at + 1..], width)? as u32;
        // The first 96 bits of IPv4-mapped and IPv4-translated IPv6 belong to no address.
        let before = width as u32 - net.address.width;
        if length >= before + net.length {
            return Some(net);
        }
        // A network that is larger than all IPv4 addresses, within one IPv6 source.
        let zone = text[..at].find('%').unwrap_or(at);
        let raw = match text[..zone].parse().ok()? {
            IpAddr::V4(_) => return None,
            IpAddr::V6(address) => Address::raw(&address.octets()),
        };
        let is_part = length >= lengths.1 && length < 96 && raw == raw.filled(length, false);
        is_part.then(|| Net {
            address: raw.filled(lengths.1, false),
            length: lengths.1,
        })
    }

    /// Whom a text names that a command bans: the prefix, and whether that is a whole source.
    pub fn banned_of_text(text: &str, lengths: Lengths) -> Option<(Net, bool)> {
        let text = text.trim_ascii();
        let host = match text.find('/') {
            None => Address::of_form(text),
            Some(at) => {
                let width = if text[..at].contains(':') { 128 } else { 32 };
                let is_host = digits_of(&text[at + 1..], width) == Some(width);
                Address::of_zoned(&text[..at]).filter(|_| is_host)
            }
        };
        let net = match host {
            Some(address) => address.source(HOST),
            None => Net::of_rule(text)?,
        };
        let is_source = Address::source_of_text(text, lengths) == Some(net);
        Some((net, is_source))
    }

    /// The network that a text names: by an address or a source in it, or itself.
    pub fn network_of_text(text: &str, lengths: Lengths, networks: Lengths) -> Option<Net> {
        if let Some(source) = Address::source_of_text(text, lengths) {
            return Some(source.address.source(networks));
        }
        let net = Net::of_rule(text.trim_ascii())?;
        (net == net.address.source(networks)).then_some(net)
    }

    /// The source that the address belongs to.
    pub fn source(self, lengths: Lengths) -> Net {
        let length = if self.is_v4() { lengths.0 } else { lengths.1 };
        Net {
            address: self.filled(length, false),
            length,
        }
    }

    /// Returns whether the address is IPv4.
    pub fn is_v4(self) -> bool {
        self.width == 32
    }

    fn bit(self, i: u32) -> bool {
        self.bits >> (127 - i) & 1 == 1
    }
}

/// A prefix. It sorts like reports: by family, network and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Net {
    /// Its first address.
    pub address: Address,
    /// The number of leading bits that all its addresses share.
    pub length: u32,
}

impl Net {
    /// Returns whether it contains all of `other`.
    pub fn contains(self, other: Net) -> bool {
        self.address.width == other.address.width
            && self.length <= other.length
            && (0..self.length).all(|i| self.address.bit(i) == other.address.bit(i))
    }

    /// Parses a prefix of whole sources. Returns `None` if a list may not have it.
    pub fn of_text(text: &str, lengths: Lengths) -> Option<Net> {
        let net = Net::of_rule(text)?;
        let max = if net.address.is_v4() {
            lengths.0
        } else {
            lengths.1
        };
        (net.length <= max).then_some(net)
    }

    /// Parses a prefix. Returns `None` if a rule may not have it.
    pub fn of_rule(text: &str) -> Option<Net> {
        let (address, length) = match text.find('/') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let address: IpAddr = address.trim_ascii().parse().ok()?;
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let width = 8 * octets.len() as u32;
        let length = match length {
            Some(digits) => digits_of(digits, width.into())? as u32,
            None => width,
        };
        let address = Address::raw(&octets);
        // IPv4-mapped and IPv4-translated IPv6 must be written as IPv4.
        let is_mapped = address.width == 128
            && Address::of_octets(&octets)? != address
            && (octets[..12] != WELL_KNOWN || length >= 96);
        (!is_mapped && address == address.filled(length, false)).then_some(Net { address, length })
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.address.octets();
        match <[u8; 16]>::try_from(&octets[..]) {
            Ok(octets) => write!(f, "{}", Ipv6Addr::from(octets))?,
            Err(_) => write!(
                f,
                "{}",
                Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])
            )?,
        }
        match self.length < self.address.width {
            true => write!(f, "/{}", self.length),
            false => Ok(()),
        }
    }
}

/// Parses digits. Returns `None` if the number is above `max`.
pub fn digits_of(digits: &str, max: u128) -> Option<u128> {
    let mut number = 0u128;
    for digit in digits.chars() {
        number = number * 10 + u128::from(digit.to_digit(10)?);
        if number > max {
            return None;
        }
    }
    (!digits.is_empty()).then_some(number)
}

/// Address and port of a listener.
pub type Listener = (IpAddr, u16);

/// A rule with its words.
pub struct Rule {
    /// Its prefix.
    pub net: Net,
    /// 0: unlimited.
    pub limit: i32,
    /// Its text after the `=`, as it is shown.
    pub shown: String,
    /// The listener that it is for.
    pub listener: Option<Listener>,
    /// It is for the networks in its prefix.
    pub networks: bool,
}

impl Rule {
    /// Its prefix as it is shown.
    pub fn prefix(&self) -> String {
        match self.networks {
            true => format!("network {}", self.net),
            false => self.net.to_string(),
        }
    }

    /// Whether it has this word after its limit.
    pub fn has(&self, word: &str) -> bool {
        let mut words = self.shown.split(' ').skip(1);
        words.any(|one| one.split('=').next() == Some(word))
    }

    /// The name of its listener.
    pub fn listener_name(&self) -> Option<&str> {
        let mut words = self.shown.split(' ');
        words.find_map(|word| word.strip_prefix("listener="))
    }

    /// Whether it can apply to a source, or to a network of these lengths; `None`: networks are
    /// not counted.
    pub fn fits(&self, networks: Option<Lengths>) -> bool {
        let longest = networks.map(|(v4, v6)| match self.net.address.is_v4() {
            true => v4,
            false => v6,
        });
        !self.networks || longest.is_some_and(|longest| self.net.length <= longest)
    }
}

/// Takes the word `network` and a blank from what is before the `=` of a rule.
fn of_networks(text: &str) -> Option<&str> {
    let rest = text.trim_ascii_start().strip_prefix("network")?;
    let is_word = rest.bytes().next()?.is_ascii_whitespace();
    is_word.then_some(rest)
}

/// Parses a rule with its words.
pub fn whole_rule(text: &str) -> Option<Rule> {
    let at = text.find('=')?;
    let after_word = of_networks(&text[..at]);
    let networks = after_word.is_some();
    let net = Net::of_rule(after_word.unwrap_or(&text[..at]).trim_ascii())?;
    let mut words = text[at + 1..].split_ascii_whitespace();
    let limit = match words.next()? {
        "unlimited" | "none" => 0,
        digits => match digits_of(digits, i32::MAX as u128)? {
            0 => return None,
            limit => limit as i32,
        },
    };
    let mut rate = None;
    let mut burst = None;
    let mut exempt = None;
    let mut named = None;
    let mut untrusted = None;
    let mut trusted = None;
    let mut no_network = None;
    let mut cluster = None;
    let mut proxy = None;
    for word in words {
        let twice = if let Some(value) = word.strip_prefix("rate=") {
            rate.replace(interval(value)?).is_some()
        } else if let Some(value) = word.strip_prefix("burst=") {
            burst
                .replace(digits_of(value, 1_000_000).filter(|burst| *burst > 0)?)
                .is_some()
        } else if let Some(value) = word.strip_prefix("listener=") {
            named.replace(listener(value)?).is_some()
        } else if let Some(value) = word.strip_prefix("untrusted=") {
            untrusted.replace(limit_of_word(value)?).is_some()
        } else if let Some(value) = word.strip_prefix("cluster=") {
            cluster.replace(limit_of_word(value)?).is_some()
        } else if word == "trusted" {
            trusted.replace(()).is_some()
        } else if word == "no_network" {
            no_network.replace(()).is_some()
        } else if word == "proxy" {
            proxy.replace(()).is_some()
        } else {
            word != "exempt" || exempt.replace(()).is_some()
        };
        if twice {
            return None;
        }
    }
    let mut shown = match limit {
        0 => "none".to_owned(),
        limit => limit.to_string(),
    };
    match (rate, burst) {
        (None, None) => {}
        (None, Some(burst)) => shown += &format!(" burst={burst}"),
        (Some(0), None) => shown += " rate=none",
        (Some(0), Some(_)) => return None,
        (Some(interval), burst) => {
            shown += &format!(" rate={}", shown_rate(interval));
            let default = settings::default_burst(interval);
            let burst = burst.unwrap_or(default);
            if burst > settings::max_burst(interval) && burst != default {
                return None;
            }
            if burst != default {
                shown += &format!(" burst={burst}");
            }
        }
    }
    if exempt.is_some() && limit > 0 {
        shown += " exempt";
    }
    if let Some((protocol, (address, port))) = named {
        // As the standard library shows an address with a port.
        shown += &format!(" listener={protocol}{}", SocketAddr::new(address, port));
    }
    match (untrusted, trusted) {
        (None, None) => {}
        (Some(0), None) => shown += " untrusted=none",
        (Some(limit), None) => shown += &format!(" untrusted={limit}"),
        (None, Some(())) => shown += " trusted",
        (Some(_), Some(())) => return None,
    }
    if no_network.is_some() {
        shown += " no_network";
    }
    match cluster {
        None => {}
        // The limits over all nodes are those of untrusted sources, at all listeners.
        Some(_) if trusted.is_some() || named.is_some() => return None,
        Some(0) => shown += " cluster=none",
        Some(limit) => shown += &format!(" cluster={limit}"),
    }
    if proxy.is_some() {
        shown += " proxy";
    }
    // Networks have no other words than those of the rate.
    let others = exempt.or(trusted).or(no_network).or(proxy);
    let limits = untrusted.or(cluster);
    if networks && (others.is_some() || named.is_some() || limits.is_some()) {
        return None;
    }
    Some(Rule {
        net,
        limit,
        shown,
        listener: named.map(|(_, listener)| listener),
        networks,
    })
}

/// The limit after the `=` of a word; 0: no limit.
fn limit_of_word(text: &str) -> Option<i32> {
    match text {
        "unlimited" | "none" => Some(0),
        digits => match digits_of(digits, i32::MAX as u128)? {
            0 => None,
            limit => Some(limit as i32),
        },
    }
}

/// A listener, and its protocol as it is written before it.
fn listener(text: &str) -> Option<(&'static str, Listener)> {
    let protocols = ["tcp:", "tls:"];
    let protocol = protocols.into_iter().find(|name| text.starts_with(name));
    let protocol = protocol.unwrap_or("");
    let rest = &text[protocol.len()..];
    let at = rest.rfind(':')?;
    let port = digits_of(&rest[at + 1..], u16::MAX.into()).filter(|port| *port > 0)?;
    let address = &rest[..at];
    let inner = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let address = match inner {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None => IpAddr::V4(address.parse().ok()?),
    };
    Some((protocol, (address, port as u16)))
}

/// The units of a rate, in microseconds.
const UNITS: [(&str, u128); 3] = [("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];

/// The microseconds for one connection, rounded up; 0: no rate.
pub fn interval(rate: &str) -> Option<u128> {
    if rate == "none" || rate == "unlimited" {
        return Some(0);
    }
    let at = rate.find('/')?;
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rate[at + 1..])?;
    // At most 10,000 in a second.
    match digits_of(&rate[..at], unit / 100)? {
        0 => None,
        number => Some(unit.div_ceil(number)),
    }
}

/// The lowest number in the shortest unit that gives this interval.
pub fn shown_rate(interval: u128) -> String {
    let gives = |unit: u128, number: u128| unit.div_ceil(number) == interval;
    let (name, number) = UNITS
        .iter()
        .find_map(|(name, unit)| {
            let near = unit / interval;
            let number = (near.max(1)..=near + 1).find(|number| gives(*unit, *number))?;
            Some((name, number))
        })
        .expect("a rate that was written");
    format!("{number}/{name}")
}

/// Returns the rule with the longest prefix that contains all of `source`.
pub fn longest(rules: &[(Net, i32)], source: Net) -> Option<(Net, i32)> {
    let holding = rules.iter().filter(|(net, _)| net.contains(source));
    holding.max_by_key(|(net, _)| net.length).copied()
}

/// Returns the rule of an address: one that is longer than its source, or that of its
/// source.
pub fn applying(rules: &[(Net, i32)], address: Address, lengths: Lengths) -> Option<(Net, i32)> {
    let source = address.source(lengths);
    let host = longest(rules, address.source(HOST));
    host.filter(|(rule, _)| rule.length > source.length)
        .or_else(|| longest(rules, source))
}

/// Each address is a source.
pub const HOST: Lengths = (32, 128);
