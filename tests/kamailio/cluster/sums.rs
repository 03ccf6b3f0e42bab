// SPDX-License-Identifier: GPL-2.0-or-later

//! The sum over all nodes: exact at rest, and within its bound while a source grows.

use std::thread;

use serde_json::json;
use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Server, Via, number, source, until};

use super::nodes::{Place, Transport, cluster, finish, wait_for_others};

attached_either_way!(
    sum_is_exact_at_rest,
    source_grows_on_all_nodes_at_once,
    five_nodes_share_a_limit,
    strict_nodes_stay_near_the_limit,
    sources_differ_by_rule,
    messages_go_by_tcp,
    messages_go_by_tls,
    monitor_mode_admits,
);

/// θ for a limit of 30 and three nodes.
const THRESHOLD: usize = 2;

fn sum_is_exact_at_rest(mode: Mode) {
    let place = Place::new(Transport::Udp, 3);
    let servers = place.start(mode, 30);
    let from = source(201, 0, 1);
    let counts = [9, 11, 10];
    let mut held: Vec<Vec<Client>> = Vec::new();
    for (server, count) in servers.iter().zip(counts) {
        held.push(server.admit_all(count, Via::Tcp, from));
    }
    for (server, count) in servers.iter().zip(counts) {
        wait_for_others(server, "127.201.0.1", 30 - count as u64);
        server.reject(Via::Tcp, from);
        let found = server.source("127.201.0.1");
        assert_eq!(number(&found, "connections"), count as u64, "{found}");
        assert_eq!(found["cluster_limit"], 30, "{found}");
        assert_eq!(found["rejected_for"], "cluster", "{found}");
        assert_eq!(server.stat("cluster_rejected"), 1);
    }
    // By node.
    let found = servers[0].source("127.201.0.1");
    for node in [1, 2] {
        let nodes = found["nodes"].as_array().expect("a list of nodes");
        let of_node = json!({"node": place.name(node), "connections": counts[node]});
        assert!(nodes.contains(&of_node), "{of_node}: {found}");
    }
    // A source without connections here is rejected as well.
    held[2].clear();
    wait_for_others(&servers[0], "127.201.0.1", 11);
    held[1].extend(servers[1].admit_all(10, Via::Tcp, from));
    wait_for_others(&servers[2], "127.201.0.1", 30);
    servers[2].reject(Via::Tcp, from);
    servers[2].wait_for_log(
        1,
        "rejected connection from 127.201.0.1: 30 connections on all",
    );
    // Another source is not concerned.
    held.push(servers[2].admit_all(3, Via::Tcp, source(201, 0, 2)));
    drop(held);
    for server in &servers {
        wait_for_others(server, "127.201.0.1", 0);
        until("nothing is on other nodes", || {
            number(&cluster(server), "other_sources") == 0
        });
    }
    finish(mode, servers);
}

/// Opens as many connections as the servers admit, on all of them at the same time.
pub(super) fn grow(
    servers: &[Server],
    from: std::net::IpAddr,
    attempts: usize,
) -> Vec<Vec<Client>> {
    thread::scope(|scope| {
        let threads: Vec<_> = servers
            .iter()
            .map(|server| {
                scope.spawn(move || {
                    let attempts = 0..attempts;
                    let clients = attempts.filter_map(|_| server.open(Via::Tcp, from));
                    clients.collect::<Vec<_>>()
                })
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|clients| clients.expect("clients connect"))
            .collect()
    })
}

fn source_grows_on_all_nodes_at_once(mode: Mode) {
    let place = Place::new(Transport::Udp, 3);
    let servers = place.start(mode, 30);
    let held = grow(&servers, source(201, 0, 1), 60);
    let total: usize = held.iter().map(Vec::len).sum();
    // Within the time of a message, each node admits at most what one node may have.
    let bound = 30 + 2 * (30 + THRESHOLD - 1);
    assert!((30..=bound).contains(&total), "{total}");
    for (server, clients) in servers.iter().zip(&held) {
        let others = (total - clients.len()) as u64;
        wait_for_others(server, "127.201.0.1", others);
        server.reject(Via::Tcp, source(201, 0, 1));
    }
    finish(mode, servers);
}

fn strict_nodes_stay_near_the_limit(mode: Mode) {
    let place = Place::new(Transport::Udp, 3);
    let servers: Vec<_> = (0..3)
        .map(|node| {
            let config = place.node(mode, node, 30).limit(1000);
            config.param("cluster_strict", 1).start()
        })
        .collect();
    super::nodes::wait_until_joined(&servers);
    let held = grow(&servers, source(201, 0, 1), 60);
    let total: usize = held.iter().map(Vec::len).sum();
    assert!(total <= 30 + 3 + 2 * (THRESHOLD - 1), "{total}");
    // What one node does not use, another one gets.
    let mut alone = Vec::new();
    until("one node has nearly all", || {
        alone.extend(servers[0].open(Via::Tcp, source(202, 0, 1)));
        alone.len() >= 29
    });
    finish(mode, servers);
}

fn five_nodes_share_a_limit(mode: Mode) {
    let place = Place::new(Transport::Udp, 5);
    let servers = place.start(mode, 40);
    let held = grow(&servers, source(201, 0, 1), 30);
    let total: usize = held.iter().map(Vec::len).sum();
    assert!((40..=150).contains(&total), "{total}");
    for (server, clients) in servers.iter().zip(&held) {
        wait_for_others(server, "127.201.0.1", (total - clients.len()) as u64);
        server.reject(Via::Tcp, source(201, 0, 1));
    }
    finish(mode, servers);
}

fn sources_differ_by_rule(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let servers = [0, 1].map(|node| {
        place
            .node(mode, node, 0)
            .limit(1000)
            .rule("127.201.0.0/24=100 cluster=6")
            .rule("127.202.0.0/24=100 trusted")
            .start()
    });
    super::nodes::wait_until_joined(&servers);
    let [first, second] = &servers;
    let mut held = first.admit_all(6, Via::Tcp, source(201, 0, 1));
    held.extend(first.admit_all(8, Via::Tcp, source(202, 0, 1)));
    held.extend(first.admit_all(8, Via::Tcp, source(203, 0, 1)));
    wait_for_others(second, "127.201.0.1", 6);
    second.reject(Via::Tcp, source(201, 0, 1));
    held.push(second.admit(Via::Tcp, source(202, 0, 1)));
    held.push(second.admit(Via::Tcp, source(203, 0, 1)));
    let answer = second.rpc("tcp_conn_limit.set_cluster_limit", json!([8]));
    assert_eq!(answer, json!({"cluster_limit": 8, "was": "none"}));
    first.rpc("tcp_conn_limit.set_cluster_limit", json!([8]));
    wait_for_others(second, "127.203.0.1", 8);
    second.reject(Via::Tcp, source(203, 0, 1));
    finish(mode, servers.into());
}

fn messages_go_by_tcp(mode: Mode) {
    messages_go_by(mode, Transport::Tcp);
}

fn messages_go_by_tls(mode: Mode) {
    messages_go_by(mode, Transport::Tls);
}

fn messages_go_by(mode: Mode, transport: Transport) {
    let place = Place::new(transport, 3);
    let servers = place.start(mode, 12);
    for server in &servers {
        // How many depends on the addresses that the system chooses.
        until("the addresses of nodes are named", || {
            let log = server.log();
            log.contains("a cluster node connects by TCP or TLS from 127.")
                && log.contains("=unlimited trusted")
        });
    }
    let held = servers[0].admit_all(12, Via::Tcp, source(201, 0, 1));
    for server in &servers[1..] {
        wait_for_others(server, "127.201.0.1", 12);
        server.reject(Via::Tcp, source(201, 0, 1));
    }
    drop(held);
    wait_for_others(&servers[1], "127.201.0.1", 0);
    finish(mode, servers);
}

fn monitor_mode_admits(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let servers = [0, 1].map(|node| {
        let config = place.node(mode, node, 5).limit(1000);
        config.text_param("mode", "monitor").start()
    });
    super::nodes::wait_until_joined(&servers);
    let mut held = servers[0].admit_all(5, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 5);
    held.push(servers[1].admit(Via::Tcp, source(201, 0, 1)));
    assert_eq!(servers[1].stat("cluster_would_reject"), 1);
    assert_eq!(servers[1].stat("cluster_rejected"), 0);
    servers[1].wait_for_log(
        1,
        "would reject connection from 127.201.0.1: 5 connections on all nodes, 5 of them on \
         others, cluster limit 5, rule default",
    );
    finish(mode, servers.into());
}
