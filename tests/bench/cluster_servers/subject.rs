// SPDX-License-Identifier: GPL-2.0-or-later

//! Three servers with a limit of one kind.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use serde_json::{Value, json};
use support::kamailio::{Config, Server, Via, free_port, number, until};

use crate::cpu::Clock;
use crate::kamailio::LIMIT;
use crate::record::{Kind, Limited};
use crate::redis::Redis;
use crate::{Result, kamailio};

pub(crate) const NODES: usize = 3;

/// The three servers. Messages between them are on addresses of their own, because DMQ
/// distinguishes nodes by their addresses.
pub(crate) struct Subject {
    // First, to be dropped first: they use Redis.
    pub(crate) servers: Vec<Server>,
    redis: Option<Redis>,
    pub(crate) wires: Vec<SocketAddrV4>,
    processes: Vec<(Kind, u32)>,
}

impl Subject {
    /// Starts the servers, and waits until they hear each other. `limit` is that over all
    /// servers, as far as this kind has one.
    pub(crate) fn start(limited: Limited, limit: u32) -> Result<Subject> {
        let wire = |node| SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, node), free_port());
        let wires: Vec<SocketAddrV4> = [1, 2, 3].map(wire).into();
        let redis = match limited {
            Limited::Redis => Some(Redis::start()?),
            _ => None,
        };
        let mut servers = Vec::new();
        for node in 0..NODES {
            servers.push(config(limited, limit, &wires, node, redis.as_ref())?.start());
        }
        let mut subject = Subject {
            servers,
            redis,
            wires,
            processes: Vec::new(),
        };
        if limited.is_cluster() {
            for server in &subject.servers {
                until("the servers hear each other", || {
                    number(&cluster(server), "alive") == NODES as u64 - 1
                });
            }
        }
        subject.processes = subject.list_processes();
        Ok(subject)
    }

    fn list_processes(&self) -> Vec<(Kind, u32)> {
        let mut processes = Vec::new();
        for server in &self.servers {
            let list = server.rpc("core.psa", json!([]));
            for process in list.as_array().into_iter().flatten() {
                let description = process["description"].as_str().unwrap_or_default();
                processes.push((Kind::of(description), number(process, "pid") as u32));
            }
        }
        processes.extend(self.redis.iter().map(|redis| (Kind::Redis, redis.pid())));
        processes
    }

    /// CPU time of all processes, by kind.
    pub(crate) fn run_ns(&self, clock: Clock) -> Result<BTreeMap<Kind, u64>> {
        let mut times = BTreeMap::new();
        for &(kind, pid) in &self.processes {
            *times.entry(kind).or_default() += clock.read(pid)?.run_ns;
        }
        Ok(times)
    }

    /// Where clients connect.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let servers = self.servers.iter();
        servers.map(|server| server.address(Via::Tcp)).collect()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.servers.iter().map(Server::connections).sum()
    }

    /// Waits until the servers have this many connections together.
    pub(crate) fn wait_for_connections(&self, count: u64) {
        until(&format!("{count} connections"), || {
            self.connections() == count
        });
    }

    /// Waits until each server has what the others say that they reported.
    pub(crate) fn wait_until_agreed(&self) {
        for server in &self.servers {
            until("the servers agree", || {
                let answer = server.rpc("tcp_conn_limit.cluster_audit", json!([]));
                let nodes = answer["nodes"].as_array().cloned().unwrap_or_default();
                nodes.len() == NODES - 1 && nodes.iter().all(|node| node["result"] == "agrees")
            });
        }
    }
}

/// What a server says of its cluster.
pub(crate) fn cluster(server: &Server) -> Value {
    server.rpc("tcp_conn_limit.cluster", json!([]))
}

fn config(
    limited: Limited,
    limit: u32,
    wires: &[SocketAddrV4],
    node: usize,
    redis: Option<&Redis>,
) -> Result<Config> {
    Ok(match (limited, redis) {
        (Limited::Redis, Some(redis)) => redis.counted(limit)?,
        (Limited::Redis, None) => return Err("there is no Redis".into()),
        (Limited::Off, _) => kamailio::module(LIMIT),
        (Limited::Each, _) => kamailio::module(limit),
        (Limited::Share, _) => kamailio::module(limit.div_ceil(NODES as u32)),
        (Limited::Cluster, _) => clustered(limit, wires, node),
        (Limited::Strict, _) => clustered(limit, wires, node).param("cluster_strict", 1),
    })
}

fn clustered(limit: u32, wires: &[SocketAddrV4], node: usize) -> Config {
    kamailio::module(limit).node_of_cluster(wires, node, limit)
}
