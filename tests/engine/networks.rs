// SPDX-License-Identifier: GPL-2.0-or-later
//! Two scopes: each connection counts in its source and in the network of that source.
//! Random sequences of operations are compared with plain maps.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use support::engine::load_rules;
use tcp_conn_limit::limiter::{ConnectionToken, Facts, Limiter, NotConnected, NotCounted, Worker};
use tcp_conn_limit::observe::audit::Audit;
use tcp_conn_limit::observe::report::{By, Of, Report};
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::settings::Mode;
use tcp_conn_limit::policy::terms::Rate;
use tcp_conn_limit::source::{NetworkLengths, PrefixLengths, Source};

thread_local! {
    /// Microseconds of the limiter's clock.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

fn now() -> u64 {
    NOW.with(Cell::get)
}

/// Hosts of each network.
const HOSTS: u32 = 6;

#[derive(Clone, Debug)]
enum Operation {
    /// Time passes.
    Pass(u64),
    /// What a host does with a new connection: check, and count it if it is admitted.
    Accept {
        worker: u32,
        n: u32,
        v6: bool,
        /// The descriptor may still have a connection whose end was not seen.
        descriptor: i32,
    },
    /// Count a connection only if it is within this limit, as one of several acceptors does.
    Connect {
        worker: u32,
        n: u32,
        v6: bool,
        limit: i32,
    },
    Close(usize),
    SetLimit(i32),
    SetNetworkLimit(i32),
    SetRate(Rate),
    SetNetworkRate(Rate),
    SetMode(Mode),
    /// Which rules apply, see [`RULES`].
    SetRules(usize),
    /// The background process looks at all sources.
    Tick,
    Audit,
    ResetStats,
}

/// A rule as text, and the same for the oracle: the networks or hosts in a range of numbers,
/// limit, rate, and whether it keeps its connections out of their networks.
struct Rule {
    text: &'static str,
    networks: bool,
    /// The first host or network, and the number of bits below.
    range: (u32, u32),
    limit: i32,
    rate: Option<Rate>,
    no_network: bool,
}

const OWN: Rate = Rate {
    interval_us: 500_000,
    burst: 3,
};

const fn of_hosts(text: &'static str, range: (u32, u32), limit: i32, no_network: bool) -> Rule {
    Rule {
        text,
        networks: false,
        range,
        limit,
        rate: None,
        no_network,
    }
}

const fn of_networks(
    text: &'static str,
    range: (u32, u32),
    limit: i32,
    rate: Option<Rate>,
) -> Rule {
    Rule {
        text,
        networks: true,
        range,
        limit,
        rate,
        no_network: false,
    }
}

/// Sets of rules about IPv4. IPv6 has no rules.
const RULES: [&[Rule]; 5] = [
    &[],
    &[
        of_hosts("10.0.0.1 = 2", (0x1, 0), 2, false),
        of_networks("network 10.0.1.0/24 = 3", (1, 0), 3, None),
    ],
    &[
        of_hosts("10.0.0.0/24 = 5 no_network", (0, 8), 5, true),
        of_networks(
            "network 10.0.0.0/16 = 4 rate=2/s burst=3",
            (0, 8),
            4,
            Some(OWN),
        ),
    ],
    &[
        of_hosts("10.0.0.2 = unlimited no_network", (0x2, 0), 0, true),
        of_networks("network 10.0.0.0/24 = unlimited", (0, 0), 0, None),
        of_hosts("10.0.1.0/24 = 3", (0x100, 8), 3, false),
    ],
    &[
        of_networks(
            "network 10.0.0.0/23 = 9 rate=none",
            (0, 1),
            9,
            Some(Rate::NONE),
        ),
        of_hosts("10.0.0.3 = 1 trusted", (0x3, 0), 1, true),
    ],
];

/// Host `n` as an address.
fn address(n: u32, v6: bool) -> Vec<u8> {
    let (network, host) = (n / HOSTS, n % HOSTS);
    match v6 {
        false => Ipv4Addr::new(10, 0, network as u8, host as u8)
            .octets()
            .to_vec(),
        true => {
            let (network, host) = (network as u16, host as u16);
            Ipv6Addr::new(0x2001, 0xdb8, network, host, 0, 0, 0, 9)
                .octets()
                .to_vec()
        }
    }
}

/// The number of host `n` within 10.0.0.0/16.
fn number(n: u32) -> u32 {
    ((n / HOSTS) << 8) + n % HOSTS
}

fn rates() -> impl Strategy<Value = Rate> {
    prop_oneof![
        2 => Just(Rate::NONE),
        3 => (100_000..4_000_000u32, 1..6u32)
            .prop_map(|(interval_us, burst)| Rate { interval_us, burst }),
    ]
}

fn operations(hosts: u32, most: usize) -> impl Strategy<Value = Vec<Operation>> {
    let n = 0..hosts;
    let mode = prop_oneof![
        4 => Just(Mode::Enforce),
        2 => Just(Mode::Monitor),
        1 => Just(Mode::Off),
    ];
    let operation = prop_oneof![
        3 => (0..2_000_000u64).prop_map(Operation::Pass),
        14 => (0..5u32, n.clone(), any::<bool>(), 0..200i32)
            .prop_map(|(worker, n, v6, descriptor)| Operation::Accept { worker, n, v6, descriptor }),
        7 => (0..5u32, n, any::<bool>(), prop_oneof![1 => Just(0), 3 => 1..5i32])
            .prop_map(|(worker, n, v6, limit)| Operation::Connect { worker, n, v6, limit }),
        10 => any::<usize>().prop_map(Operation::Close),
        1 => (0..6i32).prop_map(Operation::SetLimit),
        1 => (-1..12i32).prop_map(Operation::SetNetworkLimit),
        1 => rates().prop_map(Operation::SetRate),
        1 => rates().prop_map(Operation::SetNetworkRate),
        1 => mode.prop_map(Operation::SetMode),
        1 => (0..RULES.len()).prop_map(Operation::SetRules),
        2 => Just(Operation::Tick),
        1 => Just(Operation::Audit),
        1 => Just(Operation::ResetStats),
    ];
    proptest::collection::vec(operation, 0..most)
}

/// A source or a network.
type Key = (bool, u32);

/// One connection.
#[derive(Clone, Copy)]
struct Live {
    source: Key,
    /// Its network, if it counts there.
    network: Option<Key>,
    token: ConnectionToken,
}

#[derive(Clone, Copy)]
struct Terms {
    limit: i32,
    rate: Rate,
    no_network: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Admit,
    Source,
    Network,
}

struct Oracle {
    live: BTreeMap<i32, Live>,
    /// When sources and networks will have paid.
    debts: [HashMap<Key, u64>; 2],
    limits: [i32; 2],
    rates: [Rate; 2],
    mode: Mode,
    rules: &'static [Rule],
    admitted: u64,
    /// Rejected, would reject; each in all, and because of networks.
    rejected: [[u64; 2]; 2],
    reused: u64,
    watch: Watch,
}

const SOURCE: usize = 0;
const NETWORK: usize = 1;

impl Oracle {
    fn count(&self, scope: usize, key: Key) -> i32 {
        let live = self.live.values();
        let count = match scope {
            SOURCE => live.filter(|live| live.source == key).count(),
            _ => live.filter(|live| live.network == Some(key)).count(),
        };
        count as i32
    }

    fn terms(&self, scope: usize, (v6, n): Key) -> Terms {
        let number = match scope {
            SOURCE => number(n),
            _ => n,
        };
        let rules = self
            .rules
            .iter()
            .filter(|rule| !v6 && rule.networks == (scope == NETWORK));
        let rule = rules
            .filter(|rule| number >> rule.range.1 == rule.range.0 >> rule.range.1)
            .min_by_key(|rule| rule.range.1);
        match rule {
            Some(rule) => Terms {
                limit: rule.limit,
                rate: rule.rate.unwrap_or(self.rates[scope]),
                no_network: rule.no_network,
            },
            None => Terms {
                limit: self.limits[scope].max(0),
                rate: self.rates[scope],
                no_network: false,
            },
        }
    }

    fn owed(&self, scope: usize, key: Key) -> u64 {
        let end = self.debts[scope].get(&key);
        end.map_or(0, |end| end.saturating_sub(now()))
    }

    fn is_open(&self, scope: usize, key: Key) -> bool {
        let terms = self.terms(scope, key);
        let in_rate = terms.rate.is_none() || self.owed(scope, key) <= terms.rate.tolerance_us();
        in_rate && (terms.limit <= 0 || self.count(scope, key) < terms.limit)
    }

    /// The network of a source, if its connections count there.
    fn network(&self, source: Key) -> Option<Key> {
        let network = (source.0, source.1 / HOSTS);
        (!self.terms(SOURCE, source).no_network).then_some(network)
    }

    fn check(&self, source: Key) -> Verdict {
        if self.mode == Mode::Off {
            return Verdict::Admit;
        }
        match self.network(source) {
            _ if !self.is_open(SOURCE, source) => Verdict::Source,
            Some(network) if !self.is_open(NETWORK, network) => Verdict::Network,
            _ => Verdict::Admit,
        }
    }

    /// Charges a connection. Returns its cost; `None`: it is over the rate.
    fn charge(&mut self, scope: usize, key: Key) -> Option<u64> {
        let rate = self.terms(scope, key).rate;
        if rate.is_none() || self.mode == Mode::Off {
            return Some(0);
        }
        let owed = self.owed(scope, key);
        if owed > rate.tolerance_us() {
            return None;
        }
        let cost = u64::from(rate.interval_us);
        self.debts[scope].insert(key, now() + owed + cost);
        Some(cost)
    }

    /// Counts a connection, if that is within this limit or it is 0.
    fn connect(&mut self, source: Key, limit: i32) -> Result<Option<Key>, NotCounted> {
        let enforces = limit > 0 && self.mode == Mode::Enforce;
        let network = self.network(source);
        let mut charged = 0;
        if let Some(network) = network {
            let terms = self.terms(NETWORK, network);
            if enforces && terms.limit > 0 && self.count(NETWORK, network) >= terms.limit {
                return Err(NotCounted::OverNetwork);
            }
            charged = match self.charge(NETWORK, network) {
                None if enforces => return Err(NotCounted::OverNetwork),
                charged => charged.unwrap_or(0),
            };
        }
        let over = match limit > 0 && self.count(SOURCE, source) >= limit {
            true => Some(NotCounted::OverLimit),
            false if self.charge(SOURCE, source).is_none() && enforces => {
                Some(NotCounted::OverRate)
            }
            false => None,
        };
        let Some(reason) = over else {
            self.admitted += 1;
            return Ok(network);
        };
        if let Some(network) = network
            && charged > 0
            && let Some(end) = self.debts[NETWORK].get_mut(&network)
        {
            *end -= charged;
        }
        Err(reason)
    }

    fn free_descriptor(&self) -> i32 {
        (0..)
            .find(|descriptor| !self.live.contains_key(descriptor))
            .unwrap()
    }
}

/// The engine and the oracle.
struct Pair {
    limiter: Limiter,
    oracle: Oracle,
}

fn prefixes() -> PrefixLengths {
    let networks = NetworkLengths::new(24, 48).unwrap();
    PrefixLengths::DEFAULT.with_networks(networks).unwrap()
}

impl Pair {
    fn new() -> Pair {
        NOW.with(|cell| cell.set(1 << 39));
        Pair {
            limiter: Limiter::new(600, 0, prefixes()).unwrap().with_clock(now),
            oracle: Oracle {
                live: BTreeMap::new(),
                debts: [HashMap::new(), HashMap::new()],
                limits: [0; 2],
                rates: [Rate::NONE; 2],
                mode: Mode::Enforce,
                rules: RULES[0],
                admitted: 0,
                rejected: [[0; 2]; 2],
                reused: 0,
                watch: Watch::default(),
            },
        }
    }

    fn source(&self, (v6, n): Key) -> Source {
        self.limiter.source(&address(n, v6)).unwrap()
    }

    fn key(&self, scope: usize, (v6, n): Key) -> Source {
        match scope {
            SOURCE => self.source((v6, n)),
            _ => self.limiter.network(self.source((v6, n * HOSTS))).unwrap(),
        }
    }

    fn run(&mut self, operation: &Operation) {
        let (limiter, oracle) = (&self.limiter, &mut self.oracle);
        match operation {
            Operation::Pass(micros) => NOW.with(|cell| cell.set(cell.get() + micros)),
            Operation::Accept {
                worker,
                n,
                v6,
                descriptor,
            } => self.accept(*worker, (*v6, *n), *descriptor),
            Operation::Connect {
                worker,
                n,
                v6,
                limit,
            } => {
                let descriptor = oracle.free_descriptor();
                let expected = oracle.connect((*v6, *n), *limit);
                let address = address(*n, *v6);
                let source = limiter.source(&address).unwrap();
                let (worker, facts) = (Worker::new(*worker), Facts::SPOKE);
                let done = limiter.connect(worker, descriptor, source, &address, facts, *limit);
                match (done, expected) {
                    (Ok(token), Ok(network)) => {
                        let source = (*v6, *n);
                        let live = Live {
                            source,
                            network,
                            token,
                        };
                        self.oracle.live.insert(descriptor, live);
                    }
                    (Err(NotConnected::NotCounted(reason)), Err(expected)) => {
                        assert_eq!(reason, expected);
                    }
                    (done, expected) => panic!("{done:?} {expected:?}"),
                }
            }
            Operation::Close(pick) => {
                let live = oracle.live.keys().copied().collect::<Vec<_>>();
                if let Some(descriptor) = live.get(pick % live.len().max(1)) {
                    let live = oracle.live.remove(descriptor).unwrap();
                    let worker = Worker::new(*pick as u32 % 5);
                    limiter
                        .disconnect(worker, live.token, Facts::SPOKE)
                        .unwrap();
                    limiter
                        .disconnect(worker, live.token, Facts::SPOKE)
                        .unwrap_err();
                }
            }
            Operation::SetLimit(limit) => {
                limiter.set_limit(*limit);
                oracle.limits[SOURCE] = *limit;
            }
            Operation::SetNetworkLimit(limit) => {
                limiter.set_network_limit(*limit);
                oracle.limits[NETWORK] = *limit;
            }
            Operation::SetRate(rate) => {
                limiter.set_rate(*rate);
                oracle.rates[SOURCE] = *rate;
            }
            Operation::SetNetworkRate(rate) => {
                limiter.set_network_rate(*rate);
                oracle.rates[NETWORK] = *rate;
            }
            Operation::SetMode(mode) => {
                limiter.set_mode(*mode);
                oracle.mode = *mode;
            }
            Operation::SetRules(set) => {
                oracle.rules = RULES[*set];
                let texts: Vec<_> = oracle.rules.iter().map(|rule| rule.text).collect();
                load_rules(limiter, &texts);
            }
            Operation::Tick => {
                let seconds = (now() / 1_000_000) as u32;
                oracle.watch.tick(limiter, seconds, 60, &mut |_| {});
            }
            Operation::Audit => self.audit(),
            Operation::ResetStats => {
                limiter.reset_stats();
                (oracle.admitted, oracle.rejected, oracle.reused) = (0, [[0; 2]; 2], 0);
            }
        }
    }

    fn accept(&mut self, worker: u32, source: Key, descriptor: i32) {
        let oracle = &mut self.oracle;
        if oracle.live.remove(&descriptor).is_some() {
            oracle.reused += 1;
        }
        let verdict = oracle.check(source);
        let close = oracle.mode == Mode::Enforce;
        if verdict != Verdict::Admit {
            let rejected = &mut oracle.rejected[usize::from(!close)];
            rejected[0] += 1;
            rejected[1] += u64::from(verdict == Verdict::Network);
        }
        let admits = verdict == Verdict::Admit || !close;
        let address = address(source.1, source.0);
        let key = self.limiter.source(&address).unwrap();
        let worker = Worker::new(worker);
        let facts = Facts::SPOKE;
        let admitted = self
            .limiter
            .accept(worker, descriptor, key, &address, facts);
        assert_eq!(admitted, admits, "{verdict:?}");
        if admitted {
            let network = oracle.connect(source, 0).unwrap();
            let token = self.limiter.connection(descriptor).expect("it is counted");
            let live = Live {
                source,
                network,
                token,
            };
            oracle.live.insert(descriptor, live);
        }
    }

    fn audit(&self) {
        let mut audit = Audit::new(2 * self.oracle.live.len()).unwrap();
        for (descriptor, live) in &self.oracle.live {
            audit.connection(self.source(live.source), true).unwrap();
            let counts = self.limiter.counts_network_of(*descriptor);
            assert_eq!(counts, live.network.is_some());
            if let Some(network) = live.network {
                audit.network(self.key(NETWORK, network)).unwrap();
            }
        }
        audit.copy_counts(&self.limiter).unwrap();
        let live = self.oracle.live.len() as u64;
        assert_eq!((audit.connections(), audit.counted()), (live, live));
        assert_eq!(audit.differences().next(), None);
    }

    /// Compares all that can be seen.
    fn compare(&self, hosts: u32) {
        let (limiter, oracle) = (&self.limiter, &self.oracle);
        let report = Report::of(limiter);
        let mut seen = [0u64; 2];
        for (scope, count) in [(SOURCE, hosts), (NETWORK, hosts.div_ceil(HOSTS))] {
            for key in (0..count).flat_map(|n| [(false, n), (true, n)]) {
                let found = report.get(self.key(scope, key));
                let expected = oracle.count(scope, key);
                assert_eq!(found.connections as i32, expected, "{scope} {key:?}");
                assert_eq!(found.owed_us, oracle.owed(scope, key), "{scope} {key:?}");
                let terms = oracle.terms(scope, key);
                let (_, shown) = report.terms_of(found.source, None);
                assert_eq!(shown.limit.max(0), terms.limit);
                assert_eq!(report.rate_of(found.source), terms.rate);
                seen[scope] += u64::from(expected > 0);
            }
        }
        let occupancy = report.occupancy();
        let live = oracle.live.len() as u64;
        assert_eq!(
            (occupancy.sources, occupancy.connections),
            (seen[SOURCE], live)
        );
        assert_eq!(report.sources().count() as u64, seen[SOURCE]);
        assert_eq!(report.networks().count() as u64, seen[NETWORK]);
        let (top, found) = report
            .top_of(Of::Networks, 3, By::Connections, None)
            .unwrap();
        assert_eq!(found, seen[NETWORK]);
        assert!(top.iter().all(|network| network.source.is_network()));
        let (top, found) = report.top(500, By::Connections, None).unwrap();
        assert_eq!(found, seen[SOURCE]);
        assert!(!top.iter().any(|source| source.source.is_network()));
        let totals = limiter.totals();
        let [rejected, would_reject] = oracle.rejected;
        assert_eq!([totals.rejected, totals.network_rejected], rejected);
        assert_eq!(
            [totals.would_reject, totals.network_would_reject],
            would_reject
        );
        assert_eq!(totals.admitted, oracle.admitted);
        assert_eq!(totals.descriptor_reused, oracle.reused);
        assert_eq!((totals.table_full, totals.network_uncounted), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn both_scopes_match_the_oracle(operations in operations(3 * HOSTS, 300)) {
        let mut pair = Pair::new();
        for (index, operation) in operations.iter().enumerate() {
            pair.run(operation);
            if index % 8 == 7 {
                pair.compare(3 * HOSTS);
            }
        }
        pair.compare(3 * HOSTS);
        pair.audit();
        for live in pair.oracle.live.values() {
            // The stale tokens of the closed ones were counted.
            pair.limiter.disconnect(Worker::ACCEPTOR, live.token, Facts::NONE).unwrap();
        }
        prop_assert_eq!(Report::of(&pair.limiter).networks().count(), 0);
        prop_assert_eq!(Report::of(&pair.limiter).sources().count(), 0);
    }
}
