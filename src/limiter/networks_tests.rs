// SPDX-License-Identifier: GPL-2.0-or-later
//! Networks in a table without a slot for them, which only the crate can arrange.

use core::ffi::c_int;

use super::{Facts, Limiter, NotConnected, NotCounted, Worker};
use crate::observe::report::Report;
use crate::policy::settings::OnFull;
use crate::policy::terms::Rate;
use crate::source::{NetworkLengths, PrefixLengths, Source};

fn limiter() -> Limiter {
    let prefixes = PrefixLengths::DEFAULT.with_networks(NetworkLengths::DEFAULT);
    let limiter = Limiter::new(1, 0, prefixes.unwrap()).unwrap();
    limiter.with_clock(|| 5_000_000).with_weak_hash(1)
}

/// Host `n` of its own network.
fn source(limiter: &Limiter, n: u8) -> Source {
    limiter.source(&[10, 0, n, 1]).unwrap()
}

fn connect(limiter: &Limiter, n: u8, limit: i32) -> Result<super::ConnectionToken, NotConnected> {
    let source = source(limiter, n);
    limiter.connect(
        Worker::ACCEPTOR,
        c_int::from(n),
        source,
        &[],
        Facts::SPOKE,
        limit,
    )
}

fn counts(limiter: &Limiter, n: u8) -> [u32; 2] {
    let source = source(limiter, n);
    let network = limiter.network(source).unwrap();
    [source, network].map(|key| Report::of(limiter).get(key).connections)
}

/// All sources and networks share eight slots.
#[test]
fn connection_counts_in_its_source_only_if_its_network_has_no_slot() {
    let limiter = limiter();
    let cells = (0..8).map(|n| limiter.opened(Worker::ACCEPTOR, source(&limiter, n), 0));
    let cells: Vec<_> = cells.map(Result::unwrap).collect();
    let token = connect(&limiter, 5, 0).unwrap();
    assert_eq!(counts(&limiter, 5), [2, 0]);
    assert!(!limiter.counts_network_of(5));
    let full = NotConnected::NotCounted(NotCounted::TableFull);
    assert_eq!(connect(&limiter, 9, 0), Err(full));
    let totals = limiter.totals();
    assert_eq!((totals.table_full, totals.network_uncounted), (1, 2));
    limiter
        .disconnect(Worker::ACCEPTOR, token, Facts::SPOKE)
        .unwrap();
    // One slot is free. The network takes it, and gives it back because the source gets no slot.
    limiter.closed(Worker::ACCEPTOR, cells[0]).unwrap();
    assert_eq!(connect(&limiter, 9, 0), Err(full));
    assert_eq!(counts(&limiter, 9), [0, 0]);
    limiter.set_on_full(OnFull::Reject);
    assert!(
        limiter.check(source(&limiter, 5)).is_ok(),
        "its network has one"
    );
    let lone = limiter
        .opened(Worker::ACCEPTOR, source(&limiter, 0), 0)
        .unwrap();
    assert!(limiter.check(source(&limiter, 5)).is_err());
    for cell in cells[1..].iter().copied().chain([lone]) {
        limiter.closed(Worker::ACCEPTOR, cell).unwrap();
    }
    assert_eq!(Report::of(&limiter).counts().count(), 0);
}

#[test]
fn network_that_was_counted_is_given_back_if_the_source_is_not_admitted() {
    let limiter = limiter();
    limiter.set_network_rate(Rate {
        interval_us: 1_000_000,
        burst: 5,
    });
    let first = connect(&limiter, 1, 1).unwrap();
    let network = limiter.network(source(&limiter, 1)).unwrap();
    let owed = || Report::of(&limiter).get(network).owed_us;
    assert_eq!((counts(&limiter, 1), owed()), ([1, 1], 1_000_000));
    let over = NotConnected::NotCounted(NotCounted::OverLimit);
    let again = source(&limiter, 1);
    let connect = |limit| limiter.connect(Worker::new(2), 7, again, &[], Facts::NONE, limit);
    assert_eq!(connect(1), Err(over));
    assert_eq!((counts(&limiter, 1), owed()), ([1, 1], 1_000_000));
    limiter.set_network_limit(1);
    let over = NotConnected::NotCounted(NotCounted::OverNetwork);
    assert_eq!(connect(9), Err(over));
    assert_eq!((counts(&limiter, 1), owed()), ([1, 1], 1_000_000));
    assert_eq!(limiter.totals().admitted, 1);
    limiter
        .disconnect(Worker::ACCEPTOR, first, Facts::NONE)
        .unwrap();
    assert_eq!(counts(&limiter, 1), [0, 0]);
}

/// The previous connection of a descriptor may be that of another network.
#[test]
fn forgotten_connection_releases_its_own_network() {
    let limiter = limiter();
    connect(&limiter, 1, 0).unwrap();
    let other = source(&limiter, 2);
    let token = limiter
        .connect(Worker::ACCEPTOR, 1, other, &[], Facts::NONE, 0)
        .unwrap();
    assert_eq!((counts(&limiter, 1), counts(&limiter, 2)), ([0, 0], [1, 1]));
    assert_eq!(limiter.totals().descriptor_reused, 1);
    assert!(limiter.counts_network_of(1) && !limiter.counts_network_of(2));
    limiter.release_descriptors(Worker::ACCEPTOR);
    assert_eq!(counts(&limiter, 2), [0, 0]);
    limiter
        .disconnect(Worker::ACCEPTOR, token, Facts::NONE)
        .unwrap_err();
}
