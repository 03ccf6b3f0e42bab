// SPDX-License-Identifier: GPL-2.0-or-later
//! Random sequences of operations on the engine, compared with a plain map.
//!
//! The properties that need a limiter that only the crate itself can make are in
//! `src/corners.rs`.

use proptest::prelude::*;
use tcp_conn_limit::limiter::{Limiter, StaleToken, Token, Worker};
use tcp_conn_limit::source::{PrefixLengths, Source};

mod operations;

use operations::{Operation, Room, agree, operations};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Few sources: limits are met, counts grow.
    #[test]
    fn few_sources(operations in operations(6, 600)) {
        let limiter = Limiter::new(600, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::ENOUGH);
    }

    /// Many sources in a tiny table: replacement, and a table that is full.
    #[test]
    fn many_sources_in_a_tiny_table(operations in operations(300, 600)) {
        let limiter = Limiter::new(1, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::LITTLE);
    }

    /// PrefixLengths beyond a half address: the other way to compare sources.
    #[test]
    fn long_ipv6_prefixes(operations in operations(6, 600), v6 in 65..=128u32) {
        let prefixes = PrefixLengths::new(32, v6).unwrap();
        let limiter = Limiter::new(600, 0, prefixes).unwrap();
        agree(&limiter, &operations, Room::ENOUGH);
    }

    /// Tables of all sizes, with few sources or more than they have room for.
    #[test]
    fn tables_of_all_sizes((connections, operations) in size_and_operations()) {
        let limiter = Limiter::new(connections, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::LITTLE);
    }

    /// Made-up tokens change nothing.
    #[test]
    fn any_token_is_safe(bits in any::<u64>()) {
        let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
        let source = Source::new(&[127, 0, 0, 1], PrefixLengths::DEFAULT).unwrap();
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        if let Some(made_up) = Token::from_bits(bits).filter(|t| *t != token) {
            prop_assert_eq!(limiter.closed(Worker::ACCEPTOR, made_up), Err(StaleToken));
        }
        prop_assert_eq!(limiter.get(source).connections, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// Thousands of operations.
    #[test]
    fn long_sequences(operations in operations(6, 8_000)) {
        let limiter = Limiter::new(600, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::ENOUGH);
    }

    /// Thousands, with sources that replace each other.
    #[test]
    fn long_sequences_of_many_sources(operations in operations(300, 8_000)) {
        let limiter = Limiter::new(20, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::LITTLE);
    }
}

fn size_and_operations() -> impl Strategy<Value = (u32, Vec<Operation>)> {
    let size = prop_oneof![1..20u32, 20..300u32, 300..2_000u32];
    let with_sources = size.prop_flat_map(|size| (Just(size), 1..=2 * size));
    with_sources.prop_flat_map(|(size, sources)| (Just(size), operations(sources, 600)))
}

/// As many sources as connections are allowed: the table does not fill.
#[test]
fn every_connection_of_another_source() {
    for connections in [10u32, 1_000, 35_000] {
        let limiter = Limiter::new(connections, 0, PrefixLengths::DEFAULT).unwrap();
        for n in 0..connections {
            let address = [&[10], &n.to_be_bytes()[1..]].concat();
            let source = Source::new(&address, PrefixLengths::DEFAULT).unwrap();
            limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        }
        let occupancy = limiter.occupancy();
        assert_eq!(occupancy.sources, u64::from(connections));
    }
}

/// Ten times as many sources as places, one after the other.
#[test]
fn sources_come_and_go_for_ever() {
    let limiter = Limiter::new(1_000, 0, PrefixLengths::DEFAULT).unwrap();
    let places = limiter.occupancy().slots as u32;
    for n in 0..places * 10 {
        let address = [&[10], &n.to_be_bytes()[1..]].concat();
        let source = Source::new(&address, PrefixLengths::DEFAULT).unwrap();
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        assert_eq!(limiter.get(source).connections, 1);
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    assert_eq!(limiter.occupancy().sources, 0);
    assert_eq!(limiter.totals().table_full, 0);
}
