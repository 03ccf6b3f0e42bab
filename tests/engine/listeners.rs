// SPDX-License-Identifier: GPL-2.0-or-later
//! Listeners that rules name: counts, terms, bans and offences of their sources.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use support::engine::load_rules;
use tcp_conn_limit::limiter::{Facts, Limiter, Rejection, Worker};
use tcp_conn_limit::observe::notices::Notice;
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::ChangeError;
use tcp_conn_limit::policy::listener::ListenerName;
use tcp_conn_limit::policy::origin::{BanReason, RuleOrigin};
use tcp_conn_limit::policy::penalties::{Cause, Penalty};
use tcp_conn_limit::policy::rules::{Origin, RuleSet};
use tcp_conn_limit::policy::terms::Terms;
use tcp_conn_limit::source::{Prefix, PrefixLengths, Source};

const ACCEPTOR: Worker = Worker::ACCEPTOR;

/// Descriptors of the sockets of `limiter`, and of another socket.
const SIP: i32 = 5;
const TLS: i32 = 6;
const V6: i32 = 7;
const OTHER: i32 = 8;

static MICROS: AtomicU64 = AtomicU64::new(1_000_000);

fn name(text: &str) -> ListenerName {
    ListenerName::parse(text).unwrap()
}

fn sockets() -> [(i32, ListenerName); 3] {
    [
        (SIP, name("tcp:192.0.2.1:5060")),
        (TLS, name("tls:192.0.2.1:5061")),
        (V6, name("tcp:[2001:db8::1]:5060")),
    ]
}

fn limiter_with(prefixes: PrefixLengths, rules: &[&str]) -> Limiter {
    let limiter = Limiter::new(1_000, 3, prefixes).unwrap();
    let limiter = limiter.with_clock(|| MICROS.load(Ordering::Relaxed));
    load_rules(&limiter, rules);
    limiter.register_listeners(&sockets()).unwrap();
    limiter
}

fn limiter(rules: &[&str]) -> Limiter {
    limiter_with(PrefixLengths::DEFAULT, rules)
}

fn address(text: &str) -> Vec<u8> {
    match text.parse().unwrap() {
        std::net::IpAddr::V4(a) => a.octets().to_vec(),
        std::net::IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The source of an address on a listener.
fn on(limiter: &Limiter, text: &str, listener: i32) -> Source {
    let source = limiter.source(&address(text)).unwrap();
    limiter.on_listener(source, listener)
}

fn check(limiter: &Limiter, text: &str, listener: i32) -> Result<(), Rejection> {
    limiter.check_on_listener(on(limiter, text, listener), &address(text))
}

/// The limit of an address on a listener, and its rule.
fn terms(limiter: &Limiter, text: &str, listener: i32) -> (String, i32) {
    let report = Report::of(limiter);
    let source = on(limiter, text, listener);
    let (rule, terms) = report.terms_of(source, None);
    let rule = rule.map_or("default".to_owned(), |rule| rule.to_string());
    (rule, terms.limit)
}

fn admitted(limiter: &Limiter, text: &str, listener: i32) -> i32 {
    let mut count = 0;
    while check(limiter, text, listener).is_ok() {
        let source = on(limiter, text, listener);
        limiter.opened(ACCEPTOR, source, 0).unwrap();
        count += 1;
    }
    count
}

#[test]
fn rule_of_the_listener_comes_before_longer_ones() {
    let limiter = limiter(&[
        "10.0.0.0/8 = 8 listener=tcp:192.0.2.1:5060",
        "10.1.0.0/16 = 6 listener=192.0.2.1:5060",
        "10.1.2.0/24 = 4",
        "10.1.2.0/24 = 2 listener=tls:192.0.2.1:5061",
    ]);
    for (text, listener, rule, limit) in [
        ("10.9.9.9", SIP, "10.0.0.0/8", 8),
        ("10.1.9.9", SIP, "10.1.0.0/16", 6),
        ("10.1.2.9", SIP, "10.1.0.0/16", 6),
        ("10.1.2.9", TLS, "10.1.2.0/24", 2),
        ("10.1.9.9", TLS, "default", 3),
        ("10.1.2.9", OTHER, "10.1.2.0/24", 4),
        ("10.9.9.9", OTHER, "default", 3),
        ("10.1.2.9", V6, "10.1.2.0/24", 4),
        ("192.0.2.9", SIP, "default", 3),
    ] {
        let expected = (rule.to_owned(), limit);
        assert_eq!(
            terms(&limiter, text, listener),
            expected,
            "{text} {listener}"
        );
        assert_eq!(
            admitted(&limiter, text, listener),
            limit - admitted_before(text, listener)
        );
    }
}

/// How many connections the cases before have opened in the same count.
fn admitted_before(text: &str, listener: i32) -> i32 {
    match (text, listener) {
        // Without a rule of this listener it is counted with all others.
        ("10.1.2.9", V6) => 4,
        _ => 0,
    }
}

#[test]
fn every_listener_has_counts_of_its_own() {
    for v6 in [64, 48, 120] {
        let prefixes = PrefixLengths::new(32, v6).unwrap();
        let rules = [
            "::/0 = 2 listener=[2001:db8::1]:5060",
            "0.0.0.0/0 = 1 listener=192.0.2.1:5060",
        ];
        let limiter = limiter_with(prefixes, &rules);
        for text in ["2001:db8:1:2::3", "::", "10.0.0.1"] {
            let limits = match text {
                "10.0.0.1" => [1, 3],
                _ => [3, 3],
            };
            assert_eq!(admitted(&limiter, text, SIP), limits[0], "{text}");
            if text.contains(':') {
                assert_eq!(admitted(&limiter, text, V6), 2, "{text}");
                // SIP is also named, but not for IPv6.
                assert_eq!(admitted(&limiter, text, OTHER), 3, "{text}");
            }
            let plain = on(&limiter, text, OTHER);
            let listeners = [SIP, V6].map(|listener| {
                let report = Report::of(&limiter).get(on(&limiter, text, listener));
                (
                    report.listener.unwrap().to_string(),
                    report.source.without_scope(),
                )
            });
            assert_eq!(listeners[0], ("tcp:192.0.2.1:5060".to_owned(), plain));
            assert_eq!(listeners[1], ("tcp:[2001:db8::1]:5060".to_owned(), plain));
        }
    }
}

#[test]
fn host_rules_of_a_listener_apply_to_its_hosts() {
    let limiter = limiter(&[
        "2001:db8:1::7 = 1 listener=[2001:db8::1]:5060",
        "2001:db8:1::8 = 2",
        "2001:db8:1::/64 = 3 listener=192.0.2.1:5060",
    ]);
    assert_eq!(admitted(&limiter, "2001:db8:1::7", V6), 1);
    assert_eq!(
        admitted(&limiter, "2001:db8:1::8", V6),
        1,
        "one of two in use"
    );
    assert_eq!(
        admitted(&limiter, "2001:db8:1::9", V6),
        1,
        "two of three in use"
    );
    // A rule of the listener, though shorter, comes before the plain rule of the host.
    assert_eq!(admitted(&limiter, "2001:db8:1::8", SIP), 3);
    assert_eq!(admitted(&limiter, "2001:db8:1::8", OTHER), 2);
}

#[test]
fn ban_of_a_prefix_holds_on_every_listener() {
    let limiter = limiter(&[
        "10.0.0.0/8 = 50 listener=192.0.2.1:5060",
        "10.3.0.0/16 = unlimited listener=192.0.2.1:5060",
    ]);
    let opened = on(&limiter, "10.1.2.3", SIP);
    limiter.opened(ACCEPTOR, opened, 0).unwrap();
    assert!(check(&limiter, "10.1.2.3", SIP).is_ok());
    for banned in ["10.1.2.0/24", "10.0.0.0/8", "0.0.0.0/0"] {
        let prefix = Prefix::parse_any(banned).unwrap();
        limiter.ban_prefix(prefix, 1_000, BanReason::Rpc).unwrap();
        for listener in [SIP, TLS, OTHER] {
            // With a slot, and without one.
            assert!(check(&limiter, "10.1.2.3", listener).is_err(), "{banned}");
            assert!(check(&limiter, "10.1.2.4", listener).is_err(), "{banned}");
        }
        assert!(check(&limiter, "10.3.0.1", SIP).is_ok(), "exempt there");
        limiter.unban_prefix(prefix).unwrap();
        assert!(check(&limiter, "10.1.2.3", SIP).is_ok());
        assert!(check(&limiter, "10.1.2.4", SIP).is_ok());
    }
}

#[test]
fn ban_of_an_address_holds_on_every_listener() {
    let limiter = limiter(&[
        "10.0.0.0/8 = 50 listener=192.0.2.1:5060",
        "10.0.0.1 = unlimited listener=tls:192.0.2.1:5061",
    ]);
    let plain = on(&limiter, "10.0.0.1", OTHER);
    limiter.ban(ACCEPTOR, plain, 60, Cause::Rpc).unwrap();
    assert!(check(&limiter, "10.0.0.1", SIP).is_err());
    assert!(check(&limiter, "10.0.0.1", OTHER).is_err());
    assert!(check(&limiter, "10.0.0.1", TLS).is_ok(), "exempt there");
    assert!(check(&limiter, "10.0.0.2", SIP).is_ok());
    let report = Report::of(&limiter);
    let banned = |listener| {
        let source = on(&limiter, "10.0.0.1", listener);
        report.ban_in_effect(source, None, 0).is_some()
    };
    assert_eq!([SIP, OTHER, TLS].map(banned), [true, true, false]);
    assert!(limiter.unban(plain, Cause::Rpc));
    assert!(check(&limiter, "10.0.0.1", SIP).is_ok());
}

#[test]
fn offences_on_a_listener_belong_to_the_address() {
    let limiter = limiter(&[
        "10.0.0.0/8 = 50 listener=192.0.2.1:5060",
        "10.7.0.0/16 = 50 exempt listener=192.0.2.1:5060",
    ]);
    limiter.set_penalty(Penalty::parse("silent=10").unwrap());
    let silent = |text: &str, listener: i32| {
        let source = on(&limiter, text, listener);
        let token = limiter
            .connect(ACCEPTOR, 9, source, &address(text), Facts::NONE, 0)
            .unwrap();
        limiter.disconnect(ACCEPTOR, token, Facts::NONE).unwrap();
    };
    silent("10.0.0.1", SIP);
    assert!(check(&limiter, "10.0.0.1", SIP).is_ok());
    silent("10.0.0.1", OTHER);
    for listener in [SIP, TLS, OTHER] {
        assert!(check(&limiter, "10.0.0.1", listener).is_err());
    }
    assert_eq!(limiter.totals().bans, 1);
    assert_eq!(limiter.totals().penalty_silent, 2);
    for _ in 0..3 {
        silent("10.7.0.1", SIP);
    }
    assert!(check(&limiter, "10.7.0.1", OTHER).is_ok(), "exempt there");
    assert_eq!(limiter.totals().penalty_silent, 2);
}

#[test]
fn scope_of_a_listener_stays_the_same_over_reloads() {
    let limiter = limiter(&["0.0.0.0/0 = 1 listener=tls:192.0.2.1:5061"]);
    let first = on(&limiter, "10.0.0.1", TLS);
    assert!(first.scope().is_some());
    load_rules(&limiter, &["0.0.0.0/0 = 1 listener=192.0.2.1:5060"]);
    assert_eq!(on(&limiter, "10.0.0.1", TLS).scope(), None);
    assert_ne!(on(&limiter, "10.0.0.1", SIP).scope(), first.scope());
    // Another name of the same socket.
    load_rules(&limiter, &["0.0.0.0/0 = 1 listener=192.0.2.1:5061"]);
    assert_eq!(on(&limiter, "10.0.0.1", TLS), first);
    load_rules(&limiter, &["0.0.0.0/0 = 5"]);
    assert_eq!(on(&limiter, "10.0.0.1", TLS).scope(), None);
    assert!(!limiter.has_listener_rules());
}

#[test]
fn unknown_listeners_are_named_once_and_match_nothing() {
    let texts = [
        "10.0.0.0/8 = 1 listener=tls:192.0.2.1:5060",
        "11.0.0.0/8 = 1 listener=tls:192.0.2.1:5060",
        "10.0.0.0/8 = 1 listener=192.0.2.9:5060",
    ];
    let limiter = Limiter::new(10, 3, PrefixLengths::DEFAULT).unwrap();
    load_rules(&limiter, &texts);
    assert!(
        limiter.unknown_listeners().unwrap().is_empty(),
        "no socket is known yet"
    );
    limiter.register_listeners(&sockets()).unwrap();
    let mut unknown = limiter.unknown_listeners().unwrap();
    unknown.sort();
    assert_eq!(
        unknown,
        [name("tls:192.0.2.1:5060"), name("192.0.2.9:5060")]
    );
    for listener in [SIP, TLS, V6, OTHER, -1] {
        assert_eq!(on(&limiter, "10.0.0.1", listener).scope(), None);
    }
    assert_eq!(terms(&limiter, "10.0.0.1", SIP), ("default".to_owned(), 3));
    assert_eq!(limiter.rules_len(), 3);
}

#[test]
fn numbers_of_listeners_run_out() {
    let limiter = limiter(&[]);
    let set = |ports: std::ops::RangeInclusive<u16>| {
        let texts: Vec<_> = ports
            .map(|p| format!("10.0.0.0/8 = 1 listener=192.0.2.7:{p}"))
            .collect();
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        for text in &texts {
            builder.add(Origin::Modparam(1), text).unwrap();
        }
        limiter.set_rules(&builder.build().unwrap())
    };
    assert_eq!(set(1..=64), Ok(()));
    assert_eq!(set(65..=65), Err(ChangeError::TooManyListeners));
    assert_eq!(limiter.rules_len(), 64, "nothing has changed");
    assert_eq!(set(64..=64), Ok(()));
    // Also a set with more listeners than a byte can number.
    assert_eq!(set(1..=300), Err(ChangeError::TooManyListeners));
}

#[test]
fn two_rules_for_a_prefix_and_a_listener_are_one_too_many() {
    let build = |second: &str| {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        let first = "10.0.0.0/8 = 1 listener=192.0.2.1:5060";
        builder.add(Origin::Modparam(1), first).unwrap();
        builder.add(Origin::Modparam(2), second).unwrap();
        builder.build().map(|set| set.rules().len())
    };
    assert_eq!(build("10.0.0.0/8 = 2"), Ok(2));
    assert_eq!(build("10.0.0.0/8 = 2 listener=192.0.2.1:5061"), Ok(2));
    let error = build("10.0.0.0/8 = 2 listener=tcp:192.0.2.1:5060").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("already has a rule for this prefix")
    );
}

#[test]
fn rules_keep_their_statistics_by_listener() {
    let texts = [
        "10.0.0.0/8 = 1",
        "10.0.0.0/8 = 1 listener=192.0.2.1:5060",
        "10.0.0.0/8 = 1 listener=192.0.2.1:5061",
    ];
    let limiter = limiter(&texts);
    for (listener, rejections) in [(SIP, 1), (TLS, 2), (OTHER, 3)] {
        let source = on(&limiter, "10.0.0.1", listener);
        limiter.opened(ACCEPTOR, source, 0).unwrap();
        for _ in 0..rejections {
            let rejection = check(&limiter, "10.0.0.1", listener).unwrap_err();
            limiter.rejected(ACCEPTOR, rejection);
        }
    }
    load_rules(&limiter, &[texts[2], texts[0], texts[1]]);
    let groups = Report::of(&limiter).groups(100).unwrap();
    let rejected = |listener: Option<&str>| {
        let group = groups.iter().find(|group| {
            group
                .rule
                .is_some_and(|rule| rule.terms.listener == listener.map(name))
        });
        let group = group.unwrap();
        (group.connections, group.rejected)
    };
    assert_eq!(rejected(None), (1, 3));
    assert_eq!(rejected(Some("192.0.2.1:5060")), (1, 1));
    assert_eq!(rejected(Some("192.0.2.1:5061")), (1, 2));
    let plain = limiter
        .source(&Ipv4Addr::new(10, 0, 0, 1).octets())
        .unwrap();
    assert_eq!(Report::of(&limiter).get(plain).rejected, 3);
}

/// The ban is shorter than the address and longer than the rule of the listener.
#[test]
fn rejections_on_a_listener_count_for_the_ban() {
    let limiter = limiter(&["10.0.0.0/8 = 50 listener=192.0.2.1:5060"]);
    let prefix = Prefix::parse("10.1.0.0/16", PrefixLengths::DEFAULT).unwrap();
    limiter.ban_prefix(prefix, 60, BanReason::Rpc).unwrap();
    for listener in [SIP, OTHER] {
        let rejection = check(&limiter, "10.1.0.1", listener).unwrap_err();
        assert!(limiter.rejected(ACCEPTOR, rejection));
    }
    let _held = limiter.opened(ACCEPTOR, on(&limiter, "10.1.0.2", SIP), 0);
    let rejection = check(&limiter, "10.1.0.2", SIP).unwrap_err();
    assert!(limiter.rejected(ACCEPTOR, rejection));
    let bans = Report::of(&limiter).banned_prefixes().unwrap();
    assert_eq!(bans.iter().map(|ban| ban.rejected).collect::<Vec<_>>(), [3]);
}

#[test]
fn set_rule_of_a_listener_is_one_of_its_own() {
    const ALL: &str = "0.0.0.0/0";
    let limiter = limiter(&["0.0.0.0/0 = 4 listener=tls:192.0.2.1:5061"]);
    let all = Prefix::parse(ALL, PrefixLengths::DEFAULT).unwrap();
    let of = |limit, listener| Terms {
        listener,
        ..Terms::of_limit(limit)
    };
    let rule_at = |listener| terms(&limiter, "198.51.100.7", listener);
    // Another form of the same name.
    let tls = Some(name("192.0.2.1:5061"));
    let was = limiter.set_rule(all, of(1, tls), Some(9)).unwrap();
    assert_eq!(was.unwrap().terms.limit, 4);
    assert!(limiter.set_rule(all, of(2, None), None).unwrap().is_none());
    let sip = Some(name("tcp:192.0.2.1:5060"));
    assert_eq!(
        limiter.remove_rule(all, sip),
        Err(ChangeError::NotSet(None)),
        "no rule has named it"
    );
    assert!(limiter.set_rule(all, of(5, sip), None).unwrap().is_none());
    assert_eq!(limiter.rules_set(), 3);
    let expected =
        [(TLS, 1), (SIP, 5), (V6, 2)].map(|(socket, limit)| (socket, (ALL.into(), limit)));
    let now = || [TLS, SIP, V6].map(|socket| (socket, rule_at(socket)));
    assert_eq!(now(), expected);
    assert_eq!(admitted(&limiter, "198.51.100.7", TLS), 1);
    // A reload keeps them, with the numbers of their rejections.
    load_rules(&limiter, &["0.0.0.0/0 = 6 listener=tls:192.0.2.1:5061"]);
    assert_eq!(now(), expected);
    let removed = limiter.remove_rule(all, sip).unwrap();
    assert_eq!(removed.terms.limit, 5);
    assert_eq!(rule_at(SIP), (ALL.into(), 2));
    // The end names what applies on the listener then.
    let mut ended = Vec::new();
    Watch::default().tick(&limiter, 10, 60, &mut |notice| {
        if let Notice::RuleEnded(rule) = notice {
            ended.push(rule.to_string());
        }
    });
    assert_eq!(
        ended,
        ["rule 0.0.0.0/0 = 1 listener=192.0.2.1:5061 ended, now: limit 6, rule 0.0.0.0/0"]
    );
    assert_eq!(rule_at(TLS), (ALL.into(), 6));
    assert_eq!(
        limiter.remove_rule(all, tls),
        Err(ChangeError::NotSet(Some(RuleOrigin::Modparam(1))))
    );
}

#[test]
fn rule_for_a_listener_that_does_not_exist_has_one_error() {
    let unknown = limiter(&[]).check_listener(name("tcp:192.0.2.1:9090"));
    assert_eq!(
        unknown.unwrap_err().to_string(),
        "the server does not listen on tcp:192.0.2.1:9090; write a TCP or TLS socket as \
         corex.list_sockets shows it"
    );
    assert_eq!(limiter(&[]).check_listener(name("192.0.2.1:5061")), Ok(()));
    let long = PrefixLengths::new(32, 128).unwrap();
    let long = limiter_with(long, &[]).check_listener(name("192.0.2.1:5061"));
    assert_eq!(
        long.unwrap_err().to_string(),
        "a rule with `listener` needs an ipv6_prefix of at most 120; lower it, or remove the \
         listener"
    );
}
