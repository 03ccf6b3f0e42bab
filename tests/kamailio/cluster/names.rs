// SPDX-License-Identifier: GPL-2.0-or-later

//! Nodes that are named by a host name, or by an IPv6 address.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::json;
use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Server, Via, source, until};

use super::nodes::{Place, Transport, finish, wait_for_others, wait_until_joined};

attached_either_way!(node_with_a_host_name_is_warned_about, nodes_meet_over_ipv6,);

/// Waits for the warning that the connections of another node are limited.
fn wait_for_warning(server: &Server, address: &str) {
    let warning = format!(
        "a cluster node connects by TCP or TLS from {address}, and these connections are limited; \
         add the rule {address}=unlimited trusted"
    );
    server.wait_for_log(1, &warning);
}

fn node_with_a_host_name_is_warned_about(mode: Mode) {
    let place = Place::new(Transport::Tcp, 2).with_host(0, "localhost");
    let servers = [0, 1].map(|node| {
        let config = place.node(mode, node, 12).limit(1000);
        // The cache asks DNS only. Without it, the name is looked up in /etc/hosts first.
        config.core("use_dns_cache=off").start()
    });
    wait_until_joined(&servers);
    wait_for_warning(&servers[1], "127.0.0.1");
    let held = servers[0].admit_all(12, Via::Tcp, source(201, 0, 1));
    wait_for_others(&servers[1], "127.201.0.1", 12);
    servers[1].reject(Via::Tcp, source(201, 0, 1));
    let found = servers[1].source("127.201.0.1");
    let of_node = json!([{"node": place.name(0), "connections": 12}]);
    assert_eq!(found["nodes"], of_node, "{found}");
    drop(held);
    wait_for_others(&servers[1], "127.201.0.1", 0);
    finish(mode, servers.into());
}

fn nodes_meet_over_ipv6(mode: Mode) {
    // DMQ takes nodes with one IP address for the same node, unless each asks the other.
    let place = Place::new(Transport::Tcp, 2);
    let place = place.with_host(0, "[::1]").with_host(1, "[::1]");
    let servers = [0, 1].map(|node| {
        let config = place.node(mode, node, 12).limit(1000);
        config.any_address().start()
    });
    wait_until_joined(&servers);
    for server in &servers {
        wait_for_warning(server, "::1");
    }
    let from = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let open = |server: &Server| {
        let mut client = Client::connect(from, server.any_address(from));
        client.is_admitted().then_some(client)
    };
    // The connections of the nodes have the same source.
    let held: Vec<Client> = std::iter::from_fn(|| open(&servers[0])).collect();
    assert!((1..12).contains(&held.len()), "{}", held.len());
    until("the other node rejects the source", || {
        open(&servers[1]).is_none()
    });
    let found = servers[1].source("::1");
    assert_eq!(found["rejected_for"], "cluster", "{found}");
    drop(held);
    until("the other node admits the source", || {
        open(&servers[1]).is_some()
    });
    finish(mode, servers.into());
}
