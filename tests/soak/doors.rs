// SPDX-License-Identifier: GPL-2.0-or-later

//! Where the server listens, and who comes from where.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::harness::{Client, Server, Via, source};

/// The server and all the ways in.
pub(crate) struct Doors {
    pub(crate) server: Server,
    /// The port for TLS over IPv6, which is on `[::1]`.
    pub(crate) tls6: u16,
}

impl Doors {
    /// Connects to a door of the source's family; the server has said nothing
    /// yet, and whether there is to be TLS is told.
    pub(crate) fn knock(&self, random: &mut SmallRng, from: IpAddr) -> (Client, Via) {
        let via = if random.random_bool(0.25) {
            Via::Tls
        } else {
            Via::Tcp
        };
        (Client::connect(from, self.address(random, from, via)), via)
    }

    /// A connection that the server has answered on, or `None` if it rejects.
    pub(crate) fn enter(&self, random: &mut SmallRng, from: IpAddr) -> Option<Client> {
        let (client, via) = self.knock(random, from);
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

/// The `n`-th of the sources that come once, of those that `crowd` has for
/// itself: more than a million, half of them networks of IPv6.
pub(crate) fn passing(random: &mut SmallRng, crowd: u8, n: u32) -> IpAddr {
    let [_, high, middle, low] = n.to_be_bytes();
    if random.random_bool(0.5) {
        return source(64 + crowd * 16 + high % 16, middle, low);
    }
    let net = u16::from_be_bytes([middle, low]);
    let part = u16::from(crowd) << 8 | u16::from(high);
    network(random, part, net)
}

/// One of the few sources of `crowd` that want all that they can get.
pub(crate) fn greedy(random: &mut SmallRng, crowd: u8, n: u8) -> IpAddr {
    if n.is_multiple_of(2) {
        source(20, crowd, n)
    } else {
        network(random, 0xffff, u16::from_be_bytes([crowd, n]))
    }
}

/// A source that comes at a rest or stays all the time.
pub(crate) fn local(n: u8) -> IpAddr {
    if n.is_multiple_of(2) {
        source(21, 0, n)
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, n.into(), 0, 0, 0, 1).into()
    }
}

/// Any host of a /64, which is one source.
fn network(random: &mut SmallRng, part: u16, net: u16) -> IpAddr {
    let [a, b, c, d]: [u16; 4] = random.random();
    Ipv6Addr::new(0x2001, 0xdb8, part, net, a, b, c, d).into()
}
