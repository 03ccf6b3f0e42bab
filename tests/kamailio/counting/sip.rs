// SPDX-License-Identifier: GPL-2.0-or-later

//! A SIP client that registers over TCP.

use std::net::IpAddr;
use std::process::{Command, Output};

use serde_json::json;

use support::kamailio::mode::{Mode, in_every_mode};
use support::kamailio::{Config, Server, Via, free_port, source};

in_every_mode!(client_registers, client_of_a_full_source_cannot_register,);

const SCENARIO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/kamailio/counting/register.xml"
);

fn with_registrar(config: Config) -> Config {
    config
        .module("usrloc.so")
        .module("registrar.so")
        .route("request_route {\n\tsave(\"location\");\n}\n")
}

/// Registers `count` users from `from`, each over its own connection or all over one.
fn register(server: &Server, from: IpAddr, count: u32, own_connections: bool) -> Output {
    Command::new("sipp")
        .arg(server.address(Via::Tcp).to_string())
        .args(["-sf", SCENARIO])
        .args(["-t", if own_connections { "tn" } else { "t1" }])
        .args(["-i", &from.to_string(), "-p", &free_port().to_string()])
        .args(["-m", &count.to_string(), "-r", "100"])
        .args(["-nostdin", "-timeout", "15", "-timeout_error"])
        // The default needs more descriptors than usual limits allow.
        .args(["-max_socket", "100"])
        // No second attempt, because the first one is under test.
        .args(["-max_reconnect", "0"])
        .current_dir(server.dir())
        .output()
        .expect("sipp (Debian: sip-tester) can be run")
}

/// The number of registered users.
fn registered(server: &Server) -> u64 {
    server.counter("usrloc", "registered_users")
}

fn client_registers(mode: Mode) {
    let server = with_registrar(mode.config(5)).start();
    let output = register(&server, source(0, 12, 1), 20, false);
    assert!(output.status.success(), "{output:?}");
    let output = register(&server, source(0, 12, 2), 5, true);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(registered(&server), 20);
    let users = server.rpc("ul.dump", json!([]));
    assert!(users.to_string().contains("transport=tcp"), "{users}");
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

fn client_of_a_full_source_cannot_register(mode: Mode) {
    let server = with_registrar(mode.config(3)).start();
    let held = server.admit_all(3, Via::Tcp, source(0, 12, 1));
    let output = register(&server, source(0, 12, 1), 1, false);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(registered(&server), 0);
    // A neighbour can, and so can the client once a connection has closed.
    let output = register(&server, source(0, 12, 2), 1, false);
    assert!(output.status.success(), "{output:?}");
    drop(held);
    server.wait_for_connections(0);
    let output = register(&server, source(0, 12, 1), 1, false);
    assert!(output.status.success(), "{output:?}");
    mode.finish(server, &[]);
}
