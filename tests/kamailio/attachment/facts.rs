// SPDX-License-Identifier: GPL-2.0-or-later

//! What the core reports of a connection when it opens and when it ends.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::kamailio::mode::{Mode, when_interposed};
use support::kamailio::{Client, Config, Server, Via, source, until};
use tcp_conn_limit::ffi::{
    TCL_FACT_CLOSED_BY_HOST, TCL_FACT_SPOKE, TCL_FACT_TIMED_OUT, TCL_FACT_TLS,
};

when_interposed!(sockets_for_tls_are_named);

const FACTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/kamailio/attachment/facts.c"
);

/// Starts the server with the library that prints the arguments of the library's functions.
fn start(config: Config, dir: &Path) -> Server {
    let library = dir.join("facts.so");
    let status = Command::new("cc")
        .args(["-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&library, Path::new(FACTS)])
        .status()
        .expect("cc can be run");
    assert!(status.success(), "cc: {status}");
    // A sanitizer's runtime must stay the first preloaded library.
    let before = env::var("LD_PRELOAD").unwrap_or_default();
    let preloaded = PathBuf::from(format!("{before} {}", library.display()));
    config.environment("LD_PRELOAD", &preloaded).start()
}

/// Ends the connection with `end`, and returns with which facts the core reports it.
#[track_caller]
fn facts_of(server: &Server, client: Client, end: impl FnOnce(Client)) -> u32 {
    const CLOSED: &str = "closed: facts ";
    let closed = || {
        let log = server.log();
        let lines = log.lines_with(CLOSED);
        let last = lines.last().and_then(|line| line.rsplit(' ').next());
        (lines.len(), last.and_then(|facts| facts.parse().ok()))
    };
    let (before, _) = closed();
    end(client);
    until("the core reports the end", || closed().0 == before + 1);
    closed().1.expect("a number")
}

#[test]
fn ends_of_connections_are_reported() {
    // The core remembers whether a connection carried a message since it has this.
    if !Mode::Module.knows("tcp_msg_data_timeout") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = start(Config::with_module().tls().limit(100), dir.path());
    let tcp = || Client::connect(source(0, 0, 1), server.address(Via::Tcp));
    let tls = || {
        let client = Client::connect(source(0, 0, 1), server.address(Via::Tls));
        client.secure().expect("a TLS handshake")
    };
    assert_eq!(facts_of(&server, tcp(), drop), 0);
    assert_eq!(facts_of(&server, tcp(), Client::reset), 0);
    assert_eq!(facts_of(&server, tls(), drop), TCL_FACT_TLS);
    let talks = |mut client: Client| {
        client.ask("someone");
    };
    assert_eq!(facts_of(&server, tcp(), talks), TCL_FACT_SPOKE);
    let both = TCL_FACT_TLS | TCL_FACT_SPOKE;
    assert_eq!(facts_of(&server, tls(), talks), both);
    // A keep-alive is not a message.
    let keeps_alive = |mut client: Client| assert!(client.is_admitted());
    assert_eq!(facts_of(&server, tcp(), keeps_alive), 0);
}

#[test]
fn silent_connection_that_the_core_closes_is_reported() {
    // The core remembers whether a connection carried a message since it has this.
    if !Mode::Module.knows("tcp_msg_data_timeout") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = Config::with_module()
        .limit(100)
        .core("tcp_msg_data_timeout=1")
        .core("tcp_check_timer=1");
    let server = start(config, dir.path());
    let client = Client::connect(source(0, 0, 1), server.address(Via::Tcp));
    let waits = |client: Client| drop(client.read_until_closed());
    let facts = facts_of(&server, client, waits);
    assert_eq!(facts & TCL_FACT_SPOKE, 0);
    assert_ne!(facts & (TCL_FACT_CLOSED_BY_HOST | TCL_FACT_TIMED_OUT), 0);
}

fn sockets_for_tls_are_named(mode: Mode) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let server = start(mode.with_module().tls().limit(100), dir.path());
    assert_eq!(server.log().lines_with("sockets for TLS: 1").len(), 1);
    server.admit(Via::Tls, source(0, 0, 1));
    mode.finish(server, &[]);
}
