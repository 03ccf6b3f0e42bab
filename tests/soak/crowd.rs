// SPDX-License-Identifier: GPL-2.0-or-later

//! Clients of all kinds: honest ones, greedy ones at their limit, and clients that send
//! garbage or nothing, also to listeners for TLS.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::control::{HIGHEST, Settings};
use crate::listeners::{self, Listeners};
use crate::run::LIFETIME;
use support::kamailio::Client;

/// The number of crowds. Each is a thread.
pub(crate) const CROWDS: u8 = 4;

/// The maximum connections that a crowd holds, by kind. A greedy source reaches its maximum
/// only while the limit is not enforced.
const HONEST: usize = 150;
const IDLE: usize = 60;
const GREEDY_EACH: usize = 30;

/// The greedy sources of a crowd.
const GREEDY: u8 = 8;

/// Up to this age a connection is certainly open. The server closes connections that have
/// been silent for [`LIFETIME`]; the margin is for the difference of the clocks.
const SURE: Duration = LIFETIME.checked_div(2).unwrap();

/// What a crowd or a part of the fleet did in a round.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) opened: u64,
    pub(crate) rejected: u64,
    pub(crate) closed: u64,
    pub(crate) reset: u64,
    pub(crate) garbage: u64,
    pub(crate) silent: u64,
    pub(crate) talked: u64,
    /// Connections of proxies that were counted for a client.
    pub(crate) moved: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.rejected += other.rejected;
        self.closed += other.closed;
        self.reset += other.reset;
        self.garbage += other.garbage;
        self.silent += other.silent;
        self.talked += other.talked;
        self.moved += other.moved;
    }
}

/// A connection, and the time at which it last sent something.
struct Held(Client, Instant);

impl Held {
    fn is_sure(&self) -> bool {
        self.1.elapsed() < SURE
    }
}

pub(crate) struct Crowd<'a> {
    listeners: &'a Listeners,
    settings: &'a Settings,
    random: SmallRng,
    number: u8,
    next: u32,
    honest: Vec<Held>,
    greedy: Vec<Vec<Held>>,
    /// Connections that the server must close by itself.
    idle: Vec<Held>,
    tally: Tally,
}

impl<'a> Crowd<'a> {
    /// `next` is the number of the last source of the earlier rounds.
    pub(crate) fn new(
        listeners: &'a Listeners,
        settings: &'a Settings,
        seed: u64,
        number: u8,
        next: u32,
    ) -> Self {
        Self {
            listeners,
            settings,
            random: SmallRng::seed_from_u64(seed),
            number,
            next,
            honest: Vec::new(),
            greedy: (0..GREEDY).map(|_| Vec::new()).collect(),
            idle: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Opens and closes connections until `end`, then closes all. Returns what was done, and
    /// the number of the last source.
    pub(crate) fn run(mut self, end: Instant) -> (Tally, u32) {
        while Instant::now() < end {
            // Alternate storms and calm.
            let pause = [0, 0, 1, 4, 15][self.random.random_range(0..5)];
            let change =
                Instant::now() + Duration::from_millis(self.random.random_range(200..3000));
            while Instant::now() < change.min(end) {
                self.step();
                sleep(Duration::from_millis(pause));
            }
        }
        (self.tally, self.next)
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..26 => self.come(),
            26..30 => self.come_by_proxy(),
            30..52 => self.leave(),
            52..74 => self.grab(),
            74..81 => self.yield_some(),
            81..88 => self.talk(),
            88..93 => self.send_garbage(),
            _ => self.say_nothing(),
        }
    }

    /// A source that has never connected, or not for a long time.
    fn passing(&mut self) -> IpAddr {
        self.next += 1;
        listeners::passing(&mut self.random, self.number, self.next)
    }

    /// A new honest source with a few connections, far from every limit.
    fn come(&mut self) {
        let from = self.passing();
        for _ in 0..self.random.random_range(1..=3) {
            let client = self.listeners.open(&mut self.random, from);
            let client = client.unwrap_or_else(|| panic!("{from} was rejected below every limit"));
            self.tally.opened += 1;
            self.honest.push(Held(client, Instant::now()));
        }
        while self.honest.len() > HONEST {
            self.leave();
        }
    }

    /// A proxy opens a connection, which the script counts for one or more honest sources, one
    /// after the other.
    fn come_by_proxy(&mut self) {
        let proxy = listeners::proxy(self.number);
        let client = self.listeners.open(&mut self.random, proxy);
        let mut client = client.unwrap_or_else(|| panic!("the proxy {proxy} was rejected"));
        self.tally.opened += 1;
        for _ in 0..self.random.random_range(1..=3) {
            let source = self.passing();
            let answer = client.ask_as("count-for", &source.to_string());
            assert_eq!(answer, "1", "a connection of {proxy} for {source}");
            self.tally.moved += 1;
            if self.random.random_bool(0.3) {
                client.ask("trust");
            }
        }
        self.honest.push(Held(client, Instant::now()));
    }

    fn leave(&mut self) {
        if let Some(held) = take_any(&mut self.random, &mut self.honest) {
            self.close(held.0);
        }
    }

    fn close(&mut self, client: Client) {
        if self.random.random_bool(0.3) {
            client.reset();
            self.tally.reset += 1;
        } else {
            self.tally.closed += 1;
        }
    }

    /// A source that is often at its limit tries to get one more.
    fn grab(&mut self) {
        let n = self.random.random_range(0..GREEDY);
        let from = listeners::greedy(&mut self.random, self.number, n);
        self.greedy[usize::from(n)].retain(Held::is_sure);
        let enforced = self.settings.enforced();
        let client = self.listeners.open(&mut self.random, from);
        let held = &mut self.greedy[usize::from(n)];
        let Some(client) = client else {
            self.tally.rejected += 1;
            return;
        };
        self.tally.opened += 1;
        let sure = held.iter().filter(|held| held.is_sure()).count();
        if sure >= HIGHEST && enforced.is_some() && enforced == self.settings.enforced() {
            panic!("{from} was admitted with {sure} connections: the highest limit is {HIGHEST}");
        }
        held.push(Held(client, Instant::now()));
        if held.len() > GREEDY_EACH {
            held.drain(..GREEDY_EACH / 2);
        }
    }

    fn yield_some(&mut self) {
        let n = self.random.random_range(0..usize::from(GREEDY));
        for _ in 0..self.random.random_range(1..=4) {
            if let Some(held) = take_any(&mut self.random, &mut self.greedy[n]) {
                self.close(held.0);
            }
        }
    }

    /// Checks that the server still answers on an open connection.
    fn talk(&mut self) {
        let Some(mut held) = take_any(&mut self.random, &mut self.honest) else {
            return;
        };
        if held.is_sure() {
            held.0.ask("user");
            self.tally.talked += 1;
            self.honest.push(Held(held.0, Instant::now()));
        }
    }

    fn send_garbage(&mut self) {
        let from = self.passing();
        let (mut client, _) = self.listeners.connect(&mut self.random, from);
        let mut bytes = [0u8; 200];
        self.random.fill(&mut bytes[..]);
        if self.random.random_bool(0.5) {
            bytes[..30].copy_from_slice(b"OPTIONS sip:x@localhost SIP/2.");
        }
        let length = self.random.random_range(1..=bytes.len());
        // The server may already have closed the connection.
        _ = client.send(&bytes[..length]);
        self.tally.garbage += 1;
        self.close_or_leave(client);
    }

    /// Connects, perhaps to a listener for TLS, and sends nothing.
    fn say_nothing(&mut self) {
        let from = self.passing();
        let (client, _) = self.listeners.connect(&mut self.random, from);
        self.tally.silent += 1;
        self.close_or_leave(client);
    }

    /// Closes the connection now or leaves that to the server.
    fn close_or_leave(&mut self, client: Client) {
        self.idle.retain(|held| held.1.elapsed() < LIFETIME * 5 / 4);
        if self.idle.len() == IDLE || self.random.random_bool(0.5) {
            return self.close(client);
        }
        self.idle.push(Held(client, Instant::now()));
    }
}

fn take_any(random: &mut SmallRng, held: &mut Vec<Held>) -> Option<Held> {
    let count = held.len();
    (count > 0).then(|| held.swap_remove(random.random_range(0..count)))
}
