// SPDX-License-Identifier: GPL-2.0-or-later

//! Addresses that are to collide: an attacker who knows the code, but not the
//! hash that the server has drawn, tries them on a limiter of his own.
//!
//! There he fills some buckets of the table and then asks for every address that he
//! can have. Those for which there is no place have both their buckets among the
//! filled ones: many more sources than places.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use tcp_conn_limit::limiter::{Limiter, NotCounted, Token, Worker};
use tcp_conn_limit::source::{PrefixLengths, Source};

use crate::Result;
use crate::kamailio::CONNECTIONS;

/// The addresses of the attacker, those of 127/8 that are neither a network's nor a
/// broadcast one.
const ADDRESSES: std::ops::Range<u32> = 0x7f01_0000..0x7fff_0000;

/// Places that he fills: so many that the addresses found for them are enough for
/// a window, so few that those there at a time are too many for them.
const PLACES: u32 = 2_400;

/// What he found.
pub(crate) struct Chosen {
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) proof: Proof,
}

/// That they do collide, where the hash is the one they were chosen for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) addresses: usize,
    /// Connections at a time, each of another of the addresses.
    pub(crate) at_a_time: usize,
    /// Those of them without a place in the attacker's own table.
    pub(crate) without_place: usize,
}

pub(crate) fn choose(at_a_time: usize) -> Result<Chosen> {
    let own = Limiter::new(CONNECTIONS, i32::MAX, PrefixLengths::DEFAULT)?;
    let opened = |address: u32| {
        let source = Source::new(&address.to_be_bytes(), PrefixLengths::DEFAULT);
        let source = source.expect("four bytes are an IPv4 address");
        own.opened(Worker::ACCEPTOR, source, i32::MAX)
    };
    let close = |token| {
        own.closed(Worker::ACCEPTOR, token)
            .map_err(|_| "a connection was not counted")
    };

    let mut filling = Vec::new();
    for address in ADDRESSES {
        match opened(address) {
            Ok(token) if place(token) < PLACES => filling.push(token),
            Ok(token) => close(token)?,
            Err(_) => {}
        }
    }
    let mut addresses = Vec::new();
    for address in ADDRESSES {
        match opened(address) {
            Err(NotCounted::TableFull) => addresses.push(Ipv4Addr::from(address)),
            Err(error) => return Err(format!("{error:?}").into()),
            Ok(token) => close(token)?,
        }
    }
    filling.into_iter().try_for_each(close)?;

    let tried = addresses.iter().take(at_a_time);
    let without_place = tried
        .clone()
        .filter(|&&address| opened(address.into()).is_err())
        .count();
    let proof = Proof {
        addresses: addresses.len(),
        at_a_time: tried.count(),
        without_place,
    };
    Ok(Chosen { addresses, proof })
}

/// The place in the table that a token names, see [`Token`].
fn place(token: Token) -> u32 {
    token.to_bits() as u32 - 1
}
