// SPDX-License-Identifier: GPL-2.0-or-later
//! Reads an address in the forms in which Kamailio, this library and people write one.

#![forbid(unsafe_code)]

use core::fmt;
use core::net::IpAddr;

use super::{Family, PrefixLengths};

/// Reads an IPv4 or IPv6 address, and returns it in network byte order, 4 or 16 bytes.
/// Besides the bare address these forms are accepted:
///
/// ```text
///   [2001:db8::1]              in brackets, as $siz has it
///   192.0.2.1:5060             with a port, which is ignored
///   [2001:db8::1]:5060
///   fe80::1%eth0               with a zone, which is ignored
///   2001:db8::/64              the source, as reports print it; the length must be
///                              that of a source
/// ```
///
/// # Errors
///
/// If the text is not an address.
pub fn read_address(text: &str, lengths: PrefixLengths) -> Result<AddressBytes, AddressError> {
    let address = read(text.trim_ascii(), lengths).ok_or(AddressError)?;
    Ok(AddressBytes::from(address))
}

fn read(text: &str, lengths: PrefixLengths) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let port_is_valid = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        let address = bare(address)?;
        return (port_is_valid && address.is_ipv6()).then_some(address);
    }
    if let Some((address, length)) = text.split_once('/') {
        let address = bare(address)?;
        let family = match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        let is_source = length.parse() == Ok(lengths.length(family)) && is_number(length);
        return is_source.then_some(address);
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
    is_number(text) && text.parse::<u16>().is_ok()
}

/// Only digits: `parse` also accepts a plus sign.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An address in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressBytes {
    bytes: [u8; 16],
    length: usize,
}

impl AddressBytes {
    /// The 4 or 16 bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl From<IpAddr> for AddressBytes {
    fn from(address: IpAddr) -> AddressBytes {
        let mut bytes = [0; 16];
        match address {
            IpAddr::V4(address) => {
                bytes[..4].copy_from_slice(&address.octets());
                AddressBytes { bytes, length: 4 }
            }
            IpAddr::V6(address) => AddressBytes {
                bytes: address.octets(),
                length: 16,
            },
        }
    }
}

/// A text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressError;

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an IPv4 or IPv6 address")
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let bytes = read_address(text, PrefixLengths::DEFAULT).ok()?;
        let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
            Ok(octets) => IpAddr::from(octets),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).unwrap()),
        };
        Some(address.to_string())
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
            ("2001:db8::/64", "2001:db8::"),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ] {
            assert_eq!(read(text).as_deref(), Some(address), "{text}");
        }
    }

    #[test]
    fn other_texts_are_invalid() {
        for text in [
            "",
            "no-address",
            "localhost",
            "010.0.0.1",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "192.0.2.1:+5",
            "192.0.2.0/24",
            "192.0.2.1/+32",
            "192.0.2.1%eth0",
            "[192.0.2.1]",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]:",
            "[::1]5060",
            "fe80::1%",
            "2001:db8::/32",
            "2001:db8::1/128",
            "[2001:db8::]/64",
            "<null>",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
