// SPDX-License-Identifier: GPL-2.0-or-later

//! Addresses chosen to collide: an attacker with the source code but not the server's
//! hash key tries them on their own limiter.
//!
//! They fill some buckets of the table and then open a connection for every address that
//! they can use. The addresses that find no slot have both their buckets among the filled
//! ones. There are many more such sources than slots.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use tcp_conn_limit::limiter::{Limiter, NotCounted, Token, Worker};
use tcp_conn_limit::source::{PrefixLengths, Source};

use crate::Result;
use crate::kamailio::CONNECTIONS;

/// The addresses of the attacker, from 127.1.0.0 to 127.254.255.255.
const ADDRESSES: std::ops::Range<u32> = 0x7f01_0000..0x7fff_0000;

/// The number of slots that the attacker fills. It is large enough to yield addresses for
/// a whole window, and so small that the connections open at a time exceed these slots.
const SLOTS: u32 = 2_400;

/// The addresses that the attacker found.
pub(crate) struct Chosen {
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) proof: Proof,
}

/// The proof that the addresses collide under the hash key they were chosen with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) addresses: usize,
    /// Connections at a time, each from a different address.
    pub(crate) at_a_time: usize,
    /// How many of these find no slot in the attacker's own table.
    pub(crate) without_slot: usize,
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
            .map_err(|_| "a counted connection could not be released")
    };

    let mut filling = Vec::new();
    for address in ADDRESSES {
        match opened(address) {
            Ok(token) if slot(token) < SLOTS => filling.push(token),
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
    let without_slot = tried
        .clone()
        .filter(|&&address| opened(address.into()).is_err())
        .count();
    let proof = Proof {
        addresses: addresses.len(),
        at_a_time: tried.count(),
        without_slot,
    };
    Ok(Chosen { addresses, proof })
}

/// The index of the slot that a token names, see [`Token`].
fn slot(token: Token) -> u32 {
    token.to_bits() as u32 - 1
}
