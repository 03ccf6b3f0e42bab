// SPDX-License-Identifier: GPL-2.0-or-later
//! What an operator sets: modes, limits, and what happens when the table is full.

use std::collections::HashMap;

use support::engine::{load_rules, rules, source};
use tcp_conn_limit::limiter::{Limiter, NotCounted, Totals, Worker};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::policy::rules::RuleSet;
use tcp_conn_limit::policy::settings::{Mode, OnFull};
use tcp_conn_limit::source::{PrefixLengths, Source};

/// Checks and then closes or opens, as the server does. `None` means closed.
fn accept(limiter: &Limiter, source: Source) -> Option<Result<(), NotCounted>> {
    if let Err(rejection) = limiter.check(source)
        && limiter.rejected(Worker::ACCEPTOR, rejection)
    {
        return None;
    }
    Some(limiter.opened(Worker::ACCEPTOR, source, 0).map(|_| ()))
}

const ATTEMPTS: u32 = 1_000;

/// Opens a connection of more sources than the smallest table has slots. Returns the
/// sources that got none, each with its answer.
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

/// Asserts that every source is in the table with one connection or got the answer
/// `expected`. Returns how many sources got that answer.
fn overfilled(limiter: &Limiter, expected: Option<Result<(), NotCounted>>) -> u64 {
    let without = overfill(limiter);
    let occupancy = Report::of(limiter).occupancy();
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
        assert_eq!(Report::of(limiter).get(*source).connections, 0);
    }
    without.len() as u64
}

/// The policy applies to all sources, whatever the limit.
const LIMITS: [i32; 3] = [0, 1, 1_000];

#[test]
fn number_of_connections_out_of_range_is_rejected() {
    for connections in [0, Limiter::MAX_CONNECTIONS + 1] {
        let error = Limiter::new(connections, 1, PrefixLengths::DEFAULT).err();
        assert_eq!(
            error.map(|error| error.to_string()),
            Some(format!(
                "max_connections {connections}: must be 1 to 100000000"
            )),
        );
    }
}

#[test]
fn full_table_admits_with_on_full_admit() {
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
fn full_table_rejects_with_on_full_reject() {
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
        // A source with a slot is not affected; only its limit applies to it.
        let inside = (0..ATTEMPTS)
            .map(source)
            .find(|s| Report::of(&limiter).get(*s).connections == 1)
            .unwrap();
        let answer = accept(&limiter, inside);
        assert_eq!(answer, if limit == 1 { None } else { Some(Ok(())) });
        assert_eq!(limiter.totals().full_rejected, without);
    }
}

/// The connection is admitted, counted in `would_reject`, and then finds no slot.
#[test]
fn monitor_mode_counts_full_table_as_would_reject() {
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
fn mode_off_admits_when_table_is_full() {
    let limiter = tiny(1, OnFull::Reject, Mode::Off);
    let without = overfilled(&limiter, Some(Err(NotCounted::TableFull)));
    let totals = limiter.totals();
    assert_eq!((totals.table_full, totals.rejected), (without, 0));
}

/// With either policy, a slot whose source has no connections left goes to another one.
#[test]
fn closed_connections_free_slots() {
    for policy in [OnFull::Admit, OnFull::Reject] {
        let limiter = tiny(0, policy, Mode::Enforce);
        let tokens: Vec<_> = (0..ATTEMPTS)
            .filter_map(|n| limiter.opened(Worker::ACCEPTOR, source(n), 0).ok())
            .collect();
        let outside: Vec<_> = (0..ATTEMPTS)
            .map(source)
            .filter(|s| Report::of(&limiter).get(*s).connections == 0)
            .collect();
        assert!(!outside.is_empty());
        for token in tokens {
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
        // One after the other, each of them gets a slot.
        for source in outside {
            assert!(limiter.check(source).is_ok());
            let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    }
}

/// `check` and `opened` agree at every step whether there is a slot.
#[test]
fn checked_source_always_gets_a_slot() {
    let limiter = tiny(0, OnFull::Reject, Mode::Enforce);
    let mut random = 1u32;
    let mut tokens = Vec::new();
    let mut rejected = 0;
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
                rejected += 1;
            }
        }
        if tokens.len() > 70 {
            let token = tokens.swap_remove(random as usize % tokens.len());
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    }
    assert!(rejected > 100, "only {rejected} rejections");
}

/// A lowered limit closes nothing. A source over it cannot open another connection
/// until it drops below it.
#[test]
fn lowered_limit_keeps_open_connections() {
    let limiter = Limiter::new(100, 5, PrefixLengths::DEFAULT).unwrap();
    for _ in 0..5 {
        assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    }
    assert_eq!(accept(&limiter, source(1)), None);
    limiter.set_limit(6);
    assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    limiter.set_limit(2);
    assert_eq!(accept(&limiter, source(1)), None);
    assert_eq!(Report::of(&limiter).get(source(1)).connections, 6);
    for unlimited in [0, -1, i32::MIN] {
        limiter.set_limit(unlimited);
        assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    }
    limiter.set_limit(i32::MAX);
    assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
}

/// Counting goes on while the mode is off, so the limit holds as soon as it is enforced
/// again.
#[test]
fn mode_off_keeps_counting() {
    let limiter = Limiter::new(100, 2, PrefixLengths::DEFAULT).unwrap();
    limiter.set_mode(Mode::Off);
    for _ in 0..4 {
        assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    }
    limiter.set_mode(Mode::Monitor);
    assert_eq!(accept(&limiter, source(1)), Some(Ok(())));
    limiter.set_mode(Mode::Enforce);
    assert_eq!(accept(&limiter, source(1)), None);
    let report = Report::of(&limiter).get(source(1));
    assert_eq!((report.connections, report.rejected_at), (5, 5));
    assert_eq!((report.rejected, report.would_reject), (1, 1));
}

/// Rules apply whether or not there is a limit for the sources without a rule.
#[test]
fn rules_apply_with_and_without_default_limit() {
    let limiter = Limiter::new(100, 0, PrefixLengths::DEFAULT).unwrap();
    load_rules(
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
    load_rules::<&str>(&limiter, &[]);
    assert_eq!([1, 2, 3, 4, 5].map(admitted), [3, 0, 0, 0, 0]);
    limiter.set_limit(0);
    assert_eq!([1, 2, 3].map(admitted), [20, 20, 20]);
}

/// The core's own function uses its own limit in any mode, and its caller logs the
/// rejection.
#[test]
fn check_against_uses_the_callers_limit() {
    let limiter = Limiter::new(100, 1, PrefixLengths::DEFAULT).unwrap();
    load_rules(&limiter, &["10.0.0.1=unlimited"]);
    limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    for mode in [Mode::Enforce, Mode::Monitor, Mode::Off] {
        limiter.set_mode(mode);
        assert!(limiter.check_against(source(1), 2).is_ok());
        assert!(limiter.check_against(source(1), 0).is_ok());
        let rejection = limiter.check_against(source(1), 1).unwrap_err();
        assert!(limiter.rejected(Worker::ACCEPTOR, rejection));
    }
    assert_eq!(limiter.totals().rejected, 3);
    let groups = Report::of(&limiter).groups(usize::MAX).unwrap();
    assert!(
        groups.iter().all(|group| group.rejected == 0),
        "a rule was charged with a rejection"
    );
    assert_eq!(
        Report::of(&limiter).get(source(1)).rejected,
        0,
        "nothing left to log"
    );
}

/// A source has its own rule and its own statistics, whichever source had its slot
/// before and however often the slot changed hands.
#[test]
fn reused_slot_keeps_no_statistics() {
    /// The source in a slot, and its statistics since it claimed the slot.
    #[derive(Clone, Copy, Default)]
    struct Tenant {
        n: Option<u32>,
        rejected: u32,
        claims: u32,
    }
    let limiter = Limiter::new(1, 3, PrefixLengths::DEFAULT).unwrap();
    // Half of the sources have a limit of their own.
    load_rules(&limiter, &["10.0.0.0/25=1", "10.0.1.0/25=1"]);
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
            // Seldom, so that a slot goes through all its epochs without being read.
            if (round * 512 + n).is_multiple_of(4_099) {
                let report = Report::of(&limiter).get(source(n));
                assert_eq!(report.rejected, tenant.rejected, "{round}: {n}");
                assert_eq!(report.peak, 1);
                let checked = limiter.check(source(n));
                assert_eq!(checked.is_err(), own_limit(n) == 1, "{round}: {n}");
                if let Err(rejection) = checked {
                    limiter.rejected(Worker::ACCEPTOR, rejection);
                    tenant.rejected += 1;
                }
            }
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    }
    let most = tenants.values().map(|tenant| tenant.claims).max().unwrap();
    assert!(most > 5 * 4_096, "at most {most} claims of one slot");
}

/// Exactly as many claims as make a slot's epoch wrap around to the value it had.
#[test]
fn epoch_wraps_around_without_keeping_statistics() {
    const EPOCHS: u32 = 4_096;
    let limiter = Limiter::new(1, 3, PrefixLengths::DEFAULT).unwrap();
    load_rules(&limiter, &["10.0.0.1=1"]);
    let own = limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    let rejection = limiter.check(source(1)).unwrap_err();
    limiter.rejected(Worker::ACCEPTOR, rejection);
    limiter.closed(Worker::ACCEPTOR, own).unwrap();
    // 4,095 other sources have its slot one after the other, and then one more.
    let mut claims = 0;
    let mut last = None;
    for n in (2..1 << 22).cycle() {
        let token = limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
        let mine = token.to_bits() as u32 == own.to_bits() as u32;
        if mine && last != Some(n) {
            last = Some(n);
            claims += 1;
            if claims == EPOCHS {
                assert!(
                    limiter.check(source(n)).is_ok(),
                    "it has another source's rule"
                );
                let report = Report::of(&limiter).get(source(n));
                assert_eq!((report.rejected, report.peak), (0, 1), "{report:?}");
                return;
            }
        }
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
}

/// A source keeps the generation of its rule in 16 bits, which wrap around.
#[test]
fn rules_generation_wraps_around() {
    let sets = [
        ["10.0.0.1=1", "11.0.0.0/8=7"],
        // Here it is the second rule that matches 10.0.0.1.
        ["10.0.0.0=1", "10.0.0.1=100"],
    ]
    .map(|texts| rules(&texts));
    let limiter = Limiter::new(10, 5, PrefixLengths::DEFAULT).unwrap();
    limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    let rejects = || limiter.check(source(1)).is_err();
    // Beyond 16 bits, with a check after each load.
    for round in 0..70_000 {
        limiter.set_rules(&sets[round % 2]).unwrap();
        assert_eq!(rejects(), round % 2 == 0, "{round}");
    }
    // The same without a check in between.
    for loads in 65_532..=65_538 {
        limiter.set_rules(&sets[0]).unwrap();
        assert!(rejects());
        for _ in 1..loads {
            limiter.set_rules(&sets[0]).unwrap();
        }
        limiter.set_rules(&sets[1]).unwrap();
        assert!(!rejects(), "after {loads} loads");
    }
}

/// Connections of a host count for its network. The host is checked against its own rule.
#[test]
fn rule_longer_than_a_source_applies_to_its_hosts_alone() {
    let limiter = Limiter::new(100, 3, PrefixLengths::DEFAULT).unwrap();
    let host = |n: u16| core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n).octets();
    let check = |address: &[u8]| {
        let source = limiter.source(address).unwrap();
        limiter.check_from(source, address).is_ok()
    };
    let open = |address: &[u8]| {
        let source = limiter.source(address).unwrap();
        limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
    };
    let load = |content: &str| {
        let mut builder = RuleSet::builder(limiter.prefixes());
        builder.add_file("rules", content.as_bytes()).unwrap();
        limiter.set_rules(&builder.build().unwrap()).unwrap();
    };
    load("2001:db8:0:1::/112=5\n2001:db8:0:1::7=unlimited\n2001:db8:0:1::/128=1\n");
    let other = [192, 0, 2, 1];
    open(&host(1));
    // The network's own address is also that of a host, and has its rule.
    assert!(!check(&host(0)));
    assert!(check(&host(1)));
    for n in 2..=5 {
        assert!(check(&host(n)));
        open(&host(n));
    }
    assert!(!check(&host(1)) && !check(&host(0)));
    assert!(check(&host(7)));
    // Not in the /112, so the default applies.
    let outside = core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 1, 0, 0, 7).octets();
    assert!(!check(&outside));
    // Without its address, the source has its own limit.
    let network = limiter.source(&host(7)).unwrap();
    assert!(limiter.check(network).is_err());
    for _ in 0..3 {
        assert!(check(&other));
        open(&other);
    }
    assert!(!check(&other));
    load("");
    assert!(!check(&host(7)));
    load("2001:db8::/32=6\n");
    assert!(check(&host(7)) && check(&outside));
}
