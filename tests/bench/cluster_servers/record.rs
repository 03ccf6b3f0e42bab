// SPDX-License-Identifier: GPL-2.0-or-later

//! The result of a run: the JSON file, from which the tables are made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::common::run::Run;
use crate::cpu::Clock;
use crate::wire::Wire;

/// What limits a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limited {
    /// Only a limit that no source reaches, on each server.
    Off,
    /// One limit for all servers.
    Cluster,
    /// The same with `cluster_strict`.
    Strict,
    /// The limit on each server.
    Each,
    /// A third of it on each server.
    Share,
    /// A counter in Redis, driven by the script.
    Redis,
}

impl Limited {
    pub(crate) fn is_cluster(self) -> bool {
        matches!(self, Limited::Cluster | Limited::Strict)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Limited::Off => "no cluster",
            Limited::Cluster => "cluster",
            Limited::Strict => "cluster, strict",
            Limited::Each => "each server, L",
            Limited::Share => "each server, L/3",
            Limited::Redis => "script, Redis",
        }
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    TcpMain,
    /// Reads requests that come by TCP.
    TcpWorker,
    /// Reads the messages of the other servers.
    UdpWorker,
    DmqWorker,
    /// Sends and applies the reports of the cluster.
    Cluster,
    /// The module's process that logs and counts.
    Watcher,
    Timer,
    Redis,
    Other,
}

impl Kind {
    pub(crate) const ALL: [Kind; 9] = [
        Kind::TcpMain,
        Kind::TcpWorker,
        Kind::UdpWorker,
        Kind::DmqWorker,
        Kind::Cluster,
        Kind::Watcher,
        Kind::Timer,
        Kind::Redis,
        Kind::Other,
    ];

    /// The kind of a server's process with this description.
    pub(crate) fn of(description: &str) -> Kind {
        let kinds = [
            ("tcp main", Kind::TcpMain),
            ("tcp receiver", Kind::TcpWorker),
            ("udp receiver", Kind::UdpWorker),
            ("DMQ WORKER", Kind::DmqWorker),
            ("tcp_conn_limit cluster", Kind::Cluster),
            ("tcp_conn_limit", Kind::Watcher),
            ("timer", Kind::Timer),
        ];
        let mut kinds = kinds.into_iter();
        let kind = kinds.find(|(text, _)| description.contains(text));
        kind.map_or(Kind::Other, |(_, kind)| kind)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::TcpMain => "TCP main",
            Kind::TcpWorker => "TCP workers",
            Kind::UdpWorker => "UDP workers",
            Kind::DmqWorker => "DMQ workers",
            Kind::Cluster => "cluster",
            Kind::Watcher => "watcher",
            Kind::Timer => "timers",
            Kind::Redis => "Redis",
            Kind::Other => "others",
        }
    }
}

/// CPU time in a window, of all servers together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) seconds: f64,
    pub(crate) run_ns: BTreeMap<Kind, u64>,
}

impl Cpu {
    /// In per cent of a core.
    pub(crate) fn percent(&self, kind: Kind) -> f64 {
        let ns = self.run_ns.get(&kind).copied().unwrap_or(0);
        ns as f64 / self.seconds / 1e7
    }

    pub(crate) fn percent_of_all(&self) -> f64 {
        Kind::ALL.iter().map(|&kind| self.percent(kind)).sum()
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) run: Run,
    pub(crate) versions: Vec<String>,
    pub(crate) clock: Clock,
    /// The limit of the greedy source.
    pub(crate) limit: u32,
    pub(crate) loads: Vec<LoadSample>,
    pub(crate) contests: Vec<Contest>,
    pub(crate) losses: Vec<Loss>,
}

/// A load of many sources with a connection each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LoadSample {
    pub(crate) limited: Limited,
    /// The limit over all servers, if they are a cluster.
    pub(crate) limit: u32,
    pub(crate) sources: u32,
    /// Connections that are closed and opened again in a second, on all servers together.
    pub(crate) churn: f64,
    /// Sources that the servers report to each other, together.
    pub(crate) reported: u64,
    pub(crate) cpu: Cpu,
    pub(crate) wire: Wire,
    pub(crate) changed: Vec<Changed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// One connection more or less.
    One,
    /// Just enough connections to be reported at once.
    Jump,
}

/// How soon all other servers knew of a change.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) node: usize,
    pub(crate) change: Change,
    pub(crate) ms: f64,
    /// The time from the question before to the answer that showed it.
    pub(crate) error_ms: f64,
}

/// What a greedy source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Greed {
    /// 200 connections a second, to one server after the other, with a request on each.
    Steady,
    /// To all servers at once, as fast as it can, with a request on each.
    Rush,
    /// The same without requests.
    Silent,
}

impl Greed {
    pub(crate) const ALL: [Greed; 3] = [Greed::Steady, Greed::Rush, Greed::Silent];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Greed::Steady => "200/s",
            Greed::Rush => "at once",
            Greed::Silent => "silent",
        }
    }
}

/// A greedy source, and honest ones besides it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Contest {
    pub(crate) round: usize,
    pub(crate) limited: Limited,
    pub(crate) greed: Greed,
    pub(crate) attempts: u64,
    /// Connections of the greedy source at the end.
    pub(crate) greedy: u64,
    /// Connections of an honest source whose clients all come to one server, of as many as
    /// the limit allows.
    pub(crate) office: u64,
    /// Times until the first answer to a new honest source, in microseconds.
    pub(crate) micros: Vec<u32>,
    pub(crate) failed: u32,
    pub(crate) cpu: Cpu,
}

/// A server is killed that has as many connections of an honest source as the limit allows. The
/// source then opens as many on another one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Loss {
    pub(crate) round: usize,
    pub(crate) limited: Limited,
    /// Connections that it gets, and how long after the server was killed it gets the last one.
    pub(crate) again: u64,
    pub(crate) seconds: f64,
}
