// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of the records of connections, together with the counts.

use core::ffi::c_int;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::observe::report::Report;

const A: &[u8] = &[192, 0, 2, 1];
const B: &[u8] = &[192, 0, 2, 2];

fn source(address: &[u8]) -> Source {
    Source::new(address, PrefixLengths::DEFAULT).unwrap()
}

/// A limiter that tracks `descriptors` descriptors.
fn limiter(limit: i32, descriptors: usize) -> Limiter {
    let geometry = Geometry::of(1000, descriptors);
    Limiter::with_geometry(geometry, 1000, limit, PrefixLengths::DEFAULT).unwrap()
}

/// Accepts a connection, as an interposed function does.
fn accept(limiter: &Limiter, descriptor: c_int, address: &[u8]) -> bool {
    let source = source(address);
    limiter.accept(Worker::ACCEPTOR, descriptor, source, address, Facts::NONE)
}

/// Opens a connection, as a hook does.
fn connect(limiter: &Limiter, descriptor: c_int, address: &[u8]) -> ConnectionToken {
    let connected = limiter.connect(
        Worker::ACCEPTOR,
        descriptor,
        source(address),
        address,
        Facts::NONE,
        0,
    );
    connected.unwrap()
}

/// Closes a connection, as an interposed function does.
fn close(limiter: &Limiter, descriptor: c_int) {
    if let Some(taken) = limiter.take(descriptor) {
        let released = limiter.release(Worker::ACCEPTOR, taken, Facts::NONE);
        assert_eq!(released, Ok(taken.facts));
    }
}

fn disconnect(limiter: &Limiter, token: ConnectionToken) -> Result<Facts, StaleToken> {
    limiter.disconnect(Worker::new(1), token, Facts::NONE)
}

fn connections(limiter: &Limiter, address: &[u8]) -> u32 {
    Report::of(limiter).get(source(address)).connections
}

#[test]
fn accept_adds_and_close_removes() {
    let limiter = limiter(2, 10);
    assert!(accept(&limiter, 3, A));
    assert!(accept(&limiter, 4, A));
    assert!(!accept(&limiter, 5, A));
    assert!(accept(&limiter, 5, B));
    assert_eq!(connections(&limiter, A), 2);
    close(&limiter, 3);
    close(&limiter, 3);
    assert_eq!(connections(&limiter, A), 1);
    assert!(accept(&limiter, 3, A));
    assert_eq!(limiter.totals().rejected, 1);
    assert_eq!(limiter.totals().descriptor_reused, 0);
}

#[test]
fn token_is_valid_once() {
    let limiter = limiter(0, 10);
    let token = connect(&limiter, 3, A);
    let other = connect(&limiter, 4, A);
    assert_eq!(disconnect(&limiter, token), Ok(Facts::NONE));
    // The cell of the source has another connection; the record shows the mistake.
    assert_eq!(disconnect(&limiter, token), Err(StaleToken));
    assert_eq!(connections(&limiter, A), 1);
    let later = connect(&limiter, 3, A);
    assert_ne!(later, token);
    assert_eq!(disconnect(&limiter, token), Err(StaleToken));
    assert_eq!(connections(&limiter, A), 2);
    for token in [other, later] {
        assert_eq!(disconnect(&limiter, token), Ok(Facts::NONE));
    }
    assert_eq!(connections(&limiter, A), 0);
    assert_eq!(limiter.totals().stale_token, 2);
}

#[test]
fn made_up_tokens_are_stale() {
    let limiter = limiter(0, 10);
    let token = connect(&limiter, 3, A).to_bits();
    for bits in [0, 1, token & 0xffff_ffff, token ^ 0x100 << 32] {
        assert_eq!(ConnectionToken::from_bits(bits), None, "{bits:#x}");
    }
    let closed = connect(&limiter, 4, A);
    assert_eq!(disconnect(&limiter, closed), Ok(Facts::NONE));
    for bits in [
        u64::MAX,
        token ^ 1 << 41,
        token + 1,
        token + 7,
        token ^ 1 << 63,
    ] {
        let made_up = ConnectionToken::from_bits(bits).unwrap();
        assert_eq!(disconnect(&limiter, made_up), Err(StaleToken), "{bits:#x}");
        assert!(!limiter.mark(made_up, Facts::SPOKE));
    }
    assert_eq!(connections(&limiter, A), 1);
    assert_eq!(limiter.connection(3).unwrap().to_bits(), token);
}

#[test]
fn generations_wrap_around() {
    let limiter = limiter(0, 4);
    let record = &limiter.region().connections()[3];
    record.state.store(0xffff_fe00, Ordering::Relaxed);
    let token = connect(&limiter, 3, A);
    assert_eq!(token.to_bits(), 0x100 << 32 | 3);
    assert_eq!(disconnect(&limiter, token), Ok(Facts::NONE));
    assert_eq!(connect(&limiter, 3, A).to_bits(), 0x300 << 32 | 3);
}

#[test]
fn facts_are_collected_until_the_end() {
    let limiter = limiter(0, 10);
    let worker = Worker::ACCEPTOR;
    let token = limiter
        .connect(worker, 3, source(A), A, Facts::TLS, 0)
        .unwrap();
    assert!(limiter.mark(token, Facts::SPOKE));
    assert!(limiter.mark(token, Facts::SPOKE));
    assert_eq!(limiter.connection(3), Some(token));
    let ended = limiter.disconnect(worker, token, Facts::TIMED_OUT).unwrap();
    assert_eq!(ended, Facts::TLS | Facts::SPOKE | Facts::TIMED_OUT);
    assert!(ended.include(Facts::SPOKE) && !ended.include(Facts::CLOSED_BY_HOST));
    assert!(!limiter.mark(token, Facts::TLS));
    let next = connect(&limiter, 3, A);
    assert_eq!(disconnect(&limiter, next), Ok(Facts::NONE));
}

#[test]
fn unknown_facts_are_ignored() {
    let facts = Facts::from_bits(u32::MAX);
    assert_eq!(facts.to_bits(), 0b1111);
    let limiter = limiter(0, 4);
    let token = limiter.connect(Worker::ACCEPTOR, 3, source(A), A, facts, 0);
    assert_eq!(disconnect(&limiter, token.unwrap()), Ok(facts));
}

#[test]
fn oldest_connection_of_a_source_is_found() {
    let limiter = limiter(0, 10);
    assert_eq!(limiter.oldest(source(A), 100), None);
    limiter.set_clock(100);
    let first = connect(&limiter, 3, A);
    limiter.set_clock(107);
    connect(&limiter, 4, A);
    connect(&limiter, 5, B);
    assert_eq!(limiter.oldest(source(A), 110), Some(10));
    assert_eq!(limiter.oldest(source(B), 110), Some(3));
    // The clock of the caller may be behind.
    assert_eq!(limiter.oldest(source(B), 106), Some(0));
    disconnect(&limiter, first).unwrap();
    assert_eq!(limiter.oldest(source(A), 110), Some(3));
    limiter.set_clock(u32::MAX);
    connect(&limiter, 3, B);
    close(&limiter, 5);
    assert_eq!(limiter.oldest(source(B), 4), Some(5));
}

#[test]
fn reused_descriptor_releases_its_old_connection() {
    let limiter = limiter(1, 10);
    accept(&limiter, 3, A);
    // Its close was not seen. The next connection is admitted nevertheless.
    assert!(accept(&limiter, 3, A));
    assert_eq!(connections(&limiter, A), 1);
    assert_eq!(limiter.totals().descriptor_reused, 1);
    // The next connection is of another source.
    assert!(accept(&limiter, 3, B));
    assert_eq!(connections(&limiter, A), 0);
    assert_eq!(connections(&limiter, B), 1);
    // The next connection is not counted.
    limiter.forget(Worker::ACCEPTOR, 3);
    assert_eq!(connections(&limiter, B), 0);
    // The next connection is rejected.
    accept(&limiter, 4, A);
    accept(&limiter, 5, B);
    assert!(!accept(&limiter, 5, A));
    assert_eq!(connections(&limiter, B), 0);
    assert_eq!(limiter.totals().descriptor_reused, 4);
    // A hook finds it when it counts.
    connect(&limiter, 4, B);
    assert_eq!(connections(&limiter, A), 0);
    assert_eq!(limiter.totals().descriptor_reused, 5);
    limiter.release_descriptors(Worker::ACCEPTOR);
    assert_eq!(connections(&limiter, B), 0);
    assert_eq!(limiter.totals().stale_token, 0);
}

const BEYOND: [c_int; 4] = [4, 5, c_int::MAX, -1];

#[test]
fn untracked_connections_are_admitted_uncounted() {
    let limiter = limiter(1, 4);
    for descriptor in BEYOND {
        assert!(accept(&limiter, descriptor, A));
        assert_eq!(limiter.connection(descriptor), None);
        assert!(limiter.take(descriptor).is_none());
    }
    assert_eq!(connections(&limiter, A), 0);
    // A source that is at its limit with tracked ones is rejected as usual.
    accept(&limiter, 3, A);
    assert!(!accept(&limiter, 4, A));
    let expected = Totals {
        admitted: 1,
        rejected: 1,
        untracked: 4,
        ..Totals::default()
    };
    assert_eq!(limiter.totals(), expected);
}

#[test]
fn untracked_connections_obey_on_full() {
    let limiter = limiter(1, 4);
    limiter.set_on_full(OnFull::Reject);
    let all = |admitted| {
        for descriptor in BEYOND {
            assert_eq!(accept(&limiter, descriptor, A), admitted);
        }
    };
    all(false);
    let mut expected = Totals {
        rejected: 4,
        untracked_rejected: 4,
        ..Totals::default()
    };
    assert_eq!(limiter.totals(), expected);
    limiter.set_mode(Mode::Monitor);
    all(true);
    (expected.would_reject, expected.untracked) = (4, 4);
    assert_eq!(limiter.totals(), expected);
    limiter.set_mode(Mode::Off);
    all(true);
    expected.untracked = 8;
    assert_eq!(limiter.totals(), expected);
    // This does not affect tracked descriptors.
    limiter.set_mode(Mode::Enforce);
    assert!(accept(&limiter, 3, A));
    assert!(limiter.connection(3).is_some());
}

#[test]
fn source_without_a_slot_leaves_the_record_closed() {
    let geometry = Geometry::of(1, 10);
    let limiter = Limiter::with_geometry(geometry, 1, 0, PrefixLengths::DEFAULT).unwrap();
    for n in 0..4 {
        connect(&limiter, n, &[10, 0, 0, n as u8]);
    }
    let more = limiter.connect(Worker::ACCEPTOR, 5, source(A), A, Facts::NONE, 0);
    assert_eq!(more, Err(NotCounted::TableFull.into()));
    assert_eq!(limiter.connection(5), None);
}

#[test]
fn one_process_owns_the_descriptors() {
    let limiter = limiter(1, 4);
    assert!(limiter.claim_descriptors(7));
    assert!(limiter.claim_descriptors(7));
    assert!(!limiter.claim_descriptors(8));
    accept(&limiter, 3, A);
    limiter.release_descriptors(Worker::ACCEPTOR);
    assert_eq!(connections(&limiter, A), 0);
    assert_eq!(limiter.connection(3), None);
    assert!(limiter.claim_descriptors(8));
}

#[test]
fn unused_descriptors_take_no_memory() {
    let resident = || -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let before = resident();
    // 1.6 GB, of which two pages are used.
    let limiter = limiter(1, 100_000_000);
    accept(&limiter, 0, A);
    accept(&limiter, 99_999_999, B);
    assert!(limiter.connection(99_999_999).is_some());
    // Other tests run at the same time; 51,200 pages are 200 MB.
    assert!(resident() < before + 51_200);
}

/// Cells of records as damaged memory may have them: they are invalid, or without a connection,
/// or their slot is out of range in either kind of row, also with a network.
const WRONG_CELLS: [u64; 6] = [
    0,
    u64::MAX,
    1,
    0xffff_ffff,
    1 << 32 | 0xffff_ffff,
    1 << 63 | 0xffff_ffff,
];

#[test]
fn record_with_a_wrong_cell_is_a_stale_token() {
    let limiter = limiter(0, 4);
    for cell in WRONG_CELLS {
        let token = connect(&limiter, 3, A);
        let record = &limiter.region().connections()[3];
        record.cell.store(cell, Ordering::Relaxed);
        assert_eq!(disconnect(&limiter, token), Err(StaleToken), "{cell:#x}");
        assert_eq!(limiter.connection(3), None);
    }
    assert_eq!(limiter.totals().stale_token, 6);
}

#[test]
fn record_with_a_wrong_cell_has_no_source() {
    let geometry = Geometry::of(1000, 4).with_trust().with_moves();
    let limiter = Limiter::with_geometry(geometry, 1000, 0, PrefixLengths::DEFAULT).unwrap();
    let worker = Worker::ACCEPTOR;
    for cell in WRONG_CELLS {
        let token = connect(&limiter, 3, A);
        let record = &limiter.region().connections()[3];
        record.cell.store(cell, Ordering::Relaxed);
        assert_eq!(limiter.scope_of_connection(3), None, "{cell:#x}");
        assert_eq!(limiter.trust(worker, token), Err(TrustError::Gone));
        let moved = limiter.count_for(worker, token, A, B);
        assert!(matches!(moved, Err(MoveError::Gone)), "{cell:#x}");
        limiter.forget(worker, 3);
        assert_eq!(limiter.connection(3), None);
    }
    let totals = limiter.totals();
    assert_eq!((totals.stale_token, totals.descriptor_reused), (6, 6));
}

proptest! {
    /// Compares the records with a map. Each connection gets the lowest free descriptor, as
    /// from the system. Some closes are not seen.
    #[test]
    fn counts_follow_the_descriptors(
        steps in prop::collection::vec((0u8..5, 0u8..3, 0usize..20), 1..300),
    ) {
        let limiter = limiter(5, 64);
        let mut open: HashMap<c_int, u8> = HashMap::new();
        // A connection whose close was not seen is counted until its descriptor is reused.
        let mut counted: HashMap<c_int, (u8, ConnectionToken, Facts)> = HashMap::new();
        let mut reused = 0;
        for (what, host, which) in steps {
            let address = [192, 0, 2, host];
            if what < 2 {
                let descriptor = (0..).find(|d| !open.contains_key(d)).unwrap();
                reused += u64::from(counted.remove(&descriptor).is_some());
                let before = counted.values().filter(|(h, ..)| *h == host).count();
                let admitted = accept(&limiter, descriptor, &address);
                prop_assert_eq!(admitted, before < 5);
                if admitted {
                    let token = limiter.connection(descriptor).unwrap();
                    open.insert(descriptor, host);
                    counted.insert(descriptor, (host, token, Facts::NONE));
                }
            } else if let Some(&descriptor) = open.keys().nth(which) {
                if what == 2
                    && let Some((_, token, facts)) = counted.get_mut(&descriptor)
                {
                    prop_assert!(limiter.mark(*token, Facts::SPOKE));
                    *facts = Facts::SPOKE;
                    continue;
                }
                open.remove(&descriptor);
                if what == 3 {
                    let (_, token, facts) = counted.remove(&descriptor).unwrap();
                    prop_assert_eq!(disconnect(&limiter, token), Ok(facts));
                    prop_assert_eq!(disconnect(&limiter, token), Err(StaleToken));
                }
            }
            for host in 0..3 {
                let expected = counted.values().filter(|(h, ..)| *h == host).count();
                let counted = connections(&limiter, &[192, 0, 2, host]);
                prop_assert_eq!(counted as usize, expected);
            }
        }
        prop_assert_eq!(limiter.totals().descriptor_reused, reused);
    }
}
