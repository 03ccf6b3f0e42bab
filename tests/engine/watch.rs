// SPDX-License-Identifier: GPL-2.0-or-later
//! What the background process samples and reports, with a simulated clock.

use support::engine::{load_rules, source};
use tcp_conn_limit::limiter::{Fault, Limiter, Token, Worker};
use tcp_conn_limit::observe::nearness::Nearness;
use tcp_conn_limit::observe::notices::{Notice, Summary};
use tcp_conn_limit::observe::report::{Report, seconds_since};
use tcp_conn_limit::observe::watch::{
    FloodThreshold, MAX_AT_ONCE, MAX_FIRST, MAX_FLOOD_LINES, MAX_RELEASED, Watch,
};
use tcp_conn_limit::policy::rules::UNLIMITED;
use tcp_conn_limit::policy::settings::{Mode, OnFull};
use tcp_conn_limit::policy::terms::Terms;
use tcp_conn_limit::source::{Prefix, PrefixLengths, Source};

const INTERVAL: u32 = 60;

fn open(limiter: &Limiter, n: u32) -> Token {
    limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap()
}

/// One more connection of source `n`, which exceeds its limit.
fn reject(limiter: &Limiter, n: u32) {
    let rejection = limiter.check(source(n)).unwrap_err();
    limiter.rejected(Worker::ACCEPTOR, rejection);
}

/// A limiter, its watch and the time in seconds.
struct Scene {
    limiter: Limiter,
    watch: Watch,
    now: u32,
}

impl Scene {
    /// The limit is 1, and the sources 0 to `sources` − 1 have reached it.
    fn new(sources: u32) -> Scene {
        Scene::at(0, sources)
    }

    fn at(now: u32, sources: u32) -> Scene {
        let limiter = Limiter::new(sources.max(10), 1, PrefixLengths::DEFAULT).unwrap();
        for n in 0..sources {
            open(&limiter, n);
        }
        let mut scene = Scene {
            limiter,
            watch: Watch::default(),
            now,
        };
        assert_eq!(scene.tick(), []);
        scene
    }

    /// One tick, after which a second passes. Returns its notices.
    fn tick(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut report = |notice| notices.push(notice);
        self.watch
            .tick(&self.limiter, self.now, INTERVAL, &mut report);
        self.now = self.now.wrapping_add(1);
        notices
    }

    /// Returns the notices of the next `seconds`.
    fn run(&mut self, seconds: u32) -> Vec<Notice> {
        (0..seconds).flat_map(|_| self.tick()).collect()
    }
}

/// The source whose first rejection this notice reports.
fn first(notice: &Notice) -> Option<Source> {
    match notice {
        Notice::First { report, .. } => Some(report.source),
        _ => None,
    }
}

/// The source with most rejections, their number, the number of other sources and the
/// number of their rejections.
fn summary(notice: &Notice) -> Option<(Source, u64, u64, u64)> {
    match *notice {
        Notice::Summary(Summary {
            most,
            more,
            others,
            more_of_others,
            ..
        }) => Some((most, more, others, more_of_others)),
        _ => None,
    }
}

#[test]
fn first_rejection_is_reported_at_once_and_the_rest_in_a_summary() {
    let mut scene = Scene::new(2);
    for _ in 0..5 {
        reject(&scene.limiter, 0);
    }
    let notices = scene.tick();
    let [
        Notice::First {
            report,
            would: false,
            ..
        },
    ] = &notices[..]
    else {
        panic!("{notices:?}");
    };
    assert_eq!((report.source, report.connections), (source(0), 1));
    assert_eq!((report.rejected, report.would_reject), (5, 0));
    assert_eq!(report.rejected_at, 1);
    for _ in 0..2 {
        reject(&scene.limiter, 0);
        reject(&scene.limiter, 1);
    }
    let notices = scene.tick();
    assert_eq!(notices.len(), 1);
    assert_eq!(first(&notices[0]), Some(source(1)));
    assert_eq!(scene.run(57), []);
    let notices = scene.tick();
    let Some(Notice::Summary(end)) = notices.first() else {
        panic!("{notices:?}");
    };
    // 5 and 2 of source 0, 2 of source 1, each less the one in its first line.
    assert_eq!((end.most, end.more), (source(0), 6));
    assert_eq!((end.others, end.more_of_others), (1, 1));
    assert_eq!(end.seconds, INTERVAL);
    assert_eq!(notices.len(), 1);
    // None of them is reported again.
    assert_eq!(scene.run(3 * INTERVAL), []);
}

#[test]
fn steady_attack_has_one_first_line_and_one_summary_an_interval() {
    for start in [0, 1_000, u32::MAX - 100] {
        let mut scene = Scene::at(start, 1);
        let mut notices = Vec::new();
        for _ in 0..10 * INTERVAL {
            reject(&scene.limiter, 0);
            notices.extend(scene.tick());
        }
        let firsts = notices.iter().filter_map(first).count();
        let more: u64 = notices.iter().filter_map(summary).map(|s| s.1).sum();
        assert_eq!(firsts, 10, "from {start}");
        assert_eq!(notices.iter().filter_map(summary).count(), 10);
        // Those after the last summary are not reported yet.
        let rest = (10 * INTERVAL) as usize - firsts - more as usize;
        assert!(rest <= INTERVAL as usize, "{rest}");
        assert!(
            notices
                .iter()
                .filter_map(summary)
                .all(|s| s.0 == source(0) && s.2 == 0)
        );
    }
}

/// After a jump of the clock, the next rejection has a first line again.
#[test]
fn clock_jump_starts_a_new_interval() {
    let mut scene = Scene::new(1);
    reject(&scene.limiter, 0);
    assert_eq!(scene.tick().len(), 1);
    reject(&scene.limiter, 0);
    scene.now += 1_000;
    let notices = scene.tick();
    assert_eq!(notices.iter().filter_map(first).count(), 1);
    assert_eq!(notices.iter().filter_map(summary).count(), 0);
    reject(&scene.limiter, 0);
    assert_eq!(scene.run(59), []);
    let notices = scene.tick();
    assert_eq!(
        notices.iter().filter_map(summary).next(),
        Some((source(0), 1, 0, 0))
    );
}

/// The sources with first lines, in the order of the lines.
fn named(notices: &[Notice]) -> Vec<Source> {
    notices.iter().filter_map(first).collect()
}

#[test]
fn first_lines_are_capped_per_interval() {
    let sources = MAX_FIRST as u32 + 50;
    let mut scene = Scene::new(sources);
    for n in 0..sources {
        for _ in 0..=n {
            reject(&scene.limiter, n);
        }
    }
    // Those with the most rejections, and most first.
    let notices = scene.tick();
    let worst = |count: usize| (0..sources).rev().take(count).map(source);
    assert_eq!(named(&notices), worst(MAX_AT_ONCE).collect::<Vec<_>>());
    assert_eq!(notices.len(), MAX_AT_ONCE);
    // The next ones have their lines at the end of the interval.
    let notices = scene.run(INTERVAL - 1);
    let expected: Vec<Source> = worst(MAX_FIRST).skip(MAX_AT_ONCE).collect();
    assert_eq!(named(&notices), expected);
    assert_eq!(notices.len(), MAX_FIRST - MAX_AT_ONCE + 1);
    let all = u64::from(sources * (sources + 1) / 2) - MAX_FIRST as u64;
    let worst_has = u64::from(sources - 1);
    assert_eq!(
        notices.last().and_then(summary),
        Some((source(sources - 1), worst_has, worst_has, all - worst_has))
    );
    // In the next interval, those without a line so far are first.
    for n in 0..sources {
        reject(&scene.limiter, n);
    }
    let notices = scene.tick();
    let mut named = named(&notices);
    assert_eq!(named.len(), MAX_AT_ONCE);
    named.truncate(50);
    assert_eq!(named, (0..50).rev().map(source).collect::<Vec<_>>());
}

/// A source that begins after all immediate lines were used has one, because it is
/// rejected most.
#[test]
fn worst_source_is_named_even_if_it_begins_late() {
    let sources = MAX_FIRST as u32 + 50;
    let mut scene = Scene::new(sources);
    for n in 1..sources {
        reject(&scene.limiter, n);
    }
    assert_eq!(named(&scene.tick()).len(), MAX_AT_ONCE);
    for _ in 0..3 {
        reject(&scene.limiter, 0);
    }
    assert_eq!(scene.tick(), []);
    let notices = scene.run(INTERVAL);
    assert_eq!(named(&notices)[0], source(0));
    assert_eq!(named(&notices).len(), MAX_FIRST - MAX_AT_ONCE);
    let expected = Some((source(0), 2, 50, 50));
    assert_eq!(notices.iter().find_map(summary), expected);
}

/// The source that a notice reports as back under its limit, its connections and limit.
fn released(notice: &Notice) -> Option<(Source, u32, i32)> {
    match notice {
        Notice::Released { report, limit, .. } => Some((report.source, report.connections, *limit)),
        _ => None,
    }
}

#[test]
fn source_back_under_its_limit_is_reported_once() {
    let mut scene = Scene::new(0);
    scene.limiter.set_limit(3);
    let mut tokens: Vec<Token> = (0..3).map(|_| open(&scene.limiter, 0)).collect();
    reject(&scene.limiter, 0);
    assert_eq!(named(&scene.tick()), [source(0)]);
    // It stays at its limit.
    assert_eq!(scene.run(5), []);
    let mut close = |scene: &Scene| {
        let token = tokens.pop().unwrap();
        scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    };
    close(&scene);
    let notices = scene.tick();
    assert_eq!(notices.len(), 1);
    assert_eq!(released(&notices[0]), Some((source(0), 2, 3)));
    // A rejection without a line of its own is followed by none either.
    let token = open(&scene.limiter, 0);
    reject(&scene.limiter, 0);
    assert_eq!(scene.tick(), []);
    scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    let notices = scene.run(INTERVAL);
    assert_eq!(notices.len(), 1);
    assert_eq!(summary(&notices[0]), Some((source(0), 1, 0, 0)));
    // The next first line is followed by one.
    open(&scene.limiter, 0);
    reject(&scene.limiter, 0);
    assert_eq!(named(&scene.tick()), [source(0)]);
    close(&scene);
    close(&scene);
    let notices = scene.tick();
    assert_eq!(released(&notices[0]), Some((source(0), 1, 3)));
    // Even if no connection is left, nothing more is reported.
    assert_eq!(scene.run(2 * INTERVAL), []);
}

#[test]
fn raised_limit_releases_a_source() {
    for limit in [5, 0] {
        let mut scene = Scene::new(1);
        reject(&scene.limiter, 0);
        assert_eq!(named(&scene.tick()), [source(0)]);
        scene.limiter.set_limit(limit);
        let notices = scene.tick();
        assert_eq!(released(&notices[0]), Some((source(0), 1, limit)));
    }
}

/// The sources that are released after the lines of an interval are used follow in the
/// next interval, even if their slots are gone.
#[test]
fn released_lines_are_capped_per_interval() {
    let sources = MAX_RELEASED as u32 + 30;
    let limiter = Limiter::new(sources, 1, PrefixLengths::DEFAULT).unwrap();
    let tokens: Vec<Token> = (0..sources).map(|n| open(&limiter, n)).collect();
    let mut scene = Scene {
        limiter,
        watch: Watch::default(),
        now: 0,
    };
    let mut lines = 0;
    for _ in 0..2 {
        for n in 0..sources {
            reject(&scene.limiter, n);
        }
        lines += named(&scene.run(INTERVAL + 1)).len();
    }
    assert!(lines >= sources as usize, "{lines}");
    scene.run(INTERVAL);
    for token in tokens {
        scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    let mut all = Vec::new();
    for (seconds, expected) in [(1, MAX_RELEASED), (INTERVAL, 30), (INTERVAL, 0)] {
        let notices = scene.run(seconds);
        let released: Vec<_> = notices.iter().filter_map(released).collect();
        assert_eq!(released.len(), expected);
        all.extend(released.into_iter().map(|(source, ..)| source));
    }
    all.sort();
    assert_eq!(all, (0..sources).map(source).collect::<Vec<_>>());
}

#[test]
fn monitor_mode_reports_rejections_as_would() {
    let mut scene = Scene::new(1);
    scene.limiter.set_mode(Mode::Monitor);
    reject(&scene.limiter, 0);
    reject(&scene.limiter, 0);
    let notices = scene.tick();
    let [
        Notice::First {
            report,
            would: true,
            ..
        },
    ] = &notices[..]
    else {
        panic!("{notices:?}");
    };
    assert_eq!((report.rejected, report.would_reject), (0, 2));
    let notices = scene.run(INTERVAL);
    assert_eq!(
        notices.iter().filter_map(summary).next(),
        Some((source(0), 1, 0, 0))
    );
    scene.limiter.set_mode(Mode::Off);
    assert!(scene.limiter.check(source(0)).is_ok());
    assert_eq!(scene.run(2 * INTERVAL), []);
}

/// A reset clears what was reported. Rejections after it are reported as usual.
#[test]
fn reset_hides_no_rejection() {
    for (before, after) in [(5, 5), (5, 7), (5, 3), (1, 1)] {
        let mut scene = Scene::new(1);
        for _ in 0..before {
            reject(&scene.limiter, 0);
        }
        assert_eq!(scene.tick().len(), 1);
        scene.limiter.reset_stats();
        for _ in 0..after {
            reject(&scene.limiter, 0);
        }
        let notices = scene.run(2 * INTERVAL);
        let firsts = notices.iter().filter_map(first).count() as u64;
        let more: u64 = notices.iter().filter_map(summary).map(|s| s.1 + s.3).sum();
        assert_eq!(
            firsts + more,
            before - 1 + after,
            "{before}, reset, {after}"
        );
    }
}

/// A notice has the mode at the time of the rejection, not at the time of the notice.
#[test]
fn notice_has_the_mode_of_the_rejection() {
    let mut scene = Scene::new(2);
    reject(&scene.limiter, 0);
    scene.limiter.set_mode(Mode::Monitor);
    reject(&scene.limiter, 1);
    let notices = scene.tick();
    let mut would: Vec<_> = notices
        .iter()
        .map(|notice| match notice {
            Notice::First { report, would, .. } => (report.source, *would),
            _ => panic!("{notices:?}"),
        })
        .collect();
    would.sort();
    assert_eq!(would, [(source(0), false), (source(1), true)]);
}

#[test]
fn reset_alone_reports_nothing() {
    let mut scene = Scene::new(1);
    reject(&scene.limiter, 0);
    assert_eq!(scene.tick().len(), 1);
    scene.limiter.reset_stats();
    assert_eq!(scene.run(3 * INTERVAL), []);
}

/// In the tiny table, other sources take the slot of an idle source.
#[test]
fn replaced_source_is_reported_with_all_its_rejections() {
    let mut scene = Scene::new(0);
    let token = open(&scene.limiter, 0);
    for _ in 0..5 {
        reject(&scene.limiter, 0);
    }
    assert_eq!(scene.tick().len(), 1);
    scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    // Others, some of them rejected once, until all slots have been taken.
    let slots = Report::of(&scene.limiter).occupancy().slots as u32;
    let mut firsts = 0;
    let mut others = 0;
    for n in 1..=slots * 4 {
        let token = open(&scene.limiter, n);
        if n.is_multiple_of(slots / 8) {
            reject(&scene.limiter, n);
            others += 1;
            firsts += scene.tick().iter().filter_map(first).count();
        }
        scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    assert_eq!(
        Report::of(&scene.limiter).get(source(0)).rejected,
        0,
        "it was not replaced"
    );
    assert_eq!(firsts, others);
    let notices = scene.run(INTERVAL);
    let found: Vec<_> = notices.iter().filter_map(summary).collect();
    assert_eq!(found, [(source(0), 4, 0, 0)]);
}

/// A source has one first line an interval, even if it moves to another slot.
#[test]
fn returning_source_has_no_second_first_line() {
    let mut scene = Scene::new(0);
    let token = open(&scene.limiter, 0);
    reject(&scene.limiter, 0);
    assert_eq!(scene.tick().len(), 1);
    scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    let slots = Report::of(&scene.limiter).occupancy().slots as u32;
    for n in 1..=slots * 4 {
        let token = open(&scene.limiter, n);
        scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    // Some that stay, so that the source gets another slot.
    for n in 1..=slots / 8 {
        open(&scene.limiter, n);
    }
    open(&scene.limiter, 0);
    reject(&scene.limiter, 0);
    let notices = scene.tick();
    assert_eq!(notices.iter().filter_map(first).count(), 0, "{notices:?}");
    let notices = scene.run(INTERVAL);
    assert_eq!(
        notices.iter().filter_map(summary).next(),
        Some((source(0), 1, 0, 0))
    );
}

/// The source returns to its slot with as many rejections as were reported before.
#[test]
fn source_back_in_its_slot_is_counted_from_zero() {
    let mut scene = Scene::new(0);
    let slots = Report::of(&scene.limiter).occupancy().slots as u32;
    for n in 1..=slots * 4 {
        let token = open(&scene.limiter, n);
        scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    let token = open(&scene.limiter, 0);
    reject(&scene.limiter, 0);
    assert_eq!(scene.tick().len(), 1);
    scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    for n in 1..=slots * 4 {
        let token = open(&scene.limiter, n);
        scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    open(&scene.limiter, 0);
    reject(&scene.limiter, 0);
    let notices = scene.run(INTERVAL);
    let lines = notices.iter().filter_map(first).count() as u64;
    let more: u64 = notices.iter().filter_map(summary).map(|s| s.1 + s.3).sum();
    assert_eq!(lines + more, 1, "{notices:?}");
}

#[test]
fn peaks_below_eight_are_sampled_and_from_eight_on_exact() {
    let mut scene = Scene::new(0);
    scene.limiter.set_limit(0);
    let hold = |scene: &Scene, n, count| -> Vec<Token> {
        (0..count).map(|_| open(&scene.limiter, n)).collect()
    };
    let release = |scene: &Scene, tokens: Vec<Token>| {
        for token in tokens {
            scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    };
    // No tick sampled them.
    for connections in [1, 7] {
        let tokens = hold(&scene, 1, connections);
        release(&scene, tokens);
        assert_eq!(Report::of(&scene.limiter).get(source(1)).peak, 0);
    }
    for connections in [8, 9, 500] {
        let tokens = hold(&scene, 2, connections);
        release(&scene, tokens);
        assert_eq!(Report::of(&scene.limiter).get(source(2)).peak, connections);
    }
    // Fewer connections later do not change the peak.
    let tokens = hold(&scene, 2, 20);
    release(&scene, tokens);
    assert_eq!(Report::of(&scene.limiter).get(source(2)).peak, 500);
    // 7 between two ticks are not sampled, but a report includes the present count.
    let mut tokens = hold(&scene, 3, 5);
    scene.tick();
    tokens.extend(hold(&scene, 3, 2));
    assert_eq!(
        Report::of(&scene.limiter).get(source(3)).peak,
        7,
        "lower than the present count"
    );
    release(&scene, tokens);
    scene.tick();
    assert_eq!(Report::of(&scene.limiter).get(source(3)).peak, 5);
    // A reset sets the peak to the present count.
    let tokens = hold(&scene, 2, 3);
    scene.limiter.reset_stats();
    release(&scene, tokens);
    assert_eq!(Report::of(&scene.limiter).get(source(2)).peak, 3);
    assert_eq!(Report::of(&scene.limiter).get(source(3)).peak, 0);
}

/// With workers in several rows, the peak is of all connections of the source, not of
/// those in one row.
#[test]
fn peaks_are_exact_over_all_rows() {
    let limiter = Limiter::new(100, 0, PrefixLengths::DEFAULT).unwrap();
    let mut tokens = Vec::new();
    for worker in [0, 1, 2] {
        for _ in 0..4 {
            let token = limiter.opened(Worker::new(worker), source(1), 0).unwrap();
            tokens.push(token);
        }
    }
    for token in tokens {
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    assert_eq!(Report::of(&limiter).get(source(1)).peak, 12);
}

/// When the clock wraps around, the times may be off by a second.
#[test]
fn first_and_last_seen_survive_clock_wraparound() {
    for start in [
        0,
        5_000,
        u32::MAX - 13,
        u32::MAX - 2,
        u32::MAX - 1,
        u32::MAX,
    ] {
        let mut scene = Scene::at(start, 0);
        let slack = u32::from(start > 5_000);
        let seen = |scene: &Scene, first: u32, last: u32| {
            let report = Report::of(&scene.limiter).get(source(1));
            // The time of the last tick.
            let now = scene.now.wrapping_sub(1);
            for (kept, ago) in [(report.first_seen, first), (report.last_seen, last)] {
                let since = seconds_since(kept, now).expect("seen");
                assert!(since.abs_diff(ago) <= slack, "{start}: {since}");
            }
        };
        let token = open(&scene.limiter, 1);
        let report = Report::of(&scene.limiter).get(source(1));
        let never = [report.first_seen, report.last_seen].map(|kept| seconds_since(kept, 7));
        assert_eq!(never, [None, None]);
        scene.tick();
        seen(&scene, 0, 0);
        scene.run(10);
        seen(&scene, 10, 0);
        scene.limiter.closed(Worker::ACCEPTOR, token).unwrap();
        scene.run(20);
        seen(&scene, 30, 20);
        scene.limiter.reset_stats();
        seen(&scene, 30, 20);
        // The source returns to its slot.
        open(&scene.limiter, 1);
        scene.tick();
        seen(&scene, 31, 0);
    }
}

/// Opens a connection of one source after the other until one finds no slot. Returns
/// that one.
fn fill(limiter: &Limiter) -> u32 {
    (1_000..)
        .find(|n| limiter.opened(Worker::ACCEPTOR, source(*n), 0).is_err())
        .unwrap()
}

#[test]
fn untracked_connections_are_reported_at_the_end_of_the_interval() {
    let mut scene = Scene::new(0);
    let untracked = |limiter: &Limiter, times| {
        for _ in 0..times {
            assert!(limiter.check_untracked(source(1), &[]).is_ok());
            limiter.note(Worker::ACCEPTOR, Fault::Untracked);
        }
    };
    untracked(&scene.limiter, 5);
    let admitted = |admitted| Notice::Untracked {
        admitted,
        rejected: 0,
    };
    assert_eq!(scene.run(INTERVAL), [admitted(5)]);
    assert_eq!(scene.run(2 * INTERVAL), []);
    scene.limiter.set_on_full(OnFull::Reject);
    for _ in 0..3 {
        let rejection = scene.limiter.check_untracked(source(1), &[]).unwrap_err();
        assert!(scene.limiter.rejected(Worker::ACCEPTOR, rejection));
    }
    let rejected = Notice::Untracked {
        admitted: 0,
        rejected: 3,
    };
    assert_eq!(scene.run(INTERVAL), [rejected]);
    // A full table is reported separately, and a reset hides nothing.
    scene.limiter.set_on_full(OnFull::Admit);
    fill(&scene.limiter);
    untracked(&scene.limiter, 2);
    scene.limiter.reset_stats();
    untracked(&scene.limiter, 4);
    let outside = fill(&scene.limiter);
    assert!(
        scene
            .limiter
            .opened(Worker::ACCEPTOR, source(outside), 0)
            .is_err()
    );
    let full = Notice::Full {
        admitted: 2,
        rejected: 0,
    };
    assert_eq!(scene.run(INTERVAL), [full, admitted(4)]);
}

#[test]
fn stale_tokens_are_reported_at_the_end_of_the_interval() {
    let mut scene = Scene::new(0);
    let release_twice = |limiter: &Limiter| {
        let token = limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
        limiter.closed(Worker::ACCEPTOR, token).unwrap_err();
    };
    release_twice(&scene.limiter);
    release_twice(&scene.limiter);
    assert_eq!(scene.run(INTERVAL), [Notice::Stale { releases: 2 }]);
    assert_eq!(scene.run(2 * INTERVAL), []);
    // A reset hides nothing.
    release_twice(&scene.limiter);
    scene.limiter.reset_stats();
    release_twice(&scene.limiter);
    assert_eq!(scene.run(INTERVAL), [Notice::Stale { releases: 1 }]);
}

#[test]
fn full_table_is_reported_at_the_end_of_the_interval() {
    let mut scene = Scene::new(0);
    let outside = fill(&scene.limiter);
    for _ in 0..4 {
        assert!(scene.limiter.check(source(outside)).is_ok());
        assert!(
            scene
                .limiter
                .opened(Worker::ACCEPTOR, source(outside), 0)
                .is_err()
        );
    }
    let notices = scene.run(INTERVAL);
    let admitted = |admitted| Notice::Full {
        admitted,
        rejected: 0,
    };
    let rejected = |rejected| Notice::Full {
        admitted: 0,
        rejected,
    };
    assert_eq!(notices, [admitted(5)]);
    scene.limiter.set_on_full(OnFull::Reject);
    for _ in 0..3 {
        reject(&scene.limiter, outside);
    }
    let notices = scene.run(INTERVAL);
    assert_eq!(notices, [rejected(3)]);
    assert_eq!(scene.run(2 * INTERVAL), []);
    // In other modes the connections are admitted, whatever the policy.
    for mode in [Mode::Monitor, Mode::Off] {
        scene.limiter.set_mode(mode);
        if let Err(rejection) = scene.limiter.check(source(outside)) {
            assert!(!scene.limiter.rejected(Worker::ACCEPTOR, rejection));
        }
        assert!(
            scene
                .limiter
                .opened(Worker::ACCEPTOR, source(outside), 0)
                .is_err()
        );
        assert_eq!(scene.run(INTERVAL), [admitted(1)], "{mode:?}");
    }
    scene.limiter.set_mode(Mode::Enforce);
    // A reset hides no rejection.
    for (before, after) in [(4, 2), (4, 6), (4, 4)] {
        for _ in 0..before {
            reject(&scene.limiter, outside);
        }
        assert_eq!(scene.run(INTERVAL), [rejected(before)]);
        scene.limiter.reset_stats();
        for _ in 0..after {
            reject(&scene.limiter, outside);
        }
        assert_eq!(scene.run(INTERVAL), [rejected(after)]);
    }
}

#[test]
fn one_tick_covers_a_large_table() {
    let limiter = Limiter::new(400_000, 1, PrefixLengths::DEFAULT).unwrap();
    let mut watch = Watch::default();
    for n in 0..50 {
        open(&limiter, n);
        reject(&limiter, n);
    }
    let mut notices = Vec::new();
    watch.tick(&limiter, 0, INTERVAL, &mut |notice| notices.push(notice));
    let mut sources: Vec<_> = notices.iter().filter_map(first).collect();
    sources.sort();
    assert_eq!(sources, (0..50).map(source).collect::<Vec<_>>());
}

#[test]
fn each_tick_publishes_sources_and_connections() {
    let limiter = Limiter::new(100, 0, PrefixLengths::DEFAULT).unwrap();
    let mut watch = Watch::default();
    let gauges = || {
        let last = Report::of(&limiter).last_occupancy();
        assert_eq!(last.slots, Report::of(&limiter).occupancy().slots);
        (last.sources, last.connections)
    };
    let mut tokens = Vec::new();
    for worker in [0, 0, 1, 2] {
        for n in 1..=3 {
            let token = limiter.opened(Worker::new(worker), source(n), 0).unwrap();
            tokens.push(token);
        }
    }
    assert_eq!(gauges(), (0, 0), "before the first tick");
    // The gauges are published before the host gets the notices, which may take long.
    limiter.set_limit(1);
    reject(&limiter, 1);
    let mut notices = 0;
    watch.tick(&limiter, 0, INTERVAL, &mut |_| {
        notices += 1;
        assert_eq!(gauges(), (3, 12));
    });
    assert_eq!(notices, 1);
    for token in tokens.drain(..9) {
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    limiter.reset_stats();
    assert_eq!(gauges(), (3, 12), "until the next tick");
    watch.tick(&limiter, 1, INTERVAL, &mut |_| {});
    assert_eq!(gauges(), (3, 3));
    for token in tokens {
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    watch.tick(&limiter, 2, INTERVAL, &mut |_| {});
    assert_eq!(gauges(), (0, 0));
}

/// The gauges of how near the sources are to their limits, with limits from rules.
#[test]
fn each_tick_publishes_how_near_the_limits_are() {
    let limiter = Limiter::new(1_000, 10, PrefixLengths::DEFAULT).unwrap();
    let mut watch = Watch::default();
    let mut now = 0;
    let mut nearness = |limiter: &Limiter| {
        watch.tick(limiter, now, INTERVAL, &mut |_| {});
        now += 1;
        let Nearness {
            busiest,
            highest_share,
            near,
        } = Nearness::last(limiter);
        (busiest, highest_share, near)
    };
    assert_eq!(nearness(&limiter), (0, 0, 0));
    let open = |n, times| -> Vec<Token> { (0..times).map(|_| open(&limiter, n)).collect() };
    let _some = (open(1, 7), open(2, 3));
    assert_eq!(nearness(&limiter), (7, 70, 0));
    let eighth = open(1, 1);
    assert_eq!(nearness(&limiter), (8, 80, 1));
    let prefix = |n| Prefix::from(source(n));
    // The busiest source has the highest limit, and another one is nearer to its own.
    limiter
        .set_rule(prefix(1), Terms::of_limit(100), None)
        .unwrap();
    limiter
        .set_rule(prefix(2), Terms::of_limit(4), None)
        .unwrap();
    assert_eq!(nearness(&limiter), (8, 75, 0));
    limiter
        .set_rule(prefix(2), Terms::of_limit(3), None)
        .unwrap();
    assert_eq!(nearness(&limiter), (8, 100, 1));
    // A lowered limit is exceeded.
    limiter
        .set_rule(prefix(2), Terms::of_limit(1), None)
        .unwrap();
    assert_eq!(nearness(&limiter), (8, 300, 1));
    limiter
        .set_rule(prefix(2), Terms::of_limit(UNLIMITED), None)
        .unwrap();
    assert_eq!(nearness(&limiter), (8, 8, 0));
    limiter.remove_rule(prefix(1), None).unwrap();
    limiter.remove_rule(prefix(2), None).unwrap();
    limiter.set_limit(0);
    assert_eq!(nearness(&limiter), (8, 0, 0));
    for token in eighth {
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    assert_eq!(nearness(&limiter), (7, 0, 0));
}

#[test]
fn shorter_interval_applies_at_once() {
    let mut scene = Scene::new(1);
    let mut notices = Vec::new();
    for now in 0..20 {
        reject(&scene.limiter, 0);
        let mut report = |notice| notices.push(notice);
        scene.watch.tick(&scene.limiter, 100 + now, 1, &mut report);
    }
    assert_eq!(notices.iter().filter_map(first).count(), 20, "one a second");
}

/// Each rejection is reported once, even if a reset happens during the tick.
#[test]
fn reset_during_a_tick_reports_nothing_twice() {
    const SOURCES: u32 = 3_000;
    const ROUNDS: u32 = 40;
    let mut scene = Scene::new(SOURCES);
    let mut notices = Vec::new();
    for _ in 0..ROUNDS {
        for n in 0..SOURCES {
            reject(&scene.limiter, n);
        }
        notices.extend(scene.tick());
        let limiter = &scene.limiter;
        let (watch, now) = (&mut scene.watch, scene.now);
        std::thread::scope(|threads| {
            threads.spawn(|| limiter.reset_stats());
            watch.tick(limiter, now, INTERVAL, &mut |notice| notices.push(notice));
        });
        scene.now += 1;
    }
    notices.extend(scene.run(INTERVAL));
    let firsts = notices.iter().filter_map(first).count() as u64;
    let summed = notices.iter().filter_map(summary);
    let summed: u64 = summed.map(|(_, most, _, others)| most + others).sum();
    assert_eq!(firsts + summed, u64::from(SOURCES * ROUNDS));
}

/// More than 10 rejections in a second, for 5 s.
const THRESHOLD: FloodThreshold = FloodThreshold {
    per_second: 10,
    seconds: 5,
};

/// Rejects a source this often in a second. Returns whether it is listed then, and the
/// rejections and the mode that a line about it says.
fn flood(scene: &mut Scene, n: u32, times: u32) -> (bool, Option<(u32, bool)>) {
    for _ in 0..times {
        reject(&scene.limiter, n);
    }
    let line = scene.tick().iter().find_map(|notice| match notice {
        Notice::Flood {
            report,
            rejections,
            would,
            ..
        } if report.source == source(n) => Some((*rejections, *would)),
        _ => None,
    });
    let (_, mut flooding) = scene.watch.listed();
    (flooding.any(|one| one == source(n)), line)
}

#[test]
fn source_over_the_threshold_is_listed_for_its_time() {
    for now in [0, u32::MAX - 3] {
        let mut scene = Scene::at(now, 2);
        // Without a threshold nothing floods.
        assert_eq!(flood(&mut scene, 0, 1000), (false, None));
        scene.watch.set_flood_threshold(Some(THRESHOLD));
        // What it did before does not count.
        assert_eq!(flood(&mut scene, 0, 1), (false, None));
        assert_eq!(flood(&mut scene, 0, 10), (false, None));
        assert_eq!(flood(&mut scene, 0, 11), (true, Some((11, false))));
        for _ in 0..4 {
            assert_eq!(flood(&mut scene, 0, 0), (true, None));
        }
        assert_eq!(flood(&mut scene, 0, 0), (false, None));
        // Again, after a reset of its numbers.
        scene.limiter.reset_stats();
        assert_eq!(flood(&mut scene, 0, 12), (true, Some((12, false))));
        // Another source, from its first second on.
        assert_eq!(flood(&mut scene, 1, 11), (true, Some((11, false))));
        let floods = scene
            .limiter
            .counters(Report::of(&scene.limiter).occupancy());
        assert_eq!((floods.shield_floods, floods.shield_would_list), (2, 0));
    }
}

#[test]
fn flood_in_monitor_mode_would_be_listed_and_exempt_sources_do_not_flood() {
    let mut scene = Scene::new(2);
    scene.watch.set_flood_threshold(Some(THRESHOLD));
    scene.tick();
    scene.limiter.set_mode(Mode::Monitor);
    let (_, line) = flood(&mut scene, 0, 20);
    assert_eq!(line, Some((20, true)));
    let exempt = Terms {
        exempt: true,
        ..Terms::of_limit(1)
    };
    scene.limiter.set_mode(Mode::Enforce);
    let prefix = Prefix::parse("10.0.0.1", PrefixLengths::DEFAULT).unwrap();
    scene.limiter.set_rule(prefix, exempt, None).unwrap();
    assert_eq!(flood(&mut scene, 1, 1000), (false, None));
    let numbers = scene
        .limiter
        .counters(Report::of(&scene.limiter).occupancy());
    assert_eq!((numbers.shield_floods, numbers.shield_would_list), (0, 1));
}

/// Also if the flood is on another listener, or if a longer rule of that listener has no such
/// word.
#[test]
fn sources_that_a_rule_trusts_or_spares_on_a_listener_do_not_flood() {
    const SPARED: [&str; 4] = [
        "10.0.0.1 = 1 trusted",
        "10.0.0.1 = 1 exempt listener=192.0.2.1:5060",
        "10.0.0.0/24 = 1 trusted listener=192.0.2.1:5060\n10.0.0.1 = 1 listener=192.0.2.1:5060",
        "10.0.0.0/8 = unlimited listener=192.0.2.2:5060",
    ];
    for (rules, floods) in SPARED
        .map(|rules| (rules, false))
        .into_iter()
        .chain([("10.0.0.1 = 1 listener=192.0.2.1:5060", true)])
    {
        let mut scene = Scene::new(2);
        scene.watch.set_flood_threshold(Some(THRESHOLD));
        scene.tick();
        load_rules(&scene.limiter, &rules.lines().collect::<Vec<_>>());
        let (listed, line) = flood(&mut scene, 1, 1000);
        assert_eq!((listed, line.is_some()), (floods, floods), "{rules}");
    }
}

#[test]
fn lines_about_floods_are_bounded() {
    let sources = MAX_FLOOD_LINES as u32 + 30;
    let mut scene = Scene::new(sources);
    scene.watch.set_flood_threshold(Some(THRESHOLD));
    scene.tick();
    for n in 0..sources {
        for _ in 0..11 {
            reject(&scene.limiter, n);
        }
    }
    let is_flood = |notice: &&Notice| matches!(notice, Notice::Flood { .. });
    assert_eq!(
        scene.tick().iter().filter(is_flood).count(),
        MAX_FLOOD_LINES
    );
    let (_, flooding) = scene.watch.listed();
    assert_eq!(flooding.count(), sources as usize);
}
