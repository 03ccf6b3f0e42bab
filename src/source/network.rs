// SPDX-License-Identifier: GPL-2.0-or-later
//! Networks whose connections are counted: [`NetworkLengths`] says how large they are,
//! [`Source::network`] is the network that a source belongs to, and rules name one with the
//! word `network` before its prefix.
//!
//! A network is a source in the scope [`Scope::NETWORK`], with a slot, a limit and a rate of
//! its own. Its address and its prefix length follow from any source in it, so nothing else
//! need be known of a connection.

#![forbid(unsafe_code)]

use super::{Family, Kind, Nat64, Prefix, PrefixError, PrefixLengths, Scope, Source};

/// The word before the prefix of networks, in rules and answers.
pub(super) const WORD: &str = "network";

/// How many leading bits of an address make a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkLengths {
    v4: u8,
    v6: u8,
}

impl NetworkLengths {
    /// /24 in IPv4. In IPv6 the /48 network, which a site usually gets (RFC 6177).
    pub const DEFAULT: NetworkLengths = NetworkLengths { v4: 24, v6: 48 };

    /// Stands for networks that are not counted. Not an `Option`, because the lengths of
    /// sources are then read with more instructions.
    pub(super) const NONE: NetworkLengths = NetworkLengths { v4: 0, v6: 0 };

    /// The longest ones.
    #[cfg(not(loom))]
    pub(crate) const LONGEST: NetworkLengths = NetworkLengths { v4: 31, v6: 64 };

    /// `v4` must be 8 to 31 and `v6` 16 to 64, else the result is `None`.
    pub fn new(v4: u32, v6: u32) -> Option<NetworkLengths> {
        let fit = (8..=31).contains(&v4) && (16..=64).contains(&v6);
        fit.then_some(NetworkLengths {
            v4: v4 as u8,
            v6: v6 as u8,
        })
    }

    /// The prefix length of networks of `family`, in bits.
    #[inline]
    pub fn length(self, family: Family) -> u8 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

impl PrefixLengths {
    /// The same lengths of sources, with networks that are counted. `None` if a network
    /// would be smaller than a source.
    pub fn with_networks(self, networks: NetworkLengths) -> Option<PrefixLengths> {
        (networks.v4 <= self.v4 && networks.v6 <= self.v6)
            .then_some(PrefixLengths { networks, ..self })
    }

    /// The lengths of networks; `None` if networks are not counted.
    #[inline]
    pub fn networks(self) -> Option<NetworkLengths> {
        (self.networks.v4 != 0).then_some(self.networks)
    }
}

impl Source {
    /// The network of this source, whatever its scope. `None` if networks are not counted.
    #[inline]
    pub fn network(self, prefixes: PrefixLengths) -> Option<Source> {
        let networks = prefixes.networks()?;
        // No network is longer than 64 bits.
        let upper = self.address_upper();
        let address = match self.family() {
            Family::V4 => Source {
                kind: Kind::V4,
                word: upper & u64::from(u32::MAX << (32 - u32::from(networks.v4))),
                low: 0,
            },
            Family::V6 => {
                let masked = upper & (u64::MAX << (64 - u32::from(networks.v6)));
                Source::v6(u128::from(masked) << 64)
            }
        };
        Some(address.in_scope(Scope::NETWORK))
    }

    /// The network that a prefix is; `None` if it has another length, or networks are not
    /// counted. Unlike the network of its first address, it is not that of an IPv4 address behind
    /// a translator.
    #[cfg(not(loom))]
    pub(crate) fn of_network(prefix: Prefix, prefixes: PrefixLengths) -> Option<Source> {
        let length = prefixes.networks()?.length(prefix.family);
        let address = match prefix.family {
            Family::V4 => Source {
                kind: Kind::V4,
                word: prefix.upper,
                low: 0,
            },
            Family::V6 => Source::v6(prefix.bits()),
        };
        (prefix.length == length).then(|| address.in_scope(Scope::NETWORK))
    }

    /// Whether it is a network.
    #[inline(always)]
    pub fn is_network(self) -> bool {
        match self.kind {
            Kind::V4 | Kind::V6 => false,
            Kind::ScopedV4 | Kind::ScopedV6 => self.scope() == Some(Scope::NETWORK),
        }
    }

    /// Its address, with the prefix length if that is shorter than the address; also of a
    /// network, without the word `network`.
    pub fn addresses(self, prefixes: PrefixLengths) -> Prefix {
        self.prefix(prefixes).addresses()
    }

    /// The prefix that this network is.
    #[cold]
    pub(super) fn prefix_of_network(self, prefixes: PrefixLengths) -> Prefix {
        let prefix = Prefix::from(self);
        let length = prefixes
            .networks()
            .map(|networks| networks.length(prefix.family));
        Prefix {
            length: length.unwrap_or(prefix.length),
            ..prefix
        }
    }
}

impl Prefix {
    /// Reads what is before the `=` of a rule: a prefix, or the word `network` and the
    /// prefix of networks. `nat64` has the translators whose clients are IPv4 sources.
    ///
    /// # Errors
    ///
    /// Why the text is not one of them.
    pub fn parse_of_rule(text: &str, nat64: &Nat64) -> Result<Prefix, PrefixError> {
        let networks = text
            .trim_ascii_start()
            .strip_prefix(WORD)
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_whitespace()));
        let prefix = Prefix::parse_any(networks.unwrap_or(text).trim_ascii())?;
        nat64.check(prefix)?;
        Ok(Prefix {
            of_networks: networks.is_some(),
            ..prefix
        })
    }

    /// Whether it is a part of one network only, or networks are not counted, so that a rule
    /// for it would apply to no network.
    pub(crate) fn is_within_a_network(self, lengths: PrefixLengths) -> bool {
        let networks = lengths.networks();
        self.of_networks && networks.is_none_or(|n| self.length > n.length(self.family))
    }

    /// The same prefix without the word `network`.
    pub fn addresses(self) -> Prefix {
        Prefix {
            of_networks: false,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str, prefixes: PrefixLengths) -> Source {
        match address.parse().unwrap() {
            core::net::IpAddr::V4(a) => Source::new(&a.octets(), prefixes),
            core::net::IpAddr::V6(a) => Source::new(&a.octets(), prefixes),
        }
        .unwrap()
    }

    fn lengths(v4: u32, v6: u32) -> PrefixLengths {
        let networks = NetworkLengths::new(v4, v6).unwrap();
        PrefixLengths::DEFAULT.with_networks(networks).unwrap()
    }

    #[test]
    fn prefix_of_the_right_length_is_a_network() {
        let p = lengths(24, 48);
        for (text, shown) in [
            ("192.0.2.0/24", Some("network 192.0.2.0/24")),
            ("2001:db8:1::/48", Some("network 2001:db8:1::/48")),
            // Its first address is IPv4 behind a translator, but most others are not.
            ("64:ff9b::/48", Some("network 64:ff9b::/48")),
            ("192.0.2.0/25", None),
            ("2001:db8::/32", None),
        ] {
            let prefix = Prefix::parse_any(text).unwrap();
            let network = Source::of_network(prefix, p);
            let found = network.map(|network| network.display(p).to_string());
            assert_eq!(found.as_deref(), shown, "{text}");
            assert_eq!(Source::of_network(prefix, PrefixLengths::DEFAULT), None);
        }
        let named = source("192.0.2.77", p).network(p);
        let prefix = Prefix::parse_any("192.0.2.0/24").unwrap();
        assert_eq!(Source::of_network(prefix, p), named);
    }

    #[test]
    fn sources_of_a_network_share_it() {
        for (v4, v6, address, shown) in [
            (24, 48, "192.0.2.77", "network 192.0.2.0/24"),
            (8, 48, "192.0.2.77", "network 192.0.0.0/8"),
            (31, 48, "192.0.2.77", "network 192.0.2.76/31"),
            (24, 48, "2001:db8:1:2::5", "network 2001:db8:1::/48"),
            (24, 64, "2001:db8:1:2::5", "network 2001:db8:1:2::/64"),
            (24, 16, "2001:db8:1:2::5", "network 2001::/16"),
            (24, 48, "::ffff:192.0.2.1", "network 192.0.2.0/24"),
        ] {
            let p = lengths(v4, v6);
            let plain = source(address, p);
            let network = plain.network(p).unwrap();
            assert_eq!(network.display(p).to_string(), shown);
            assert!(network.is_network() && !plain.is_network());
            assert_eq!(network.family(), plain.family());
            assert_eq!(network.network(p), Some(network));
            let scoped = plain.in_scope(Scope::of_listener(7).unwrap());
            assert_eq!(scoped.network(p), Some(network));
            let words = (network.kind(), network.word(), network.low());
            assert_eq!(Source::from_words(words.0, words.1, words.2), network);
        }
    }

    #[test]
    fn network_is_not_its_first_address() {
        let p = lengths(24, 64);
        for address in ["192.0.2.0", "2001:db8::", "::"] {
            let plain = source(address, p);
            let network = plain.network(p).unwrap();
            assert_ne!(network, plain);
            assert!(!network.prefix(p).contains(plain.prefix(p)));
            assert!(!plain.prefix(p).contains(network.prefix(p)));
        }
        assert_eq!(source("::", p).network(PrefixLengths::DEFAULT), None);
    }

    #[test]
    fn lengths_out_of_range_are_rejected() {
        for (v4, v6) in [(7, 48), (32, 48), (24, 15), (24, 65), (0, 0)] {
            assert_eq!(NetworkLengths::new(v4, v6), None);
        }
        let wide = PrefixLengths::new(16, 40).unwrap();
        assert_eq!(wide.with_networks(NetworkLengths::DEFAULT), None);
        let networks = NetworkLengths::new(16, 40).unwrap();
        let equal = wide.with_networks(networks).unwrap();
        assert_eq!(equal.networks(), Some(networks));
    }

    #[test]
    fn rules_name_networks_with_a_word() {
        let none = Nat64::default();
        let read = |text: &str| Prefix::parse_of_rule(text, &none);
        for text in ["network 10.0.0.0/8", " network\t 10.0.0.0/8 "] {
            let prefix = read(text).unwrap();
            assert!(prefix.of_networks);
            assert_eq!(prefix.to_string(), "network 10.0.0.0/8");
            assert_eq!(prefix.addresses().to_string(), "10.0.0.0/8");
            let shown = prefix.to_string();
            assert_eq!(read(&shown), Ok(prefix));
        }
        assert!(!read("10.0.0.0/8").unwrap().of_networks);
        for text in [
            "network",
            "network10.0.0.0/8",
            "networks 10.0.0.0/8",
            "network ",
        ] {
            assert_eq!(read(text), Err(PrefixError::Address));
        }
    }

    #[test]
    fn part_of_a_network_has_no_rule_of_networks() {
        let none = Nat64::default();
        let within = |text, lengths| {
            let prefix = Prefix::parse_of_rule(text, &none).unwrap();
            prefix.is_within_a_network(lengths)
        };
        assert!(!within("network 10.0.0.0/24", lengths(24, 48)));
        assert!(within("network 10.0.0.0/25", lengths(24, 48)));
        assert!(within("network 10.0.0.0/8", PrefixLengths::DEFAULT));
        assert!(within("network 2001:db8::/49", lengths(24, 48)));
        assert!(!within("10.0.0.0/25", lengths(24, 48)));
    }
}
