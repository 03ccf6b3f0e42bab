// SPDX-License-Identifier: GPL-2.0-or-later
//! Workers are killed at random points while they move the connections of a proxy to clients,
//! trust them and take trust back. An acceptor opens and closes the connections meanwhile, as
//! fast as it can.
//!
//! A killed worker leaves at most one connection too many in one of the sources, never one too
//! few, and at most one trusted connection too many.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::engine::{load_rules, source};
use support::processes::{self, Child, shared};
use tcp_conn_limit::limiter::{ConnectionToken, Facts, Limiter, Worker};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::source::PrefixLengths;

const WORKERS: usize = 4;
const DESCRIPTORS: usize = 32;
/// The first source is the proxy.
const SOURCES: u32 = 5;

/// Kills, unless `KILLS` is set.
const KILLS: u64 = 1_000;

/// Kills between two looks at the table at rest.
const KILLS_A_ROUND: u64 = 50;

/// The memory that the processes share in addition to the limiter.
#[repr(C)]
struct Desk {
    /// The last token of each descriptor, which may be closed.
    tokens: [AtomicU64; DESCRIPTORS],
    /// Operations of each process; the acceptor is the last one.
    beats: [AtomicU64; WORKERS + 1],
    stop: AtomicBool,
}

fn address(n: u32) -> [u8; 4] {
    let [_, a, b, c] = n.to_be_bytes();
    [10, a, b, c]
}

impl Desk {
    fn accept(&self, limiter: &Limiter, mut random: SmallRng) {
        while !self.stop.load(Ordering::SeqCst) {
            let fd = random.random_range(0..DESCRIPTORS);
            match limiter.connection(fd as i32) {
                Some(token) => {
                    let ended = limiter.disconnect(Worker::ACCEPTOR, token, Facts::SPOKE);
                    ended.unwrap();
                }
                None => {
                    let (worker, facts) = (Worker::ACCEPTOR, Facts::NONE);
                    let token = limiter.connect(worker, fd as i32, source(0), &[], facts, 0);
                    self.tokens[fd].store(token.unwrap().to_bits(), Ordering::SeqCst);
                }
            }
            self.beats[WORKERS].fetch_add(1, Ordering::SeqCst);
        }
    }

    fn work(&self, limiter: &Limiter, number: usize, mut random: SmallRng) {
        let worker = Worker::new(1 + number as u32);
        while !self.stop.load(Ordering::SeqCst) {
            let bits = self.tokens[random.random_range(0..DESCRIPTORS)].load(Ordering::SeqCst);
            if let Some(token) = ConnectionToken::from_bits(bits) {
                let client = address(random.random_range(0..SOURCES));
                // The connection may be closed, or another worker moves it.
                match random.random_range(0..4) {
                    0 => drop(limiter.trust(worker, token)),
                    1 => drop(limiter.untrust(token)),
                    _ => drop(limiter.count_for(worker, token, &address(0), &client)),
                }
            }
            self.beats[number].fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// How many connections, and how many trusted ones, each source has too many.
fn left(limiter: &Limiter) -> (u64, u64) {
    let (mut connections, mut trusted) = (0, 0);
    for n in 0..SOURCES {
        let (list, found) = limiter
            .connections_of(source(n), 0, 2 * DESCRIPTORS)
            .unwrap();
        let report = Report::of(limiter).get(source(n));
        let counted = u64::from(report.connections);
        assert!(
            counted >= found,
            "source {n}: {found} open, {counted} counted"
        );
        connections += counted - found;
        let records = list.iter().filter(|c| c.facts.include(Facts::TRUSTED));
        let records = records.count() as u64;
        let word = u64::from(report.trusted);
        assert!(
            word >= records,
            "source {n}: {records} trusted, {word} counted"
        );
        trusted += word - records;
    }
    (connections, trusted)
}

/// One round on one table. Returns what killed workers left.
fn round(seed: u64, kills: u64) -> (u64, u64) {
    processes::end_in(processes::DEADLINE);
    let limiter = Limiter::with_moves(40, 0, PrefixLengths::DEFAULT, true).unwrap();
    load_rules(&limiter, &["10.0.0.0 = unlimited proxy"]);
    let desk: &Desk = shared();
    let mut random = SmallRng::seed_from_u64(seed);
    let seed = SmallRng::from_rng(&mut random);
    let acceptor = Child::start(|| desk.accept(&limiter, seed));
    let start = |number: usize, random: &mut SmallRng| {
        let seed = SmallRng::from_rng(random);
        Child::start(|| desk.work(&limiter, number, seed))
    };
    let mut workers: Vec<Child> = (0..WORKERS).map(|n| start(n, &mut random)).collect();
    processes::kill_at_random(&mut workers, &desk.beats, kills, &mut random, start);
    desk.stop.store(true, Ordering::SeqCst);
    workers.push(acceptor);
    processes::join_all(workers);
    let (connections, trusted) = left(&limiter);
    assert!(connections <= kills, "{connections} left by {kills} kills");
    assert!(trusted <= kills, "{trusted} trusted left by {kills} kills");
    assert!(limiter.totals().moved > 0);
    for fd in 0..DESCRIPTORS {
        limiter.forget(Worker::ACCEPTOR, fd as i32);
    }
    // Without connections, only what killed workers left is counted.
    assert_eq!(Report::of(&limiter).occupancy().connections, connections);
    assert_eq!(limiter.totals().stale_token, 0);
    // The table is usable.
    let (worker, facts) = (Worker::ACCEPTOR, Facts::NONE);
    let token = limiter
        .connect(worker, 1, source(0), &[], facts, 0)
        .unwrap();
    limiter
        .count_for(Worker::new(1), token, &address(0), &address(1))
        .unwrap();
    assert_eq!(limiter.moved_to(token), Some(source(1)));
    (connections, trusted)
}

fn killed_workers_leave_at_most_one_connection_each() {
    let kills = std::env::var("KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let (mut connections, mut trusted) = (0, 0);
    for seed in 1..=kills.div_ceil(KILLS_A_ROUND) {
        let left = round(seed, KILLS_A_ROUND);
        connections += left.0;
        trusted += left.1;
    }
    assert!(
        connections > 0,
        "no worker was killed while it moved a connection"
    );
    println!("{kills} kills left {connections} connections, and {trusted} trusted ones");
}

fn main() {
    processes::run(&[(
        "killed_workers_leave_at_most_one_connection_each",
        killed_workers_leave_at_most_one_connection_each,
    )]);
}
