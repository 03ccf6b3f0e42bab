// SPDX-License-Identifier: GPL-2.0-or-later
//! Many processes on one table, forked as Kamailio forks its workers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::engine::{keep_within, open_and_close, rules, source};
use support::processes::{self, Child, join_all, shared};
use support::wait::until;
use tcp_conn_limit::limiter::{
    ConnectionToken, Facts, Limiter, NotConnected, NotCounted, Token, TrustError, Worker,
};
use tcp_conn_limit::observe::notices::Notice;
use tcp_conn_limit::observe::report::{Group, Report};
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::rules::RuleSet;
use tcp_conn_limit::source::{NetworkLengths, PrefixLengths, Source};

const WORKERS: u32 = 8;

/// Opens and closes connections of `sources` sources at random, then closes them all.
fn use_table(limiter: &Limiter, worker: u32, sources: u32) {
    for token in open_and_close(limiter, worker, source, sources, 50_000) {
        limiter.closed(Worker::new(worker), token).unwrap();
    }
}

fn used_by_all(sources: u32) {
    let limiter = Limiter::new(WORKERS * 100, 0, PrefixLengths::DEFAULT).unwrap();
    let hold = limiter.opened(Worker::ACCEPTOR, source(0), 0).unwrap();
    let children = (0..WORKERS)
        .map(|worker| Child::start(|| use_table(&limiter, worker, sources)))
        .collect();
    join_all(children);
    let left: Vec<_> = Report::of(&limiter).sources().collect();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].source, left[0].connections), (source(0), 1));
    limiter.closed(Worker::ACCEPTOR, hold).unwrap();
    assert_eq!(Report::of(&limiter).occupancy().connections, 0);
    assert_eq!(limiter.totals().stale_token, 0);
}

/// All processes use the same few sources: claim against claim, claim against release.
fn all_counts_return_to_zero_few_sources() {
    used_by_all(3);
}

/// Sources replace each other all the time: replacement against look-up.
fn all_counts_return_to_zero_many_sources() {
    used_by_all(100_000);
}

/// A source never exceeds the limit, whichever processes open and close.
fn limit_holds_among_processes() {
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
    assert_eq!(Report::of(&limiter).occupancy().connections, 0);
}

/// Sources of each network, networks, and the limit of a network, which is below those of its
/// sources together.
const OF_A_NETWORK: usize = 4;
const SCOPED_NETWORKS: usize = 2;
const NETWORK_LIMIT: i32 = 12;

/// Descriptors of each process.
const DESCRIPTORS: usize = 16;

/// The memory that processes with networks and trust share.
struct Scoped {
    /// The open connections, increased after one was counted and decreased before it is released.
    of_sources: [AtomicI32; OF_A_NETWORK * SCOPED_NETWORKS],
    of_networks: [AtomicI32; SCOPED_NETWORKS],
    /// The token of each descriptor, which may be closed by now.
    tokens: [AtomicU64; DESCRIPTORS * WORKERS as usize],
    admitted: AtomicU32,
    over_network: AtomicU32,
    trusted: AtomicU32,
}

impl Scoped {
    /// Opens and closes its own connections, and trusts those of any process and takes that
    /// back, at random.
    fn work(&self, limiter: &Limiter, worker: u32, limit: i32) {
        let me = Worker::new(worker);
        let mut random = SmallRng::seed_from_u64(u64::from(worker));
        let mut mine: [Option<(usize, ConnectionToken)>; DESCRIPTORS] = [None; DESCRIPTORS];
        let close = |(n, token): (usize, ConnectionToken)| {
            self.of_sources[n].fetch_sub(1, Ordering::SeqCst);
            self.of_networks[n / OF_A_NETWORK].fetch_sub(1, Ordering::SeqCst);
            limiter.disconnect(me, token, Facts::SPOKE).unwrap();
        };
        for _ in 0..50_000 {
            let own = random.random_range(0..DESCRIPTORS);
            if let Some(open) = mine[own].take() {
                close(open);
            } else {
                let n = random.random_range(0..self.of_sources.len());
                let descriptor = worker as usize * DESCRIPTORS + own;
                let source = scoped_source(limiter, n);
                match limiter.connect(me, descriptor as i32, source, &[], Facts::NONE, limit) {
                    Ok(token) => {
                        let before = self.of_sources[n].fetch_add(1, Ordering::SeqCst);
                        assert!(before < limit, "one more than {before} in a source");
                        let network = &self.of_networks[n / OF_A_NETWORK];
                        let before = network.fetch_add(1, Ordering::SeqCst);
                        assert!(
                            before < NETWORK_LIMIT,
                            "one more than {before} in a network"
                        );
                        self.admitted.fetch_add(1, Ordering::Relaxed);
                        self.tokens[descriptor].store(token.to_bits(), Ordering::Relaxed);
                        mine[own] = Some((n, token));
                    }
                    Err(NotConnected::NotCounted(NotCounted::OverNetwork)) => {
                        self.over_network.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(NotConnected::NotCounted(NotCounted::OverLimit)) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            let any = &self.tokens[random.random_range(0..self.tokens.len())];
            let any = ConnectionToken::from_bits(any.load(Ordering::Relaxed));
            match any.map(|token| match random.random_bool(0.7) {
                true => limiter.trust(me, token),
                false => limiter.untrust(token),
            }) {
                Some(Ok(changed)) => {
                    self.trusted.fetch_add(changed.into(), Ordering::Relaxed);
                }
                None | Some(Err(TrustError::Gone)) => {}
                Some(Err(error)) => panic!("{error}"),
            }
        }
        mine.into_iter().flatten().for_each(close);
    }
}

fn scoped_source(limiter: &Limiter, n: usize) -> Source {
    let address = [10, 0, (n / OF_A_NETWORK) as u8, (n % OF_A_NETWORK) as u8];
    limiter.source(&address).unwrap()
}

/// Neither a source nor its network exceeds its limit, whichever processes open and close, and
/// nothing is left in either, also no trust of connections that another process trusted.
fn limits_of_sources_and_networks_hold_among_processes() {
    const LIMIT: i32 = 5;
    let shared: &Scoped = shared();
    let prefixes = PrefixLengths::DEFAULT.with_networks(NetworkLengths::DEFAULT);
    let limiter = Limiter::with_trust(1_000, 0, prefixes.unwrap()).unwrap();
    limiter.set_network_limit(NETWORK_LIMIT);
    let children = (0..WORKERS)
        .map(|worker| Child::start(|| shared.work(&limiter, worker, LIMIT)))
        .collect();
    join_all(children);
    for reached in [&shared.admitted, &shared.over_network, &shared.trusted] {
        assert!(reached.load(Ordering::Relaxed) > WORKERS * 100);
    }
    assert_eq!(Report::of(&limiter).occupancy().connections, 0);
    assert_eq!(Report::of(&limiter).networks().count(), 0);
    for n in 0..shared.of_sources.len() {
        let source = scoped_source(&limiter, n);
        let opened = limiter.connect(Worker::ACCEPTOR, n as i32, source, &[], Facts::NONE, 0);
        assert!(opened.is_ok());
        let report = Report::of(&limiter).get(source);
        assert_eq!((report.connections, report.trusted), (1, 0));
    }
    assert_eq!(limiter.totals().stale_token, 0);
}

/// One process accepts and another closes, as in Kamailio: exactly the limit is
/// admitted, and a close in the other process makes room at once.
fn close_in_another_process_makes_room_at_once() {
    const LIMIT: i32 = 10;
    let limiter = &Limiter::new(100, LIMIT, PrefixLengths::DEFAULT).unwrap();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    // The child gets the only copy of `theirs`, so our end notices when it ends.
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
    assert_eq!(Report::of(limiter).get(source).connections, LIMIT as u32);
}

/// Networks 10.0.N.0/24 with a source each. With either set active, those with an even
/// number may have one more connection than [`HELD`] and the others may not. A process
/// that mixes two sets, or uses the default, is wrong about some of them.
const NETWORKS: u32 = 200;
const HELD: u32 = 2;
const DEFAULT: i32 = 1;

fn of_network(n: u32) -> Source {
    source(n << 8 | 1)
}

fn set(texts: impl Iterator<Item = String>) -> RuleSet {
    rules(&texts.collect::<Vec<_>>())
}

/// Limits of the `[even, odd]` networks in the two sets. In the second set the rules
/// have other numbers, and some networks only match a rule with a shorter prefix.
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

/// Checks one source after the other until `stop` is set.
fn check_until(limiter: &Limiter, worker: u32, stop: &AtomicBool) {
    let me = Worker::new(worker);
    let mut random = SmallRng::seed_from_u64(u64::from(worker));
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) || asked < 1_000 {
        let n = random.random_range(0..NETWORKS);
        let source = of_network(n);
        let checked = limiter.check(source);
        assert_eq!(checked.is_err(), n % 2 == 1, "network {n}");
        if let Err(rejection) = checked {
            assert!(limiter.rejected(me, rejection));
        }
        let (rule, limit) = Report::of(limiter).rule_of(source);
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

/// Prefixes and limits of the rules in a report.
fn reported(limiter: &Limiter) -> Vec<(String, i32)> {
    let rule = |group: &Group| {
        group
            .rule
            .map(|rule| (rule.prefix.to_string(), rule.terms.limit))
    };
    Report::of(limiter)
        .groups(usize::MAX)
        .unwrap()
        .iter()
        .filter_map(rule)
        .collect()
}

fn listed(set: &RuleSet) -> Vec<(String, i32)> {
    let rules = set.rules().iter();
    rules
        .map(|rule| (rule.prefix.to_string(), rule.terms.limit))
        .collect()
}

fn is_one_of(limiter: &Limiter, sets: &[RuleSet; 2]) -> bool {
    let reported = reported(limiter);
    sets.iter().any(|set| listed(set) == reported)
}

/// Loads one set after the other. Returns how many loads succeeded.
fn reload(limiter: &Limiter, sets: &[RuleSet], rounds: usize) -> u32 {
    let set = |round: usize| &sets[round % sets.len()];
    let loaded = (0..rounds).filter(|round| limiter.set_rules(set(*round)).is_ok());
    loaded.count() as u32
}

/// A check while rules change uses the old set or the new one, never parts of both.
fn reload_is_atomic_for_checks() {
    const ROUNDS: usize = 5_000;
    let (stop, loaded): (&AtomicBool, &AtomicU32) = (shared(), shared());
    let limiter = Limiter::new(10_000, DEFAULT, PrefixLengths::DEFAULT).unwrap();
    let sets = two_sets();
    ready(&limiter, &sets);
    let mut children: Vec<_> = (0..3)
        .map(|worker| Child::start(|| check_until(&limiter, worker, stop)))
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
        "a load failed although no other process loads"
    );
    assert_eq!(limiter.rules_loaded(), ROUNDS as u32 + 1);
    assert!(is_one_of(&limiter, &sets));
}

/// Of two processes that load at once, one gets `Busy`, or they load one after the
/// other.
fn concurrent_reloads_succeed_or_report_busy() {
    const ROUNDS: u32 = 2_000;
    let (stop, busy): (&AtomicBool, &AtomicU32) = (shared(), shared());
    let limiter = &Limiter::new(10_000, DEFAULT, PrefixLengths::DEFAULT).unwrap();
    let sets = &two_sets();
    ready(limiter, sets);
    let readers = (0..2)
        .map(|worker| Child::start(move || check_until(limiter, worker, stop)))
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
    assert_eq!(limiter.rules_loaded(), 2 * ROUNDS + 1, "successful loads");
    assert!(busy.load(Ordering::Relaxed) > 0, "no two loads overlapped");
    assert!(is_one_of(limiter, sets));
}

/// A process killed while it loads rules leaves the old or the new set active, and
/// another process can load.
fn killed_writer_leaves_one_whole_set() {
    let stop: &AtomicBool = shared();
    let limiter = Limiter::new(10_000, DEFAULT, PrefixLengths::DEFAULT).unwrap();
    let sets = two_sets();
    ready(&limiter, &sets);
    let readers = (0..2)
        .map(|worker| Child::start(|| check_until(&limiter, worker, stop)))
        .collect();
    let mut random = SmallRng::seed_from_u64(1);
    for round in 0..150 {
        let writer = Child::start(|| {
            reload(&limiter, &sets, usize::MAX);
        });
        std::thread::sleep(Duration::from_micros(random.random_range(0..3_000)));
        writer.kill();
        // The signal takes effect with a delay.
        until("another process can load", || {
            limiter.set_rules(&sets[round % 2]).is_ok()
        });
        assert_eq!(reported(&limiter), listed(&sets[round % 2]));
    }
    stop.store(true, Ordering::Relaxed);
    join_all(readers);
}

/// Ticks a watch until `stop` is set, and once more.
fn watching(limiter: &Limiter, interval: u32, stop: &AtomicBool, mut report: impl FnMut(Notice)) {
    let mut watch = Watch::default();
    let mut last = false;
    for now in 0.. {
        watch.tick(limiter, now, interval, &mut report);
        if last {
            break;
        }
        last = stop.load(Ordering::Acquire);
    }
}

/// Sources come and go while they are sampled: each has its own rule. The sampling
/// processes are killed now and then.
fn sampled_slots_keep_each_sources_rule() {
    let stop: &AtomicBool = shared();
    let limiter = Limiter::new(1, 2, PrefixLengths::DEFAULT).unwrap();
    let own = (0..=255).step_by(2).map(|n| format!("10.0.0.{n}=1"));
    limiter.set_rules(&set(own)).unwrap();
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..100 {
        // These processes are killed when they are dropped.
        let _watches = [(); 2].map(|()| Child::start(|| watching(&limiter, 1, stop, |_| {})));
        for _ in 0..10_000 {
            let n = random.random_range(0..256);
            let token = limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
            assert_eq!(limiter.check(source(n)).is_err(), n % 2 == 0, "{n}");
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    }
}

/// However fast rejections come, each is logged in a line of its own or counted in a
/// summary.
fn every_rejection_is_reported() {
    const SOURCES: u32 = 300;
    let (stop, reported): (&AtomicBool, &AtomicU64) = (shared(), shared());
    let limiter = Limiter::new(1_000, 1, PrefixLengths::DEFAULT).unwrap();
    for n in 0..SOURCES {
        limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
    }
    let watch = Child::start(|| {
        watching(&limiter, 1, stop, |notice| {
            let lines = match notice {
                Notice::First { .. } => 1,
                Notice::Summary(summary) => summary.more + summary.more_of_others,
                other => panic!("{other:?}"),
            };
            reported.fetch_add(lines, Ordering::Relaxed);
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
    assert_eq!(reported.load(Ordering::Relaxed), 300_000);
    assert_eq!(
        Report::of(&limiter).groups(usize::MAX).unwrap()[0].rejected,
        300_000
    );
}

/// Several processes reset the statistics while others count.
fn reset_among_processes_keeps_counts() {
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
                    assert_eq!(Report::of(&limiter).get(source(1)).connections, 1);
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
    assert_eq!(Report::of(&limiter).get(source(1)).rejected, 7);
    assert_eq!(
        Report::of(&limiter).groups(usize::MAX).unwrap()[0].rejected,
        7
    );
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
        ("limit_holds_among_processes", limit_holds_among_processes),
        (
            "limits_of_sources_and_networks_hold_among_processes",
            limits_of_sources_and_networks_hold_among_processes,
        ),
        (
            "close_in_another_process_makes_room_at_once",
            close_in_another_process_makes_room_at_once,
        ),
        ("reload_is_atomic_for_checks", reload_is_atomic_for_checks),
        (
            "concurrent_reloads_succeed_or_report_busy",
            concurrent_reloads_succeed_or_report_busy,
        ),
        (
            "killed_writer_leaves_one_whole_set",
            killed_writer_leaves_one_whole_set,
        ),
        (
            "sampled_slots_keep_each_sources_rule",
            sampled_slots_keep_each_sources_rule,
        ),
        ("every_rejection_is_reported", every_rejection_is_reported),
        (
            "reset_among_processes_keeps_counts",
            reset_among_processes_keeps_counts,
        ),
    ]);
}
