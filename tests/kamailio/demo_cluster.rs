// SPDX-License-Identifier: GPL-2.0-or-later

//! Shows one limit for three servers: three real Kamailios, and one greedy source whose
//! connections are spread over them. `make demo-cluster` runs it.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::demo::{Unexpected, run};
use support::kamailio::{
    Client, Config, Server, Servers, Via, free_port, number, servers::version_line, source, until,
};

const NODES: usize = 3;
/// On each server.
const LIMIT: i64 = 100;
/// On all servers.
const CLUSTER_LIMIT: usize = 60;
const ATTEMPTS: usize = 300;
/// Between two attempts: 200 a second.
const PAUSE: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    run(demo)
}

fn demo() -> Result<(), Unexpected> {
    let servers = start();
    let greedy = source(66, 6, 6);
    println!("\nA source, {greedy}, opens a connection on one server after the other, {ATTEMPTS}");
    println!("in all. Each server alone would let it have {LIMIT}.");
    let began = Instant::now();
    let mut held: Vec<Vec<Client>> = (0..NODES).map(|_| Vec::new()).collect();
    for attempt in 0..ATTEMPTS {
        let node = attempt % NODES;
        held[node].extend(servers[node].open(Via::Tcp, greedy));
        thread::sleep(PAUSE);
    }
    let total: usize = held.iter().map(Vec::len).sum();
    let took = began.elapsed().as_secs_f64();
    println!(
        "    It has {total} after {took:.1} s, at a limit of {CLUSTER_LIMIT} over all servers."
    );
    // Each node may admit a few more before it hears of the others.
    within(
        "connections in all",
        total,
        CLUSTER_LIMIT,
        2 * CLUSTER_LIMIT,
    )?;

    println!("\nEach server knows all of them:");
    for (node, server) in servers.iter().enumerate() {
        let others = total - held[node].len();
        until("the others are known", || {
            number(&server.source(&greedy.to_string()), "others") == others as u64
        });
        show(server, &["tcp_conn_limit.get", &greedy.to_string()], &VIEW);
        within(
            "admitted once more",
            usize::from(server.open(Via::Tcp, greedy).is_some()),
            0,
            0,
        )?;
    }

    println!("\nThe last server is killed, with its connections. The others go on without them.");
    let mut servers = servers;
    let mut killed = servers.remove(NODES - 1);
    let began = Instant::now();
    killed.kill_all();
    held.remove(NODES - 1);
    for server in &servers {
        until("the killed server no longer counts", || {
            number(&cluster(server), "alive") == NODES as u64 - 2
        });
    }
    println!(
        "    After {:.1} s it no longer counts.",
        began.elapsed().as_secs_f64()
    );
    let killed = killed.start_again();
    until("the server is back", || {
        number(&cluster(&killed), "alive") == NODES as u64 - 1
    });
    println!("    It is started again, and knows the others.");
    servers.push(killed);

    println!("\nDo the servers agree with each other?");
    for server in &servers {
        until("the servers agree", || agree(server));
        show(server, &["tcp_conn_limit.cluster_audit"], &AUDIT);
    }
    for server in servers {
        server.stop(&["dmq", " tm ", "tcp_main.c"]);
    }
    Ok(())
}

/// Starts the servers, and waits until they hear each other.
fn start() -> Vec<Server> {
    let ports: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
    let name = |node: usize| format!("sip:127.66.0.{}:{}", node + 1, ports[node]);
    let nodes = 0..NODES;
    let servers: Vec<_> = nodes.map(|node| config(&name, node).start()).collect();
    let version = version_line(&Servers::from_env().hooked);
    println!(
        "These are {NODES} x {}",
        version.trim_start_matches("version: ")
    );
    println!("with, besides DMQ,");
    for line in [
        "modparam(\"tcp_conn_limit\", \"cluster\", \"dmq\")".to_owned(),
        format!("modparam(\"tcp_conn_limit\", \"cluster_limit\", {CLUSTER_LIMIT})"),
        "modparam(\"tcp_conn_limit\", \"cluster_key\", \"...\")".to_owned(),
    ] {
        println!("    {line}");
    }
    for server in &servers {
        until("all servers hear each other", || {
            number(&cluster(server), "alive") == NODES as u64 - 1
        });
    }
    servers
}

fn config(name: &impl Fn(usize) -> String, node: usize) -> Config {
    let text = |text: String| format!("\"{text}\"");
    let own = name(node);
    let address = own.trim_start_matches("sip:").to_owned();
    Config::with_module()
        .core(&format!("listen=udp:{address}"))
        .module("tm.so")
        .module("dmq.so")
        .modparam("dmq", "server_address", &text(own))
        // A server asks this one for the others when it starts.
        .modparam(
            "dmq",
            "notification_address",
            &text(name(usize::from(node == 0))),
        )
        .modparam("dmq", "ping_interval", "5")
        .limit(LIMIT)
        .text_param("cluster", "dmq")
        .param("cluster_limit", CLUSTER_LIMIT as i64)
        .text_param("cluster_key", "the secret of these three servers")
        .route(ROUTE)
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

fn cluster(server: &Server) -> Value {
    server.rpc("tcp_conn_limit.cluster", json!([]))
}

fn agree(server: &Server) -> bool {
    let answer = server.rpc("tcp_conn_limit.cluster_audit", json!([]));
    let nodes = answer["nodes"].as_array().cloned().unwrap_or_default();
    nodes.len() == NODES - 1 && nodes.iter().all(|node| node["result"] == "agrees")
}

/// The parts of the answers that are shown.
const VIEW: [&str; 6] = [
    "source",
    "connections",
    "others",
    "cluster_limit",
    "rejected:",
    "node",
];
const AUDIT: [&str; 4] = ["node:", "result", "reported", "arrived"];

/// Prints a command and these parts of its answer.
fn show(server: &Server, command: &[&str], parts: &[&str]) {
    println!("  $ kamcmd {}", command.join(" "));
    let answer = server.kamcmd(command);
    let lines = answer.lines().map(str::trim);
    for line in lines.filter(|line| parts.iter().any(|part| line.starts_with(part))) {
        println!("      {line}");
    }
}

fn within(what: &str, number: usize, least: usize, most: usize) -> Result<(), Unexpected> {
    match (least..=most).contains(&number) {
        true => Ok(()),
        false => Err(Unexpected(format!(
            "{what}: {number}, not {least} to {most}"
        ))),
    }
}
