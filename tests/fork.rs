// SPDX-License-Identifier: GPL-2.0-or-later
//! Many processes on one table, made by `fork` as Kamailio makes its workers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tcp_conn_limit::limiter::{Limiter, Token, Worker};
use tcp_conn_limit::observe::report::Group;
use tcp_conn_limit::observe::watch::{Notice, Watch};
use tcp_conn_limit::policy::rules::{Origin, RuleSet};
use tcp_conn_limit::source::{PrefixLengths, Source};

mod processes;
mod worker;

use processes::{Child, join_all, shared, source};
use worker::keep_within;

const WORKERS: u32 = 8;

/// Opens and closes at random over `sources` sources, then closes all.
fn hammer(limiter: &Limiter, worker: u32, sources: u32, rounds: u32) {
    let me = Worker::new(worker);
    let mut random = SmallRng::seed_from_u64(u64::from(worker));
    let mut live: Vec<(Source, Token)> = Vec::new();
    for _ in 0..rounds {
        let source = source(random.random_range(0..sources));
        if live.len() < 100 && random.random_bool(0.5) {
            live.push((source, limiter.opened(me, source, 0).unwrap()));
        } else if !live.is_empty() {
            let (_, token) = live.swap_remove(random.random_range(0..live.len()));
            limiter.closed(me, token).unwrap();
        }
        let own = live.iter().filter(|(s, _)| *s == source).count();
        assert!(limiter.get(source).connections as usize >= own);
    }
    for (_, token) in live {
        limiter.closed(me, token).unwrap();
    }
}

fn hammered_by_all(sources: u32) {
    let limiter = Limiter::new(WORKERS * 100, 0, PrefixLengths::DEFAULT).unwrap();
    let hold = limiter.opened(Worker::ACCEPTOR, source(0), 0).unwrap();
    let children = (0..WORKERS)
        .map(|worker| Child::start(|| hammer(&limiter, worker, sources, 50_000)))
        .collect();
    join_all(children);
    let left: Vec<_> = limiter.sources().collect();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].source, left[0].connections), (source(0), 1));
    limiter.closed(Worker::ACCEPTOR, hold).unwrap();
    assert_eq!(limiter.occupancy().connections, 0);
    assert_eq!(limiter.totals().stale_token, 0);
}

/// All meet in the same few sources: claim against claim, claim against release.
fn all_counts_return_to_zero_few_sources() {
    hammered_by_all(3);
}

/// Sources are replaced all the time: replacement against look-up.
fn all_counts_return_to_zero_many_sources() {
    hammered_by_all(100_000);
}

/// Never more than the limit, whoever opens and whoever closes.
fn the_limit_holds_among_processes() {
    const LIMIT: i32 = 5;
    const SOURCES: usize = 4;
    let live: &[AtomicI32; SOURCES] = shared();
    let admitted: &AtomicU32 = shared();
    let limiter = Limiter::new(1_000, LIMIT, PrefixLengths::DEFAULT).unwrap();
    let children = (0..WORKERS)
        .map(|worker| {
            Child::start(|| {
                let own = keep_within(&limiter, worker, LIMIT, live, source, 100_000);
                admitted.fetch_add(own, Ordering::Relaxed);
            })
        })
        .collect();
    join_all(children);
    assert!(admitted.load(Ordering::Relaxed) > WORKERS * 100);
    assert_eq!(limiter.occupancy().connections, 0);
}

/// One acceptor, the others close, as in Kamailio: exactly the limit is admitted,
/// and a place that another process freed is free at once.
fn closed_from_another_process() {
    const LIMIT: i32 = 10;
    let limiter = &Limiter::new(100, LIMIT, PrefixLengths::DEFAULT).unwrap();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    // gives its end away, so that an end of the child is seen at ours
    let closer = Child::start(move || {
        let mut bits = [0; 8];
        while theirs.read_exact(&mut bits).is_ok() {
            let token = Token::from_bits(u64::from_le_bytes(bits)).unwrap();
            let closed = limiter.closed(Worker::new(3), token).is_ok();
            theirs.write_all(&[u8::from(closed)]).unwrap();
        }
    });
    let source = source(1);
    let mut live: Vec<Token> = (0..LIMIT)
        .map(|_| {
            assert!(limiter.check(source).is_ok());
            limiter.opened(Worker::ACCEPTOR, source, 0).unwrap()
        })
        .collect();
    for _ in 0..1_000 {
        assert!(limiter.check(source).is_err());
        let token = live.remove(0);
        ours.write_all(&token.to_bits().to_le_bytes()).unwrap();
        let mut closed = [0];
        ours.read_exact(&mut closed).unwrap();
        assert_eq!(closed, [1]);
        assert!(limiter.check(source).is_ok());
        live.push(limiter.opened(Worker::ACCEPTOR, source, 0).unwrap());
    }
    ours.shutdown(std::net::Shutdown::Both).unwrap();
    closer.join();
    assert_eq!(limiter.get(source).connections, LIMIT as u32);
}

/// Networks 10.0.N.0/24 with a source each. Those with an even number may always have
/// one more connection than [`HELD`], the others never, whichever set is in force:
/// who mixes two sets, or takes the default, is wrong about some.
const NETWORKS: u32 = 200;
const HELD: u32 = 2;
const DEFAULT: i32 = 1;

fn of_network(n: u32) -> Source {
    source(n << 8 | 1)
}

fn set(texts: impl Iterator<Item = String>) -> RuleSet {
    let texts: Vec<String> = texts.collect();
    let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
    for (text, number) in texts.iter().zip(1..) {
        builder.add(Origin::Modparam(number), text).unwrap();
    }
    builder.build().unwrap()
}

/// `[even, odd]` networks' limits, in two sets; in the second one all numbers are
/// shifted by one and some networks have a shorter prefix's rule.
const LIMITS: [[i32; 2]; 2] = [[100, 1], [200, 2]];

fn two_sets() -> [RuleSet; 2] {
    let rule = |n: u32, of: usize| format!("10.0.{n}.0/24={}", LIMITS[of][n as usize % 2]);
    let first = set((0..NETWORKS).map(|n| rule(n, 0)));
    let other = ["9.0.0.0/8=1".to_owned(), "10.0.0.0/16=unlimited".to_owned()];
    let second = (0..NETWORKS).filter(|n| n % 14 != 0).map(|n| rule(n, 1));
    [first, set(other.into_iter().chain(second))]
}

fn ready(limiter: &Limiter, sets: &[RuleSet; 2]) {
    for n in 0..NETWORKS {
        for _ in 0..HELD {
            limiter.opened(Worker::ACCEPTOR, of_network(n), 0).unwrap();
        }
    }
    limiter.set_rules(&sets[0]).unwrap();
}

/// Asks for one source after the other until `stop`.
fn ask(limiter: &Limiter, worker: u32, stop: &AtomicBool) {
    let me = Worker::new(worker);
    let mut random = SmallRng::seed_from_u64(u64::from(worker));
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) || asked < 1_000 {
        let n = random.random_range(0..NETWORKS);
        let source = of_network(n);
        let refused = limiter.check(source);
        assert_eq!(refused.is_err(), n % 2 == 1, "network {n}");
        if let Err(rejection) = refused {
            assert!(limiter.rejected(me, rejection));
        }
        let (rule, limit) = limiter.rule_of(source);
        let rule = rule.map(|key| key.to_string()).unwrap_or_default();
        let own = format!("10.0.{n}.0/24");
        let possible = [
            (own.as_str(), LIMITS[0][n as usize % 2]),
            (own.as_str(), LIMITS[1][n as usize % 2]),
            ("10.0.0.0/16", 0),
        ];
        let possible = if n % 14 == 0 {
            &possible[..]
        } else {
            &possible[..2]
        };
        assert!(
            possible.contains(&(&rule, limit)),
            "network {n}: {rule} {limit}"
        );
        asked += 1;
    }
}

/// Rules as a report has them: prefix and limit.
fn reported(limiter: &Limiter) -> Vec<(String, i32)> {
    let rule = |group: &Group| group.rule.map(|rule| (rule.key.to_string(), rule.limit));
    limiter.groups().unwrap().iter().filter_map(rule).collect()
}

fn listed(set: &RuleSet) -> Vec<(String, i32)> {
    let rules = set.rules().iter();
    rules
        .map(|rule| (rule.key.to_string(), rule.limit))
        .collect()
}

fn is_one_of(limiter: &Limiter, sets: &[RuleSet; 2]) -> bool {
    let reported = reported(limiter);
    sets.iter().any(|set| listed(set) == reported)
}

/// Loads one set after the other. Returns how often it could.
fn reload(limiter: &Limiter, sets: &[RuleSet], rounds: usize) -> u32 {
    let set = |round: usize| &sets[round % sets.len()];
    let loaded = (0..rounds).filter(|round| limiter.set_rules(set(*round)).is_ok());
    loaded.count() as u32
}

/// Who asks while rules change goes by the old set or the new one.
fn rules_change_as_a_whole() {
    const ROUNDS: usize = 5_000;
    let (stop, loaded): (&AtomicBool, &AtomicU32) = (shared(), shared());
    let limiter = Limiter::new(10_000, DEFAULT, PrefixLengths::DEFAULT).unwrap();
    let sets = two_sets();
    ready(&limiter, &sets);
    let mut children: Vec<_> = (0..3)
        .map(|worker| Child::start(|| ask(&limiter, worker, stop)))
        .collect();
    children.push(Child::start(|| {
        while !stop.load(Ordering::Relaxed) {
            assert!(is_one_of(&limiter, &sets));
        }
    }));
    Child::start(|| {
        loaded.store(reload(&limiter, &sets, ROUNDS), Ordering::Relaxed);
    })
    .join();
    stop.store(true, Ordering::Relaxed);
    join_all(children);
    assert_eq!(
        loaded.load(Ordering::Relaxed),
        ROUNDS as u32,
        "nobody else loads"
    );
    assert_eq!(limiter.rules_loaded(), ROUNDS as u32 + 1);
    assert!(is_one_of(&limiter, &sets));
}

/// Two that load at once: one is told to try again, or one comes after the other.
fn two_processes_load_rules() {
    const ROUNDS: u32 = 2_000;
    let (stop, busy): (&AtomicBool, &AtomicU32) = (shared(), shared());
    let limiter = &Limiter::new(10_000, DEFAULT, PrefixLengths::DEFAULT).unwrap();
    let sets = &two_sets();
    ready(limiter, sets);
    let readers = (0..2)
        .map(|worker| Child::start(move || ask(limiter, worker, stop)))
        .collect();
    let writers = (0..2)
        .map(|first| {
            Child::start(move || {
                let mut loaded = 0;
                while loaded < ROUNDS {
                    let now = reload(limiter, &sets[first..=first], 1);
                    loaded += now;
                    busy.fetch_add(1 - now, Ordering::Relaxed);
                }
            })
        })
        .collect();
    join_all(writers);
    stop.store(true, Ordering::Relaxed);
    join_all(readers);
    assert_eq!(limiter.rules_loaded(), 2 * ROUNDS + 1, "all that succeeded");
    assert!(busy.load(Ordering::Relaxed) > 0, "they never met");
    assert!(is_one_of(limiter, sets));
}

/// A process that is killed while it loads rules leaves the old ones or the new
/// ones in force, and the next one can load.
fn a_writer_is_killed() {
    let stop: &AtomicBool = shared();
    let limiter = Limiter::new(10_000, DEFAULT, PrefixLengths::DEFAULT).unwrap();
    let sets = two_sets();
    ready(&limiter, &sets);
    let readers = (0..2)
        .map(|worker| Child::start(|| ask(&limiter, worker, stop)))
        .collect();
    let mut random = SmallRng::seed_from_u64(1);
    for round in 0..150 {
        let writer = Child::start(|| {
            reload(&limiter, &sets, usize::MAX);
        });
        std::thread::sleep(Duration::from_micros(random.random_range(0..3_000)));
        writer.kill();
        // a signal takes its time
        let killed = Instant::now();
        while let Err(busy) = limiter.set_rules(&sets[round % 2]) {
            assert!(
                killed.elapsed() < Duration::from_secs(60),
                "{round}: {busy}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(reported(&limiter), listed(&sets[round % 2]));
    }
    stop.store(true, Ordering::Relaxed);
    join_all(readers);
}

/// A watch in a process of its own, which ticks until it is told to stop, and once
/// more.
fn watching(limiter: &Limiter, interval: u32, stop: &AtomicBool, mut tell: impl FnMut(Notice)) {
    let mut watch = Watch::default();
    let mut last = false;
    for now in 0.. {
        watch.tick(limiter, now, interval, &mut tell);
        if last {
            break;
        }
        last = stop.load(Ordering::Acquire);
    }
}

/// Sources come and go and are sampled meanwhile: each is under its own rule. Who
/// samples is killed now and then.
fn a_place_changes_hands_under_the_watch() {
    let stop: &AtomicBool = shared();
    let limiter = Limiter::new(1, 2, PrefixLengths::DEFAULT).unwrap();
    let own = (0..=255).step_by(2).map(|n| format!("10.0.0.{n}=1"));
    limiter.set_rules(&set(own)).unwrap();
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..100 {
        // killed where it is dropped
        let _watches = [(); 2].map(|()| Child::start(|| watching(&limiter, 1, stop, |_| {})));
        for _ in 0..10_000 {
            let n = random.random_range(0..256);
            let token = limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
            assert_eq!(limiter.check(source(n)).is_err(), n % 2 == 0, "{n}");
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    }
}

/// However fast they come: each rejection is told in a line of its own or counted in
/// a summary.
fn every_rejection_is_told() {
    const SOURCES: u32 = 300;
    let (stop, told): (&AtomicBool, &AtomicU64) = (shared(), shared());
    let limiter = Limiter::new(1_000, 1, PrefixLengths::DEFAULT).unwrap();
    for n in 0..SOURCES {
        limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
    }
    let watch = Child::start(|| {
        watching(&limiter, 1, stop, |notice| {
            let lines = match notice {
                Notice::First { .. } => 1,
                Notice::Summary(summary) => summary.more + summary.more_of_others,
                Notice::Full { .. } | Notice::Untracked { .. } => panic!("{notice:?}"),
            };
            told.fetch_add(lines, Ordering::Relaxed);
        });
    });
    let acceptors = (0..3)
        .map(|worker| {
            let limiter = &limiter;
            Child::start(move || {
                let mut random = SmallRng::seed_from_u64(u64::from(worker));
                for _ in 0..100_000 {
                    let n = random.random_range(0..SOURCES);
                    let rejection = limiter.check(source(n)).unwrap_err();
                    limiter.rejected(Worker::new(worker), rejection);
                }
            })
        })
        .collect();
    join_all(acceptors);
    stop.store(true, Ordering::Release);
    watch.join();
    assert_eq!(limiter.totals().rejected, 300_000);
    assert_eq!(told.load(Ordering::Relaxed), 300_000);
    assert_eq!(limiter.groups().unwrap()[0].rejected, 300_000);
}

/// Statistics begin anew while they are counted, by several at once.
fn statistics_are_reset_among_processes() {
    const REJECTIONS: u64 = 50_000;
    let stop: &AtomicBool = shared();
    let limiter = Limiter::new(100, 1, PrefixLengths::DEFAULT).unwrap();
    limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    let reject = |worker: u32| {
        let rejection = limiter.check(source(1)).unwrap_err();
        limiter.rejected(Worker::new(worker), rejection);
    };
    let acceptors = (0..2)
        .map(|worker| Child::start(|| (0..REJECTIONS).for_each(|_| reject(worker))))
        .collect();
    let resetting = (0..2)
        .map(|_| {
            Child::start(|| {
                while !stop.load(Ordering::Relaxed) {
                    limiter.reset_stats();
                    assert!(limiter.totals().rejected <= 2 * REJECTIONS);
                    assert_eq!(limiter.get(source(1)).connections, 1);
                }
            })
        })
        .collect();
    join_all(acceptors);
    stop.store(true, Ordering::Relaxed);
    join_all(resetting);
    limiter.reset_stats();
    (0..7).for_each(|_| reject(0));
    assert_eq!(limiter.totals().rejected, 7);
    assert_eq!(limiter.get(source(1)).rejected, 7);
    assert_eq!(limiter.groups().unwrap()[0].rejected, 7);
}

fn main() {
    processes::run(&[
        (
            "all_counts_return_to_zero_few_sources",
            all_counts_return_to_zero_few_sources,
        ),
        (
            "all_counts_return_to_zero_many_sources",
            all_counts_return_to_zero_many_sources,
        ),
        (
            "the_limit_holds_among_processes",
            the_limit_holds_among_processes,
        ),
        ("closed_from_another_process", closed_from_another_process),
        ("rules_change_as_a_whole", rules_change_as_a_whole),
        ("two_processes_load_rules", two_processes_load_rules),
        ("a_writer_is_killed", a_writer_is_killed),
        (
            "a_place_changes_hands_under_the_watch",
            a_place_changes_hands_under_the_watch,
        ),
        ("every_rejection_is_told", every_rejection_is_told),
        (
            "statistics_are_reset_among_processes",
            statistics_are_reset_among_processes,
        ),
    ]);
}
