// SPDX-License-Identifier: GPL-2.0-or-later
//! Trusted and untrusted connections of sources.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::engine::{load_rules, rules, source};
use tcp_conn_limit::limiter::{ConnectionToken, Facts, Limiter, RejectedFor, TrustError, Worker};
use tcp_conn_limit::observe::notices::{NeverTrusted, Notice, TimedOut};
use tcp_conn_limit::observe::report::{By, Report};
use tcp_conn_limit::observe::watch::{MAX_TIMED_OUT, Watch};
use tcp_conn_limit::policy::settings::Mode;
use tcp_conn_limit::source::{PrefixLengths, Source};

/// The worker that runs the script.
fn script() -> Worker {
    Worker::new(3)
}

fn limiter(limit: i32, untrusted_limit: u32) -> Limiter {
    let limiter = Limiter::with_trust(1000, limit, PrefixLengths::DEFAULT).unwrap();
    limiter.set_untrusted_limit(untrusted_limit).unwrap();
    limiter
}

/// Accepts a connection with `descriptor`. Returns its token, or why it is rejected.
fn connect(
    limiter: &Limiter,
    descriptor: i32,
    source: Source,
) -> Result<ConnectionToken, RejectedFor> {
    if let Err(rejection) = limiter.check(source)
        && limiter.rejected(Worker::ACCEPTOR, rejection)
    {
        return Err(rejection.reason().unwrap());
    }
    let (worker, facts) = (Worker::ACCEPTOR, Facts::NONE);
    Ok(limiter
        .connect(worker, descriptor, source, &[], facts, 0)
        .unwrap())
}

fn disconnect(limiter: &Limiter, token: ConnectionToken) -> Facts {
    let closed = limiter.disconnect(Worker::ACCEPTOR, token, Facts::NONE);
    closed.unwrap()
}

/// The connections of a source, and how many of them are trusted.
fn numbers(limiter: &Limiter, source: Source) -> (u32, u32) {
    let report = Report::of(limiter).get(source);
    (report.connections, report.trusted)
}

#[test]
fn only_untrusted_connections_count_for_the_untrusted_limit() {
    let limiter = limiter(0, 3);
    let a = source(1);
    let mut open: Vec<_> = (0..3).map(|fd| connect(&limiter, fd, a).unwrap()).collect();
    assert_eq!(connect(&limiter, 3, a), Err(RejectedFor::Untrusted));
    for fd in 3..100 {
        let token = *open.last().unwrap();
        assert_eq!(limiter.trust(script(), token), Ok(true));
        assert_eq!(limiter.trust(script(), token), Ok(false));
        open.push(connect(&limiter, fd, a).unwrap());
        assert_eq!(connect(&limiter, 100, a), Err(RejectedFor::Untrusted));
    }
    // Another source has a limit of its own.
    connect(&limiter, 200, source(2)).unwrap();
    assert_eq!(numbers(&limiter, a), (100, 97));
    let totals = limiter.totals();
    assert_eq!((totals.untrusted_rejected, totals.rejected), (98, 98));
    assert_eq!(totals.became_trusted, 97);
    assert_eq!(Report::of(&limiter).get(a).rejected_at, 3);
    // An untrusted one leaves, which makes room; a trusted one does not.
    disconnect(&limiter, open[50]);
    assert_eq!(connect(&limiter, 50, a), Err(RejectedFor::Untrusted));
    disconnect(&limiter, *open.last().unwrap());
    open.push(connect(&limiter, 99, a).unwrap());
    assert_eq!(connect(&limiter, 100, a), Err(RejectedFor::Untrusted));
}

#[test]
fn total_limit_goes_on() {
    let limiter = limiter(5, 2);
    for fd in 0..5 {
        let token = connect(&limiter, fd, source(1)).unwrap();
        limiter.trust(script(), token).unwrap();
    }
    assert_eq!(connect(&limiter, 5, source(1)), Err(RejectedFor::Limit));
    assert_eq!(limiter.totals().untrusted_rejected, 0);
}

#[test]
fn late_call_for_a_closed_connection_does_nothing() {
    let limiter = limiter(0, 1);
    let a = source(1);
    let first = connect(&limiter, 7, a).unwrap();
    disconnect(&limiter, first);
    assert_eq!(limiter.trust(script(), first), Err(TrustError::Gone));
    assert_eq!(limiter.untrust(first), Err(TrustError::Gone));
    // The descriptor is reused, also by another source.
    for n in [1, 2] {
        let next = connect(&limiter, 7, source(n)).unwrap();
        assert_eq!(limiter.trust(script(), first), Err(TrustError::Gone));
        assert_eq!(numbers(&limiter, source(n)), (1, 0));
        limiter.trust(script(), next).unwrap();
        assert_eq!(limiter.untrust(first), Err(TrustError::Gone));
        assert_eq!(numbers(&limiter, source(n)), (1, 1));
        disconnect(&limiter, next);
        assert_eq!(numbers(&limiter, source(n)), (0, 0));
    }
    assert_eq!(limiter.totals().became_trusted, 2);
}

#[test]
fn trust_can_be_taken_back() {
    let limiter = limiter(0, 1);
    let token = connect(&limiter, 1, source(1)).unwrap();
    assert_eq!(limiter.untrust(token), Ok(false));
    limiter.trust(script(), token).unwrap();
    let second = connect(&limiter, 2, source(1)).unwrap();
    assert_eq!(limiter.untrust(token), Ok(true));
    assert_eq!(limiter.untrust(token), Ok(false));
    // It keeps both, and opens none before one is trusted again or closed.
    assert_eq!(connect(&limiter, 3, source(1)), Err(RejectedFor::Untrusted));
    limiter.trust(script(), second).unwrap();
    assert_eq!(connect(&limiter, 3, source(1)), Err(RejectedFor::Untrusted));
    disconnect(&limiter, token);
    connect(&limiter, 3, source(1)).unwrap();
    assert_eq!(numbers(&limiter, source(1)), (2, 1));
}

#[test]
fn trusted_connection_was_not_silent() {
    let limiter = limiter(0, 1);
    let silent = "silent=1".parse_penalty();
    limiter.set_penalty(silent);
    let token = connect(&limiter, 1, source(1)).unwrap();
    limiter.trust(script(), token).unwrap();
    let ended = disconnect(&limiter, token);
    assert!(ended.include(Facts::TRUSTED) && ended.include(Facts::SPOKE));
    assert_eq!(limiter.totals().penalty_silent, 0);
    let token = connect(&limiter, 1, source(1)).unwrap();
    disconnect(&limiter, token);
    assert_eq!(limiter.totals().penalty_silent, 1);
}

/// Reads a penalty that is valid.
trait ParsePenalty {
    fn parse_penalty(&self) -> tcp_conn_limit::policy::penalties::Penalty;
}

impl ParsePenalty for str {
    fn parse_penalty(&self) -> tcp_conn_limit::policy::penalties::Penalty {
        tcp_conn_limit::policy::penalties::Penalty::parse(self).unwrap()
    }
}

#[test]
fn rules_change_the_untrusted_limit_or_trust_their_sources() {
    let limiter = limiter(50, 2);
    load_rules(
        &limiter,
        &[
            "10.0.0.1=50 untrusted=4",
            "10.0.0.2=50 untrusted=none",
            "10.0.0.3=50 trusted",
            "10.0.0.4=unlimited",
            "10.0.0.5=unlimited untrusted=3",
            "10.0.0.6=50",
        ],
    );
    let mut fd = 0;
    for (n, most, reason) in [
        (1, 4, Some(RejectedFor::Untrusted)),
        (2, 50, Some(RejectedFor::Limit)),
        (3, 50, Some(RejectedFor::Limit)),
        (4, 60, None),
        (5, 3, Some(RejectedFor::Untrusted)),
        (6, 2, Some(RejectedFor::Untrusted)),
        (7, 2, Some(RejectedFor::Untrusted)),
    ] {
        for _ in 0..most {
            connect(&limiter, fd, source(n)).unwrap_or_else(|why| panic!("{n}: {why:?}"));
            fd += 1;
        }
        if let Some(reason) = reason {
            assert_eq!(connect(&limiter, fd, source(n)), Err(reason), "{n}");
        }
    }
    assert_eq!(numbers(&limiter, source(3)), (50, 50));
    assert_eq!(numbers(&limiter, source(4)), (60, 0));
}

#[test]
fn zero_counts_without_a_limit() {
    let limiter = limiter(0, 0);
    for fd in 0..100 {
        let token = connect(&limiter, fd, source(1)).unwrap();
        if fd % 2 == 0 {
            limiter.trust(script(), token).unwrap();
        }
    }
    assert_eq!(numbers(&limiter, source(1)), (100, 50));
    limiter.set_untrusted_limit(50).unwrap();
    assert_eq!(
        connect(&limiter, 100, source(1)),
        Err(RejectedFor::Untrusted)
    );
    limiter.set_untrusted_limit(51).unwrap();
    connect(&limiter, 100, source(1)).unwrap();
}

#[test]
fn monitor_mode_admits_and_counts() {
    let limiter = limiter(0, 1);
    limiter.set_mode(Mode::Monitor);
    for fd in 0..4 {
        connect(&limiter, fd, source(1)).unwrap();
    }
    let totals = limiter.totals();
    assert_eq!((totals.untrusted_would_reject, totals.would_reject), (3, 3));
    assert_eq!(totals.untrusted_rejected, 0);
    limiter.set_mode(Mode::Off);
    connect(&limiter, 4, source(1)).unwrap();
    assert_eq!(limiter.totals().would_reject, 3);
}

#[test]
fn without_trust_nothing_can_be_trusted_or_limited() {
    let limiter = Limiter::new(100, 0, PrefixLengths::DEFAULT).unwrap();
    let token = connect(&limiter, 1, source(1)).unwrap();
    assert_eq!(limiter.trust(script(), token), Err(TrustError::Off));
    assert_eq!(limiter.untrust(token), Err(TrustError::Off));
    assert_eq!(limiter.set_untrusted_limit(5), Err(TrustError::Off));
    assert_eq!(limiter.set_trust_timeout(5), Err(TrustError::Off));
    let error = limiter.set_rules(&rules(&["10.0.0.1=5", "10.0.0.2=5 untrusted=1"]));
    assert_eq!(
        error.unwrap_err().to_string(),
        "the rule 10.0.0.2 from modparam 2 has the word `untrusted`, but trust is off; set the \
         modparam untrusted_limit (0: no limit by default) and restart the server, or remove \
         the word"
    );
    assert_eq!(limiter.rules_len(), 0);
    // The word `trusted` has no effect then.
    load_rules(&limiter, &["10.0.0.1=5 trusted"]);
    assert_eq!(numbers(&limiter, source(1)), (1, 0));
}

#[test]
fn sources_are_ranked_by_untrusted_connections() {
    let limiter = limiter(0, 0);
    for (n, connections, trusted) in [(1, 10, 9), (2, 5, 0), (3, 3, 3)] {
        for i in 0..connections {
            let token = connect(&limiter, n * 20 + i, source(n as u32)).unwrap();
            if i < trusted {
                limiter.trust(script(), token).unwrap();
            }
        }
    }
    let (top, found) = Report::of(&limiter).top(10, By::Untrusted, None).unwrap();
    let untrusted = top.iter().map(|report| (report.source, report.untrusted()));
    assert_eq!(
        untrusted.collect::<Vec<_>>(),
        [(source(2), 5), (source(1), 1)]
    );
    assert_eq!(found, 2);
}

#[test]
fn connections_of_a_source_are_listed_oldest_first() {
    let limiter = limiter(0, 0);
    for (fd, opened_at) in [(5, 130), (3, 100), (9, 160)] {
        limiter.set_clock(opened_at);
        connect(&limiter, fd, source(1)).unwrap();
        connect(&limiter, fd + 20, source(2)).unwrap();
    }
    limiter
        .trust(script(), limiter.connection(5).unwrap())
        .unwrap();
    let list = |max| limiter.connections_of(source(1), 200, max).unwrap();
    let brief = |max| -> Vec<_> {
        let (list, _) = list(max);
        let trusted = |facts: Facts| facts.include(Facts::TRUSTED);
        list.iter()
            .map(|c| (c.descriptor, c.age, trusted(c.facts)))
            .collect()
    };
    assert_eq!(brief(10), [(3, 100, false), (5, 70, true), (9, 40, false)]);
    assert_eq!(brief(2), [(3, 100, false), (5, 70, true)]);
    assert_eq!((list(0).0.len(), list(0).1), (0, 3));
    assert_eq!(limiter.connections_of(source(3), 200, 9).unwrap().1, 0);
}

/// What the watch logs in a second.
fn tick(watch: &mut Watch, limiter: &Limiter, now: u32) -> Vec<Notice> {
    let mut notices = Vec::new();
    watch.tick(limiter, now, 60, &mut |notice| notices.push(notice));
    notices
}

#[test]
fn connection_that_is_not_trusted_in_time_must_be_closed() {
    let limiter = limiter(0, 0);
    let mut watch = Watch::default();
    limiter.set_trust_timeout(30).unwrap();
    load_rules(&limiter, &["10.0.0.9=10 trusted"]);
    tick(&mut watch, &limiter, 1_000);
    for fd in [1, 2, 3] {
        connect(&limiter, fd, source(1)).unwrap();
    }
    connect(&limiter, 9, source(9)).unwrap();
    limiter
        .trust(script(), limiter.connection(2).unwrap())
        .unwrap();
    assert!(tick(&mut watch, &limiter, 1_032).is_empty());
    assert_eq!(watch.to_close(), 0);
    let expected = [Notice::TimedOut(TimedOut {
        source: source(1),
        connections: 2,
        timeout: 30,
        would: false,
    })];
    assert_eq!(tick(&mut watch, &limiter, 1_033), expected);
    let expired =
        |limiter: &Limiter| -> Vec<i32> { (0..20).filter(|fd| limiter.is_expired(*fd)).collect() };
    assert_eq!((watch.to_close(), expired(&limiter)), (2, vec![1, 3]));
    // They are reported and counted once, and must be closed until they are.
    assert!(tick(&mut watch, &limiter, 1_034).is_empty());
    assert_eq!((watch.to_close(), limiter.totals().trust_timeouts), (2, 2));
    disconnect(&limiter, limiter.connection(1).unwrap());
    // One is trusted at the last moment.
    limiter
        .trust(script(), limiter.connection(3).unwrap())
        .unwrap();
    assert!(expired(&limiter).is_empty());
    tick(&mut watch, &limiter, 1_035);
    assert_eq!(watch.to_close(), 0);
    // The time of one that is no longer trusted counts from its beginning.
    limiter.untrust(limiter.connection(2).unwrap()).unwrap();
    tick(&mut watch, &limiter, 1_036);
    assert_eq!(expired(&limiter), [2]);
    // More time, or a rule, takes it back.
    limiter.set_trust_timeout(300).unwrap();
    tick(&mut watch, &limiter, 1_037);
    assert!(expired(&limiter).is_empty());
    limiter.set_trust_timeout(0).unwrap();
    tick(&mut watch, &limiter, 9_999);
    assert_eq!((watch.to_close(), limiter.totals().trust_timeouts), (0, 3));
}

#[test]
fn monitor_mode_closes_nothing_in_time_and_counts_it() {
    let limiter = limiter(0, 0);
    let mut watch = Watch::default();
    limiter.set_trust_timeout(30).unwrap();
    limiter.set_mode(Mode::Monitor);
    tick(&mut watch, &limiter, 1_000);
    connect(&limiter, 1, source(1)).unwrap();
    let expected = [Notice::TimedOut(TimedOut {
        source: source(1),
        connections: 1,
        timeout: 30,
        would: true,
    })];
    assert_eq!(tick(&mut watch, &limiter, 1_033), expected);
    assert!(!limiter.is_expired(1) && watch.to_close() == 0);
    let totals = limiter.totals();
    assert_eq!((totals.would_trust_timeout, totals.trust_timeouts), (1, 0));
    limiter.set_mode(Mode::Off);
    tick(&mut watch, &limiter, 1_034);
    assert!(!limiter.is_expired(1) && watch.to_close() == 0);
    limiter.set_mode(Mode::Monitor);
    tick(&mut watch, &limiter, 1_035);
    assert_eq!(limiter.totals().would_trust_timeout, 1);
    // Enforced, it is closed, and counted as such.
    limiter.set_mode(Mode::Enforce);
    tick(&mut watch, &limiter, 1_036);
    assert!(limiter.is_expired(1) && watch.to_close() == 1);
    assert_eq!(limiter.totals().trust_timeouts, 1);
}

#[test]
fn many_timeouts_have_few_lines() {
    let limiter = limiter(0, 0);
    let mut watch = Watch::default();
    limiter.set_trust_timeout(1).unwrap();
    tick(&mut watch, &limiter, 1_000);
    for n in 0..300 {
        connect(&limiter, n as i32, source(n)).unwrap();
        connect(&limiter, 300 + n as i32, source(n)).unwrap();
    }
    let lines = tick(&mut watch, &limiter, 1_004);
    assert_eq!(lines.len(), MAX_TIMED_OUT);
    let connections = |notice: &Notice| match notice {
        Notice::TimedOut(timed_out) => u64::from(timed_out.connections),
        Notice::MoreTimedOut(more) => more.connections,
        other => panic!("{other:?}"),
    };
    let mut all: u64 = lines.iter().map(connections).sum();
    assert!(tick(&mut watch, &limiter, 1_005).is_empty());
    let summary = tick(&mut watch, &limiter, 1_060);
    let more = summary
        .iter()
        .filter(|n| matches!(n, Notice::MoreTimedOut(_)));
    all += more.map(connections).sum::<u64>();
    assert_eq!(all, 600);
    assert_eq!(limiter.totals().trust_timeouts, 600);
}

#[test]
fn one_line_a_day_says_that_no_connection_is_trusted() {
    let limiter = limiter(0, 0);
    let mut watch = Watch::default();
    tick(&mut watch, &limiter, 1_000);
    for fd in 0..10 {
        connect(&limiter, fd, source(fd as u32)).unwrap();
    }
    assert!(tick(&mut watch, &limiter, 1_059).is_empty());
    let expected = [Notice::NeverTrusted(NeverTrusted { connections: 10 })];
    assert_eq!(tick(&mut watch, &limiter, 1_060), expected);
    assert!(tick(&mut watch, &limiter, 80_000).is_empty());
    assert_eq!(tick(&mut watch, &limiter, 1_060 + 24 * 3600), expected);
    limiter
        .trust(script(), limiter.connection(0).unwrap())
        .unwrap();
    disconnect(&limiter, limiter.connection(0).unwrap());
    connect(&limiter, 0, source(0)).unwrap();
    assert!(tick(&mut watch, &limiter, 1_060 + 3 * 24 * 3600).is_empty());
}

#[test]
fn gauges_follow_the_connections() {
    let limiter = limiter(0, 0);
    let mut watch = Watch::default();
    for fd in 0..7 {
        let token = connect(&limiter, fd, source(fd as u32 % 3)).unwrap();
        if fd < 3 {
            limiter.trust(script(), token).unwrap();
        }
    }
    tick(&mut watch, &limiter, 1_000);
    let counters = limiter.counters(Report::of(&limiter).last_occupancy());
    assert_eq!((counters.trusted, counters.untrusted), (3, 4));
}

/// An operation of the model.
#[derive(Clone, Debug)]
enum Operation {
    Connect {
        source: u32,
    },
    Close {
        nth: usize,
    },
    Trust {
        nth: usize,
    },
    Untrust {
        nth: usize,
    },
    /// Trusts or untrusts a connection that is closed.
    Late {
        nth: usize,
        trust: bool,
    },
    Limits {
        all: i32,
        untrusted: u32,
    },
    Rules {
        trusted: u32,
        own: u32,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let nth = || any::<u16>().prop_map(usize::from);
    prop_oneof![
        8 => (0..4u32).prop_map(|source| Operation::Connect { source }),
        4 => nth().prop_map(|nth| Operation::Close { nth }),
        4 => nth().prop_map(|nth| Operation::Trust { nth }),
        2 => nth().prop_map(|nth| Operation::Untrust { nth }),
        2 => (nth(), any::<bool>()).prop_map(|(nth, trust)| Operation::Late { nth, trust }),
        1 => (0..12, 0..6u32).prop_map(|(all, untrusted)| Operation::Limits { all, untrusted }),
        1 => (0..5u32, 0..5u32).prop_map(|(trusted, own)| Operation::Rules { trusted, own }),
    ]
}

/// A connection as a plain server would keep it.
#[derive(Clone, Copy)]
struct Plain {
    source: u32,
    trusted: bool,
    token: ConnectionToken,
    descriptor: i32,
}

/// The limits of each source in the model: of all connections and of untrusted ones; 0: none.
fn limits(n: u32, default: (i32, u32), trusted: u32, own: u32) -> (u32, u32) {
    let (all, untrusted) = (default.0 as u32, default.1);
    match n {
        n if n == trusted => (9, 0),
        n if n == own => (9, 3),
        _ => (all, untrusted),
    }
}

fn expect(open: &[Plain], n: u32, (all, untrusted): (u32, u32)) -> Option<RejectedFor> {
    let its = || open.iter().filter(|plain| plain.source == n);
    if all > 0 && its().count() as u32 >= all {
        return Some(RejectedFor::Limit);
    }
    let now = its().filter(|plain| !plain.trusted).count() as u32;
    (untrusted > 0 && now >= untrusted).then_some(RejectedFor::Untrusted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Random operations against a plain list of connections.
    #[test]
    fn trust_agrees_with_a_plain_list(operations in prop::collection::vec(operation(), 1..400)) {
        let mut default = (6, 2);
        let (mut trusted, mut own) = (u32::MAX, u32::MAX);
        let limiter = limiter(default.0, default.1);
        let mut open: Vec<Plain> = Vec::new();
        let mut closed: Vec<ConnectionToken> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Connect { source: n } => {
                    let used = |fd: &i32| open.iter().any(|plain| plain.descriptor == *fd);
                    let descriptor = (0..).find(|fd| !used(fd)).unwrap();
                    let expected = expect(&open, n, limits(n, default, trusted, own));
                    let connected = connect(&limiter, descriptor, source(n));
                    prop_assert_eq!(connected.err(), expected);
                    if let Ok(token) = connected {
                        let trusted = false;
                        open.push(Plain { source: n, trusted, token, descriptor });
                    }
                }
                Operation::Close { nth } if !open.is_empty() => {
                    let plain = open.swap_remove(nth % open.len());
                    let ended = disconnect(&limiter, plain.token);
                    prop_assert_eq!(ended.include(Facts::TRUSTED), plain.trusted);
                    closed.push(plain.token);
                }
                Operation::Trust { nth } if !open.is_empty() => {
                    let nth = nth % open.len();
                    let was = std::mem::replace(&mut open[nth].trusted, true);
                    prop_assert_eq!(limiter.trust(script(), open[nth].token), Ok(!was));
                }
                Operation::Untrust { nth } if !open.is_empty() => {
                    let nth = nth % open.len();
                    let was = std::mem::replace(&mut open[nth].trusted, false);
                    prop_assert_eq!(limiter.untrust(open[nth].token), Ok(was));
                }
                Operation::Late { nth, trust } if !closed.is_empty() => {
                    let token = closed[nth % closed.len()];
                    let done = match trust {
                        true => limiter.trust(script(), token),
                        false => limiter.untrust(token),
                    };
                    prop_assert_eq!(done, Err(TrustError::Gone));
                }
                Operation::Limits { all, untrusted } => {
                    default = (all, untrusted);
                    limiter.set_limit(all);
                    limiter.set_untrusted_limit(untrusted).unwrap();
                }
                Operation::Rules { trusted: a, own: b } => {
                    (trusted, own) = (a, b);
                    let mut texts = vec![format!("10.0.0.{trusted}=9 trusted")];
                    if own != trusted {
                        texts.push(format!("10.0.0.{own}=9 untrusted=3"));
                    }
                    load_rules(&limiter, &texts);
                }
                _ => {}
            }
            for n in 0..4 {
                let its = || open.iter().filter(|plain| plain.source == n);
                let all = its().count() as u32;
                let of_script = its().filter(|plain| plain.trusted).count() as u32;
                let expected = if n == trusted { all } else { of_script };
                prop_assert_eq!(numbers(&limiter, source(n)), (all, expected));
            }
        }
    }
}

/// One thread opens and closes connections, others trust and untrust them, also those that are
/// closed by then.
#[test]
fn storm_of_trust_leaves_nothing() {
    let limiter = limiter(0, 0);
    let tokens: Mutex<Vec<ConnectionToken>> = Mutex::default();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (limiter, tokens, done) = (&limiter, &tokens, &done);
            scope.spawn(move || {
                let mut random = SmallRng::seed_from_u64(seed);
                while !done.load(Ordering::Relaxed) {
                    let token = {
                        let tokens = tokens.lock().unwrap();
                        match tokens.len() {
                            0 => continue,
                            len => tokens[random.random_range(0..len)],
                        }
                    };
                    let _ = match random.random_bool(0.7) {
                        true => limiter.trust(Worker::new(2 + seed as u32), token),
                        false => limiter.untrust(token),
                    };
                }
            });
        }
        let mut random = SmallRng::seed_from_u64(9);
        let mut open: HashMap<i32, ConnectionToken> = HashMap::new();
        for _ in 0..200_000 {
            let fd = random.random_range(0..40);
            match open.remove(&fd) {
                Some(token) => {
                    disconnect(&limiter, token);
                }
                None => {
                    let token = connect(&limiter, fd, source(random.random_range(0..8))).unwrap();
                    open.insert(fd, token);
                    let mut tokens = tokens.lock().unwrap();
                    tokens.push(token);
                    if tokens.len() > 60 {
                        tokens.remove(0);
                    }
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        for (_, token) in open {
            disconnect(&limiter, token);
        }
    });
    assert!(limiter.totals().became_trusted > 1_000);
    assert_eq!(limiter.totals().errors(), 0);
    for n in 0..8 {
        let token = connect(&limiter, 1, source(n)).unwrap();
        assert_eq!(numbers(&limiter, source(n)), (1, 0));
        limiter.trust(script(), token).unwrap();
        assert_eq!(numbers(&limiter, source(n)), (1, 1));
        disconnect(&limiter, token);
    }
}
