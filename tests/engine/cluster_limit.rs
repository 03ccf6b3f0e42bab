// SPDX-License-Identifier: GPL-2.0-or-later
//! The limit over all nodes of a cluster: what the other nodes have counts as well.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::Ipv6Addr;

use proptest::prelude::*;
use support::engine::{load_rules, rules_for, source, source_of};
use tcp_conn_limit::cluster::{Config, Keys, NodeName};
use tcp_conn_limit::limiter::{Limiter, RejectedFor, Token, Worker};
use tcp_conn_limit::observe::cluster::{Node, Outside};
use tcp_conn_limit::observe::notices::{Notice, Why};
use tcp_conn_limit::observe::report::{ClusterSum, Report};
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::penalties::{Cause, Penalty};
use tcp_conn_limit::policy::settings::Mode;
use tcp_conn_limit::source::{PrefixLengths, Scope, Source};

/// A node whose sources have this limit here, and this one over all nodes.
fn node(limit: i32, cluster_limit: u32) -> Limiter {
    let limiter = Limiter::new(1000, limit, PrefixLengths::DEFAULT).unwrap();
    let limiter = limiter.with_cluster().unwrap();
    limiter.set_cluster_limit(cluster_limit);
    limiter
}

/// Checks a connection as a server does. Returns why it is rejected.
fn attempt(limiter: &Limiter, source: Source) -> Result<(), RejectedFor> {
    limiter.check(source).map_err(|rejection| {
        limiter.rejected(Worker::ACCEPTOR, rejection);
        rejection.reason().unwrap()
    })
}

fn open(limiter: &Limiter, source: Source, connections: usize) -> Vec<Token> {
    let open = || limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
    std::iter::repeat_with(open).take(connections).collect()
}

#[test]
fn connections_on_other_nodes_count() {
    let limiter = node(0, 10);
    let v6 = source_of("2001:db8::1".parse::<Ipv6Addr>().unwrap());
    for source in [source(1), v6] {
        let tokens = open(&limiter, source, 4);
        assert!(limiter.set_others(source, 5));
        assert_eq!(attempt(&limiter, source), Ok(()));
        limiter.set_others(source, 6);
        assert_eq!(attempt(&limiter, source), Err(RejectedFor::Cluster));
        assert_eq!(limiter.others(source), 6);
        limiter.closed(Worker::ACCEPTOR, tokens[0]).unwrap();
        assert_eq!(attempt(&limiter, source), Ok(()));
        limiter.set_others(source, 0);
        open(&limiter, source, 7);
        assert_eq!(attempt(&limiter, source), Err(RejectedFor::Cluster));
    }
    let totals = limiter.totals();
    assert_eq!((totals.rejected, totals.cluster_rejected), (4, 4));
}

#[test]
fn source_without_connections_here_is_rejected() {
    let limiter = node(0, 10);
    limiter.set_others(source(1), 9);
    assert_eq!(attempt(&limiter, source(1)), Ok(()));
    limiter.set_others(source(1), 10);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Cluster));
    assert_eq!(attempt(&limiter, source(2)), Ok(()));
    assert_eq!(limiter.others_of(source(1)).unwrap().rejected, 1);
    limiter.set_mode(Mode::Monitor);
    let rejection = limiter.check(source(1)).unwrap_err();
    assert!(!limiter.rejected(Worker::ACCEPTOR, rejection));
    assert_eq!(limiter.others_of(source(1)).unwrap().would_reject, 1);
    assert_eq!(limiter.totals().cluster_would_reject, 1);
    limiter.set_mode(Mode::Off);
    assert!(limiter.check(source(1)).is_ok());
}

#[test]
fn own_limit_is_exact_and_comes_first() {
    let limiter = node(3, 100);
    open(&limiter, source(1), 3);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Limit));
    limiter.set_others(source(1), 100);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Limit));
    assert_eq!(limiter.totals().cluster_rejected, 0);
}

#[test]
fn rules_have_limits_over_all_nodes() {
    let limiter = node(0, 0);
    load_rules(
        &limiter,
        &[
            "10.0.0.1 = 100 cluster=5",
            "10.0.0.2 = unlimited",
            "10.0.0.3 = 100 trusted",
            "10.0.0.4 = 100 cluster=none",
            "10.0.0.5 = unlimited cluster=7",
        ],
    );
    let limits =
        |limiter: &Limiter| [1, 2, 3, 4, 5, 6].map(|n| Report::of(limiter).sum_of(source(n)).limit);
    assert_eq!(limits(&limiter), [5, 0, 0, 0, 7, 0]);
    for n in 1..=6 {
        limiter.set_others(source(n), 6);
    }
    let admitted = |n| attempt(&limiter, source(n)).is_ok();
    assert_eq!(
        [1, 2, 3, 4, 5, 6].map(admitted),
        [false, true, true, true, true, true]
    );
    limiter.set_cluster_limit(6);
    assert_eq!(limits(&limiter), [5, 0, 0, 0, 7, 6]);
    assert_eq!(
        [1, 2, 3, 4, 5, 6].map(admitted),
        [false, true, true, true, true, false]
    );
    load_rules::<&str>(&limiter, &[]);
    assert!(!admitted(1));
    limiter.set_cluster_limit(0);
    assert!(admitted(1));
}

#[test]
fn rule_for_a_cluster_needs_one() {
    let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
    let rules = rules_for(PrefixLengths::DEFAULT, &["10.0.0.1 = 1 cluster=5"]);
    let error = limiter.set_rules(&rules).unwrap_err().to_string();
    assert_eq!(
        error,
        "the rule 10.0.0.1 from modparam 1 has the word `cluster`, but this server is not a \
         node of a cluster; set the modparam cluster and restart the server, or remove the word"
    );
    limiter.set_cluster_limit(1);
    assert!(limiter.set_others(source(1), 5));
    assert_eq!(limiter.others(source(1)), 0);
    assert_eq!(attempt(&limiter, source(1)), Ok(()));
}

#[test]
fn source_of_a_listener_counts_here_only() {
    let limiter = node(0, 1);
    limiter.set_others(source(1), 5);
    let scoped = source(1).in_scope(Scope::of_listener(1).unwrap());
    assert_eq!(attempt(&limiter, scoped), Ok(()));
}

#[test]
fn rejection_by_the_cluster_is_no_offence() {
    let limiter = node(0, 5);
    limiter.set_penalty(Penalty {
        offence: Cause::Rejected,
        millis: 600_000,
    });
    open(&limiter, source(1), 1);
    limiter.set_others(source(1), 5);
    for _ in 0..10 {
        assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Cluster));
    }
    assert_eq!(limiter.totals().penalty_rejected, 0);
    limiter.set_others(source(1), 0);
    assert_eq!(attempt(&limiter, source(1)), Ok(()));
}

#[test]
fn lines_say_what_is_on_other_nodes() {
    let limiter = node(0, 10);
    let mut watch = Watch::default();
    let tick = |watch: &mut Watch, now| {
        let mut notices = Vec::new();
        watch.tick(&limiter, now, 60, &mut |notice| notices.push(notice));
        notices
    };
    open(&limiter, source(1), 4);
    limiter.set_others(source(1), 6);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Cluster));
    let notices = tick(&mut watch, 1);
    let [first] = &notices[..] else {
        panic!("{notices:?}");
    };
    let sum = ClusterSum {
        others: 6,
        limit: 10,
    };
    assert!(matches!(first, Notice::First { why: Why::Cluster(s), .. } if *s == sum));
    assert_eq!(
        first.line(PrefixLengths::DEFAULT, 0).to_string(),
        "rejected connection from 10.0.0.1: 10 connections on all nodes, 6 of them on others, \
         cluster limit 10, rule default"
    );
    assert_eq!(tick(&mut watch, 2), []);
    limiter.set_others(source(1), 1);
    let notices = tick(&mut watch, 3);
    assert_eq!(
        notices[0].line(PrefixLengths::DEFAULT, 0).to_string(),
        "source 10.0.0.1 is back under its cluster limit: 5 connections on all nodes, 1 of them \
         on others, cluster limit 10, rule default"
    );
}

#[test]
fn report_shows_each_node() {
    let limiter = node(0, 10);
    limiter.set_others(source(1), 6);
    limiter.set_others_of_node(source(1), 0, 2);
    limiter.set_others_of_node(source(1), 3, 4);
    let report = limiter.others_of(source(1)).unwrap();
    assert_eq!(
        (report.connections, &report.of_nodes[..5]),
        (6, &[2, 0, 0, 4, 0][..])
    );
    assert_eq!(limiter.all_others().count(), 1);
    limiter.set_others(source(1), 0);
    assert_eq!(limiter.others_of(source(1)), None);
}

#[test]
fn rest_of_a_limit_can_be_shared() {
    let limiter = node(0, 30);
    limiter.set_cluster_shares(3);
    // A third of 30.
    open(&limiter, source(1), 9);
    assert_eq!(attempt(&limiter, source(1)), Ok(()));
    open(&limiter, source(1), 1);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Cluster));
    // It has 10 here and 8 elsewhere, so 12 are left: 4 for each node.
    assert!(limiter.set_base(source(1), 10));
    limiter.set_others(source(1), 8);
    assert_eq!(limiter.allowed_here(source(1), 30), 14);
    open(&limiter, source(1), 3);
    assert_eq!(attempt(&limiter, source(1)), Ok(()));
    open(&limiter, source(1), 1);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Cluster));
    // Nothing is left.
    limiter.set_others(source(1), 25);
    assert_eq!(limiter.allowed_here(source(1), 30), 10);
    // What other nodes have is shown without the base.
    assert_eq!(limiter.all_others().count(), 1);
    limiter.set_base(source(1), 0);
    assert_eq!(limiter.allowed_here(source(1), 30), 2);
    limiter.set_cluster_shares(0);
    assert_eq!(limiter.allowed_here(source(1), 30), 5);
    // A source without connections.
    limiter.set_cluster_shares(3);
    for (others, expected) in [(0, Ok(())), (29, Ok(())), (30, Err(RejectedFor::Cluster))] {
        limiter.set_others(source(2), others);
        assert_eq!(attempt(&limiter, source(2)), expected, "{others}");
    }
}

/// The process that runs the node is stuck, while the watcher goes on.
#[test]
fn old_knowledge_of_others_does_not_count() {
    thread_local! {
        static MICROS: Cell<u64> = const { Cell::new(1_000_000) };
    }
    let limiter = node(0, 10).with_clock(|| MICROS.get());
    let config = Config::new(
        NodeName::new("a").unwrap(),
        1,
        [2, 3],
        Keys::new(b"sixteen bytes...", None).unwrap(),
    );
    let mut own = Node::new(config, 1_000);
    let mut tick = |now: u64| {
        own.tick(
            &limiter,
            now,
            &mut Outside {
                worker: Worker::ACCEPTOR,
                seconds: 0,
                send: &mut |_, _| {},
                log: &mut |_| {},
            },
        );
    };
    tick(1_000);
    limiter.set_others(source(1), 10);
    for (seconds, expected) in [
        (1, Err(RejectedFor::Cluster)),
        (6, Err(RejectedFor::Cluster)),
        (7, Ok(())),
    ] {
        MICROS.set(seconds * 1_000_000);
        limiter.set_clock(0);
        assert_eq!(attempt(&limiter, source(1)), expected, "{seconds}");
    }
    tick(1_000_000);
    assert_eq!(attempt(&limiter, source(1)), Err(RejectedFor::Cluster));
}

#[derive(Clone, Debug)]
enum Operation {
    Accept(u32),
    Close(usize),
    Others(u32, u32),
    SetClusterLimit(u32),
    SetRules(usize),
    SetMode(Mode),
}

/// Rules, and the limits of the sources 1 to 4 here and over all nodes; `None`: the default.
type Limits = [(u32, Option<u32>); 5];
const RULES: [(&[&str], Limits); 3] = [
    (&[], [(8, None); 5]),
    (
        &["10.0.0.1 = 4 cluster=6", "10.0.0.2 = 4 trusted"],
        [(8, None), (4, Some(6)), (4, Some(0)), (8, None), (8, None)],
    ),
    (
        &["10.0.0.3 = 9 cluster=2", "10.0.0.4 = unlimited"],
        [
            (8, None),
            (8, None),
            (8, None),
            (9, Some(2)),
            (u32::MAX, Some(0)),
        ],
    ),
];

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let mode = prop_oneof![
        3 => Just(Mode::Enforce),
        1 => Just(Mode::Monitor),
        1 => Just(Mode::Off),
    ];
    let operation = prop_oneof![
        20 => (0..5u32).prop_map(Operation::Accept),
        10 => any::<usize>().prop_map(Operation::Close),
        8 => (0..5u32, 0..12u32).prop_map(|(n, others)| Operation::Others(n, others)),
        1 => (0..12u32).prop_map(Operation::SetClusterLimit),
        1 => (0..RULES.len()).prop_map(Operation::SetRules),
        1 => mode.prop_map(Operation::SetMode),
    ];
    proptest::collection::vec(operation, 0..600)
}

/// The same with plain numbers.
struct Oracle {
    live: Vec<(u32, Token)>,
    others: HashMap<u32, u32>,
    cluster_limit: u32,
    rules: usize,
    mode: Mode,
    rejected: HashMap<RejectedFor, u64>,
}

impl Oracle {
    fn admits(&self, n: u32) -> Result<(), RejectedFor> {
        if self.mode == Mode::Off {
            return Ok(());
        }
        let (limit, cluster_limit) = RULES[self.rules].1[n as usize];
        let own = self.live.iter().filter(|(of, _)| *of == n).count() as u32;
        if own >= limit {
            return Err(RejectedFor::Limit);
        }
        let cluster_limit = cluster_limit.unwrap_or(self.cluster_limit);
        let others = self.others.get(&n).copied().unwrap_or(0);
        if cluster_limit > 0 && own + others >= cluster_limit {
            return Err(RejectedFor::Cluster);
        }
        Ok(())
    }

    fn run(&mut self, limiter: &Limiter, operation: &Operation) {
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
            Operation::Others(n, others) => {
                self.others.insert(n, others);
                assert!(limiter.set_others(source(n), others));
            }
            Operation::SetClusterLimit(limit) => {
                self.cluster_limit = limit;
                limiter.set_cluster_limit(limit);
            }
            Operation::SetRules(rules) => {
                self.rules = rules;
                load_rules(limiter, RULES[rules].0);
            }
            Operation::SetMode(mode) => {
                self.mode = mode;
                limiter.set_mode(mode);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn cluster_matches_the_oracle(operations in operations()) {
        let limiter = node(8, 0);
        let mut oracle = Oracle {
            live: Vec::new(),
            others: HashMap::new(),
            cluster_limit: 0,
            rules: 0,
            mode: Mode::Enforce,
            rejected: HashMap::new(),
        };
        for operation in &operations {
            oracle.run(&limiter, operation);
        }
        let totals = limiter.totals();
        let rejected = oracle.rejected.get(&RejectedFor::Cluster).copied().unwrap_or(0);
        prop_assert_eq!(totals.cluster_rejected + totals.cluster_would_reject, rejected);
        prop_assert_eq!(totals.rejected + totals.would_reject, oracle.rejected.values().sum::<u64>());
    }
}
