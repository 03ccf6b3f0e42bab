// SPDX-License-Identifier: GPL-2.0-or-later
//! The oracle: operations on the engine, and a plain map on which they do the same.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;
use proptest::prelude::*;
use tcp_conn_limit::limiter::{Limiter, NotCounted, StaleToken, Token, Totals, Worker};
use tcp_conn_limit::observe::audit::Audit;
use tcp_conn_limit::observe::notices::Notice;
use tcp_conn_limit::observe::report::{By, Report, seconds_since};
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::listener::ListenerName;
use tcp_conn_limit::policy::rules::{Origin, RuleSet};
use tcp_conn_limit::policy::settings::{Mode, OnFull};
use tcp_conn_limit::source::{Prefix, PrefixError, PrefixLengths, Scope, Source};

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// Count without a limit.
    Open {
        worker: u32,
        address: Vec<u8>,
    },
    /// Count if the source then has at most `limit` connections.
    OpenWithin {
        worker: u32,
        address: Vec<u8>,
        limit: i32,
    },
    CheckAgainst {
        address: Vec<u8>,
        limit: i32,
    },
    /// Check by rules, limit and mode, and count a rejection. Rules for a part of a source
    /// apply if the address is passed on.
    Check {
        worker: u32,
        address: Vec<u8>,
        pass_address: bool,
    },
    /// The report of one source.
    Get {
        address: Vec<u8>,
    },
    /// The first `n` sources of one of [`NETS`], or of all.
    Top {
        n: usize,
        by: By,
        net: Option<usize>,
    },
    SetOnFull(OnFull),
    /// An audit in which the host misses one of `every` connections and has `uncounted`
    /// additional ones.
    Audit {
        every: usize,
        uncounted: u64,
    },
    /// The watch ticks, this many seconds later.
    Tick(u32),
    SetLimit(i32),
    SetMode(Mode),
    /// Load rules, each with its limit. A rule for listener `n` has the index in [`NETS`] plus
    /// `n` times their number.
    SetRules(Vec<(usize, i32)>),
    ResetStats,
    /// Release one of the live connections.
    Close {
        worker: u32,
        pick: usize,
    },
    /// Release a token again whose source has no connections left.
    CloseAgain {
        worker: u32,
        pick: usize,
    },
}

/// The prefixes of rules: nested, of both families, with sources inside and outside, and
/// with parts of sources. Which ones are longer than a source depends on the limiter.
const NETS: [&str; 15] = [
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
    "2001:db8:0:1::1",
    "2001:db8:0:2::/65",
    "2001:db8:0:2::",
    "2001:db8:0:3::/127",
    "2001:db8:0:3::1",
];

/// One of [`NETS`].
fn net(n: usize) -> IpNet {
    static PARSED: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
        let parse = |text: &&str| {
            let net = text.parse();
            net.unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()))
        };
        NETS.iter().map(parse).collect()
    });
    PARSED[n % NETS.len()]
}

/// The listener of a rule; 0: none.
fn listener_of(n: usize) -> usize {
    n / NETS.len()
}

/// Listeners of rules.
const LISTENERS: u16 = 3;

/// Gives listener `n` the scope `n`, and leaves the limiter without rules.
fn name_listeners(limiter: &Limiter) {
    if !limiter.prefixes().leave_room_for_scopes() {
        return;
    }
    let text = |port| format!("192.0.2.1 = 1 listener=192.0.2.1:{port}");
    let texts: Vec<String> = (1..=LISTENERS).map(text).collect();
    let sockets: Vec<_> = (1..=LISTENERS)
        .map(|port| {
            let name = format!("tcp:192.0.2.1:{port}");
            (i32::from(port), ListenerName::parse(&name).unwrap())
        })
        .collect();
    limiter.register_listeners(&sockets).unwrap();
    let load = |text: Option<&String>| {
        let mut builder = RuleSet::builder(limiter.prefixes());
        if let Some(text) = text {
            builder.add(Origin::Modparam(1), text).unwrap();
        }
        limiter.set_rules(&builder.build().unwrap()).unwrap();
    };
    texts.iter().for_each(|text| load(Some(text)));
    load(None);
}

/// Addresses of few sources, which get many connections each, or of many, which replace
/// each other. The last byte is a number up to `scopes`: the address is meant in this scope,
/// or with 0 in none.
fn address(sources: u32, scopes: u8) -> impl Strategy<Value = Vec<u8>> {
    let scoped = |(address, scope): (Vec<u8>, u8)| [&address[..], &[scope]].concat();
    (plain_address(sources), 0..=scopes).prop_map(scoped)
}

fn plain_address(sources: u32) -> impl Strategy<Value = Vec<u8>> {
    (0..sources, 0..3u8, 0..2u8).prop_map(|(n, form, host)| match form {
        0 => [&[10], &n.to_be_bytes()[1..]].concat(),
        // The same source as an IPv4-mapped address.
        1 => [&[0; 10][..], &[0xff, 0xff, 10], &n.to_be_bytes()[1..]].concat(),
        // Two hosts of a /64.
        _ => {
            let network = u64::from(n) | 0x2001_0db8 << 32;
            [&network.to_be_bytes()[..], &[0; 7], &[host]].concat()
        }
    })
}

/// The source of an address with its scope, and the address without it.
fn parts(address: &[u8], lengths: PrefixLengths) -> (Source, &[u8]) {
    let (scope, address) = address.split_last().unwrap();
    let source = Source::new(address, lengths).unwrap();
    let scope = Scope::of_listener(*scope);
    (
        scope.map_or(source, |scope| source.in_scope(scope)),
        address,
    )
}

/// Up to `most` operations, without scopes.
pub(crate) fn operations(sources: u32, most: usize) -> impl Strategy<Value = Vec<Operation>> {
    operations_in(0, sources, most)
}

/// Up to `most` operations, in this number of scopes and outside of them.
pub(crate) fn operations_in(
    scopes: u8,
    sources: u32,
    most: usize,
) -> impl Strategy<Value = Vec<Operation>> {
    let worker = 0..12u32;
    let address = move |sources| address(sources, scopes);
    let operation = prop_oneof![
        3 => (worker.clone(), address(sources))
            .prop_map(|(worker, address)| Operation::Open { worker, address }),
        2 => (worker.clone(), address(sources), -1..5i32).prop_map(|(worker, address, limit)| {
            Operation::OpenWithin { worker, address, limit }
        }),
        2 => (address(sources), -1..5i32)
            .prop_map(|(address, limit)| Operation::CheckAgainst { address, limit }),
        1 => address(sources).prop_map(|address| Operation::Get { address }),
        3 => (worker.clone(), address(sources), any::<bool>())
            .prop_map(|(worker, address, pass_address)| Operation::Check {
                worker,
                address,
                pass_address,
            }),
        4 => (worker.clone(), any::<usize>())
            .prop_map(|(worker, pick)| Operation::Close { worker, pick }),
        1 => settings(scopes),
        1 => observations(),
        1 => (worker, any::<usize>())
            .prop_map(|(worker, pick)| Operation::CloseAgain { worker, pick }),
    ];
    proptest::collection::vec(operation, 0..most)
}

/// Reports, audits and ticks while connections come and go.
fn observations() -> impl Strategy<Value = Operation> {
    let by = prop_oneof![Just(By::Connections), Just(By::Rejected)];
    let net = proptest::option::of(0..NETS.len());
    // A clock that advances, stands still, or jumps far, also backwards.
    let seconds = prop_oneof![4 => 0..4u32, 2 => 5..20u32, 1 => any::<u32>()];
    prop_oneof![
        2 => (0..6usize, by, net).prop_map(|(n, by, net)| Operation::Top { n, by, net }),
        1 => (1..6usize, 0..3u64)
            .prop_map(|(every, uncounted)| Operation::Audit { every, uncounted }),
        2 => seconds.prop_map(Operation::Tick),
    ]
}

/// Settings that an operator changes while connections come and go.
fn settings(scopes: u8) -> impl Strategy<Value = Operation> {
    let mode = prop_oneof![
        3 => Just(Mode::Enforce),
        2 => Just(Mode::Monitor),
        1 => Just(Mode::Off),
    ];
    let groups = 1 + usize::from(scopes).min(LISTENERS.into());
    let rules = proptest::collection::vec((0..groups * NETS.len(), 0..4i32), 0..8);
    prop_oneof![
        2 => (-1..5i32).prop_map(Operation::SetLimit),
        3 => mode.prop_map(Operation::SetMode),
        3 => rules.prop_map(Operation::SetRules),
        1 => prop_oneof![Just(OnFull::Admit), Just(OnFull::Reject)]
            .prop_map(Operation::SetOnFull),
        1 => Just(Operation::ResetStats),
    ]
}

/// Rejections, and connections that would have been rejected.
type Rejections = (u64, u64);

/// The events that the watch must report, and those that it reported.
#[derive(Default)]
struct Reports {
    watch: Watch,
    now: u32,
    /// The beginning of the interval.
    since: Option<u32>,
    /// Rejections since the last tick.
    new: u64,
    /// Rejections of the interval that the watch has seen.
    seen: u64,
    firsts: u64,
    /// Connections without a slot since the last interval: admitted, rejected.
    full: (u64, u64),
    /// Stale tokens since then.
    stale: u64,
}

/// Seconds of an interval.
const INTERVAL: u32 = 5;

/// Effects of a small table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// A new source may find no slot.
    pub(crate) full: bool,
    /// A source without connections may lose its slot and its statistics.
    pub(crate) replaced: bool,
}

impl Room {
    pub(crate) const ENOUGH: Room = Room {
        full: false,
        replaced: false,
    };
    pub(crate) const LITTLE: Room = Room {
        full: true,
        replaced: true,
    };
}

/// The plain implementation that the engine is compared with.
struct Oracle {
    room: Room,
    lengths: PrefixLengths,
    live: Vec<(Source, Token)>,
    counts: HashMap<Source, u32>,
    released: Vec<(Source, Token)>,
    totals: Totals,
    limit: i32,
    mode: Mode,
    on_full: OnFull,
    /// Index in [`NETS`] and limit, where 0 means unlimited.
    rules: HashMap<usize, i32>,
    loaded: u32,
    by_source: HashMap<Source, Rejections>,
    by_rule: HashMap<Option<usize>, Rejections>,
    /// The highest count since the last reset, and the count at the last rejection.
    peaks: HashMap<Source, u32>,
    rejected_at: HashMap<Source, u32>,
    reports: Reports,
}

fn count_in(map: &mut Rejections, close: bool) {
    match close {
        true => map.0 += 1,
        false => map.1 += 1,
    }
}

fn address_of(source: Source) -> IpAddr {
    let (octets, length) = source.octets();
    match length {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&octets[..4]).unwrap())),
        _ => IpAddr::V6(Ipv6Addr::from(octets)),
    }
}

/// The address itself, without the prefix of IPv4-mapped ones.
fn host_of(address: &[u8]) -> IpAddr {
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(address).unwrap()),
    };
    address.to_canonical()
}

/// Checks a reported rule and limit against those of the oracle.
fn assert_rule(reported: (Option<Prefix>, i32), expected: (Option<usize>, i32)) {
    let (rule, limit) = reported;
    let rule = rule.map(|prefix| prefix.to_string());
    let (n, expected_limit) = expected;
    assert_eq!(rule.as_deref(), n.map(|n| NETS[n % NETS.len()]));
    assert_eq!(limit, expected_limit);
}

impl Oracle {
    /// The oracle of a limiter without rules and connections.
    fn new(limiter: &Limiter, room: Room) -> Oracle {
        Oracle {
            room,
            lengths: limiter.prefixes(),
            live: Vec::new(),
            counts: HashMap::new(),
            released: Vec::new(),
            totals: Totals::default(),
            limit: limiter.limit(),
            mode: Mode::default(),
            on_full: OnFull::default(),
            rules: HashMap::new(),
            loaded: limiter.rules_loaded(),
            by_source: HashMap::new(),
            by_rule: HashMap::new(),
            peaks: HashMap::new(),
            rejected_at: HashMap::new(),
            // So that the clock wraps around soon.
            reports: Reports {
                now: u32::MAX - 20,
                ..Reports::default()
            },
        }
    }

    fn count(&self, source: Source) -> i32 {
        self.counts.get(&source).map_or(0, |count| *count as i32)
    }

    /// Finds the longest matching rule by comparing with each of them.
    fn rule_of(&self, source: Source) -> (Option<usize>, i32) {
        let length = self.lengths.length(source.family());
        let rule = self.longest(address_of(source), source.scope(), |rule| rule <= length);
        rule.map_or((None, self.limit), |(n, limit)| (Some(n), limit))
    }

    /// The rule for a part of the source, if the address has one, else that of its source.
    fn rule_for(&self, source: Source, address: &[u8]) -> (Option<usize>, i32) {
        let length = self.lengths.length(source.family());
        let of_listener = |n| source.scope().is_some() && listener_of(n) > 0;
        match self.longest(host_of(address), source.scope(), |_| true) {
            Some((n, limit)) if of_listener(n) => (Some(n), limit),
            _ => match self.longest(host_of(address), None, |rule| rule > length) {
                Some((n, limit)) => (Some(n), limit),
                None => self.rule_of(source),
            },
        }
    }

    /// The longest rule that contains the address, among those of these lengths. A rule of
    /// the listener comes before any without one.
    fn longest(
        &self,
        address: IpAddr,
        scope: Option<Scope>,
        is_meant: impl Fn(u8) -> bool,
    ) -> Option<(usize, i32)> {
        let scope = scope.and_then(Scope::listener).unwrap_or(0);
        let rules = self.rules.iter().map(|(n, limit)| (*n, *limit));
        let prefix_len = |n: usize| net(n).prefix_len();
        rules
            .filter(|(n, _)| [0, usize::from(scope)].contains(&listener_of(*n)))
            .filter(|(n, _)| net(*n).contains(&address) && is_meant(prefix_len(*n)))
            .max_by_key(|(n, _)| (listener_of(*n), prefix_len(*n)))
    }

    /// Without an address, rules for a part of a source do not apply.
    fn check(&mut self, limiter: &Limiter, worker: u32, source: Source, address: Option<&[u8]>) {
        let (rule, limit) = match address {
            Some(address) => self.rule_for(source, address),
            None => self.rule_of(source),
        };
        let count = self.count(source);
        let over = self.mode != Mode::Off && limit > 0 && count >= limit;
        let wants_slot = self.mode != Mode::Off && self.on_full == OnFull::Reject;
        let answer = match address {
            Some(address) => limiter.check_from(source, address),
            None => limiter.check(source),
        };
        let rejection = match answer {
            Ok(()) => {
                assert!(!over, "admitted with {count} of {limit}");
                if wants_slot {
                    // A slot was checked for, so there must be one.
                    self.open(limiter, worker, source, 0, false);
                }
                return;
            }
            Err(rejection) => rejection,
        };
        let close = limiter.rejected(Worker::new(worker), rejection);
        assert_eq!(close, self.mode == Mode::Enforce);
        match close {
            true => self.totals.rejected += 1,
            false => self.totals.would_reject += 1,
        }
        if !over {
            assert!(
                wants_slot && self.room.full,
                "rejected with {count} of {limit}"
            );
            self.totals.full_rejected += u64::from(close);
            self.reports.full.1 += u64::from(close);
            let opened = limiter.opened(Worker::new(worker), source, 0);
            assert_eq!(opened, Err(NotCounted::TableFull), "there was a slot");
            self.totals.table_full += 1;
            self.reports.full.0 += 1;
            return;
        }
        count_in(self.by_source.entry(source).or_default(), close);
        count_in(self.by_rule.entry(rule).or_default(), close);
        self.rejected_at.insert(source, count as u32);
        self.reports.new += 1;
    }

    fn set_rules(&mut self, limiter: &Limiter, rules: &[(usize, i32)]) {
        self.rules = rules.iter().copied().collect();
        let text = |(n, limit): (&usize, &i32)| {
            let (net, listener) = (NETS[n % NETS.len()], listener_of(*n));
            let terms = match limit {
                0 => "unlimited".to_owned(),
                _ => limit.to_string(),
            };
            match listener {
                0 => format!("{net}={terms}"),
                _ => format!("{net}={terms} listener=192.0.2.1:{listener}"),
            }
        };
        let texts: Vec<String> = self.rules.iter().map(text).collect();
        let mut builder = RuleSet::builder(limiter.prefixes());
        for (text, number) in texts.iter().zip(1..) {
            builder.add(Origin::Modparam(number), text).unwrap();
        }
        limiter.set_rules(&builder.build().unwrap()).unwrap();
        self.loaded += 1;
        // The statistics of a removed rule are removed.
        self.by_rule
            .retain(|n, _| n.is_none_or(|n| self.rules.contains_key(&n)));
    }

    fn reset(&mut self, limiter: &Limiter) {
        limiter.reset_stats();
        self.totals = Totals::default();
        self.by_source.clear();
        self.by_rule.clear();
        self.rejected_at.clear();
        self.peaks = self.counts.clone();
        self.reports.new = 0;
        (self.reports.full, self.reports.stale) = ((0, 0), 0);
    }

    fn run(&mut self, limiter: &Limiter, operation: &Operation) {
        let lengths = limiter.prefixes();
        let source = |address| parts(address, lengths).0;
        match operation {
            Operation::Open { worker, address } => {
                self.open(limiter, *worker, source(address), 0, self.room.full);
            }
            Operation::OpenWithin {
                worker,
                address,
                limit,
            } => {
                self.open(limiter, *worker, source(address), *limit, self.room.full);
            }
            Operation::Check {
                worker,
                address,
                pass_address,
            } => {
                let (source, address) = parts(address, lengths);
                self.check(limiter, *worker, source, pass_address.then_some(address));
            }
            Operation::Get { address } => {
                let (source, address) = parts(address, lengths);
                let report = Report::of(limiter).get(source);
                assert_eq!(report.source, source);
                assert_eq!(report.connections as i32, self.count(report.source));
                let host = PrefixLengths::new(32, 128).unwrap();
                let host = Source::new(address, host).unwrap();
                let (rule, terms) = Report::of(limiter).terms_of(report.source, Some(host));
                assert_rule((rule, terms.limit), self.rule_for(report.source, address));
            }
            Operation::Top { n, by, net } => self.top(limiter, *n, *by, *net),
            Operation::SetLimit(limit) => {
                limiter.set_limit(*limit);
                self.limit = *limit;
            }
            Operation::SetMode(mode) => {
                limiter.set_mode(*mode);
                self.mode = *mode;
            }
            Operation::SetOnFull(on_full) => {
                limiter.set_on_full(*on_full);
                self.on_full = *on_full;
            }
            Operation::SetRules(rules) => self.set_rules(limiter, rules),
            Operation::ResetStats => self.reset(limiter),
            Operation::Audit { every, uncounted } => {
                self.audit(limiter, *every, *uncounted);
            }
            Operation::Tick(seconds) => self.tick(limiter, *seconds),
            Operation::CheckAgainst { address, limit } => {
                let count = self.count(source(address));
                let rejected = limiter.check_against(source(address), *limit).is_err();
                assert_eq!(rejected, *limit > 0 && count >= *limit);
            }
            Operation::Close { worker, pick } => {
                if self.live.is_empty() {
                    return;
                }
                self.close(limiter, *worker, pick % self.live.len());
            }
            Operation::CloseAgain { worker, pick } => {
                if self.released.is_empty() {
                    return;
                }
                let (source, token) = self.released[pick % self.released.len()];
                if self.live.iter().any(|(s, t)| *s == source || *t == token) {
                    // It cannot be distinguished from a release of one of those.
                    return;
                }
                let outcome = limiter.closed(Worker::new(*worker), token);
                assert_eq!(outcome, Err(StaleToken));
                self.totals.stale_token += 1;
                self.reports.stale += 1;
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
                let count = self.counts.entry(source).or_default();
                *count += 1;
                let peak = self.peaks.entry(source).or_default();
                *peak = (*peak).max(*count);
            }
            Err(NotCounted::OverLimit) => assert!(over),
            Err(NotCounted::OverRate) => panic!("no operation sets a rate"),
            Err(NotCounted::OverNetwork) => panic!("no network is counted"),
            Err(NotCounted::TableFull) => {
                assert!(full, "full with {} connections", self.live.len());
                assert_eq!(self.count(source), 0, "a source in the table found no slot");
                self.totals.table_full += 1;
                self.reports.full.0 += 1;
            }
        }
    }

    fn close(&mut self, limiter: &Limiter, worker: u32, at: usize) {
        let (source, token) = self.live.swap_remove(at);
        assert_eq!(limiter.closed(Worker::new(worker), token), Ok(()));
        let count = self.counts.get_mut(&source).unwrap();
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&source);
        }
        self.released.push((source, token));
    }

    fn top(&self, limiter: &Limiter, n: usize, by: By, inside: Option<usize>) {
        let number: HashMap<Source, u64> = match by {
            By::Connections => self
                .counts
                .iter()
                .map(|(s, count)| (*s, u64::from(*count)))
                .collect(),
            _ if self.room.replaced => return,
            _ => self
                .by_source
                .iter()
                .map(|(s, (a, b))| (*s, a + b))
                .collect(),
        };
        let is_inside =
            |source: Source| inside.is_none_or(|n| net(n).contains(&address_of(source)));
        let mut expected: Vec<(u64, Source)> = number
            .into_iter()
            .filter(|(source, _)| is_inside(*source))
            .map(|(source, number)| (number, source))
            .collect();
        expected.sort_by(|a, b| b.cmp(a));
        let key = inside.map(|n| Prefix::parse(NETS[n], self.lengths));
        let key = match key.transpose() {
            Ok(key) => key,
            // It would list a part of a source.
            Err(PrefixError::LongerThanSource(_)) => return,
            Err(error) => panic!("{error}"),
        };
        let (top, found) = Report::of(limiter).top(n, by, key).unwrap();
        assert_eq!(found, expected.len() as u64);
        expected.truncate(n);
        let listed = top.iter().map(|report| {
            let number = match by {
                By::Connections => u64::from(report.connections),
                _ => u64::from(report.rejected) + u64::from(report.would_reject),
            };
            (number, report.source)
        });
        assert_eq!(listed.collect::<Vec<_>>(), expected);
    }

    fn audit(&self, limiter: &Limiter, every: usize, uncounted: u64) {
        let mut audit = Audit::new(self.live.len()).unwrap();
        let mut missed: HashMap<Source, u32> = HashMap::new();
        for (i, (source, _)) in self.live.iter().enumerate() {
            match i % every {
                0 => *missed.entry(*source).or_default() += 1,
                _ => audit.connection(*source, true).unwrap(),
            }
        }
        for (source, _) in self.released.iter().take(uncounted as usize) {
            audit.connection(*source, false).unwrap();
        }
        audit.copy_counts(limiter).unwrap();
        assert_eq!(audit.counted(), self.live.len() as u64);
        let found: HashMap<Source, u32> = audit
            .differences()
            .map(|difference| (difference.source, difference.counted - difference.host))
            .collect();
        assert_eq!(found, missed);
    }

    fn tick(&mut self, limiter: &Limiter, seconds: u32) {
        let reports = &mut self.reports;
        reports.now = reports.now.wrapping_add(seconds);
        let since = *reports.since.get_or_insert(reports.now);
        reports.seen += std::mem::take(&mut reports.new);
        let (mut summed, mut full, mut stale) = (0, (0, 0), 0);
        reports
            .watch
            .tick(limiter, reports.now, INTERVAL, &mut |notice| match notice {
                Notice::First { .. } => reports.firsts += 1,
                Notice::Summary(summary) => summed = summary.more + summary.more_of_others,
                Notice::Full { admitted, rejected } => full = (admitted, rejected),
                Notice::Stale { releases } => stale = releases,
                Notice::Released { .. } => {}
                Notice::Untracked { .. } => panic!("no operation has a descriptor"),
                Notice::Banned { .. } | Notice::Unbanned { .. } | Notice::MoreBanned { .. } => {
                    panic!("no operation bans a source")
                }
                Notice::Flood { .. } => panic!("no operation sets a threshold"),
                Notice::RuleEnded(_) => panic!("no operation sets a rule that ends"),
                Notice::TrustedEnough { .. }
                | Notice::TimedOut(_)
                | Notice::MoreTimedOut(_)
                | Notice::NeverTrusted(_) => panic!("no connection can be trusted"),
                Notice::FewerInCluster { .. } => panic!("there is no cluster"),
                Notice::Load(_) => panic!("no operation sets a reserve or pressure"),
            });
        if reports.now.wrapping_sub(since) >= INTERVAL {
            assert_eq!(full, std::mem::take(&mut reports.full));
            assert_eq!(stale, std::mem::take(&mut reports.stale));
            let lines = std::mem::take(&mut reports.firsts) + summed;
            let seen = std::mem::take(&mut reports.seen);
            if self.room.replaced {
                // A source that lost its slot before the tick was not seen.
                assert!(lines <= seen, "{lines} of {seen}");
            } else {
                assert_eq!(lines, seen);
            }
            reports.since = Some(reports.now);
        } else {
            assert_eq!(
                (summed, full, stale),
                (0, (0, 0), 0),
                "reported before the end of the interval"
            );
        }
        for source in self.counts.keys() {
            let report = Report::of(limiter).get(*source);
            assert_eq!(seconds_since(report.last_seen, self.reports.now), Some(0));
            assert!(seconds_since(report.first_seen, self.reports.now).is_some());
        }
    }

    fn compare(&self, limiter: &Limiter) {
        let reported: HashMap<_, _> = Report::of(limiter)
            .sources()
            .map(|report| (report.source, report.connections))
            .collect();
        assert_eq!(reported, self.counts);
        assert_eq!(
            Report::of(limiter).sources().count(),
            self.counts.len(),
            "a source has more than one slot"
        );
        for (source, count) in &self.counts {
            assert_eq!(Report::of(limiter).get(*source).connections, *count);
        }
        assert_eq!(limiter.totals(), self.totals);
        let settings = (limiter.limit(), limiter.mode(), limiter.on_full());
        assert_eq!(settings, (self.limit, self.mode, self.on_full));
        assert_eq!(limiter.rules_loaded(), self.loaded);
        // Enough to use each rule, without checking each connection.
        for (source, _) in self.live.iter().chain(&self.released).take(100) {
            assert_rule(Report::of(limiter).rule_of(*source), self.rule_of(*source));
        }
        for group in Report::of(limiter).groups(usize::MAX).unwrap() {
            let n = group.rule.map(|rule| {
                let text = rule.prefix.to_string();
                let n = NETS.iter().position(|net| *net == text).unwrap();
                let listener = rule.terms.listener.map_or(0, |name| name.port);
                let n = n + NETS.len() * usize::from(listener);
                assert_eq!(rule.terms.limit, self.rules[&n]);
                n
            });
            let expected = self.by_rule.get(&n).copied().unwrap_or_default();
            assert_eq!((group.rejected, group.would_reject), expected, "{n:?}");
        }
        if !self.room.replaced {
            self.compare_sources(limiter);
        }
    }

    /// Compares the statistics of each source in a table that replaces none.
    fn compare_sources(&self, limiter: &Limiter) {
        for (source, _) in self.live.iter().chain(&self.released) {
            let report = Report::of(limiter).get(*source);
            let numbers = (report.rejected.into(), report.would_reject.into());
            let expected = self.by_source.get(source).copied().unwrap_or_default();
            assert_eq!(numbers, expected);
            let rejected_at = self.rejected_at.get(source).copied().unwrap_or_default();
            assert_eq!(report.rejected_at, rejected_at);
            let peak = self.peaks.get(source).copied().unwrap_or_default();
            assert!(report.peak <= peak, "{} of {peak}", report.peak);
            assert!(report.peak >= report.connections.max(rejected_at));
        }
    }
}

/// Runs `operations` on both, compares them, and then closes the remaining connections.
pub(crate) fn agree(limiter: &Limiter, operations: &[Operation], room: Room) {
    name_listeners(limiter);
    let mut oracle = Oracle::new(limiter, room);
    for some in operations.chunks(400) {
        for operation in some {
            oracle.run(limiter, operation);
        }
        oracle.compare(limiter);
    }
    while !oracle.live.is_empty() {
        oracle.close(limiter, 0, 0);
    }
    oracle.compare(limiter);
}
