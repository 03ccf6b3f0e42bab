// SPDX-License-Identifier: GPL-2.0-or-later
//! Random sequences of operations on the engine, compared with a plain map.

use std::collections::HashMap;

use proptest::prelude::*;
use tcp_conn_limit::limiter::{Limiter, NotCounted, StaleToken, Token, Worker};
use tcp_conn_limit::source::{Prefixes, Source};

#[derive(Clone, Debug)]
enum Operation {
    /// Count without a limit.
    Open {
        worker: u32,
        address: Vec<u8>,
    },
    /// Count if at most `limit` connections are there then.
    OpenWithin {
        worker: u32,
        address: Vec<u8>,
        limit: i32,
    },
    Check {
        address: Vec<u8>,
        limit: i32,
    },
    /// Release one of the live connections.
    Close {
        worker: u32,
        pick: usize,
    },
    /// Release a token that was released before and whose source has gone.
    CloseAgain {
        worker: u32,
        pick: usize,
    },
}

/// Few sources, so that they meet, or many, so that they come and go.
fn address(sources: u32) -> impl Strategy<Value = Vec<u8>> {
    (0..sources, 0..3u8, 0..2u8).prop_map(|(n, form, host)| match form {
        0 => [&[10], &n.to_be_bytes()[1..]].concat(),
        // the same source, IPv4-mapped
        1 => [&[0; 10][..], &[0xff, 0xff, 10], &n.to_be_bytes()[1..]].concat(),
        // two hosts of a /64
        _ => {
            let network = u64::from(n) | 0x2001_0db8 << 32;
            [&network.to_be_bytes()[..], &[0; 7], &[host]].concat()
        }
    })
}

fn operations(sources: u32) -> impl Strategy<Value = Vec<Operation>> {
    let worker = 0..12u32;
    let operation = prop_oneof![
        3 => (worker.clone(), address(sources))
            .prop_map(|(worker, address)| Operation::Open { worker, address }),
        2 => (worker.clone(), address(sources), -1..5i32).prop_map(|(worker, address, limit)| {
            Operation::OpenWithin { worker, address, limit }
        }),
        2 => (address(sources), -1..5i32)
            .prop_map(|(address, limit)| Operation::Check { address, limit }),
        4 => (worker.clone(), any::<usize>())
            .prop_map(|(worker, pick)| Operation::Close { worker, pick }),
        1 => (worker, any::<usize>())
            .prop_map(|(worker, pick)| Operation::CloseAgain { worker, pick }),
    ];
    proptest::collection::vec(operation, 0..600)
}

/// What the engine is compared with.
#[derive(Default)]
struct Model {
    live: Vec<(Source, Token)>,
    released: Vec<(Source, Token)>,
    full: u64,
    stale: u64,
    admitted: u64,
}

impl Model {
    fn count(&self, source: Source) -> i32 {
        self.live.iter().filter(|(s, _)| *s == source).count() as i32
    }

    fn run(&mut self, limiter: &Limiter, operation: &Operation, may_be_full: bool) {
        let source = |address| Source::new(address, limiter.prefixes()).unwrap();
        match operation {
            Operation::Open { worker, address } => {
                self.open(limiter, *worker, source(address), 0, may_be_full);
            }
            Operation::OpenWithin {
                worker,
                address,
                limit,
            } => {
                self.open(limiter, *worker, source(address), *limit, may_be_full);
            }
            Operation::Check { address, limit } => {
                let count = self.count(source(address));
                let refused = limiter.check_against(source(address), *limit).is_err();
                assert_eq!(refused, *limit > 0 && count >= *limit);
            }
            Operation::Close { worker, pick } => {
                if self.live.is_empty() {
                    return;
                }
                let (source, token) = self.live.swap_remove(pick % self.live.len());
                assert_eq!(limiter.closed(Worker::new(*worker), token), Ok(()));
                self.released.push((source, token));
            }
            Operation::CloseAgain { worker, pick } => {
                if self.released.is_empty() {
                    return;
                }
                let (source, token) = self.released[pick % self.released.len()];
                if self.live.iter().any(|(s, t)| *s == source || *t == token) {
                    return; // not to be told from a release of one of those
                }
                let outcome = limiter.closed(Worker::new(*worker), token);
                assert_eq!(outcome, Err(StaleToken));
                self.stale += 1;
            }
        }
    }

    fn open(&mut self, limiter: &Limiter, worker: u32, source: Source, limit: i32, full: bool) {
        let over = limit > 0 && self.count(source) >= limit;
        match limiter.opened(Worker::new(worker), source, limit) {
            Ok(token) => {
                assert!(!over);
                assert_eq!(Token::from_bits(token.to_bits()), Some(token));
                self.live.push((source, token));
                self.admitted += 1;
            }
            Err(NotCounted::OverLimit) => assert!(over),
            Err(NotCounted::TableFull) => {
                assert!(full, "full with {} connections", self.live.len());
                assert_eq!(self.count(source), 0, "a source in the table has a place");
                self.full += 1;
            }
        }
    }

    fn compare(&self, limiter: &Limiter) {
        let mut counts: HashMap<Source, u32> = HashMap::new();
        for (source, _) in &self.live {
            *counts.entry(*source).or_default() += 1;
        }
        let reported: HashMap<_, _> = limiter
            .sources()
            .map(|report| (report.source, report.connections))
            .collect();
        assert_eq!(reported, counts);
        assert_eq!(limiter.sources().count(), counts.len(), "one slot a source");
        for (source, count) in &counts {
            assert_eq!(limiter.get(*source).connections, *count);
        }
        let top = limiter.top(3).unwrap();
        let mut most: Vec<u32> = counts.values().copied().collect();
        most.sort_by(|a, b| b.cmp(a));
        most.truncate(3);
        let connections: Vec<u32> = top.iter().map(|report| report.connections).collect();
        assert_eq!(connections, most);
        let totals = limiter.totals();
        assert_eq!(totals.admitted, self.admitted);
        assert_eq!(totals.table_full, self.full);
        assert_eq!(totals.stale_token, self.stale);
    }
}

fn agree(limiter: &Limiter, operations: &[Operation], may_be_full: bool) {
    let mut model = Model::default();
    for operation in operations {
        model.run(limiter, operation, may_be_full);
    }
    model.compare(limiter);
    for (source, token) in std::mem::take(&mut model.live) {
        assert_eq!(limiter.closed(Worker::ACCEPTOR, token), Ok(()));
        model.released.push((source, token));
    }
    model.compare(limiter);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Few sources: limits are met, counts grow.
    #[test]
    fn few_sources(operations in operations(6)) {
        let limiter = Limiter::new(600, 0, Prefixes::DEFAULT).unwrap();
        agree(&limiter, &operations, false);
    }

    /// Many sources in a tiny table: replacement, and a table that is full.
    #[test]
    fn many_sources_in_a_tiny_table(operations in operations(300)) {
        let limiter = Limiter::new(1, 0, Prefixes::DEFAULT).unwrap();
        agree(&limiter, &operations, true);
    }

    /// Prefixes beyond a half address: the other way to compare sources.
    #[test]
    fn long_ipv6_prefixes(operations in operations(6), v6 in 65..=128u32) {
        let prefixes = Prefixes::new(32, v6).unwrap();
        let limiter = Limiter::new(600, 0, prefixes).unwrap();
        agree(&limiter, &operations, false);
    }

    /// Made-up tokens change nothing.
    #[test]
    fn any_token_is_safe(bits in any::<u64>()) {
        let limiter = Limiter::new(10, 0, Prefixes::DEFAULT).unwrap();
        let source = Source::new(&[127, 0, 0, 1], Prefixes::DEFAULT).unwrap();
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        if let Some(made_up) = Token::from_bits(bits).filter(|t| *t != token) {
            prop_assert_eq!(limiter.closed(Worker::ACCEPTOR, made_up), Err(StaleToken));
        }
        prop_assert_eq!(limiter.get(source).connections, 1);
    }
}

/// As many sources as connections are allowed: the table does not fill.
#[test]
fn every_connection_of_another_source() {
    for connections in [10u32, 1_000, 35_000] {
        let limiter = Limiter::new(connections, 0, Prefixes::DEFAULT).unwrap();
        for n in 0..connections {
            let address = [&[10], &n.to_be_bytes()[1..]].concat();
            let source = Source::new(&address, Prefixes::DEFAULT).unwrap();
            limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        }
        let occupancy = limiter.occupancy();
        assert_eq!(occupancy.sources, u64::from(connections));
    }
}

/// Ten times as many sources as places, one after the other.
#[test]
fn sources_come_and_go_for_ever() {
    let limiter = Limiter::new(1_000, 0, Prefixes::DEFAULT).unwrap();
    let places = limiter.occupancy().slots as u32;
    for n in 0..places * 10 {
        let address = [&[10], &n.to_be_bytes()[1..]].concat();
        let source = Source::new(&address, Prefixes::DEFAULT).unwrap();
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        assert_eq!(limiter.get(source).connections, 1);
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    assert_eq!(limiter.occupancy().sources, 0);
    assert_eq!(limiter.totals().table_full, 0);
}

/// The first rejection of a source is to be logged, then one per interval.
#[test]
fn rejections_are_logged_once_per_source_and_interval() {
    let limiter = Limiter::new(10, 1, Prefixes::DEFAULT).unwrap();
    let sources = [1, 2].map(|n| Source::new(&[127, 0, 0, n], Prefixes::DEFAULT).unwrap());
    for source in sources {
        limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
    }
    let reject = |source, now| {
        let rejection = limiter.check(source).unwrap_err();
        assert_eq!((rejection.connections, rejection.limit), (1, 1));
        limiter.rejected(Worker::ACCEPTOR, rejection, now)
    };
    // over the wrap of the clock, too
    let start = u32::MAX - 5;
    let logged: Vec<bool> = (0..130)
        .map(|second| reject(sources[0], start.wrapping_add(second)))
        .collect();
    assert_eq!(logged.iter().filter(|logged| **logged).count(), 3);
    assert!(logged[0]);
    assert!(reject(sources[1], start));
    assert!(!reject(sources[1], start));
    assert_eq!(limiter.get(sources[0]).rejected, 130);
    assert_eq!(limiter.totals().rejected, 132);
}
