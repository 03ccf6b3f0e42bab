// SPDX-License-Identifier: GPL-2.0-or-later

//! Bans that hold on all nodes.

use serde_json::{Value, json};
use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Server, Via, number, source, until};

use super::nodes::{
    Place, Transport, cluster, finish, seen, wait_for_alive, wait_for_state, wait_until_joined,
};

attached_either_way!(
    bans_hold_on_all_nodes_and_end_with_the_first,
    ban_by_offences_outlasts_its_node,
    bans_stay_at_home_by_default,
);

/// The entry of a source or prefix in the list of bans; null if it is not banned.
fn listed(server: &Server, who: &str) -> Value {
    let bans = server.rpc("tcp_conn_limit.bans", json!([]));
    let mut list = bans["list"].as_array().expect("a list").iter();
    let found = list.find(|ban| ban["source"] == who);
    found.cloned().unwrap_or_default()
}

/// Waits until the node `name` banned this on all of these servers.
fn wait_for_ban<'a>(servers: impl IntoIterator<Item = &'a Server>, who: &str, name: &str) {
    for server in servers {
        until(&format!("{who} is banned by {name}"), || {
            let ban = listed(server, who);
            ban["reason"] == "cluster" && ban["node"] == name
        });
    }
}

fn wait_for_end<'a>(servers: impl IntoIterator<Item = &'a Server>, who: &str) {
    for server in servers {
        until(&format!("{who} is not banned"), || {
            listed(server, who).is_null()
        });
    }
}

fn ban(server: &Server, who: &str) {
    server.rpc("tcp_conn_limit.ban", json!([who, 600]));
}

fn unban(server: &Server, who: &str) {
    server.rpc("tcp_conn_limit.unban", json!([who]));
}

fn bans_hold_on_all_nodes_and_end_with_the_first(mode: Mode) {
    let place = Place::new(Transport::Udp, 3);
    let servers: Vec<Server> = (0..3)
        .map(|node| {
            let config = place.node(mode, node, 0).param("cluster_bans", 1);
            match node {
                2 => config
                    .text_param("rule", "127.201.0.9=100 trusted")
                    .text_param("rule", "127.202.0.9=100 exempt"),
                _ => config,
            }
            .limit(1000)
            .start()
        })
        .collect();
    wait_until_joined(&servers);
    ban(&servers[0], "127.201.0.1");
    wait_for_ban(&servers[1..], "127.201.0.1", &place.name(0));
    let own = listed(&servers[0], "127.201.0.1");
    assert!(own["reason"] == "rpc" && own["node"].is_null(), "{own}");
    for server in &servers {
        server.reject(Via::Tcp, source(201, 0, 1));
        assert!((590..=600).contains(&number(&listed(server, "127.201.0.1"), "seconds_left")));
    }
    servers[1].wait_for_log(1, &format!("s by cluster node {}", place.name(0)));
    // A prefix, and what a node spares in it.
    ban(&servers[1], "127.202.0.0/24");
    wait_for_ban([&servers[0], &servers[2]], "127.202.0.0/24", &place.name(1));
    for server in &servers {
        server.reject(Via::Tcp, source(202, 0, 1));
    }
    servers[1].reject(Via::Tcp, source(202, 0, 9));
    let spared = servers[2].admit_all(1, Via::Tcp, source(202, 0, 9));
    // The rules of a node go before bans of others, not before its own.
    ban(&servers[0], "127.201.0.9");
    wait_for_ban(&servers[1..2], "127.201.0.9", &place.name(0));
    until("the ban is refused", || {
        servers[2].stat("cluster_bans_refused") == 1
    });
    let trusted = servers[2].admit_all(1, Via::Tcp, source(201, 0, 9));
    assert!(listed(&servers[2], "127.201.0.9").is_null());
    assert_eq!(servers[2].stat("cluster_bans_received"), 2);
    assert_eq!(servers[0].stat("cluster_bans_sent"), 2);
    assert_eq!(number(&cluster(&servers[0]), "bans_received"), 1);
    until("the bans of the node are shown", || {
        number(&seen(&servers[2], &place.name(0)), "bans") == 1
    });
    // Nothing is sent on, and a ban of this node is not replaced by a shorter one.
    ban(&servers[1], "127.201.0.2");
    wait_for_ban([&servers[0]], "127.201.0.2", &place.name(1));
    servers[0].rpc("tcp_conn_limit.ban", json!(["127.201.0.2", 900]));
    wait_for_ban([&servers[2]], "127.201.0.2", &place.name(0));
    unban(&servers[1], "127.201.0.2");
    unban(&servers[0], "127.201.0.1");
    unban(&servers[1], "127.202.0.0/24");
    wait_for_end(&servers, "127.201.0.1");
    wait_for_end(&servers, "127.202.0.0/24");
    servers[0].wait_for_log(
        1,
        &format!(
            "ban of 127.202.0.0/24 lifted by cluster node {}",
            place.name(1)
        ),
    );
    assert_eq!(listed(&servers[0], "127.201.0.2")["reason"], "rpc");
    drop(servers[1].admit_all(1, Via::Tcp, source(201, 0, 1)));
    // Where a node is shut out, its bans are lifted.
    servers[1].rpc("tcp_conn_limit.cluster_drop", json!([place.name(0)]));
    wait_for_end(&servers[1..2], "127.201.0.9");
    wait_for_end(&servers[1..2], "127.201.0.2");
    assert_eq!(listed(&servers[2], "127.201.0.2")["node"], place.name(0));
    // What rejects nothing here rejects nothing anywhere else.
    servers[0].rpc("tcp_conn_limit.set_mode", json!(["monitor"]));
    wait_for_end(&servers[2..], "127.201.0.2");
    drop((spared, trusted));
    finish(mode, servers);
}

fn ban_by_offences_outlasts_its_node(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let node = |node| place.node(mode, node, 0).param("cluster_bans", 1);
    let mut servers = vec![
        node(0)
            .limit(1)
            .text_param("penalty", "rejected=600")
            .param("ban_min", 1)
            .param("ban_max", 600)
            .start(),
        node(1).limit(1000).start(),
    ];
    wait_until_joined(&servers);
    let held = servers[0].admit_all(1, Via::Tcp, source(201, 0, 1));
    servers[0].reject(Via::Tcp, source(201, 0, 1));
    wait_for_ban(&servers[1..], "127.201.0.1", &place.name(0));
    let mut first = servers.remove(0);
    first.kill_all();
    drop(held);
    wait_for_state(&servers[0], &place.name(0), "silent");
    servers[0].reject(Via::Tcp, source(201, 0, 1));
    // The node begins with nothing, and does not get its own ban back.
    let first = first.start_again();
    wait_for_alive(&first, 1);
    wait_for_alive(&servers[0], 1);
    ban(&servers[0], "127.201.0.3");
    wait_for_ban([&first], "127.201.0.3", &place.name(1));
    assert!(listed(&first, "127.201.0.1").is_null());
    servers[0].reject(Via::Tcp, source(201, 0, 1));
    unban(&servers[0], "127.201.0.1");
    drop(servers[0].admit_all(1, Via::Tcp, source(201, 0, 1)));
    servers.push(first);
    finish(mode, servers);
}

fn bans_stay_at_home_by_default(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let servers = vec![
        place.node(mode, 0, 0).param("cluster_bans", 1).start(),
        place.node(mode, 1, 0).start(),
    ];
    wait_until_joined(&servers);
    ban(&servers[0], "127.201.0.1");
    ban(&servers[1], "127.201.0.2");
    until("the ban is sent", || {
        servers[0].stat("cluster_bans_sent") == 1
    });
    let before = servers[1].stat("cluster_received");
    until("messages arrive", || {
        servers[1].stat("cluster_received") > before + 3
    });
    assert!(listed(&servers[1], "127.201.0.1").is_null());
    assert!(listed(&servers[0], "127.201.0.2").is_null());
    assert_eq!(servers[1].stat("cluster_bans_received"), 0);
    assert_eq!(servers[1].stat("cluster_bans_sent"), 0);
    finish(mode, servers);
}
