// SPDX-License-Identifier: GPL-2.0-or-later
//! Random sequences of operations on the engine, compared with a plain map.
//!
//! The properties of limiters that only the crate itself can make are tested in
//! `src/limiter/wraparound_tests.rs`.

use proptest::prelude::*;
use support::engine::source;
use tcp_conn_limit::limiter::{Limiter, StaleToken, Token, Worker};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::source::PrefixLengths;

mod operations;
mod restraints;

use operations::{Operation, Room, agree, operations, operations_in};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Few sources, which reach their limits.
    #[test]
    fn few_sources_match_the_oracle(operations in operations(6, 600)) {
        let limiter = Limiter::new(600, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::ENOUGH);
    }

    /// Many sources in a tiny table, which replace each other and fill the table.
    #[test]
    fn many_sources_in_a_tiny_table_match_the_oracle(operations in operations(300, 600)) {
        let limiter = Limiter::new(1, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::LITTLE);
    }

    /// Prefixes longer than half an address, for which sources are compared differently.
    #[test]
    fn long_ipv6_prefixes_match_the_oracle(operations in operations(6, 600), v6 in 65..=128u32) {
        let prefixes = PrefixLengths::new(32, v6).unwrap();
        let limiter = Limiter::new(600, 0, prefixes).unwrap();
        agree(&limiter, &operations, Room::ENOUGH);
    }

    /// The same addresses in several scopes, each with counts of its own.
    #[test]
    fn scopes_match_the_oracle(
        operations in operations_in(3, 4, 600),
        v4 in 24..=32u32,
        v6 in prop_oneof![Just(64u32), 32..=120u32],
    ) {
        let prefixes = PrefixLengths::new(v4, v6).unwrap();
        let limiter = Limiter::new(600, 0, prefixes).unwrap();
        agree(&limiter, &operations, Room::ENOUGH);
    }

    /// Scopes in a tiny table, in which sources replace each other.
    #[test]
    fn scopes_in_a_tiny_table_match_the_oracle(
        operations in operations_in(64, 20, 600),
        v6 in prop_oneof![Just(64u32), 32..=120u32],
    ) {
        let prefixes = PrefixLengths::new(32, v6).unwrap();
        let limiter = Limiter::new(1, 0, prefixes).unwrap();
        agree(&limiter, &operations, Room::LITTLE);
    }

    /// IPv4 networks as sources, so that there are also rules for parts of them.
    #[test]
    fn ipv4_networks_match_the_oracle(operations in operations(12, 600), v4 in 24..32u32) {
        let prefixes = PrefixLengths::new(v4, 64).unwrap();
        let limiter = Limiter::new(600, 0, prefixes).unwrap();
        agree(&limiter, &operations, Room::ENOUGH);
    }

    /// Tables of all sizes, with few sources or with more sources than slots.
    #[test]
    fn tables_of_all_sizes_match_the_oracle((connections, operations) in size_and_operations()) {
        let limiter = Limiter::new(connections, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::LITTLE);
    }

    /// Made-up tokens change nothing.
    #[test]
    fn made_up_token_changes_nothing(bits in any::<u64>()) {
        let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
        let source = source(1);
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        if let Some(made_up) = Token::from_bits(bits).filter(|t| *t != token) {
            prop_assert_eq!(limiter.closed(Worker::ACCEPTOR, made_up), Err(StaleToken));
        }
        prop_assert_eq!(Report::of(&limiter).get(source).connections, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// Thousands of operations.
    #[test]
    fn long_sequences_match_the_oracle(operations in operations(6, 8_000)) {
        let limiter = Limiter::new(600, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::ENOUGH);
    }

    /// Thousands, with sources that replace each other.
    #[test]
    fn long_sequences_of_many_sources_match_the_oracle(operations in operations(300, 8_000)) {
        let limiter = Limiter::new(20, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter, &operations, Room::LITTLE);
    }
}

fn size_and_operations() -> impl Strategy<Value = (u32, Vec<Operation>)> {
    let size = prop_oneof![1..20u32, 20..300u32, 300..2_000u32];
    let with_sources = size.prop_flat_map(|size| (Just(size), 1..=2 * size));
    with_sources.prop_flat_map(|(size, sources)| (Just(size), operations(sources, 600)))
}

/// With as many sources as allowed connections, the table is never full.
#[test]
fn one_source_a_connection_never_fills_the_table() {
    for connections in [10u32, 1_000, 35_000] {
        let limiter = Limiter::new(connections, 0, PrefixLengths::DEFAULT).unwrap();
        for n in 0..connections {
            limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
        }
        let occupancy = Report::of(&limiter).occupancy();
        assert_eq!(occupancy.sources, u64::from(connections));
    }
}

/// Ten times as many sources as slots connect one after the other.
#[test]
fn idle_sources_are_always_replaced() {
    let limiter = Limiter::new(1_000, 0, PrefixLengths::DEFAULT).unwrap();
    let slots = Report::of(&limiter).occupancy().slots as u32;
    for n in 0..slots * 10 {
        let source = source(n);
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        assert_eq!(Report::of(&limiter).get(source).connections, 1);
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    assert_eq!(Report::of(&limiter).occupancy().sources, 0);
    assert_eq!(limiter.totals().table_full, 0);
}
