// SPDX-License-Identifier: GPL-2.0-or-later

//! Connections come and go at random, and the counts are right all the time.

use std::net::IpAddr;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Server, Via, source};

attached_either_way!(counts_are_right_in_a_storm,);

const STEPS: usize = 20_000;
const SOURCES: usize = 300;
const LIMIT: usize = 12;

/// A source and its connections.
struct Peer {
    address: IpAddr,
    open: Vec<Client>,
    /// Closed by the peer, but the server may not have noticed yet.
    closing: usize,
}

impl Peer {
    fn new(number: usize) -> Self {
        let address = source(11, (number / 200) as u8, (number % 200) as u8 + 1);
        let (open, closing) = (Vec::new(), 0);
        Self {
            address,
            open,
            closing,
        }
    }

    /// Tries to open one more connection. Panics if the answer does not agree with the
    /// limit.
    fn open(&mut self, server: &Server, via: Via) {
        let admitted = server.open(via, self.address);
        let (open, closing) = (self.open.len(), self.closing);
        match admitted {
            Some(client) if open < LIMIT => self.open.push(client),
            None if open + closing >= LIMIT => {}
            Some(_) => panic!("{}: more than the limit", self.address),
            None => panic!("{}: rejected with {open} + {closing}", self.address),
        }
    }

    fn close(&mut self, random: &mut SmallRng) {
        if self.open.is_empty() {
            return;
        }
        let client = self
            .open
            .swap_remove(random.random_range(0..self.open.len()));
        self.closing += 1;
        if random.random_bool(0.3) {
            client.reset();
        }
    }
}

/// Waits until the server has noticed every close and compares all counts.
fn settle(mode: Mode, server: &Server, peers: &mut [Peer]) {
    let open: usize = peers.iter().map(|peer| peer.open.len()).sum();
    server.wait_for_connections(open as u64);
    mode.assert_audit_clean(server);
    assert_eq!(server.stat("connections"), open as u64);
    for peer in peers {
        let counted = server.counted(&peer.address.to_string());
        assert_eq!(counted, peer.open.len() as u64, "{}", peer.address);
        peer.closing = 0;
    }
}

fn counts_are_right_in_a_storm(mode: Mode) {
    let server = mode
        .with_module()
        .limit(LIMIT as i64)
        .core("tcp_max_connections=4000")
        .tls()
        .shared_memory(160)
        .start();
    let mut random = SmallRng::seed_from_u64(20_000);
    let mut peers: Vec<Peer> = (0..SOURCES).map(Peer::new).collect();
    for step in 1..=STEPS {
        let peer = &mut peers[random.random_range(0..SOURCES)];
        if random.random_bool(0.55) {
            let via = if random.random_bool(0.1) {
                Via::Tls
            } else {
                Via::Tcp
            };
            peer.open(&server, via);
        } else {
            peer.close(&mut random);
        }
        if step % 500 == 0 {
            // During the storm, while closes are still in flight.
            mode.assert_audit_clean(&server);
        }
        if step % 5000 == 0 {
            settle(mode, &server, &mut peers);
        }
    }
    assert!(server.stat("rejected") > 100, "the limit was not reached");

    for peer in &mut peers {
        peer.open.clear();
    }
    settle(mode, &server, &mut peers);
    assert_eq!(server.rpc("tcp_conn_limit.top", json!([400])), json!([]));
    // The core's log lines about a RST, and about a worker that is slower than the storm.
    mode.finish(server, &["core/tcp_read.c", "queue full"]);
}
