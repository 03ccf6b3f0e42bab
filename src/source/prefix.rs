// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Prefix`]: a network, whose sources have a rule or are listed.

#![forbid(unsafe_code)]

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Family, PrefixLengths, Source, nat64, network};

/// A network: all addresses with the same leading bits. Sorts by family, network and
/// length; a prefix of networks comes after all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// It stands for the networks in it that are counted, not for its addresses. No other
    /// prefix contains it, or is contained in it.
    pub of_networks: bool,
    /// IPv4 or IPv6.
    pub family: Family,
    /// IPv4: the network's address. IPv6: its upper 64 bits.
    pub upper: u64,
    /// IPv4: 0. IPv6: the lower 64 bits of the network's address.
    pub lower: u64,
    /// The number of leading bits that all addresses of the network share.
    pub length: u8,
}

impl Prefix {
    pub(crate) fn new(net: IpNet) -> Prefix {
        let (family, upper, lower) = match net.network() {
            IpAddr::V4(address) => (Family::V4, u64::from(address.to_bits()), 0),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                (Family::V6, (bits >> 64) as u64, bits as u64)
            }
        };
        Prefix {
            of_networks: false,
            family,
            upper,
            lower,
            length: net.prefix_len(),
        }
    }

    /// As [`parse_any`](Self::parse_any), for a prefix of whole sources. A source has the
    /// prefix length in `lengths`, so no prefix may be longer.
    ///
    /// # Errors
    ///
    /// Why the text is not such a prefix.
    pub fn parse(text: &str, lengths: PrefixLengths) -> Result<Prefix, PrefixError> {
        let prefix = Prefix::parse_any(text)?;
        let max = lengths.length(prefix.family);
        if prefix.length <= max {
            return Ok(prefix);
        }
        Err(PrefixError::LongerThanSource(prefix.shortened(max)))
    }

    /// Reads `ADDRESS/LENGTH`, or `ADDRESS` alone for a single address. Blanks may be
    /// around the address.
    ///
    /// # Errors
    ///
    /// Why the text is not a prefix.
    pub fn parse_any(text: &str) -> Result<Prefix, PrefixError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        // Parsed by std: ipnet accepts the octet 010, which other programs read as 8.
        let address: IpAddr = address
            .trim_ascii()
            .parse()
            .map_err(|_| PrefixError::Address)?;
        let net = match length {
            None => IpNet::from(address),
            Some(length) => parse_length(length)
                .and_then(|length| IpNet::new(address, length).ok())
                .ok_or(PrefixError::Length(match address {
                    IpAddr::V4(_) => Family::V4,
                    IpAddr::V6(_) => Family::V6,
                }))?,
        };
        if let IpAddr::V6(address) = address
            && let Some(mapped) = address.to_ipv4_mapped()
        {
            return Err(PrefixError::Mapped(mapped));
        }
        let prefix = Prefix::new(net);
        if net.addr() != net.network() {
            return Err(PrefixError::HostBits(prefix));
        }
        match nat64::reason_against(prefix) {
            Some(reason) => Err(reason),
            None => Ok(prefix),
        }
    }

    /// The prefix of this length that contains this one, which is longer
    /// or has this length.
    pub(crate) fn shortened(self, length: u8) -> Prefix {
        let host_bits = self.family.bits().saturating_sub(length.into());
        let bits = self.bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0);
        let (upper, lower) = match self.family {
            Family::V4 => (bits as u64, 0),
            Family::V6 => ((bits >> 64) as u64, bits as u64),
        };
        Prefix {
            upper,
            lower,
            length,
            ..self
        }
    }

    /// The prefix of this length that contains the address with these octets, 4 or 16; `None`:
    /// it has another number of them, or fewer bits than that.
    pub(crate) fn around(octets: &[u8], length: u8) -> Option<Prefix> {
        let address: IpAddr = match octets {
            [a, b, c, d] => Ipv4Addr::new(*a, *b, *c, *d).into(),
            _ => Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into(),
        };
        IpNet::new(address, length).ok().map(Prefix::new)
    }

    /// Whether this prefix contains all addresses of `other`.
    #[inline]
    pub fn contains(self, other: Prefix) -> bool {
        // A length out of range, from damaged memory, counts as a whole address.
        let host_bits = self.family.bits().saturating_sub(u32::from(self.length));
        let difference = (self.bits() ^ other.bits()).checked_shr(host_bits);
        self.family == other.family
            && self.of_networks == other.of_networks
            && self.length <= other.length
            // The shift of ::/0 is 128 bits, which leaves nothing to compare.
            && difference.unwrap_or(0) == 0
    }

    /// The network's address in network byte order, with zeros after an IPv4 address.
    pub fn octets(self) -> [u8; 16] {
        match self.family {
            Family::V4 => (u128::from(self.upper) << 96).to_be_bytes(),
            Family::V6 => self.bits().to_be_bytes(),
        }
    }

    /// The network's address as a number.
    #[inline]
    pub(super) fn bits(self) -> u128 {
        match self.family {
            Family::V4 => u128::from(self.upper),
            Family::V6 => u128::from(self.upper) << 64 | u128::from(self.lower),
        }
    }
}

/// The masked address with the full length: it sorts after all prefixes that contain the
/// source.
impl From<Source> for Prefix {
    #[inline]
    fn from(source: Source) -> Prefix {
        Prefix {
            of_networks: source.is_network(),
            family: source.family(),
            upper: source.address_upper(),
            lower: source.address_low(),
            length: source.family().bits() as u8,
        }
    }
}

/// `192.0.2.0/24`, or `192.0.2.1` if the length is that of an address, or
/// `network 192.0.2.0/24`.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of_networks {
            write!(f, "{} ", network::WORD)?;
        }
        match self.family {
            Family::V4 => write!(f, "{}", Ipv4Addr::from_bits(self.upper as u32))?,
            Family::V6 => write!(f, "{}", Ipv6Addr::from_bits(self.bits()))?,
        }
        if u32::from(self.length) < self.family.bits() {
            write!(f, "/{}", self.length)?;
        }
        Ok(())
    }
}

/// Only digits: `parse` of std also accepts a plus sign.
pub(super) fn parse_length(text: &str) -> Option<u8> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Why a text is not a prefix. Its `Display` says the reason and the remedy, and leaves the
/// text to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// There is no IPv4 or IPv6 address.
    Address,
    /// The length is not a number from 0 to the bits of an address of this family.
    Length(Family),
    /// The address is IPv4-mapped IPv6, of this IPv4 address.
    Mapped(Ipv4Addr),
    /// The prefix is within that of a translator, and stands for an IPv4 prefix.
    Translated {
        /// The prefix of the translator.
        translator: Prefix,
        /// The IPv4 prefix.
        ipv4: Prefix,
    },
    /// The prefix is a part of this source.
    LongerThanSource(Prefix),
    /// The address has bits set beyond the length. This is the prefix without them.
    HostBits(Prefix),
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrefixError::Address => f.write_str(
                "not an IPv4 or IPv6 prefix; write one like 192.0.2.0/24 or \
                 2001:db8::/32, or a single address",
            ),
            PrefixError::Length(family) => write!(
                f,
                "the prefix length after `/` must be a number from 0 to {}",
                family.bits(),
            ),
            PrefixError::Mapped(address) => write!(
                f,
                "the prefix is IPv4-mapped IPv6; write it as an IPv4 prefix, with the address \
                 {address}",
            ),
            PrefixError::Translated { translator, ipv4 } => write!(
                f,
                "clients of the translator {translator} count as IPv4; write {ipv4}",
            ),
            PrefixError::LongerThanSource(source) => {
                let parameter = match source.family {
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
            PrefixError::HostBits(prefix) => write!(
                f,
                "the address has bits set beyond the prefix length; write {prefix}",
            ),
        }
    }
}

impl std::error::Error for PrefixError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a text that is not a prefix of sources of the default lengths.
    fn reason(text: &str) -> String {
        let error = Prefix::parse(text, PrefixLengths::DEFAULT).unwrap_err();
        error.to_string()
    }

    #[test]
    fn prefix_contains_itself_and_longer_ones() {
        let prefix = |net: &str| Prefix::new(net.parse().unwrap());
        assert!(prefix("10.0.0.0/8").contains(prefix("10.0.0.0/8")));
        assert!(prefix("10.0.0.0/8").contains(prefix("10.0.0.0/9")));
        assert!(!prefix("10.0.0.0/9").contains(prefix("10.0.0.0/8")));
        assert!(!prefix("0.0.0.0/0").contains(prefix("::/0")));
    }

    #[test]
    fn text_without_an_address_is_rejected() {
        for text in [
            "",
            "localhost",
            "10.0.0/8",
            "010.0.0.0/8",
            "[2001:db8::]/32",
            "fe80::1%eth0",
            "/8",
        ] {
            assert_eq!(
                reason(text),
                "not an IPv4 or IPv6 prefix; write one like 192.0.2.0/24 or \
                 2001:db8::/32, or a single address",
            );
        }
    }

    #[test]
    fn invalid_length_is_rejected() {
        for text in [
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-8",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/256",
        ] {
            assert_eq!(
                reason(text),
                "the prefix length after `/` must be a number from 0 to 32"
            );
        }
        assert_eq!(
            reason("::/129"),
            "the prefix length after `/` must be a number from 0 to 128",
        );
    }

    #[test]
    fn bits_beyond_the_length_are_rejected() {
        assert_eq!(
            reason("10.1.0.0/8"),
            "the address has bits set beyond the prefix length; write 10.0.0.0/8",
        );
        assert_eq!(
            reason("2001:db8:0:1::/32"),
            "the address has bits set beyond the prefix length; write 2001:db8::/32",
        );
    }

    #[test]
    fn mapped_ipv4_prefix_is_rejected() {
        for text in ["::ffff:192.0.2.0/120", "::ffff:192.0.2.0"] {
            assert_eq!(
                reason(text),
                "the prefix is IPv4-mapped IPv6; write it as an IPv4 prefix, with the address \
                 192.0.2.0",
            );
        }
    }

    #[test]
    fn prefix_of_translated_addresses_is_rejected() {
        for (text, ipv4) in [
            ("64:ff9b::192.0.2.0/120", "192.0.2.0/24"),
            ("64:ff9b::192.0.2.1", "192.0.2.1"),
            ("64:ff9b::/96", "0.0.0.0/0"),
        ] {
            assert_eq!(
                reason(text),
                format!("clients of the translator 64:ff9b::/96 count as IPv4; write {ipv4}"),
            );
        }
        assert!(Prefix::parse("64:ff9b::/32", PrefixLengths::DEFAULT).is_ok());
    }

    #[test]
    fn prefix_longer_than_a_source_is_rejected() {
        for text in ["2001:db8::1", "2001:db8::/65"] {
            assert_eq!(
                reason(text),
                "the prefix is longer than ipv6_prefix, and a source is a whole /64; \
                 write 2001:db8::/64 or raise ipv6_prefix",
            );
        }
        let lengths = PrefixLengths::new(24, 64).unwrap();
        assert_eq!(
            Prefix::parse("192.0.2.7", lengths).unwrap_err().to_string(),
            "the prefix is longer than ipv4_prefix, and a source is a whole /24; \
             write 192.0.2.0/24 or raise ipv4_prefix",
        );
    }
}
