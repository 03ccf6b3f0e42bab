// SPDX-License-Identifier: GPL-2.0-or-later
//! The text of a source: an address, or a network as reports and log lines show it.

#![forbid(unsafe_code)]

use core::fmt;
use core::net::IpAddr;

use super::prefix::parse_length;
use super::{PrefixLengths, Source};

/// Reads `ADDRESS`, or `ADDRESS/LENGTH` if all its addresses belong to one source.
///
/// # Errors
///
/// Why the text does not name a source.
pub(crate) fn parse(text: &str, lengths: PrefixLengths) -> Result<Source, SourceError> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| SourceError::Address)?;
    let (source, bits) = match address {
        IpAddr::V4(address) => (Source::new(&address.octets(), lengths), 32),
        IpAddr::V6(address) => (Source::new(&address.octets(), lengths), 128),
    };
    let source = source.ok_or(SourceError::Address)?;
    if let Some(length) = length {
        let length = parse_length(length).map(u32::from);
        let length = length.filter(|length| *length <= bits);
        let length = length.ok_or(SourceError::Length { bits })?;
        // The leading bits that an IPv4-mapped address has more than the IPv4 address.
        let mapped = bits - source.family().bits();
        let least = u32::from(lengths.length(source.family())) + mapped;
        if length < least {
            return Err(SourceError::ManySources);
        }
    }
    Ok(source)
}

/// Why a text does not name a source. Its `Display` says the reason and the remedy, and
/// leaves the text to the caller. It is short, because some transports of the host cut an
/// answer after 127 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceError {
    /// There is no IPv4 or IPv6 address.
    Address,
    /// The length is not a number from 0 to `bits`.
    Length { bits: u32 },
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, v4: u32, v6: u32) -> Result<String, String> {
        let lengths = PrefixLengths::new(v4, v6).unwrap();
        match parse(text, lengths) {
            Ok(source) => Ok(source.display(lengths).to_string()),
            Err(error) => Err(error.to_string()),
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
            ("::/1", 32, 1, "::/1"),
            ("::ffff:192.0.2.7", 32, 64, "192.0.2.7"),
            ("::ffff:192.0.2.7/128", 32, 64, "192.0.2.7"),
            ("::ffff:192.0.2.0/120", 24, 64, "192.0.2.0/24"),
        ] {
            assert_eq!(shown(text, v4, v6), Ok(source.to_owned()), "{text}");
        }
    }

    #[test]
    fn sources_are_read_back_as_they_are_shown() {
        for (v4, v6) in [(32, 64), (24, 48), (1, 1), (32, 128)] {
            for text in ["203.0.113.99", "2001:db8:1:2:3:4:5:6"] {
                let once = shown(text, v4, v6).unwrap();
                assert_eq!(shown(&once, v4, v6), Ok(once.clone()));
            }
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_remedy() {
        for text in [
            "",
            "localhost",
            "127",
            "192.0.2.7 ",
            "[::1]",
            "/64",
            "010.0.0.1",
        ] {
            let expected = "expected an IPv4 or IPv6 address".to_owned();
            assert_eq!(shown(text, 32, 64), Err(expected), "{text}");
        }
        for (text, bits) in [("192.0.2.7/33", 32), ("192.0.2.7/", 32), ("::/129", 128)] {
            let expected = format!("the prefix length after `/` must be a number from 0 to {bits}");
            assert_eq!(shown(text, 32, 64), Err(expected), "{text}");
        }
        for text in ["192.0.2.0/24", "2001:db8::/63", "::ffff:192.0.2.0/64"] {
            let expected = "it has more than one source: use tcp_conn_limit.list".to_owned();
            assert_eq!(shown(text, 32, 64), Err(expected), "{text}");
        }
    }
}
