// SPDX-License-Identifier: GPL-2.0-or-later
//! What an operator sets: modes, limits, and what happens when the table is full.

use std::collections::HashMap;

use tcp_conn_limit::limiter::{Limiter, NotCounted, Totals, Worker};
use tcp_conn_limit::policy::rules::{Origin, RuleSet};
use tcp_conn_limit::policy::settings::{Mode, OnFull};
use tcp_conn_limit::source::{PrefixLengths, Source};

fn source(n: u32) -> Source {
    let address = [&[10], &n.to_be_bytes()[1..]].concat();
    Source::new(&address, PrefixLengths::DEFAULT).unwrap()
}

fn load(limiter: &Limiter, texts: &[&str]) {
    let mut builder = RuleSet::builder(limiter.prefixes());
    for (text, number) in texts.iter().zip(1..) {
        builder.add(Origin::Modparam(number), text).unwrap();
    }
    limiter.set_rules(&builder.build().unwrap()).unwrap();
}

/// As the server does it: check, close or open. `None`: closed.
fn accept(limiter: &Limiter, source: Source) -> Option<Result<(), NotCounted>> {
    if let Err(rejection) = limiter.check(source)
        && limiter.rejected(Worker::ACCEPTOR, rejection)
    {
        return None;
    }
    Some(limiter.opened(Worker::ACCEPTOR, source, 0).map(|_| ()))
}

const ATTEMPTS: u32 = 1_000;

/// More sources than the smallest table has places, each with a connection.
/// Returns those that have none, and what was answered to them.
fn overfill(limiter: &Limiter) -> Vec<(Source, Option<Result<(), NotCounted>>)> {
    (0..ATTEMPTS)
        .map(|n| (source(n), accept(limiter, source(n))))
        .filter(|(_, answer)| *answer != Some(Ok(())))
        .collect()
}

fn tiny(limit: i32, on_full: OnFull, mode: Mode) -> Limiter {
    let limiter = Limiter::new(1, limit, PrefixLengths::DEFAULT).unwrap();
    limiter.set_on_full(on_full);
    limiter.set_mode(mode);
    limiter
}

/// Every source is in the table with one connection, or was answered as `expected`.
fn overfilled(limiter: &Limiter, expected: Option<Result<(), NotCounted>>) -> u64 {
    let without = overfill(limiter);
    let occupancy = limiter.occupancy();
    assert!(occupancy.sources <= occupancy.slots);
    assert!(
        occupancy.sources * 10 > occupancy.slots * 9,
        "{occupancy:?}"
    );
    assert_eq!(
        occupancy.sources + without.len() as u64,
        u64::from(ATTEMPTS)
    );
    assert_eq!(limiter.totals().admitted, occupancy.sources);
    for (source, answer) in &without {
        assert_eq!(*answer, expected);
        assert_eq!(limiter.get(*source).connections, 0);
    }
    without.len() as u64
}

/// Whatever the limit: the policy is for all sources.
const LIMITS: [i32; 3] = [0, 1, 1_000];

#[test]
fn a_full_table_admits() {
    for mode in [Mode::Enforce, Mode::Monitor, Mode::Off] {
        for limit in LIMITS {
            let limiter = tiny(limit, OnFull::Admit, mode);
            let without = overfilled(&limiter, Some(Err(NotCounted::TableFull)));
            let expected = Totals {
                admitted: limiter.totals().admitted,
                table_full: without,
                ..Totals::default()
            };
            assert_eq!(limiter.totals(), expected, "{mode:?} {limit}");
        }
    }
}

#[test]
fn a_full_table_rejects() {
    for limit in LIMITS {
        let limiter = tiny(limit, OnFull::Reject, Mode::Enforce);
        let without = overfilled(&limiter, None);
        let expected = Totals {
            admitted: limiter.totals().admitted,
            rejected: without,
            full_rejected: without,
            ..Totals::default()
        };
        assert_eq!(limiter.totals(), expected, "{limit}");
        // a source with a place is not affected: it is as its limit says
        let inside = (0..ATTEMPTS)
            .map(source)
            .find(|s| limiter.get(*s).connections == 1)
            .unwrap();
        let answer = accept(&limiter, inside);
        assert_eq!(answer, if limit == 1 { None } else { Some(Ok(())) });
        assert_eq!(limiter.totals().full_rejected, without);
    }
}

/// A rejection in name only, and then there is no place for the connection.
#[test]
fn in_monitor_mode_a_full_table_would_reject() {
    for limit in LIMITS {
        let limiter = tiny(limit, OnFull::Reject, Mode::Monitor);
        let without = overfilled(&limiter, Some(Err(NotCounted::TableFull)));
        let expected = Totals {
            admitted: limiter.totals().admitted,
            would_reject: without,
            table_full: without,
            ..Totals::default()
        };
        assert_eq!(limiter.totals(), expected, "{limit}");
    }
}

#[test]
fn with_the_mode_off_a_full_table_admits_whatever_the_policy() {
    let limiter = tiny(1, OnFull::Reject, Mode::Off);
    let without = overfilled(&limiter, Some(Err(NotCounted::TableFull)));
    let totals = limiter.totals();
    assert_eq!((totals.table_full, totals.rejected), (without, 0));
}

/// A place that is free again is had again, with either policy.
#[test]
fn a_full_table_has_places_again() {
    for policy in [OnFull::Admit, OnFull::Reject] {
        let limiter = tiny(0, policy, Mode::Enforce);
        let tokens: Vec<_> = (0..ATTEMPTS)
            .filter_map(|n| limiter.opened(Worker::ACCEPTOR, source(n), 0).ok())
            .collect();
        let outside: Vec<_> = (0..ATTEMPTS)
            .map(source)
            .filter(|s| limiter.get(*s).connections == 0)
            .collect();
        assert!(!outside.is_empty());
        for token in tokens {
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
        // one after the other: each has a place
        for source in outside {
            assert!(limiter.check(source).is_ok());
            let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    }
}

/// `check` and `opened` agree about whether there is a place, at every step.
#[test]
fn what_check_lets_through_has_a_place() {
    let limiter = tiny(0, OnFull::Reject, Mode::Enforce);
    let mut random = 1u32;
    let mut tokens = Vec::new();
    let mut refused = 0;
    for _ in 0..100_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let source = source(random >> 8 & 0x3ff);
        let checked = limiter.check(source).is_ok();
        match limiter.opened(Worker::ACCEPTOR, source, 0) {
            Ok(token) => {
                assert!(checked);
                tokens.push(token);
            }
            Err(_) => {
                assert!(!checked);
                refused += 1;
            }
        }
        if tokens.len() > 70 {
            let token = tokens.swap_remove(random as usize % tokens.len());
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    }
    assert!(refused > 100, "{refused}");
}

/// A lower limit closes nothing: who is over it may open none until it fits.
#[test]
fn a_limit_changes_for_the_connections_to_come() {
    let limiter = Limiter::new(100, 5, PrefixLengths::DEFAULT).unwrap();
    for _ in 0..5 {
        assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    }
    assert_eq!(accept(&limiter, source(1)), None);
    limiter.set_limit(6);
    assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    limiter.set_limit(2);
    assert_eq!(accept(&limiter, source(1)), None);
    assert_eq!(limiter.get(source(1)).connections, 6);
    for none in [0, -1, i32::MIN] {
        limiter.set_limit(none);
        assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    }
    limiter.set_limit(i32::MAX);
    assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
}

/// Counting goes on with the mode off, so that the limit holds at once afterwards.
#[test]
fn modes_change_for_the_connections_to_come() {
    let limiter = Limiter::new(100, 2, PrefixLengths::DEFAULT).unwrap();
    limiter.set_mode(Mode::Off);
    for _ in 0..4 {
        assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    }
    limiter.set_mode(Mode::Monitor);
    assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    limiter.set_mode(Mode::Enforce);
    assert_eq!(accept(&limiter, source(1)), None);
    let report = limiter.get(source(1));
    assert_eq!((report.connections, report.rejected_at), (5, 5));
    assert_eq!((report.rejected, report.would_reject), (1, 1));
}

/// Rules hold without a limit for the others, and beside one.
#[test]
fn rules_hold_with_and_without_a_limit() {
    let limiter = Limiter::new(100, 0, PrefixLengths::DEFAULT).unwrap();
    load(
        &limiter,
        &["10.0.0.1=2", "10.0.0.2=unlimited", "10.0.0.3=9"],
    );
    let admitted = |n| {
        (0..20)
            .filter(|_| accept(&limiter, source(n)).is_some())
            .count()
    };
    assert_eq!([1, 2, 3, 4].map(admitted), [2, 20, 9, 20]);
    limiter.set_limit(5);
    assert_eq!([1, 2, 3, 4, 5].map(admitted), [0, 20, 0, 0, 5]);
    load(&limiter, &[]);
    assert_eq!([1, 2, 3, 4, 5].map(admitted), [3, 0, 0, 0, 0]);
    limiter.set_limit(0);
    assert_eq!([1, 2, 3].map(admitted), [20, 20, 20]);
}

/// The core's own function goes by its own limit, in any mode, and whoever calls it
/// tells of it.
#[test]
fn a_limit_that_is_brought_along() {
    let limiter = Limiter::new(100, 1, PrefixLengths::DEFAULT).unwrap();
    load(&limiter, &["10.0.0.1=unlimited"]);
    limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    for mode in [Mode::Enforce, Mode::Monitor, Mode::Off] {
        limiter.set_mode(mode);
        assert!(limiter.check_against(source(1), 2).is_ok());
        assert!(limiter.check_against(source(1), 0).is_ok());
        let rejection = limiter.check_against(source(1), 1).unwrap_err();
        assert!(limiter.rejected(Worker::ACCEPTOR, rejection));
    }
    assert_eq!(limiter.totals().rejected, 3);
    let groups = limiter.groups().unwrap();
    assert!(groups.iter().all(|group| group.rejected == 0), "by no rule");
    assert_eq!(limiter.get(source(1)).rejected, 0, "and nothing to be told");
}

/// A source is under its own rule and has its own numbers, whoever had its place in
/// the table before, and however often the place went from one to the next.
#[test]
fn a_place_does_not_keep_what_its_sources_had() {
    /// Who has a slot, and what it had since it has it.
    #[derive(Clone, Copy, Default)]
    struct Tenant {
        n: Option<u32>,
        rejected: u32,
        claims: u32,
    }
    let limiter = Limiter::new(1, 3, PrefixLengths::DEFAULT).unwrap();
    // every other source has a limit of its own
    load(&limiter, &["10.0.0.0/25=1", "10.0.1.0/25=1"]);
    let own_limit = |n: u32| if n & 0x80 == 0 { 1 } else { 3 };
    let mut tenants = HashMap::<u32, Tenant>::new();
    for round in 0..3_000u32 {
        for n in 0..512 {
            let token = limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
            let tenant = tenants.entry(token.to_bits() as u32).or_default();
            if tenant.n != Some(n) {
                (tenant.n, tenant.rejected) = (Some(n), 0);
                tenant.claims += 1;
            }
            // hardly ever, so that a place goes through all its epochs untouched
            if (round * 512 + n).is_multiple_of(4_099) {
                let report = limiter.get(source(n));
                assert_eq!(report.rejected, tenant.rejected, "{round}: {n}");
                assert_eq!(report.peak, 1);
                let refused = limiter.check(source(n));
                assert_eq!(refused.is_err(), own_limit(n) == 1, "{round}: {n}");
                if let Err(rejection) = refused {
                    limiter.rejected(Worker::ACCEPTOR, rejection);
                    tenant.rejected += 1;
                }
            }
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    }
    let most = tenants.values().map(|tenant| tenant.claims).max().unwrap();
    assert!(most > 5 * 4_096, "{most}");
}

/// The same, at exactly the number of claims after which a slot's epoch comes round.
#[test]
fn a_place_that_comes_round_keeps_nothing() {
    const EPOCHS: u32 = 4_096;
    let limiter = Limiter::new(1, 3, PrefixLengths::DEFAULT).unwrap();
    load(&limiter, &["10.0.0.1=1"]);
    let own = limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    let rejection = limiter.check(source(1)).unwrap_err();
    limiter.rejected(Worker::ACCEPTOR, rejection);
    limiter.closed(Worker::ACCEPTOR, own).unwrap();
    // 4,095 others one after the other in its slot, and then one more
    let mut claims = 0;
    let mut last = None;
    for n in (2..1 << 22).cycle() {
        let token = limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
        let mine = token.to_bits() as u32 == own.to_bits() as u32;
        if mine && last != Some(n) {
            last = Some(n);
            claims += 1;
            if claims == EPOCHS {
                assert!(limiter.check(source(n)).is_ok(), "another source's rule");
                let report = limiter.get(source(n));
                assert_eq!((report.rejected, report.peak), (0, 1), "{report:?}");
                return;
            }
        }
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
}

/// The generation of the rules in force is kept in few bits.
#[test]
fn rules_change_more_often_than_a_number_tells() {
    let sets = [
        ["10.0.0.1=1", "11.0.0.0/8=7"],
        // the other way round: the first rule is not for 10.0.0.1
        ["10.0.0.0=1", "10.0.0.1=100"],
    ]
    .map(|texts| {
        let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
        for (text, number) in texts.iter().zip(1..) {
            builder.add(Origin::Modparam(number), text).unwrap();
        }
        builder.build().unwrap()
    });
    let limiter = Limiter::new(10, 5, PrefixLengths::DEFAULT).unwrap();
    limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    let refused = || limiter.check(source(1)).is_err();
    // beyond 16 bits, looked at each time
    for round in 0..70_000 {
        limiter.set_rules(&sets[round % 2]).unwrap();
        assert_eq!(refused(), round % 2 == 0, "{round}");
    }
    // and not looked at in between
    for loads in 65_532..=65_538 {
        limiter.set_rules(&sets[0]).unwrap();
        assert!(refused());
        for _ in 1..loads {
            limiter.set_rules(&sets[0]).unwrap();
        }
        limiter.set_rules(&sets[1]).unwrap();
        assert!(!refused(), "after {loads}");
    }
}
