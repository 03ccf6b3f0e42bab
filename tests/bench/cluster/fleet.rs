// SPDX-License-Identifier: GPL-2.0-or-later

//! A fleet in virtual time. One node is whole: it reports and receives as in a server, and
//! is measured. The others report to it as in a server, but hear only it, so that a fleet
//! of 100 nodes needs the memory of one.

use std::collections::HashMap;

use nix::time::{ClockId, clock_gettime};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tcp_conn_limit::cluster::{
    Cluster, Config, Count, Effects, Keys, NodeName, NodeState, TICK_MS, To, bound,
};
use tcp_conn_limit::source::{PrefixLengths, Source};

use crate::heap;

/// What the sources of each node do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) name: String,
    pub(crate) nodes: u32,
    pub(crate) limit: u32,
    pub(crate) hidden_percent: u32,
    /// Sources with connections on each node. All but the busy ones have one.
    pub(crate) sources: u32,
    /// Of these, those with at least as many connections as the threshold.
    pub(crate) busy: u32,
    /// Busy sources whose count changes by one, on each node in a second.
    pub(crate) changes: u32,
    /// Busy sources that grow enough to be reported at once, on each node in a second.
    pub(crate) jumps: u32,
    /// The time before the measurement, and of it, in ms.
    pub(crate) warm_up_ms: u64,
    pub(crate) window_ms: u64,
}

impl Load {
    pub(crate) fn all(quick: bool) -> Vec<Load> {
        let (warm_up_ms, window_ms) = if quick {
            (4_000, 2_000)
        } else {
            (30_000, 30_000)
        };
        let ten = Load {
            name: "10 nodes".to_owned(),
            nodes: 10,
            limit: 100,
            hidden_percent: 10,
            sources: 35_000,
            busy: 1_400,
            changes: 10,
            jumps: 1,
            warm_up_ms,
            window_ms,
        };
        let all = Load {
            name: "10 nodes, all sources reported, much churn".to_owned(),
            hidden_percent: 0,
            busy: 35_000,
            changes: 4_000,
            jumps: 100,
            ..ten.clone()
        };
        let dmq = Load {
            name: "29 nodes, all sources reported".to_owned(),
            nodes: 29,
            changes: 400,
            jumps: 10,
            ..all.clone()
        };
        let hundred = Load {
            name: "100 nodes".to_owned(),
            nodes: 100,
            limit: 1_024,
            hidden_percent: 20,
            sources: 1_000_000,
            busy: 10_000,
            changes: 100,
            jumps: 10,
            ..ten.clone()
        };
        match quick {
            true => vec![ten],
            false => vec![ten, all, dmq, hundred],
        }
    }

    pub(crate) fn threshold(&self) -> u32 {
        bound::threshold(self.limit, self.nodes, self.hidden_percent)
    }

    /// A busy source has between the threshold and this many connections.
    fn most(&self) -> u32 {
        (self.limit / 10).max(self.threshold() + 1)
    }
}

/// The figures of one node. Per second where a field does not say otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) messages_out: f64,
    pub(crate) bytes_out: f64,
    pub(crate) messages_in: f64,
    pub(crate) bytes_in: f64,
    pub(crate) records_in: f64,
    /// CPU time, in percent of one core.
    pub(crate) tick_percent: f64,
    pub(crate) receive_percent: f64,
    /// CPU time of a message that arrives, and of the longest tick, in µs.
    pub(crate) receive_us: f64,
    pub(crate) longest_tick_us: f64,
    /// The memory of the node, in bytes.
    pub(crate) memory: usize,
    /// Counts of other nodes, and sources that have them.
    pub(crate) counts: u64,
    pub(crate) other_sources: u64,
    /// From the start until the node had all counts, in ms.
    pub(crate) joined_ms: u64,
    /// Until a change was known here.
    pub(crate) changes: Times,
    pub(crate) jumps: Times,
}

/// Times in ms.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) number: usize,
    pub(crate) median: u64,
    pub(crate) p99: u64,
    pub(crate) longest: u64,
}

impl Times {
    fn of(mut times: Vec<u64>) -> Times {
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).copied();
        Times {
            number: times.len(),
            median: at(50).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            longest: times.last().copied().unwrap_or_default(),
        }
    }
}

/// A node that only reports.
struct Reporter {
    cluster: Cluster,
    sources: Vec<(Source, u32)>,
    outbox: Outbox,
    /// In which ms of 100 it has its ticks.
    phase: u64,
}

#[derive(Default)]
struct Outbox {
    /// The messages, and whether they are for all nodes.
    sent: Vec<(bool, String)>,
    /// The counts that changed, of which node.
    set: Vec<(usize, Source, u32)>,
}

impl Effects for Outbox {
    fn send(&mut self, to: To<'_>, body: &str) {
        self.sent.push((to == To::All, body.to_owned()));
    }

    fn set(&mut self, _: Source, _: u32) {}

    fn set_of_node(&mut self, node: usize, source: Source, count: u32) {
        self.set.push((node, source, count));
    }
}

fn source(number: u32) -> Source {
    let octets = (0x0a00_0000 + number).to_be_bytes();
    Source::new(&octets, PrefixLengths::DEFAULT).expect("an IPv4 address")
}

/// The CPU time of this thread, in µs.
fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the clock of a thread");
    time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3
}

fn cluster(load: &Load, number: u32, rng: &mut SmallRng) -> Cluster {
    let name = NodeName::new(&format!("192.0.2.{number}:5060")).expect("a name");
    let keys = Keys::new(b"the key of this benchmark", None).expect("a long key");
    let config = Config {
        hidden_percent: load.hidden_percent,
        cluster_size: load.nodes,
        max_nodes: load.nodes as usize,
        ..Config::new(name, rng.random(), rng.random(), keys)
    };
    Cluster::new(config, 0)
}

/// The busy sources of a node: some of the whole fleet's.
fn busy(load: &Load, rng: &mut SmallRng) -> Vec<(Source, u32)> {
    let mut found = HashMap::new();
    while found.len() < load.busy as usize {
        let count = rng.random_range(load.threshold()..=load.most());
        found.insert(rng.random_range(0..load.sources), count);
    }
    let mut found: Vec<(u32, u32)> = found.into_iter().collect();
    found.sort_unstable();
    found
        .into_iter()
        .map(|(number, count)| (source(number), count))
        .collect()
}

/// A change that the node did not hear of yet.
struct Pending {
    count: u32,
    at: u64,
    is_jump: bool,
}

/// Runs a fleet.
pub(crate) fn run(load: &Load) -> Figures {
    let mut rng = SmallRng::seed_from_u64(load.nodes.into());
    let mut reporters: Vec<Reporter> = (1..load.nodes)
        .map(|number| Reporter {
            cluster: cluster(load, number, &mut rng),
            sources: busy(load, &mut rng),
            outbox: Outbox::default(),
            phase: rng.random_range(0..TICK_MS),
        })
        .collect();
    let own = busy(load, &mut rng);
    let idle: Vec<Source> = (load.busy..load.sources)
        .map(|n| source(load.sources + n))
        .collect();
    let mut node = heap::of_node(|| cluster(load, 0, &mut rng));
    let mut outbox = Outbox::default();
    // Which reporter has an index at the node.
    let mut by_index: Vec<Option<usize>> = vec![None; load.nodes as usize];
    let mut pending: HashMap<(usize, Source), Pending> = HashMap::new();
    let mut figures = Figures::default();
    let (mut changes, mut jumps) = (Vec::new(), Vec::new());
    let (mut tick_us, mut receive_us, mut received, mut messages_out) = (0.0, 0.0, 0u64, 0u64);
    let mut before = node.totals();
    let mut waiting: Vec<String> = Vec::new();
    let mut bytes = (0u64, 0u64);
    let expected = u64::from(load.nodes - 1) * u64::from(load.busy);
    let step = bound::eager_growth(load.limit, load.nodes);

    for now in 0..load.warm_up_ms + load.window_ms {
        let measures = now >= load.warm_up_ms;
        if now == load.warm_up_ms {
            before = node.totals();
        }
        // A message takes 1 ms.
        let arrived = std::mem::take(&mut waiting);
        let start = cpu_us();
        heap::of_node(|| {
            for body in &arrived {
                // The first ones are rejected, until the nodes know each other.
                let _ = node.receive(now, body.as_bytes(), &mut outbox);
            }
        });
        if measures {
            receive_us += cpu_us() - start;
            received += arrived.len() as u64;
            bytes.1 += arrived.iter().map(|body| body.len() as u64).sum::<u64>();
        }
        for (index, reporter) in reporters.iter_mut().enumerate() {
            if now > load.warm_up_ms / 2 {
                change(load, reporter, &mut rng, step, |source, count, is_jump| {
                    pending.insert(
                        (index, source),
                        Pending {
                            count,
                            at: now,
                            is_jump,
                        },
                    );
                });
            }
            if now % TICK_MS == reporter.phase {
                let limit = load.limit;
                let counts = reporter.sources.iter().map(|(source, own)| Count {
                    source: *source,
                    own: *own,
                    limit,
                });
                reporter.cluster.tick(now, counts, [], &mut reporter.outbox);
                let sent = std::mem::take(&mut reporter.outbox.sent);
                waiting.extend(sent.into_iter().map(|(_, body)| body));
            }
        }
        if now % TICK_MS == 0 {
            let start = cpu_us();
            heap::of_node(|| {
                let all = own
                    .iter()
                    .copied()
                    .chain(idle.iter().map(|source| (*source, 1)));
                let counts = all.map(|(source, own)| Count {
                    source,
                    own,
                    limit: load.limit,
                });
                node.tick(now, counts, [], &mut outbox);
            });
            if measures {
                let spent = cpu_us() - start;
                tick_us += spent;
                figures.longest_tick_us = spent.max(figures.longest_tick_us);
            }
            if figures.joined_ms == 0 {
                let known: usize = node.nodes(now).map(|report| report.sources).sum();
                if known as u64 >= expected {
                    figures.joined_ms = now;
                }
            }
            for report in node.nodes(now) {
                let number: usize = report.name.as_str()[8..]
                    .trim_end_matches(":5060")
                    .parse()
                    .expect("the number of a node");
                by_index[report.index] = Some(number - 1);
            }
        }
        for (to_all, body) in std::mem::take(&mut outbox.sent) {
            if measures {
                let receivers = if to_all { u64::from(load.nodes) - 1 } else { 1 };
                messages_out += receivers;
                bytes.0 += receivers * body.len() as u64;
            }
            for reporter in &mut reporters {
                // Those that it is not for reject it.
                let _ = reporter
                    .cluster
                    .receive(now, body.as_bytes(), &mut reporter.outbox);
                reporter.outbox.set.clear();
            }
        }
        for (index, source, count) in outbox.set.drain(..) {
            let Some(reporter) = by_index[index] else {
                continue;
            };
            let key = (reporter, source);
            if pending
                .get(&key)
                .is_some_and(|pending| pending.count == count)
                && let Some(found) = pending.remove(&key)
                && measures
            {
                match found.is_jump {
                    true => jumps.push(now - found.at),
                    false => changes.push(now - found.at),
                }
            }
        }
    }
    let after = node.totals();
    assert_eq!(after.lost, 0, "a message was lost");
    let end = load.warm_up_ms + load.window_ms;
    assert!(
        node.nodes(end)
            .all(|report| report.state == NodeState::Alive)
    );
    assert!(
        node.nodes(end)
            .all(|report| report.audit.is_none_or(|audit| audit.lasting == 0))
    );
    let seconds = load.window_ms as f64 / 1_000.0;
    figures.messages_out = messages_out as f64 / seconds;
    figures.bytes_out = bytes.0 as f64 / seconds;
    figures.messages_in = received as f64 / seconds;
    figures.bytes_in = bytes.1 as f64 / seconds;
    figures.records_in = (after.received_records - before.received_records) as f64 / seconds;
    figures.tick_percent = tick_us / seconds / 1e4;
    figures.receive_percent = receive_us / seconds / 1e4;
    figures.receive_us = receive_us / received.max(1) as f64;
    figures.memory = heap::held();
    figures.counts = node.nodes(end).map(|report| report.sources as u64).sum();
    figures.other_sources = after.other_sources;
    figures.changes = Times::of(changes);
    figures.jumps = Times::of(jumps);
    // What the node holds is freed as its own.
    heap::of_node(|| drop(node));
    figures
}

/// Lets sources of a node change as often as they do in 1 ms on average.
fn change(
    load: &Load,
    reporter: &mut Reporter,
    rng: &mut SmallRng,
    step: u32,
    mut changed: impl FnMut(Source, u32, bool),
) {
    for (per_second, is_jump) in [(load.changes, false), (load.jumps, true)] {
        let times = per_second / 1_000 + u32::from(rng.random_range(0..1_000) < per_second % 1_000);
        for _ in 0..times {
            let index = rng.random_range(0..reporter.sources.len());
            let (source, own) = &mut reporter.sources[index];
            *own = match is_jump {
                true if *own + step < load.limit => *own + step + 1,
                _ if *own > load.threshold() => *own - 1,
                _ => *own + 1,
            };
            changed(*source, *own, is_jump);
        }
    }
}
