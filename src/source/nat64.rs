// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Nat64`]: the IPv6 prefixes behind which IPv4 clients arrive.
//!
//! A translator between IPv4 and IPv6 (NAT64, RFC 6146; SIIT, RFC 7915) puts the client's
//! IPv4 address into an IPv6 address (RFC 6052 §2.2). Without the way back, all IPv4
//! clients of the translator would be one source.
//!
//! ```text
//!   prefix    octets of the IPv4 address; octet 8 is 0
//!   /32       4  5  6  7
//!   /40       5  6  7     9
//!   /48       6  7     9 10
//!   /56       7     9 10 11
//!   /64             9 10 11 12
//!   /96                       12 13 14 15
//! ```

#![forbid(unsafe_code)]

use core::fmt;

use super::{Family, Prefix, PrefixError};

/// The upper half of the well-known prefix 64:ff9b::/96 (RFC 6052 §2.1), which always
/// counts as a translator's. The next 32 bits are 0.
pub(super) const WELL_KNOWN_UPPER: u64 = 0x0064_ff9b << 32;

/// The prefixes of translators, besides the well-known one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nat64 {
    translators: [Translator; Nat64::MAX_PREFIXES],
    count: usize,
}

/// A prefix, as the upper bits of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Translator {
    bits: u128,
    length: u8,
}

impl Nat64 {
    /// The largest number of prefixes.
    pub const MAX_PREFIXES: usize = 16;

    /// The well-known prefix.
    pub const WELL_KNOWN: Prefix = Prefix {
        of_networks: false,
        family: Family::V6,
        upper: WELL_KNOWN_UPPER,
        lower: 0,
        length: 96,
    };

    /// No prefix besides the well-known one.
    pub(super) const NONE: Nat64 = Nat64 {
        translators: [Translator { bits: 0, length: 0 }; Nat64::MAX_PREFIXES],
        count: 0,
    };

    /// Adds the prefix `text`, as `ADDRESS/LENGTH`.
    ///
    /// # Errors
    ///
    /// If the text is not an IPv6 prefix of one of the six lengths, or overlaps another
    /// prefix, or there are [`MAX_PREFIXES`](Self::MAX_PREFIXES) already.
    pub fn add(&mut self, text: &str) -> Result<(), Nat64Error> {
        let prefix = Prefix::parse_any(text.trim_ascii()).map_err(Nat64Error::Prefix)?;
        if prefix.family != Family::V6 || !matches!(prefix.length, 32 | 40 | 48 | 56 | 64 | 96) {
            return Err(Nat64Error::Length);
        }
        let translator = Translator {
            bits: prefix.bits(),
            length: prefix.length,
        };
        let mut others = self.translators[..self.count].iter();
        if let Some(other) = others.find(|other| other.overlaps(translator)) {
            return Err(Nat64Error::Overlap(other.prefix()));
        }
        let free = self.translators.get_mut(self.count);
        *free.ok_or(Nat64Error::TooMany)? = translator;
        self.count += 1;
        Ok(())
    }

    /// Checks the prefix of a rule. [`Prefix::parse_any`] has checked that it is not within
    /// the well-known prefix.
    ///
    /// # Errors
    ///
    /// If it is within one of the prefixes, so that a rule for it would apply to no source:
    /// its addresses are IPv4 sources.
    pub fn check(&self, prefix: Prefix) -> Result<(), PrefixError> {
        let mut translators = self.translators[..self.count].iter();
        match translators.find_map(|translator| translator.reason_against(prefix)) {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    /// The prefixes besides the well-known one.
    pub fn translators(&self) -> impl Iterator<Item = Prefix> + '_ {
        let translators = self.translators[..self.count].iter();
        translators.map(|translator| translator.prefix())
    }

    /// Whether there is no prefix besides the well-known one.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The IPv4 address in the IPv6 address `bits`, if one of the prefixes contains it.
    #[cold]
    pub(super) fn embedded(&self, bits: u128) -> Option<u32> {
        let mut translators = self.translators[..self.count].iter();
        translators.find_map(|translator| translator.embedded(bits))
    }
}

impl Translator {
    /// The bits of `address` that are within the prefix.
    fn network(self, address: u128) -> u128 {
        address & (u128::MAX << (128 - u32::from(self.length)))
    }

    fn overlaps(self, other: Translator) -> bool {
        let shorter = if self.length <= other.length {
            self
        } else {
            other
        };
        shorter.network(self.bits) == shorter.network(other.bits)
    }

    fn embedded(self, address: u128) -> Option<u32> {
        if self.network(address) != self.bits {
            return None;
        }
        let octets = address.to_be_bytes();
        // Octet 8 separates the halves of the address. It is 0 in an embedding.
        if self.length <= 64 && octets[8] != 0 {
            return None;
        }
        let first = usize::from(self.length / 8);
        let mut embedded = (first..octets.len()).filter(|&at| at != 8 || self.length > 64);
        let octets: [u8; 4] = core::array::from_fn(|_| embedded.next().map_or(0, |at| octets[at]));
        Some(u32::from_be_bytes(octets))
    }

    /// The IPv4 prefix that `prefix` stands for, if it is within this one. Addresses whose
    /// octet 8 is not 0 are IPv6, so a prefix that only has such addresses stands for none.
    fn embedded_prefix(self, prefix: Prefix) -> Option<Prefix> {
        if !self.prefix().contains(prefix) {
            return None;
        }
        let address = self.embedded(prefix.bits())?;
        let octet_8 = if self.length <= 64 {
            prefix.length.saturating_sub(64).min(8)
        } else {
            0
        };
        let length = (prefix.length - self.length - octet_8).min(32);
        Some(Prefix {
            of_networks: false,
            family: Family::V4,
            upper: address.into(),
            lower: 0,
            length,
        })
    }

    fn reason_against(self, prefix: Prefix) -> Option<PrefixError> {
        let ipv4 = self.embedded_prefix(prefix)?;
        Some(PrefixError::Translated {
            translator: self.prefix(),
            ipv4,
        })
    }

    fn prefix(self) -> Prefix {
        Prefix {
            of_networks: false,
            family: Family::V6,
            upper: (self.bits >> 64) as u64,
            lower: self.bits as u64,
            length: self.length,
        }
    }
}

/// Why a text is not the prefix of a translator. Its `Display` says the reason and the
/// remedy, and leaves the text to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat64Error {
    /// It is not a prefix.
    Prefix(PrefixError),
    /// It is not an IPv6 prefix of one of the six lengths.
    Length,
    /// It overlaps this prefix.
    Overlap(Prefix),
    /// There are too many.
    TooMany,
}

impl fmt::Display for Nat64Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nat64Error::Prefix(error) => error.fmt(f),
            Nat64Error::Length => f.write_str(
                "the prefix of a translator is IPv6 and has the length 32, 40, 48, 56, 64 or \
                 96 (RFC 6052); write one like 2001:db8:64::/96",
            ),
            Nat64Error::Overlap(other) => {
                write!(f, "it overlaps {other}; remove one of the two")
            }
            Nat64Error::TooMany => write!(
                f,
                "there are more than {} prefixes of translators; remove some",
                Nat64::MAX_PREFIXES,
            ),
        }
    }
}

impl std::error::Error for Nat64Error {}

/// Why there can be no rule for a prefix within 64:ff9b::/96.
pub(super) fn reason_against(prefix: Prefix) -> Option<PrefixError> {
    let well_known = Translator {
        bits: u128::from(WELL_KNOWN_UPPER) << 64,
        length: 96,
    };
    well_known.reason_against(prefix)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use super::*;
    use crate::source::{PrefixLengths, Source};

    fn translators(texts: &[&str]) -> Nat64 {
        let mut nat64 = Nat64::default();
        for text in texts {
            nat64.add(text).unwrap();
        }
        nat64
    }

    fn source(address: &str, nat64: &Nat64) -> String {
        let address: Ipv6Addr = address.parse().unwrap();
        let lengths = PrefixLengths::DEFAULT;
        let source = Source::translated(&address.octets(), lengths, nat64).unwrap();
        source.display(lengths).to_string()
    }

    /// The table in RFC 6052 §2.4, with its prefixes.
    #[test]
    fn embeddings_of_the_standard_are_unwrapped() {
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            let nat64 = translators(&[prefix]);
            assert_eq!(source(address, &nat64), "192.0.2.33", "{prefix}");
            assert!(source(address, &Nat64::default()).ends_with("/64"));
        }
    }

    #[test]
    fn well_known_prefix_is_unwrapped_by_default() {
        let nat64 = Nat64::default();
        assert_eq!(source("64:ff9b::198.51.100.1", &nat64), "198.51.100.1");
        assert_eq!(source("64:ff9b:0:0:0:1::", &nat64), "64:ff9b::/64");
        assert_eq!(source("64:ff9b:1::c633:6401", &nat64), "64:ff9b:1::/64");
    }

    #[test]
    fn several_translators_are_unwrapped() {
        let nat64 = translators(&["64:ff9b:1::/48", "2001:db8:64::/96"]);
        assert_eq!(source("64:ff9b:1:c000:2:2100::", &nat64), "192.0.2.33");
        assert_eq!(source("2001:db8:64::192.0.2.1", &nat64), "192.0.2.1");
        assert_eq!(source("2001:db8:65::192.0.2.1", &nat64), "2001:db8:65::/64");
    }

    #[test]
    fn address_with_a_separator_that_is_not_zero_is_ipv6() {
        let nat64 = translators(&["2001:db8::/32"]);
        assert_eq!(
            source("2001:db8:c000:221:100::", &nat64),
            "2001:db8:c000:221::/64"
        );
    }

    /// Why there can be no rule for `prefix`; empty if there can be one.
    fn against(nat64: &Nat64, prefix: &str) -> String {
        let checked = nat64.check(Prefix::parse_any(prefix).unwrap());
        checked
            .err()
            .map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn prefix_of_translated_addresses_is_rejected_with_its_ipv4_prefix() {
        // The prefixes in RFC 6052 §2.4, for an address, for its /24, and for all.
        for (translator, rules) in [
            (
                "2001:db8::/32",
                [
                    "2001:db8:c000:221::/64",
                    "2001:db8:c000:200::/56",
                    "2001:db8::/32",
                ],
            ),
            (
                "2001:db8:100::/40",
                [
                    "2001:db8:1c0:2:21::/80",
                    "2001:db8:1c0:2::/64",
                    "2001:db8:100::/40",
                ],
            ),
            (
                "2001:db8:122::/48",
                [
                    "2001:db8:122:c000:2:2100::/88",
                    "2001:db8:122:c000:2::/80",
                    "2001:db8:122::/48",
                ],
            ),
            (
                "2001:db8:122:300::/56",
                [
                    "2001:db8:122:3c0:0:221::",
                    "2001:db8:122:3c0:0:200::/88",
                    "2001:db8:122:300::/56",
                ],
            ),
            (
                "2001:db8:122:344::/64",
                [
                    "2001:db8:122:344:c0:2:2100::/104",
                    "2001:db8:122:344:c0:2::/96",
                    "2001:db8:122:344::/72",
                ],
            ),
            (
                "2001:db8:122:344::/96",
                [
                    "2001:db8:122:344::192.0.2.33",
                    "2001:db8:122:344::192.0.2.0/120",
                    "2001:db8:122:344::/96",
                ],
            ),
        ] {
            let nat64 = translators(&["2001:db9::/32", translator]);
            for (rule, ipv4) in rules
                .into_iter()
                .zip(["192.0.2.33", "192.0.2.0/24", "0.0.0.0/0"])
            {
                assert_eq!(
                    against(&nat64, rule),
                    format!("clients of the translator {translator} count as IPv4; write {ipv4}"),
                    "{rule}"
                );
            }
        }
    }

    #[test]
    fn prefix_with_other_addresses_is_allowed() {
        let nat64 = translators(&["2001:db8:64::/96", "2001:db8:122::/48"]);
        for prefix in [
            "::/0",
            "2001:db8::/32",
            "2001:db8:64::/95",
            "2001:db8:64::1:0:0/96",
            "2001:db8:65::1",
            // Its octet 8 is not 0, so it is an IPv6 address.
            "2001:db8:122:c000:100::/72",
            "192.0.2.0/24",
            "0.0.0.0/0",
        ] {
            assert_eq!(against(&nat64, prefix), "", "{prefix}");
            assert_eq!(against(&Nat64::default(), prefix), "", "{prefix}");
        }
    }

    #[test]
    fn invalid_prefix_is_rejected_with_its_reason() {
        let mut nat64 = translators(&["2001:db8:1::/48"]);
        for text in ["192.0.2.0/24", "2001:db8::/33", "2001:db8::", "::/0"] {
            assert_eq!(nat64.add(text), Err(Nat64Error::Length), "{text}");
        }
        assert_eq!(
            nat64.add("garbage").unwrap_err().to_string(),
            PrefixError::Address.to_string()
        );
        for text in ["2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:2::/64"] {
            assert_eq!(
                nat64.add(text).unwrap_err().to_string(),
                "it overlaps 2001:db8:1::/48; remove one of the two",
            );
        }
        for n in 1..Nat64::MAX_PREFIXES {
            nat64.add(&format!("2001:db8:f:{n}::/64")).unwrap();
        }
        assert_eq!(nat64.add("2001:db8:e::/64"), Err(Nat64Error::TooMany));
    }
}
