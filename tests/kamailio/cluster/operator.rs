// SPDX-License-Identifier: GPL-2.0-or-later

//! What an operator sees of a cluster.

use serde_json::json;
use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Via, number, source, until};

use super::nodes::{Place, Transport, cluster, finish, seen, wait_for_others};

attached_either_way!(
    commands_show_the_nodes,
    top_and_audit_cover_the_fleet,
    commands_without_a_cluster_say_so,
    wrong_arguments_are_refused,
    limits_may_differ_by_node,
);

fn commands_show_the_nodes(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let servers = place.start(mode, 10);
    let held = servers[1].admit_all(4, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[0], "127.201.0.1", 4);
    let answer = cluster(&servers[0]);
    assert_eq!(answer["node"], place.name(0), "{answer}");
    assert_eq!(answer["cluster_limit"], 10, "{answer}");
    assert_eq!(answer["interval_ms"], 1000, "{answer}");
    assert_eq!(answer["lost"], 0, "{answer}");
    until("the node reported it", || {
        seen(&servers[0], &place.name(1))["connections"] == 4
    });
    let node = seen(&servers[0], &place.name(1));
    assert_eq!(
        (&node["state"], &node["counts"]),
        (&json!("alive"), &json!("yes"))
    );
    assert_eq!(
        (&node["sources"], &node["connections"]),
        (&json!(1), &json!(4))
    );
    assert!(number(&node, "round_trip_ms") < 1_000, "{node}");
    until("the source is counted", || {
        number(&cluster(&servers[0]), "other_sources") == 1
    });
    until("the time to learn is over", || {
        cluster(&servers[0])["state"] == "ready"
    });
    servers[0].wait_for_counter("cluster_nodes", 1);
    servers[0].wait_for_counter("cluster_sources", 1);
    for counter in ["cluster_sent", "cluster_received"] {
        assert!(servers[0].stat(counter) > 0, "{counter}");
    }
    assert_eq!(servers[0].stat("cluster_limit"), 10);
    let shown = servers[0].kamcmd(&["tcp_conn_limit.cluster"]);
    assert!(shown.contains(&place.name(1)), "{shown}");
    drop(held);
    finish(mode, servers);
}

fn top_and_audit_cover_the_fleet(mode: Mode) {
    let place = Place::new(Transport::Udp, 3);
    let servers = place.start(mode, 100);
    let mut held = servers[1].admit_all(15, Via::Tcp, source(201, 0, 1));
    held.extend(servers[2].admit_all(12, Via::Tcp, source(201, 0, 1)));
    held.extend(servers[2].admit_all(20, Via::Tcp, source(201, 0, 2)));
    held.extend(servers[0].admit_all(11, Via::Tcp, source(201, 0, 1)));
    // No other node has it.
    held.extend(servers[0].admit_all(21, Via::Tcp, source(201, 0, 3)));
    wait_for_others(&servers[0], "127.201.0.1", 27);
    wait_for_others(&servers[0], "127.201.0.2", 20);
    let top = servers[0].rpc("tcp_conn_limit.cluster_top", json!([]));
    let rows: Vec<_> = top.as_array().expect("a list").iter().collect();
    let row = |source: &str, own: u64, others: u64| {
        json!({"source": source, "cluster_limit": 100, "own": own, "others": others,
               "connections": own + others, "rejected_without_own": 0})
    };
    assert_eq!(
        rows,
        [
            &row("127.201.0.1", 11, 27),
            &row("127.201.0.3", 21, 0),
            &row("127.201.0.2", 0, 20),
        ]
    );
    assert_eq!(
        servers[0].rpc("tcp_conn_limit.top", json!(["cluster"])),
        top
    );
    let own = servers[0].rpc("tcp_conn_limit.top", json!([1]));
    assert_eq!(own[0]["source"], "127.201.0.3", "{own}");
    let most = servers[0].rpc("tcp_conn_limit.top", json!([1, "cluster"]));
    assert_eq!(most, json!([rows[0]]));
    let one = servers[0].rpc("tcp_conn_limit.cluster_top", json!([1]));
    assert_eq!(one.as_array().map(Vec::len), Some(1), "{one}");
    let audit = || servers[0].rpc("tcp_conn_limit.cluster_audit", json!([]));
    until("both nodes agree", || {
        let answer = audit();
        let nodes = answer["nodes"].as_array().expect("a list of nodes").clone();
        let agrees = |node: &serde_json::Value| {
            node["result"] == "agrees"
                && node["reported"] == node["arrived"]
                && number(node, "reported") > 0
        };
        nodes.len() == 2 && nodes.iter().all(agrees)
    });
    drop(held);
    finish(mode, servers);
}

fn commands_without_a_cluster_say_so(mode: Mode) {
    let server = mode.config(10).start();
    for (command, parameters) in [
        ("cluster", json!([])),
        ("cluster_audit", json!([])),
        ("cluster_top", json!([])),
        ("cluster_drop", json!(["sip:127.0.0.1:5060"])),
        ("top", json!(["cluster"])),
        ("set_cluster_limit", json!([5])),
    ] {
        let fault = server.fault(&format!("tcp_conn_limit.{command}"), parameters);
        assert!(
            fault.message.contains("is not a node of a cluster"),
            "{fault:?}"
        );
    }
    let found = server.source("127.0.0.1");
    assert!(found["others"].is_null(), "{found}");
    mode.finish(server, &[]);
}

fn wrong_arguments_are_refused(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let servers = place.start(mode, 10);
    for (command, parameters) in [
        ("cluster", json!(["all"])),
        ("cluster_top", json!(["many"])),
        ("cluster_top", json!([401])),
        ("top", json!(["cluster", "peak"])),
        ("top", json!(["cluster", "networks"])),
        ("top", json!(["cluster", "cluster"])),
        ("cluster_drop", json!([])),
        ("cluster_drop", json!(["a", "on"])),
        ("cluster_drop", json!(["x".repeat(65)])),
        ("set_cluster_limit", json!(["-5"])),
        ("set_cluster_limit", json!([])),
    ] {
        let fault = servers[0].fault(&format!("tcp_conn_limit.{command}"), parameters);
        assert_eq!(fault.code, 400, "{command}: {fault:?}");
    }
    finish(mode, servers);
}

/// As while a new limit is rolled out: each node applies its own to the same sum.
fn limits_may_differ_by_node(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let servers = vec![
        place.node(mode, 0, 10).limit(1000).start(),
        place.node(mode, 1, 20).limit(1000).start(),
    ];
    super::nodes::wait_until_joined(&servers);
    let mut held = servers[1].admit_all(10, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[0], "127.201.0.1", 10);
    servers[0].reject(Via::Tcp, source(201, 0, 1));
    held.extend(servers[1].admit_all(10, Via::Tcp, source(201, 0, 1)));
    servers[1].reject(Via::Tcp, source(201, 0, 1));
    // More than its own limit makes no difference to a node, until it has a higher one.
    until("the count is above the limit here", || {
        number(&seen(&servers[0], &place.name(1)), "capped") > 0
    });
    wait_for_others(&servers[0], "127.201.0.1", 10);
    servers[0].rpc("tcp_conn_limit.set_cluster_limit", json!([21]));
    wait_for_others(&servers[0], "127.201.0.1", 20);
    held.push(servers[0].admit(Via::Tcp, source(201, 0, 1)));
    servers[0].reject(Via::Tcp, source(201, 0, 1));
    drop(held);
    finish(mode, servers);
}
