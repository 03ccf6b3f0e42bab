// SPDX-License-Identifier: GPL-2.0-or-later
//! [`ListenerName`]: a listening socket of the server, as a rule names it.
//!
//! ```text
//!   [PROTOCOL:]ADDRESS:PORT     PROTOCOL is tcp or tls; an IPv6 address is in brackets
//! ```

#![forbid(unsafe_code)]

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::shared::visible::Excerpt;
use crate::source::Scope;

/// The protocol of a listening socket. A WebSocket connection arrives on one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP without TLS.
    Tcp = 1,
    /// TLS.
    Tls = 2,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Tls => "tls",
        }
    }
}

/// A listening socket, by its address and port. There is one socket with both, so the
/// protocol only says what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerName {
    /// The address on which it listens.
    pub address: IpAddr,
    /// Its port, not 0.
    pub port: u16,
    /// Its protocol; `None`: any.
    pub protocol: Option<Protocol>,
}

impl ListenerName {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// Why the text is not one.
    pub fn parse(text: &str) -> Result<ListenerName, ListenerError> {
        parse(text).map_err(ListenerError)
    }
    /// Address and port, which no two sockets share.
    pub(crate) fn endpoint(self) -> (IpAddr, u16) {
        (self.address, self.port)
    }

    /// Whether this names `socket`, whose protocol is known.
    pub fn names(self, socket: ListenerName) -> bool {
        self.endpoint() == socket.endpoint()
            && (self.protocol.is_none() || self.protocol == socket.protocol)
    }

    /// The name in three words, of which the first is not 0:
    ///
    /// ```text
    ///   bits 0–15 port │ 16–17 protocol, or 0 │ 18 IPv6 │ 19: 1      then both halves of the address
    /// ```
    pub(crate) fn to_words(self) -> [u64; 3] {
        let (is_v6, bits) = match self.address {
            IpAddr::V4(address) => (0, u128::from(address.to_bits())),
            IpAddr::V6(address) => (1, address.to_bits()),
        };
        let protocol = self.protocol.map_or(0, |protocol| protocol as u64);
        let first = 1 << 19 | is_v6 << 18 | protocol << 16 | u64::from(self.port);
        [first, (bits >> 64) as u64, bits as u64]
    }

    /// The name that these words are; `None` if they are not a name.
    pub(crate) fn from_words([first, upper, lower]: [u64; 3]) -> Option<ListenerName> {
        let bits = u128::from(upper) << 64 | u128::from(lower);
        (first >> 19 == 1).then_some(ListenerName {
            address: match first >> 18 & 1 {
                0 => IpAddr::V4(Ipv4Addr::from_bits(lower as u32)),
                _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
            },
            port: first as u16,
            protocol: match first >> 16 & 3 {
                1 => Some(Protocol::Tcp),
                2 => Some(Protocol::Tls),
                _ => None,
            },
        })
    }
}

fn parse(text: &str) -> Result<ListenerName, Fault> {
    let (protocol, rest) = match text.split_once(':') {
        Some((name, rest)) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic()) => {
            (Some(parse_protocol(name)?), rest)
        }
        _ => (None, text),
    };
    let excerpt = |text: &str| Excerpt::of(text.as_bytes());
    let (address, port) = rest.rsplit_once(':').ok_or(Fault::Form)?;
    let bracketed = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None if address.contains(':') => return Err(Fault::Brackets),
        None => address.parse().map(IpAddr::V4).ok(),
    };
    let address = address.ok_or_else(|| Fault::Address(excerpt(rest)))?;
    // Only digits: `parse` also accepts a plus sign.
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| port.parse().ok()).flatten();
    match number {
        Some(port @ 1..) => Ok(ListenerName {
            address,
            port,
            protocol,
        }),
        _ => Err(Fault::Port(excerpt(port))),
    }
}

fn parse_protocol(name: &str) -> Result<Protocol, Fault> {
    match name {
        "tcp" => Ok(Protocol::Tcp),
        "tls" => Ok(Protocol::Tls),
        _ => Err(Fault::Protocol(Excerpt::of(name.as_bytes()))),
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(protocol) = self.protocol {
            write!(f, "{}:", protocol.name())?;
        }
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{}", self.port),
            IpAddr::V6(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

/// Why a rule for a listener can have no effect on this server. Its `Display` says the reason
/// and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoListener {
    /// IPv6 sources leave no bits for a listener.
    LongSources,
    /// The server does not listen there.
    Unknown(ListenerName),
}

impl fmt::Display for NoListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoListener::LongSources => write!(
                f,
                "a rule with `listener` needs an ipv6_prefix of at most {}; lower it, or remove \
                 the listener",
                Scope::MAX_IPV6_LENGTH,
            ),
            NoListener::Unknown(name) => write!(
                f,
                "the server does not listen on {name}; write a TCP or TLS socket as \
                 corex.list_sockets shows it"
            ),
        }
    }
}

impl std::error::Error for NoListener {}

/// Why a text does not name a listener. Its `Display` says the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerError(Fault);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// It has no port.
    Form,
    /// This is not a protocol that listens for connections.
    Protocol(Excerpt),
    /// This is not an address.
    Address(Excerpt),
    /// An IPv6 address is not in brackets.
    Brackets,
    /// This is not a port.
    Port(Excerpt),
}

impl fmt::Display for ListenerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::Form => f.write_str(
                "a listener has an address and a port; write listener=192.0.2.1:5060 or \
                 listener=tls:192.0.2.1:5061",
            ),
            Fault::Protocol(name) => write!(
                f,
                "the protocol `{name}` of a listener must be tcp or tls; WebSocket connections \
                 arrive on a listener for tcp or tls"
            ),
            Fault::Address(text) => write!(
                f,
                "the listener `{text}` does not begin with an IP address; write the address of \
                 the socket, not its name"
            ),
            Fault::Brackets => f.write_str(
                "the IPv6 address of a listener must be in brackets; write \
                 listener=[2001:db8::1]:5060",
            ),
            Fault::Port(port) => write!(
                f,
                "the port `{port}` of a listener must be a number from 1 to 65535"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown() {
        for text in [
            "192.0.2.1:5060",
            "tcp:192.0.2.1:5060",
            "tls:192.0.2.1:65535",
            "[2001:db8::1]:5061",
            "tls:[::]:1",
            "tcp:0.0.0.0:80",
        ] {
            let name = ListenerName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(ListenerName::from_words(name.to_words()), Some(name));
        }
        assert_eq!(ListenerName::from_words([0; 3]), None);
    }

    #[test]
    fn invalid_names_are_rejected_with_a_remedy() {
        let reason = |text| ListenerName::parse(text).unwrap_err().to_string();
        for (text, part) in [
            ("", "has an address and a port"),
            ("192.0.2.1", "has an address and a port"),
            ("ws:192.0.2.1:80", "`ws` of a listener must be tcp or tls"),
            ("udp:192.0.2.1:80", "`udp` of a listener must be tcp or tls"),
            ("TCP:192.0.2.1:80", "`TCP` of a listener must be tcp or tls"),
            ("sip.example.org:80", "does not begin with an IP address"),
            ("[192.0.2.1]:80", "does not begin with an IP address"),
            ("tcp:192.0.2:80", "does not begin with an IP address"),
            ("2001:db8::1:5060", "must be in brackets"),
            ("192.0.2.1:0", "the port `0`"),
            ("192.0.2.1:", "the port ``"),
            ("192.0.2.1:+5", "the port `+5`"),
            ("192.0.2.1:65536", "the port `65536`"),
        ] {
            assert!(reason(text).contains(part), "{text}: {}", reason(text));
        }
    }

    #[test]
    fn name_without_a_protocol_names_both() {
        let name = |text| ListenerName::parse(text).unwrap();
        let (tcp, tls) = (name("tcp:192.0.2.1:5060"), name("tls:192.0.2.1:5060"));
        let any = name("192.0.2.1:5060");
        assert!(any.names(tcp) && any.names(tls) && tcp.names(tcp));
        assert!(!tcp.names(tls) && !any.names(name("tcp:192.0.2.1:5061")));
        assert!(!any.names(name("tcp:192.0.2.2:5060")));
    }
}
