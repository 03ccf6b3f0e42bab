// SPDX-License-Identifier: GPL-2.0-or-later
//! Loom runs each scenario in all orders in which its threads can take their steps, up
//! to a number of preemptions, and with all values that the memory model lets a load
//! return. `make loom` runs it; `make loom PREEMPTIONS=3` searches further.
//!
//! The code is the library's own, on the atomics of `src/loom/sync.rs` (which explains
//! what replaces `SeqCst`), with buckets of one slot and two rows. Threads stand for
//! processes: the code does not distinguish them.

#![cfg(loom)]

use std::fmt;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use loom::model::Builder;
use loom::thread::{self, JoinHandle};
use support::engine;
use tcp_conn_limit::killed_after;
use tcp_conn_limit::limiter::load::Load;
use tcp_conn_limit::limiter::{
    ConnectionToken, Facts, Limiter, NotCounted, Rejection, StaleToken, Token, Worker,
};
use tcp_conn_limit::observe::report::{Report, SourceReport};
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::penalties::Cause;
use tcp_conn_limit::policy::pressure::Pressure;
use tcp_conn_limit::policy::rules::RuleSet;
use tcp_conn_limit::policy::terms::Rate;
use tcp_conn_limit::source::{Scope, Source};

/// Preemptions of a run, unless LOOM_MAX_PREEMPTIONS is set. Scenarios in which three
/// threads claim, or one is killed, have very many orders and get one preemption less.
const PREEMPTIONS: usize = 2;

/// Three threads that claim still have millions of orders. Their search ends after this
/// time, unless LOOM_MAX_DURATION is set, in seconds.
const MAX_TIME: Duration = Duration::from_secs(20);

/// Maximum steps of one run, far more than any run takes that ends.
const MAX_STEPS: usize = 5_000;

/// The caller sets no limit.
const ANY: i32 = 0;

const A: u8 = 2;
const B: u8 = 4;
const C: u8 = 6;

/// The extent of a search.
#[derive(Default)]
struct Search {
    runs: u64,
    took: Duration,
    stopped: bool,
}

impl Search {
    /// Runs `scenario` in all orders, with `less` preemptions less than set.
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

/// Runs `scenario` in all orders and prints how many there were.
fn explore(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    println!("{name}: {}", Search::of(0, scenario));
}

/// Does the same for a scenario in which three threads claim.
fn explore_three(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_duration.get_or_insert(MAX_TIME);
    println!("{name}: {}", Search::by(builder, 1, scenario));
}

/// Runs `scenario` with each number of steps after which it kills a thread. `scenario`
/// returns whether the thread was killed. Ends with the number that the thread never
/// reaches.
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
    engine::source(n.into())
}

fn rules(texts: &[&str]) -> Arc<RuleSet> {
    Arc::new(engine::rules(texts))
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

    /// Opens a connection of source `n` with descriptor 1, as TCP main.
    fn connect(&self, n: u8) -> ConnectionToken {
        let (worker, facts) = (Worker::ACCEPTOR, Facts::NONE);
        self.0
            .connect(worker, 1, source(n), &[], facts, ANY)
            .unwrap()
    }

    /// Closes it; returns what is known of it.
    fn disconnect(&self, token: ConnectionToken) -> Result<Facts, StaleToken> {
        self.0.disconnect(Worker::ACCEPTOR, token, Facts::NONE)
    }

    /// Asserts, at rest, that each of these sources has its number of connections in one
    /// slot, and that no other source has connections.
    #[track_caller]
    fn assert_counts(&self, expected: &[(u8, u32)]) {
        let mut expected: Vec<_> = expected
            .iter()
            .filter(|(_, connections)| *connections > 0)
            .map(|&(n, connections)| (source(n), connections))
            .collect();
        expected.sort();
        let pair = |report: SourceReport| (report.source, report.connections);
        let mut slots: Vec<_> = Report::of(&self.0).sources().map(pair).collect();
        slots.sort();
        assert_eq!(slots, expected);
        for n in [A, B, C] {
            let found = expected.iter().find(|(s, _)| *s == source(n));
            let connections = found.map_or(0, |(_, connections)| *connections);
            assert_eq!(Report::of(&self.0).get(source(n)).connections, connections);
        }
    }
}

/// Microseconds of the clock of rates and bans. The threads of a scenario do not change it.
static MICROS: AtomicU64 = AtomicU64::new(0);

/// Admits one test with that clock at a time.
static CLOCK: Mutex<()> = Mutex::new(());

fn clock() -> MutexGuard<'static, ()> {
    CLOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// One slot, and a rate of one connection in a second with a burst of one. A has opened
    /// a connection, has closed it, and has paid for it since. Its slot remembers it.
    fn with_paid_debt() -> Shared {
        let limiter = Limiter::with_buckets(1, 0);
        let limiter = limiter.with_clock(|| MICROS.load(Ordering::Relaxed));
        let shared = Shared(Arc::new(limiter));
        MICROS.store(0, Ordering::Relaxed);
        shared.0.set_rate(Rate {
            interval_us: 1_000_000,
            burst: 1,
        });
        let token = shared.opened(0, A, ANY).unwrap();
        shared.closed(0, token).unwrap();
        MICROS.store(5_000_000, Ordering::Relaxed);
        shared
    }

    fn settle(&self) {
        Watch::default().tick(&self.0, 1, 60, &mut |_| {});
    }

    fn ban(&self, n: u8) -> bool {
        self.0
            .ban(Worker::new(1), source(n), 60, Cause::Script)
            .is_ok()
    }
}

/// The connections that are open at the moment, which must never exceed `limit`.
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

/// A worker adds a fact to a connection while TCP main closes it and opens another one with
/// the same descriptor. The fact reaches the connection that it is for, or none.
#[test]
fn fact_against_reuse_of_the_descriptor() {
    explore("fact against reuse of the descriptor", || {
        let shared = Shared::new(2, 0);
        let first = shared.connect(A);
        let other = shared.spawn(move |shared| shared.0.mark(first, Facts::SPOKE));
        let ended = shared.disconnect(first).unwrap();
        let second = shared.connect(B);
        let marked = other.join().unwrap();
        assert_eq!(ended.include(Facts::SPOKE), marked);
        assert_eq!(shared.disconnect(second), Ok(Facts::NONE));
        shared.assert_counts(&[]);
    });
}

impl Shared {
    /// A table whose connections can be trusted, which waits for no other one.
    fn with_trust(buckets: usize) -> Shared {
        Shared(Arc::new(Limiter::with_buckets_and_trust(buckets, 0)))
    }

    fn trust(&self, token: ConnectionToken) -> bool {
        self.0.trust(Worker::new(1), token).is_ok()
    }

    /// The connections of source `n` that are trusted.
    fn trusted(&self, n: u8) -> u32 {
        Report::of(&self.0).get(source(n)).trusted
    }
}

/// A worker trusts a connection while TCP main closes it, and its source or another one opens a
/// connection with the same descriptor. That one is untrusted, and counts as such.
#[test]
fn trust_against_reuse_of_the_descriptor() {
    for (name, next) in [("the same source", A), ("another source", B)] {
        explore(&format!("trust against reuse by {name}"), move || {
            // One slot: the other source takes it.
            let shared = Shared::with_trust(1);
            let first = shared.connect(A);
            let other = shared.spawn(move |shared| shared.trust(first));
            let ended = shared.disconnect(first).unwrap();
            let second = shared.connect(next);
            let trusted = other.join().unwrap();
            assert_eq!(ended.include(Facts::TRUSTED), trusted);
            assert_eq!(shared.trusted(next), 0);
            assert!(shared.trust(second));
            assert_eq!(shared.trusted(next), 1);
            assert!(shared.disconnect(second).unwrap().include(Facts::TRUSTED));
            shared.assert_counts(&[]);
        });
    }
}

/// A worker trusts the next connection of a source while another one still trusts one that is
/// closed.
#[test]
fn late_trust_against_the_next_connection() {
    // Very many orders.
    let search = Search::of(1, || {
        let shared = Shared::with_trust(1);
        let first = shared.connect(A);
        let late = shared.spawn(move |shared| shared.trust(first));
        shared.disconnect(first).unwrap();
        let second = shared.connect(A);
        let next = shared.spawn(move |shared| shared.trust(second));
        assert!(next.join().unwrap());
        late.join().unwrap();
        assert_eq!(shared.trusted(A), 1);
    });
    println!("late trust against the next connection: {search}");
}

/// Two workers trust one connection, and another one takes that back.
#[test]
fn trust_against_trust_and_untrust() {
    explore("trust against trust", || {
        let shared = Shared::with_trust(1);
        let token = shared.connect(A);
        let other = shared.spawn(move |shared| shared.trust(token));
        assert!(shared.trust(token));
        assert!(other.join().unwrap());
        // Another connection, or else the report shows no more than one.
        shared.opened(0, A, ANY).unwrap();
        assert_eq!(shared.trusted(A), 1);
    });
    explore("trust against untrust", || {
        let shared = Shared::with_trust(1);
        let token = shared.connect(A);
        assert!(shared.trust(token));
        let other = shared.spawn(move |shared| shared.0.untrust(token).unwrap());
        let again = shared.0.trust(Worker::new(1), token).unwrap();
        let taken_back = other.join().unwrap();
        assert!(taken_back);
        assert_eq!(shared.trusted(A), u32::from(again));
        let ended = shared.disconnect(token).unwrap();
        assert_eq!(ended.include(Facts::TRUSTED), again);
    });
}

/// A worker takes trust back while TCP main closes the connection.
#[test]
fn untrust_against_close() {
    explore("untrust against close", || {
        let shared = Shared::with_trust(1);
        let token = shared.connect(A);
        let kept = shared.opened(0, A, ANY).unwrap();
        assert!(shared.trust(token));
        let other = shared.spawn(move |shared| shared.0.untrust(token).is_ok());
        let ended = shared.disconnect(token).unwrap();
        assert_eq!(ended.include(Facts::TRUSTED), !other.join().unwrap());
        assert_eq!(shared.trusted(A), 0);
        shared.closed(0, kept).unwrap();
    });
}

/// A worker is killed while it trusts a connection, or takes that back: it leaves as
/// many trusted connections as there are or one more, and 0 after the source has closed all.
#[test]
fn killed_while_trusting() {
    for trust in [true, false] {
        explore_kills("killed while it trusts or untrusts", move |steps| {
            let shared = Shared::with_trust(1);
            let token = shared.connect(A);
            if !trust {
                assert!(shared.trust(token));
            }
            let victim = shared.spawn(move |shared| {
                let done = killed_after(steps, || match trust {
                    true => shared.trust(token),
                    false => shared.0.untrust(token).is_ok(),
                });
                done.is_none()
            });
            let killed = victim.join().unwrap();
            let counted = shared.trusted(A);
            let ended = shared.disconnect(token).unwrap();
            let real = u32::from(ended.include(Facts::TRUSTED));
            assert!(counted == real || killed && counted == real + 1);
            let next = shared.connect(A);
            assert_eq!(shared.trusted(A), 0);
            assert!(shared.trust(next));
            assert_eq!(shared.trusted(A), 1);
            killed
        });
    }
}

/// Two workers add different facts while TCP main closes the connection.
#[test]
fn two_facts_against_close() {
    explore("two facts against close", || {
        let shared = Shared::new(1, 0);
        let token = shared.connect(A);
        let facts = [Facts::SPOKE, Facts::TLS];
        let marks = facts.map(|fact| shared.spawn(move |shared| shared.0.mark(token, fact)));
        let ended = shared.disconnect(token).unwrap();
        for (mark, fact) in marks.into_iter().zip(facts) {
            assert_eq!(ended.include(fact), mark.join().unwrap());
        }
        shared.assert_counts(&[]);
    });
}

/// Two processes release one token. One of them does, and no other connection is lost.
#[test]
fn release_against_release_of_one_token() {
    explore("release against release, one token", || {
        let shared = Shared::new(1, 0);
        let token = shared.connect(A);
        let kept = shared.opened(0, A, ANY).unwrap();
        let other = shared.spawn(move |shared| shared.disconnect(token).is_ok());
        let mine = shared.disconnect(token).is_ok();
        assert!(mine != other.join().unwrap());
        shared.assert_counts(&[(A, 1)]);
        shared.closed(0, kept).unwrap();
    });
}

/// A reader of all records never takes a connection of one source for one of another: the
/// ages belong to the cells.
#[test]
fn ages_against_reuse_of_the_descriptor() {
    explore("ages against reuse of the descriptor", || {
        let shared = Shared::new(2, 0);
        let first = shared.connect(A);
        let other = shared.spawn(|shared| shared.0.oldest(source(B), 0));
        shared.disconnect(first).unwrap();
        let token = shared.opened(0, B, ANY).unwrap();
        shared.connect(A);
        // B has a connection, but not one that has a record.
        assert_eq!(other.join().unwrap(), None);
        shared.closed(0, token).unwrap();
    });
}

#[test]
fn killed_while_connecting() {
    explore_kills("killed while it opens a record", |steps| {
        let shared = Shared::new(1, 0);
        let victim = shared.spawn(move |shared| killed_after(steps, || shared.connect(A)));
        let token = victim.join().unwrap();
        let killed = token.is_none();
        // If the record is open, it names the connection; if not, it can be used again.
        if let Some(token) = shared.0.connection(1) {
            shared.disconnect(token).unwrap();
            shared.assert_counts(&[]);
        }
        killed
    });
}

#[test]
fn killed_while_disconnecting() {
    explore_kills("killed while it closes a record", |steps| {
        let shared = Shared::new(1, 0);
        let token = shared.connect(A);
        let victim = shared.spawn(move |shared| {
            killed_after(steps, || shared.disconnect(token).unwrap()).is_none()
        });
        let killed = victim.join().unwrap();
        // If the record is still open, the connection is still counted.
        match shared.0.connection(1) {
            Some(token) => {
                shared.assert_counts(&[(A, 1)]);
                shared.disconnect(token).unwrap();
                shared.assert_counts(&[]);
            }
            None => assert_eq!(shared.disconnect(token), Err(StaleToken)),
        }
        killed
    });
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
        assert!(mine != others, "not exactly one of them got the slot");
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

/// The source returns through another worker, whose row it never had.
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

/// Two sources claim the slot of the same idle source, which returns. The first may have
/// seen that the idle source has no connections long before the second one tries.
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
        assert!(
            mine && others,
            "a source found no slot although there is one for each"
        );
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
        let others = Report::of(&shared.0).get(source(A)).connections - u32::from(mine);
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
        assert_eq!(Report::of(&shared.0).get(source(A)).connections, 0);
        let others = other.join().unwrap();
        assert!(others, "the claim of an idle slot failed");
        assert!(shared.check(A).is_ok());
        assert!(shared.check(B).is_err());
        shared.assert_counts(&[(B, 1)]);
    });
}

/// An IPv6 address of two listeners: sources of a scope are also compared by a word that
/// lies outside of their slot.
#[test]
fn replacement_by_the_same_address_in_another_scope() {
    explore("replacement by another scope", || {
        let shared = Shared::new(1, 1);
        let address = engine::source_of(Ipv6Addr::from(0x2001_0db8 << 96));
        let [one, two] = [1, 2].map(|number| address.in_scope(Scope::of_listener(number).unwrap()));
        let token = shared.0.opened(Worker::ACCEPTOR, one, ANY).unwrap();
        shared.closed(0, token).unwrap();
        let other = shared.spawn(move |shared| {
            let opened = shared.0.opened(Worker::new(1), two, ANY);
            opened.is_ok()
        });
        assert!(shared.0.check(one).is_ok());
        assert!(shared.0.check(address).is_ok());
        let reports = Report::of(&shared.0).sources();
        for report in reports.filter(|report| report.connections > 0) {
            assert_eq!(report.source, two);
        }
        assert!(other.join().unwrap(), "the claim of an idle slot failed");
        assert!(shared.0.check(one).is_ok());
        assert!(shared.0.check(two).is_err());
        let reports = Report::of(&shared.0).sources();
        let counts = reports.map(|report| (report.source, report.connections));
        assert_eq!(counts.collect::<Vec<_>>(), [(two, 1)]);
    });
}

/// Three workers open connections of a source in the table at the same time.
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

/// Two workers claim a slot for the source, and the limit applies from the start.
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
        // A cell below zero would hide this connection.
        shared.opened(0, A, ANY).unwrap();
        shared.assert_counts(&[(A, 1)]);
    });
}

/// With one acceptor, a connection that passed the check can be opened, because the
/// other processes only close.
#[test]
fn one_acceptor_opens_what_it_checked() {
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

/// The set of rules that an answer is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Set {
    Old,
    New,
}

/// Checks a source with `connections` connections, and returns the set that the answer
/// is from. `limits` are the limits of its rule in the old and in the new set, exactly
/// one of which rejects another connection.
fn set_of(shared: &Shared, n: u8, connections: i32, limits: [i32; 2]) -> Set {
    let rejected = shared.check(n).is_err();
    let [old, new] = limits.map(|limit| limit <= connections);
    assert_ne!(old, new, "both sets have the same answer");
    if rejected == old { Set::Old } else { Set::New }
}

/// Rules are read while they are written: the half that is read is published twice.
/// Either set admits another connection of A. A prefix of one set with the limit of the
/// other would not.
#[test]
fn reload_against_check() {
    let old = rules(&["10.0.0.2=100"]);
    let new = rules(&["10.9.9.9=1"]);
    explore("reload against check", move || {
        let shared = Shared::new(1, 100);
        shared.opened(0, A, ANY).unwrap();
        // The new rules are now in the inactive half.
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

/// Two checks while rules are loaded: each uses one whole set, and the second one does
/// not use an older set than the first.
#[test]
fn checks_never_return_to_older_rules() {
    // The limits of A and of B in the old and in the new set. The lowest limit rises in
    // one case and falls in the other.
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

/// Two processes load rules one after the other, or one gets `Busy` because the other is
/// loading.
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
        assert!(mine || others, "both got `Busy`");
        let loaded = shared.0.rules_loaded();
        assert_eq!(loaded, u32::from(mine) + u32::from(others));
        let (rule, limit) = Report::of(&shared.0).rule_of(source(A));
        assert!(rule.is_some());
        assert!(mine && limit == 1 || others && limit == 100, "{limit}");
        assert_eq!(shared.check(A).is_err(), limit == 1);
    });
}

/// A process is killed while it opens a connection of a source of which another process
/// also opens one: the other process gets a slot, and its connection counts.
#[test]
fn killed_while_opening() {
    explore_kills("killed while opening", |steps| {
        let shared = Shared::new(2, 0);
        let victim = shared.spawn(move |shared| {
            killed_after(steps, || shared.opened(1, A, ANY).unwrap()).is_none()
        });
        let mine = shared.opened(0, A, ANY).unwrap();
        let killed = victim.join().unwrap();
        // The victim's connection was counted before the kill, or not.
        let others = Report::of(&shared.0).get(source(A)).connections - 1;
        assert!(others == 1 || killed && others == 0);
        shared.assert_counts(&[(A, 1 + others)]);
        shared.closed(0, mine).unwrap();
        shared.assert_counts(&[(A, others)]);
        shared.opened(0, A, ANY).unwrap();
        shared.assert_counts(&[(A, 1 + others)]);
        killed
    });
}

/// A process is killed while it takes the slot of an idle source, which returns.
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
        let others = Report::of(&shared.0).get(source(B)).connections;
        assert!(mine || others == 1 || killed);
        assert!(!(mine && others > 0));
        shared.assert_counts(&[(A, mine.into()), (B, others)]);
        // The source that has the slot keeps it.
        if let Ok(token) = shared.opened(0, A, ANY) {
            shared.assert_counts(&[(A, 1 + u32::from(mine)), (B, 0)]);
            shared.closed(0, token).unwrap();
        }
        shared.assert_counts(&[(A, mine.into()), (B, others)]);
        killed
    });
}

/// A process is killed while it closes a connection of a source of which another process
/// opens one at the limit.
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
        let left = Report::of(&shared.0).get(source(A)).connections - u32::from(mine.is_ok());
        assert!(left == 0 || killed && mine.is_err());
        if let Ok(token) = mine {
            shared.closed(0, token).unwrap();
        }
        shared.assert_counts(&[(A, left)]);
        killed
    });
}

/// A process is killed while it loads rules: checks use one whole set, and another
/// process can load rules afterwards.
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

/// A slot forgets a debt that is paid off while another process writes a new one there, or a
/// ban: the new one is remembered.
#[test]
fn forgetting_against_a_new_debt() {
    let _clock = clock();
    explore("forgetting against a ban", || {
        let shared = Shared::with_paid_debt();
        let other = shared.spawn(|shared| shared.ban(A));
        shared.settle();
        assert!(other.join().unwrap());
        assert!(shared.check(A).is_err(), "the ban was forgotten");
        shared.settle();
        assert!(shared.check(A).is_err(), "the ban was forgotten later");
    });
    explore("forgetting against a connection", || {
        let shared = Shared::with_paid_debt();
        let other = shared.spawn(|shared| shared.opened(1, A, 9).is_ok());
        shared.settle();
        assert!(other.join().unwrap());
        assert!(shared.check(A).is_err(), "the debt was forgotten");
    });
}

/// Two acceptors open connections of a source that may open one.
#[test]
fn two_acceptors_at_the_rate() {
    let _clock = clock();
    explore("two acceptors at a burst of 1", || {
        let shared = Shared::with_paid_debt();
        let other = shared.spawn(|shared| shared.opened(1, A, 9).is_ok());
        let mine = shared.opened(0, A, 9).is_ok();
        let others = other.join().unwrap();
        assert!(mine != others, "not exactly one of them was counted");
        shared.assert_counts(&[(A, 1)]);
    });
}

/// A source is banned while another one takes its slot: that one is never banned.
#[test]
fn ban_against_replacement() {
    let _clock = clock();
    // Very many orders.
    let search = Search::of(1, || {
        let shared = Shared::with_paid_debt();
        let other = shared.spawn(|shared| shared.ban(A));
        let opened = shared.opened(0, B, ANY).is_ok();
        let banned = other.join().unwrap();
        shared.assert_counts(&[(B, opened.into())]);
        if opened {
            // The rate may reject it, but no ban.
            MICROS.store(9_000_000, Ordering::Relaxed);
            assert!(
                shared.check(B).is_ok(),
                "a late writer banned another source"
            );
        } else {
            assert!(banned && shared.check(A).is_err());
        }
    });
    println!("ban against replacement: {search}");
}

/// Connections that the host uses, of 100. The atomics of the library are what loom reorders;
/// this one only moves on between their steps.
static IN_USE: AtomicU64 = AtomicU64::new(0);

fn load() -> Load {
    Load {
        in_use: IN_USE.load(Ordering::Relaxed) as u32,
        max: 100,
    }
}

/// A background process works out the level of pressure while the use goes down, up and into
/// the band in which a level stays. It never replaces a level by one of an older load.
#[test]
fn late_process_keeps_the_newer_level() {
    let _clock = clock();
    explore("level of pressure against a late process", || {
        IN_USE.store(80, Ordering::Relaxed);
        let limiter = Limiter::with_buckets(1, 0).with_load(load);
        let shared = Shared(Arc::new(limiter));
        shared.0.set_pressure(Pressure::parse("80:1").unwrap());
        assert_eq!(shared.0.load_report().reached, 1);
        let other = shared.spawn(|shared| shared.0.load_report().reached);
        for (in_use, reached) in [(74, 0), (81, 1), (77, 1)] {
            IN_USE.store(in_use, Ordering::Relaxed);
            assert!(shared.check(A).is_ok());
            assert_eq!(shared.0.load_report().reached, reached, "{in_use}");
        }
        other.join().unwrap();
        assert_eq!(shared.0.load_report().reached, 1);
    });
}

impl Shared {
    /// A slot for A and one for its network, which has the limit 1. Both have their slots.
    fn with_network() -> Shared {
        let shared = Shared(Arc::new(Limiter::with_networks_and_buckets(2, 1)));
        let (token, _) = shared.connect_within(0, ANY).unwrap();
        shared.disconnect(token).unwrap();
        shared
    }

    /// Counts a connection of A with the descriptor of this worker. Also returns whether it
    /// counts in the network: while A moves to another slot, the network may have no slot.
    fn connect_within(&self, worker: u32, limit: i32) -> Option<(ConnectionToken, bool)> {
        let (descriptor, facts) = (worker as i32, Facts::NONE);
        let worker = Worker::new(worker);
        let token = self
            .0
            .connect(worker, descriptor, source(A), &[], facts, limit);
        Some((token.ok()?, self.0.counts_network_of(descriptor)))
    }

    /// Asserts, at rest, that A and its network have these connections, and closes them.
    fn assert_both(&self, open: Vec<(ConnectionToken, bool)>) {
        let network = self.0.network(source(A)).unwrap();
        let counted = |key| Report::of(&self.0).get(key).connections as usize;
        let in_network = open.iter().filter(|(_, in_network)| *in_network).count();
        assert_eq!(
            (counted(source(A)), counted(network)),
            (open.len(), in_network)
        );
        for (token, _) in open {
            self.disconnect(token).unwrap();
        }
        assert_eq!((counted(source(A)), counted(network)), (0, 0));
    }
}

/// Two acceptors count connections in a source and in its network, whose limit is 1.
#[test]
fn two_acceptors_count_in_both_scopes_or_in_neither() {
    // Both also move, so there are as many orders as where three threads claim.
    explore_three("two_acceptors_count_in_both_scopes_or_in_neither", || {
        let shared = Shared::with_network();
        let other = shared.spawn(|shared| shared.connect_within(1, 9));
        let own = shared.connect_within(0, 9);
        let open: Vec<_> = [own, other.join().unwrap()].into_iter().flatten().collect();
        let in_network = open.iter().filter(|(_, in_network)| *in_network).count();
        assert!(in_network <= 1, "more than the limit of the network");
        shared.assert_both(open);
    });
}

/// A connection closes in another process while the source opens one, and its network has
/// the limit 1.
#[test]
fn close_in_both_scopes_against_connect() {
    explore("close_in_both_scopes_against_connect", || {
        let shared = Shared::with_network();
        let (first, in_network) = shared.connect_within(1, ANY).unwrap();
        assert!(in_network);
        let closer = shared.spawn(move |shared| {
            let ended = shared.0.disconnect(Worker::new(1), first, Facts::NONE);
            ended.unwrap();
        });
        let second = shared.connect_within(0, 9);
        closer.join().unwrap();
        let third = shared.connect_within(1, 9);
        assert!(second.is_none() || third.is_none());
        shared.assert_both([second, third].into_iter().flatten().collect());
    });
}

impl Shared {
    /// A table of one bucket for each source, whose connections can be moved and trusted. Those of
    /// `A` are from a proxy.
    fn with_moves(buckets: usize) -> Shared {
        let limiter = Limiter::with_buckets_and_moves(buckets);
        engine::load_rules(&limiter, &[format!("10.0.0.{A} = unlimited proxy")]);
        Shared(Arc::new(limiter))
    }

    /// Moves a connection of the proxy to source `n`.
    fn count_for(&self, token: ConnectionToken, n: u8) -> bool {
        let (worker, address) = (Worker::new(1), |n: u8| [10, 0, 0, n]);
        let moved = self.0.count_for(worker, token, &address(A), &address(n));
        moved.is_ok()
    }
}

/// A worker moves a connection while TCP main closes it and opens another one with the same
/// descriptor, which is then moved as well.
#[test]
fn move_against_reuse_of_the_descriptor() {
    // Very many orders.
    let search = Search::of(1, || {
        let shared = Shared::with_moves(4);
        let first = shared.connect(A);
        let other = shared.spawn(move |shared| shared.count_for(first, B));
        shared.disconnect(first).unwrap();
        let second = shared.connect(A);
        assert!(shared.count_for(second, B));
        let _ = other.join().unwrap();
        shared.assert_counts(&[(B, 1)]);
        shared.disconnect(second).unwrap();
        shared.assert_counts(&[]);
    });
    println!("move against reuse of the descriptor: {search}");
}

/// A worker moves a connection that was moved before while TCP main closes it.
#[test]
fn second_move_against_close() {
    let search = Search::of(0, || {
        let shared = Shared::with_moves(4);
        let token = shared.connect(A);
        assert!(shared.count_for(token, B));
        let other = shared.spawn(move |shared| shared.count_for(token, A));
        shared.disconnect(token).unwrap();
        let _ = other.join().unwrap();
        shared.assert_counts(&[]);
    });
    println!("second move against close: {search}");
}

/// A worker trusts a connection while another one moves it. The trust is counted where the
/// connection is.
#[test]
fn move_against_trust() {
    let search = Search::of(0, || {
        let shared = Shared::with_moves(4);
        let token = shared.connect(A);
        let other = shared.spawn(move |shared| shared.trust(token));
        assert!(shared.count_for(token, B));
        assert!(other.join().unwrap());
        assert_eq!((shared.trusted(A), shared.trusted(B)), (0, 1));
        assert!(shared.disconnect(token).unwrap().include(Facts::TRUSTED));
        assert_eq!(shared.trusted(B), 0);
        shared.assert_counts(&[]);
    });
    println!("move against trust: {search}");
}

/// The background process changes what other nodes have of two sources that share their
/// buckets, while TCP main checks one of them. A check sees what was set for its source at some
/// time, never what was set for the other one.
#[test]
fn others_against_their_writer() {
    explore("others against their writer", || {
        let limiter = Limiter::with_buckets(1, 0).with_cluster().unwrap();
        let shared = Shared(Arc::new(limiter));
        assert!(shared.0.set_others(source(A), 3));
        assert!(shared.0.set_others(source(B), 10));
        let writer = shared.spawn(|shared| {
            // The one entry of the first bucket of both is A's, then B's.
            assert!(shared.0.set_others(source(B), 0));
            assert!(shared.0.set_others(source(A), 0));
            assert!(shared.0.set_others(source(B), 20));
            assert!(shared.0.set_others(source(A), 5));
        });
        assert!([0, 3, 5].contains(&shared.0.others(source(A))));
        assert!([0, 10, 20].contains(&shared.0.others(source(B))));
        writer.join().unwrap();
        assert_eq!(shared.0.others(source(A)), 5);
        assert_eq!(shared.0.others(source(B)), 20);
    });
}
