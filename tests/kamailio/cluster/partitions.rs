// SPDX-License-Identifier: GPL-2.0-or-later

//! Networks between the nodes that fail, both ways and one way.

use std::time::Instant;

use serde_json::json;
use support::kamailio::{Client, Mode, Server, Via, number, source, until};

use super::nodes::{
    Place, finish, rejected, wait_for_alive, wait_for_others, wait_for_state, wait_until_joined,
};
use super::sums::grow;

const LIMIT: usize = 30;

/// θ for this limit and two nodes, as many as hear each other in a part.
const THRESHOLD: usize = 4;

/// The attachment makes no difference, so there is one test.
#[test]
fn parted_nodes_keep_the_limit_in_each_part() {
    let mode = Mode::Module;
    let (place, links) = Place::linked(3);
    let servers = place.start(mode, LIMIT as i64);
    let [first, others @ ..] = &servers[..] else {
        panic!("three servers");
    };

    // A source that is known before grows in both parts.
    let from = source(201, 0, 1);
    let mut known = first.admit_all(6, Via::Tcp, from);
    for server in others {
        wait_for_others(server, "127.201.0.1", 6);
    }
    links.part(&[0], &[1, 2]);
    wait_for_alive(first, 0);
    for server in others {
        wait_for_state(server, &place.name(0), "silent");
    }
    let mut held = grow(&servers, from, 2 * LIMIT);
    held[0].append(&mut known);
    assert_eq!(held[0].len(), LIMIT, "one node alone");
    let both = held[1].len() + held[2].len();
    let bound = LIMIT + LIMIT + THRESHOLD - 1;
    assert!((LIMIT..=bound).contains(&both), "{both}");
    wait_for_others(first, "127.201.0.1", 0);
    wait_for_others(&servers[1], "127.201.0.1", held[2].len() as u64);
    wait_for_others(&servers[2], "127.201.0.1", held[1].len() as u64);
    for server in &servers {
        server.reject(Via::Tcp, from);
    }
    links.heal();
    wait_until_joined(&servers);
    assert_sums_are_exact(&servers, "127.201.0.1", &held);

    // The others do not hear the first node, which hears them until it knows that.
    links.cut(&[0], &[1, 2]);
    for server in others {
        wait_for_state(server, &place.name(0), "silent");
    }
    let from = source(201, 0, 2);
    let mut one_way = vec![
        Vec::new(),
        others[0].admit_all(LIMIT, Via::Tcp, from),
        Vec::new(),
    ];
    wait_for_others(&servers[2], "127.201.0.2", LIMIT as u64);
    wait_for_others(first, "127.201.0.2", LIMIT as u64);
    for server in &servers {
        server.reject(Via::Tcp, from);
    }
    wait_for_state(first, &place.name(1), "deaf");
    assert_eq!(number(&first.source("127.201.0.2"), "others"), 0);
    one_way[0] = first.admit_all(LIMIT, Via::Tcp, from);
    for server in &servers {
        server.reject(Via::Tcp, from);
    }
    // The first node's answers were lost, so the others repeated their messages.
    assert!(rejected(first, "repeated") > 0);
    links.heal();
    wait_until_joined(&servers);
    assert_sums_are_exact(&servers, "127.201.0.2", &one_way);
    assert_sums_are_exact(&servers, "127.201.0.1", &held);
    wait_until_agreed(&servers);
    drop((held, one_way));
    finish(mode, servers);
}

/// Waits until each server knows exactly what the others have.
fn assert_sums_are_exact(servers: &[Server], address: &str, held: &[Vec<Client>]) {
    let total: usize = held.iter().map(Vec::len).sum();
    for (server, clients) in servers.iter().zip(held) {
        wait_for_others(server, address, (total - clients.len()) as u64);
        let own = number(&server.source(address), "connections");
        assert_eq!(own, clients.len() as u64);
    }
}

/// Waits until each server has compared what it knows with the reports of the others since now,
/// and agrees with them.
fn wait_until_agreed(servers: &[Server]) {
    let began = Instant::now();
    for server in servers {
        until("the nodes agree", || {
            let answer = server.rpc("tcp_conn_limit.cluster_audit", json!([]));
            let since = began.elapsed().as_millis() as u64;
            let nodes = answer["nodes"].as_array().expect("a list of nodes");
            let agrees = |node: &serde_json::Value| {
                node["result"] == "agrees"
                    && number(node, "age_ms") < since
                    && node["reported"] == node["arrived"]
            };
            nodes.len() == servers.len() - 1 && nodes.iter().all(agrees)
        });
    }
}
