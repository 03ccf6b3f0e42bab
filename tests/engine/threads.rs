// SPDX-License-Identifier: GPL-2.0-or-later
//! Many threads on one limiter, as in a host with threads. Whatever `fork.rs` proves
//! for processes also holds for threads. This test serves tools that see the threads of
//! one process but no other process, such as ThreadSanitizer (`make sanitize`).

use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::{self, ScopedJoinHandle};

use support::SetAtEnd;
use support::engine::{self, keep_within, open_and_close, rules, source_of};
use tcp_conn_limit::limiter::{Limiter, Token, Worker};
use tcp_conn_limit::observe::audit::Audit;
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::settings::Mode;
use tcp_conn_limit::source::{PrefixLengths, Source};

const WORKERS: u32 = 4;

/// Source `n`, alternately of IPv4 and of IPv6.
fn source(n: u32) -> Source {
    if n.is_multiple_of(2) {
        engine::source(n)
    } else {
        source_of(Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n) << 64))
    }
}

/// Waits for each of the threads. Their scope would also do so, but in a way that
/// ThreadSanitizer does not see.
fn join<T>(threads: Vec<ScopedJoinHandle<'_, T>>) -> Vec<T> {
    let results = threads.into_iter().map(|thread| thread.join().unwrap());
    results.collect()
}

/// Each thread's connections are closed by another thread.
fn used_by_all(sources: u32, rounds: u32) {
    let limiter = &Limiter::new(WORKERS * 100, 3, PrefixLengths::DEFAULT).unwrap();
    let all = thread::scope(|scope| {
        let start =
            |worker| scope.spawn(move || open_and_close(limiter, worker, source, sources, rounds));
        join((0..WORKERS).map(start).collect())
    });
    thread::scope(|scope| {
        let close = |(tokens, worker): (Vec<Token>, u32)| {
            scope.spawn(move || {
                for token in tokens {
                    limiter.closed(Worker::new(worker), token).unwrap();
                }
            })
        };
        join(all.into_iter().zip(1..).map(close).collect())
    });
    assert_eq!(Report::of(limiter).sources().count(), 0);
    assert_eq!(Report::of(limiter).occupancy().connections, 0);
    assert_eq!(limiter.totals().stale_token, 0);
}

/// All threads use the same few sources: claim against claim, claim against release.
#[test]
fn all_counts_return_to_zero_few_sources() {
    used_by_all(3, 20_000);
}

/// Sources replace each other all the time: replacement against look-up.
#[test]
fn all_counts_return_to_zero_many_sources() {
    used_by_all(100_000, 20_000);
}

/// A source never exceeds the limit, whichever threads open and close.
#[test]
fn limit_holds_among_threads() {
    const LIMIT: i32 = 5;
    let live = &[const { AtomicI32::new(0) }; 4];
    let limiter = &Limiter::new(1_000, LIMIT, PrefixLengths::DEFAULT).unwrap();
    thread::scope(|scope| {
        let work =
            |worker| scope.spawn(move || keep_within(limiter, worker, LIMIT, live, source, 20_000));
        join((0..WORKERS).map(work).collect())
    });
    assert!(limiter.totals().admitted > 1_000);
    assert_eq!(Report::of(limiter).occupancy().connections, 0);
}

/// Connections come and go while rules, modes and limits change, statistics are reset,
/// reports are made and the watch ticks.
#[test]
fn counts_stay_right_under_all_operations_at_once() {
    let limiter = &Limiter::new(1_000, 3, PrefixLengths::DEFAULT).unwrap();
    let sets = &[
        rules(&["10.0.0.0/8=2", "10.0.0.4=unlimited", "2001:db8::/32=4"]),
        rules(&["10.0.0.0/24=1", "2001:db8:0:3::/64=9"]),
    ];
    let stop = &AtomicBool::new(false);
    let until_stop = |mut work: Box<dyn FnMut(u32) + Send>| {
        move || {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) || round < 10 {
                work(round);
                round += 1;
            }
        }
    };
    thread::scope(|scope| {
        let users: Vec<_> = (0..2)
            .map(|worker| scope.spawn(move || open_and_close(limiter, worker, source, 40, 20_000)))
            .collect();
        let changes = scope.spawn(until_stop(Box::new(move |round| {
            limiter.set_rules(&sets[round as usize % 2]).unwrap();
            limiter.set_mode([Mode::Enforce, Mode::Monitor, Mode::Off][round as usize % 3]);
            limiter.set_limit(round as i32 % 5);
            if round % 50 == 0 {
                limiter.reset_stats();
            }
        })));
        let reports = scope.spawn(until_stop(Box::new(move |_| {
            assert!(Report::of(limiter).groups(usize::MAX).unwrap().len() <= 4);
            assert!(Report::of(limiter).suggest(usize::MAX, 10).unwrap().len() <= 4);
            // Two threads with up to 100 connections each.
            assert!(
                Report::of(limiter)
                    .sources()
                    .all(|report| report.connections <= 200)
            );
            let mut audit = Audit::new(40).unwrap();
            audit.copy_counts(limiter).unwrap();
            assert_eq!(audit.connections(), 0);
        })));
        let mut watch = Watch::default();
        let watch = scope.spawn(until_stop(Box::new(move |round| {
            watch.tick(limiter, round, 1, &mut |_| {});
        })));
        let over = SetAtEnd(stop);
        for token in join(users).into_iter().flatten() {
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
        drop(over);
        join(vec![changes, reports, watch]);
    });
    assert_eq!(Report::of(limiter).occupancy().connections, 0);
    assert_eq!(Report::of(limiter).sources().count(), 0);
}

/// Two threads open a connection of the same new source at the same moment, again and
/// again: neither connection is lost, and the source has one slot.
#[test]
fn simultaneous_claims_of_one_source_are_both_counted() {
    const ROUNDS: u32 = 5_000;
    let limiter = Limiter::new(10_000, 0, PrefixLengths::DEFAULT).unwrap();
    // Three meetings a round, of two arrivals each.
    let arrivals = AtomicI32::new(0);
    let meet = |goal: u32| {
        // Release and Acquire: what a thread did before it arrived is seen by the other.
        arrivals.fetch_add(1, Ordering::Release);
        while arrivals.load(Ordering::Acquire) < goal as i32 {
            // Gives the core away if the other thread needs it.
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        let threads = (0..2u32).map(|worker| {
            let (limiter, meet) = (&limiter, &meet);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let source = source(round);
                    meet(6 * round + 2);
                    let token = limiter.opened(Worker::new(worker), source, 0).unwrap();
                    meet(6 * round + 4);
                    assert_eq!(
                        Report::of(limiter).get(source).connections,
                        2,
                        "round {round}"
                    );
                    meet(6 * round + 6);
                    limiter.closed(Worker::new(worker), token).unwrap();
                }
            })
        });
        join(threads.collect());
    });
    assert_eq!(Report::of(&limiter).occupancy().connections, 0);
    assert_eq!(limiter.totals().admitted, 2 * u64::from(ROUNDS));
}
