// SPDX-License-Identifier: GPL-2.0-or-later
//! Connections of proxies that count for their clients.

use std::collections::HashMap;

use proptest::prelude::*;
use support::engine::{load_rules, rules};
use tcp_conn_limit::limiter::{
    ConnectionToken, Facts, Limiter, MoveError, RejectedFor, TrustError, Worker,
};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::policy::penalties::Penalty;
use tcp_conn_limit::policy::settings::Mode;
use tcp_conn_limit::policy::terms::Rate;
use tcp_conn_limit::source::{NetworkLengths, PrefixLengths, Source};

const PROXY: [u8; 4] = [192, 0, 2, 1];
const OTHER: [u8; 4] = [192, 0, 2, 2];

fn client(n: u8) -> [u8; 4] {
    [198, 51, n / 4, n]
}

fn source(address: &[u8]) -> Source {
    Source::new(address, PrefixLengths::DEFAULT).unwrap()
}

fn lengths(networks: bool) -> PrefixLengths {
    match networks {
        true => PrefixLengths::DEFAULT
            .with_networks(NetworkLengths::DEFAULT)
            .unwrap(),
        false => PrefixLengths::DEFAULT,
    }
}

fn limiter_of(limit: i32, networks: bool, texts: &[&str]) -> Limiter {
    let limiter = Limiter::with_moves(1000, limit, lengths(networks), true).unwrap();
    let texts: Vec<&str> = [&["192.0.2.1 = unlimited proxy"], texts].concat();
    load_rules(&limiter, &texts);
    limiter
}

fn limiter(limit: i32) -> Limiter {
    limiter_of(limit, false, &[])
}

fn connect(limiter: &Limiter, descriptor: i32, address: &[u8]) -> ConnectionToken {
    let (worker, facts) = (Worker::ACCEPTOR, Facts::NONE);
    limiter
        .connect(worker, descriptor, source(address), address, facts, 0)
        .unwrap()
}

fn disconnect(limiter: &Limiter, token: ConnectionToken) -> Facts {
    let closed = limiter.disconnect(Worker::ACCEPTOR, token, Facts::NONE);
    closed.unwrap()
}

fn worker() -> Worker {
    Worker::new(2)
}

fn count_for(limiter: &Limiter, token: ConnectionToken, client: &[u8]) -> Result<(), MoveError> {
    limiter.count_for(worker(), token, &PROXY, client)
}

/// The connections of a source, and how many of them are trusted.
fn numbers(limiter: &Limiter, address: &[u8]) -> (u32, u32) {
    let report = Report::of(limiter).get(source(address));
    (report.connections, report.trusted)
}

fn connections(limiter: &Limiter, address: &[u8]) -> u32 {
    numbers(limiter, address).0
}

#[track_caller]
fn rejected_for(outcome: Result<(), MoveError>) -> Option<RejectedFor> {
    match outcome {
        Err(MoveError::Rejected(rejection)) => rejection.reason(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn moved_connection_counts_for_its_client_until_it_closes() {
    let limiter = limiter(2);
    let tokens: Vec<_> = (0..4).map(|fd| connect(&limiter, fd, &PROXY)).collect();
    for token in &tokens[..2] {
        count_for(&limiter, *token, &client(1)).unwrap();
        // Again: it is there already.
        count_for(&limiter, *token, &client(1)).unwrap();
    }
    assert_eq!(connections(&limiter, &PROXY), 2);
    assert_eq!(connections(&limiter, &client(1)), 2);
    // The client has no room, and another one has.
    let refused = count_for(&limiter, tokens[2], &client(1));
    assert_eq!(rejected_for(refused), Some(RejectedFor::Limit));
    assert_eq!(connections(&limiter, &PROXY), 2);
    count_for(&limiter, tokens[2], &client(2)).unwrap();
    assert_eq!(limiter.moved_to(tokens[2]), Some(source(&client(2))));
    assert_eq!(limiter.moved_to(tokens[3]), None);
    let report = Report::of(&limiter).get(source(&client(1)));
    assert_eq!((report.connections, report.rejected), (2, 1));
    let (list, found) = limiter.connections_of(source(&client(1)), 0, 10).unwrap();
    assert_eq!((list.len(), found), (2, 2));
    assert!(list.iter().all(|open| open.facts.include(Facts::MOVED)));
    let totals = limiter.totals();
    assert_eq!((totals.admitted, totals.moved), (4, 3));
    assert_eq!((totals.rejected, totals.move_rejected), (1, 1));
    for token in tokens {
        disconnect(&limiter, token);
    }
    for address in [PROXY, client(1), client(2)] {
        assert_eq!(connections(&limiter, &address), 0);
    }
    assert_eq!(limiter.totals().errors(), 0);
}

#[test]
fn connection_moves_again_for_another_client() {
    let limiter = limiter(1);
    let token = connect(&limiter, 1, &PROXY);
    for n in 1..40 {
        count_for(&limiter, token, &client(n)).unwrap();
        assert_eq!(connections(&limiter, &client(n - 1)), 0);
        assert_eq!(connections(&limiter, &client(n)), 1);
    }
    // Back to the proxy itself.
    count_for(&limiter, token, &PROXY).unwrap();
    assert_eq!(connections(&limiter, &PROXY), 1);
    assert_eq!(limiter.totals().moved, 40);
    disconnect(&limiter, token);
    assert_eq!(connections(&limiter, &PROXY), 0);
}

#[test]
fn only_connections_of_proxies_move() {
    let limiter = limiter(5);
    let own = connect(&limiter, 1, &OTHER);
    let proxied = connect(&limiter, 2, &PROXY);
    let move_as = |token, peer: &[u8]| limiter.count_for(worker(), token, peer, &client(1));
    assert!(matches!(move_as(own, &OTHER), Err(MoveError::NotProxy)));
    // A wrong address of the peer does not help.
    assert!(matches!(move_as(own, &PROXY), Err(MoveError::NotProxy)));
    assert!(matches!(move_as(proxied, &OTHER), Err(MoveError::NotProxy)));
    assert!(matches!(move_as(proxied, &[]), Err(MoveError::NotProxy)));
    let short = limiter.count_for(worker(), proxied, &PROXY, &[1, 2, 3]);
    assert!(matches!(short, Err(MoveError::Address)));
    move_as(proxied, &PROXY).unwrap();
    // The rule is gone.
    load_rules::<&str>(&limiter, &[]);
    let again = limiter.count_for(worker(), proxied, &PROXY, &client(2));
    assert!(matches!(again, Err(MoveError::NotProxy)));
    assert_eq!(connections(&limiter, &client(1)), 1);
    assert_eq!(connections(&limiter, &OTHER), 1);
}

/// A rule for one address of a source whose prefix is shorter.
#[test]
fn proxy_can_be_one_address_of_a_network() {
    let limiter = limiter_of(5, false, &["2001:db8::1/128 = 100 proxy"]);
    let address = |host: u8| {
        let mut octets = [0; 16];
        octets[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        octets[15] = host;
        octets
    };
    let first = connect(&limiter, 1, &address(1));
    let second = connect(&limiter, 2, &address(2));
    let mut six = address(9);
    six[6] = 7;
    let refused = limiter.count_for(worker(), second, &address(2), &six);
    assert!(matches!(refused, Err(MoveError::NotProxy)));
    limiter
        .count_for(worker(), first, &address(1), &six)
        .unwrap();
    assert_eq!(connections(&limiter, &six), 1);
    // An IPv4 client, also as it is written in IPv6.
    let mut mapped = [0; 16];
    mapped[10..12].fill(0xff);
    mapped[12..].copy_from_slice(&client(3));
    limiter
        .count_for(worker(), first, &address(1), &mapped)
        .unwrap();
    assert_eq!(connections(&limiter, &six), 0);
    assert_eq!(connections(&limiter, &client(3)), 1);
}

#[test]
fn without_a_rule_at_the_start_nothing_moves() {
    let limiter = Limiter::new(100, 5, PrefixLengths::DEFAULT).unwrap();
    let error = limiter
        .set_rules(&rules(&["192.0.2.1 = unlimited proxy"]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rule 192.0.2.1 from modparam 1 has the word `proxy`, but the server started without \
         such a rule; write it into the rules and restart the server, or remove the word"
    );
    let token = connect(&limiter, 1, &PROXY);
    assert!(matches!(
        count_for(&limiter, token, &client(1)),
        Err(MoveError::Off)
    ));
    disconnect(&limiter, token);
}

#[test]
fn late_call_for_a_closed_connection_does_nothing() {
    let limiter = limiter(5);
    let first = connect(&limiter, 7, &PROXY);
    count_for(&limiter, first, &client(1)).unwrap();
    disconnect(&limiter, first);
    let next = connect(&limiter, 7, &PROXY);
    let late = count_for(&limiter, first, &client(2));
    assert!(matches!(late, Err(MoveError::Gone)));
    assert_eq!(connections(&limiter, &PROXY), 1);
    assert_eq!(limiter.moved_to(first), None);
    count_for(&limiter, next, &client(2)).unwrap();
    assert_eq!(limiter.trust(worker(), first), Err(TrustError::Gone));
    disconnect(&limiter, next);
    assert_eq!(connections(&limiter, &client(2)), 0);
}

#[test]
fn trust_moves_with_the_connection() {
    let limiter = limiter(0);
    limiter.set_untrusted_limit(1).unwrap();
    let token = connect(&limiter, 1, &PROXY);
    limiter.trust(worker(), token).unwrap();
    assert_eq!(numbers(&limiter, &PROXY), (1, 1));
    count_for(&limiter, token, &client(1)).unwrap();
    assert_eq!(numbers(&limiter, &PROXY), (0, 0));
    assert_eq!(numbers(&limiter, &client(1)), (1, 1));
    assert_eq!(limiter.untrust(token), Ok(true));
    assert_eq!(limiter.untrust(token), Ok(false));
    assert_eq!(numbers(&limiter, &client(1)), (1, 0));
    let second = connect(&limiter, 2, &PROXY);
    let refused = count_for(&limiter, second, &client(1));
    assert_eq!(rejected_for(refused), Some(RejectedFor::Untrusted));
    assert_eq!(limiter.trust(worker(), token), Ok(true));
    assert_eq!(limiter.trust(worker(), token), Ok(false));
    count_for(&limiter, second, &client(1)).unwrap();
    assert_eq!(numbers(&limiter, &client(1)), (2, 1));
    count_for(&limiter, token, &client(2)).unwrap();
    assert_eq!(numbers(&limiter, &client(1)), (1, 0));
    assert_eq!(numbers(&limiter, &client(2)), (1, 1));
    let ended = disconnect(&limiter, token);
    assert!(ended.include(Facts::TRUSTED) && ended.include(Facts::SPOKE));
    disconnect(&limiter, second);
    for address in [PROXY, client(1), client(2)] {
        assert_eq!(numbers(&limiter, &address), (0, 0));
    }
    assert_eq!(limiter.totals().became_trusted, 2);
}

#[test]
fn gates_of_the_client_apply() {
    let limiter = limiter_of(0, false, &["198.51.0.3 = 1 rate=none"]).with_clock(|| 1_000_000_000);
    limiter.set_rate(Rate {
        interval_us: 1_000_000,
        burst: 2,
    });
    let tokens: Vec<_> = (0..8).map(|fd| connect(&limiter, fd, &PROXY)).collect();
    // The rate of the client is charged.
    count_for(&limiter, tokens[0], &client(1)).unwrap();
    count_for(&limiter, tokens[1], &client(1)).unwrap();
    let third = count_for(&limiter, tokens[2], &client(1));
    assert_eq!(rejected_for(third), Some(RejectedFor::Rate));
    limiter
        .ban(
            worker(),
            source(&client(2)),
            60,
            tcp_conn_limit::policy::penalties::Cause::Rpc,
        )
        .unwrap();
    let banned = count_for(&limiter, tokens[2], &client(2));
    assert_eq!(rejected_for(banned), Some(RejectedFor::Ban));
    count_for(&limiter, tokens[2], &client(3)).unwrap();
    let over = count_for(&limiter, tokens[3], &client(3));
    assert_eq!(rejected_for(over), Some(RejectedFor::Limit));
    assert_eq!(connections(&limiter, &PROXY), 5);
    assert_eq!(limiter.totals().move_rejected, 3);
    // What would have been rejected moves.
    limiter.set_mode(Mode::Monitor);
    count_for(&limiter, tokens[3], &client(3)).unwrap();
    assert_eq!(connections(&limiter, &client(3)), 2);
    let totals = limiter.totals();
    assert_eq!((totals.move_would_reject, totals.would_reject), (1, 1));
    limiter.set_mode(Mode::Off);
    count_for(&limiter, tokens[4], &client(2)).unwrap();
    assert_eq!(limiter.totals().move_would_reject, 1);
}

#[test]
fn offences_are_charged_to_the_client() {
    let limiter = limiter(1);
    limiter.set_penalty(Penalty::parse("rejected=60").unwrap());
    let tokens = [1, 2].map(|fd| connect(&limiter, fd, &PROXY));
    count_for(&limiter, tokens[0], &client(1)).unwrap();
    let refused = count_for(&limiter, tokens[1], &client(1));
    assert_eq!(rejected_for(refused), Some(RejectedFor::Limit));
    assert!(limiter.check(source(&client(1))).is_err());
    assert_eq!(limiter.totals().bans, 1);
    assert!(limiter.check(source(&PROXY)).is_ok());
    // A client whose handshake was read was not silent.
    limiter.set_penalty(Penalty::parse("silent=60").unwrap());
    disconnect(&limiter, tokens[0]);
    assert_eq!(limiter.totals().penalty_silent, 0);
    disconnect(&limiter, tokens[1]);
    assert_eq!(limiter.totals().penalty_silent, 0, "the proxy is exempt");
}

#[test]
fn networks_count_moved_connections() {
    let limiter = limiter_of(0, true, &["192.0.2.0/24 = 100 no_network proxy"]);
    limiter.set_network_limit(2);
    let network = |address: &[u8]| {
        let network = limiter.network(source(address)).unwrap();
        Report::of(&limiter).get(network).connections
    };
    let tokens: Vec<_> = (0..6).map(|fd| connect(&limiter, fd, &OTHER)).collect();
    let count = |fd: usize, n| limiter.count_for(worker(), tokens[fd], &OTHER, &client(n));
    assert_eq!(network(&OTHER), 0);
    count(0, 4).unwrap();
    count(1, 5).unwrap();
    assert_eq!(
        (network(&client(4)), connections(&limiter, &client(4))),
        (2, 1)
    );
    let refused = count(2, 6);
    assert_eq!(rejected_for(refused), Some(RejectedFor::Limit));
    assert_eq!(
        (network(&client(4)), connections(&limiter, &client(6))),
        (2, 0)
    );
    // Between networks and within one, many times.
    for turn in 0..50 {
        count(0, 8 + turn % 4).unwrap();
        assert_eq!((network(&client(4)), network(&client(8))), (1, 1));
        count(0, 12 + turn).unwrap();
        assert_eq!(network(&client(8)), 0);
    }
    for token in tokens {
        disconnect(&limiter, token);
    }
    for n in 0..64 {
        assert_eq!(
            (network(&client(n)), connections(&limiter, &client(n))),
            (0, 0)
        );
    }
    assert_eq!(limiter.totals().errors(), 0);
}

/// An operation on a descriptor.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Open { proxy: bool },
    Close,
    Forget,
    CountFor(u8),
    Trust(bool),
    Late(u8),
}

fn operations() -> impl Strategy<Value = Vec<(usize, Operation)>> {
    let operation = prop_oneof![
        3 => any::<bool>().prop_map(|proxy| Operation::Open { proxy }),
        1 => Just(Operation::Close),
        1 => Just(Operation::Forget),
        4 => (0..12u8).prop_map(Operation::CountFor),
        2 => any::<bool>().prop_map(Operation::Trust),
        1 => (0..12u8).prop_map(Operation::Late),
    ];
    prop::collection::vec((0..8usize, operation), 1..200)
}

#[derive(Clone, Copy)]
struct Open {
    token: ConnectionToken,
    address: [u8; 4],
    by_proxy: bool,
    trusted: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Each count, of sources and of networks, is that of a plain list of the open connections.
    #[test]
    fn counts_are_those_of_a_plain_list(operations in operations(), networks: bool) {
        const LIMIT: u32 = 2;
        const NETWORK_LIMIT: u32 = 3;
        let limiter = limiter_of(LIMIT as i32, networks, &["192.0.2.2 = unlimited no_network"]);
        limiter.set_network_limit(NETWORK_LIMIT as i32);
        let mut open: HashMap<usize, Open> = HashMap::new();
        let mut closed: Vec<ConnectionToken> = Vec::new();
        let net = |address: [u8; 4]| [address[0], address[1], address[2]];
        for (fd, operation) in operations {
            match operation {
                Operation::Open { proxy } => {
                    open.entry(fd).or_insert_with(|| {
                        let address = if proxy { PROXY } else { OTHER };
                        let token = connect(&limiter, fd as i32, &address);
                        Open { token, address, by_proxy: proxy, trusted: false }
                    });
                }
                Operation::Close => if let Some(connection) = open.remove(&fd) {
                    let ended = disconnect(&limiter, connection.token);
                    prop_assert_eq!(ended.include(Facts::TRUSTED), connection.trusted);
                    closed.push(connection.token);
                },
                Operation::Forget => if let Some(connection) = open.remove(&fd) {
                    limiter.forget(Worker::ACCEPTOR, fd as i32);
                    closed.push(connection.token);
                },
                Operation::Trust(trust) => if let Some(connection) = open.get_mut(&fd) {
                    let changed = match trust {
                        true => limiter.trust(worker(), connection.token),
                        false => limiter.untrust(connection.token),
                    };
                    prop_assert_eq!(changed, Ok(connection.trusted != trust));
                    connection.trusted = trust;
                },
                Operation::Late(n) => for token in &closed {
                    let late = count_for(&limiter, *token, &client(n));
                    prop_assert!(matches!(late, Err(MoveError::Gone)));
                },
                Operation::CountFor(n) => if let Some(connection) = open.get(&fd).copied() {
                    let wanted = client(n);
                    let peer = if connection.by_proxy { PROXY } else { OTHER };
                    let outcome = limiter.count_for(worker(), connection.token, &peer, &wanted);
                    let same = |list: &HashMap<usize, Open>, is_it: &dyn Fn([u8; 4]) -> bool| {
                        list.values().filter(|open| is_it(open.address)).count() as u32
                    };
                    let of_source = same(&open, &|address| address == wanted);
                    let of_network = same(&open, &|address| net(address) == net(wanted));
                    if !connection.by_proxy {
                        prop_assert!(matches!(outcome, Err(MoveError::NotProxy)));
                    } else if connection.address == wanted {
                        prop_assert!(outcome.is_ok());
                    } else if of_source >= LIMIT || networks && of_network >= NETWORK_LIMIT {
                        let is_rejected = matches!(outcome, Err(MoveError::Rejected(_)));
                        prop_assert!(is_rejected);
                    } else {
                        prop_assert!(outcome.is_ok());
                        open.get_mut(&fd).unwrap().address = wanted;
                    }
                },
            }
            let of = |wanted: [u8; 4]| {
                let of = || open.values().filter(|open| open.address == wanted);
                let trusted = of().filter(|open| open.trusted).count();
                (of().count() as u32, trusted as u32)
            };
            for address in (0..12).map(client).chain([PROXY, OTHER]) {
                prop_assert_eq!(numbers(&limiter, &address), of(address));
                if let (true, Some(network)) = (address != OTHER, limiter.network(source(&address))) {
                    let in_net = open
                        .values()
                        .filter(|open| open.address != OTHER && net(open.address) == net(address));
                    let counted = Report::of(&limiter).get(network).connections;
                    prop_assert_eq!(counted, in_net.count() as u32);
                }
            }
        }
        let of_first = open.values().filter(|open| open.address == client(1)).count() as u64;
        prop_assert_eq!(limiter.connections_of(source(&client(1)), 0, 10).unwrap().1, of_first);
        for connection in open.into_values() {
            disconnect(&limiter, connection.token);
        }
        prop_assert_eq!(limiter.totals().stale_token, 0);
        prop_assert_eq!(Report::of(&limiter).occupancy().connections, 0);
    }
}
