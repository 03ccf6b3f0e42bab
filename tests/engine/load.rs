// SPDX-License-Identifier: GPL-2.0-or-later
//! Reserve and pressure: what applies while the host is nearly full.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::Ipv6Addr;

use proptest::prelude::*;
use support::engine::{load_rules, source, source_of};
use tcp_conn_limit::limiter::load::Load;
use tcp_conn_limit::limiter::{Limiter, RejectedFor, Token, Totals, Worker};
use tcp_conn_limit::observe::load_notices::{LoadChange, LoadNotice};
use tcp_conn_limit::observe::notices::{Notice, Why};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::penalties::Penalty;
use tcp_conn_limit::policy::pressure::Pressure;
use tcp_conn_limit::policy::reserve::Reserve;
use tcp_conn_limit::policy::settings::{Mode, OnFull};
use tcp_conn_limit::source::{PrefixLengths, Source};

thread_local! {
    /// Connections of the host that are in use, and their maximum.
    static LOAD: Cell<(u32, u32)> = const { Cell::new((0, 1000)) };
}

fn load() -> Load {
    let (in_use, max) = LOAD.get();
    Load { in_use, max }
}

fn use_connections(in_use: u32) {
    LOAD.set((in_use, LOAD.get().1));
}

/// A limiter of a host with 1000 connections.
fn limiter(limit: i32, reserve: &str, pressure: &str) -> Limiter {
    LOAD.set((0, 1000));
    let limiter = Limiter::new(1000, limit, PrefixLengths::DEFAULT).unwrap();
    let limiter = limiter.with_load(load);
    limiter.set_reserve(Reserve::parse(reserve, Some(1000)).unwrap());
    limiter.set_pressure(Pressure::parse(pressure).unwrap());
    limiter
}

/// Checks a connection as a server does. Returns why it is rejected.
fn attempt(limiter: &Limiter, source: Source) -> Result<(), RejectedFor> {
    limiter.check(source).map_err(|rejection| {
        limiter.rejected(Worker::ACCEPTOR, rejection);
        rejection.reason().unwrap()
    })
}

/// Opens connections whatever the limits.
fn open(limiter: &Limiter, source: Source, connections: usize) -> Vec<Token> {
    let open = || limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
    std::iter::repeat_with(open).take(connections).collect()
}

#[test]
fn last_connections_are_for_trusted_sources() {
    for (reserve, free) in [("50", 950), ("5%", 950), ("999", 1), ("1%", 990)] {
        let limiter = limiter(0, reserve, "none");
        load_rules(
            &limiter,
            &["10.0.0.1=100 trusted", "2001:db8::/32=5 trusted"],
        );
        open(&limiter, source(3), 1);
        let v6 = |text: &str| source_of(text.parse::<Ipv6Addr>().unwrap());
        let trusted = [source(1), v6("2001:db8:0:1::1")];
        let others = [source(2), source(3), v6("fe80::1")];
        for in_use in [0, free - 1] {
            use_connections(in_use);
            for source in trusted.iter().chain(&others) {
                assert_eq!(attempt(&limiter, *source), Ok(()), "{reserve}");
            }
        }
        for in_use in [free, 999, 1000, 1001] {
            use_connections(in_use);
            for other in others {
                let expected = Err(RejectedFor::Reserve);
                assert_eq!(attempt(&limiter, other), expected, "{reserve} {in_use}");
            }
            for trusted in trusted {
                assert_eq!(attempt(&limiter, trusted), Ok(()), "{reserve} {in_use}");
            }
        }
        use_connections(free - 1);
        assert_eq!(attempt(&limiter, others[0]), Ok(()));
        let expected = Totals {
            admitted: 1,
            rejected: 12,
            reserve_rejected: 12,
            ..Totals::default()
        };
        assert_eq!(limiter.totals(), expected);
    }
}

#[test]
fn trusted_source_keeps_its_own_limit() {
    let limiter = limiter(0, "50", "80:10");
    load_rules(&limiter, &["10.0.0.1=20 trusted"]);
    use_connections(999);
    open(&limiter, source(1), 19);
    assert_eq!(attempt(&limiter, source(1)), Ok(()));
    open(&limiter, source(1), 1);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Limit));
}

#[test]
fn trusted_address_in_a_source_uses_the_reserve() {
    let limiter = limiter(0, "50", "none");
    load_rules(&limiter, &["2001:db8::1=5 trusted"]);
    use_connections(950);
    for (last, admitted) in [(1, true), (2, false)] {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        address[15] = last;
        let source = limiter.source(&address).unwrap();
        assert_eq!(limiter.check_from(source, &address).is_ok(), admitted);
    }
}

#[test]
fn heaviest_sources_are_rejected_first() {
    let limiter = limiter(100, "none", "80:50% 90:10");
    open(&limiter, source(1), 60);
    open(&limiter, source(2), 10);
    open(&limiter, source(3), 9);
    for (in_use, admitted) in [
        (799, [true, true, true]),
        (800, [false, true, true]),
        (900, [false, false, true]),
        (850, [false, false, true]),
        (849, [false, true, true]),
        (750, [false, true, true]),
        (749, [true, true, true]),
        (799, [true, true, true]),
    ] {
        use_connections(in_use);
        let found = [1, 2, 3].map(|n| attempt(&limiter, source(n)).is_ok());
        assert_eq!(found, admitted, "{in_use}");
        // A source without connections is never rejected by pressure.
        assert_eq!(attempt(&limiter, source(4)), Ok(()));
    }
    let totals = limiter.totals();
    assert_eq!((totals.rejected, totals.pressure_rejected), (7, 7));
    assert_eq!(totals.reserve_rejected, 0);
}

#[test]
fn only_a_number_bounds_sources_without_a_limit() {
    let limiter = limiter(0, "none", "80:50% 90:10");
    load_rules(
        &limiter,
        &["10.0.0.2=unlimited", "10.0.0.3=unlimited trusted"],
    );
    for n in 1..=3 {
        open(&limiter, source(n), 20);
    }
    let admitted = || [1, 2, 3].map(|n| attempt(&limiter, source(n)).is_ok());
    use_connections(899);
    assert_eq!(admitted(), [true; 3]);
    use_connections(900);
    assert_eq!(admitted(), [false, false, true]);
}

#[test]
fn monitor_mode_counts_and_admits() {
    let limiter = limiter(100, "10", "80:10");
    limiter.set_mode(Mode::Monitor);
    open(&limiter, source(1), 50);
    let reject = |n| limiter.rejected(Worker::ACCEPTOR, limiter.check(source(n)).unwrap_err());
    use_connections(800);
    assert!(!reject(1));
    use_connections(995);
    assert!(!reject(2));
    let totals = limiter.totals();
    assert_eq!((totals.rejected, totals.would_reject), (0, 2));
    assert_eq!(totals.reserve_would_reject, 1);
    assert_eq!(totals.pressure_would_reject, 1);
}

#[test]
fn mode_off_checks_nothing() {
    let limiter = limiter(1, "10", "80:1");
    limiter.set_mode(Mode::Off);
    open(&limiter, source(1), 5);
    use_connections(1000);
    assert_eq!(attempt(&limiter, source(1)), Ok(()));
    assert_eq!(limiter.load_report().reached, 0);
}

#[test]
fn full_host_is_not_an_offence() {
    let limiter = limiter(100, "10", "80:10");
    limiter.set_penalty(Penalty::parse("rejected=60").unwrap());
    open(&limiter, source(1), 50);
    for in_use in [900, 1000] {
        use_connections(in_use);
        for _ in 0..100 {
            attempt(&limiter, source(1)).unwrap_err();
        }
    }
    assert_eq!(limiter.totals().penalty_rejected, 0);
    assert_eq!(Report::of(&limiter).get(source(1)).penalty, None);
}

#[test]
fn bans_limits_and_full_tables_still_count() {
    let limiter = limiter(5, "10", "80:50%");
    load_rules(&limiter, &["10.0.0.9=5 trusted"]);
    open(&limiter, source(1), 5);
    use_connections(995);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Limit));
    let tiny = Limiter::new(1, 0, PrefixLengths::DEFAULT).unwrap();
    let tiny = tiny.with_load(load);
    tiny.set_reserve(Reserve::Connections(10));
    tiny.set_on_full(OnFull::Reject);
    load_rules(&tiny, &["10.0.0.0/8=5 trusted"]);
    let rejected = (0..1_000).filter(|n| match tiny.check(source(*n)) {
        Ok(()) => {
            open(&tiny, source(*n), 1);
            false
        }
        Err(rejection) => rejection.reason().is_none(),
    });
    assert!(rejected.count() > 800);
}

#[test]
fn host_without_a_load_is_never_full() {
    let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
    limiter.set_reserve(Reserve::Connections(9));
    limiter.set_pressure(Pressure::parse("10:1").unwrap());
    open(&limiter, source(1), 10);
    assert_eq!(attempt(&limiter, source(1)), Ok(()));
    assert!(!limiter.has_load());
}

/// The maximum can change while the host runs.
#[test]
fn share_follows_the_maximum_of_the_host() {
    let limiter = limiter(0, "10%", "50:1");
    open(&limiter, source(1), 1);
    for (in_use, max, expected) in [
        (90, 100, Err(RejectedFor::Reserve)),
        (89, 100, Err(RejectedFor::Pressure)),
        (90, 1000, Ok(())),
        (0, 0, Err(RejectedFor::Reserve)),
    ] {
        LOAD.set((in_use, max));
        assert_eq!(attempt(&limiter, source(1)), expected, "{in_use} {max}");
    }
}

#[test]
fn switching_off_admits_at_once() {
    let limiter = limiter(0, "10", "80:1");
    open(&limiter, source(1), 1);
    use_connections(1000);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Reserve));
    limiter.set_reserve(Reserve::None);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Pressure));
    assert_eq!(Report::of(&limiter).effective(source(1)), 1);
    limiter.set_pressure(Pressure::NONE);
    assert_eq!(attempt(&limiter, source(1)), Ok(()));
    let report = limiter.load_report();
    assert_eq!((report.reached, report.reserve_used), (0, 0));
    assert_eq!(
        report.load,
        Load {
            in_use: 1000,
            max: 1000
        }
    );
}

/// New levels are reached from below: those before say nothing of them.
#[test]
fn new_levels_have_no_hysteresis_of_the_old_ones() {
    let limiter = limiter(0, "none", "80:1");
    use_connections(800);
    assert_eq!(limiter.load_report().reached, 1);
    use_connections(760);
    assert_eq!(limiter.load_report().reached, 1);
    limiter.set_pressure(Pressure::parse("79:1").unwrap());
    assert_eq!(limiter.load_report().reached, 0);
}

#[test]
fn reserve_in_use_is_reported() {
    let limiter = limiter(0, "50", "none");
    for (in_use, used, reserved) in [
        (949, 0, false),
        (950, 0, true),
        (951, 1, true),
        (1000, 50, true),
        (1010, 50, true),
    ] {
        use_connections(in_use);
        let report = limiter.load_report();
        assert_eq!(
            (report.reserve_used, report.is_reserved()),
            (used, reserved),
            "{in_use}"
        );
    }
}

/// The log of a watch that ticks once a second, with summaries every 10 seconds.
struct Log {
    watch: Watch,
    now: u32,
}

impl Log {
    fn tick(&mut self, limiter: &Limiter) -> Vec<Notice> {
        self.now += 1;
        let mut notices = Vec::new();
        self.watch
            .tick(limiter, self.now, 10, &mut |notice| notices.push(notice));
        notices
    }

    fn changes(&mut self, limiter: &Limiter) -> Vec<LoadChange> {
        let change = |notice| match notice {
            Notice::Load(LoadNotice { change, .. }) => Some(change),
            _ => None,
        };
        self.tick(limiter).into_iter().filter_map(change).collect()
    }
}

#[test]
fn each_level_is_logged_once() {
    let limiter = limiter(0, "none", "80:5 90:2");
    let mut log = Log {
        watch: Watch::default(),
        now: 0,
    };
    for (in_use, expected) in [
        (0, None),
        (800, Some(0)),
        (800, None),
        (950, Some(1)),
        (860, None),
        (0, Some(2)),
        (0, None),
        (900, Some(0)),
    ] {
        use_connections(in_use);
        let expected: Vec<_> = expected.map(LoadChange::Pressure).into_iter().collect();
        assert_eq!(log.changes(&limiter), expected, "{in_use}");
    }
    limiter.set_pressure(Pressure::NONE);
    assert_eq!(log.changes(&limiter), [LoadChange::Pressure(2)]);
    assert_eq!(log.changes(&limiter), []);
}

#[test]
fn reserve_is_logged_when_needed_and_with_its_rejections() {
    let limiter = limiter(0, "50", "none");
    let mut log = Log {
        watch: Watch::default(),
        now: 0,
    };
    assert_eq!(log.changes(&limiter), []);
    use_connections(950);
    assert_eq!(log.changes(&limiter), [LoadChange::Reserved]);
    for n in 0..7 {
        attempt(&limiter, source(n)).unwrap_err();
    }
    // At the edge of the reserve there is no other line.
    for second in 3..=10 {
        use_connections(940 + second % 2 * 10);
        assert_eq!(log.changes(&limiter), []);
    }
    use_connections(950);
    let kept = LoadChange::Kept {
        rejected: 7,
        seconds: 10,
    };
    assert_eq!(log.changes(&limiter), [kept]);
    use_connections(949);
    for _ in 0..9 {
        assert_eq!(log.changes(&limiter), []);
    }
    assert_eq!(log.changes(&limiter), [LoadChange::Free(10)]);
}

/// A source that is rejected has a line, and another one when it is back.
#[test]
fn source_under_pressure_is_logged_with_its_effective_limit() {
    let limiter = limiter(100, "none", "80:50%");
    let mut tokens = open(&limiter, source(1), 50);
    let mut log = Log {
        watch: Watch::default(),
        now: 0,
    };
    use_connections(800);
    log.tick(&limiter);
    attempt(&limiter, source(1)).unwrap_err();
    let notices = log.tick(&limiter);
    let [Notice::First { limit, why, .. }] = &notices[..] else {
        panic!("{notices:?}");
    };
    assert_eq!((*limit, *why), (50, Why::Pressure));
    assert!(log.tick(&limiter).is_empty());
    limiter
        .closed(Worker::ACCEPTOR, tokens.pop().unwrap())
        .unwrap();
    let notices = log.tick(&limiter);
    let [Notice::Released { limit: 50, .. }] = &notices[..] else {
        panic!("{notices:?}");
    };
}

#[derive(Clone, Debug)]
enum Operation {
    /// The server accepts a connection of this source, if it is admitted.
    Accept(u32),
    /// One of the open connections closes.
    Close(usize),
    /// The server opens this many connections itself, or closes them.
    Others(u32),
    SetReserve(usize),
    SetPressure(usize),
    SetLimit(i32),
    SetMode(Mode),
    SetRules(usize),
    /// The background process looks.
    Tick,
}

const MAX: u32 = 40;

const RESERVES: [&str; 4] = ["none", "4", "20%", "39"];

/// From which percentage on, the percentage of the limit, and the number of connections.
type Level = (u32, u32, u32);

/// Levels as text, and as numbers for the oracle.
const PRESSURES: [(&str, &[Level]); 4] = [
    ("none", &[]),
    ("50:50%", &[(50, 50, NO_NUMBER)]),
    (
        "40:3 60:50% 80:1",
        &[(40, 100, 3), (60, 50, NO_NUMBER), (80, 100, 1)],
    ),
    (
        "10:90% 15:9 90:2",
        &[(10, 90, NO_NUMBER), (15, 100, 9), (90, 100, 2)],
    ),
];
const NO_NUMBER: u32 = u32::MAX;

const RULES: [&[&str]; 3] = [
    &[],
    &["10.0.0.1=5 trusted", "10.0.0.2=7"],
    &["10.0.0.0/31=unlimited", "10.0.0.2=unlimited trusted"],
];

/// Limit and trust of a source by rules.
fn rule(set: usize, n: u32) -> Option<(i32, bool)> {
    match (set, n) {
        (1, 1) => Some((5, true)),
        (1, 2) => Some((7, false)),
        (2, 0 | 1) => Some((0, false)),
        (2, 2) => Some((0, true)),
        _ => None,
    }
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let mode = prop_oneof![
        5 => Just(Mode::Enforce),
        1 => Just(Mode::Monitor),
        1 => Just(Mode::Off),
    ];
    let operation = prop_oneof![
        30 => (0..8u32).prop_map(Operation::Accept),
        20 => any::<usize>().prop_map(Operation::Close),
        2 => (0..MAX).prop_map(Operation::Others),
        1 => (0..RESERVES.len()).prop_map(Operation::SetReserve),
        1 => (0..PRESSURES.len()).prop_map(Operation::SetPressure),
        1 => (0..9i32).prop_map(Operation::SetLimit),
        1 => mode.prop_map(Operation::SetMode),
        1 => (0..RULES.len()).prop_map(Operation::SetRules),
        3 => Just(Operation::Tick),
    ];
    proptest::collection::vec(operation, 0..1_500)
}

/// The same with plain numbers.
struct Oracle {
    live: Vec<(u32, Token)>,
    others: u32,
    reserve: usize,
    pressure: usize,
    /// Which levels are reached.
    reached: Vec<bool>,
    limit: i32,
    mode: Mode,
    rules: usize,
    rejected: HashMap<RejectedFor, u64>,
}

impl Oracle {
    fn in_use(&self) -> u32 {
        self.live.len() as u32 + self.others
    }

    fn kept(&self) -> u32 {
        match self.reserve {
            0 => 0,
            1 => 4,
            2 => 8,
            _ => 39,
        }
    }

    /// Works out the levels, as each check and tick does.
    fn update(&mut self) {
        let levels = PRESSURES[self.pressure].1;
        let percent = self.in_use() * 100;
        let reaches = |index: usize, from: u32| {
            let from = if self.reached[index] { from - 5 } else { from };
            percent >= from * MAX
        };
        let highest = (0..levels.len()).rfind(|index| reaches(*index, levels[*index].0));
        let count = highest.map_or(0, |highest| highest + 1);
        self.reached = (0..levels.len()).map(|index| index < count).collect();
    }

    fn admits(&mut self, n: u32) -> Result<(), RejectedFor> {
        if self.mode == Mode::Off {
            return Ok(());
        }
        self.update();
        let (limit, trusted) = rule(self.rules, n).unwrap_or((self.limit, false));
        let connections = self.live.iter().filter(|(of, _)| *of == n).count() as u32;
        let limit = if limit > 0 { limit as u32 } else { NO_NUMBER };
        if connections >= limit {
            return Err(RejectedFor::Limit);
        }
        if trusted {
            return Ok(());
        }
        if self.reserve != 0 && self.in_use() + self.kept() >= MAX {
            return Err(RejectedFor::Reserve);
        }
        let levels = PRESSURES[self.pressure].1.iter().zip(&self.reached);
        for ((_, percent, number), _) in levels.filter(|(_, reached)| **reached) {
            let share = match limit {
                NO_NUMBER => NO_NUMBER,
                _ => (limit * percent).div_ceil(100),
            };
            if connections >= share.min(*number) {
                return Err(RejectedFor::Pressure);
            }
        }
        Ok(())
    }

    fn run(&mut self, limiter: &Limiter, watch: &mut Watch, operation: &Operation) {
        match *operation {
            Operation::Accept(n) => {
                let expected = self.admits(n);
                assert_eq!(attempt(limiter, source(n)), expected, "{n}");
                if let Err(reason) = expected {
                    *self.rejected.entry(reason).or_default() += 1;
                }
                if expected.is_ok() || self.mode == Mode::Monitor {
                    let token = limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
                    self.live.push((n, token));
                }
            }
            Operation::Close(_) if self.live.is_empty() => {}
            Operation::Close(pick) => {
                let (_, token) = self.live.swap_remove(pick % self.live.len());
                limiter.closed(Worker::ACCEPTOR, token).unwrap();
            }
            Operation::Others(others) => self.others = others,
            Operation::SetReserve(reserve) => {
                self.reserve = reserve;
                limiter.set_reserve(Reserve::parse(RESERVES[reserve], Some(MAX)).unwrap());
            }
            Operation::SetPressure(pressure) => {
                self.pressure = pressure;
                self.reached = vec![false; PRESSURES[pressure].1.len()];
                limiter.set_pressure(Pressure::parse(PRESSURES[pressure].0).unwrap());
            }
            Operation::SetLimit(limit) => {
                self.limit = limit;
                limiter.set_limit(limit);
            }
            Operation::SetMode(mode) => {
                self.mode = mode;
                limiter.set_mode(mode);
            }
            Operation::SetRules(rules) => {
                self.rules = rules;
                load_rules(limiter, RULES[rules]);
            }
            Operation::Tick => {
                if self.mode != Mode::Off {
                    self.update();
                }
                watch.tick(limiter, 1, 60, &mut |_| {});
            }
        }
        LOAD.set((self.in_use(), MAX));
    }

    fn compare(&self, limiter: &Limiter) {
        let totals = limiter.totals();
        let rejected = |reason| self.rejected.get(&reason).copied().unwrap_or(0);
        let reserve = totals.reserve_rejected + totals.reserve_would_reject;
        assert_eq!(reserve, rejected(RejectedFor::Reserve));
        let pressure = totals.pressure_rejected + totals.pressure_would_reject;
        assert_eq!(pressure, rejected(RejectedFor::Pressure));
        let all = totals.rejected + totals.would_reject;
        assert_eq!(all, self.rejected.values().sum::<u64>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn reserve_and_pressure_match_the_oracle(operations in operations()) {
        LOAD.set((0, MAX));
        let limiter = Limiter::new(MAX, 0, PrefixLengths::DEFAULT).unwrap().with_load(load);
        let mut watch = Watch::default();
        let mut oracle = Oracle {
            live: Vec::new(),
            others: 0,
            reserve: 0,
            pressure: 0,
            reached: Vec::new(),
            limit: 0,
            mode: Mode::Enforce,
            rules: 0,
            rejected: HashMap::new(),
        };
        let start = [Operation::SetReserve(1), Operation::SetPressure(2), Operation::SetLimit(9)];
        for operation in start.iter().chain(&operations) {
            oracle.run(&limiter, &mut watch, operation);
        }
        oracle.compare(&limiter);
    }
}
