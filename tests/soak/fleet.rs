// SPDX-License-Identifier: GPL-2.0-or-later

//! A fleet of sources that connect, disconnect and return, at nearly the maximum of the
//! server's connections.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::crowd::Tally;
use crate::residents;
use support::kamailio::{Client, Server, Via, source};

/// `tcp_max_connections` of the server, for which the table is sized. The server and this
/// process have a descriptor per connection.
pub(crate) const CAPACITY: u64 = 8_000;

/// The number of parts of the fleet, each driven by a thread.
pub(crate) const PARTS: u8 = 4;

/// Sources of a part: all parts have three times the capacity.
const SOURCES: usize = 3 * CAPACITY as usize / PARTS as usize;

/// Connections that a part replaces at a time, each of a different source.
const BATCH: usize = 16;

/// Connections reserved for readers, which also connect.
const HEADROOM: u64 = 32;

/// Connections of a part. Together with the residents and the headroom, all parts are two
/// batches per part below the capacity. So a batch can be opened before the server has
/// noticed the end of the previous one.
const CONNECTED: usize =
    (CAPACITY - residents::COUNT as u64 - HEADROOM) as usize / PARTS as usize - 2 * BATCH;

/// The number of connections while the fleet is complete.
pub(crate) const FULL: u64 = residents::COUNT as u64 + PARTS as u64 * CONNECTED as u64;

/// A part of the fleet. Its sources keep their slots from round to round.
pub(crate) struct Part<'a> {
    server: &'a Server,
    random: SmallRng,
    number: u8,
    /// The sources. The connected ones come first, in the order of `connected`.
    sources: Vec<usize>,
    connected: Vec<Client>,
    tally: Tally,
}

impl<'a> Part<'a> {
    pub(crate) fn new(server: &'a Server, seed: u64, number: u8) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut sources: Vec<usize> = (0..SOURCES).collect();
        sources.shuffle(&mut random);
        Self {
            server,
            random,
            number,
            sources,
            connected: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Completes the part, replaces its connections until `end`, then closes all. Returns
    /// what was done.
    pub(crate) fn run(mut self, end: Instant) -> Tally {
        while Instant::now() < end {
            if self.connected.len() >= CONNECTED {
                for _ in 0..BATCH {
                    self.disconnect_any();
                }
            }
            self.wait_for_room(end);
            let wanted = CONNECTED.min(self.connected.len() + BATCH);
            while self.connected.len() < wanted {
                self.connect_any();
            }
        }
        self.tally
    }

    /// Waits until the server has noticed that connections were closed. At its maximum the
    /// server would close new ones.
    fn wait_for_room(&self, end: Instant) {
        let max = CAPACITY - HEADROOM - u64::from(PARTS) * BATCH as u64;
        while self.server.connections() > max && Instant::now() < end {
            sleep(Duration::from_millis(1));
        }
    }

    /// Connects a random source that is away. The server rejects it if it finds no slot.
    fn connect_any(&mut self) {
        let first_away = self.connected.len();
        let comes = self.random.random_range(first_away..self.sources.len());
        let from = address(self.number, self.sources[comes]);
        match self.server.open(Via::Tcp, from) {
            Some(client) => {
                self.tally.opened += 1;
                self.sources.swap(first_away, comes);
                self.connected.push(client);
            }
            None => self.tally.rejected += 1,
        }
    }

    fn disconnect_any(&mut self) {
        let leaves = self.random.random_range(0..self.connected.len());
        let client = self.connected.swap_remove(leaves);
        self.sources.swap(leaves, self.connected.len());
        if self.random.random_bool(0.3) {
            client.reset();
            self.tally.reset += 1;
        } else {
            self.tally.closed += 1;
        }
    }
}

/// Returns the address of source `n` of part `part`.
fn address(part: u8, n: usize) -> IpAddr {
    let [high, low] = u16::try_from(n).expect("a part is small").to_be_bytes();
    source(128 + part, high, low)
}
