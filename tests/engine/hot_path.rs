// SPDX-License-Identifier: GPL-2.0-or-later
//! What the server does for each connection: check, opened, closed, rejected.

use support::allocations::{Counting, allocations};
use support::engine::{load_rules, source};
use tcp_conn_limit::limiter::load::Load;
use tcp_conn_limit::limiter::{Facts, Limiter, Worker};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::policy::pressure::Pressure;
use tcp_conn_limit::policy::reserve::Reserve;
use tcp_conn_limit::policy::settings::{Mode, OnFull};
use tcp_conn_limit::source::PrefixLengths;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sources are new, known, at their limit, with and without a rule, and do not find a
/// slot.
#[test]
fn check_opened_and_closed_allocate_nothing() {
    const SOURCES: u32 = 2_000;
    let limiter = Limiter::new(100, 2, PrefixLengths::DEFAULT).unwrap();
    assert!(Report::of(&limiter).occupancy().slots < SOURCES.into());
    let me = Worker::ACCEPTOR;
    let mut tokens = Vec::with_capacity(4 * SOURCES as usize);
    let (mut rejected, mut without_slot) = (0, 0);
    for (mode, on_full) in [
        (Mode::Enforce, OnFull::Admit),
        (Mode::Enforce, OnFull::Reject),
        (Mode::Monitor, OnFull::Reject),
    ] {
        limiter.set_mode(mode);
        limiter.set_on_full(on_full);
        load_rules(&limiter, &["10.0.0.0/24=1", "10.0.1.0/24=unlimited"]);
        let before = allocations();
        for n in (0..SOURCES).flat_map(|n| [n; 4]) {
            if let Err(rejection) = limiter.check(source(n))
                && limiter.rejected(me, rejection)
            {
                rejected += 1;
                continue;
            }
            match limiter.opened(me, source(n), 0) {
                Ok(token) => tokens.push(token),
                Err(_) => without_slot += 1,
            }
        }
        for token in tokens.drain(..) {
            limiter.closed(me, token).unwrap();
        }
        assert_eq!(allocations(), before, "{mode:?}, {on_full:?}");
    }
    assert!(rejected > 0 && without_slot > 0);
    assert!(allocations() > 0, "allocations are not counted");
}

/// Also with connections that are trusted, and at the limit of the others.
#[test]
fn trusted_connections_allocate_nothing() {
    const DESCRIPTORS: i32 = 90;
    let limiter = Limiter::with_trust(100, 0, PrefixLengths::DEFAULT).unwrap();
    limiter.set_untrusted_limit(3).unwrap();
    load_rules(&limiter, &["10.0.0.1=5 untrusted=1", "10.0.0.2=5 trusted"]);
    let me = Worker::ACCEPTOR;
    let mut rejected = 0;
    let before = allocations();
    for round in 0..20 {
        for descriptor in 0..DESCRIPTORS {
            let source = source((descriptor + round) as u32 % 7);
            if let Some(token) = limiter.connection(descriptor) {
                limiter.disconnect(me, token, Facts::SPOKE).unwrap();
                continue;
            }
            if let Err(rejection) = limiter.check(source) {
                limiter.rejected(me, rejection);
                rejected += 1;
                continue;
            }
            let token = limiter.connect(me, descriptor, source, &[], Facts::NONE, 0);
            if descriptor % 2 == 0 {
                limiter.trust(Worker::new(1), token.unwrap()).unwrap();
            }
        }
    }
    assert_eq!(allocations(), before);
    let totals = limiter.totals();
    assert!(rejected > 0 && totals.untrusted_rejected > 0 && totals.became_trusted > 0);
}

/// Sources are new, known, over their effective limit, trusted, and rejected to keep the
/// reserve, while levels are reached and left.
#[test]
fn checks_under_load_allocate_nothing() {
    use std::sync::atomic::{AtomicU32, Ordering};

    static IN_USE: AtomicU32 = AtomicU32::new(0);

    let limiter = Limiter::new(100, 9, PrefixLengths::DEFAULT).unwrap();
    let limiter = limiter.with_load(|| Load {
        in_use: IN_USE.load(Ordering::Relaxed),
        max: 100,
    });
    limiter.set_reserve(Reserve::Percent(5));
    limiter.set_pressure(Pressure::parse("50:50% 80:1").unwrap());
    load_rules(&limiter, &["10.0.0.0/29=9 trusted"]);
    let me = Worker::ACCEPTOR;
    for n in 0..16 {
        limiter.opened(me, source(n), 0).unwrap();
    }
    let before = allocations();
    let (mut admitted, mut rejected) = (0, 0);
    for in_use in (0..=100).chain((0..100).rev()) {
        IN_USE.store(in_use, Ordering::Relaxed);
        for n in 0..32 {
            match limiter.check(source(n)) {
                Ok(()) => admitted += 1,
                Err(rejection) => rejected += u32::from(limiter.rejected(me, rejection)),
            }
        }
    }
    assert_eq!(allocations(), before);
    assert!(admitted > 0 && rejected > 0);
}

/// Sources are known here, on other nodes, on both and on none, and are rejected because of
/// the other nodes.
#[test]
fn checks_in_a_cluster_allocate_nothing() {
    let limiter = Limiter::new(100, 9, PrefixLengths::DEFAULT).unwrap();
    let limiter = limiter.with_cluster().unwrap();
    limiter.set_cluster_limit(5);
    load_rules(&limiter, &["10.0.0.0/30=9 cluster=3"]);
    let me = Worker::ACCEPTOR;
    for n in 0..16 {
        limiter.opened(me, source(n), 0).unwrap();
    }
    for n in 0..24 {
        assert!(limiter.set_others(source(n), n % 7));
    }
    let before = allocations();
    let (mut admitted, mut rejected) = (0, 0);
    for shares in [0, 3] {
        limiter.set_cluster_shares(shares);
        for n in 0..32 {
            match limiter.check(source(n)) {
                Ok(()) => admitted += 1,
                Err(rejection) => rejected += u32::from(limiter.rejected(me, rejection)),
            }
        }
    }
    assert_eq!(allocations(), before);
    assert!(admitted > 0 && rejected > 0);
}
