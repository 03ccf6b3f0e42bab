// SPDX-License-Identifier: GPL-2.0-or-later

//! The addresses that the server listens on, and those that clients come from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rand::RngExt;
use rand::rngs::SmallRng;

use support::kamailio::{Client, Server, Via, source};

/// The server and its listeners.
pub(crate) struct Listeners {
    pub(crate) server: Server,
    /// The port for TLS over IPv6, on `[::1]`.
    pub(crate) tls6: u16,
}

impl Listeners {
    /// Connects to a listener of the source's family and sends nothing. Returns the
    /// connection, and whether the listener expects TLS.
    pub(crate) fn connect(&self, random: &mut SmallRng, from: IpAddr) -> (Client, Via) {
        let via = if random.random_bool(0.25) {
            Via::Tls
        } else {
            Via::Tcp
        };
        (Client::connect(from, self.address(random, from, via)), via)
    }

    /// Opens a connection that the server has answered on. Returns `None` if the server
    /// rejects it.
    pub(crate) fn open(&self, random: &mut SmallRng, from: IpAddr) -> Option<Client> {
        let (client, via) = self.connect(random, from);
        let mut client = match via {
            Via::Tcp => client,
            Via::Tls => client.secure()?,
        };
        client.is_admitted().then_some(client)
    }

    fn address(&self, random: &mut SmallRng, from: IpAddr, via: Via) -> SocketAddr {
        match (from, via) {
            (IpAddr::V6(_), Via::Tls) => (Ipv6Addr::LOCALHOST, self.tls6).into(),
            (IpAddr::V6(_), Via::Tcp) => self.server.any_address(from),
            // The server sees ::ffff:a.b.c.d.
            (IpAddr::V4(_), Via::Tcp) if random.random_bool(0.3) => self.server.any_address(from),
            (IpAddr::V4(_), _) => self.server.address(via),
        }
    }
}

/// The `n`th one-time source of `crowd`. Each crowd has more than a million of its own; half
/// of them are IPv6 networks.
pub(crate) fn passing(random: &mut SmallRng, crowd: u8, n: u32) -> IpAddr {
    let [_, high, middle, low] = n.to_be_bytes();
    if random.random_bool(0.5) {
        return source(64 + crowd * 16 + high % 16, middle, low);
    }
    let net = u16::from_be_bytes([middle, low]);
    let part = u16::from(crowd) << 8 | u16::from(high);
    network(random, part, net)
}

/// One of the few sources of `crowd` that open as many connections as they can.
pub(crate) fn greedy(random: &mut SmallRng, crowd: u8, n: u8) -> IpAddr {
    if n.is_multiple_of(2) {
        source(20, crowd, n)
    } else {
        network(random, 0xffff, u16::from_be_bytes([crowd, n]))
    }
}

/// The proxy of `crowd`, whose rule says that it is one.
pub(crate) fn proxy(crowd: u8) -> IpAddr {
    source(22, 0, crowd)
}

/// A source that connects in rests, or stays all the time.
pub(crate) fn local(n: u8) -> IpAddr {
    if n.is_multiple_of(2) {
        source(21, 0, n)
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, n.into(), 0, 0, 0, 1).into()
    }
}

/// A random host of a /64 network, which is one source.
fn network(random: &mut SmallRng, part: u16, net: u16) -> IpAddr {
    let [a, b, c, d]: [u16; 4] = random.random();
    Ipv6Addr::new(0x2001, 0xdb8, part, net, a, b, c, d).into()
}
