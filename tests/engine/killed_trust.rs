// SPDX-License-Identifier: GPL-2.0-or-later
//! Workers are killed at random points while they trust connections and take trust back. An
//! acceptor opens and closes the connections meanwhile, as fast as it can.
//!
//! A killed worker leaves at most one connection too many among the trusted ones of a source,
//! never one too few, and only until the source has no connection any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::engine::source;
use support::processes::{self, Child, shared};
use tcp_conn_limit::limiter::{ConnectionToken, Facts, Limiter, Worker};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::source::PrefixLengths;

const WORKERS: usize = 4;
const DESCRIPTORS: usize = 32;
const SOURCES: u32 = 4;

/// The first sources also have a connection of the parent's, so that what a killed worker
/// leaves stays until the end.
const HELD: u32 = 2;

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
                    let source = source(random.random_range(0..SOURCES));
                    let token =
                        limiter.connect(Worker::ACCEPTOR, fd as i32, source, &[], Facts::NONE, 0);
                    self.tokens[fd].store(token.unwrap().to_bits(), Ordering::SeqCst);
                }
            }
            self.beats[WORKERS].fetch_add(1, Ordering::SeqCst);
        }
    }

    fn trust(&self, limiter: &Limiter, number: usize, mut random: SmallRng) {
        while !self.stop.load(Ordering::SeqCst) {
            let bits = self.tokens[random.random_range(0..DESCRIPTORS)].load(Ordering::SeqCst);
            if let Some(token) = ConnectionToken::from_bits(bits) {
                // The connection may be closed.
                let _ = match random.random_bool(0.6) {
                    true => limiter.trust(Worker::new(1 + number as u32), token),
                    false => limiter.untrust(token),
                };
            }
            self.beats[number].fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The trusted connections of each source by the records, and by its word.
fn trusted(limiter: &Limiter) -> Vec<(u32, u32)> {
    let of = |n| {
        let (list, _) = limiter
            .connections_of(source(n), 0, 2 * DESCRIPTORS)
            .unwrap();
        let records = list.iter().filter(|c| c.facts.include(Facts::TRUSTED));
        let word = Report::of(limiter).get(source(n)).trusted;
        (records.count() as u32, word)
    };
    (0..SOURCES).map(of).collect()
}

/// One round on one table. Returns how many killed workers left something.
fn round(seed: u64, kills: u64) -> u64 {
    processes::end_in(processes::DEADLINE);
    let limiter = Limiter::with_trust(40, 0, PrefixLengths::DEFAULT).unwrap();
    let desk: &Desk = shared();
    let connect = |fd: usize, n: u32| {
        let (worker, facts) = (Worker::ACCEPTOR, Facts::NONE);
        limiter
            .connect(worker, fd as i32, source(n), &[], facts, 0)
            .unwrap()
    };
    let held: Vec<ConnectionToken> = (0..HELD)
        .map(|n| connect(DESCRIPTORS + n as usize, n))
        .collect();
    let mut random = SmallRng::seed_from_u64(seed);
    let seed = SmallRng::from_rng(&mut random);
    let acceptor = Child::start(|| desk.accept(&limiter, seed));
    let start = |number: usize, random: &mut SmallRng| {
        let seed = SmallRng::from_rng(random);
        Child::start(|| desk.trust(&limiter, number, seed))
    };
    let mut workers: Vec<Child> = (0..WORKERS).map(|n| start(n, &mut random)).collect();
    processes::kill_at_random(&mut workers, &desk.beats, kills, &mut random, start);
    desk.stop.store(true, Ordering::SeqCst);
    workers.push(acceptor);
    processes::join_all(workers);
    let left: u64 = trusted(&limiter)
        .into_iter()
        .enumerate()
        .map(|(n, (records, word))| {
            // The report shows at most as many as the source has connections.
            assert!(
                word >= records,
                "source {n} has {records} trusted, counted {word}"
            );
            u64::from(word - records)
        })
        .sum();
    assert!(left <= kills, "{left} left by {kills} kills");
    for fd in 0..DESCRIPTORS {
        limiter.forget(Worker::ACCEPTOR, fd as i32);
    }
    for token in held {
        limiter
            .disconnect(Worker::ACCEPTOR, token, Facts::SPOKE)
            .unwrap();
    }
    // The first connection of a source drops what is left.
    for n in 0..SOURCES {
        let tokens = [1, 2, 3].map(|fd| connect(4 * fd + n as usize, n));
        let now = || Report::of(&limiter).get(source(n)).trusted;
        assert_eq!(now(), 0);
        limiter.trust(Worker::new(1), tokens[1]).unwrap();
        assert_eq!(now(), 1);
    }
    left
}

fn killed_workers_leave_no_trust_behind() {
    let kills = std::env::var("KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let rounds = kills.div_ceil(KILLS_A_ROUND);
    let left: u64 = (1..=rounds).map(|seed| round(seed, KILLS_A_ROUND)).sum();
    assert!(left > 0, "no worker was killed between its two steps");
    println!("{kills} kills left {left} connections among the trusted ones");
}

fn main() {
    processes::run(&[(
        "killed_workers_leave_no_trust_behind",
        killed_workers_leave_no_trust_behind,
    )]);
}
