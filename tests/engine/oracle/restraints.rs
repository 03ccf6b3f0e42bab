// SPDX-License-Identifier: GPL-2.0-or-later
//! The oracle of rates, penalties and bans: operations on the engine, and plain maps on which
//! they do the same.

use std::cell::Cell;
use std::collections::HashMap;

use proptest::prelude::*;
use support::engine::{load_rules, source};
use tcp_conn_limit::limiter::{BanError, Facts, Limiter, NotCounted, RejectedFor, Token, Worker};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::penalties::{Cause, Penalty};
use tcp_conn_limit::policy::settings::{BanBounds, Mode};
use tcp_conn_limit::policy::terms::Rate;
use tcp_conn_limit::source::{PrefixLengths, Source};

use crate::operations::Room;

thread_local! {
    /// Microseconds of the limiter's clock.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

#[derive(Clone, Debug)]
enum Operation {
    /// Time passes.
    Pass(u64),
    /// Check, and open if admitted. With a limit, only count.
    Open {
        worker: u32,
        n: u32,
        limit: i32,
    },
    /// Close one of the live connections.
    Close {
        pick: usize,
        spoke: bool,
        tls: bool,
    },
    /// A slow rate, so that debts last.
    SetRate {
        interval: u32,
        burst: u32,
    },
    SetPenalty(usize, u32),
    SetLimit(i32),
    SetMode(Mode),
    /// Which rules apply, see [`RULES`].
    SetRules(usize),
    Offence(u32),
    Ban {
        n: u32,
        seconds: u32,
        script: bool,
    },
    Unban(u32),
    /// The watch looks at all sources.
    Tick,
}

/// Sets of rules: the exempt sources, and a rate of their own for some.
const RULES: [&[&str]; 4] = [
    &[],
    &["10.0.0.1=unlimited"],
    &["10.0.0.0/31=5 exempt", "10.0.0.2=9 rate=2/s burst=3"],
    &["10.0.0.0/8=9 rate=none"],
];

/// The rate of a source in a set of rules, and whether it is exempt. `None`: the default.
fn rule(set: usize, n: u32) -> (Option<Rate>, bool, Option<i32>) {
    let own = Rate {
        interval_us: 500_000,
        burst: 3,
    };
    match (set, n) {
        (1, 1) => (None, true, Some(0)),
        (2, 0 | 1) => (None, true, Some(5)),
        (2, 2) => (Some(own), false, Some(9)),
        (3, _) => (Some(Rate::NONE), false, Some(9)),
        _ => (None, false, None),
    }
}

fn operations(sources: u32, most: usize) -> impl Strategy<Value = Vec<Operation>> {
    let n = 0..sources;
    let mode = prop_oneof![
        4 => Just(Mode::Enforce),
        2 => Just(Mode::Monitor),
        1 => Just(Mode::Off),
    ];
    let operation = prop_oneof![
        3 => (0..3_000_000u64).prop_map(Operation::Pass),
        1 => (0..90_000_000u64).prop_map(Operation::Pass),
        10 => (0..5u32, n.clone(), prop_oneof![2 => Just(0), 1 => 1..4i32])
            .prop_map(|(worker, n, limit)| Operation::Open { worker, n, limit }),
        8 => (any::<usize>(), any::<bool>(), any::<bool>())
            .prop_map(|(pick, spoke, tls)| Operation::Close { pick, spoke, tls }),
        1 => (prop_oneof![Just(0), 100_000..5_000_000u32], 1..6u32)
            .prop_map(|(interval, burst)| Operation::SetRate { interval, burst }),
        1 => (0..5usize, 0..9_000u32).prop_map(|(kind, ms)| Operation::SetPenalty(kind, ms)),
        1 => (0..5i32).prop_map(Operation::SetLimit),
        1 => mode.prop_map(Operation::SetMode),
        1 => (0..RULES.len()).prop_map(Operation::SetRules),
        1 => n.clone().prop_map(Operation::Offence),
        1 => (n.clone(), 1..60u32, any::<bool>())
            .prop_map(|(n, seconds, script)| Operation::Ban { n, seconds, script }),
        1 => n.prop_map(Operation::Unban),
        2 => Just(Operation::Tick),
    ];
    proptest::collection::vec(operation, 0..most)
}

/// The end of the offences or the ban of a source in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sentence {
    end: u64,
    banned: bool,
    cause: Cause,
}

struct Oracle {
    room: Room,
    /// When the sources will have paid, in microseconds.
    debts: HashMap<u32, u64>,
    sentences: HashMap<u32, Sentence>,
    live: Vec<(u32, Token)>,
    rate: Rate,
    penalties: [u32; 5],
    limit: i32,
    mode: Mode,
    rules: usize,
    bans: u64,
    offences: [u64; 5],
    rejected: HashMap<RejectedFor, u64>,
    watch: Watch,
}

const BOUNDS: BanBounds = BanBounds {
    min: 10_000,
    max: 30_000,
};

fn now() -> u64 {
    NOW.with(Cell::get)
}

fn key(n: u32) -> Source {
    source(n)
}

impl Oracle {
    fn rate_of(&self, n: u32) -> Rate {
        rule(self.rules, n).0.unwrap_or(self.rate)
    }

    fn is_exempt(&self, n: u32) -> bool {
        rule(self.rules, n).1
    }

    fn limit_of(&self, n: u32) -> i32 {
        rule(self.rules, n).2.unwrap_or(self.limit)
    }

    fn count(&self, n: u32) -> i32 {
        self.live.iter().filter(|(of, _)| *of == n).count() as i32
    }

    fn owed(&self, n: u32) -> u64 {
        self.debts
            .get(&n)
            .map_or(0, |end| end.saturating_sub(now()))
    }

    fn sentence(&self, n: u32) -> Option<Sentence> {
        let sentence = self.sentences.get(&n).copied();
        sentence.filter(|sentence| sentence.end > now() / 1_000)
    }

    /// A source whose slot another one took owes nothing any more.
    fn notice_loss(&mut self, limiter: &Limiter, n: u32) {
        if self.room.replaced && self.count(n) == 0 {
            let report = Report::of(limiter).get(key(n));
            if report.owed_us == 0 {
                self.debts.remove(&n);
            }
            if report.penalty.is_none() && !self.is_exempt(n) {
                self.sentences.remove(&n);
            }
        }
    }

    fn admits(&self, n: u32) -> Result<(), RejectedFor> {
        if self.mode == Mode::Off {
            return Ok(());
        }
        let banned = self.sentence(n).is_some_and(|sentence| sentence.banned);
        if banned && !self.is_exempt(n) {
            return Err(RejectedFor::Ban);
        }
        if !self.may_charge(n) {
            return Err(RejectedFor::Rate);
        }
        let limit = self.limit_of(n);
        if limit > 0 && self.count(n) >= limit {
            return Err(RejectedFor::Limit);
        }
        Ok(())
    }

    fn may_charge(&self, n: u32) -> bool {
        let rate = self.rate_of(n);
        let interval = u64::from(rate.interval_us);
        rate.is_none() || self.owed(n) + interval <= interval * u64::from(rate.burst)
    }

    fn offend(&mut self, n: u32, kind: usize) {
        let weight = u64::from(self.penalties[kind]);
        if weight == 0 || self.mode == Mode::Off || self.is_exempt(n) {
            return;
        }
        self.offences[kind] += 1;
        let (before, now) = (self.sentence(n), now() / 1_000);
        let end = before.map_or(now, |before| before.end);
        let end = end.max((end + weight).min(now + u64::from(BOUNDS.max)));
        let was_banned = before.is_some_and(|before| before.banned);
        let banned = was_banned || end - now >= u64::from(BOUNDS.min);
        self.bans += u64::from(banned && !was_banned);
        let cause = match before {
            Some(before) if was_banned => before.cause,
            _ => Cause::OFFENCES[kind],
        };
        self.sentences.insert(n, Sentence { end, banned, cause });
    }

    fn open(&mut self, limiter: &Limiter, worker: u32, n: u32, limit: i32) {
        self.notice_loss(limiter, n);
        if limit == 0 {
            let expected = self.admits(n);
            let found = match limiter.check(key(n)) {
                Ok(()) => Ok(()),
                Err(rejection) => {
                    let close = limiter.rejected(Worker::new(worker), rejection);
                    assert_eq!(close, self.mode == Mode::Enforce);
                    Err(rejection.reason().unwrap())
                }
            };
            assert_eq!(found, expected, "{n}");
            if let Err(reason) = expected {
                *self.rejected.entry(reason).or_default() += 1;
                match reason {
                    RejectedFor::Ban | RejectedFor::Reserve | RejectedFor::Pressure => {}
                    RejectedFor::Limit => self.offend(n, 2),
                    RejectedFor::Rate => self.offend(n, 3),
                    RejectedFor::Cluster => panic!("there is no cluster"),
                    RejectedFor::Untrusted => panic!("no connection can be trusted"),
                }
                if self.mode == Mode::Enforce {
                    return;
                }
            }
        }
        let over_limit = limit > 0 && self.count(n) >= limit;
        let over_rate = self.mode != Mode::Off && !self.may_charge(n);
        match limiter.opened(Worker::new(worker), key(n), limit) {
            Ok(token) => {
                assert!(!over_limit);
                assert!(!over_rate || limit == 0 || self.mode != Mode::Enforce);
                self.live.push((n, token));
                let rate = self.rate_of(n);
                if self.mode != Mode::Off && !over_rate && !rate.is_none() {
                    let end = now() + self.owed(n) + u64::from(rate.interval_us);
                    self.debts.insert(n, end);
                }
            }
            Err(NotCounted::OverLimit) => assert!(over_limit),
            Err(NotCounted::OverRate) => assert!(!over_limit && over_rate && limit > 0),
            Err(NotCounted::TableFull) => assert!(self.room.full),
            Err(NotCounted::OverNetwork) => panic!("no network is counted"),
        }
    }

    fn run(&mut self, limiter: &Limiter, operation: &Operation) {
        match *operation {
            Operation::Pass(micros) => NOW.with(|now| now.set(now.get() + micros)),
            Operation::Open { worker, n, limit } => self.open(limiter, worker, n, limit),
            Operation::Close { pick, spoke, tls } => {
                if self.live.is_empty() {
                    return;
                }
                let (n, token) = self.live[pick % self.live.len()];
                let fact = |holds, fact| if holds { fact } else { Facts::NONE };
                let facts = fact(spoke, Facts::SPOKE) | fact(tls, Facts::TLS);
                limiter.offence_of_close(Worker::ACCEPTOR, token, facts);
                if !spoke {
                    self.offend(n, usize::from(tls));
                }
                self.live.swap_remove(pick % self.live.len());
                limiter.closed(Worker::ACCEPTOR, token).unwrap();
            }
            Operation::SetRate { interval, burst } => {
                self.rate = match interval {
                    0 => Rate::NONE,
                    interval_us => Rate { interval_us, burst },
                };
                limiter.set_rate(self.rate);
            }
            Operation::SetPenalty(kind, millis) => {
                self.penalties[kind] = millis;
                let offence = Cause::OFFENCES[kind];
                limiter.set_penalty(Penalty { offence, millis });
            }
            Operation::SetLimit(limit) => {
                self.limit = limit;
                limiter.set_limit(limit);
            }
            Operation::SetMode(mode) => {
                self.mode = mode;
                limiter.set_mode(mode);
            }
            Operation::SetRules(set) => {
                self.rules = set;
                load_rules(limiter, RULES[set]);
            }
            Operation::Offence(n) => {
                self.notice_loss(limiter, n);
                let charged = limiter.offence(Worker::new(1), key(n));
                if charged == Err(BanError::NoSlot) {
                    assert!(self.room.full);
                    return;
                }
                if self.penalties[4] > 0 && self.is_exempt(n) {
                    assert_eq!(charged, Err(BanError::Exempt));
                    return;
                }
                self.offend(n, 4);
                let banned = self.sentence(n).is_some_and(|sentence| sentence.banned);
                // In the mode off nothing is charged, and no ban applies.
                if self.mode != Mode::Off || self.penalties[4] == 0 {
                    assert_eq!(charged, Ok(banned && !self.is_exempt(n)));
                }
            }
            Operation::Ban { n, seconds, script } => {
                self.notice_loss(limiter, n);
                let cause = if script { Cause::Script } else { Cause::Rpc };
                let banned = limiter.ban(Worker::new(2), key(n), seconds, cause);
                if self.is_exempt(n) {
                    assert!(matches!(banned, Err(BanError::Exempt | BanError::NoSlot)));
                    return;
                }
                if banned == Err(BanError::NoSlot) {
                    assert!(self.room.full);
                    return;
                }
                let before = self.sentence(n);
                let ban = Sentence {
                    end: now() / 1_000 + u64::from(seconds) * 1_000,
                    banned: true,
                    cause,
                };
                let was_banned = before.is_some_and(|before| before.banned);
                self.bans += u64::from(!was_banned);
                match before {
                    Some(before) if script && was_banned && before.end > ban.end => {}
                    _ => {
                        self.sentences.insert(n, ban);
                    }
                }
            }
            Operation::Unban(n) => {
                self.notice_loss(limiter, n);
                let lifted = self.sentence(n).is_some();
                let found = limiter.unban(key(n), Cause::Script);
                assert!(found == lifted || self.room.replaced && self.is_exempt(n));
                self.sentences.remove(&n);
            }
            Operation::Tick => {
                let seconds = (now() / 1_000_000) as u32;
                self.watch.tick(limiter, seconds, 60, &mut |_| {});
            }
        }
    }

    fn compare(&mut self, limiter: &Limiter, sources: u32) {
        for n in 0..sources {
            self.notice_loss(limiter, n);
            let report = Report::of(limiter).get(key(n));
            assert_eq!(report.owed_us, self.owed(n), "debt of {n}");
            assert_eq!(report.connections as i32, self.count(n), "{n}");
            let expected = self.sentence(n).filter(|_| !self.is_exempt(n));
            let found = report.penalty.map(|found| Sentence {
                end: now() / 1_000 + found.left_ms,
                banned: found.banned,
                cause: found.cause,
            });
            assert_eq!(found, expected, "sentence of {n}");
        }
        let totals = limiter.totals();
        assert_eq!(totals.bans + totals.would_ban, self.bans);
        let offences = [
            totals.penalty_silent,
            totals.penalty_tls,
            totals.penalty_rejected,
            totals.penalty_rate,
            totals.penalty_script,
        ];
        assert_eq!(offences, self.offences);
        let rejected = |reason| self.rejected.get(&reason).copied().unwrap_or(0);
        let rates = totals.rate_rejected + totals.rate_would_reject;
        assert_eq!(rates, rejected(RejectedFor::Rate));
        let bans = totals.ban_rejected + totals.ban_would_reject;
        assert_eq!(bans, rejected(RejectedFor::Ban));
        let all = totals.rejected + totals.would_reject;
        assert_eq!(all, rates + bans + rejected(RejectedFor::Limit));
        assert!(totals.forgotten == 0 || self.room.replaced);
    }
}

/// Runs `operations` on both, and compares them.
fn agree(connections: u32, sources: u32, operations: &[Operation], start: u64, room: Room) {
    NOW.with(|now| now.set(start));
    let limiter = Limiter::new(connections, 0, PrefixLengths::DEFAULT).unwrap();
    let limiter = limiter.with_clock(now);
    limiter.set_ban_bounds(BOUNDS);
    let mut oracle = Oracle {
        room,
        debts: HashMap::new(),
        sentences: HashMap::new(),
        live: Vec::new(),
        rate: Rate::NONE,
        penalties: [0; 5],
        limit: 0,
        mode: Mode::Enforce,
        rules: 0,
        bans: 0,
        offences: [0; 5],
        rejected: HashMap::new(),
        watch: Watch::default(),
    };
    for operation in [
        Operation::SetRate {
            interval: 1_000_000,
            burst: 3,
        },
        Operation::SetPenalty(0, 3_000),
        Operation::SetLimit(4),
    ] {
        oracle.run(&limiter, &operation);
    }
    for some in operations.chunks(50) {
        for operation in some {
            oracle.run(&limiter, operation);
        }
        oracle.compare(&limiter, sources);
    }
}

/// Starts of the clock, also just before its words wrap around.
fn starts() -> impl Strategy<Value = u64> {
    let tenth = 10_000_000;
    prop_oneof![
        Just(0),
        Just((1 << 40) - tenth),
        Just((1 << 36) * 1_000 - tenth),
        0..1u64 << 50,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Few sources in a table with room for all.
    #[test]
    fn debts_and_bans_match_the_oracle(operations in operations(5, 600), start in starts()) {
        agree(600, 5, &operations, start, Room::ENOUGH);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Sources that replace each other in a tiny table: what they owe is exact, or forgotten.
    #[test]
    fn debts_and_bans_in_a_tiny_table_match_the_oracle(
        operations in operations(150, 1_500),
        start in starts(),
    ) {
        agree(1, 150, &operations, start, Room::LITTLE);
    }
}
