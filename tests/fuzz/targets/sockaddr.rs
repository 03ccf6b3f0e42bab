// SPDX-License-Identifier: GPL-2.0-or-later
//! Addresses and socket addresses of every size and family.
//!
//! Input: records of a limit, a length, and that many bytes. Missing bytes at the end are
//! zeros. Each record is used as an address and as a socket address. With some limits it is
//! instead a peer whose connection this program accepts through the interposed functions.

#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;

use libfuzzer_sys::fuzz_target;
use tcp_conn_limit::ffi::{
    TCL_EARG, TCL_MODE_ENFORCE, TCL_OK, TCL_ON_FULL_ADMIT, tcl_interpose_activate,
};
use tcp_conn_limit_fuzz::engine::{self, Audit, Counters, ENOUGH, tcl_config, text};
use tcp_conn_limit_fuzz::naive::{self, Address, Lengths, Net};
use tcp_conn_limit_fuzz::peers::{self, Listeners, Peer};

/// The prefix lengths end within an octet, so that a wrong mask shows.
const LENGTHS: Lengths = (20, 100);

/// Prefixes of translators, one of each length that they may have.
const TRANSLATORS: [&CStr; 6] = [
    c"2001:db9::/32",
    c"2001:db8:4000::/40",
    c"2001:db8:4800::/48",
    c"2001:db8:5600:5600::/56",
    c"2001:db8:6400:64::/64",
    c"2001:db8:9600::/96",
];

/// The connections that an input may open. They are few, so that surveying the table is
/// fast.
const CONNECTIONS: i32 = 30;

thread_local!(static LISTENERS: RefCell<Listeners> = RefCell::new(Listeners::new()));

fn init() {
    let translators = TRANSLATORS.map(CStr::as_ptr);
    engine::start(tcl_config {
        nat64_prefixes: translators.as_ptr(),
        nat64_count: translators.len() as u32,
        max_connections: CONNECTIONS,
        limit: 2,
        ipv4_prefix: LENGTHS.0 as i32,
        ipv6_prefix: LENGTHS.1 as i32,
        mode: TCL_MODE_ENFORCE,
        on_full: TCL_ON_FULL_ADMIT,
        ..tcl_config::default()
    });
    engine::nulls();
    let translators = TRANSLATORS.map(|text| text.to_str().expect("ASCII"));
    naive::set_translators(&translators);
    let rules = [c"128.0.0.0/1=1", c"127.128.0.0/9=1"].map(Some);
    assert_eq!(engine::rules_load(&rules, None, ENOUGH).0, TCL_OK);
    assert_eq!(engine::interpose_attach(ENOUGH).0, TCL_OK);
    assert_eq!(tcl_interpose_activate(), TCL_OK);
}

/// Returns the octets of a socket address, if it is long enough for its family.
fn octets_of(sockaddr: &[u8]) -> Option<&[u8]> {
    match engine::family(sockaddr)?.0 {
        libc::AF_INET => sockaddr.get(4..8),
        libc::AF_INET6 => sockaddr.get(8..24),
        _ => None,
    }
}

fn stats() -> Counters {
    engine::stats().1.expect("statistics")
}

/// Returns the limit of the rules for an address.
fn limit_of(address: Address) -> u32 {
    let octets = address.octets();
    let low = address.is_v4() && (octets[0] >= 128 || (octets[0] == 127 && octets[1] >= 128));
    if low { 1 } else { 2 }
}

/// The expected counts and statistics.
#[derive(Default)]
struct Ledger {
    counts: HashMap<Net, u32>,
    live: Vec<(Vec<u8>, u64)>,
    /// The descriptors of accepted connections, with the octets of their peers.
    accepted: Vec<(i32, Option<Vec<u8>>)>,
    rejected: u64,
    bad: u64,
}

impl Ledger {
    fn count(&self, net: Net) -> u32 {
        self.counts.get(&net).copied().unwrap_or_default()
    }

    fn address(&mut self, bytes: &[u8]) {
        let Some(address) = Address::of_octets(bytes) else {
            assert_eq!((engine::check(bytes), engine::opened(bytes)), (0, 0));
            assert_eq!(engine::get(bytes).0, TCL_EARG);
            self.bad += 2;
            return;
        };
        let net = address.source(LENGTHS);
        let limit = limit_of(address);
        let over = self.count(net) >= limit;
        assert_eq!(engine::check(bytes), i32::from(over));
        self.rejected += u64::from(over);
        if over {
            return;
        }
        let token = engine::opened(bytes);
        assert_ne!(token, 0);
        self.live.push((bytes.to_vec(), token));
        *self.counts.entry(net).or_default() += 1;
        let source = engine::get(bytes).1.expect("a source");
        assert_eq!(text(&source.text), net.to_string());
        assert_eq!(
            (source.connections, source.limit),
            (self.count(net), limit as i32)
        );
    }

    /// Accepts a connection of a peer, with room for `room` bytes of its address.
    fn accept(&mut self, peer: &Peer<'_>, room: Option<usize>, four: bool) {
        let accepted = LISTENERS.with_borrow_mut(|listeners| listeners.accept(peer, room, four));
        let Some(accepted) = accepted else {
            return;
        };
        let octets = match peer {
            Peer::Ipv4([a, b, c]) => Some(vec![127, *a, *b, *c]),
            Peer::Unix(_) => None,
        };
        let address = octets.as_deref().and_then(Address::of_octets);
        if let Some(address) = address
            && self.count(address.source(LENGTHS)) >= limit_of(address)
        {
            self.rejected += 1;
            assert_eq!(accepted.result, Err(libc::EAGAIN));
            return assert_eq!(accepted.address.map(|(_, reported)| reported), room);
        }
        let descriptor = accepted.result.expect("a connection");
        if let (Some((bytes, reported)), Some(room)) = (accepted.address, room) {
            let mut system = peers::of_peer(descriptor);
            assert_eq!(reported, system.len());
            system.truncate(room);
            assert_eq!(bytes, system);
        }
        // The library does not count connections of other families.
        if let Some(address) = address {
            *self.counts.entry(address.source(LENGTHS)).or_default() += 1;
        }
        self.accepted.push((descriptor, octets));
    }

    fn sockaddr(&mut self, bytes: &[u8], limit: i32) {
        let Some(answer) = engine::check_sockaddr(bytes, limit) else {
            return;
        };
        let Some(address) = octets_of(bytes).and_then(Address::of_octets) else {
            self.bad += 1;
            return assert_eq!(answer, 0);
        };
        let over = limit > 0 && self.count(address.source(LENGTHS)) >= limit as u32;
        assert_eq!(answer, i32::from(over));
        self.rejected += u64::from(over);
    }

    /// Checks the counts at the end, and that they are 0 when all connections are closed.
    fn finish(self) {
        let accepted = || {
            let with_octets = |(descriptor, octets): &(i32, Option<Vec<u8>>)| {
                Some((*descriptor, octets.clone()?))
            };
            self.accepted.iter().filter_map(with_octets)
        };
        let connections = (self.live.len() + accepted().count()) as u64;
        let mut audit = Audit::begin(connections as u32).expect("memory");
        for (descriptor, octets) in accepted() {
            assert_eq!(audit.connection(&octets, descriptor), TCL_OK);
        }
        for (bytes, token) in &self.live {
            let descriptor = engine::descriptor(*token);
            assert_eq!(audit.connection(bytes, descriptor), TCL_OK);
        }
        assert_eq!(audit.counts(), TCL_OK);
        let sums = audit.result(1).0;
        assert_eq!((sums.differences, sums.counted), (0, connections));
        let now = stats();
        assert_eq!((now.rejected, now.bad_address), (self.rejected, self.bad));
        assert_eq!(now.sources, self.counts.len() as u64);
        assert_eq!((now.errors, now.admitted), (self.bad, connections));
        for (descriptor, _) in &self.accepted {
            peers::close(*descriptor);
        }
        for (bytes, token) in &self.live {
            assert_eq!(engine::closed(*token), TCL_OK);
            assert_eq!(engine::get(&bytes[..]).0, TCL_OK);
        }
        let now = stats();
        assert_eq!((now.sources, now.connections), (0, 0));
    }
}

fuzz_target!(init: init(), |bytes: &[u8]| {
    assert_eq!(tcp_conn_limit::ffi::tcl_reset_stats(), TCL_OK);
    let mut ledger = Ledger::default();
    let mut left = bytes;
    while let [limit, length, rest @ ..] = left
        // A record opens at most two connections.
        && ledger.live.len() + ledger.accepted.len() + 2 <= CONNECTIONS as usize
    {
        let length = usize::from(*length);
        let taken = length.min(rest.len());
        let mut record = rest[..taken].to_vec();
        record.resize(length, 0);
        left = &rest[taken..];
        if let 0xc0..0xe0 = *limit {
            let room = (limit & 4 != 0).then_some(length);
            let peer = match record.first_chunk() {
                Some(from) if limit & 1 != 0 => Peer::Ipv4(*from),
                _ => Peer::Unix(&record),
            };
            ledger.accept(&peer, room, limit & 2 != 0);
            continue;
        }
        ledger.address(&record);
        ledger.sockaddr(&record, i32::from(*limit as i8));
        if let Some(octets) = octets_of(&record) {
            ledger.address(octets);
        }
        ledger.sockaddr(&record, i32::from(*limit as i8));
    }
    ledger.finish();
});
