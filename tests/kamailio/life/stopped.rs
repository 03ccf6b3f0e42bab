// SPDX-License-Identifier: GPL-2.0-or-later

//! A process of the server is stopped for a while: no other process waits for it, and
//! the limit is exact all the time. See `operator::sources` for the accepting process and `operator::logs`
//! for the one that logs.

use std::net::IpAddr;
use std::thread;

use serde_json::json;

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Server, Stopped, Via, source, until};

attached_either_way!(
    stopped_worker_delays_only_its_connections,
    connections_of_a_blocked_worker_are_released,
    stopped_ctl_blocks_no_connection,
    stopped_jsonrpcs_blocks_no_connection,
);

const LIMIT: u32 = 4;

/// As many connections as the limit allows. Each has sent something, so it needs a
/// worker.
fn take_all(server: &Server, from: IpAddr) -> Vec<Client> {
    let open = |_| {
        let mut client = Client::connect(from, server.address(Via::Tcp));
        client
            .keep_alive()
            .expect("a new connection can be written to");
        client
    };
    (0..LIMIT).map(open).collect()
}

fn sources(count: u8) -> impl Iterator<Item = IpAddr> {
    (1..=count).map(|host| source(120, 0, host))
}

/// Checks that the server counts the connections that it holds.
#[track_caller]
fn assert_counted(mode: Mode, server: &Server, held: &[(IpAddr, Vec<Client>)]) {
    mode.assert_audit_clean(server);
    for (from, clients) in held {
        assert_eq!(
            server.counted(&from.to_string()),
            clients.len() as u64,
            "{from}"
        );
    }
}

/// The stopped worker gets every other connection. These wait, and the others do not.
fn stopped_worker_delays_only_its_connections(mode: Mode) {
    const SOURCES: u8 = 60;
    let server = mode.config(LIMIT).start();
    let stopped = Stopped::new(server.process("tcp receiver"));
    let mut held: Vec<(IpAddr, Vec<Client>)> = Vec::new();
    for from in sources(SOURCES) {
        held.push((from, take_all(&server, from)));
        // They are rejected by the accepting process, which does not wait.
        server.reject(Via::Tcp, from);
    }
    let all = u64::from(SOURCES) * u64::from(LIMIT);
    assert_eq!(server.connections(), all);
    assert_eq!(server.stat("rejected"), u64::from(SOURCES));
    assert_counted(mode, &server, &held);
    let answered = || {
        let clients = held.iter().flat_map(|(_, clients)| clients);
        clients.filter(|client| client.has_news()).count() as u64
    };
    until("those of the other worker are answered", || {
        answered() >= all / 4
    });
    assert!(answered() <= all * 3 / 4, "the worker is not stopped");

    // The server cannot notice yet that some of these were closed.
    for (_, clients) in held.iter_mut().take(20) {
        clients.truncate(1);
    }
    until("the audit is clean", || server.audit_is_clean());
    assert!(server.connections() > all - 20 * 3);

    drop(stopped);
    for (from, clients) in &mut held {
        for client in clients {
            assert!(client.is_answered(), "a connection of {from} was closed");
        }
    }
    server.wait_for_connections(all - 20 * 3);
    assert_counted(mode, &server, &held);
    for (from, clients) in &mut held {
        let room = LIMIT as usize - clients.len();
        clients.extend(server.admit_all(room, Via::Tcp, *from));
        server.reject(Via::Tcp, *from);
    }
    held.clear();
    server.wait_for_connections(0);
    // The core logs errors about clients that close before they read the answer.
    mode.finish(server, &["core/tcp_read.c"]);
}

/// The core keeps connections that it cannot give to a worker for two seconds, and
/// then closes them.
fn connections_of_a_blocked_worker_are_released(mode: Mode) {
    const SOURCES: u8 = 200;
    let server = mode.config(LIMIT).core("tcp_max_connections=2000").start();
    let stopped = Stopped::new(server.process("tcp receiver"));
    let mut held: Vec<(IpAddr, Vec<Client>)> = sources(SOURCES)
        .map(|from| (from, take_all(&server, from)))
        .collect();
    let all = u64::from(SOURCES) * u64::from(LIMIT);
    until("all are accepted", || server.stat("admitted") == all);
    until("some are closed", || {
        mode.assert_audit_clean(&server);
        server.connections() < all
    });
    drop(stopped);
    for (_, clients) in &mut held {
        clients.retain_mut(Client::is_answered);
    }
    let open: usize = held.iter().map(|(_, clients)| clients.len()).sum();
    server.wait_for_connections(open as u64);
    assert_counted(mode, &server, &held);
    for (from, clients) in &mut held {
        let room = LIMIT as usize - clients.len();
        clients.extend(server.admit_all(room, Via::Tcp, *from));
        server.reject(Via::Tcp, *from);
    }
    mode.finish(server, &["core/tcp_main.c", "core/pass_fd.c"]);
}

/// Fills one source after the other while a process is stopped.
fn fill_all(server: &Server) -> Vec<Client> {
    let mut held = Vec::new();
    for from in sources(50) {
        held.extend(server.admit_all(LIMIT as usize, Via::Tcp, from));
        server.reject(Via::Tcp, from);
    }
    held
}

fn stopped_ctl_blocks_no_connection(mode: Mode) {
    let server = mode.config(LIMIT).start();
    let stopped = Stopped::new(server.process("ctl handler"));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| server.kamcmd(&["tcp_conn_limit.set_limit", "5"]));
        let held = fill_all(&server);
        // Another process answers requests.
        assert_eq!(server.stat("connections"), held.len() as u64);
        server.rpc("tcp_conn_limit.reload", json!([]));
        mode.assert_audit_clean(&server);
        drop(stopped);
        waiting.join().expect("kamcmd is answered");
        assert_eq!(server.stat("limit"), 5);
        server.admit(Via::Tcp, source(120, 0, 1));
    });
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

fn stopped_jsonrpcs_blocks_no_connection(mode: Mode) {
    let server = mode.config(LIMIT).start();
    let stopped = Stopped::new(server.process("JSONRPCS"));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| server.rpc("tcp_conn_limit.set_limit", json!([5])));
        let held = fill_all(&server);
        let stats = server.kamcmd(&["tcp_conn_limit.stats"]);
        let connections = format!("connections: {}", held.len());
        assert!(stats.contains(&connections), "{stats}");
        drop(stopped);
        waiting.join().expect("the call is answered");
        assert_eq!(server.stat("limit"), 5);
        server.admit(Via::Tcp, source(120, 0, 1));
    });
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}
