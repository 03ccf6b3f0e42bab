// SPDX-License-Identifier: GPL-2.0-or-later
//! Rates, penalties and bans of sources.

use std::cell::Cell;
use std::collections::HashMap;

use proptest::prelude::*;
use support::engine::{load_rules, source};
use tcp_conn_limit::limiter::{
    BanError, Facts, Limiter, NotCounted, RejectedFor, Token, Totals, Worker,
};
use tcp_conn_limit::observe::notices::Notice;
use tcp_conn_limit::observe::report::{By, Report};
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::penalties::{Cause, Penalty};
use tcp_conn_limit::policy::settings::{BanBounds, Mode};
use tcp_conn_limit::policy::terms::Rate;
use tcp_conn_limit::source::{PrefixLengths, Source};

thread_local! {
    /// Microseconds of the limiter's clock.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

const SECOND: u64 = 1_000_000;

fn set_clock(micros: u64) {
    NOW.with(|now| now.set(micros));
}

fn pass(micros: u64) {
    NOW.with(|now| now.set(now.get().wrapping_add(micros)));
}

/// A limiter without a limit, whose clock stands still until it is set.
fn limiter(connections: u32) -> Limiter {
    let limiter = Limiter::new(connections, 0, PrefixLengths::DEFAULT).unwrap();
    limiter.with_clock(|| NOW.with(Cell::get))
}

fn rate(interval_us: u32, burst: u32) -> Rate {
    Rate { interval_us, burst }
}

/// Opens a connection as a server does. Returns its token, or why it is rejected.
fn connect(limiter: &Limiter, source: Source) -> Result<Token, RejectedFor> {
    match limiter.check(source) {
        Ok(()) => Ok(limiter.opened(Worker::ACCEPTOR, source, 0).unwrap()),
        Err(rejection) => {
            limiter.rejected(Worker::ACCEPTOR, rejection);
            Err(rejection.reason().unwrap())
        }
    }
}

/// A connection that opens and closes at once.
fn visit(limiter: &Limiter, source: Source) -> Result<(), RejectedFor> {
    let token = connect(limiter, source)?;
    limiter.closed(Worker::ACCEPTOR, token).unwrap();
    Ok(())
}

/// A connection that closes without a message.
fn visit_in_silence(limiter: &Limiter, source: Source, facts: Facts) -> Result<(), RejectedFor> {
    let token = connect(limiter, source)?;
    limiter.offence_of_close(Worker::ACCEPTOR, token, facts);
    limiter.closed(Worker::ACCEPTOR, token).unwrap();
    Ok(())
}

fn penalty(limiter: &Limiter, text: &str) {
    limiter.set_penalty(Penalty::parse(text).unwrap());
}

#[test]
fn quiet_source_opens_its_burst_and_then_one_in_each_interval() {
    for (interval, burst) in [
        (100, 1),
        (100, 10_000),
        (333_334, 3),
        (100_000, 20),
        (1_000_000, 5),
        (60_000_000, 1_440),
        (3_600_000_000, 24),
    ] {
        // Also where the 40 bits of the time, and all 64, wrap around.
        for start in [
            0,
            (1 << 40) - 2 * u64::from(interval),
            u64::MAX - u64::from(interval),
        ] {
            set_clock(start);
            let limiter = limiter(10);
            limiter.set_rate(rate(interval, burst));
            for _ in 0..burst {
                visit(&limiter, source(1)).unwrap();
            }
            assert_eq!(visit(&limiter, source(1)), Err(RejectedFor::Rate));
            for _ in 0..5 {
                pass(u64::from(interval) - 1);
                assert_eq!(visit(&limiter, source(1)), Err(RejectedFor::Rate));
                pass(1);
                assert_eq!(
                    visit(&limiter, source(1)),
                    Ok(()),
                    "{interval} {burst} {start}"
                );
                assert_eq!(visit(&limiter, source(1)), Err(RejectedFor::Rate));
            }
            // Other sources have bursts of their own.
            visit(&limiter, source(2)).unwrap();
            // After a rest the whole burst is available again, and no more.
            pass(u64::from(interval) * u64::from(burst));
            for _ in 0..burst {
                visit(&limiter, source(1)).unwrap();
            }
            assert_eq!(visit(&limiter, source(1)), Err(RejectedFor::Rate));
        }
    }
}

/// Rates of many clients and the exact number of connections that each may open, by a count
/// of what was allowed in the past.
#[test]
fn rejected_attempts_cost_nothing() {
    set_clock(0);
    let limiter = limiter(10);
    limiter.set_rate(rate(100_000, 2));
    // A client that tries a thousand times a second gets in as often as one that waits.
    let mut admitted = [0, 0];
    for millisecond in 0..10_000 {
        set_clock(millisecond * 1_000);
        admitted[0] += u32::from(visit(&limiter, source(1)).is_ok());
        if millisecond % 100 == 0 {
            admitted[1] += u32::from(visit(&limiter, source(2)).is_ok());
        }
    }
    assert_eq!(admitted, [101, 100]);
    let totals = limiter.totals();
    assert_eq!(totals.rate_rejected, 10_000 - 101);
    assert_eq!(totals.rejected, totals.rate_rejected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Random attempts against the definition of the rate: a source may open a connection if
    /// what it owes, which each connection increases and time decreases, is less than a
    /// burst.
    #[test]
    fn rate_matches_its_definition(
        interval in prop_oneof![100..1_000u32, 1_000..1_000_000u32, 1_000_000..=3_600_000_000u32],
        burst in 1..40u32,
        start in prop_oneof![Just(0), Just((1 << 40) - 5), any::<u64>()],
        steps in proptest::collection::vec((0..3u32, 0..3u64, 0..1_000u64), 1..200),
    ) {
        set_clock(start);
        let limiter = limiter(10);
        limiter.set_rate(rate(interval, burst));
        let interval = u64::from(interval);
        let mut owed: HashMap<u32, u64> = HashMap::new();
        for (n, whole, thousandths) in steps {
            let passed = whole * interval + interval * thousandths / 1_000;
            pass(passed);
            for owed in owed.values_mut() {
                *owed = owed.saturating_sub(passed);
            }
            let owed = owed.entry(n).or_default();
            let may = *owed + interval <= interval * u64::from(burst);
            prop_assert_eq!(visit(&limiter, source(n)).is_ok(), may);
            *owed += if may { interval } else { 0 };
            prop_assert_eq!(Report::of(&limiter).get(source(n)).owed_us, *owed);
        }
    }
}

#[test]
fn limit_and_rate_apply_together() {
    set_clock(0);
    let limiter = limiter(10);
    limiter.set_limit(2);
    limiter.set_rate(rate(1_000_000, 3));
    let one = connect(&limiter, source(1)).unwrap();
    connect(&limiter, source(1)).unwrap();
    assert_eq!(connect(&limiter, source(1)), Err(RejectedFor::Limit));
    limiter.closed(Worker::ACCEPTOR, one).unwrap();
    // The rejection by the limit cost nothing of the rate.
    let one = connect(&limiter, source(1)).unwrap();
    limiter.closed(Worker::ACCEPTOR, one).unwrap();
    assert_eq!(connect(&limiter, source(1)), Err(RejectedFor::Rate));
    // The rejection by the rate left nothing counted.
    assert_eq!(Report::of(&limiter).get(source(1)).connections, 1);
    pass(SECOND);
    connect(&limiter, source(1)).unwrap();
    pass(SECOND);
    // Of two reasons the rate comes first, but it is over by now.
    assert_eq!(connect(&limiter, source(1)), Err(RejectedFor::Limit));
    let report = Report::of(&limiter).get(source(1));
    assert_eq!(report.rejected_for, Some(RejectedFor::Limit));
    assert_eq!((report.rejected, report.rejected_at), (3, 2));
}

#[test]
fn connection_over_the_rate_is_not_counted_within_a_limit() {
    set_clock(0);
    let limiter = limiter(10);
    limiter.set_rate(rate(1_000_000, 2));
    let opened = || limiter.opened(Worker::new(3), source(1), 100);
    let tokens = [opened().unwrap(), opened().unwrap()];
    assert_eq!(opened(), Err(NotCounted::OverRate));
    assert_eq!(Report::of(&limiter).get(source(1)).connections, 2);
    // Without a limit it is counted, and costs nothing.
    limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    assert_eq!(Report::of(&limiter).get(source(1)).owed_us, 2 * SECOND);
    for token in tokens {
        limiter.closed(Worker::new(5), token).unwrap();
    }
    // Neither does it in monitor mode, where it is admitted.
    limiter.set_mode(Mode::Monitor);
    opened().unwrap();
    assert_eq!(Report::of(&limiter).get(source(1)).owed_us, 2 * SECOND);
    assert_eq!(connect(&limiter, source(1)), Err(RejectedFor::Rate));
    assert_eq!(limiter.totals().rate_would_reject, 1);
    assert_eq!(limiter.totals().rate_rejected, 0);
    limiter.set_mode(Mode::Off);
    visit(&limiter, source(1)).unwrap();
}

#[test]
fn changed_rate_keeps_what_is_owed() {
    set_clock(0);
    let limiter = limiter(10);
    limiter.set_rate(rate(1_000_000, 5));
    for _ in 0..5 {
        visit(&limiter, source(1)).unwrap();
    }
    limiter.set_rate(rate(100_000, 10));
    assert_eq!(visit(&limiter, source(1)), Err(RejectedFor::Rate));
    pass(4 * SECOND + 100_000);
    visit(&limiter, source(1)).unwrap();
    assert_eq!(visit(&limiter, source(1)), Err(RejectedFor::Rate));
    limiter.set_rate(Rate::NONE);
    visit(&limiter, source(1)).unwrap();
    assert!(limiter.rate().is_none());
}

/// Several acceptors share a rate: together they never open more than it allows.
/// Opens and closes a connection from host `n` of 2001:db8::/64, as a server does.
fn visit_from(limiter: &Limiter, n: u8) -> Result<(), RejectedFor> {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    address[15] = n;
    let source = limiter.source(&address).unwrap();
    if let Err(rejection) = limiter.check_from(source, &address) {
        return Err(rejection.reason().unwrap());
    }
    let opened = limiter.connect(Worker::ACCEPTOR, 3, source, &address, Facts::NONE, 0);
    let closed = limiter.disconnect(Worker::ACCEPTOR, opened.unwrap(), Facts::SPOKE);
    closed.unwrap();
    Ok(())
}

/// How many connections host `n` opens without a pause, at most 100.
fn burst_of(limiter: &Limiter, n: u8) -> usize {
    (0..100)
        .take_while(|_| visit_from(limiter, n).is_ok())
        .count()
}

#[test]
fn host_is_charged_at_the_rate_of_its_own_rule() {
    set_clock(0);
    let limiter = limiter(10);
    limiter.set_rate(rate(SECOND as u32, 5));
    let rules = [
        "2001:db8::1=unlimited rate=10/s burst=20",
        "2001:db8::2=unlimited rate=none",
        "2001:db8::3=unlimited rate=1/m burst=2",
    ];
    load_rules(&limiter, &rules);
    // 20 intervals of 100 ms each, then one in each interval.
    assert_eq!(burst_of(&limiter, 1), 20);
    pass(SECOND);
    assert_eq!(burst_of(&limiter, 1), 10);
    // Without a rate the host neither waits nor costs its network anything.
    assert_eq!(burst_of(&limiter, 2), 100);
    // The network still owes the two seconds of the first host, of the four that it may.
    assert_eq!(burst_of(&limiter, 9), 3);
    pass(10 * SECOND);
    // A connection of the third host costs its network a minute.
    assert_eq!(burst_of(&limiter, 3), 2);
    assert_eq!(visit_from(&limiter, 9), Err(RejectedFor::Rate));
    pass(120 * SECOND);
    assert_eq!(burst_of(&limiter, 9), 5);
}

#[test]
fn rule_without_a_rate_or_with_a_burst_replaces_the_default() {
    set_clock(0);
    let limiter = limiter(10);
    limiter.set_rate(rate(SECOND as u32, 5));
    for (words, expected) in [("rate=none", 100), ("burst=7", 7), ("", 5)] {
        load_rules(&limiter, &[&format!("192.0.2.0/24=unlimited {words}")]);
        let source = Source::new(&[192, 0, 2, 1], PrefixLengths::DEFAULT).unwrap();
        let opened = (0..100).take_while(|_| visit(&limiter, source).is_ok());
        assert_eq!(opened.count(), expected, "{words}");
        pass(3600 * SECOND);
    }
}

#[test]
fn host_without_a_rate_of_its_own_has_the_default_rate() {
    for (default, expected) in [(rate(SECOND as u32, 5), 5), (Rate::NONE, 100)] {
        set_clock(0);
        let limiter = limiter(10);
        limiter.set_rate(default);
        load_rules(
            &limiter,
            &["2001:db8::/64=unlimited rate=1/m burst=2", "2001:db8::1=9"],
        );
        assert_eq!(burst_of(&limiter, 1), expected);
        pass(3600 * SECOND);
        assert_eq!(burst_of(&limiter, 9), 2);
    }
}

/// A read of the clock takes as long as the rest of a check. The debt needs the present once;
/// a gate that admits the source needs only a time in the past.
#[test]
fn connection_with_a_rate_and_penalties_reads_the_clock_once() {
    thread_local!(static READS: Cell<u64> = const { Cell::new(0) });
    let limiter = Limiter::new(100, 5, PrefixLengths::DEFAULT).unwrap();
    let limiter = limiter.with_clock(|| {
        READS.set(READS.get() + 1);
        1_000_000
    });
    limiter.set_rate(rate(100, 1_000));
    for offence in Cause::OFFENCES {
        let penalty = Penalty {
            offence,
            millis: 1_000,
        };
        limiter.set_penalty(penalty);
    }
    for n in 0..100 {
        let before = READS.get();
        let (from, address) = (source(n / 50), [10, 0, 0, n as u8 / 50]);
        assert!(limiter.check_from(from, &address).is_ok());
        assert_eq!(READS.get(), before, "a check of a source within its rate");
        let token = limiter.connect(Worker::ACCEPTOR, 7, from, &address, Facts::NONE, 0);
        assert_eq!(READS.get(), before + 1);
        let ended = limiter.disconnect(Worker::ACCEPTOR, token.unwrap(), Facts::SPOKE);
        assert!(ended.is_ok());
        assert_eq!(READS.get(), before + 1, "a close after a message");
    }
}

#[test]
fn several_acceptors_never_open_more() {
    const BURST: u32 = 5_000;
    let limiter = Limiter::new(100_000, 0, PrefixLengths::DEFAULT).unwrap();
    let limiter = limiter.with_clock(|| 7);
    limiter.set_rate(rate(1_000, BURST));
    let opened: u32 = std::thread::scope(|scope| {
        let acceptors: Vec<_> = (0..4)
            .map(|worker| {
                let limiter = &limiter;
                scope.spawn(move || {
                    let opened = |_: &u32| {
                        limiter
                            .opened(Worker::new(worker), source(1), i32::MAX)
                            .is_ok()
                    };
                    (0..BURST).filter(opened).count() as u32
                })
            })
            .collect();
        acceptors.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(opened, BURST);
    let report = Report::of(&limiter).get(source(1));
    assert_eq!(report.connections, BURST);
    assert_eq!(report.owed_us, u64::from(BURST) * 1_000);
}

#[test]
fn offences_add_up_to_a_ban_that_ends() {
    set_clock(5 * SECOND);
    let limiter = limiter(10);
    penalty(&limiter, "silent=5");
    penalty(&limiter, "tls=2.5");
    let ban = || Report::of(&limiter).get(source(1)).ban();
    visit_in_silence(&limiter, source(1), Facts::NONE).unwrap();
    visit_in_silence(&limiter, source(1), Facts::TLS).unwrap();
    visit_in_silence(&limiter, source(1), Facts::TLS).unwrap();
    assert_eq!(ban(), None);
    let report = Report::of(&limiter).get(source(1));
    let offences = report.penalty.unwrap();
    assert_eq!((offences.left_ms, offences.cause), (10_000, Cause::Tls));
    // They pass with time: 4 s later the next one does not suffice.
    pass(4 * SECOND);
    visit_in_silence(&limiter, source(1), Facts::NONE).unwrap();
    assert_eq!(ban(), None);
    visit_in_silence(&limiter, source(1), Facts::NONE).unwrap();
    let begun = ban().unwrap();
    assert_eq!((begun.left_ms, begun.cause), (16_000, Cause::Silent));
    for _ in 0..7 {
        assert_eq!(visit(&limiter, source(1)), Err(RejectedFor::Ban));
    }
    // Attempts during the ban do not make it longer.
    pass(SECOND);
    assert_eq!(
        (ban().unwrap().left_ms, ban().unwrap().rejected),
        (15_000, 7)
    );
    visit(&limiter, source(2)).unwrap();
    // Below the minimum it is still a ban.
    pass(15 * SECOND - 1_000);
    assert_eq!(visit(&limiter, source(1)), Err(RejectedFor::Ban));
    pass(1_000);
    visit_in_silence(&limiter, source(1), Facts::NONE).unwrap();
    assert_eq!(ban(), None);
    let expected = Totals {
        admitted: 7,
        rejected: 8,
        ban_rejected: 8,
        bans: 1,
        penalty_silent: 4,
        penalty_tls: 2,
        ..Totals::default()
    };
    assert_eq!(limiter.totals(), expected);
}

#[test]
fn penalties_have_a_maximum() {
    set_clock(0);
    let limiter = limiter(10);
    penalty(&limiter, "script=50");
    limiter.set_ban_bounds(BanBounds {
        min: 100_000,
        max: 120_000,
    });
    let left = || Report::of(&limiter).get(source(1)).penalty.unwrap().left_ms;
    assert_eq!(limiter.offence(Worker::new(1), source(1)), Ok(false));
    assert_eq!(limiter.offence(Worker::new(1), source(1)), Ok(true));
    assert_eq!(left(), 100_000);
    assert_eq!(limiter.offence(Worker::new(1), source(1)), Ok(true));
    assert_eq!(left(), 120_000);
    // A ban by command is not shortened by offences.
    limiter
        .ban(Worker::new(1), source(1), 1_000, Cause::Rpc)
        .unwrap();
    assert_eq!(limiter.offence(Worker::new(1), source(1)), Ok(true));
    let ban = Report::of(&limiter).get(source(1)).ban().unwrap();
    assert_eq!((ban.left_ms, ban.cause), (1_000_000, Cause::Rpc));
    // Nor by the script, which can make it longer.
    for (seconds, left_ms) in [(10, 1_000_000), (2_000, 2_000_000)] {
        limiter
            .ban(Worker::new(1), source(1), seconds, Cause::Script)
            .unwrap();
        assert_eq!(left(), left_ms);
    }
    assert_eq!(limiter.totals().bans, 1, "one ban that was changed");
    assert_eq!(limiter.totals().penalty_script, 4);
}

#[test]
fn rejections_are_offences_if_they_have_a_penalty() {
    set_clock(0);
    let limiter = limiter(10);
    limiter.set_limit(1);
    limiter.set_rate(rate(1_000_000, 1));
    penalty(&limiter, "rejected=10");
    penalty(&limiter, "rate=5");
    let token = connect(&limiter, source(1)).unwrap();
    assert_eq!(connect(&limiter, source(1)), Err(RejectedFor::Rate));
    pass(SECOND);
    assert_eq!(connect(&limiter, source(1)), Err(RejectedFor::Limit));
    assert_eq!(connect(&limiter, source(1)), Err(RejectedFor::Limit));
    assert_eq!(connect(&limiter, source(1)), Err(RejectedFor::Ban));
    let ban = Report::of(&limiter).get(source(1)).ban().unwrap();
    assert_eq!((ban.left_ms, ban.cause), (24_000, Cause::Rejected));
    let totals = limiter.totals();
    assert_eq!((totals.penalty_rate, totals.penalty_rejected), (1, 2));
    assert_eq!(totals.rejected, 4);
    // A ban closes no connection.
    assert_eq!(Report::of(&limiter).get(source(1)).connections, 1);
    limiter.closed(Worker::ACCEPTOR, token).unwrap();
}

#[test]
fn ban_by_command_needs_no_connection_and_is_lifted() {
    set_clock(0);
    let limiter = limiter(10);
    let (ban, unban) = (
        |n| limiter.ban(Worker::new(9), source(n), 60, Cause::Rpc),
        |n| limiter.unban(source(n), Cause::Rpc),
    );
    assert!(!unban(1));
    ban(1).unwrap();
    ban(2).unwrap();
    assert_eq!(visit(&limiter, source(1)), Err(RejectedFor::Ban));
    visit(&limiter, source(3)).unwrap();
    pass(10 * SECOND);
    limiter
        .ban(Worker::new(9), source(1), 20, Cause::Rpc)
        .unwrap();
    let (bans, found) = Report::of(&limiter).bans(10).unwrap();
    let list: Vec<_> = bans
        .iter()
        .map(|report| (report.source, report.ban().unwrap()))
        .map(|(source, ban)| (source, ban.seconds_left(), ban.rejected))
        .collect();
    assert_eq!(list, [(source(2), 50, 0), (source(1), 20, 1)]);
    assert_eq!(found, 2);
    assert_eq!(Report::of(&limiter).bans(1).unwrap().0[0].source, source(2));
    assert!(unban(1) && !unban(1));
    visit(&limiter, source(1)).unwrap();
    assert_eq!(visit(&limiter, source(2)), Err(RejectedFor::Ban));
}

#[test]
fn exempt_sources_are_neither_penalised_nor_banned() {
    set_clock(0);
    let limiter = limiter(10);
    load_rules(&limiter, &["10.0.0.1=unlimited", "10.0.0.2=1000"]);
    penalty(&limiter, "silent=15");
    penalty(&limiter, "script=1");
    for _ in 0..3 {
        visit_in_silence(&limiter, source(1), Facts::NONE).unwrap();
    }
    let ban = |n| limiter.ban(Worker::ACCEPTOR, source(n), 60, Cause::Script);
    assert_eq!(ban(1), Err(BanError::Exempt));
    assert_eq!(
        limiter.offence(Worker::ACCEPTOR, source(1)),
        Err(BanError::Exempt)
    );
    visit_in_silence(&limiter, source(2), Facts::NONE).unwrap();
    assert_eq!(visit(&limiter, source(2)), Err(RejectedFor::Ban));
    // A rule that is loaded later wins as well.
    load_rules(&limiter, &["10.0.0.0/8=none"]);
    visit(&limiter, source(2)).unwrap();
    assert_eq!(Report::of(&limiter).bans(10).unwrap().1, 0);
    // And so does the ban when the rule has gone.
    load_rules::<&str>(&limiter, &[]);
    assert_eq!(visit(&limiter, source(2)), Err(RejectedFor::Ban));
    assert_eq!(limiter.totals().penalty_silent, 1);
}

#[test]
fn monitor_mode_bans_nobody() {
    set_clock(0);
    let limiter = limiter(10);
    limiter.set_mode(Mode::Monitor);
    penalty(&limiter, "silent=15");
    visit_in_silence(&limiter, source(1), Facts::NONE).unwrap();
    let rejection = limiter.check(source(1)).unwrap_err();
    assert_eq!(rejection.reason(), Some(RejectedFor::Ban));
    assert!(!limiter.rejected(Worker::ACCEPTOR, rejection));
    let totals = limiter.totals();
    assert_eq!((totals.bans, totals.would_ban), (0, 1));
    assert_eq!((totals.ban_rejected, totals.ban_would_reject), (0, 1));
    limiter.set_mode(Mode::Off);
    visit(&limiter, source(1)).unwrap();
}

/// The documented settings, and health checks that open a connection every 5 s and say
/// nothing.
#[test]
fn silent_health_checks_are_never_banned() {
    set_clock(0);
    let limiter = limiter(10);
    for text in ["silent=1", "tls=2", "rejected=1", "rate=1", "script=10"] {
        penalty(&limiter, text);
    }
    limiter.set_rate(rate(100_000, 20));
    for turn in 0..10_000 {
        visit_in_silence(
            &limiter,
            source(1),
            [Facts::NONE, Facts::TLS][usize::from(turn % 2 == 0)],
        )
        .unwrap();
        pass(5 * SECOND);
        assert_eq!(Report::of(&limiter).get(source(1)).ban(), None);
    }
    assert_eq!(limiter.totals().bans, 0);
}

/// A scanner that opens one connection a second in silence is banned, waits, and comes back.
#[test]
fn client_that_behaves_gets_out_of_a_ban() {
    set_clock(0);
    let limiter = limiter(10);
    penalty(&limiter, "silent=10");
    let silent = |limiter: &Limiter| visit_in_silence(limiter, source(1), Facts::NONE);
    silent(&limiter).unwrap();
    silent(&limiter).unwrap();
    let mut attempts = 0;
    // It tries again ten times a second.
    while visit(&limiter, source(1)).is_err() {
        pass(SECOND / 10);
        attempts += 1;
    }
    assert_eq!(attempts, 200);
}

/// Sources with bans fill the table: honest sources still find slots, and take those of the
/// banned ones last.
#[test]
fn full_table_of_bans_never_rejects_an_honest_source() {
    set_clock(0);
    let limiter = limiter(100);
    limiter.set_on_full(tcp_conn_limit::policy::settings::OnFull::Reject);
    for n in 0..2_000 {
        let banned = limiter.ban(Worker::new(1), source(n), 3_600, Cause::Script);
        assert_eq!(banned, Ok(()));
    }
    let kept = Report::of(&limiter).bans(0).unwrap().1;
    assert!(kept > 300, "{kept} bans in a table of 414 slots");
    let forgotten = limiter.totals().forgotten;
    assert_eq!(forgotten, 2_000 - kept);
    let honest: Vec<Token> = (10_000..10_100)
        .map(|n| connect(&limiter, source(n)).unwrap())
        .collect();
    assert!(limiter.totals().forgotten - forgotten <= 100);
    for token in honest {
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    // Idle sources that owe nothing are replaced before others that are banned: a hundred of
    // 414 slots are theirs, so one of a source's eight nearly always is.
    let kept = Report::of(&limiter).bans(0).unwrap().1;
    for n in 20_000..20_050 {
        visit(&limiter, source(n)).unwrap();
    }
    let lost = kept - Report::of(&limiter).bans(0).unwrap().1;
    assert!(lost <= 20, "{lost} of 50");
}

/// After a ban and a debt have ended, the watch makes the slot forget them, and the slot is
/// replaced as any other.
#[test]
fn watch_clears_what_is_paid_off() {
    set_clock(0);
    let limiter = limiter(100);
    limiter.set_rate(rate(1_000_000, 5));
    penalty(&limiter, "silent=20");
    let mut watch = Watch::default();
    for n in 0..50 {
        visit_in_silence(&limiter, source(n), Facts::NONE).unwrap();
    }
    let mut notices = Vec::new();
    let mut tick = |seconds: u32| {
        set_clock(u64::from(seconds) * SECOND);
        notices.clear();
        watch.tick(&limiter, seconds, 60, &mut |notice| notices.push(notice));
        let kind = |notice: &Notice| match notice {
            Notice::Banned { .. } => 'b',
            Notice::Unbanned { .. } => 'u',
            other => panic!("{other:?}"),
        };
        notices.iter().map(kind).collect::<String>()
    };
    assert_eq!(tick(2), "b".repeat(50));
    let banned = |limiter: &Limiter| limiter.counters(Report::of(limiter).occupancy()).banned;
    assert_eq!(banned(&limiter), 50);
    assert_eq!(tick(19), "");
    assert_eq!(tick(21), "u".repeat(50));
    assert_eq!(banned(&limiter), 0);
    for n in 1_000..3_000 {
        visit(&limiter, source(n)).unwrap();
        limiter.set_rate(Rate::NONE);
    }
    assert_eq!(limiter.totals().forgotten, 0);
}

/// A command that lifts a ban logs that itself, and all other ends are the watch's to log.
#[test]
fn end_of_a_ban_is_logged_once() {
    set_clock(0);
    let limiter = limiter(100);
    let mut watch = Watch::default();
    let ended = |watch: &mut Watch| {
        let mut ended = Vec::new();
        watch.tick(&limiter, 0, 60, &mut |notice| {
            if let Notice::Unbanned {
                report,
                ban,
                is_logged,
                ..
            } = notice
            {
                ended.push((report.source, ban.rejected, is_logged));
            }
        });
        ended.sort_by_key(|(_, rejected, _)| *rejected);
        ended
    };
    let ban = |n, seconds| {
        limiter
            .ban(Worker::ACCEPTOR, source(n), seconds, Cause::Rpc)
            .unwrap();
        for _ in 0..n {
            assert_eq!(visit(&limiter, source(n)), Err(RejectedFor::Ban));
        }
    };
    for n in 1..=5 {
        ban(n, if n == 3 { 1 } else { 60 });
    }
    assert_eq!(ended(&mut watch), []);
    assert!(limiter.unban(source(1), Cause::Rpc));
    assert!(limiter.unban(source(2), Cause::Script));
    pass(SECOND);
    // Too late: it has ended by itself.
    assert!(!limiter.unban(source(3), Cause::Rpc));
    assert_eq!(
        limiter.unban_sources(Cause::Rpc, |other| other == source(4)),
        1
    );
    let expected = [(1, true), (2, false), (3, false), (4, true)];
    let expected = expected.map(|(n, is_logged)| (source(n), n, is_logged));
    assert_eq!(ended(&mut watch), expected);
    // Another ban counts from zero, and its end is logged.
    ban(1, 1);
    assert_eq!(rejected_by_ban(&limiter, 1), Some(1));
    assert_eq!(ended(&mut watch), []);
    pass(SECOND);
    assert_eq!(ended(&mut watch), [(source(1), 1, false)]);
}

/// The rejections of the ban of a source, if it is banned.
fn rejected_by_ban(limiter: &Limiter, n: u32) -> Option<u32> {
    let ban = Report::of(limiter).get(source(n)).ban();
    ban.map(|ban| ban.rejected)
}

#[test]
fn sources_are_ranked_by_what_they_owe() {
    set_clock(0);
    let limiter = limiter(10);
    limiter.set_rate(rate(1_000_000, 5));
    for n in 1..4 {
        for _ in 0..n {
            visit(&limiter, source(n)).unwrap();
        }
    }
    let (top, found) = Report::of(&limiter).top(2, By::Owed, None).unwrap();
    let owed: Vec<_> = top
        .iter()
        .map(|report| (report.source, report.owed_us))
        .collect();
    assert_eq!(owed, [(source(3), 3 * SECOND), (source(2), 2 * SECOND)]);
    assert_eq!(found, 3);
}
