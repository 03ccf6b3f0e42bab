// SPDX-License-Identifier: GPL-2.0-or-later
//! Model checking: each scenario is run in all orders in which its threads can take
//! their steps, up to a number of preemptions, and with all values that the memory
//! model lets a load return. `make loom`; `make loom PREEMPTIONS=3` looks further.
//!
//! The code is the library's own, on the atomics of `src/loom/sync.rs` (which tells
//! what stands for `SeqCst`), with buckets of one slot and two rows. Threads stand
//! for processes: the code does not tell them apart.

#![cfg(loom)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use loom::model::Builder;
use loom::thread::{self, JoinHandle};
use tcp_conn_limit::killed_after;
use tcp_conn_limit::limiter::{Limiter, NotCounted, Rejection, StaleToken, Token, Worker};
use tcp_conn_limit::observe::report::SourceReport;
use tcp_conn_limit::policy::rules::{Origin, RuleSet};
use tcp_conn_limit::source::{PrefixLengths, Source};

/// Preemptions of a run, unless LOOM_MAX_PREEMPTIONS says another number. Three
/// threads that claim, or one that is killed, have so many orders that they get one
/// less.
const PREEMPTIONS: usize = 2;

/// Three threads that claim have millions of orders all the same: a search among them
/// ends after this time, unless LOOM_MAX_DURATION says another one, in seconds.
const MAX_TIME: Duration = Duration::from_secs(20);

/// Steps of one run: far more than any takes that ends.
const MAX_STEPS: usize = 5_000;

/// No limit of the caller's own.
const ANY: i32 = 0;

const A: u8 = 2;
const B: u8 = 4;
const C: u8 = 6;

/// How far a search went.
#[derive(Default)]
struct Search {
    runs: u64,
    took: Duration,
    stopped: bool,
}

impl Search {
    /// Runs `scenario` in all orders, with so many preemptions less than set.
    fn of(less: usize, scenario: impl Fn() + Send + Sync + 'static) -> Search {
        Search::by(Builder::new(), less, scenario)
    }

    fn by(
        mut builder: Builder,
        less: usize,
        scenario: impl Fn() + Send + Sync + 'static,
    ) -> Search {
        let preemptions = builder.preemption_bound.unwrap_or(PREEMPTIONS);
        builder.preemption_bound = Some(preemptions.saturating_sub(less));
        builder.max_branches = MAX_STEPS;
        let runs = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let counted = Arc::clone(&runs);
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            scenario();
        });
        let took = began.elapsed();
        Search {
            runs: runs.load(Ordering::Relaxed),
            took,
            stopped: builder.max_duration.is_some_and(|most| took >= most),
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Search { runs, took, .. } = self;
        write!(f, "{runs} interleavings, {:.1} s", took.as_secs_f64())?;
        if self.stopped {
            f.write_str(", stopped then")?;
        }
        Ok(())
    }
}

/// Runs `scenario` in all orders, and tells how many there were.
fn explore(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    println!("{name}: {}", Search::of(0, scenario));
}

/// As above, with three threads that claim.
fn explore_three(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_duration.get_or_insert(MAX_TIME);
    println!("{name}: {}", Search::by(builder, 1, scenario));
}

/// Runs `scenario` with each number of steps after which it kills a thread; it tells
/// whether it came to that. Ends with the number that the thread never reaches.
fn explore_kills(name: &str, scenario: impl Fn(u32) -> bool + Clone + Send + Sync + 'static) {
    let mut whole = Search::default();
    for steps in 0.. {
        let killed = Arc::new(AtomicBool::new(false));
        let (seen, scenario) = (Arc::clone(&killed), scenario.clone());
        let search = Search::of(1, move || {
            if scenario(steps) {
                killed.store(true, Ordering::Relaxed);
            }
        });
        whole.runs += search.runs;
        whole.took += search.took;
        whole.stopped |= search.stopped;
        if !seen.load(Ordering::Relaxed) {
            println!("{name}, at each of {steps} steps: {whole}");
            return;
        }
    }
}

fn source(n: u8) -> Source {
    Source::new(&[10, 0, 0, n], PrefixLengths::DEFAULT).unwrap()
}

fn rules(texts: &[&str]) -> Arc<RuleSet> {
    let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
    for text in texts {
        builder.add(Origin::Modparam(1), text).unwrap();
    }
    Arc::new(builder.build().unwrap())
}

/// A limiter that threads share as processes do.
#[derive(Clone)]
struct Shared(Arc<Limiter>);

impl Shared {
    fn new(buckets: usize, limit: i32) -> Shared {
        Shared(Arc::new(Limiter::with_buckets(buckets, limit)))
    }

    fn spawn<T: 'static>(&self, work: impl FnOnce(Shared) -> T + 'static) -> JoinHandle<T> {
        let shared = self.clone();
        thread::spawn(move || work(shared))
    }

    fn check(&self, n: u8) -> Result<(), Rejection> {
        self.0.check(source(n))
    }

    fn opened(&self, worker: u32, n: u8, limit: i32) -> Result<Token, NotCounted> {
        self.0.opened(Worker::new(worker), source(n), limit)
    }

    fn closed(&self, worker: u32, token: Token) -> Result<(), StaleToken> {
        self.0.closed(Worker::new(worker), token)
    }

    /// At rest: these sources have so many connections, each in one place, and no
    /// other has any.
    #[track_caller]
    fn assert_counts(&self, expected: &[(u8, u32)]) {
        let mut expected: Vec<_> = expected
            .iter()
            .filter(|(_, connections)| *connections > 0)
            .map(|&(n, connections)| (source(n), connections))
            .collect();
        expected.sort();
        let pair = |report: SourceReport| (report.source, report.connections);
        let mut places: Vec<_> = self.0.sources().map(pair).collect();
        places.sort();
        assert_eq!(places, expected);
        for n in [A, B, C] {
            let found = expected.iter().find(|(s, _)| *s == source(n));
            let connections = found.map_or(0, |(_, connections)| *connections);
            assert_eq!(self.0.get(source(n)).connections, connections);
        }
    }
}

/// Who counts in one place at the moment, and never more than `limit`.
struct Admitted {
    now: AtomicI32,
    limit: i32,
}

impl Admitted {
    fn new(limit: i32) -> Arc<Admitted> {
        Arc::new(Admitted {
            now: AtomicI32::new(0),
            limit,
        })
    }

    fn enter(&self) {
        let now = 1 + self.now.fetch_add(1, Ordering::Relaxed);
        assert!(now <= self.limit, "{now} of {}", self.limit);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn claim_against_claim_of_the_same_source() {
    explore("claim against claim, same source", || {
        let shared = Shared::new(2, 0);
        let other = shared.spawn(|shared| shared.opened(1, A, ANY).unwrap());
        let mine = shared.opened(0, A, ANY).unwrap();
        let others = other.join().unwrap();
        shared.assert_counts(&[(A, 2)]);
        shared.closed(0, mine).unwrap();
        shared.closed(0, others).unwrap();
        shared.assert_counts(&[]);
    });
}

#[test]
fn claim_against_claim_of_one_slot() {
    explore("claim against claim, one slot", || {
        let shared = Shared::new(1, 0);
        let other = shared.spawn(|shared| shared.opened(1, B, ANY).is_ok());
        let mine = shared.opened(0, A, ANY).is_ok();
        let others = other.join().unwrap();
        assert!(mine != others, "one of them gets the slot");
        shared.assert_counts(&[(A, mine.into()), (B, others.into())]);
    });
}

#[test]
fn claim_against_release() {
    explore("claim against release", || {
        let shared = Shared::new(1, 0);
        let token = shared.opened(0, A, ANY).unwrap();
        let other = shared.spawn(|shared| shared.opened(1, B, ANY).is_ok());
        shared.closed(0, token).unwrap();
        let others = other.join().unwrap();
        shared.assert_counts(&[(B, others.into())]);
    });
}

#[test]
fn claim_against_return() {
    explore("claim against a source that comes back", || {
        let shared = Shared::new(1, 0);
        let token = shared.opened(0, A, ANY).unwrap();
        let other = shared.spawn(|shared| shared.opened(1, B, ANY).is_ok());
        shared.closed(0, token).unwrap();
        let mine = shared.opened(0, A, ANY).is_ok();
        let others = other.join().unwrap();
        assert!(!(mine && others), "one slot for two");
        shared.assert_counts(&[(A, mine.into()), (B, others.into())]);
    });
}

/// The source comes back by another worker, whose row it never had.
#[test]
fn claim_against_another_row() {
    explore("claim against a source that gets a row", || {
        let shared = Shared::new(1, 0);
        let token = shared.opened(0, A, ANY).unwrap();
        shared.closed(0, token).unwrap();
        let other = shared.spawn(|shared| shared.opened(0, B, ANY).is_ok());
        let mine = shared.opened(1, A, ANY).is_ok();
        let others = other.join().unwrap();
        assert!(!(mine && others), "one slot for two");
        shared.assert_counts(&[(A, mine.into()), (B, others.into())]);
    });
}

/// Two take the slot of the same idle source, which comes back. The first may have
/// seen that the source has no connections, long before the second one tries.
#[test]
fn two_claims_against_return() {
    explore_three("two claims against a source that comes back", || {
        let shared = Shared::new(1, 0);
        let token = shared.opened(0, A, ANY).unwrap();
        shared.closed(0, token).unwrap();
        let open = |n| move |shared: Shared| shared.opened(0, n, ANY).is_ok();
        let opened = [B, A, C].map(|n| (n, shared.spawn(open(n))));
        let opened = opened.map(|(n, thread)| (n, u32::from(thread.join().unwrap())));
        shared.assert_counts(&opened);
    });
}

/// A source returns through two workers at once and moves to its other bucket.
#[test]
fn two_returns_that_move() {
    for limit in [ANY, 1] {
        explore(
            &format!("two workers, one source that moves, limit {limit}"),
            move || {
                let shared = Shared::new(2, 0);
                let token = shared.opened(0, A, ANY).unwrap();
                shared.closed(0, token).unwrap();
                let other = shared.spawn(move |shared| shared.opened(1, A, limit).is_ok());
                let mine = shared.opened(0, A, limit).is_ok();
                let others = other.join().unwrap();
                assert!(limit == ANY || !(mine && others));
                assert!(limit != ANY || mine && others);
                shared.assert_counts(&[(A, u32::from(mine) + u32::from(others))]);
            },
        );
    }
}

/// One source moves while another one claims a slot.
#[test]
fn move_against_claim() {
    explore("a source that moves against a claim", || {
        let shared = Shared::new(2, 0);
        let token = shared.opened(0, A, ANY).unwrap();
        let other = shared.spawn(|shared| shared.opened(1, B, ANY).is_ok());
        shared.closed(0, token).unwrap();
        let mine = shared.opened(0, A, ANY).is_ok();
        let others = other.join().unwrap();
        assert!(mine && others, "there is a slot for each");
        shared.assert_counts(&[(A, 1), (B, 1)]);
    });
}

#[test]
fn killed_while_moving() {
    explore_kills("killed while a source moves", |steps| {
        let shared = Shared::new(2, 0);
        let token = shared.opened(0, A, ANY).unwrap();
        shared.closed(0, token).unwrap();
        let victim = shared.spawn(move |shared| {
            killed_after(steps, || shared.opened(1, A, ANY).unwrap()).is_none()
        });
        let mine = shared.opened(0, A, ANY).is_ok();
        let killed = victim.join().unwrap();
        let others = shared.0.get(source(A)).connections - u32::from(mine);
        assert!(others == 1 || killed && others == 0);
        shared.assert_counts(&[(A, u32::from(mine) + others)]);
        killed
    });
}

#[test]
fn replacement_against_check() {
    explore("replacement against look-up", || {
        let shared = Shared::new(1, 1);
        let token = shared.opened(0, A, ANY).unwrap();
        shared.closed(0, token).unwrap();
        let other = shared.spawn(|shared| shared.opened(0, B, ANY).is_ok());
        assert!(shared.check(A).is_ok());
        assert!(shared.0.check_against(source(A), 1).is_ok());
        assert_eq!(shared.0.get(source(A)).connections, 0);
        let others = other.join().unwrap();
        assert!(others, "the slot is idle");
        assert!(shared.check(A).is_ok());
        assert!(shared.check(B).is_err());
        shared.assert_counts(&[(B, 1)]);
    });
}

/// Three workers at once, on a source that is in the table.
#[test]
fn three_acceptors_at_the_limit() {
    for limit in [1, 2] {
        explore(&format!("three acceptors at limit {limit}"), move || {
            let shared = Shared::new(1, 0);
            let token = shared.opened(0, A, ANY).unwrap();
            shared.closed(0, token).unwrap();
            let open = move |worker| move |shared: Shared| shared.opened(worker, A, limit).is_ok();
            let others = [shared.spawn(open(1)), shared.spawn(open(1))];
            let mine = open(0)(shared.clone());
            let mut admitted = u32::from(mine);
            for other in others {
                admitted += u32::from(other.join().unwrap());
            }
            assert!(admitted <= limit.unsigned_abs());
            shared.assert_counts(&[(A, admitted)]);
        });
    }
}

/// Two workers that claim a slot for the source, which has the limit at once.
#[test]
fn new_source_at_the_limit() {
    explore("two acceptors of a new source at limit 1", || {
        let shared = Shared::new(2, 0);
        let other = shared.spawn(|shared| shared.opened(1, A, 1).is_ok());
        let mine = shared.opened(0, A, 1).is_ok();
        let others = other.join().unwrap();
        assert!(!(mine && others));
        shared.assert_counts(&[(A, u32::from(mine) + u32::from(others))]);
    });
}

/// Connections come and go at the limit.
#[test]
fn opened_and_closed_at_the_limit() {
    explore("opened and closed at limit 1", || {
        let shared = Shared::new(1, 0);
        let admitted = Admitted::new(1);
        let pass = |worker, admitted: Arc<Admitted>| {
            move |shared: Shared| {
                if let Ok(token) = shared.opened(worker, A, 1) {
                    admitted.enter();
                    admitted.leave();
                    shared.closed(1 - worker, token).unwrap();
                }
            }
        };
        let token = shared.opened(0, A, 1).unwrap();
        admitted.enter();
        let other = shared.spawn(pass(1, Arc::clone(&admitted)));
        admitted.leave();
        shared.closed(0, token).unwrap();
        pass(0, admitted)(shared.clone());
        other.join().unwrap();
        shared.assert_counts(&[]);
    });
}

#[test]
fn closed_from_another_process() {
    explore("closed from another process", || {
        let shared = Shared::new(1, 0);
        let token = shared.opened(0, A, ANY).unwrap();
        let other = shared.spawn(move |shared| shared.closed(1, token));
        let mine = shared.opened(0, A, ANY).unwrap();
        assert!(other.join().unwrap().is_ok());
        shared.assert_counts(&[(A, 1)]);
        shared.closed(0, mine).unwrap();
        shared.assert_counts(&[]);
        // a cell below zero would swallow it
        shared.opened(0, A, ANY).unwrap();
        shared.assert_counts(&[(A, 1)]);
    });
}

/// With one acceptor, what was checked can be opened: others only close.
#[test]
fn one_acceptor_keeps_its_word() {
    explore("one acceptor, others close", || {
        let shared = Shared::new(1, 2);
        let first = shared.opened(0, A, 2).unwrap();
        let second = shared.opened(0, A, 2).unwrap();
        assert!(shared.check(A).is_err());
        let other = shared.spawn(move |shared| {
            shared.closed(1, first).unwrap();
            shared.closed(1, second).unwrap();
        });
        let mut opened = 0;
        for _ in 0..2 {
            if shared.check(A).is_ok() {
                shared.opened(0, A, 2).unwrap();
                opened += 1;
            }
        }
        other.join().unwrap();
        shared.assert_counts(&[(A, opened)]);
    });
}

/// Which of two sets of rules an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Set {
    Old,
    New,
}

/// A source has one connection. `limits` are those of its rule in the old and in the
/// new set: 1, which refuses it another one, or more.
fn set_of(shared: &Shared, n: u8, connections: i32, limits: [i32; 2]) -> Set {
    let refused = shared.check(n).is_err();
    let [old, new] = limits.map(|limit| limit <= connections);
    assert_ne!(old, new, "both would answer the same");
    if refused == old { Set::Old } else { Set::New }
}

/// Rules are read while they are written: the half that is read comes into force
/// twice. Either set lets A have another connection; a prefix of the one with the
/// limit of the other would not.
#[test]
fn reload_against_check() {
    let old = rules(&["10.0.0.2=100"]);
    let new = rules(&["10.9.9.9=1"]);
    explore("reload against check", move || {
        let shared = Shared::new(1, 100);
        shared.opened(0, A, ANY).unwrap();
        // in the half that is not in force now
        shared.0.set_rules(&new).unwrap();
        shared.0.set_rules(&old).unwrap();
        let new = Arc::clone(&new);
        let other = shared.spawn(move |shared| {
            shared.0.set_rules(&new).unwrap();
            shared.0.set_rules(&new).unwrap();
        });
        for _ in 0..2 {
            assert!(shared.check(A).is_ok());
        }
        other.join().unwrap();
        assert!(shared.check(A).is_ok());
        assert_eq!(shared.0.rules_loaded(), 4);
    });
}

/// Two checks while rules are loaded: each is by one whole set, and the second one
/// is not by an older set than the first.
#[test]
fn rules_do_not_come_back() {
    // limits of A, of B, in the old and in the new set: the lowest one rises, falls
    for (what, a, b) in [("rises", [1, 3], [3, 2]), ("falls", [3, 1], [2, 3])] {
        let set = |i: usize| {
            let (a, b) = (format!("10.0.0.2={}", a[i]), format!("10.0.0.4={}", b[i]));
            rules(&[&a, &b])
        };
        let (old, new) = (set(0), set(1));
        for a_first in [true, false] {
            let (old, new) = (Arc::clone(&old), Arc::clone(&new));
            let first = if a_first { "A" } else { "B" };
            explore(
                &format!("reload, the lowest limit {what}, {first} first"),
                move || {
                    let shared = Shared::new(2, 0);
                    for n in [A, B, B] {
                        shared.opened(0, n, ANY).unwrap();
                    }
                    shared.0.set_rules(&old).unwrap();
                    let new = Arc::clone(&new);
                    let other = shared.spawn(move |shared| shared.0.set_rules(&new).unwrap());
                    let (of_a, of_b);
                    let (first, second) = if a_first {
                        of_a = set_of(&shared, A, 1, a);
                        of_b = set_of(&shared, B, 2, b);
                        (of_a, of_b)
                    } else {
                        of_b = set_of(&shared, B, 2, b);
                        of_a = set_of(&shared, A, 1, a);
                        (of_b, of_a)
                    };
                    assert!(first <= second, "{first:?}, then {second:?}");
                    other.join().unwrap();
                    assert_eq!(set_of(&shared, A, 1, a), Set::New);
                    assert_eq!(set_of(&shared, B, 2, b), Set::New);
                },
            );
        }
    }
}

/// Two processes load rules: one after the other, or one is told that the other is
/// at work.
#[test]
fn reload_against_reload() {
    let sets = [rules(&["10.0.0.2=1"]), rules(&["10.0.0.2=100"])];
    explore("reload against reload", move || {
        let shared = Shared::new(1, 0);
        shared.opened(0, A, ANY).unwrap();
        let others_set = Arc::clone(&sets[1]);
        let other = shared.spawn(move |shared| shared.0.set_rules(&others_set).is_ok());
        let mine = shared.0.set_rules(&sets[0]).is_ok();
        let others = other.join().unwrap();
        assert!(mine || others, "each was told that the other is at work");
        let loaded = shared.0.rules_loaded();
        assert_eq!(loaded, u32::from(mine) + u32::from(others));
        let (rule, limit) = shared.0.rule_of(source(A));
        assert!(rule.is_some());
        assert!(mine && limit == 1 || others && limit == 100, "{limit}");
        assert_eq!(shared.check(A).is_err(), limit == 1);
    });
}

/// A process is killed while it opens a connection of a source that another one
/// opens, too: that one has a place, and its connection counts.
#[test]
fn killed_while_opening() {
    explore_kills("killed while opening", |steps| {
        let shared = Shared::new(2, 0);
        let victim = shared.spawn(move |shared| {
            killed_after(steps, || shared.opened(1, A, ANY).unwrap()).is_none()
        });
        let mine = shared.opened(0, A, ANY).unwrap();
        let killed = victim.join().unwrap();
        // counted before it was killed, or not
        let others = shared.0.get(source(A)).connections - 1;
        assert!(others == 1 || killed && others == 0);
        shared.assert_counts(&[(A, 1 + others)]);
        shared.closed(0, mine).unwrap();
        shared.assert_counts(&[(A, others)]);
        shared.opened(0, A, ANY).unwrap();
        shared.assert_counts(&[(A, 1 + others)]);
        killed
    });
}

/// A process is killed while it takes the slot of an idle source, which comes back.
#[test]
fn killed_while_replacing() {
    explore_kills("killed while replacing", |steps| {
        let shared = Shared::new(1, 0);
        let token = shared.opened(0, A, ANY).unwrap();
        shared.closed(0, token).unwrap();
        let victim = shared.spawn(move |shared| {
            let opened = killed_after(steps, || shared.opened(1, B, ANY).is_ok());
            opened.is_none()
        });
        let mine = shared.opened(0, A, ANY).is_ok();
        let killed = victim.join().unwrap();
        let others = shared.0.get(source(B)).connections;
        assert!(mine || others == 1 || killed);
        assert!(!(mine && others > 0));
        shared.assert_counts(&[(A, mine.into()), (B, others)]);
        // whoever has the slot keeps it
        if let Ok(token) = shared.opened(0, A, ANY) {
            shared.assert_counts(&[(A, 1 + u32::from(mine)), (B, 0)]);
            shared.closed(0, token).unwrap();
        }
        shared.assert_counts(&[(A, mine.into()), (B, others)]);
        killed
    });
}

/// A process is killed while it closes a connection of a source that another one
/// opens at its limit.
#[test]
fn killed_while_closing() {
    explore_kills("killed while closing", |steps| {
        let shared = Shared::new(1, 0);
        let token = shared.opened(0, A, ANY).unwrap();
        let victim = shared.spawn(move |shared| {
            killed_after(steps, || shared.closed(1, token).unwrap()).is_none()
        });
        let mine = shared.opened(0, A, 1);
        let killed = victim.join().unwrap();
        let left = shared.0.get(source(A)).connections - u32::from(mine.is_ok());
        assert!(left == 0 || killed && mine.is_err());
        if let Ok(token) = mine {
            shared.closed(0, token).unwrap();
        }
        shared.assert_counts(&[(A, left)]);
        killed
    });
}

/// A process is killed while it loads rules: checks go by one whole set, and another
/// process can load rules then.
#[test]
fn killed_while_loading_rules() {
    let old = rules(&["10.0.0.2=100"]);
    let new = rules(&["10.9.9.9=1"]);
    let last = rules(&["10.0.0.2=1"]);
    explore_kills("killed while loading rules", move |steps| {
        let shared = Shared::new(1, 100);
        shared.opened(0, A, ANY).unwrap();
        shared.0.set_rules(&old).unwrap();
        let new = Arc::clone(&new);
        let victim = shared.spawn(move |shared| {
            killed_after(steps, || shared.0.set_rules(&new).unwrap()).is_none()
        });
        assert!(shared.check(A).is_ok());
        let killed = victim.join().unwrap();
        assert!(shared.check(A).is_ok());
        shared.0.set_rules(&last).unwrap();
        assert!(shared.check(A).is_err());
        killed
    });
}
