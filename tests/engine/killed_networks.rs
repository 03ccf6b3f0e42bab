// SPDX-License-Identifier: GPL-2.0-or-later
//! Processes are killed at random points while they open and close connections that count in
//! a source and in its network, are charged to the rates of both, and are trusted.
//!
//! A killed process leaves at most one connection too many in a source and one in a network,
//! never one too few. Without kills, nothing is left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::processes::{self, Child, shared};
use support::wait::until;
use tcp_conn_limit::limiter::{Facts, Limiter, NotConnected, NotCounted, Worker};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::policy::terms::Rate;
use tcp_conn_limit::source::{NetworkLengths, PrefixLengths, Source};

const PROCESSES: usize = 4;
/// Descriptors of each process.
const DESCRIPTORS: usize = 16;
const SOURCES: u8 = 12;
/// Sources of each network.
const OF_A_NETWORK: u8 = 4;
/// The limit of a source for some of the connections.
const LIMIT: i32 = 6;

/// Kills, unless `KILLS` is set.
const KILLS: u64 = 1_000;

/// Kills on one table, in which they leave connections.
const KILLS_A_ROUND: u64 = 25;

/// The memory that the processes share in addition to the limiter.
#[repr(C)]
struct Desk {
    /// Operations of each process.
    beats: [AtomicU64; PROCESSES],
    /// Connections that were not admitted.
    refused: AtomicU64,
    stop: AtomicBool,
}

fn limiter() -> Limiter {
    let networks = NetworkLengths::new(24, 48).unwrap();
    let prefixes = PrefixLengths::DEFAULT.with_networks(networks).unwrap();
    let limiter = Limiter::with_trust(200, 0, prefixes).unwrap();
    limiter.set_network_limit(1_000);
    limiter.set_rate(Rate {
        interval_us: 500,
        burst: 8,
    });
    limiter.set_network_rate(Rate {
        interval_us: 100,
        burst: 30,
    });
    limiter
}

fn source(limiter: &Limiter, n: u8) -> Source {
    let address = [10, 0, n / OF_A_NETWORK, n % OF_A_NETWORK];
    limiter.source(&address).unwrap()
}

impl Desk {
    /// The work of process `number`, which accepts connections with its own descriptors.
    fn work(&self, limiter: &Limiter, number: usize, mut random: SmallRng) {
        let worker = Worker::new(number as u32);
        while !self.stop.load(Ordering::SeqCst) {
            let fd = (number * DESCRIPTORS + random.random_range(0..DESCRIPTORS)) as i32;
            match limiter.connection(fd) {
                Some(token) => {
                    limiter.disconnect(worker, token, Facts::SPOKE).unwrap();
                }
                None => {
                    let source = source(limiter, random.random_range(0..SOURCES));
                    let limit = if random.random_bool(0.5) { LIMIT } else { 0 };
                    match limiter.connect(worker, fd, source, &[], Facts::NONE, limit) {
                        Ok(token) if random.random_bool(0.3) => {
                            assert_eq!(limiter.trust(worker, token), Ok(true));
                        }
                        Ok(_) => {}
                        Err(NotConnected::NotCounted(NotCounted::TableFull)) => {
                            panic!("the table has room")
                        }
                        Err(NotConnected::NotCounted(_)) => {
                            self.refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(NotConnected::Untracked) => panic!("{fd} is not tracked"),
                    }
                }
            }
            self.beats[number].fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The connections of all sources and of all networks.
fn counted(limiter: &Limiter) -> [u64; 2] {
    let of_sources = Report::of(limiter).sources().map(|one| one.connections);
    let of_networks = Report::of(limiter).networks().map(|one| one.connections);
    [
        of_sources.map(u64::from).sum(),
        of_networks.map(u64::from).sum(),
    ]
}

/// One round on one table. Returns how many connections are left in sources and in networks.
fn round(seed: u64, kills: u64) -> [u64; 2] {
    processes::end_in(processes::DEADLINE);
    let limiter = limiter();
    let desk: &Desk = shared();
    let mut random = SmallRng::seed_from_u64(seed);
    let start = |number: usize, random: &mut SmallRng| {
        let seed = SmallRng::from_rng(random);
        Child::start(|| desk.work(&limiter, number, seed))
    };
    let mut children: Vec<Option<Child>> = (0..PROCESSES)
        .map(|number| Some(start(number, &mut random)))
        .collect();
    let works = |number: usize, operations: u64| {
        let beat = &desk.beats[number];
        let before = beat.load(Ordering::SeqCst);
        until("the process works", || {
            beat.load(Ordering::SeqCst) >= before + operations
        });
    };
    (0..PROCESSES).for_each(|number| works(number, 200));
    for _ in 0..kills {
        let victim = random.random_range(0..PROCESSES);
        works(victim, 1);
        std::thread::sleep(Duration::from_micros(random.random_range(0..800)));
        let child = children[victim].take().unwrap();
        child.kill();
        assert_eq!(child.wait(), libc::SIGKILL, "a process failed by itself");
        children[victim] = Some(start(victim, &mut random));
    }
    desk.stop.store(true, Ordering::SeqCst);
    processes::join_all(children.into_iter().flatten().collect());
    assert!(
        desk.refused.load(Ordering::Relaxed) > 0,
        "no rate was used up"
    );
    for fd in 0..PROCESSES * DESCRIPTORS {
        if let Some(token) = limiter.connection(fd as i32) {
            let closed = limiter.disconnect(Worker::ACCEPTOR, token, Facts::SPOKE);
            closed.unwrap();
        }
    }
    let totals = limiter.totals();
    assert_eq!(
        (
            totals.stale_token,
            totals.descriptor_reused,
            totals.network_uncounted
        ),
        (0, 0, 0)
    );
    counted(&limiter)
}

fn without_kills_nothing_is_left() {
    for seed in 1..=5 {
        assert_eq!(round(seed, 0), [0, 0]);
    }
}

fn killed_processes_leave_at_most_one_connection_in_each_scope() {
    let kills = std::env::var("KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut all = [0, 0];
    for seed in 1..=kills.div_ceil(KILLS_A_ROUND) {
        let left = round(seed, KILLS_A_ROUND);
        for (all, left) in all.iter_mut().zip(left) {
            assert!(
                left <= KILLS_A_ROUND,
                "{left} left by {KILLS_A_ROUND} kills"
            );
            *all += left;
        }
    }
    println!(
        "{kills} kills left {} connections in sources, {} in networks",
        all[0], all[1]
    );
    assert!(
        all[0] + all[1] > 0,
        "no process was killed within an operation"
    );
}

fn main() {
    processes::run(&[
        (
            "without_kills_nothing_is_left",
            without_kills_nothing_is_left,
        ),
        (
            "killed_processes_leave_at_most_one_connection_in_each_scope",
            killed_processes_leave_at_most_one_connection_in_each_scope,
        ),
    ]);
}
