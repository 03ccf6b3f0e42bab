// SPDX-License-Identifier: GPL-2.0-or-later

//! The servers of a cluster.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};

use support::kamailio::mode::Mode;
use support::kamailio::{Config, Server, free_port, number, until};

use super::links::Links;

/// A key of all nodes.
pub(super) const KEY: &str = "a secret of all nodes";

/// How DMQ carries messages.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// Where the nodes of a cluster exchange messages. DMQ distinguishes nodes by their addresses,
/// so each has one of its own.
#[derive(Clone)]
pub(super) struct Place {
    transport: Transport,
    network: (u8, u8),
    /// The hosts in the names of the nodes.
    hosts: Vec<String>,
    ports: Vec<u16>,
    /// Where the nodes listen, if not on `ports`.
    inner_ports: Option<Vec<u16>>,
}

/// Clusters of this program. Programs that run at the same time have other networks.
static CLUSTERS: AtomicU8 = AtomicU8::new(0);

impl Place {
    /// Room for this many nodes.
    pub(super) fn new(transport: Transport, nodes: usize) -> Place {
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let (a, b) = (64 + process::id() as u8 % 64, number);
        Place {
            transport,
            network: (a, b),
            hosts: (1..=nodes).map(|n| format!("127.{a}.{b}.{n}")).collect(),
            ports: (0..nodes).map(|_| free_port()).collect(),
            inner_ports: None,
        }
    }

    /// The same with another host in the name of a node, on which it also listens.
    pub(super) fn with_host(mut self, node: usize, host: &str) -> Place {
        self.hosts[node] = host.to_owned();
        self
    }

    /// The same with links that can be cut.
    pub(super) fn linked(nodes: usize) -> (Place, Links) {
        let mut place = Place::new(Transport::Udp, nodes);
        let (a, b) = place.network;
        let ports = place.ports.iter().zip(1..);
        let outer = ports.map(|(&port, node)| {
            let address = Ipv4Addr::new(127, a, b, node);
            SocketAddrV4::new(address, port)
        });
        let outer: Vec<SocketAddrV4> = outer.collect();
        let inner: Vec<u16> = (0..nodes).map(|_| free_port()).collect();
        let links = Links::new(&outer, &inner);
        place.inner_ports = Some(inner);
        (place, links)
    }

    pub(super) fn address(&self, node: usize) -> String {
        format!("{}:{}", self.hosts[node], self.ports[node])
    }

    /// The name of a node.
    pub(super) fn name(&self, node: usize) -> String {
        let transport = match self.transport {
            Transport::Udp => "",
            Transport::Tcp => ";transport=tcp",
            Transport::Tls => ";transport=tls",
        };
        format!("sip:{}{transport}", self.address(node))
    }

    /// A server that is this node, with a limit over all nodes.
    pub(super) fn node(&self, mode: Mode, node: usize, cluster_limit: i64) -> Config {
        self.without_key(mode, node, cluster_limit)
            .text_param("cluster_key", KEY)
    }

    /// The same without a key.
    pub(super) fn without_key(&self, mode: Mode, node: usize, cluster_limit: i64) -> Config {
        // All others ask the first one.
        self.config(mode, node, usize::from(node == 0), cluster_limit)
    }

    /// A node that asks the node `asked` for all others when it starts.
    pub(super) fn node_that_asks(
        &self,
        mode: Mode,
        node: usize,
        asked: usize,
        cluster_limit: i64,
    ) -> Config {
        self.config(mode, node, asked, cluster_limit)
            .text_param("cluster_key", KEY)
    }

    fn config(&self, mode: Mode, node: usize, asked: usize, cluster_limit: i64) -> Config {
        let protocol = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        let config = mode
            .with_module()
            .core(&self.listen(protocol, node))
            .module("tm.so")
            .module("dmq.so");
        let config = match self.transport {
            Transport::Udp | Transport::Tcp => config,
            Transport::Tls => config.tls(),
        };
        let text = |text: String| format!("\"{text}\"");
        let config = match self.inner_address(node) {
            None => config,
            Some(inner) => config.modparam("dmq", "server_socket", &text(format!("udp:{inner}"))),
        };
        config
            .modparam("dmq", "server_address", &text(self.name(node)))
            .modparam("dmq", "notification_address", &text(self.name(asked)))
            // The shortest time after which DMQ asks again.
            .modparam("dmq", "ping_interval", "5")
            .text_param("cluster", "dmq")
            .param("cluster_limit", cluster_limit)
            .route(ROUTE)
    }

    fn listen(&self, protocol: &str, node: usize) -> String {
        let address = self.address(node);
        match self.inner_address(node) {
            None => format!("listen={protocol}:{address}"),
            Some(inner) => format!("listen={protocol}:{inner} advertise {address}"),
        }
    }

    /// Where a node listens, if that is not its address.
    fn inner_address(&self, node: usize) -> Option<String> {
        let (a, b) = self.network;
        let port = self.inner_ports.as_ref()?[node];
        Some(format!("127.{a}.{b}.{}:{port}", node + 1))
    }

    /// Starts all nodes with the same limits, and waits until they hear each other.
    pub(super) fn start(&self, mode: Mode, cluster_limit: i64) -> Vec<Server> {
        let nodes = 0..self.ports.len();
        let servers: Vec<_> = nodes
            .map(|node| self.node(mode, node, cluster_limit).limit(1000).start())
            .collect();
        wait_until_joined(&servers);
        servers
    }
}

/// Passes messages of DMQ on, and answers all other requests.
const ROUTE: &str = r#"
request_route {
	if (method == "KDMQ") {
		dmq_handle_message();
		exit;
	}
	sl_send_reply("200", "OK");
}
"#;

/// Waits until each server hears all others.
pub(super) fn wait_until_joined(servers: &[Server]) {
    for server in servers {
        wait_for_alive(server, servers.len() as u64 - 1);
    }
}

pub(super) fn wait_for_alive(server: &Server, nodes: u64) {
    until(&format!("{nodes} nodes are alive"), || {
        number(&cluster(server), "alive") == nodes
    });
}

/// The answer to the command `cluster`.
pub(super) fn cluster(server: &Server) -> Value {
    server.rpc("tcp_conn_limit.cluster", json!([]))
}

/// The messages that a server rejected for this reason.
pub(super) fn rejected(server: &Server, reason: &str) -> u64 {
    let rejected = &cluster(server)["rejected"];
    rejected[reason].as_u64().unwrap_or(0)
}

/// What a server says of a node with this name.
pub(super) fn seen(server: &Server, name: &str) -> Value {
    let answer = cluster(server);
    let mut nodes = answer["nodes"].as_array().expect("a list of nodes").iter();
    let node = nodes.find(|node| node["node"] == name).cloned();
    node.unwrap_or(Value::Null)
}

pub(super) fn wait_for_state(server: &Server, name: &str, state: &str) {
    until(&format!("node {name} is {state}"), || {
        seen(server, name)["state"] == state
    });
}

/// Waits until a server knows this many connections of a source on other nodes.
pub(super) fn wait_for_others(server: &Server, source: &str, others: u64) {
    until(
        &format!("{others} connections of {source} on others"),
        || number(&server.source(source), "others") == others,
    );
}

/// Ends all servers. DMQ logs errors when other nodes end.
pub(super) fn finish(mode: Mode, servers: Vec<Server>) {
    for server in servers {
        mode.finish(server, OF_DMQ);
    }
}

/// What the core, dmq and tm log when a node is gone.
pub(super) const OF_DMQ: &[&str] = &[
    "dmq",
    " tm ",
    "tcp_main.c",
    "tcp_read.c",
    "msg_send",
    "tls_server.c",
    "forward",
];
