// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads the text of a source, in the forms in which Kamailio, this library and people
//! write one.

#![forbid(unsafe_code)]

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::prefix::parse_length;
use super::{Family, Nat64, PrefixLengths, Source};

/// A source that a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The source.
    pub source: Source,
    /// The address itself, as the source that it would be if each address were one. `None`
    /// if the text names the source as a network.
    pub host: Option<Source>,
}

/// Reads an IPv4 or IPv6 address, or a network all of whose addresses belong to one source.
/// Besides the bare address these forms are accepted:
///
/// ```text
///   [2001:db8::1]              in brackets, as $siz has it
///   192.0.2.1:5060             with a port, which is ignored
///   [2001:db8::1]:5060
///   fe80::1%eth0               with a zone, which is ignored
///   2001:db8::/64              the source, as reports print it, or a part of it
/// ```
///
/// A source that contains addresses of translators is not the source of those, but it is
/// the one that its own text names.
///
/// # Errors
///
/// Why the text does not name a source.
pub fn read_source(
    text: &str,
    lengths: PrefixLengths,
    nat64: &Nat64,
) -> Result<Named, SourceError> {
    let text = text.trim_ascii();
    match text.split_once('/') {
        Some((address, length)) => {
            let address = bare(address).ok_or(SourceError::Address)?;
            read_network(address, length, lengths, nat64)
        }
        None => {
            let address = read_address(text).ok_or(SourceError::Address)?;
            Ok(named(address, lengths, nat64))
        }
    }
}

fn named(address: IpAddr, lengths: PrefixLengths, nat64: &Nat64) -> Named {
    Named {
        source: source_of(address, lengths, nat64),
        host: Some(source_of(address, PrefixLengths::HOST, nat64)),
    }
}

fn source_of(address: IpAddr, lengths: PrefixLengths, nat64: &Nat64) -> Source {
    match address {
        IpAddr::V4(address) => Source::v4(address.to_bits(), lengths),
        IpAddr::V6(address) => Source::of_ipv6(address.to_bits(), lengths, nat64),
    }
}

fn read_network(
    address: IpAddr,
    length: &str,
    lengths: PrefixLengths,
    nat64: &Nat64,
) -> Result<Named, SourceError> {
    let bits = match address {
        IpAddr::V4(_) => Family::V4.bits(),
        IpAddr::V6(_) => Family::V6.bits(),
    };
    let length = parse_length(length).map(u32::from);
    let length = length.filter(|length| *length <= bits);
    let length = length.ok_or(SourceError::Length { bits })?;
    if length == bits {
        return Ok(named(address, lengths, nat64));
    }
    let (first, last) = ends(address, bits - length);
    let [own, low, high] = [address, first, last].map(|address| source_of(address, lengths, nat64));
    let source = if low == high {
        low
    } else {
        // A part of an IPv6 source may also have addresses of a translator.
        let mut ends = [low, high].into_iter();
        let ipv6 = ends.find(|end| end.family() == Family::V6);
        ipv6.filter(|_| length >= u32::from(lengths.v6))
            .ok_or(SourceError::ManySources)?
    };
    // The text `::ffff:192.0.2.1/64` does not say whether it means the IPv4 source.
    let is_whole = address == first && source.family() == Family::V6;
    if own != source && !is_whole {
        return Err(SourceError::ManySources);
    }
    Ok(Named { source, host: None })
}

/// The first and the last address of the network with this many host bits.
fn ends(address: IpAddr, host_bits: u32) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let hosts = u32::MAX.checked_shr(32 - host_bits).unwrap_or(0);
            let bits = address.to_bits();
            (
                Ipv4Addr::from_bits(bits & !hosts).into(),
                Ipv4Addr::from_bits(bits | hosts).into(),
            )
        }
        IpAddr::V6(address) => {
            let hosts = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
            let bits = address.to_bits();
            (
                Ipv6Addr::from_bits(bits & !hosts).into(),
                Ipv6Addr::from_bits(bits | hosts).into(),
            )
        }
    }
}

/// An address, perhaps in brackets, with a port or a zone.
fn read_address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let port_is_valid = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        let address = bare(address)?;
        return (port_is_valid && address.is_ipv6()).then_some(address);
    }
    bare(text).or_else(|| {
        let (address, port) = text.split_once(':')?;
        let address = bare(address)?;
        (is_port(port) && address.is_ipv4()).then_some(address)
    })
}

/// An address without a port, perhaps with a zone.
fn bare(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        Some((_, "")) => None,
        Some((address, _)) => address.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok(),
    }
}

fn is_port(text: &str) -> bool {
    // Only digits: `parse` also accepts a plus sign.
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Why a text does not name a source. Its `Display` says the reason and the remedy, and
/// leaves the text to the caller. It is short, because some transports of the host cut an
/// answer after 127 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceError {
    /// There is no IPv4 or IPv6 address.
    Address,
    /// The length is not a number from 0 to `bits`.
    Length {
        /// The number of bits of the address.
        bits: u32,
    },
    /// The network is larger than a source.
    ManySources,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Address => f.write_str("expected an IPv4 or IPv6 address"),
            SourceError::Length { bits } => {
                write!(
                    f,
                    "the prefix length after `/` must be a number from 0 to {bits}"
                )
            }
            SourceError::ManySources => {
                f.write_str("it has more than one source: use tcp_conn_limit.list")
            }
        }
    }
}

impl std::error::Error for SourceError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_behind(
        nat64: &[&str],
        text: &str,
        v4: u32,
        v6: u32,
    ) -> Result<(String, Option<String>), String> {
        let mut translators = Nat64::default();
        for prefix in nat64 {
            translators.add(prefix).unwrap();
        }
        let lengths = PrefixLengths::new(v4, v6).unwrap();
        match read_source(text, lengths, &translators) {
            Ok(Named { source, host }) => Ok((
                source.display(lengths).to_string(),
                host.map(|host| host.display(PrefixLengths::HOST).to_string()),
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    fn shown(text: &str, v4: u32, v6: u32) -> Result<String, String> {
        shown_behind(&[], text, v4, v6).map(|(source, _)| source)
    }

    fn host(text: &str) -> Option<String> {
        shown_behind(&[], text, 24, 64).unwrap().1
    }

    #[test]
    fn usual_forms_are_addresses() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1 ", "192.0.2.1"),
            ("192.0.2.1:5060", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::1]:5061", "::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%2]:5060", "fe80::1"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(host(text).as_deref(), Some(address), "{text}");
        }
    }

    #[test]
    fn addresses_and_shown_sources_name_a_source() {
        for (text, v4, v6, source) in [
            ("192.0.2.7", 32, 64, "192.0.2.7"),
            ("192.0.2.7/32", 32, 64, "192.0.2.7"),
            ("192.0.2.7", 24, 64, "192.0.2.0/24"),
            ("192.0.2.0/24", 24, 64, "192.0.2.0/24"),
            ("192.0.2.7/24", 24, 64, "192.0.2.0/24"),
            ("192.0.2.128/25", 24, 64, "192.0.2.0/24"),
            ("2001:db8::7", 32, 64, "2001:db8::/64"),
            ("2001:db8::/64", 32, 64, "2001:db8::/64"),
            ("2001:db8::7/128", 32, 64, "2001:db8::/64"),
            ("2001:db8::8:0/112", 32, 64, "2001:db8::/64"),
            ("fe80::1%eth0/64", 32, 64, "fe80::/64"),
            ("::/1", 32, 1, "::/1"),
            ("::/64", 32, 64, "::/64"),
            ("::ffff:192.0.2.7", 32, 64, "192.0.2.7"),
            ("::ffff:192.0.2.7/128", 32, 64, "192.0.2.7"),
            ("::ffff:192.0.2.0/120", 24, 64, "192.0.2.0/24"),
            ("64:ff9b::192.0.2.128/121", 24, 64, "192.0.2.0/24"),
        ] {
            assert_eq!(shown(text, v4, v6), Ok(source.to_owned()), "{text}");
        }
    }

    #[test]
    fn network_has_no_host() {
        for text in ["192.0.2.0/24", "2001:db8::/64", "2001:db8::/112"] {
            assert_eq!(host(text), None, "{text}");
        }
    }

    #[test]
    fn sources_are_read_back_as_they_are_shown() {
        let translators = ["2001:db8:64::/96", "2001:db8:1:2::/64"];
        for (v4, v6) in [(32, 64), (24, 48), (1, 1), (32, 128)] {
            for text in [
                "203.0.113.99",
                "2001:db8:1:2:3:4:5:6",
                "2001:db8:64:0:1::",
                "2001:db8:1:2:100::",
                "64:ff9b::1:0:0",
                "::1",
            ] {
                let once = shown_behind(&translators, text, v4, v6).unwrap().0;
                let twice = shown_behind(&translators, &once, v4, v6).map(|shown| shown.0);
                assert_eq!(twice, Ok(once.clone()), "{text}");
            }
        }
    }

    #[test]
    fn clients_of_a_translator_are_ipv4() {
        let shown = |text| shown_behind(&["2001:db8:64::/96"], text, 24, 64);
        for text in ["2001:db8:64::192.0.2.9", "2001:db8:64::192.0.2.9/128"] {
            let expected = ("192.0.2.0/24".to_owned(), Some("192.0.2.9".to_owned()));
            assert_eq!(shown(text), Ok(expected), "{text}");
        }
        let source = shown("2001:db8:64::192.0.2.0/120");
        assert_eq!(source, Ok(("192.0.2.0/24".to_owned(), None)));
        for text in ["2001:db8:64::192.0.2.0/119", "2001:db8:64::192.0.2.9/64"] {
            assert!(shown(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_remedy() {
        for text in [
            "",
            "localhost",
            "127",
            "/64",
            "010.0.0.1",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "192.0.2.1:+5",
            "192.0.2.1%eth0",
            "[192.0.2.1]",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]:",
            "[::1]5060",
            "fe80::1%",
            "[2001:db8::]/64",
            "<null>",
        ] {
            let expected = "expected an IPv4 or IPv6 address".to_owned();
            assert_eq!(shown(text, 32, 64), Err(expected), "{text}");
        }
        for (text, bits) in [
            ("192.0.2.7/33", 32),
            ("192.0.2.7/", 32),
            ("192.0.2.1/+32", 32),
            ("::/129", 128),
        ] {
            let expected = format!("the prefix length after `/` must be a number from 0 to {bits}");
            assert_eq!(shown(text, 32, 64), Err(expected), "{text}");
        }
        for text in [
            "0.0.0.0/0",
            "::/0",
            "192.0.2.0/24",
            "2001:db8::/63",
            "::ffff:192.0.2.0/64",
            "::ffff:0:0/96",
            "::ffff:127.255.255.255/97",
        ] {
            let expected = "it has more than one source: use tcp_conn_limit.list".to_owned();
            assert_eq!(shown(text, 32, 64), Err(expected), "{text}");
        }
    }
}
