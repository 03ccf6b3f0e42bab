// SPDX-License-Identifier: GPL-2.0-or-later
//! Networks together with the other controls: trust, listeners with rules, the reserve and pressure,
//! and the kernel shield.

use std::cell::Cell;

use support::engine::load_rules;
use tcp_conn_limit::limiter::load::Load;
use tcp_conn_limit::limiter::{ConnectionToken, Facts, Limiter, RejectedFor, Worker};
use tcp_conn_limit::observe::report::{By, Of, Report};
use tcp_conn_limit::observe::watch::{FloodThreshold, Watch};
use tcp_conn_limit::policy::listener::ListenerName;
use tcp_conn_limit::policy::pressure::Pressure;
use tcp_conn_limit::policy::reserve::Reserve;
use tcp_conn_limit::source::{NetworkLengths, PrefixLengths, Source};

const ACCEPTOR: Worker = Worker::ACCEPTOR;

thread_local! {
    /// Connections of the host that are in use, of 100.
    static IN_USE: Cell<u32> = const { Cell::new(0) };
}

fn prefixes() -> PrefixLengths {
    let networks = NetworkLengths::new(24, 48).unwrap();
    PrefixLengths::DEFAULT.with_networks(networks).unwrap()
}

/// A limiter in which only networks have a limit.
fn limiter(network_limit: i32, rules: &[&str]) -> Limiter {
    let limiter = Limiter::with_trust(1000, 0, prefixes()).unwrap();
    limiter.set_network_limit(network_limit);
    load_rules(&limiter, rules);
    limiter
}

/// Host `n` of the network 10.0.0.0/24.
fn address(n: u8) -> [u8; 4] {
    [10, 0, 0, n]
}

fn source(limiter: &Limiter, n: u8) -> Source {
    limiter.source(&address(n)).unwrap()
}

/// Why a connection of a source is rejected, and whether its network rejects it.
type Reason = (RejectedFor, bool);

fn accept(
    limiter: &Limiter,
    descriptor: i32,
    source: Source,
    n: u8,
) -> Result<ConnectionToken, Reason> {
    limiter
        .check_on_listener(source, &address(n))
        .map_err(|rejection| {
            limiter.rejected(ACCEPTOR, rejection);
            (rejection.reason().unwrap(), rejection.is_of_network())
        })?;
    let connected = limiter.connect(ACCEPTOR, descriptor, source, &address(n), Facts::NONE, 0);
    Ok(connected.unwrap())
}

fn connections(limiter: &Limiter, source: Source) -> u32 {
    Report::of(limiter).get(source).connections
}

#[test]
fn trusted_rules_keep_addresses_out_of_their_network() {
    let limiter = limiter(2, &["10.0.0.1 = 9 trusted", "10.0.0.0/24 = 9"]);
    let [trusted, other] = [1, 2].map(|n| source(&limiter, n));
    let network = limiter.network(other).unwrap();
    let mut open: Vec<_> = (0..5)
        .map(|fd| accept(&limiter, fd, trusted, 1).unwrap())
        .collect();
    assert_eq!(connections(&limiter, network), 0);
    open.extend((5..7).map(|fd| accept(&limiter, fd, other, 2).unwrap()));
    assert_eq!(
        accept(&limiter, 7, other, 2),
        Err((RejectedFor::Limit, true))
    );
    open.push(accept(&limiter, 7, trusted, 1).unwrap());
    assert_eq!(connections(&limiter, network), 2);
    // A rule that trusts a source later leaves what is counted where it is.
    load_rules(&limiter, &["10.0.0.0/24 = 9 trusted"]);
    open.push(accept(&limiter, 8, other, 2).unwrap());
    assert_eq!(connections(&limiter, network), 2);
    for token in open {
        limiter.disconnect(ACCEPTOR, token, Facts::NONE).unwrap();
    }
    assert_eq!(connections(&limiter, network), 0);
    assert_eq!(limiter.totals().stale_token, 0);
}

#[test]
fn limit_of_untrusted_connections_is_for_sources_only() {
    let limiter = limiter(6, &[]);
    limiter.set_untrusted_limit(2).unwrap();
    let (a, b) = (source(&limiter, 1), source(&limiter, 2));
    let network = limiter.network(a).unwrap();
    let first = accept(&limiter, 0, a, 1).unwrap();
    let second = accept(&limiter, 1, a, 1).unwrap();
    // The source comes first, also if the network is full.
    let untrusted = Err((RejectedFor::Untrusted, false));
    assert_eq!(accept(&limiter, 2, a, 1), untrusted);
    accept(&limiter, 2, b, 2).unwrap();
    assert_eq!(limiter.trust(ACCEPTOR, first), Ok(true));
    accept(&limiter, 3, a, 1).unwrap();
    assert_eq!(accept(&limiter, 4, a, 1), untrusted);
    accept(&limiter, 4, b, 2).unwrap();
    assert_eq!(limiter.trust(ACCEPTOR, second), Ok(true));
    accept(&limiter, 5, a, 1).unwrap();
    assert_eq!(connections(&limiter, network), 6);
    let of_network = Err((RejectedFor::Limit, true));
    assert_eq!(accept(&limiter, 6, source(&limiter, 3), 3), of_network);
    assert_eq!(accept(&limiter, 6, a, 1), untrusted);

    let report = Report::of(&limiter);
    let numbers = |key| (report.get(key).trusted, report.get(key).untrusted());
    assert_eq!((numbers(a), numbers(network)), ((2, 2), (0, 0)));
    let (top, _) = report.top_of(Of::Networks, 9, By::Untrusted, None).unwrap();
    assert!(top.is_empty());
    // Trust is released with the connection, in which network it ever counts.
    limiter.disconnect(ACCEPTOR, first, Facts::NONE).unwrap();
    limiter.disconnect(ACCEPTOR, second, Facts::NONE).unwrap();
    assert_eq!(numbers(a), (0, 2));
    assert_eq!(connections(&limiter, network), 4);
    let mut watch = Watch::default();
    watch.tick(&limiter, 1, 60, &mut |_| {});
    let counters = limiter.counters(report.occupancy());
    assert_eq!((counters.trusted, counters.untrusted), (0, 4));
}

#[test]
fn connections_of_all_listeners_count_in_one_network() {
    let sip = ListenerName::parse("tcp:192.0.2.1:5060").unwrap();
    let limiter = limiter(
        3,
        &[
            "10.0.0.0/8 = 2 listener=192.0.2.1:5060",
            "10.0.0.7 = 5 listener=192.0.2.1:5060 no_network",
        ],
    );
    limiter.register_listeners(&[(5, sip)]).unwrap();
    let plain = source(&limiter, 1);
    let on_sip = limiter.on_listener(plain, 5);
    assert_ne!(plain, on_sip);
    let network = limiter.network(on_sip).unwrap();
    assert_eq!(limiter.listener_of(network), None);
    let first = accept(&limiter, 0, on_sip, 1).unwrap();
    accept(&limiter, 1, on_sip, 1).unwrap();
    let of_source = Err((RejectedFor::Limit, false));
    assert_eq!(accept(&limiter, 2, on_sip, 1), of_source);
    accept(&limiter, 2, plain, 1).unwrap();
    let of_network = Err((RejectedFor::Limit, true));
    assert_eq!(accept(&limiter, 3, plain, 1), of_network);
    let other = limiter.on_listener(source(&limiter, 2), 5);
    assert_eq!(accept(&limiter, 3, other, 2), of_network);
    // On this listener a rule keeps the address out, elsewhere it does not.
    let kept_out = limiter.on_listener(source(&limiter, 7), 5);
    accept(&limiter, 3, kept_out, 7).unwrap();
    assert_eq!(accept(&limiter, 4, source(&limiter, 7), 7), of_network);
    assert_eq!(connections(&limiter, network), 3);
    limiter.disconnect(ACCEPTOR, first, Facts::NONE).unwrap();
    assert_eq!(connections(&limiter, on_sip), 1);
    assert_eq!(connections(&limiter, network), 2);
}

#[test]
fn network_comes_before_reserve_and_pressure() {
    let load = || Load {
        in_use: IN_USE.get(),
        max: 100,
    };
    let limiter = limiter(3, &["10.0.0.9 = 5 trusted"]).with_load(load);
    limiter.set_reserve(Reserve::Connections(10));
    limiter.set_pressure(Pressure::parse("50:2").unwrap());
    let (a, b) = (source(&limiter, 1), source(&limiter, 2));
    let network = limiter.network(a).unwrap();
    for fd in 0..2 {
        accept(&limiter, fd, a, 1).unwrap();
    }
    IN_USE.set(60);
    // Pressure lowers the limit of sources only.
    let pressure = Err((RejectedFor::Pressure, false));
    assert_eq!(accept(&limiter, 2, a, 1), pressure);
    accept(&limiter, 2, b, 2).unwrap();
    assert_eq!(Report::of(&limiter).effective(network), 3);
    let of_network = Err((RejectedFor::Limit, true));
    assert_eq!(accept(&limiter, 3, a, 1), of_network);
    assert_eq!(accept(&limiter, 3, source(&limiter, 3), 3), of_network);
    IN_USE.set(95);
    assert_eq!(accept(&limiter, 3, source(&limiter, 3), 3), of_network);
    let elsewhere = limiter.source(&[10, 0, 1, 1]).unwrap();
    let rejection = limiter.check_from(elsewhere, &[10, 0, 1, 1]).unwrap_err();
    assert_eq!(rejection.reason(), Some(RejectedFor::Reserve));
    assert!(!rejection.is_of_network());
    accept(&limiter, 3, source(&limiter, 9), 9).unwrap();
    IN_USE.set(0);
    assert_eq!(accept(&limiter, 4, a, 1), of_network);
    assert_eq!(connections(&limiter, network), 3);
}

#[test]
fn kernel_never_drops_attempts_of_a_network() {
    let limiter = limiter(1, &[]);
    accept(&limiter, 0, source(&limiter, 1), 1).unwrap();
    let mut watch = Watch::default();
    watch.set_flood_threshold(Some(FloodThreshold {
        per_second: 1,
        seconds: 60,
    }));
    for second in 1..5 {
        for n in 2..100 {
            accept(&limiter, 1, source(&limiter, n), n).unwrap_err();
        }
        watch.tick(&limiter, second, 60, &mut |_| {});
    }
    assert_eq!(watch.listed().1.count(), 0);
    assert_eq!(limiter.totals().network_rejected, 4 * 98);
}
