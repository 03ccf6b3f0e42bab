// SPDX-License-Identifier: GPL-2.0-or-later
//! Random sequences of operations on the engine, compared with a plain map.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use tcp_conn_limit::limiter::{Limiter, NotCounted, StaleToken, Token, Totals, Worker};
use tcp_conn_limit::report::By;
use tcp_conn_limit::rules::{Place, RuleSet};
use tcp_conn_limit::settings::Mode;
use tcp_conn_limit::source::{Prefixes, Source};

#[derive(Clone, Debug)]
enum Operation {
    /// Count without a limit.
    Open {
        worker: u32,
        address: Vec<u8>,
    },
    /// Count if at most `limit` connections are there then.
    OpenWithin {
        worker: u32,
        address: Vec<u8>,
        limit: i32,
    },
    CheckAgainst {
        address: Vec<u8>,
        limit: i32,
    },
    /// By rules, limit and mode; counts what is refused.
    Check {
        worker: u32,
        address: Vec<u8>,
    },
    SetLimit(i32),
    SetMode(Mode),
    /// Other rules: numbers of [`NETS`], each with its limit.
    SetRules(Vec<(usize, i32)>),
    ResetStats,
    /// Release one of the live connections.
    Close {
        worker: u32,
        pick: usize,
    },
    /// Release a token that was released before and whose source has gone.
    CloseAgain {
        worker: u32,
        pick: usize,
    },
}

/// What rules are made for: nested, of both families, with sources inside and
/// outside.
const NETS: [&str; 10] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/30",
    "10.0.0.2/31",
    "10.0.0.1",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/32",
    "2001:db8:0:2::/63",
    "2001:db8:0:1::/64",
];

fn net(text: &str) -> IpNet {
    text.parse()
        .unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()))
}

/// Few sources, so that they meet, or many, so that they come and go.
fn address(sources: u32) -> impl Strategy<Value = Vec<u8>> {
    (0..sources, 0..3u8, 0..2u8).prop_map(|(n, form, host)| match form {
        0 => [&[10], &n.to_be_bytes()[1..]].concat(),
        // the same source, IPv4-mapped
        1 => [&[0; 10][..], &[0xff, 0xff, 10], &n.to_be_bytes()[1..]].concat(),
        // two hosts of a /64
        _ => {
            let network = u64::from(n) | 0x2001_0db8 << 32;
            [&network.to_be_bytes()[..], &[0; 7], &[host]].concat()
        }
    })
}

fn operations(sources: u32) -> impl Strategy<Value = Vec<Operation>> {
    let worker = 0..12u32;
    let operation = prop_oneof![
        3 => (worker.clone(), address(sources))
            .prop_map(|(worker, address)| Operation::Open { worker, address }),
        2 => (worker.clone(), address(sources), -1..5i32).prop_map(|(worker, address, limit)| {
            Operation::OpenWithin { worker, address, limit }
        }),
        2 => (address(sources), -1..5i32)
            .prop_map(|(address, limit)| Operation::CheckAgainst { address, limit }),
        3 => (worker.clone(), address(sources))
            .prop_map(|(worker, address)| Operation::Check { worker, address }),
        4 => (worker.clone(), any::<usize>())
            .prop_map(|(worker, pick)| Operation::Close { worker, pick }),
        1 => settings(),
        1 => (worker, any::<usize>())
            .prop_map(|(worker, pick)| Operation::CloseAgain { worker, pick }),
    ];
    proptest::collection::vec(operation, 0..600)
}

/// What an operator changes while connections come and go.
fn settings() -> impl Strategy<Value = Operation> {
    let mode = prop_oneof![
        3 => Just(Mode::Enforce),
        2 => Just(Mode::Monitor),
        1 => Just(Mode::Off),
    ];
    let rules = proptest::collection::vec((0..NETS.len(), 0..4i32), 0..6);
    prop_oneof![
        2 => (-1..5i32).prop_map(Operation::SetLimit),
        3 => mode.prop_map(Operation::SetMode),
        3 => rules.prop_map(Operation::SetRules),
        1 => Just(Operation::ResetStats),
    ]
}

/// Rejections, and what would have been rejected.
type Rejections = (u64, u64);

/// What the engine is compared with.
#[derive(Default)]
struct Model {
    live: Vec<(Source, Token)>,
    released: Vec<(Source, Token)>,
    totals: Totals,
    limit: i32,
    mode: Mode,
    /// Number in [`NETS`], limit (0: unlimited).
    rules: HashMap<usize, i32>,
    loaded: u32,
    by_source: HashMap<Source, Rejections>,
    by_rule: HashMap<usize, Rejections>,
    /// The most connections since the last reset, and what each rejection saw.
    peaks: HashMap<Source, u32>,
    refused_at: HashMap<Source, u32>,
}

fn count_in(map: &mut Rejections, close: bool) {
    match close {
        true => map.0 += 1,
        false => map.1 += 1,
    }
}

impl Model {
    fn count(&self, source: Source) -> i32 {
        self.live.iter().filter(|(s, _)| *s == source).count() as i32
    }

    /// The longest rule by a look at each of them.
    fn rule_of(&self, source: Source) -> (Option<usize>, i32) {
        let (octets, length) = source.octets();
        let address = match length {
            4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&octets[..4]).unwrap())),
            _ => IpAddr::V6(Ipv6Addr::from(octets)),
        };
        self.rules
            .iter()
            .filter(|(n, _)| net(NETS[**n]).contains(&address))
            .max_by_key(|(n, _)| net(NETS[**n]).prefix_len())
            .map_or((None, self.limit), |(n, limit)| (Some(*n), *limit))
    }

    fn check(&mut self, limiter: &Limiter, worker: u32, source: Source) {
        let (rule, limit) = self.rule_of(source);
        let count = self.count(source);
        let over = self.mode != Mode::Off && limit > 0 && count >= limit;
        let rejection = match limiter.check(source) {
            Ok(()) => return assert!(!over, "{count} of {limit}, admitted"),
            Err(rejection) => rejection,
        };
        assert!(over, "{count} of {limit}, refused");
        let close = limiter.rejected(Worker::new(worker), rejection);
        assert_eq!(close, self.mode == Mode::Enforce);
        match close {
            true => self.totals.rejected += 1,
            false => self.totals.would_reject += 1,
        }
        count_in(self.by_source.entry(source).or_default(), close);
        if let Some(rule) = rule {
            count_in(self.by_rule.entry(rule).or_default(), close);
        }
        self.refused_at.insert(source, count as u32);
    }

    fn set_rules(&mut self, limiter: &Limiter, rules: &[(usize, i32)]) {
        self.rules = rules.iter().copied().collect();
        let text = |(n, limit): (&usize, &i32)| match limit {
            0 => format!("{}=unlimited", NETS[*n]),
            _ => format!("{}={limit}", NETS[*n]),
        };
        let texts: Vec<String> = self.rules.iter().map(text).collect();
        let mut builder = RuleSet::builder(limiter.prefixes());
        for (text, number) in texts.iter().zip(1..) {
            builder.add(Place::Modparam(number), text).unwrap();
        }
        limiter.set_rules(&builder.build().unwrap()).unwrap();
        self.loaded += 1;
        // a rule that goes takes its numbers with it
        self.by_rule.retain(|n, _| self.rules.contains_key(n));
    }

    fn reset(&mut self, limiter: &Limiter) {
        limiter.reset_stats();
        self.totals = Totals::default();
        self.by_source.clear();
        self.by_rule.clear();
        self.refused_at.clear();
        self.peaks.clear();
        for (source, _) in &self.live {
            *self.peaks.entry(*source).or_default() += 1;
        }
    }

    fn run(&mut self, limiter: &Limiter, operation: &Operation, may_be_full: bool) {
        let source = |address| Source::new(address, limiter.prefixes()).unwrap();
        match operation {
            Operation::Open { worker, address } => {
                self.open(limiter, *worker, source(address), 0, may_be_full);
            }
            Operation::OpenWithin {
                worker,
                address,
                limit,
            } => {
                self.open(limiter, *worker, source(address), *limit, may_be_full);
            }
            Operation::Check { worker, address } => {
                self.check(limiter, *worker, source(address));
            }
            Operation::SetLimit(limit) => {
                limiter.set_limit(*limit);
                self.limit = *limit;
            }
            Operation::SetMode(mode) => {
                limiter.set_mode(*mode);
                self.mode = *mode;
            }
            Operation::SetRules(rules) => self.set_rules(limiter, rules),
            Operation::ResetStats => self.reset(limiter),
            Operation::CheckAgainst { address, limit } => {
                let count = self.count(source(address));
                let refused = limiter.check_against(source(address), *limit).is_err();
                assert_eq!(refused, *limit > 0 && count >= *limit);
            }
            Operation::Close { worker, pick } => {
                if self.live.is_empty() {
                    return;
                }
                let (source, token) = self.live.swap_remove(pick % self.live.len());
                assert_eq!(limiter.closed(Worker::new(*worker), token), Ok(()));
                self.released.push((source, token));
            }
            Operation::CloseAgain { worker, pick } => {
                if self.released.is_empty() {
                    return;
                }
                let (source, token) = self.released[pick % self.released.len()];
                if self.live.iter().any(|(s, t)| *s == source || *t == token) {
                    return; // not to be told from a release of one of those
                }
                let outcome = limiter.closed(Worker::new(*worker), token);
                assert_eq!(outcome, Err(StaleToken));
                self.totals.stale_token += 1;
            }
        }
    }

    fn open(&mut self, limiter: &Limiter, worker: u32, source: Source, limit: i32, full: bool) {
        let over = limit > 0 && self.count(source) >= limit;
        match limiter.opened(Worker::new(worker), source, limit) {
            Ok(token) => {
                assert!(!over);
                assert_eq!(Token::from_bits(token.to_bits()), Some(token));
                self.live.push((source, token));
                self.totals.admitted += 1;
                let peak = self.peaks.entry(source).or_default();
                *peak = (*peak).max(self.live.iter().filter(|(s, _)| *s == source).count() as u32);
            }
            Err(NotCounted::OverLimit) => assert!(over),
            Err(NotCounted::TableFull) => {
                assert!(full, "full with {} connections", self.live.len());
                assert_eq!(self.count(source), 0, "a source in the table has a place");
                self.totals.table_full += 1;
            }
        }
    }

    fn compare(&self, limiter: &Limiter, may_be_full: bool) {
        let mut counts: HashMap<Source, u32> = HashMap::new();
        for (source, _) in &self.live {
            *counts.entry(*source).or_default() += 1;
        }
        let reported: HashMap<_, _> = limiter
            .sources()
            .map(|report| (report.source, report.connections))
            .collect();
        assert_eq!(reported, counts);
        assert_eq!(limiter.sources().count(), counts.len(), "one slot a source");
        for (source, count) in &counts {
            assert_eq!(limiter.get(*source).connections, *count);
        }
        let (top, found) = limiter.top(3, By::Connections, None).unwrap();
        assert_eq!(found, counts.len() as u64);
        let mut most: Vec<u32> = counts.values().copied().collect();
        most.sort_by(|a, b| b.cmp(a));
        most.truncate(3);
        let connections: Vec<u32> = top.iter().map(|report| report.connections).collect();
        assert_eq!(connections, most);
        assert_eq!(limiter.totals(), self.totals);
        assert_eq!((limiter.limit(), limiter.mode()), (self.limit, self.mode));
        assert_eq!(limiter.rules_loaded(), self.loaded);
        for (source, _) in self.live.iter().chain(&self.released) {
            let (rule, limit) = limiter.rule_of(*source);
            let (expected, expected_limit) = self.rule_of(*source);
            assert_eq!(
                rule.map(|key| key.to_string()).as_deref(),
                expected.map(|n| NETS[n])
            );
            assert_eq!(limit, expected_limit);
        }
        for group in limiter.groups().unwrap() {
            let Some(rule) = group.rule else { continue };
            let text = rule.key.to_string();
            let n = NETS.iter().position(|net| *net == text).unwrap();
            assert_eq!(rule.limit, self.rules[&n]);
            let expected = self.by_rule.get(&n).copied().unwrap_or_default();
            assert_eq!((group.rejected, group.would_reject), expected, "{text}");
        }
        if !may_be_full {
            self.compare_sources(limiter);
        }
    }

    /// What is known of each source, where none was replaced.
    fn compare_sources(&self, limiter: &Limiter) {
        for (source, _) in self.live.iter().chain(&self.released) {
            let report = limiter.get(*source);
            let numbers = (report.rejected.into(), report.would_reject.into());
            let expected = self.by_source.get(source).copied().unwrap_or_default();
            assert_eq!(numbers, expected);
            let refused_at = self.refused_at.get(source).copied().unwrap_or_default();
            assert_eq!(report.refused_at, refused_at);
            let peak = self.peaks.get(source).copied().unwrap_or_default();
            assert!(report.peak <= peak, "{} of {peak}", report.peak);
            assert!(report.peak >= report.connections.max(refused_at));
        }
    }
}

fn agree(limiter: &Limiter, operations: &[Operation], may_be_full: bool) {
    let mut model = Model::default();
    for operation in operations {
        model.run(limiter, operation, may_be_full);
    }
    model.compare(limiter, may_be_full);
    for (source, token) in std::mem::take(&mut model.live) {
        assert_eq!(limiter.closed(Worker::ACCEPTOR, token), Ok(()));
        model.released.push((source, token));
    }
    model.compare(limiter, may_be_full);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Few sources: limits are met, counts grow.
    #[test]
    fn few_sources(operations in operations(6)) {
        let limiter = Limiter::new(600, 0, Prefixes::DEFAULT).unwrap();
        agree(&limiter, &operations, false);
    }

    /// Many sources in a tiny table: replacement, and a table that is full.
    #[test]
    fn many_sources_in_a_tiny_table(operations in operations(300)) {
        let limiter = Limiter::new(1, 0, Prefixes::DEFAULT).unwrap();
        agree(&limiter, &operations, true);
    }

    /// Prefixes beyond a half address: the other way to compare sources.
    #[test]
    fn long_ipv6_prefixes(operations in operations(6), v6 in 65..=128u32) {
        let prefixes = Prefixes::new(32, v6).unwrap();
        let limiter = Limiter::new(600, 0, prefixes).unwrap();
        agree(&limiter, &operations, false);
    }

    /// Made-up tokens change nothing.
    #[test]
    fn any_token_is_safe(bits in any::<u64>()) {
        let limiter = Limiter::new(10, 0, Prefixes::DEFAULT).unwrap();
        let source = Source::new(&[127, 0, 0, 1], Prefixes::DEFAULT).unwrap();
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        if let Some(made_up) = Token::from_bits(bits).filter(|t| *t != token) {
            prop_assert_eq!(limiter.closed(Worker::ACCEPTOR, made_up), Err(StaleToken));
        }
        prop_assert_eq!(limiter.get(source).connections, 1);
    }
}

/// As many sources as connections are allowed: the table does not fill.
#[test]
fn every_connection_of_another_source() {
    for connections in [10u32, 1_000, 35_000] {
        let limiter = Limiter::new(connections, 0, Prefixes::DEFAULT).unwrap();
        for n in 0..connections {
            let address = [&[10], &n.to_be_bytes()[1..]].concat();
            let source = Source::new(&address, Prefixes::DEFAULT).unwrap();
            limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        }
        let occupancy = limiter.occupancy();
        assert_eq!(occupancy.sources, u64::from(connections));
    }
}

/// Ten times as many sources as places, one after the other.
#[test]
fn sources_come_and_go_for_ever() {
    let limiter = Limiter::new(1_000, 0, Prefixes::DEFAULT).unwrap();
    let places = limiter.occupancy().slots as u32;
    for n in 0..places * 10 {
        let address = [&[10], &n.to_be_bytes()[1..]].concat();
        let source = Source::new(&address, Prefixes::DEFAULT).unwrap();
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        assert_eq!(limiter.get(source).connections, 1);
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    assert_eq!(limiter.occupancy().sources, 0);
    assert_eq!(limiter.totals().table_full, 0);
}
